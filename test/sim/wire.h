/*
 * test/sim/wire.h - what must hold for every datagram that a node sends.
 *
 * It knows what the nodes said to each other, not what they hold in memory: it sees each datagram when it is sent and
 * when it is delivered as it was sent.
 */
#ifndef TEST_SIM_WIRE_H
#define TEST_SIM_WIRE_H

#include "test/sim/rules.h"
#include "wg/wg.h"

#define SIM_NODES 8
#define WIRE_PLACES 64

struct wire_key;  /* one direction of one session */
struct wire_init; /* an initiation */

/* Addresses that a node may send to for a peer: configured, or an authentic datagram came from there. */
struct wire_places {
	struct endpoint at[WIRE_PLACES];
	size_t n;
};

struct wire {
	const struct wg_private_key *priv[SIM_NODES]; /* to open initiations as their addressee */
	struct wg_public_key pub[SIM_NODES];
	uint32_t incarnation[SIM_NODES];
	uint16_t mtu[SIM_NODES];
	nsec_t stuck_until[SIM_NODES]; /* it could not send what it had sealed */
	uint64_t timestamp[SIM_NODES];         /* greatest sent, ns since 1970 */
	uint8_t last_init[SIM_NODES][148];     /* and where it went */
	struct endpoint last_dst[SIM_NODES];
	nsec_t initiated_at[SIM_NODES][SIM_NODES];
	uint32_t initiated_in[SIM_NODES][SIM_NODES];
	nsec_t derived_at[SIM_NODES][SIM_NODES];
	struct wire_places places[SIM_NODES][SIM_NODES];
	struct wire_places heard[SIM_NODES][SIM_NODES]; /* an authentic initiation came from there, perhaps an old one */
	struct wire_key *keys;
	size_t n_keys, keys_cap;
	struct wire_init *inits;
	size_t n_inits, inits_cap;
	bool load_is_possible;
	uint32_t n_init, n_resp, n_cookie, n_data, n_keepalive, n_crossed, n_rekeyed, n_called_back;
};

/**
 * wire_sent() - node @from sent this to @dst
 * @to: who has or had that address, -1: a stranger's
 */
enum rule wire_sent(struct wire *w, nsec_t now, int from, int to, const struct endpoint *dst, const uint8_t *p,
		    size_t len);
/** wire_delivered() - it reaches @to from the address @src, as it was sent */
void wire_delivered(struct wire *w, nsec_t now, int to, const struct endpoint *src, const uint8_t *p, size_t len);
/** wire_may_send_to() - @node was told that @peer is at @ep */
void wire_may_send_to(struct wire *w, int node, int peer, const struct endpoint *ep);
/** wire_is_used_up() - did @node answer or refuse this in its present incarnation, so that it must not heed it again? */
bool wire_is_used_up(struct wire *w, int node, const uint8_t *p);
void wire_fini(struct wire *w);

#endif
