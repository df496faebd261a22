/* agent/control_client.c - see control_client.h. */
#include "agent/control_client.h"

#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 2048

struct agent_ask {
	struct tunnel *t;
	struct tunnel_dial *dial;
	struct net_tcp *c;
	struct os_timer deadline;
	agent_ask_fn fn;
	void *ctx;
	struct agent_control_request req;
	size_t len;
	char line[LINE_BYTES];
};

void agent_ask_cancel(struct agent_ask *p)
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

static void finish(struct agent_ask *p, enum err e, json_t *reply)
{
	agent_ask_fn fn = p->fn;
	void *ctx = p->ctx;

	agent_ask_cancel(p);
	fn(ctx, e, reply);
	json_decref(reply);
}

static void on_deadline(void *ctx)
{
	finish(ctx, ERR_TIMEOUT, NULL);
}

static void take_line(struct agent_ask *p, size_t len)
{
	json_t *j = NULL;
	enum err e = agent_control_reply_parse(p->line, len, &j);

	if (e == OK && p->req.op == AGENT_CONTROL_PING && !agent_control_is_pong(j, p->req.nonce))
		e = ERR_AUTH;
	if (e != OK) {
		json_decref(j);
		j = NULL;
	}
	finish(p, e, j);
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct agent_ask *p = ctx;
	char *end;

	p->len += net_tcp_read(c, p->line + p->len, sizeof(p->line) - p->len);
	end = memchr(p->line, '\n', p->len);
	if (end)
		take_line(p, (size_t)(end - p->line));
	else if (ev == NET_TCP_ERROR)
		finish(p, net_tcp_error(c), NULL);
	else if (net_tcp_at_eof(c) || p->len == sizeof(p->line))
		finish(p, ERR_PROTOCOL, NULL);
}

static void on_dialled(void *ctx, enum err e, struct net_tcp *c)
{
	struct agent_ask *p = ctx;
	char *text;
	size_t len;

	p->dial = NULL;
	p->c = c;
	if (e != OK) {
		finish(p, e, NULL);
		return;
	}
	text = agent_control_request(&p->req);
	len = text ? strlen(text) : 0;
	net_tcp_set_fn(c, on_tcp, p);
	/* A new connection has room for a line. */
	e = len > 0 && net_tcp_write(c, text, len) == len ? OK : ERR_NOMEM;
	free(text);
	if (e != OK)
		finish(p, e, NULL);
}

enum err agent_ask_start(struct os_loop *loop, struct tunnel *t, const struct ip_addr *ip, const struct agent_control_request *req,
			 nsec_t deadline, agent_ask_fn fn, void *ctx, struct agent_ask **ret)
{
	struct agent_ask *p = calloc(1, sizeof(*p));
	struct endpoint remote = { .ip = *ip, .port = AGENT_CONTROL_PORT };
	enum err e;

	if (!p)
		return ERR_NOMEM;
	p->t = t;
	p->fn = fn;
	p->ctx = ctx;
	p->req = *req;
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
