/*
 * operator/hub_open.c - a client's way to a host: a virtual connection of its own (dial), or an SSH session (session).
 *
 * Both give a descriptor away with the reply. A dial waits for the tunnel; a session is the worker's, and waits only while that has
 * as many before it as its socket holds. The client that goes away cancels what it waits for.
 */
#include <stdlib.h>
#include <string.h>

#include "operator/hub_internal.h"

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

void hub_op_dial(struct hub_conn *c, const json_t *req)
{
	struct hub_host *hh = hub_need_host(c, req);
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
		e = tunnel_dial_start(hh->hub->tunnel, &remote, hub_deadline_of(req, HUB_DIAL_MAX), on_client_dialed, d,
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

void hub_op_session(struct hub_conn *c, const json_t *req)
{
	struct hub_host *hh = hub_need_host(c, req);
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
	s->deadline = hub_deadline_of(req, SESSION_MAX);
	memcpy(s->host, hh->peer.name, sizeof(s->host));
	os_timer_init(&s->timer, hh->hub->loop, on_session_timer, s);
	os_timer_set(&s->timer, os_now() + SESSION_PAUSE);
	hub_conn_set_job(c, s, cancel_client_session);
}
