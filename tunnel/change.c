/*
 * tunnel/change.c - what changes while a tunnel runs: its key, its port, its addresses, or all below its interface.
 *
 * The interface and the connections on it outlive each of these, except those that stand on an address that is taken
 * away. A rebuild is the watchdog's: it throws away everything that could have gone bad (sessions, handshakes, the
 * sockets, where the peers were thought to be) and keeps what a user would miss.
 */
#include <sodium.h>
#include <string.h>

#include "tunnel/tunnel_internal.h"

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
void tunnel_announce(struct tunnel *t, wg_peer_id id)
{
	nsec_t now = os_loop_now(t->loop);

	if (!wg_peer_is_up(t->dev, id, now))
		return;
	wg_peer_send_keepalive(t->dev, id, now);
	wg_peer_rehandshake(t->dev, id, now);
}

enum err tunnel_set_port(struct tunnel *t, uint16_t port)
{
	struct os_udp *udp;
	enum err e;

	if (port == tunnel_port(t))
		return OK;
	e = tunnel_open_socket(t, port, &udp);
	if (e != OK)
		return e;
	os_udp_close(t->udp);
	t->udp = udp;
	t->tx_stuck = false;
	t->cfg.listen_port = port;
	log_info("UDP port changed port=%u", tunnel_port(t));
	for (wg_peer_id id = wg_peer_next(t->dev, 0); id; id = wg_peer_next(t->dev, id))
		tunnel_announce(t, id);
	tunnel_kick(t);
	return OK;
}

enum err tunnel_set_addrs(struct tunnel *t, const struct ip_prefix *addrs, size_t n)
{
	if (n == 0 || n > ARRAY_SIZE(t->cfg.addrs))
		return ERR_RANGE;
	if (n == t->cfg.n_addrs && memcmp(addrs, t->cfg.addrs, n * sizeof(*addrs)) == 0)
		return OK;
	memcpy(t->cfg.addrs, addrs, n * sizeof(*addrs));
	t->cfg.n_addrs = n;
	net_if_set_addrs(t->nif, addrs, n);
	tunnel_kick(t);
	return OK;
}

/* The port that we had, which somebody may have taken meanwhile, or was any. */
static enum err reopen_socket(struct tunnel *t)
{
	uint16_t port = t->cfg.listen_port;
	enum err e;

	os_udp_close(t->udp);
	t->udp = NULL;
	t->tx_stuck = false;
	e = tunnel_open_socket(t, port, &t->udp);
	if (e == ERR_IN_USE && t->cfg.port_fallback)
		e = tunnel_open_socket(t, 0, &t->udp);
	return e;
}

static void back_to_start(struct tunnel *t, wg_peer_id id, nsec_t now)
{
	struct endpoint configured;

	if (tunnel_configured_endpoint(t, id, &configured))
		wg_peer_set_endpoint(t->dev, id, &configured, now);
	wg_peer_clear_src(t->dev, id);
}

/*
 * What waits for the socket is of the old sessions, or an initiation that we will not know any more: were it sent, the
 * peer would answer that one and take the next for a flood.
 */
static void discard_queue(struct tunnel *t, nsec_t now)
{
	struct wg_tx tx;

	tunnel_workers_recall(t);
	while (wg_device_next_tx(t->dev, now, &tx))
		wg_device_tx_done(t->dev);
}

enum err tunnel_rebuild(struct tunnel *t)
{
	nsec_t began = os_now(), now = os_loop_now(t->loop);
	enum err e = reopen_socket(t);
	wg_peer_id id;
	size_t n = 0;

	if (e != OK) {
		log_error("tunnel not rebuilt: the UDP port cannot be opened port=%u error=%s", t->cfg.listen_port,
			  err_text(e));
		return e;
	}
	for (id = wg_peer_next(t->dev, 0); id; id = wg_peer_next(t->dev, id), n++)
		back_to_start(t, id, now);
	/* A changed endpoint has repeated the handshake that was under way: that must not leave either. */
	discard_queue(t, now);
	/* The same key again: every session and handshake ends, and begins at once where data wait. */
	wg_device_set_private(t->dev, &t->cfg.private_key, now);
	for (id = wg_peer_next(t->dev, 0); id; id = wg_peer_next(t->dev, id))
		wg_peer_connect(t->dev, id, now);
	tunnel_kick(t);
	log_info("tunnel rebuilt peers=%zu port=%u took_us=%llu", n, tunnel_port(t),
		 (unsigned long long)((os_now() - began) / NSEC_PER_USEC));
	return OK;
}
