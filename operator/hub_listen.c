/*
 * operator/hub_listen.c - ports inside the tunnel, on our own address, whose connections go to a client; and how streams ended.
 *
 * A listener belongs to the control connection that asked for it. A connection that comes is accepted at once, as a kernel
 * would, and waits for the client's "accept", which answers with a descriptor, like "dial". When as many wait as its backlog
 * allows, further SYNs are held until there is room; one that is held too long ends by itself, without an answer.
 *
 * A Unix stream's end cannot be told from its reset. So each client stream has a number, and who read its end may ask ("ended")
 * what it was. Only what did not end in order is remembered, the last N_ENDS_KEPT of them.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "operator/hub_internal.h"

#define BACKLOG_MAX 128
#define N_ACCEPTED_MAX 4096 /* waiting and in use, of one listener */
#define N_PORT_TRIES 16
#define ANY_PORT_FROM 49152

struct hub_listener {
	struct hub *hub;
	struct hub_conn *conn;
	struct net_listener *l;
	struct list held, answered, standing; /* struct accepted: a SYN without an answer, one with, a connection */
	unsigned n_waiting, backlog; /* answered and standing */
	bool wanted; /* an "accept" is under way */
};

struct accepted {
	struct list link;
	struct hub_listener *owner;
	struct net_syn *syn; /* held: there was no room */
	struct net_tcp *tcp;
};

/* ---- streams ---- */

json_t *hub_stream_reply(const struct hub *h)
{
	return json_pack("{s:I}", "stream", (json_int_t)h->last_bridge);
}

void hub_stream_ended(struct hub *h, uint64_t id, enum err e)
{
	if (e == OK)
		return;
	h->ends[h->n_ends % N_ENDS_KEPT].id = id;
	h->ends[h->n_ends++ % N_ENDS_KEPT].error = e;
}

void hub_op_ended(struct hub_conn *c, const json_t *req)
{
	const struct hub *h = hub_conn_hub(c);
	uint64_t id = (uint64_t)hub_json_int(req, "stream", 0);
	enum err e = OK;

	/* Of a hub before this one: it ended when that did. */
	if (id >> 32 != h->last_bridge >> 32)
		e = ERR_RESET;
	for (size_t i = 0; i < N_ENDS_KEPT; i++)
		if (h->ends[i].id == id && h->ends[i].error != OK)
			e = h->ends[i].error;
	hub_conn_reply(c, e == OK ? json_object() : json_pack("{s:s}", "how", err_name(e)), -1);
}

/* ---- connections that wait ---- */

static void accepted_free(struct accepted *a)
{
	list_del(&a->link);
	a->owner->n_waiting -= !a->syn;
	free(a);
}

static void on_tcp(void *ctx, struct net_tcp *tcp, enum net_tcp_event ev);

static void answer_syn(struct accepted *a, struct net_syn *syn)
{
	a->syn = NULL;
	list_del(&a->link);
	list_add_tail(&a->owner->answered, &a->link);
	a->owner->n_waiting++;
	if (net_syn_accept(syn, on_tcp, a, &a->tcp) != OK)
		accepted_free(a);
}

/* The first that is held, into the place that has become free. */
static void answer_held(struct hub_listener *l)
{
	struct list *first = list_first(&l->held);
	struct accepted *a;

	if (!first || l->n_waiting >= l->backlog)
		return;
	a = container_of(first, struct accepted, link);
	net_syn_set_gone(a->syn, NULL, NULL);
	answer_syn(a, a->syn);
	tunnel_kick(l->hub->tunnel);
}

static void hand_over(struct hub_listener *l, struct accepted *a)
{
	struct net_tcp *tcp = a->tcp;
	struct hub_conn *c = l->conn;
	struct endpoint local, remote;
	char text[ENDPOINT_STR_MAX];
	json_t *reply;
	int fd = -1;
	enum err e;

	net_tcp_get_addrs(tcp, &local, &remote);
	accepted_free(a);
	answer_held(l);
	e = hub_bridge_add(l->hub, tcp, true, &fd);
	l->wanted = false;
	hub_conn_set_job(c, NULL, NULL);
	if (e != OK) {
		hub_conn_fail(c, e, 0, "a connection from %s came and could not be kept: %s",
			      endpoint_format(&remote, text), err_text(e));
		return;
	}
	reply = hub_stream_reply(l->hub);
	json_object_set_new(reply, "remote", json_string(endpoint_format(&remote, text)));
	hub_conn_reply(c, reply, fd);
}

/* The first that stands, to an "accept" that waits. */
static void serve(struct hub_listener *l)
{
	struct list *first = list_first(&l->standing);

	if (l->wanted && first)
		hand_over(l, container_of(first, struct accepted, link));
}

static void on_tcp(void *ctx, struct net_tcp *tcp, enum net_tcp_event ev)
{
	struct accepted *a = ctx;
	struct hub_listener *l = a->owner;

	if (ev == NET_TCP_CONNECTED) {
		list_del(&a->link);
		list_add_tail(&l->standing, &a->link);
		serve(l);
	} else if (ev == NET_TCP_ERROR) {
		net_tcp_close(tcp);
		accepted_free(a);
		answer_held(l);
	}
}

static void on_held_gone(void *ctx)
{
	accepted_free(ctx);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct hub_listener *l = ctx;
	struct accepted *a = calloc(1, sizeof(*a));

	if (!a) {
		net_syn_refuse(syn);
		return;
	}
	a->owner = l;
	a->syn = syn;
	list_add_tail(&l->held, &a->link);
	if (l->n_waiting < l->backlog)
		answer_syn(a, syn);
	else
		net_syn_set_gone(syn, on_held_gone, a);
}

/* ---- listeners ---- */

static void abort_all(struct list *connections)
{
	list_for_each_safe(it, connections) {
		struct accepted *a = container_of(it, struct accepted, link);

		net_tcp_abort(a->tcp);
		accepted_free(a);
	}
}

static void listener_end(void *listener)
{
	struct hub_listener *l = listener;

	list_for_each_safe(it, &l->held) {
		struct accepted *a = container_of(it, struct accepted, link);

		net_syn_set_gone(a->syn, NULL, NULL);
		net_syn_refuse(a->syn);
		accepted_free(a);
	}
	abort_all(&l->answered);
	abort_all(&l->standing);
	net_listener_close(l->l);
	tunnel_kick(l->hub->tunnel);
	free(l);
}

static enum err listen_on(struct hub_listener *l, uint16_t *port)
{
	struct net_if *nif = tunnel_if(l->hub->tunnel);
	enum err e = ERR_IN_USE;

	if (*port)
		return net_tcp_listen(nif, *port, N_ACCEPTED_MAX, on_syn, l, &l->l);
	for (int i = 0; i < N_PORT_TRIES && e == ERR_IN_USE; i++) {
		*port = (uint16_t)(ANY_PORT_FROM + rng_below(os_rng(), 65536 - ANY_PORT_FROM));
		e = net_tcp_listen(nif, *port, N_ACCEPTED_MAX, on_syn, l, &l->l);
	}
	return e;
}

void hub_op_listen(struct hub_conn *c, const json_t *req)
{
	json_int_t port = hub_json_int(req, "port", 0), backlog = hub_json_int(req, "backlog", 0);
	struct hub_listener *l;
	uint16_t bound = (uint16_t)port;
	enum err e;

	if (port < 0 || port > 65535) {
		hub_conn_fail(c, ERR_RANGE, 0, "port must be 0 to 65535");
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		hub_conn_fail(c, ERR_NOMEM, 0, "out of memory");
		return;
	}
	l->hub = hub_conn_hub(c);
	l->conn = c;
	l->backlog = backlog < 1 || backlog > BACKLOG_MAX ? BACKLOG_MAX : (unsigned)backlog;
	list_init(&l->held);
	list_init(&l->answered);
	list_init(&l->standing);
	e = listen_on(l, &bound);
	if (e != OK) {
		free(l);
		hub_conn_fail(c, e, 0, "cannot listen on port %d inside the tunnel: %s", (int)port, err_text(e));
		return;
	}
	if (!hub_conn_own(c, l, listener_end)) {
		listener_end(l);
		hub_conn_fail(c, ERR_EXISTS, 0, "this connection has something to serve already");
		return;
	}
	hub_conn_reply(c, json_pack("{s:i}", "port", (int)bound), -1);
}

static void cancel_accept(void *job)
{
	struct hub_listener *l = job;

	l->wanted = false;
}

void hub_op_accept(struct hub_conn *c, const json_t *req)
{
	struct hub_listener *l = hub_conn_owned(c, listener_end);

	if (!l) {
		hub_conn_fail(c, ERR_INVALID, 0, "this connection does not listen");
		return;
	}
	l->wanted = true;
	hub_conn_set_job(c, l, cancel_accept);
	serve(l);
}
