/* agent/control_client.c - see control_client.h. */
#include "agent/control_client.h"

#include <stdlib.h>
#include <string.h>

#include "agent/control_wire.h"

#define LINE_BYTES 512

struct agent_ping {
	struct tunnel *t;
	struct tunnel_dial *dial;
	struct net_tcp *c;
	struct os_timer deadline;
	agent_ping_fn fn;
	void *ctx;
	struct agent_control_request req;
	size_t len;
	char line[LINE_BYTES];
};

void agent_ping_cancel(struct agent_ping *p)
{
	struct tunnel *t;

	if (!p)
		return;
	t = p->t;
	os_timer_cancel(&p->deadline);
	tunnel_dial_cancel(p->dial);
	if (p->c)
		net_tcp_abort(p->c);
	free(p);
	tunnel_kick(t);
}

static void finish(struct agent_ping *p, enum err e)
{
	agent_ping_fn fn = p->fn;
	void *ctx = p->ctx;

	agent_ping_cancel(p);
	fn(ctx, e);
}

static void on_deadline(void *ctx)
{
	finish(ctx, ERR_TIMEOUT);
}

static enum err judge(struct agent_ping *p, size_t len)
{
	json_t *j;
	enum err e = agent_control_reply_parse(p->line, len, &j);

	if (e != OK)
		return e;
	e = agent_control_is_pong(j, p->req.nonce) ? OK : ERR_AUTH;
	json_decref(j);
	return e;
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct agent_ping *p = ctx;
	char *end;

	p->len += net_tcp_read(c, p->line + p->len, sizeof(p->line) - p->len);
	end = memchr(p->line, '\n', p->len);
	if (end)
		finish(p, judge(p, (size_t)(end - p->line)));
	else if (ev == NET_TCP_ERROR)
		finish(p, net_tcp_error(c));
	else if (net_tcp_at_eof(c) || p->len == sizeof(p->line))
		finish(p, ERR_PROTOCOL);
}

static void on_dialled(void *ctx, enum err e, struct net_tcp *c)
{
	struct agent_ping *p = ctx;
	char *text;
	size_t len;

	p->dial = NULL;
	p->c = c;
	if (e != OK) {
		finish(p, e);
		return;
	}
	text = agent_control_request(&p->req);
	len = text ? strlen(text) : 0;
	net_tcp_set_fn(c, on_tcp, p);
	/* A new connection has room for a line. */
	e = len > 0 && net_tcp_write(c, text, len) == len ? OK : ERR_NOMEM;
	free(text);
	if (e != OK)
		finish(p, e);
}

enum err agent_ping_start(struct os_loop *loop, struct tunnel *t, const struct ip_addr *ip, nsec_t deadline,
			  agent_ping_fn fn, void *ctx, struct agent_ping **ret)
{
	struct agent_ping *p = calloc(1, sizeof(*p));
	struct endpoint remote = { .ip = *ip, .port = AGENT_CONTROL_PORT };
	enum err e;

	if (!p)
		return ERR_NOMEM;
	p->t = t;
	p->fn = fn;
	p->ctx = ctx;
	p->req.op = AGENT_CONTROL_PING;
	rng_bytes(os_rng(), p->req.nonce, sizeof(p->req.nonce));
	os_timer_init(&p->deadline, loop, on_deadline, p);
	e = tunnel_dial_start(t, &remote, deadline, on_dialled, p, &p->dial);
	if (e != OK) {
		free(p);
		return e;
	}
	os_timer_set(&p->deadline, deadline);
	*ret = p;
	return OK;
}
