/*
 * tunnel/dial.c - a connection through the tunnel, session first.
 *
 *	WAIT_SESSION   a handshake is under way; no SYN has left
 *	WAIT_CONNECT   the SYN left; after 1 s of silence a handshake starts although the session is young, and again
 *	               each second: wg refuses one that comes less than 5 s after the last
 *
 * A SYN that went out before the session would be repeated only seconds later, and users would see a stall. So it is, in
 * WAIT_CONNECT, when the peer has restarted and calls us: what was sealed for the old session is lost. A session that is
 * newer than the SYN gets it again.
 */
#include <sodium.h>
#include <stdlib.h>

#include "tunnel/tunnel_internal.h"

#define SYN_PATIENCE NSEC_PER_SEC
#define LOOK_EVERY (100 * NSEC_PER_MSEC)

struct tunnel_dial {
	struct list link;
	struct tunnel *t;
	struct endpoint remote;
	wg_peer_id peer;
	struct net_tcp *c; /* NULL: waiting for the session */
	struct os_timer deadline, look;
	nsec_t handshake; /* of the session that the SYN went into */
	nsec_t patient_until;
	tunnel_dial_fn fn;
	void *ctx;
	enum err outcome; /* of a dial that is over before it began */
};

void tunnel_dial_cancel(struct tunnel_dial *d)
{
	if (!d)
		return;
	os_timer_cancel(&d->deadline);
	os_timer_cancel(&d->look);
	list_del(&d->link);
	if (d->c)
		net_tcp_abort(d->c);
	free(d);
}

static void finish(struct tunnel_dial *d, enum err e)
{
	tunnel_dial_fn fn = d->fn;
	void *ctx = d->ctx;
	struct tunnel *t = d->t;
	struct net_tcp *c = NULL;

	if (e == OK) {
		c = d->c;
		d->c = NULL;
	}
	tunnel_dial_cancel(d);
	fn(ctx, e, c);
	t->again = true;
}

static void on_deadline(void *ctx)
{
	struct tunnel_dial *d = ctx;
	struct tunnel *t = d->t;

	finish(d, d->outcome);
	tunnel_kick(t);
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct tunnel_dial *d = ctx;

	if (ev == NET_TCP_CONNECTED)
		finish(d, OK);
	else if (ev == NET_TCP_ERROR)
		finish(d, net_tcp_error(c));
}

static nsec_t last_handshake(const struct tunnel_dial *d)
{
	struct wg_peer_info info;

	if (!wg_peer_get_info(d->t->dev, d->peer, os_loop_now(d->t->loop), &info))
		return 0;
	sodium_memzero(&info.psk, sizeof(info.psk));
	return info.last_handshake;
}

static void connect_now(struct tunnel_dial *d)
{
	nsec_t now = os_loop_now(d->t->loop);
	enum err e = net_tcp_dial(d->t->nif, &d->remote, on_tcp, d, &d->c);

	if (e != OK) {
		d->outcome = e;
		os_timer_set(&d->deadline, 0);
		return;
	}
	d->handshake = last_handshake(d);
	d->patient_until = now + SYN_PATIENCE;
	os_timer_set(&d->look, now + LOOK_EVERY);
	d->t->again = true;
}

static void on_look(void *ctx)
{
	struct tunnel_dial *d = ctx;
	struct tunnel *t = d->t;
	nsec_t now = os_loop_now(t->loop);

	os_timer_set(&d->look, now + LOOK_EVERY);
	if (last_handshake(d) != d->handshake) {
		d->handshake = last_handshake(d);
		net_tcp_hurry(d->c);
	} else if (now >= d->patient_until) {
		wg_peer_rehandshake(t->dev, d->peer, now);
		d->patient_until = now + SYN_PATIENCE;
	}
	tunnel_kick(t);
}

void tunnel_dials_on_event(struct tunnel *t, const struct wg_event *ev)
{
	if (ev->kind != WG_EVENT_SESSION_UP)
		return;
	list_for_each_safe(it, &t->dials) {
		struct tunnel_dial *d = container_of(it, struct tunnel_dial, link);

		if (d->peer == ev->peer && !d->c)
			connect_now(d);
	}
}

void tunnel_dials_fail_all(struct tunnel *t, enum err e)
{
	struct list *first;

	while ((first = list_first(&t->dials)))
		finish(container_of(first, struct tunnel_dial, link), e);
}

enum err tunnel_dial_start(struct tunnel *t, const struct endpoint *remote, nsec_t deadline, tunnel_dial_fn fn,
			   void *ctx, struct tunnel_dial **ret)
{
	struct tunnel_dial *d = calloc(1, sizeof(*d));
	nsec_t now = os_loop_now(t->loop);

	if (!d)
		return ERR_NOMEM;
	*d = (struct tunnel_dial){ .t = t, .remote = *remote, .fn = fn, .ctx = ctx, .outcome = ERR_TIMEOUT };
	os_timer_init(&d->deadline, t->loop, on_deadline, d);
	os_timer_init(&d->look, t->loop, on_look, d);
	list_add_tail(&t->dials, &d->link);
	d->peer = wg_route(t->dev, &remote->ip);
	if (!d->peer) {
		/* Told from the loop, never from within this call. */
		d->outcome = ERR_NO_ROUTE;
		deadline = 0;
	}
	os_timer_set(&d->deadline, deadline);
	if (d->peer && wg_peer_is_up(t->dev, d->peer, now))
		connect_now(d);
	else if (d->peer)
		wg_peer_connect(t->dev, d->peer, now);
	*ret = d;
	tunnel_kick(t);
	return OK;
}
