/*
 * operator/hub_ops.c - what clients may ask the hub. doc/control.md is the contract.
 *
 * An operation is a row of the table: a function that answers at once, or leaves a job with the connection and
 * answers later. Unknown fields of a request are ignored; an unknown operation and a request of a later major
 * version are refused with the versions on both sides, so that the person knows which program to update.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/control_client.h"
#include "base/log.h"
#include "base/version.h"
#include "operator/hub_internal.h"
#include "ssh/frame.h"

/* ---- dial ---- */

struct client_dial {
	struct hub_conn *conn;
	struct tunnel_dial *dial;
	char host[64];
	unsigned port;
};

static void cancel_client_dial(void *job)
{
	struct client_dial *d = job;

	tunnel_dial_cancel(d->dial);
	free(d);
}

static void fail_dial(struct hub_conn *c, const char *host, unsigned port, enum err e)
{
	switch (e) {
	case ERR_REFUSED:
		hub_conn_fail(c, e, 0, "host %s refused the connection to port %u", host, port);
		break;
	case ERR_NO_ROUTE:
		hub_conn_fail(c, e, 0, "host %s has no known endpoint and has not called yet", host);
		break;
	case ERR_TIMEOUT:
		hub_conn_fail(c, e, 0, "host %s does not answer through the tunnel", host);
		break;
	default:
		hub_conn_fail(c, e, 0, "connection to host %s port %u failed: %s", host, port, err_text(e));
	}
}

static void on_client_dialed(void *ctx, enum err e, struct net_tcp *tcp)
{
	struct client_dial *d = ctx;
	struct hub_conn *c = d->conn;
	struct client_dial copy = *d;
	int fd = -1;

	hub_conn_set_job(c, NULL, NULL);
	free(d);
	if (e == OK)
		e = hub_bridge_add(hub_conn_hub(c), tcp, true, &fd);
	if (e == OK)
		hub_conn_reply(c, hub_stream_reply(hub_conn_hub(c)), fd);
	else
		fail_dial(c, copy.host, copy.port, e);
}

/* The host that a request names; answers itself when there is none. */
static struct hub_host *need_host(struct hub_conn *c, const json_t *req)
{
	const char *name = hub_json_string(req, "host");
	struct hub_host *hh = name ? hub_find(hub_conn_hub(c), name) : NULL;

	if (!hh)
		hub_conn_fail(c, ERR_NOT_FOUND, 0, "unknown host: %s", name ? name : "(none given)");
	else if (!hh->has_key)
		hub_conn_fail(c, ERR_NOT_FOUND, 0, "host %s has no public key yet", name);
	else if (hub_rival_has_key(hh->hub))
		hub_conn_fail(c, ERR_IN_USE, HUB_ECODE_RIVAL, "it began later than this one, at %s, seen by host %s",
			      hh->hub->rival.seen.from, hh->hub->rival.host);
	else
		return hh;
	return NULL;
}

static nsec_t deadline_of(const json_t *req, nsec_t max)
{
	json_int_t ms = hub_json_int(req, "timeout_ms", 0);

	return os_now() + (ms > 0 && (nsec_t)ms * NSEC_PER_MSEC < max ? (nsec_t)ms * NSEC_PER_MSEC : max);
}

static void op_dial(struct hub_conn *c, const json_t *req)
{
	struct hub_host *hh = need_host(c, req);
	json_int_t port = hub_json_int(req, "port", 0);
	struct client_dial *d;
	enum err e;

	if (!hh)
		return;
	if (port < 1 || port > 65535) {
		hub_conn_fail(c, ERR_RANGE, 0, "port must be 1 to 65535");
		return;
	}
	d = calloc(1, sizeof(*d));
	e = d ? OK : ERR_NOMEM;
	if (e == OK) {
		struct endpoint remote = { .ip = hh->ip, .port = (uint16_t)port };

		d->conn = c;
		d->port = (unsigned)port;
		memcpy(d->host, hh->peer.name, sizeof(d->host));
		e = tunnel_dial_start(hh->hub->tunnel, &remote, deadline_of(req, HUB_DIAL_MAX), on_client_dialed, d,
				      &d->dial);
	}
	if (e == OK) {
		hub_conn_set_job(c, d, cancel_client_dial);
		return;
	}
	free(d);
	fail_dial(c, hh->peer.name, (unsigned)port, e);
}

/* ---- session ---- */

/* A worker that is handed many sessions at once is busy for a moment: tried again until the deadline. */
#define SESSION_PAUSE (2 * NSEC_PER_MSEC)
#define SESSION_MAX (5 * NSEC_PER_SEC)

struct client_session {
	struct hub_conn *conn;
	struct os_timer timer;
	nsec_t deadline;
	char host[64];
};

static void cancel_client_session(void *job)
{
	struct client_session *s = job;

	os_timer_cancel(&s->timer);
	free(s);
}

/* OK and every error but ERR_AGAIN are answered. */
static enum err try_session(struct hub_conn *c, struct hub_host *hh, bool is_last)
{
	char why[HUB_WHY_MAX] = "";
	int fd = -1;
	enum err e = hub_host_attach(hh, &fd, why);

	if (e == ERR_AGAIN && !is_last)
		return e;
	hub_conn_set_job(c, NULL, NULL);
	if (e == OK)
		hub_conn_reply(c, json_object(), fd);
	else
		hub_conn_fail(c, e, e == ERR_AUTH ? 1034 : 0, "%s", why);
	return OK;
}

static void on_session_timer(void *ctx)
{
	struct client_session *s = ctx;
	struct hub *h = hub_conn_hub(s->conn);
	struct hub_host *hh = hub_find(h, s->host);
	nsec_t now = os_loop_now(h->loop);

	if (hh && try_session(s->conn, hh, now >= s->deadline) != OK) {
		os_timer_set(&s->timer, now + SESSION_PAUSE);
		return;
	}
	if (!hh) {
		hub_conn_set_job(s->conn, NULL, NULL);
		hub_conn_fail(s->conn, ERR_NOT_FOUND, 0, "unknown host: %s", s->host);
	}
	free(s);
}

static void op_session(struct hub_conn *c, const json_t *req)
{
	struct hub_host *hh = need_host(c, req);
	struct client_session *s;

	if (hh)
		hub_agent_set(hh, hub_json_string(req, "agent"));
	if (!hh || try_session(c, hh, false) == OK)
		return;
	s = calloc(1, sizeof(*s));
	if (!s) {
		hub_conn_fail(c, ERR_NOMEM, 0, "out of memory");
		return;
	}
	s->conn = c;
	s->deadline = deadline_of(req, SESSION_MAX);
	memcpy(s->host, hh->peer.name, sizeof(s->host));
	os_timer_init(&s->timer, hh->hub->loop, on_session_timer, s);
	os_timer_set(&s->timer, os_now() + SESSION_PAUSE);
	hub_conn_set_job(c, s, cancel_client_session);
}

/* ---- forward ---- */

static void op_forward(struct hub_conn *c, const json_t *req)
{
	struct hub_host *hh = need_host(c, req);
	const char *text = hub_json_string(req, "bind");
	struct hub_forward *f;
	struct endpoint bind;
	uint16_t port;
	enum err e;

	if (!hh)
		return;
	if (!text || endpoint_parse(text, &bind) != OK) {
		hub_conn_fail(c, ERR_INVALID, 0, "bind must be IP:PORT");
		return;
	}
	e = hub_forward_open(hh->hub, hh->peer.name, HUB_SSH_PORT, &bind, &f, &port);
	if (e != OK) {
		hub_conn_fail(c, e, 0, "cannot listen on %s: %s", text, err_text(e));
		return;
	}
	if (hub_conn_own(c, f, hub_forward_close)) {
		hub_conn_reply(c, json_pack("{s:i}", "port", (int)port), -1);
		return;
	}
	hub_forward_close(f);
	hub_conn_fail(c, ERR_EXISTS, 0, "this connection has a forward already");
}

/*
 * ---- ping ----
 *
 * The agent's control port answers with our nonce. A peer without one (any WireGuard endpoint, an older agent) has refused
 * that connection; it is asked for TCP 22 then.
 */
struct ping;
struct ping_one {
	struct ping *all;
	struct ip_addr ip;
	nsec_t deadline;
	struct agent_ask *ping;   /* first */
	struct tunnel_dial *dial; /* then; both NULL = over */
	nsec_t took;
	enum err outcome;
	char name[64];
};

struct ping {
	struct hub_conn *conn;
	nsec_t started;
	size_t n, n_running;
	bool starting;
	struct ping_one one[];
};

static void cancel_ping(void *job)
{
	struct ping *p = job;

	for (size_t i = 0; i < p->n; i++) {
		agent_ask_cancel(p->one[i].ping);
		tunnel_dial_cancel(p->one[i].dial);
	}
	free(p);
}

static void ping_finish(struct ping *p)
{
	json_t *results = json_array();
	struct hub_conn *c = p->conn;

	for (size_t i = 0; i < p->n; i++) {
		struct ping_one *o = &p->one[i];
		json_t *r = json_pack("{s:s, s:b, s:f}", "host", o->name, "reachable", o->outcome == OK, "ms",
				      (double)o->took / NSEC_PER_MSEC);

		if (o->outcome != OK)
			json_object_set_new(r, "error", json_string(err_name(o->outcome)));
		json_array_append_new(results, r);
	}
	hub_conn_set_job(c, NULL, NULL);
	free(p);
	hub_conn_reply(c, json_pack("{s:o}", "results", results), -1);
}

static void ping_over(struct ping_one *o, enum err e)
{
	struct ping *p = o->all;

	o->outcome = e;
	o->took = os_now() - p->started;
	if (--p->n_running == 0 && !p->starting)
		ping_finish(p);
}

static void on_dialled_22(void *ctx, enum err e, struct net_tcp *tcp)
{
	struct ping_one *o = ctx;

	if (e == OK)
		net_tcp_abort(tcp);
	o->dial = NULL;
	ping_over(o, e);
}

static void on_pinged(void *ctx, enum err e, const json_t *reply)
{
	struct ping_one *o = ctx;
	struct endpoint remote = { .ip = o->ip, .port = HUB_SSH_PORT };
	struct tunnel *t = hub_conn_hub(o->all->conn)->tunnel;

	o->ping = NULL;
	if (e == ERR_REFUSED)
		e = tunnel_dial_start(t, &remote, o->deadline, on_dialled_22, o, &o->dial);
	if (!o->dial)
		ping_over(o, e);
}

static void ping_start_one(struct ping *p, struct hub_host *hh, nsec_t deadline)
{
	static const struct agent_control_request req = { .op = AGENT_CONTROL_PING };
	struct ping_one *o = &p->one[p->n++];

	o->all = p;
	o->ip = hh->ip;
	o->deadline = deadline;
	memcpy(o->name, hh->peer.name, sizeof(o->name));
	p->n_running++;
	o->outcome = agent_ask_start(hh->hub->loop, hh->hub->tunnel, &hh->ip, &req, deadline, on_pinged, o, &o->ping);
	if (o->outcome != OK)
		p->n_running--;
}

/* "host": one, or none: all that have a key */
static void op_ping(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	const char *name = hub_json_string(req, "host");
	struct ping *p;

	if (name && !need_host(c, req))
		return;
	p = calloc(1, sizeof(*p) + h->n_hosts * sizeof(p->one[0]));
	if (!p) {
		hub_conn_fail(c, ERR_NOMEM, 0, "out of memory");
		return;
	}
	p->conn = c;
	p->started = os_now();
	p->starting = true;
	for (size_t i = 0; i < h->n_hosts; i++) {
		struct hub_host *hh = h->hosts[i];

		if (hh->has_key && !hh->gone && (!name || strcmp(name, hh->peer.name) == 0))
			ping_start_one(p, hh, deadline_of(req, HUB_PING_MAX));
	}
	p->starting = false;
	hub_conn_set_job(c, p, cancel_ping);
	if (p->n_running == 0)
		ping_finish(p);
}

/* ---- status ---- */

/* The pool, and file sessions from begin to end. */
static void add_counts(json_t *o, const struct hub_host *hh)
{
	static const struct ssh_counts none;
	const struct ssh_counts *n = hh->worker ? ssh_worker_counts(hh->worker) : &none;

	json_object_set_new(o, "ssh", json_pack("{s:I, s:I, s:I, s:I}", "connections", (json_int_t)n->n_connections, "sessions",
						(json_int_t)n->n_sessions, "file_sessions", (json_int_t)n->n_file_sessions,
						"file_sessions_ended", (json_int_t)(hh->files_ended + n->n_files_ended)));
}

/* Nothing failed: nothing to say. */
static void add_breaker(json_t *o, const struct breaker *b)
{
	static const char *const states[] = { "closed", "open", "half-open" };
	nsec_t now = os_now();

	if (b->n_failures > 0)
		json_object_set_new(o, "breaker",
				    json_pack("{s:s, s:i, s:s, s:s, s:I}", "state", states[b->state], "failures",
					      (int)b->n_failures, "reason", err_name(b->reason), "reason_text",
					      breaker_reason(b), "next_attempt_ms", (json_int_t)(b->state != BREAKER_OPEN || b->until <= now ?
					      0 : (b->until - now) / NSEC_PER_MSEC)));
}

static json_t *peer_status(struct hub *h, struct hub_host *hh)
{
	struct wg_device *dev = tunnel_device(h->tunnel);
	json_t *o = json_pack("{s:s, s:s}", "host", hh->peer.name, "addr", hh->addr);
	wg_peer_id id = hh->has_key ? wg_peer_find(dev, &hh->peer.key) : 0;
	uint64_t wall = os_wall_now();
	struct wg_peer_info info;
	char buf[ENDPOINT_STR_MAX];

	json_object_set_new(o, "last_handshake_age_ms",
			    hh->seen_wall ? json_integer(wall > hh->seen_wall ?
				(json_int_t)((wall - hh->seen_wall) / NSEC_PER_MSEC) : 0) : json_null());
	add_breaker(o, &hh->breaker);
	add_counts(o, hh);
	if (!id || !wg_peer_get_info(dev, id, os_now(), &info))
		return o;
	explicit_bzero(&info.psk, sizeof(info.psk));
	if (endpoint_is_set(&info.endpoint))
		json_object_set_new(o, "endpoint", json_string(endpoint_format(&info.endpoint, buf)));
	json_object_set_new(o, "rx_bytes", json_integer((json_int_t)info.rx_bytes));
	json_object_set_new(o, "tx_bytes", json_integer((json_int_t)info.tx_bytes));
	json_object_set_new(o, "up", json_boolean(info.is_up));
	json_object_set_new(o, "path", json_string("direct"));
	return o;
}

static json_t *gauges(const struct hub *h)
{
	struct tunnel_gauge g[TUNNEL_N_GAUGES];
	size_t n = tunnel_gauges(h->tunnel, g, ARRAY_SIZE(g));
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, g[i].name, json_integer(g[i].value));
	return o;
}

static void op_status(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	json_t *peers = json_array();

	hub_seen_update(h);
	for (size_t i = 0; i < h->n_hosts; i++)
		if (!h->hosts[i]->gone)
			json_array_append_new(peers, peer_status(h, h->hosts[i]));
	hub_conn_reply(c,
		       json_pack("{s:i, s:s, s:b, s:i, s:I, s:s, s:s, s:o, s:o, s:o}", "pid", (int)getpid(), "version",
				 NEFIA_VERSION, "transient", h->opt.transient, "port", (int)tunnel_port(h->tunnel),
				 "uptime_ms", (json_int_t)((os_now() - h->started) / NSEC_PER_MSEC), "aead",
				 tunnel_aead(h->tunnel), "uapi", h->uapi ? tunnel_uapi_path(h->uapi) : "",
				 "peers", peers, "udp", gauges(h), "rival", hub_rival_json(h)),
		       -1);
}

/* ---- the rest ---- */

static void op_hello(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	const char *config = hub_json_string(req, "config");

	if (config && strcmp(config, h->opt.config) != 0) {
		hub_conn_fail(c, ERR_IN_USE, 0, "the running hub (pid %d) uses another configuration: %s", (int)getpid(),
			      h->opt.config);
		return;
	}
	hub_conn_reply(c,
		       json_pack("{s:s, s:i, s:b}", "version", NEFIA_VERSION, "pid", (int)getpid(), "transient",
				 h->opt.transient),
		       -1);
}

static void op_stop(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);

	log_info("stopped by a client");
	hub_conn_reply(c, json_pack("{s:i, s:i}", "pid", (int)getpid(), "forwards", (int)h->n_keeps), -1);
	hub_stop(h);
}

/* "host": one, or none: all that rest */
static void op_retry(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	struct hub_host *one = NULL;
	json_t *hosts;

	if (hub_json_string(req, "host") && !(one = need_host(c, req)))
		return;
	hosts = json_array();
	for (size_t i = 0; i < h->n_hosts; i++)
		if ((!one || h->hosts[i] == one) && hub_host_retry(h->hosts[i]))
			json_array_append_new(hosts, json_string(h->hosts[i]->peer.name));
	hub_conn_reply(c, json_pack("{s:o}", "hosts", hosts), -1);
}

static void op_reload(struct hub_conn *c, const json_t *req)
{
	char *why = NULL;
	enum err e;

	if (json_is_true(json_object_get(req, "take_back")))
		hub_rival_take_back(hub_conn_hub(c));
	e = hub_reload(hub_conn_hub(c), &why);

	if (e == OK)
		hub_conn_reply(c, json_object(), -1);
	else
		hub_conn_fail(c, e, 0, "%s", why ? why : err_text(e));
	free(why);
}

static const struct op {
	const char *name;
	void (*run)(struct hub_conn *c, const json_t *req);
} ops[] = {
	{ "hello", op_hello }, { "status", op_status },	  { "ping", op_ping },	   { "dial", op_dial },
	{ "stop", op_stop },   { "session", op_session }, { "reload", op_reload }, { "forward", op_forward },
	{ "retry", op_retry }, { "keep", hub_op_keep }, { "keeps", hub_op_keeps }, { "unkeep", hub_op_unkeep },
	{ "listen", hub_op_listen }, { "accept", hub_op_accept }, { "ended", hub_op_ended },
	{ "enroll-listen", hub_op_enroll_listen },	{ "enroll-events", hub_op_enroll_events },
};

void hub_op_run(struct hub_conn *c, const json_t *req)
{
	const char *name = hub_json_string(req, "op");
	json_int_t v = hub_json_int(req, "v", 0);
	struct hub *h = hub_conn_hub(c);
	char *why = NULL;

	if (v != HUB_WIRE_VERSION) {
		hub_conn_fail(c, ERR_VERSION, 0,
			      "the hub (nefia %s) speaks control protocol %d, this command %d: restart the hub or use "
			      "the same version", NEFIA_VERSION, HUB_WIRE_VERSION, (int)v);
		return;
	}
	/* A host that was added a moment ago must be there for the command that follows. */
	if (hub_setup_changed(h) && hub_reload(h, &why) != OK)
		log_error("configuration not reloaded: %s", why ? why : "unknown reason");
	free(why);
	for (size_t i = 0; name && i < ARRAY_SIZE(ops); i++) {
		if (strcmp(ops[i].name, name) == 0) {
			ops[i].run(c, req);
			return;
		}
	}
	hub_conn_fail(c, ERR_UNSUPPORTED, 0, "the hub (nefia %s) does not know the operation %s", NEFIA_VERSION,
		      name ? name : "(none)");
}
