/*
 * test/lib/wgwatch.h - watches the datagrams between two WireGuard devices and tells when one breaks a rule of the protocol.
 *
 * The rules: data go under a key that the other side offered and that the sender may use: the initiator once it has the response,
 * the responder once data of the initiator came (no data before confirmation); counters only grow; what is sealed is padded to
 * 16 bytes, or as long as the MTU allows. test/sim/wire.h knows more of them, for many nodes.
 */
#ifndef TEST_LIB_WGWATCH_H
#define TEST_LIB_WGWATCH_H

#include "base/types.h"

#define WGWATCH_KEYS 256 /* the newest; nobody uses the others any more */

/* One direction of a session, named by the index that its receiver chose. */
struct wgwatch_key {
	uint32_t index, pair; /* @pair: of the other direction; 0: not known yet */
	int to;
	bool by_responder, may_send;
	uint64_t next_counter;
};

struct wgwatch {
	struct wgwatch_key keys[WGWATCH_KEYS];
	size_t n;     /* ever */
	uint16_t mtu; /* of both devices; 0 = 1420 */
};

/** wgwatch_sent() - @side (0 or 1) sends a datagram; return: the rule that it breaks, or NULL */
const char *wgwatch_sent(struct wgwatch *w, int side, const uint8_t *p, size_t len);
/** wgwatch_came() - a datagram reaches @side */
void wgwatch_came(struct wgwatch *w, int side, const uint8_t *p, size_t len);

#endif
