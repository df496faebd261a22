/*
 * operator/hub_enroll.c - the enrollment listener: TCP 19820, for all pending invites.
 *
 * A long-running hub listens whenever nefia.yaml has an invite that somebody may ask for; a transient one while a command listens
 * (op enroll-listen, owned by that command's connection). The protocol is enroll/server.c's; here are its sockets, its
 * time limits, the limiter, and the commit. Strangers cost little: a connection that has said nothing for 5 s is closed,
 * and when all places are taken the oldest that has not shown a token goes.
 *
 * What happened is kept as numbered events, the last 128, which commands fetch (op enroll-events).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <sodium.h>

#include "base/log.h"
#include "enroll/limiter.h"
#include "enroll/server.h"
#include "operator/enroll_store.h"
#include "operator/hub_internal.h"

#define CONNS_MAX 512
#define EVENTS_MAX 128
#define LINGER_MAX (2 * NSEC_PER_SEC)
#define KNOWN_HOSTS_MAX (4u << 20)

struct hub_enroll {
	struct hub *hub;
	struct os_listener *v4, *v6;
	uint16_t port;
	unsigned n_listening; /* commands that asked */
	struct noise_static self;
	struct enroll_invites invites;
	size_t n_pending, n_open;
	struct enroll_limiter *limiter;
	struct log_limit refusals;
	struct list conns; /* oldest first */
	size_t n_conns;
	json_t *events[EVENTS_MAX];
	uint64_t n_events; /* ever */
};

struct enroll_conn {
	struct list link;
	struct hub_enroll *he;
	struct os_stream *stream;
	struct os_timer timer;
	struct enroll_server m;
	struct ip_addr from;
	char where[ENDPOINT_STR_MAX];
	bool known;  /* given back to the limiter */
	bool ended;  /* said, and its event is out */
	bool shut;   /* our direction is closed; what still comes is thrown away */
};

/* ---- events ---- */

static void add_event(struct hub_enroll *he, json_t *ev)
{
	json_t **slot = &he->events[he->n_events % EVENTS_MAX];

	json_decref(*slot);
	*slot = ev;
	json_object_set_new(ev, "seq", json_integer((json_int_t)++he->n_events));
}

static json_t *events_after(const struct hub_enroll *he, uint64_t after)
{
	uint64_t from = he->n_events > EVENTS_MAX ? he->n_events - EVENTS_MAX : 0;
	json_t *list = json_array();

	for (uint64_t i = MAX(from, after); i < he->n_events; i++)
		json_array_append(list, he->events[i % EVENTS_MAX]);
	return list;
}

/* ---- host keys ---- */

/* Lines of the host's names go: whoever enrolled has just proved who it is. */
static char *without_names(const char *file, const char *names)
{
	size_t len = strlen(names);
	char *out = calloc(1, strlen(file) + 1), *to = out;

	while (out && *file) {
		size_t n = strcspn(file, "\n");

		n += file[n] == '\n';
		if (strncmp(file, names, len) != 0 || file[len] != ' ')
			to = mempcpy(to, file, n);
		file += n;
	}
	return out;
}

static enum err write_host_keys(const struct hub *h, const char *host, const char *addr, const struct enroll_request *req)
{
	char names[HOST_ID_MAX + IP_ADDR_STR_MAX + 16], *file = NULL, *text = NULL;
	size_t len = 0, size;
	FILE *f;
	enum err e = os_file_read(h->paths.known_hosts, KNOWN_HOSTS_MAX, &file, &len);

	if (e != OK && e != ERR_NOT_FOUND)
		return e;
	snprintf(names, sizeof(names), "%s.nefia,%s", host, addr);
	if (file) {
		char *kept = without_names(file, names);

		free(file);
		file = kept;
	}
	f = open_memstream(&text, &size);
	if (!f) {
		free(file);
		return ERR_NOMEM;
	}
	fprintf(f, "%s%s", file ? file : "", file && *file && file[strlen(file) - 1] != '\n' ? "\n" : "");
	for (size_t i = 0; i < req->n_host_keys; i++)
		fprintf(f, "%s %s\n", names, req->host_keys[i]);
	e = fclose(f) == 0 ? os_file_write_atomic(h->paths.known_hosts, text, size, 0600) : ERR_NOMEM;
	free(text);
	free(file);
	return e;
}

/* "type base64" of a kind that ssh knows, nothing else: it becomes a line of a file. */
static bool is_host_key(const char *s)
{
	static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
	size_t type = strcspn(s, " ");

	if (strncmp(s, "ssh-", 4) != 0 && strncmp(s, "ecdsa-", 6) != 0)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == type && s[type] == ' ' && s[type + 1] &&
	       strspn(s + type + 1, b64) == strlen(s + type + 1);
}

static void register_host_keys(const struct hub *h, const struct enroll_attempt *a)
{
	char lock_path[PATH_MAX + 8], addr[IP_ADDR_STR_MAX];
	struct os_lock *lock;
	enum err e;

	for (size_t i = 0; i < a->req->n_host_keys; i++)
		if (!is_host_key(a->req->host_keys[i]))
			return;
	if (a->req->n_host_keys == 0)
		return;
	snprintf(lock_path, sizeof(lock_path), "%s.lock", h->paths.known_hosts);
	e = os_lock_take(lock_path, 1, &lock);
	if (e == OK) {
		e = write_host_keys(h, a->reply.host_id, ip_addr_format(&a->reply.addrs[0].ip, addr), a->req);
		os_lock_free(lock);
	}
	if (e != OK)
		log_warn("the host's SSH keys were not registered host=%s error=%s", a->reply.host_id, err_name(e));
}

/* ---- a connection ---- */

static void conn_free(struct enroll_conn *c)
{
	os_timer_cancel(&c->timer);
	os_stream_close(c->stream);
	enroll_server_fini(&c->m);
	list_del(&c->link);
	c->he->n_conns--;
	free(c);
}

static const struct enroll_invite *invite_of_conn(const struct enroll_conn *c)
{
	return enroll_server_is_known(&c->m) ? enroll_invites_find(&c->he->invites, c->m.id) : NULL;
}

/* What a stranger can cause is told to no command, and seldom: but agents send their people to this log for the reason. */
static void say_refused(struct enroll_conn *c, const char *why)
{
	uint32_t n_held;

	if (log_limit_ok(&c->he->refusals, os_now(), &n_held))
		log_info("enrollment refused from=%s reason=\"%s\" more=%u", c->where, why, n_held);
	else
		log_debug("enrollment refused from=%s reason=\"%s\"", c->where, why);
}

static void say_end(struct enroll_conn *c, const char *host, const char *why)
{
	const struct enroll_invite *inv = invite_of_conn(c);
	char prefix[9] = "-", key[KEY_STR_MAX];

	c->ended = true;
	if (!inv) {
		say_refused(c, why);
		return;
	}
	enroll_nonce_prefix(inv->nonce, prefix);
	if (c->m.code == ENROLL_OK) {
		log_info("enrollment host=%s from=%s nonce=%s", host, c->where, prefix);
		add_event(c->he, json_pack("{s:s, s:s, s:s}", "host", host, "from", c->where, "public_key",
					   key_to_base64(c->m.agent, key)));
		return;
	}
	host = inv->host_id[0] ? inv->host_id : "(fleet)";
	log_warn("enrollment failed host=%s from=%s nonce=%s error=\"%s\" reason=\"%s\"", host, c->where, prefix,
		 enroll_code_text(c->m.code), why);
	add_event(c->he, json_pack("{s:s, s:s, s:s, s:s}", "host", host, "from", c->where, "error",
				   enroll_code_text(c->m.code), "reason", why));
}

static void conn_commit(struct enroll_conn *c)
{
	struct hub *h = c->he->hub;
	struct enroll_attempt a = {
		.id = c->m.id, .agent = c->m.agent, .req = c->m.request, .from = c->from,
		.wall = os_wall_now() / NSEC_PER_SEC,
	};
	char *why = NULL;

	enroll_commit(h->opt.config, &a);
	if (a.reply.code == ENROLL_OK) {
		register_host_keys(h, &a);
		/* The peer is in the tunnel before the agent hears that it may call. */
		if (hub_reload(h, &why) != OK)
			log_error("configuration not reloaded: %s", why ? why : "unknown reason");
		free(why);
	}
	enroll_server_reply(&c->m, &a.reply, "");
	say_end(c, a.reply.host_id, a.why);
}

/* Sends what there is. False: the connection was freed. */
static bool conn_flush(struct enroll_conn *c)
{
	for (;;) {
		struct bytes out = enroll_server_output(&c->m);
		struct iovec iov = { (void *)out.p, out.len };
		size_t n = 0;
		enum err e;

		if (out.len == 0)
			break;
		e = os_stream_writev(c->stream, &iov, 1, &n);
		if (e == ERR_AGAIN) {
			os_stream_want(c->stream, OS_WRITE);
			return true;
		}
		if (e != OK) {
			conn_free(c);
			return false;
		}
		enroll_server_sent(&c->m, n);
	}
	if (c->m.state == ENROLL_SERVER_CLOSING && !c->shut) {
		/* Closing at once would reset it, and take from the agent what it has not read yet. */
		c->shut = true;
		os_stream_shutdown(c->stream);
		os_timer_set(&c->timer, os_now() + LINGER_MAX);
	}
	os_stream_want(c->stream, OS_READ);
	return true;
}

static bool conn_advance(struct enroll_conn *c)
{
	struct hub_enroll *he = c->he;

	if (!c->known && enroll_server_is_known(&c->m)) {
		c->known = true;
		enroll_limiter_give_back(he->limiter, &c->from, os_now());
	}
	if (c->m.state == ENROLL_SERVER_COMMIT)
		conn_commit(c);
	else if (c->m.state == ENROLL_SERVER_CLOSING && !c->ended)
		say_end(c, "", c->m.why);
	if (!c->shut)
		os_timer_set(&c->timer, c->m.deadline);
	return conn_flush(c);
}

static void on_conn(void *ctx, struct os_stream *s, int events)
{
	struct enroll_conn *c = ctx;
	uint8_t buf[8192];
	size_t n = 0;
	enum err e;

	if ((events & OS_WRITE) && !conn_flush(c))
		return;
	if (!(events & (OS_READ | OS_HANGUP)))
		return;
	e = os_stream_read(s, buf, sizeof(buf), &n);
	if (e == ERR_AGAIN)
		return;
	if (e != OK || n == 0) {
		conn_free(c);
		return;
	}
	if (c->shut)
		return;
	enroll_server_input(&c->m, &c->he->invites, (struct bytes){ buf, n });
	sodium_memzero(buf, n);
	conn_advance(c);
}

static void on_conn_timer(void *ctx)
{
	struct enroll_conn *c = ctx;

	if (c->shut) {
		conn_free(c);
		return;
	}
	enroll_server_expire(&c->m);
	if (!c->ended)
		say_end(c, "", c->m.why);
	conn_free(c);
}

/* Room for one more: the oldest that has shown no token goes. False: all have. */
static bool make_room(struct hub_enroll *he)
{
	if (he->n_conns < CONNS_MAX)
		return true;
	list_for_each(it, &he->conns) {
		struct enroll_conn *c = container_of(it, struct enroll_conn, link);

		if (!c->known) {
			conn_free(c);
			return true;
		}
	}
	return false;
}

static bool peer_of(int fd, struct endpoint *ret)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	memset(ret, 0, sizeof(*ret));
	if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
		return false;
	if (ss.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)&ss;

		ret->ip.family = IP_V4;
		memcpy(ret->ip.b, &in->sin_addr, 4);
		ret->port = ntohs(in->sin_port);
	} else if (ss.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)&ss;

		ret->ip.family = IP_V6;
		memcpy(ret->ip.b, &in6->sin6_addr, 16);
		ret->port = ntohs(in6->sin6_port);
	}
	return ret->ip.family != IP_NONE;
}

static void on_accept(void *ctx, int fd)
{
	struct hub_enroll *he = ctx;
	struct endpoint from;
	struct enroll_conn *c;

	if (!peer_of(fd, &from) || !make_room(he) || !(c = calloc(1, sizeof(*c)))) {
		close(fd);
		return;
	}
	if (os_stream_new(he->hub->loop, fd, on_conn, c, &c->stream) != OK) {
		close(fd);
		free(c);
		return;
	}
	c->he = he;
	c->from = from.ip;
	endpoint_format(&from, c->where);
	list_add_tail(&he->conns, &c->link);
	he->n_conns++;
	os_timer_init(&c->timer, he->hub->loop, on_conn_timer, c);
	enroll_server_init(&c->m, &he->self, os_rng(), os_now());
	if (!enroll_limiter_take(he->limiter, &from.ip, os_now()))
		enroll_server_refuse(&c->m, ENROLL_RATE, "too many requests from this address");
	conn_advance(c);
}

/* ---- listening ---- */

static void stop_listening(struct hub_enroll *he)
{
	if (he->v4)
		os_listener_close(he->v4);
	if (he->v6)
		os_listener_close(he->v6);
	if (he->v4 || he->v6)
		log_info("enrollment listener closed port=%u", he->port);
	he->v4 = he->v6 = NULL;
	he->port = 0;
}

static enum err start_listening(struct hub_enroll *he, uint16_t port)
{
	struct endpoint v4 = { .ip = { .family = IP_V4 }, .port = port }, v6 = { .ip = { .family = IP_V6 }, .port = port };
	enum err e;

	if (he->v4)
		return port == he->port ? OK : ERR_EXISTS;
	e = os_listen_tcp(he->hub->loop, &v4, on_accept, he, &he->v4);
	if (e != OK) {
		he->v4 = NULL;
		return e;
	}
	he->port = port;
	if (os_listen_tcp(he->hub->loop, &v6, on_accept, he, &he->v6) != OK)
		he->v6 = NULL; /* a machine without IPv6 */
	log_info("enrollment listener port=%u pending=%zu", port, he->n_pending);
	return OK;
}

enum err hub_enroll_open(struct hub *h)
{
	struct hub_enroll *he = calloc(1, sizeof(*he));
	uint64_t seed = rng_u64(os_rng());

	if (!he)
		return ERR_NOMEM;
	he->hub = h;
	list_init(&he->conns);
	he->limiter = enroll_limiter_new(ENROLL_LIMITER_MAX, seed);
	if (!he->limiter) {
		free(he);
		return ERR_NOMEM;
	}
	h->enroll = he;
	return OK;
}

void hub_enroll_close(struct hub *h)
{
	struct hub_enroll *he = h->enroll;

	if (!he)
		return;
	stop_listening(he);
	list_for_each_safe(it, &he->conns)
		conn_free(container_of(it, struct enroll_conn, link));
	for (size_t i = 0; i < EVENTS_MAX; i++)
		json_decref(he->events[i]);
	enroll_limiter_free(he->limiter);
	if (he->invites.v)
		sodium_memzero(he->invites.v, he->invites.n * sizeof(*he->invites.v));
	free(he->invites.v);
	sodium_memzero(he, sizeof(*he));
	free(he);
	h->enroll = NULL;
}

void hub_enroll_take_config(struct hub *h, const struct config *c)
{
	struct hub_enroll *he = h->enroll;
	struct enroll_invites next;
	size_t n_pending, n_open;

	if (!he || invites_of(c, os_wall_now() / NSEC_PER_SEC, &next, &n_pending, &n_open) != OK)
		return;
	if (he->invites.v)
		sodium_memzero(he->invites.v, he->invites.n * sizeof(*he->invites.v));
	free(he->invites.v);
	he->invites = next;
	he->n_pending = n_pending;
	he->n_open = n_open;
	enroll_self(c->private_key.b, &he->self);
	if (h->opt.transient || he->n_listening > 0)
		return;
	if (n_open == 0)
		stop_listening(he);
	else if (!he->v4 && start_listening(he, c->enroll_port) != OK)
		log_warn("enrollment port %u is in use by another program: pending hosts cannot enroll", c->enroll_port);
}

/* ---- what commands ask ---- */

static void end_listen(void *owned)
{
	struct hub_enroll *he = owned;

	if (--he->n_listening == 0 && (he->hub->opt.transient || he->n_open == 0))
		stop_listening(he);
}

void hub_op_enroll_listen(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	struct hub_enroll *he = h->enroll;
	json_int_t port = hub_json_int(req, "port", ENROLL_PORT);
	enum err e;

	if (port < 1 || port > 65535) {
		hub_conn_fail(c, ERR_RANGE, 0, "port must be 1 to 65535");
		return;
	}
	if (h->listen_port && tunnel_port(h->tunnel) != h->listen_port) {
		hub_conn_fail(c, ERR_IN_USE, HUB_ECODE_PORT, "UDP port %u is in use by another program", h->listen_port);
		return;
	}
	e = start_listening(he, (uint16_t)port);
	if (e == ERR_EXISTS) {
		hub_conn_fail(c, e, 0, "the hub listens for enrollments on port %u already", he->port);
	} else if (e != OK) {
		hub_conn_fail(c, e, HUB_ECODE_PORT, "TCP port %u: %s", (unsigned)port, err_text(e));
	} else if (!hub_conn_own(c, he, end_listen)) {
		hub_conn_fail(c, ERR_EXISTS, 0, "this connection listens already");
	} else {
		he->n_listening++;
		hub_conn_reply(c, json_pack("{s:i, s:I, s:i}", "port", (int)he->port, "seq", (json_int_t)he->n_events, "pending",
					    (int)he->n_pending), -1);
	}
}

void hub_op_enroll_events(struct hub_conn *c, const json_t *req)
{
	struct hub_enroll *he = hub_conn_hub(c)->enroll;
	json_int_t after = hub_json_int(req, "after", 0);

	hub_conn_reply(c, json_pack("{s:o, s:I, s:i}", "events", events_after(he, after > 0 ? (uint64_t)after : 0), "seq",
				    (json_int_t)he->n_events, "pending", (int)he->n_pending), -1);
}
