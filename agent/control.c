/*
 * agent/control.c - the control port in the tunnel: what the operator may ask the agent.
 *
 * Only an address that the configuration gives to a peer gets a connection; WireGuard has proved that it is that peer's.
 * (A peer that somebody added through the userspace API is not in the configuration.) Nothing can be changed here; which hubs
 * have asked for each other is remembered (holders.h).
 *
 * Limits: 16 connections, 4 a peer, 1 KiB a request, 100 requests and 10 s of silence a connection. An answer that does not fit into
 * the connection's room means a peer that does not read: it is cut off, so nothing is ever queued here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_internal.h"
#include "agent/control_wire.h"
#include "base/log.h"
#include "base/version.h"

#define N_CONTROLS_MAX 16
#define N_CONTROLS_PEER 4
#define N_REQUESTS_MAX 100
#define SILENCE_MAX (10 * NSEC_PER_SEC)

struct control {
	struct list link;
	struct agent *a;
	struct net_tcp *c;
	size_t peer; /* whose, by place in the configuration at the time; only for counting */
	struct ip_addr from;
	struct os_timer timer;
	unsigned n_requests;
	size_t len;
	char line[AGENT_CONTROL_REQUEST_MAX];
};

static void control_free(struct control *k, bool reset)
{
	os_timer_cancel(&k->timer);
	if (reset)
		net_tcp_abort(k->c);
	else
		net_tcp_close(k->c);
	list_del(&k->link);
	k->a->n_controls--;
	free(k);
}

/* Whose address is it? Return: the peer's place; n_peers: nobody's. */
static size_t find_peer(const struct agent_config *cfg, const struct ip_addr *from)
{
	size_t i = 0;

	for (; i < cfg->n_peers; i++)
		for (size_t n = 0; n < cfg->peers[i].n_allowed; n++)
			if (ip_prefix_contains(&cfg->peers[i].allowed[n], from))
				return i;
	return i;
}

/* ---- answers ---- */

static json_t *pong(const struct agent_control_request *req)
{
	char hex[2 * AGENT_CONTROL_NONCE_LEN + 1];

	return json_pack("{s:s}", "nonce", hex_encode(req->nonce, sizeof(req->nonce), hex));
}

static json_t *version_body(void)
{
	return json_pack("{s:s, s:s, s:s}", "version", "v" NEFIA_VERSION, "commit", NEFIA_COMMIT, "built", NEFIA_BUILD_DATE);
}

static json_t *status_body(struct agent *a)
{
	struct net_stats st;

	net_get_stats(&st);
	return json_pack("{s:o, s:{s:i, s:i, s:i, s:s, s:b, s:s}}", "health",
			 agent_health_json(&a->health, os_loop_now(a->loop)), "status", "port",
			 (int)tunnel_port(a->tunnel), "forwards", (int)a->n_forwards, "peers", (int)a->cfg.n_peers,
			 "watchdog", watchdog_state_name(a->dog.state), "draining", a->draining, "host_id",
			 a->cfg.host_id);
}

static json_t *holders_json(const struct agent_holders *h, const struct agent_control_request *req, nsec_t now, uint64_t latest)
{
	json_t *list = json_array();
	char from[ENDPOINT_STR_MAX];

	for (size_t i = 0; i < AGENT_HOLDERS_MAX; i++) {
		const struct agent_holder *o = &h->v[i];

		if (o->since_ms == 0 || o->since_ms == req->since_ms)
			continue;
		json_array_append_new(list, json_pack("{s:I, s:b, s:s, s:I}", "since", (json_int_t)o->since_ms, "brief", o->brief,
						      "from", endpoint_format(&o->from, from), "ago_ms",
						      (json_int_t)((now - o->at) / NSEC_PER_MSEC)));
	}
	return json_pack("{s:o, s:I}", "hubs", list, "latest", (json_int_t)latest);
}

/* The asker is remembered, and hears of the others that have its key. */
static json_t *hubs_body(struct agent *a, const struct agent_control_request *req, const struct ip_addr *from)
{
	size_t peer = find_peer(&a->cfg, from);
	nsec_t now = os_loop_now(a->loop);
	struct agent_holder caller = { .since_ms = req->since_ms, .brief = req->brief, .at = now };
	const struct wg_public_key *key;
	struct wg_peer_info info = { .last_timestamp = 0 };

	if (peer == a->cfg.n_peers)
		return NULL;
	key = &a->cfg.peers[peer].key;
	if (wg_peer_get_info(tunnel_device(a->tunnel), wg_peer_find(tunnel_device(a->tunnel), key), now, &info))
		caller.from = info.endpoint;
	explicit_bzero(&info.psk, sizeof(info.psk));
	agent_holders_note(&a->holders[peer], key, &caller);
	return holders_json(&a->holders[peer], req, now, info.last_timestamp);
}

static json_t *body_of(struct agent *a, const struct agent_control_request *req, const struct ip_addr *from)
{
	switch (req->op) {
	case AGENT_CONTROL_PING:
		return pong(req);
	case AGENT_CONTROL_INFO:
		return version_body();
	case AGENT_CONTROL_HEALTH:
		return json_pack("{s:o}", "health", agent_health_json(&a->health, os_loop_now(a->loop)));
	case AGENT_CONTROL_STATUS:
		return status_body(a);
	case AGENT_CONTROL_HUBS:
		return hubs_body(a, req, from);
	}
	return NULL;
}

/* Return: may the connection go on? */
static bool answer(struct control *k, size_t len)
{
	struct agent_control_request req;
	char why[96], *reply;
	enum err e = agent_control_parse(k->line, len, &req, why, sizeof(why));
	bool sent;

	reply = e == OK ? agent_control_reply(body_of(k->a, &req, &k->from)) : agent_control_reply_error(e, why);
	sent = reply && net_tcp_writable(k->c) >= strlen(reply) && net_tcp_write(k->c, reply, strlen(reply)) == strlen(reply);
	free(reply);
	return sent && e != ERR_FORMAT && ++k->n_requests < N_REQUESTS_MAX;
}

/* ---- a connection ---- */

/* All whole lines that are there. Return: may the connection go on? */
static bool take_lines(struct control *k)
{
	char *end;

	while ((end = memchr(k->line, '\n', k->len))) {
		size_t used = (size_t)(end - k->line) + 1;

		if (!answer(k, used - 1))
			return false;
		memmove(k->line, k->line + used, k->len - used);
		k->len -= used;
		os_timer_set(&k->timer, os_loop_now(k->a->loop) + SILENCE_MAX);
	}
	return k->len < sizeof(k->line);
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct control *k = ctx;
	bool alive = ev != NET_TCP_ERROR;
	size_t n;

	k->c = c;
	while (alive && (n = net_tcp_read(c, k->line + k->len, sizeof(k->line) - k->len)) > 0) {
		k->len += n;
		alive = take_lines(k);
	}
	if (!alive || net_tcp_at_eof(c))
		control_free(k, ev == NET_TCP_ERROR);
}

static void on_silence(void *ctx)
{
	struct control *k = ctx;
	struct tunnel *t = k->a->tunnel;

	control_free(k, false);
	tunnel_kick(t);
}

static bool may_connect(const struct agent *a, size_t peer)
{
	size_t n = 0;

	list_for_each(it, &a->controls)
		n += container_of(it, struct control, link)->peer == peer;
	return peer < a->cfg.n_peers && n < N_CONTROLS_PEER;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct agent *a = ctx;
	size_t peer = find_peer(&a->cfg, &remote->ip);
	struct control *k = may_connect(a, peer) ? calloc(1, sizeof(*k)) : NULL;

	if (!k) {
		net_syn_refuse(syn);
		return;
	}
	k->a = a;
	k->peer = peer;
	k->from = remote->ip;
	os_timer_init(&k->timer, a->loop, on_silence, k);
	if (net_syn_accept(syn, on_tcp, k, &k->c) != OK) {
		free(k);
		return;
	}
	os_timer_set(&k->timer, os_loop_now(a->loop) + SILENCE_MAX);
	list_add_tail(&a->controls, &k->link);
	a->n_controls++;
}

enum err agent_control_open(struct agent *a)
{
	return net_tcp_listen(tunnel_if(a->tunnel), AGENT_CONTROL_PORT, N_CONTROLS_MAX, on_syn, a, &a->control);
}

void agent_control_close(struct agent *a)
{
	list_for_each_safe(it, &a->controls)
		control_free(container_of(it, struct control, link), true);
	net_listener_close(a->control);
	a->control = NULL;
}
