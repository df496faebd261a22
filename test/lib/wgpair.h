/* test/lib/wgpair.h - two WireGuard devices joined by memory, on a virtual clock. */
#ifndef TEST_LIB_WGPAIR_H
#define TEST_LIB_WGPAIR_H

#include "test/lib/testing.h"
#include "test/lib/wgwatch.h"
#include "wg/wg.h"

struct wgside {
	struct wg_device *dev;
	struct wg_private_key priv;
	struct wg_public_key pub;
	wg_peer_id peer;
	struct endpoint ep;
	struct ip_addr inner;
	uint32_t n_rx, n_tx, n_init, n_resp, n_cookie, n_data, n_keepalive;
	uint32_t n_up, n_down, n_failed;
	uint64_t timestamp;
	uint8_t last[2048];
	size_t last_len;
};

struct wgpair {
	nsec_t now;
	uint64_t wall;
	struct rng_seeded rng;
	struct pktpool *pool;
	struct wgside a, b;
	struct wgwatch watch; /* of what both send by themselves */
	uint32_t n_bad;       /* datagrams that broke a rule */
	bool unwatched;       /* where its time would count, or what it takes for granted is broken */
	/* May change or drop (return false) what @from sends; NULL = deliver */
	bool (*wire)(struct wgpair *p, struct wgside *from, uint8_t *msg, size_t *len, void *ctx);
	void *wire_ctx;
};

void wgpair_init(struct wgpair *p, uint64_t seed);
void wgpair_fini(struct wgpair *p);
/** wgpair_pump() - deliver until both sides are quiet, without moving the clock */
void wgpair_pump(struct wgpair *p);
/** wgpair_run() - move the clock on by @t, running timers and delivering as they come */
void wgpair_run(struct wgpair *p, nsec_t t);
/** wgpair_send() - an inner IPv4 packet of @len bytes from @from to the other side, or with another source */
enum wg_send wgpair_send(struct wgpair *p, struct wgside *from, size_t len, const struct ip_addr *src);
/** wgpair_connect() - a handshake of a's, and its confirmation */
void wgpair_connect(struct wgpair *p);
/** wgpair_restart() - the side's device anew, with its key and @watermark */
void wgpair_restart(struct wgpair *p, struct wgside *s, uint64_t watermark);
/** wgpair_inject() - one datagram to @to as if it came from @from */
void wgpair_inject(struct wgpair *p, struct wgside *to, const struct endpoint *from, const void *msg, size_t len);

#endif
