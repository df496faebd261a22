/* wg/replay.h - the sliding window over received counters (5.4.6; RFC 6479's block-wise bitmap). */
#ifndef WG_REPLAY_H
#define WG_REPLAY_H

#include "wg/messages.h"

/* Counters up to 8,128 behind the greatest are told apart. Zero-initialise. */
struct wg_replay {
	uint64_t next; /* greatest accepted + 1 */
	uint64_t bits[WG_REPLAY_BITS / 64];
};

/** wg_replay_check() - would @counter be new? false: seen, too old, or beyond the protocol's limit */
bool wg_replay_check(const struct wg_replay *r, uint64_t counter);
/** wg_replay_accept() - check and record; only after the packet was authenticated */
bool wg_replay_accept(struct wg_replay *r, uint64_t counter);

#endif
