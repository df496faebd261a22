/*
 * tunnel/tunnel.c - device, interface and socket, wired together.
 *
 * Everything ends in process(): deliver what was decrypted, tell what happened, send what is sealed, set the
 * one timer. Calls from inside it (an output function that answers a packet, a callback that dials) only mark that another round
 * is needed. The socket's "not now" stops sending until it is writable; what waits then makes wg say "blocked", and
 * netstack keeps its data.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/tunnel_internal.h"

#define POOL_UNITS 16384
#define N_BATCH 256

static struct list tunnels;
static struct pktpool *pool;

/* ---- data ---- */

static enum net_output on_output(void *ctx, const struct iovec *iov, int iovcnt, size_t len)
{
	struct tunnel *t = ctx;

	switch (wg_device_send(t->dev, os_loop_now(t->loop), iov, iovcnt, len)) {
	case WG_SEND_BLOCKED:
		return NET_OUTPUT_BLOCKED;
	default:
		/* What has no route is lost, as on any network; TCP's timers tell its owner. */
		t->again = true;
		return NET_OUTPUT_OK;
	}
}

static void deliver(struct tunnel *t)
{
	struct pktbuf *batch[N_BATCH];
	struct wg_rx rx;
	size_t n;

	do {
		for (n = 0; n < N_BATCH && wg_device_next_rx(t->dev, &rx); n++)
			batch[n] = rx.pb;
		if (n > 0)
			net_if_input(t->nif, batch, n);
	} while (n == N_BATCH);
}

static void remember(struct tunnel *t, wg_peer_id peer)
{
	struct wg_peer_info info;

	if (!wg_peer_get_info(t->dev, peer, os_loop_now(t->loop), &info))
		return;
	sodium_memzero(&info.psk, sizeof(info.psk));
	tunnel_state_note(&t->state, &info.key, &info.endpoint, info.last_handshake_wall);
}

static void tell(struct tunnel *t)
{
	struct wg_event ev;

	while (wg_device_next_event(t->dev, &ev)) {
		/* If it cannot be kept, initiations still go out: a full disk must not end the tunnel. */
		if (ev.kind == WG_EVENT_TIMESTAMP) {
			if (tunnel_state_cover(&t->state, ev.timestamp) != OK)
				log_warn("handshake timestamp is not kept on disk");
			continue;
		}
		if (ev.kind == WG_EVENT_SESSION_UP || ev.kind == WG_EVENT_ENDPOINT)
			remember(t, ev.peer);
		if (ev.kind == WG_EVENT_ENDPOINT)
			os_udp_path_changed(t->udp, &ev.endpoint);
		tunnel_dials_on_event(t, &ev);
		if (t->cfg.on_event)
			t->cfg.on_event(t->cfg.ctx, &ev);
	}
}

static void transmit(struct tunnel *t)
{
	struct wg_tx tx;

	while (!t->tx_stuck && wg_device_next_tx(t->dev, os_loop_now(t->loop), &tx)) {
		enum err e = os_udp_send(t->udp, &tx.path, tx.p, tx.len, tx.seg_len);

		if (e == ERR_AGAIN) {
			t->tx_stuck = true;
			return;
		}
		/* The source address that we stick to is not ours any more: once again without it. */
		if (e == ERR_INVALID && tx.path.local.family != IP_NONE) {
			wg_peer_clear_src(t->dev, tx.peer);
			tx.path.local = (struct ip_addr){ 0 };
			e = os_udp_send(t->udp, &tx.path, tx.p, tx.len, tx.seg_len);
			t->tx_stuck = e == ERR_AGAIN;
			if (t->tx_stuck)
				return;
		}
		wg_device_tx_done(t->dev);
	}
	if (!t->tx_stuck && t->nif && net_if_is_blocked(t->nif)) {
		net_if_resume(t->nif);
		t->again = true;
	}
}

static void process(struct tunnel *t)
{
	t->again = true;
	if (t->processing)
		return;
	t->processing = true;
	for (int rounds = 0; t->again && rounds < 64; rounds++) {
		t->again = false;
		deliver(t);
		net_flush();
		tell(t);
		transmit(t);
	}
	t->processing = false;
	tunnel_state_flush(&t->state, os_loop_now(t->loop));
	os_timer_set(&t->timer, nsec_min(wg_device_deadline(t->dev), net_deadline()));
}

void tunnel_kick(struct tunnel *t)
{
	net_set_now(os_loop_now(t->loop));
	process(t);
}

static void on_timer(void *ctx)
{
	struct tunnel *t = ctx;
	nsec_t now = os_loop_now(t->loop);

	wg_device_set_wall(t->dev, os_wall_now());
	wg_device_expire(t->dev, now);
	net_expire(now);
	process(t);
}

static void on_recv(void *ctx, const struct os_udp_dgram *d, size_t n)
{
	struct tunnel *t = ctx;
	struct wg_datagram batch[N_BATCH];
	nsec_t now = os_loop_now(t->loop);

	net_set_now(now);
	wg_device_set_wall(t->dev, os_wall_now());
	while (n > 0) {
		size_t m = MIN(n, (size_t)N_BATCH);

		for (size_t i = 0; i < m; i++)
			batch[i] = (struct wg_datagram){ d[i].p, d[i].len, &d[i].path };
		wg_device_input(t->dev, now, batch, m);
		deliver(t);
		d += m;
		n -= m;
	}
	process(t);
}

static void on_writable(void *ctx)
{
	struct tunnel *t = ctx;

	t->tx_stuck = false;
	process(t);
}

/* ---- life ---- */

static enum err stack_start(struct os_loop *loop)
{
	struct net_config cfg = { .rng = os_rng() };
	enum err e;

	if (pool)
		return OK;
	list_init(&tunnels);
	pool = pktpool_new(POOL_UNITS);
	if (!pool)
		return ERR_NOMEM;
	cfg.pool = pool;
	e = net_init(&cfg, os_loop_now(loop));
	if (e != OK) {
		pktpool_free(pool);
		pool = NULL;
	}
	return e;
}

static void stack_stop(void)
{
	if (!pool || !list_empty(&tunnels))
		return;
	net_fini();
	pktpool_free(pool);
	pool = NULL;
}

static enum err open_device(struct tunnel *t)
{
	struct wg_config cfg = { .mtu = t->cfg.mtu,
				 .pool = pool,
				 .rng = os_rng(),
				 .aead = t->cfg.aead,
				 .timestamp_watermark = t->state.watermark };
	nsec_t now = os_loop_now(t->loop);

	if (!cfg.aead)
		cfg.aead = wg_aead_pick(os_now);
	log_debug("cipher aead=%s", cfg.aead);
	t->dev = wg_device_new(&cfg, now, os_wall_now());
	if (!t->dev)
		return ERR_INVALID;
	wg_device_set_private(t->dev, &t->cfg.private_key, now);
	return OK;
}

static enum err open_interface(struct tunnel *t)
{
	struct net_if_config cfg = { .n_addrs = t->cfg.n_addrs,
				     .mtu = t->cfg.mtu,
				     .output = on_output,
				     .ctx = t,
				     .answer_echo = true,
				     .reset_closed = true };

	memcpy(cfg.addrs, t->cfg.addrs, sizeof(cfg.addrs));
	return net_if_open(&cfg, &t->nif);
}

static enum err open_socket(struct tunnel *t)
{
	struct os_udp_handler h = { on_recv, on_writable, t };
	enum err e = os_udp_open(t->loop, t->cfg.listen_port, &h, &t->udp);

	if (e == ERR_IN_USE && t->cfg.port_fallback)
		e = os_udp_open(t->loop, 0, &h, &t->udp);
	return e;
}

enum err tunnel_open(struct os_loop *loop, const struct tunnel_config *cfg, struct tunnel **ret)
{
	struct tunnel *t = calloc(1, sizeof(*t));
	enum err e;

	if (!t)
		return ERR_NOMEM;
	t->loop = loop;
	t->cfg = *cfg;
	list_init(&t->dials);
	list_init(&t->link);
	os_timer_init(&t->timer, loop, on_timer, t);
	e = stack_start(loop);
	if (e == OK)
		e = tunnel_state_load(&t->state, cfg->state_file);
	if (e == OK)
		e = open_device(t);
	if (e == OK)
		e = open_interface(t);
	if (e == OK)
		e = open_socket(t);
	if (e != OK) {
		tunnel_close(t);
		return e;
	}
	list_add_tail(&tunnels, &t->link);
	*ret = t;
	return OK;
}

static void remember_all(struct tunnel *t)
{
	if (!t->dev)
		return;
	for (wg_peer_id id = wg_peer_next(t->dev, 0); id; id = wg_peer_next(t->dev, id))
		remember(t, id);
	tunnel_state_flush(&t->state, NSEC_NEVER);
}

void tunnel_close(struct tunnel *t)
{
	if (!t)
		return;
	os_timer_cancel(&t->timer);
	remember_all(t);
	tunnel_dials_fail_all(t, ERR_CLOSED);
	net_if_close(t->nif);
	t->nif = NULL;
	/* The resets of what was still open: without them the other side keeps its half until a timeout. */
	if (t->udp)
		transmit(t);
	wg_device_free(t->dev);
	os_udp_close(t->udp);
	tunnel_state_fini(&t->state);
	free(t->configured);
	list_del(&t->link);
	sodium_memzero(&t->cfg.private_key, sizeof(t->cfg.private_key));
	free(t);
	stack_stop();
}

uint16_t tunnel_port(const struct tunnel *t)
{
	return os_udp_port(t->udp);
}

struct wg_device *tunnel_device(struct tunnel *t)
{
	return t->dev;
}

struct net_if *tunnel_if(struct tunnel *t)
{
	return t->nif;
}

void tunnel_set_private(struct tunnel *t, const struct wg_private_key *key)
{
	if (memcmp(key, &t->cfg.private_key, sizeof(*key)) == 0)
		return;
	t->cfg.private_key = *key;
	wg_device_set_private(t->dev, key, os_loop_now(t->loop));
	tunnel_kick(t);
}

/*
 * Tells a peer where we are now; data of ours may be long in coming, and its own goes astray until then. A keepalive
 * does it at once, the handshake is repeated should that be lost.
 */
static void announce(struct tunnel *t, wg_peer_id id)
{
	nsec_t now = os_loop_now(t->loop);

	if (!wg_peer_is_up(t->dev, id, now))
		return;
	wg_peer_send_keepalive(t->dev, id, now);
	wg_peer_rehandshake(t->dev, id, now);
}

enum err tunnel_set_port(struct tunnel *t, uint16_t port)
{
	struct os_udp_handler h = { on_recv, on_writable, t };
	struct os_udp *udp;
	enum err e;

	if (port == tunnel_port(t))
		return OK;
	e = os_udp_open(t->loop, port, &h, &udp);
	if (e != OK)
		return e;
	os_udp_close(t->udp);
	t->udp = udp;
	t->tx_stuck = false;
	t->cfg.listen_port = port;
	log_info("UDP port changed port=%u", tunnel_port(t));
	for (wg_peer_id id = wg_peer_next(t->dev, 0); id; id = wg_peer_next(t->dev, id))
		announce(t, id);
	tunnel_kick(t);
	return OK;
}

/* ---- peers ---- */

/*
 * A reload must neither send a peer that has roamed back to where its file once saw it, nor miss that the file was
 * changed: so what was applied is kept, and the file's endpoint is set only when it differs from that.
 */
static struct tunnel_configured *find_configured(struct tunnel *t, const struct wg_public_key *key)
{
	for (size_t i = 0; i < t->n_configured; i++)
		if (memcmp(&t->configured[i].key, key, sizeof(*key)) == 0)
			return &t->configured[i];
	return NULL;
}

void tunnel_forget_configured(struct tunnel *t, const struct wg_public_key *key)
{
	struct tunnel_configured *c = find_configured(t, key);

	if (c)
		*c = t->configured[--t->n_configured];
}

/* Without memory for it the next reload sets the endpoint once more. Return: whether it is new. */
static bool note_configured(struct tunnel *t, const struct tunnel_peer *p)
{
	struct tunnel_configured *c = find_configured(t, &p->key);
	bool same = c && endpoint_equal(&c->endpoint, &p->endpoint);

	if (!c) {
		c = realloc(t->configured, (t->n_configured + 1) * sizeof(*c));
		if (!c)
			return true;
		t->configured = c;
		c = &t->configured[t->n_configured++];
		c->key = p->key;
	}
	c->endpoint = p->endpoint;
	return !same;
}

static enum err apply(struct tunnel *t, wg_peer_id id, const struct tunnel_peer *p)
{
	const struct tunnel_state_peer *known = tunnel_state_find(&t->state, &p->key);
	nsec_t now = os_loop_now(t->loop);
	struct wg_peer_info info;
	bool has_endpoint, is_new = note_configured(t, p);
	enum err e = OK;

	wg_peer_set_psk(t->dev, id, &p->psk);
	wg_peer_get_info(t->dev, id, now, &info);
	sodium_memzero(&info.psk, sizeof(info.psk));
	has_endpoint = endpoint_is_set(&info.endpoint);
	if ((!has_endpoint || is_new) && endpoint_is_set(&p->endpoint)) {
		wg_peer_set_endpoint(t->dev, id, &p->endpoint, now);
		announce(t, id);
	} else if (!has_endpoint && known && endpoint_is_set(&known->endpoint)) {
		wg_peer_set_endpoint(t->dev, id, &known->endpoint, now);
	}
	wg_peer_clear_allowed(t->dev, id);
	for (size_t i = 0; i < p->n_allowed && e == OK; i++)
		e = wg_peer_allow(t->dev, id, &p->allowed[i]);
	wg_peer_set_keepalive(t->dev, id, p->keepalive_s, now);
	if (e == OK && t->cfg.initiate)
		wg_peer_connect(t->dev, id, now);
	return e;
}

static enum err add_one(struct tunnel *t, const struct tunnel_peer *p)
{
	nsec_t now = os_loop_now(t->loop);
	wg_peer_id id;
	enum err e = wg_peer_add(t->dev, &p->key, now, &id);

	if (e != OK)
		return e;
	log_info("peer added name=%s", p->name[0] ? p->name : "-");
	return apply(t, id, p);
}

enum err tunnel_add_peer(struct tunnel *t, const struct tunnel_peer *p)
{
	enum err e = add_one(t, p);

	tunnel_kick(t);
	return e;
}

static const struct tunnel_peer *find_peer(const struct tunnel_peer *p, size_t n, const struct wg_public_key *key)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(p[i].key.b, key->b, KEY_LEN) == 0)
			return &p[i];
	return NULL;
}

enum err tunnel_set_peers(struct tunnel *t, const struct tunnel_peer *p, size_t n)
{
	nsec_t now = os_loop_now(t->loop);
	enum err e = OK;
	wg_peer_id next;

	for (wg_peer_id id = wg_peer_next(t->dev, 0); id; id = next) {
		struct wg_peer_info info;

		next = wg_peer_next(t->dev, id);
		wg_peer_get_info(t->dev, id, now, &info);
		sodium_memzero(&info.psk, sizeof(info.psk));
		if (find_peer(p, n, &info.key))
			continue;
		tunnel_forget_configured(t, &info.key);
		wg_peer_remove(t->dev, id);
	}
	for (size_t i = 0; i < n && e == OK; i++) {
		wg_peer_id id = wg_peer_find(t->dev, &p[i].key);

		e = id ? apply(t, id, &p[i]) : add_one(t, &p[i]);
	}
	tunnel_kick(t);
	return e;
}
