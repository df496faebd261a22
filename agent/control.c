/*
 * agent/control.c - the control port in the tunnel: what the operator may ask the agent.
 *
 * Only an address that the configuration gives to a peer gets a connection; WireGuard has proved that it is that peer's.
 * (A peer that somebody added through the userspace API is not in the configuration.) Nothing can be changed here.
 *
 * Limits: 8 connections, 1 KiB a request, 100 requests and 10 s of silence a connection. An answer that does not fit into
 * the connection's room means a peer that does not read: it is cut off, so nothing is ever queued here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_internal.h"
#include "agent/control_wire.h"
#include "base/log.h"
#include "base/version.h"

#define N_CONTROLS_MAX 8
#define N_REQUESTS_MAX 100
#define SILENCE_MAX (10 * NSEC_PER_SEC)

struct control {
	struct list link;
	struct agent *a;
	struct net_tcp *c;
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

static json_t *body_of(struct agent *a, const struct agent_control_request *req)
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

	reply = e == OK ? agent_control_reply(body_of(k->a, &req)) : agent_control_reply_error(e, why);
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

static bool is_operator(const struct agent_config *cfg, const struct ip_addr *from)
{
	for (size_t i = 0; i < cfg->n_peers; i++)
		for (size_t n = 0; n < cfg->peers[i].n_allowed; n++)
			if (ip_prefix_contains(&cfg->peers[i].allowed[n], from))
				return true;
	return false;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct agent *a = ctx;
	struct control *k = is_operator(&a->cfg, &remote->ip) ? calloc(1, sizeof(*k)) : NULL;

	if (!k) {
		net_syn_refuse(syn);
		return;
	}
	k->a = a;
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
