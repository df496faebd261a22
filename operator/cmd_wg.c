/*
 * operator/cmd_wg.c - `nefia wg show | showconf | set`: the wg tool's view of a running hub or agent.
 *
 * It speaks WireGuard's userspace API to NAME.sock and prints as wg does, for machines without wg. What is set here
 * lasts until the next reload, which restores the file.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "base/addr.h"
#include "base/encode.h"
#include "operator/cmd.h"
#include "os/file.h"
#include "os/stream.h"
#include "wg/wg.h"

#define ANSWER_MAX (4u << 20)

/* ---- the socket ---- */

static int try_socket(const char *dir, const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 10 };
	unsigned uid;
	int fd;

	if (!dir || !*dir ||
	    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s.sock", dir, name) >= (int)sizeof(sa.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	/* Keys may be sent there: only to a process of our own. */
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && os_peer_uid(fd, &uid, NULL) && uid == getuid())
		return fd;
	close(fd);
	return -1;
}

/* The places in which hub and agent put it. */
static int open_socket(const struct cli *cli, const char *dir, const char *name)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[PATH_MAX + 32];
	int fd;

	if (dir)
		return try_socket(dir, name);
	fd = try_socket("/var/run/wireguard", name);
	if (fd < 0 && runtime && *runtime) {
		snprintf(path, sizeof(path), "%s/nefia/wireguard", runtime);
		fd = try_socket(path, name);
	}
	if (fd < 0) {
		snprintf(path, sizeof(path), "%s/run", cli->home);
		fd = try_socket(path, name);
	}
	return fd < 0 ? try_socket(cli->home, name) : fd;
}

/* Sends @request, reads until the empty line. Return: the answer's lines (free it), NULL when it broke off. */
static char *ask(int fd, const char *request)
{
	size_t len = 0, cap = 65536, want = strlen(request);
	char *buf = malloc(cap + 1);
	ssize_t n;

	for (size_t sent = 0; sent < want; sent += (size_t)n) {
		n = send(fd, request + sent, want - sent, MSG_NOSIGNAL);
		if (n <= 0)
			goto broken;
	}
	while (buf && len < ANSWER_MAX) {
		char *more;

		if (len == cap) {
			more = realloc(buf, cap * 2 + 1);
			if (!more)
				break;
			buf = more;
			cap *= 2;
		}
		n = recv(fd, buf + len, cap - len, 0);
		if (n <= 0)
			break;
		len += (size_t)n;
		buf[len] = '\0';
		if (len >= 2 && strcmp(buf + len - 2, "\n\n") == 0)
			return buf;
	}
broken:
	free(buf);
	return NULL;
}

/* ---- what it says ---- */

struct peer_view {
	char key[KEY_STR_MAX], psk[KEY_STR_MAX]; /* base64; psk empty = none */
	char endpoint[ENDPOINT_STR_MAX];
	char *allowed; /* "a/b, c/d" */
	uint64_t handshake, rx, tx;
	unsigned keepalive;
};

struct view {
	char private_key[KEY_STR_MAX], public_key[KEY_STR_MAX];
	unsigned port;
	struct peer_view *peers;
	size_t n_peers;
	int error; /* errno of the answer; -1: none came */
};

static void hex_to_base64(const char *hex, char out[KEY_STR_MAX])
{
	uint8_t raw[KEY_LEN];
	size_t n;

	out[0] = '\0';
	if (sodium_hex2bin(raw, sizeof(raw), hex, strlen(hex), NULL, &n, NULL) == 0 && n == KEY_LEN &&
	    !sodium_is_zero(raw, sizeof(raw)))
		key_to_base64(raw, out);
	sodium_memzero(raw, sizeof(raw));
}

static void take_private(struct view *v, const char *hex)
{
	struct wg_private_key priv;
	struct wg_public_key pub;
	size_t n;

	hex_to_base64(hex, v->private_key);
	if (sodium_hex2bin(priv.b, KEY_LEN, hex, strlen(hex), NULL, &n, NULL) != 0 || n != KEY_LEN)
		return;
	wg_public_from_private(&priv, &pub);
	key_to_base64(pub.b, v->public_key);
	sodium_memzero(&priv, sizeof(priv));
}

static void add_allowed(struct peer_view *p, const char *prefix)
{
	char *all = NULL;

	if (asprintf(&all, "%s%s%s", p->allowed ? p->allowed : "", p->allowed ? ", " : "", prefix) < 0)
		return;
	free(p->allowed);
	p->allowed = all;
}

static void take_peer_line(struct peer_view *p, const char *key, const char *value)
{
	if (strcmp(key, "preshared_key") == 0)
		hex_to_base64(value, p->psk);
	else if (strcmp(key, "endpoint") == 0)
		snprintf(p->endpoint, sizeof(p->endpoint), "%s", value);
	else if (strcmp(key, "allowed_ip") == 0)
		add_allowed(p, value);
	else if (strcmp(key, "last_handshake_time_sec") == 0)
		p->handshake = strtoull(value, NULL, 10);
	else if (strcmp(key, "rx_bytes") == 0)
		p->rx = strtoull(value, NULL, 10);
	else if (strcmp(key, "tx_bytes") == 0)
		p->tx = strtoull(value, NULL, 10);
	else if (strcmp(key, "persistent_keepalive_interval") == 0)
		p->keepalive = (unsigned)strtoul(value, NULL, 10);
}

/* -EINVAL from most, EINVAL from some; what is no errno at all counts as EIO. */
static int errno_of(const char *value)
{
	long n = strtol(value + (*value == '-'), NULL, 10);

	return n < 0 || n > 4095 ? EIO : (int)n;
}

static void take_line(struct view *v, const char *key, const char *value)
{
	struct peer_view *more;

	if (strcmp(key, "errno") == 0) {
		v->error = errno_of(value);
	} else if (strcmp(key, "private_key") == 0) {
		take_private(v, value);
	} else if (strcmp(key, "listen_port") == 0) {
		v->port = (unsigned)strtoul(value, NULL, 10);
	} else if (strcmp(key, "public_key") == 0) {
		more = realloc(v->peers, (v->n_peers + 1) * sizeof(*more));
		if (!more)
			return;
		v->peers = more;
		v->peers[v->n_peers] = (struct peer_view){ 0 };
		hex_to_base64(value, v->peers[v->n_peers++].key);
	} else if (v->n_peers > 0) {
		take_peer_line(&v->peers[v->n_peers - 1], key, value);
	}
}

static void read_view(char *answer, struct view *v)
{
	char *save = NULL;

	*v = (struct view){ .error = -1 };
	for (char *line = strtok_r(answer, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');

		if (!eq)
			continue;
		*eq = '\0';
		take_line(v, line, eq + 1);
	}
}

static void view_free(struct view *v)
{
	for (size_t i = 0; i < v->n_peers; i++)
		free(v->peers[i].allowed);
	if (v->peers)
		sodium_memzero(v->peers, v->n_peers * sizeof(v->peers[0]));
	free(v->peers);
	sodium_memzero(v, sizeof(*v));
}

/* ---- printing ---- */

static int by_handshake(const void *a, const void *b)
{
	const struct peer_view *x = a, *y = b;

	return (y->handshake > x->handshake) - (y->handshake < x->handshake);
}

static void print_age(uint64_t seconds)
{
	static const struct {
		uint64_t s;
		const char *name;
	} units[] = { { 365 * 86400, "year" }, { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
	const char *comma = "";

	if (seconds == 0) {
		printf("Now");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		uint64_t n = seconds / units[i].s;

		seconds %= units[i].s;
		if (n == 0)
			continue;
		printf("%s%" PRIu64 " %s%s", comma, n, units[i].name, n == 1 ? "" : "s");
		comma = ", ";
	}
	printf(" ago");
}

static void print_bytes(uint64_t n)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double x = (double)n;
	int i = -1;

	if (n < 1024) {
		printf("%" PRIu64 " B", n);
		return;
	}
	while (x >= 1024 && i < 3) {
		x /= 1024;
		i++;
	}
	printf("%.2f %s", x, units[i]);
}

static void print_peer(const struct peer_view *p)
{
	uint64_t now = (uint64_t)time(NULL);

	printf("\npeer: %s\n", p->key);
	if (p->psk[0])
		printf("  preshared key: (hidden)\n");
	if (p->endpoint[0])
		printf("  endpoint: %s\n", p->endpoint);
	printf("  allowed ips: %s\n", p->allowed ? p->allowed : "(none)");
	if (p->handshake) {
		printf("  latest handshake: ");
		print_age(now > p->handshake ? now - p->handshake : 0);
		putchar('\n');
	}
	if (p->rx || p->tx) {
		printf("  transfer: ");
		print_bytes(p->rx);
		printf(" received, ");
		print_bytes(p->tx);
		printf(" sent\n");
	}
	if (p->keepalive)
		printf("  persistent keepalive: every %u second%s\n", p->keepalive, p->keepalive == 1 ? "" : "s");
}

static void print_show(struct view *v, const char *name)
{
	printf("interface: %s\n", name);
	if (v->public_key[0])
		printf("  public key: %s\n  private key: (hidden)\n", v->public_key);
	if (v->port)
		printf("  listening port: %u\n", v->port);
	if (v->n_peers > 1)
		qsort(v->peers, v->n_peers, sizeof(v->peers[0]), by_handshake);
	for (size_t i = 0; i < v->n_peers; i++)
		print_peer(&v->peers[i]);
}

static void print_conf(const struct view *v)
{
	printf("[Interface]\n");
	if (v->port)
		printf("ListenPort = %u\n", v->port);
	if (v->private_key[0])
		printf("PrivateKey = %s\n", v->private_key);
	for (size_t i = 0; i < v->n_peers; i++) {
		const struct peer_view *p = &v->peers[i];

		printf("\n[Peer]\nPublicKey = %s\n", p->key);
		if (p->psk[0])
			printf("PresharedKey = %s\n", p->psk);
		if (p->allowed)
			printf("AllowedIPs = %s\n", p->allowed);
		if (p->endpoint[0])
			printf("Endpoint = %s\n", p->endpoint);
		if (p->keepalive)
			printf("PersistentKeepalive = %u\n", p->keepalive);
	}
}

/* ---- set ---- */

struct request {
	char text[65536];
	size_t len;
	char why[256]; /* empty: well so far */
};

static void put(struct request *r, const char *key, const char *value)
{
	int n = snprintf(r->text + r->len, sizeof(r->text) - r->len, "%s=%s\n", key, value);

	if (n < 0 || (size_t)n >= sizeof(r->text) - r->len)
		snprintf(r->why, sizeof(r->why), "too many settings at once");
	else
		r->len += (size_t)n;
}

static void put_key(struct request *r, const char *name, const char *text)
{
	char hex[2 * KEY_LEN + 1];
	uint8_t raw[KEY_LEN];

	if (key_from_base64(text, raw) != OK) {
		snprintf(r->why, sizeof(r->why), "'%.50s' is not a key: 44 characters of base64", text);
		return;
	}
	put(r, name, sodium_bin2hex(hex, sizeof(hex), raw, sizeof(raw)));
	sodium_memzero(raw, sizeof(raw));
	sodium_memzero(hex, sizeof(hex));
}

/* Keys come from files, as with wg: an argument could be read by others. An empty file takes the key away. */
static void put_key_file(struct request *r, const char *name, const char *path)
{
	static const char none[] = "0000000000000000000000000000000000000000000000000000000000000000";
	char *text;
	size_t len;

	if (strcmp(path, "/dev/null") == 0) {
		put(r, name, none);
		return;
	}
	if (os_file_read(path, 4096, &text, &len) != OK) {
		snprintf(r->why, sizeof(r->why), "cannot read the key file %.150s", path);
		return;
	}
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
		text[--len] = '\0';
	if (len == 0)
		put(r, name, none);
	else
		put_key(r, name, text);
	sodium_memzero(text, len);
	free(text);
}

static void put_allowed(struct request *r, const char *list)
{
	char copy[4096], *save = NULL;

	if (snprintf(copy, sizeof(copy), "%s", list) >= (int)sizeof(copy)) {
		snprintf(r->why, sizeof(r->why), "the list of allowed IPs is too long");
		return;
	}
	put(r, "replace_allowed_ips", "true");
	for (char *p = strtok_r(copy, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
		struct ip_prefix prefix;

		if (ip_prefix_parse(p, &prefix) != OK) {
			snprintf(r->why, sizeof(r->why), "'%.60s' is not ADDRESS/LENGTH", p);
			return;
		}
		put(r, "allowed_ip", p);
	}
}

/* One word of `set` and its value. Return: how many arguments it took; 0 = unknown. */
static int put_setting(struct request *r, bool in_peer, const char *word, const char *value)
{
	if (in_peer && strcmp(word, "remove") == 0) {
		put(r, "remove", "true");
		return 1;
	}
	if (!value)
		return 0;
	if (strcmp(word, "peer") == 0)
		put_key(r, "public_key", value);
	else if (!in_peer && strcmp(word, "private-key") == 0)
		put_key_file(r, "private_key", value);
	else if (!in_peer && strcmp(word, "listen-port") == 0)
		put(r, "listen_port", value);
	else if (in_peer && strcmp(word, "preshared-key") == 0)
		put_key_file(r, "preshared_key", value);
	else if (in_peer && strcmp(word, "endpoint") == 0)
		put(r, "endpoint", value);
	else if (in_peer && strcmp(word, "persistent-keepalive") == 0)
		put(r, "persistent_keepalive_interval", strcmp(value, "off") == 0 ? "0" : value);
	else if (in_peer && strcmp(word, "allowed-ips") == 0)
		put_allowed(r, value);
	else
		return 0;
	return 2;
}

static int set(struct cli *cli, int fd, int argc, char **argv)
{
	static struct request r;
	bool in_peer = false;
	struct view v;
	char *answer;
	int e;

	r = (struct request){ .len = 0 };
	put(&r, "set", "1");
	for (int i = 0; i < argc && !r.why[0];) {
		int n = put_setting(&r, in_peer, argv[i], argv[i + 1]);

		if (n == 0)
			return cli_usage(cli, "'%s' is not known here, or its value is missing", argv[i]);
		in_peer |= strcmp(argv[i], "peer") == 0;
		i += n;
	}
	if (r.why[0])
		return cli_usage(cli, "%s", r.why);
	put(&r, "", "");
	strcpy(r.text + r.len - 2, "\n"); /* the empty line that ends it */
	answer = ask(fd, r.text);
	sodium_memzero(&r, sizeof(r));
	if (!answer)
		return cli_error(cli, 1015, "wg set: no answer");
	read_view(answer, &v);
	free(answer);
	e = v.error;
	view_free(&v);
	if (e != 0)
		return cli_error(cli, 1043, "wg set: %s", strerror(e > 0 ? e : EPROTO));
	return EXIT_OK;
}

/* ---- the command ---- */

static int show(struct cli *cli, int fd, const char *name, bool conf)
{
	char *answer = ask(fd, "get=1\n\n");
	struct view v;

	if (!answer)
		return cli_error(cli, 1015, "wg: %s does not answer", name);
	read_view(answer, &v);
	sodium_memzero(answer, strlen(answer));
	free(answer);
	if (v.error != 0) {
		view_free(&v);
		return cli_error(cli, 1043, "wg: %s", strerror(v.error > 0 ? v.error : EPROTO));
	}
	if (conf)
		print_conf(&v);
	else
		print_show(&v, name);
	view_free(&v);
	return EXIT_OK;
}

struct wg_flags {
	const char *dir;
};

const struct cli_option wg_options[] = {
	{ "uapi-dir", 0, "DIR", "the folder of the socket", option_text, offsetof(struct wg_flags, dir) },
	{ .name = NULL },
};

/* The socket of the hub or agent called @name; *ret_exit when there is none. */
static int open_named(struct cli *cli, const struct wg_flags *flags, const char *name, int *ret_exit)
{
	int fd;

	if (strchr(name, '/')) {
		*ret_exit = cli_usage(cli, "'%s' is not a name", name);
		return -1;
	}
	fd = open_socket(cli, flags->dir, name);
	if (fd < 0)
		*ret_exit = cli_error(cli, 1013, "nothing called %s answers in %s", name,
				      flags->dir ? flags->dir : "/var/run/wireguard, $XDG_RUNTIME_DIR/nefia/wireguard and Nefia's folder");
	return fd;
}

int cmd_wg_show(struct cli *cli, int argc, char **argv)
{
	struct wg_flags flags = { NULL };
	bool conf = strcmp(argv[0], "showconf") == 0;
	const char *name;
	int fd, r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	name = argc > 1 ? argv[1] : "nefia";
	fd = open_named(cli, &flags, name, &r);
	if (fd < 0)
		return r;
	r = show(cli, fd, name, conf);
	close(fd);
	return r;
}

int cmd_wg_set(struct cli *cli, int argc, char **argv)
{
	struct wg_flags flags = { NULL };
	int fd, r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	fd = open_named(cli, &flags, argv[1], &r);
	if (fd < 0)
		return r;
	r = set(cli, fd, argc - 2, argv + 2);
	close(fd);
	return r;
}
