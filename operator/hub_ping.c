/*
 * operator/hub_ping.c - which hosts answer, and how fast.
 *
 * The agent's control port answers with our nonce. A peer without one (any WireGuard endpoint, an older agent) has refused
 * that connection; it is asked for TCP 22 then. All hosts are asked at once; the reply comes with the last answer, at the
 * latest at the deadline.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/control_client.h"
#include "operator/hub_internal.h"

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
void hub_op_ping(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	const char *name = hub_json_string(req, "host");
	struct ping *p;

	if (name && !hub_need_host(c, req))
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
			ping_start_one(p, hh, hub_deadline_of(req, HUB_PING_MAX));
	}
	p->starting = false;
	hub_conn_set_job(c, p, cancel_ping);
	if (p->n_running == 0)
		ping_finish(p);
}
