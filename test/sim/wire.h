/* test/sim/wire.h - what must hold for every datagram that a simulated node sends. */
#ifndef TEST_SIM_WIRE_H
#define TEST_SIM_WIRE_H

#include "wg/wg.h"

#define WIRE_NODES 8

struct wire_key; /* one direction of one session */

struct wire {
	const struct wg_private_key *priv[WIRE_NODES]; /* by node: to open initiations as their addressee */
	struct wg_public_key pub[WIRE_NODES];
	struct wire_key *keys;
	size_t n_keys, cap;
	uint64_t timestamp[WIRE_NODES]; /* greatest sent, ns since 1970 */
	uint16_t mtu;
	uint32_t n_init, n_resp, n_cookie, n_data, n_keepalive;
};

/** wire_sent() - node @from sent this to @to. Return: the rule that it breaks, or NULL. */
const char *wire_sent(struct wire *w, int from, int to, const uint8_t *p, size_t len);
/** wire_delivered() - it reaches @to as it was sent */
void wire_delivered(struct wire *w, int from, int to, const uint8_t *p, size_t len);
void wire_fini(struct wire *w);

#endif
