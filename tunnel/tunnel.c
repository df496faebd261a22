/*
 * tunnel/tunnel.c - device, interface and socket, wired together.
 *
 * Everything ends in process(), once a turn of the loop: deliver what was decrypted, tell what happened, send what is sealed, set
 * the one timer. So what many connections have to say in a turn leaves together, and small packets are runs as large ones are.
 * Calls from inside it (an output function that answers a packet, a callback that dials) only mark that another round
 * is needed. The socket's "not now" stops sending until it is writable; what waits then makes wg say "blocked", and
 * netstack keeps its data.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "os/proc.h"
#include "tunnel/tunnel_internal.h"

#define POOL_UNITS 16384
#define N_BATCH 256
#define TX_BYTES_MAX (128u << 10) /* between TCP and the socket, all connections together */
#define COALESCE (100 * NSEC_PER_USEC) /* of many flows: far below what stands on the way to each */

static struct list tunnels;
static struct pktpool *pool;

/* ---- data ---- */

static void count_bytes(struct tunnel *t, size_t n)
{
	t->cipher.bytes += n;
	t->workers.n_bytes += n;
}

/* @all: also a run that could still grow. */
static void transmit(struct tunnel *t, bool all)
{
	struct wg_tx tx;

	tunnel_workers_turn(t, all);
	while (t->udp && !t->tx_stuck && (all || wg_device_tx_is_full(t->dev)) &&
	       wg_device_next_tx(t->dev, os_loop_now(t->loop), &tx)) {
		enum err e = os_udp_send(t->udp, &tx.path, tx.p, tx.len, tx.seg_len);

		if (e == ERR_AGAIN) {
			t->tx_stuck = true;
			return;
		}
		/* The source address that we stick to is not ours any more: once again without it. */
		if (e == ERR_INVALID && tx.path.local.family != IP_NONE) {
			wg_peer_clear_src(t->dev, tx.peer);
			tx.path.local = (struct ip_addr){ 0 };
			tx.path.ifindex = 0;
			e = os_udp_send(t->udp, &tx.path, tx.p, tx.len, tx.seg_len);
			t->tx_stuck = e == ERR_AGAIN;
			if (t->tx_stuck)
				return;
		}
		count_bytes(t, tx.len);
		wg_device_tx_done(t->dev);
	}
}

static enum net_output on_output(void *ctx, const struct iovec *iov, int iovcnt, size_t len)
{
	struct tunnel *t = ctx;

	switch (wg_device_send(t->dev, os_loop_now(t->loop), iov, iovcnt, len)) {
	case WG_SEND_BLOCKED:
		return NET_OUTPUT_BLOCKED;
	default:
		/* A run that is full leaves while the caches hold it. */
		transmit(t, false);
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
				log_debug("handshake timestamp is not kept on disk");
			continue;
		}
		if (ev.kind == WG_EVENT_SESSION_UP || ev.kind == WG_EVENT_ENDPOINT)
			remember(t, ev.peer);
		if (ev.kind == WG_EVENT_ENDPOINT) {
			if (t->udp)
				os_udp_path_changed(t->udp, &ev.endpoint);
			if (t->nif)
				net_if_path_changed(t->nif);
		}
		if (ev.kind == WG_EVENT_HANDSHAKE_FAILED)
			tunnel_go_back(t, ev.peer);
		tunnel_dials_on_event(t, &ev);
		if (t->cfg.on_event)
			t->cfg.on_event(t->cfg.ctx, &ev);
	}
}

static void transmit_and_resume(struct tunnel *t)
{
	transmit(t, true);
	if (!t->tx_stuck && t->nif && net_if_is_blocked(t->nif)) {
		net_if_resume(t->nif);
		t->again = true;
	}
}

static void process(void *ctx)
{
	struct tunnel *t = ctx;

	net_set_now(os_loop_now(t->loop));
	t->again = true;
	for (int rounds = 0; t->again && rounds < 64; rounds++) {
		t->again = false;
		deliver(t);
		net_flush();
		tell(t);
		transmit_and_resume(t);
	}
	if (net_many_drain_much())
		os_loop_coalesce(t->loop, COALESCE);
	tunnel_cipher_turn(t);
	tunnel_workers_judge(t);
	tunnel_state_flush(&t->state, os_loop_now(t->loop));
	os_timer_set(&t->timer, nsec_min(tunnel_workers_deadline(t), nsec_min(wg_device_deadline(t->dev), net_deadline())));
}

void tunnel_kick(struct tunnel *t)
{
	t->again = true;
	os_late_ask(&t->late);
}

static void on_timer(void *ctx)
{
	struct tunnel *t = ctx;
	nsec_t now = os_loop_now(t->loop);

	wg_device_set_wall(t->dev, now, os_wall_now());
	wg_device_expire(t->dev, now);
	net_expire(now);
	tunnel_kick(t);
}

static void on_recv(void *ctx, const struct os_udp_dgram *d, size_t n)
{
	struct tunnel *t = ctx;
	struct wg_datagram batch[N_BATCH];
	nsec_t now = os_loop_now(t->loop);

	net_set_now(now);
	wg_device_set_wall(t->dev, now, os_wall_now());
	while (n > 0) {
		size_t m = MIN(n, (size_t)N_BATCH);

		for (size_t i = 0; i < m; i++) {
			batch[i] = (struct wg_datagram){ d[i].p, d[i].len, &d[i].path };
			count_bytes(t, d[i].len);
		}
		wg_device_input(t->dev, now, batch, m);
		deliver(t);
		d += m;
		n -= m;
	}
	tunnel_kick(t);
}

static void on_writable(void *ctx)
{
	struct tunnel *t = ctx;

	t->tx_stuck = false;
	tunnel_kick(t);
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
				 .tx_bytes_max = TX_BYTES_MAX,
				 .timestamp_watermark = tunnel_state_first(&t->state, os_wall_now()) };
	nsec_t now = os_loop_now(t->loop);

	if (cfg.mtu && (cfg.mtu < WG_MTU_MIN || cfg.mtu > WG_MTU_MAX))
		return ERR_INVALID;
	t->dev = wg_device_new(&cfg, now, os_wall_now());
	if (!t->dev)
		return ERR_NOMEM; /* that the provider is to be had was seen to */
	wg_device_set_private(t->dev, &t->cfg.private_key, now);
	return OK;
}

static enum err open_interface(struct tunnel *t)
{
	struct net_if_config cfg = { .n_addrs = t->cfg.n_addrs,
				     .mtu = t->cfg.mtu,
				     .output = on_output,
				     .ctx = t,
				     .congestion = t->cfg.congestion,
				     .answer_echo = true,
				     .reset_closed = !t->cfg.is_silent };

	memcpy(cfg.addrs, t->cfg.addrs, sizeof(cfg.addrs));
	return net_if_open(&cfg, &t->nif);
}

enum err tunnel_open_socket(struct tunnel *t, uint16_t port, struct os_udp **ret)
{
	struct os_udp_handler h = { on_recv, on_writable, t };

	return os_udp_open(t->loop, port, &h, ret);
}

static enum err open_socket(struct tunnel *t)
{
	enum err e = tunnel_open_socket(t, t->cfg.listen_port, &t->udp);

	if (e == ERR_IN_USE && t->cfg.port_fallback)
		e = tunnel_open_socket(t, 0, &t->udp);
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
	tunnel_workers_init(t);
	os_timer_init(&t->timer, loop, on_timer, t);
	os_late_init(&t->late, loop, process, t);
	e = stack_start(loop);
	if (e == OK)
		e = tunnel_state_load(&t->state, cfg->state_file);
	if (e == OK)
		e = tunnel_cipher_init(t);
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
	os_late_cancel(&t->late);
	remember_all(t);
	tunnel_dials_fail_all(t, ERR_CLOSED);
	net_if_close(t->nif);
	t->nif = NULL;
	tunnel_workers_stop(t);
	/* The resets of what was still open: without them the other side keeps its half until a timeout. */
	transmit(t, true);
	tunnel_cipher_fini(t);
	wg_device_free(t->dev);
	os_udp_close(t->udp);
	tunnel_state_fini(&t->state);
	free(t->configured);
	list_del(&t->link);
	sodium_memzero(&t->cfg.private_key, sizeof(t->cfg.private_key));
	free(t);
	stack_stop();
}

void tunnel_rest(struct tunnel *t)
{
	pktpool_trim(pool);
	if (t->udp)
		os_udp_rest(t->udp);
	net_rest();
	os_memory_rest();
}

const char *tunnel_aead(const struct tunnel *t)
{
	return wg_device_aead(t->dev);
}

uint16_t tunnel_port(const struct tunnel *t)
{
	return t->udp ? os_udp_port(t->udp) : 0;
}

struct wg_device *tunnel_device(struct tunnel *t)
{
	return t->dev;
}

struct net_if *tunnel_if(struct tunnel *t)
{
	return t->nif;
}
