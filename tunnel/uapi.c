/*
 * tunnel/uapi.c - WireGuard's cross-platform userspace API, so that the `wg` tool shows and changes the tunnel.
 *
 * One request a connection: "get=1" or "set=1" with key=value lines, ended by an empty line; the answer ends with
 * errno=N and an empty line. A set is parsed line by line into the peer that the last public_key named, as
 * wireguard-go does; the first bad line ends it with its errno, what stood before it is done. The numbers are those of
 * the interface's description: EPROTO for what is not a key=value line, EINVAL for a key or value that is not known,
 * EADDRINUSE for a port that somebody has; beyond it ENOMEM when a table is full and EOPNOTSUPP for a mark, which takes
 * a capability. Only our own user is answered. A request has 1 MiB and a connection 10 s.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"
#include "os/stream.h"
#include "tunnel/tunnel_internal.h"

#define REQUEST_MAX (1024 * 1024)
#define CLIENTS_MAX 16
#define CLIENT_MAX (10 * NSEC_PER_SEC)

struct tunnel_uapi {
	struct os_loop *loop;
	struct tunnel *tunnel;
	struct os_listener *listener;
	struct list clients;
	unsigned n_clients;
	char path[104];
};

struct client {
	struct list link;
	struct tunnel_uapi *uapi;
	struct os_stream *stream;
	struct os_timer timer;
	char *in;
	size_t in_len;
	char *out;
	size_t out_len, out_off;
};

static void client_free(struct client *c)
{
	os_timer_cancel(&c->timer);
	os_stream_close(c->stream);
	list_del(&c->link);
	c->uapi->n_clients--;
	if (c->in)
		explicit_bzero(c->in, c->in_len);
	if (c->out)
		explicit_bzero(c->out, c->out_len);
	free(c->in);
	free(c->out);
	free(c);
}

/* ---- get ---- */

static void put_hex(FILE *f, const char *name, const uint8_t key[KEY_LEN])
{
	char hex[2 * KEY_LEN + 1];

	fprintf(f, "%s=%s\n", name, hex_encode(key, KEY_LEN, hex));
	explicit_bzero(hex, sizeof(hex));
}

static void put_allowed(FILE *f, const struct wg_device *dev, wg_peer_id id)
{
	struct ip_prefix p[32];
	char buf[PREFIX_STR_MAX];
	size_t done = 0, got;

	do {
		got = wg_peer_get_allowed(dev, id, done, p, ARRAY_SIZE(p));
		for (size_t i = 0; i < got; i++)
			fprintf(f, "allowed_ip=%s\n", ip_prefix_format(&p[i], buf));
		done += got;
	} while (got == ARRAY_SIZE(p));
}

static void put_peer(FILE *f, const struct wg_device *dev, wg_peer_id id, nsec_t now)
{
	struct wg_peer_info info;
	char buf[ENDPOINT_STR_MAX];

	if (!wg_peer_get_info(dev, id, now, &info))
		return;
	put_hex(f, "public_key", info.key.b);
	put_hex(f, "preshared_key", info.psk.b);
	fprintf(f, "protocol_version=1\n");
	if (endpoint_is_set(&info.endpoint))
		fprintf(f, "endpoint=%s\n", endpoint_format(&info.endpoint, buf));
	fprintf(f, "last_handshake_time_sec=%" PRIu64 "\nlast_handshake_time_nsec=%" PRIu64 "\n",
		(uint64_t)(info.last_handshake_wall / NSEC_PER_SEC), (uint64_t)(info.last_handshake_wall % NSEC_PER_SEC));
	fprintf(f, "tx_bytes=%" PRIu64 "\nrx_bytes=%" PRIu64 "\npersistent_keepalive_interval=%u\n", info.tx_bytes,
		info.rx_bytes, info.keepalive_s);
	put_allowed(f, dev, id);
	explicit_bzero(&info.psk, sizeof(info.psk));
}

static void do_get(FILE *f, struct tunnel *t)
{
	struct wg_device *dev = tunnel_device(t);
	const struct wg_private_key *priv = wg_device_private(dev);

	if (priv)
		put_hex(f, "private_key", priv->b);
	fprintf(f, "listen_port=%u\n", tunnel_port(t));
	for (wg_peer_id id = wg_peer_next(dev, 0); id; id = wg_peer_next(dev, id))
		put_peer(f, dev, id, os_loop_now(t->loop));
}

/* ---- set ---- */

struct setting {
	struct tunnel *tunnel;
	struct wg_device *dev;
	nsec_t now; /* the turn's, as everybody's */
	wg_peer_id peer; /* that the lines are about; 0 before the first, or when its lines are skipped */
	struct wg_public_key key;
	bool in_peers, exists;
};

/* Digits alone, up to @max. */
static bool parse_number(const char *s, unsigned long max, unsigned long *ret)
{
	unsigned long n = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return false;
		n = n * 10 + (unsigned long)(*s - '0');
		if (n > max)
			return false;
	}
	*ret = n;
	return true;
}

static int errno_of(enum err e)
{
	switch (e) {
	case OK:
		return 0;
	case ERR_IN_USE:
		return EADDRINUSE;
	case ERR_PERMISSION:
		return EACCES;
	case ERR_FULL:
	case ERR_NOMEM:
		return ENOMEM;
	default:
		return EIO;
	}
}

static int set_port(struct setting *s, const char *value)
{
	unsigned long port;

	if (!parse_number(value, UINT16_MAX, &port))
		return EINVAL;
	/* 0 is "any": the one that we have is as good. setconf sends it for a file without ListenPort. */
	return port ? errno_of(tunnel_set_port(s->tunnel, (uint16_t)port)) : 0;
}

static int set_mark(const char *value)
{
	unsigned long mark;

	if (!parse_number(value, UINT32_MAX, &mark))
		return EINVAL;
	return mark ? EOPNOTSUPP : 0;
}

static void remove_peer(struct setting *s, wg_peer_id id)
{
	struct wg_peer_info info;

	if (wg_peer_get_info(s->dev, id, s->now, &info))
		tunnel_forget_configured(s->tunnel, &info.key);
	explicit_bzero(&info.psk, sizeof(info.psk));
	wg_peer_remove(s->dev, id);
}

static int set_device(struct setting *s, const char *name, const char *value)
{
	struct wg_private_key priv;

	if (strcmp(name, "private_key") == 0) {
		if (hex_decode(value, priv.b, KEY_LEN) != OK)
			return EINVAL;
		tunnel_set_private(s->tunnel, &priv);
		explicit_bzero(&priv, sizeof(priv));
		return 0;
	}
	if (strcmp(name, "listen_port") == 0)
		return set_port(s, value);
	if (strcmp(name, "replace_peers") == 0) {
		wg_peer_id id;

		if (strcmp(value, "true") != 0)
			return EINVAL;
		while ((id = wg_peer_next(s->dev, 0)))
			remove_peer(s, id);
		return 0;
	}
	return strcmp(name, "fwmark") == 0 ? set_mark(value) : EINVAL;
}

static int begin_peer(struct setting *s, const char *value)
{
	enum err e;

	if (hex_decode(value, s->key.b, KEY_LEN) != OK)
		return EINVAL;
	s->in_peers = true;
	s->peer = wg_peer_find(s->dev, &s->key);
	s->exists = s->peer != 0;
	e = s->exists ? OK : wg_peer_add(s->dev, &s->key, s->now, &s->peer);
	if (e != OK)
		s->peer = 0;
	/* Our own key is nobody's peer: its lines are skipped, as the kernel does. */
	return e == ERR_INVALID ? 0 : errno_of(e);
}

static int set_peer(struct setting *s, const char *name, const char *value)
{
	struct ip_prefix prefix;
	struct endpoint ep;
	struct wg_psk psk;
	unsigned long n;

	if (strcmp(name, "update_only") == 0 || strcmp(name, "remove") == 0) {
		if (strcmp(value, "true") != 0)
			return EINVAL;
		if (s->peer && (name[0] == 'r' || !s->exists)) {
			remove_peer(s, s->peer);
			s->peer = 0;
		}
		return 0;
	}
	if (!s->peer)
		return 0;
	if (strcmp(name, "preshared_key") == 0 && hex_decode(value, psk.b, KEY_LEN) == OK) {
		wg_peer_set_psk(s->dev, s->peer, &psk);
		explicit_bzero(&psk, sizeof(psk));
	} else if (strcmp(name, "endpoint") == 0 && endpoint_parse(value, &ep) == OK) {
		wg_peer_set_endpoint(s->dev, s->peer, &ep, s->now);
		tunnel_forget_configured(s->tunnel, &s->key);
	} else if (strcmp(name, "persistent_keepalive_interval") == 0 && parse_number(value, UINT16_MAX, &n)) {
		wg_peer_set_keepalive(s->dev, s->peer, (uint16_t)n, s->now);
	} else if (strcmp(name, "replace_allowed_ips") == 0 && strcmp(value, "true") == 0) {
		wg_peer_clear_allowed(s->dev, s->peer);
	} else if (strcmp(name, "allowed_ip") == 0 && ip_prefix_parse(value, &prefix) == OK) {
		return wg_peer_allow(s->dev, s->peer, &prefix) == OK ? 0 : ENOMEM;
	} else {
		return strcmp(name, "protocol_version") == 0 && strcmp(value, "1") == 0 ? 0 : EINVAL;
	}
	return 0;
}

static int do_set(struct tunnel *t, char *lines)
{
	struct setting s = { .tunnel = t, .dev = tunnel_device(t), .now = os_loop_now(t->loop) };
	char *save = NULL;
	int r = 0;

	for (char *line = strtok_r(lines, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, '=');

		if (!value) {
			r = EPROTO;
			break;
		}
		*value++ = '\0';
		if (strcmp(line, "public_key") == 0)
			r = begin_peer(&s, value);
		else
			r = s.in_peers ? set_peer(&s, line, value) : set_device(&s, line, value);
	}
	tunnel_kick(t);
	return r;
}

/* ---- a client ---- */

void tunnel_uapi_answer(struct tunnel *t, char *request, FILE *f)
{
	int r = EINVAL;

	if (strncmp(request, "get=1\n", 6) == 0) {
		do_get(f, t);
		r = 0;
	} else if (strncmp(request, "set=1\n", 6) == 0) {
		r = do_set(t, request + 6);
	}
	/* Negative, as wireguard-go writes it and wg reads it. */
	fprintf(f, "errno=%d\n\n", -r);
}

/* Return: false: there was no memory for it, and half an answer is none. */
static bool answer(struct client *c)
{
	FILE *f = open_memstream(&c->out, &c->out_len);
	bool whole;

	if (!f)
		return false;
	tunnel_uapi_answer(c->uapi->tunnel, c->in, f);
	whole = !ferror(f);
	return fclose(f) == 0 && whole;
}

static bool client_read(struct client *c)
{
	size_t n = 0;
	char *in = c->in_len < REQUEST_MAX ? realloc(c->in, c->in_len + 4097) : NULL;
	enum err e;

	if (!in)
		return false;
	c->in = in;
	e = os_stream_read(c->stream, c->in + c->in_len, 4096, &n);
	if (e == ERR_AGAIN)
		return true;
	if (e != OK || n == 0)
		return false;
	c->in_len += n;
	c->in[c->in_len] = '\0';
	if (strstr(c->in, "\n\n")) {
		if (!answer(c))
			return false;
		os_stream_want(c->stream, OS_WRITE);
	}
	return true;
}

static bool client_write(struct client *c)
{
	struct iovec iov = { c->out + c->out_off, c->out_len - c->out_off };
	size_t n = 0;
	enum err e = os_stream_writev(c->stream, &iov, 1, &n);

	c->out_off += e == OK ? n : 0;
	return (e == OK || e == ERR_AGAIN) && c->out_off < c->out_len;
}

static void on_client(void *ctx, struct os_stream *s, int events)
{
	struct client *c = ctx;

	if (!(c->out ? client_write(c) : client_read(c)))
		client_free(c);
}

static void on_client_timer(void *ctx)
{
	client_free(ctx);
}

static void on_accept(void *ctx, int fd)
{
	struct tunnel_uapi *u = ctx;
	struct client *c;
	unsigned uid;

	if (u->n_clients == CLIENTS_MAX || !os_peer_uid(fd, &uid, NULL) || (uid != getuid() && uid != 0)) {
		close(fd);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || os_stream_new(u->loop, fd, on_client, c, &c->stream) != OK) {
		free(c);
		close(fd);
		return;
	}
	c->uapi = u;
	os_timer_init(&c->timer, u->loop, on_client_timer, c);
	os_timer_set(&c->timer, os_now() + CLIENT_MAX);
	list_add_tail(&u->clients, &c->link);
	u->n_clients++;
	os_stream_want(c->stream, OS_READ);
}

/* ---- where ---- */

static enum err listen_at(struct tunnel_uapi *u, const char *dir, const char *sub, const char *name)
{
	char folder[200];
	int n = snprintf(folder, sizeof(folder), "%s%s", dir, sub);

	if (n >= (int)sizeof(folder) || snprintf(u->path, sizeof(u->path), "%s/%s.sock", folder, name) >= (int)sizeof(u->path))
		return ERR_TOO_LONG;
	if (access(folder, W_OK) != 0) {
		enum err e = os_mkdir_p(folder, 0700);

		if (e != OK)
			return e;
	}
	return os_listen_unix(u->loop, u->path, on_accept, u, &u->listener);
}

static enum err listen_somewhere(struct tunnel_uapi *u, const char *dir, const char *fallback_dir, const char *name)
{
	const char *runtime = os_runtime_dir();
	enum err e = ERR_NOT_FOUND;

	if (dir)
		return listen_at(u, dir, "", name);
	if (access("/var/run/wireguard", W_OK) == 0 || geteuid() == 0)
		e = listen_at(u, "/var/run/wireguard", "", name);
	if (e != OK && runtime)
		e = listen_at(u, runtime, "/nefia/wireguard", name);
	if (e != OK && fallback_dir)
		e = listen_at(u, fallback_dir, "", name);
	return e;
}

enum err tunnel_uapi_open(struct os_loop *loop, struct tunnel *t, const char *dir, const char *fallback_dir,
			  const char *name, struct tunnel_uapi **ret)
{
	struct tunnel_uapi *u = calloc(1, sizeof(*u));
	enum err e;

	if (!u)
		return ERR_NOMEM;
	u->loop = loop;
	u->tunnel = t;
	list_init(&u->clients);
	e = listen_somewhere(u, dir, fallback_dir, name);
	if (e != OK) {
		free(u);
		return e;
	}
	*ret = u;
	return OK;
}

void tunnel_uapi_close(struct tunnel_uapi *u)
{
	if (!u)
		return;
	list_for_each_safe(it, &u->clients)
		client_free(container_of(it, struct client, link));
	os_listener_close(u->listener);
	free(u);
}

const char *tunnel_uapi_path(const struct tunnel_uapi *u)
{
	return u->path;
}
