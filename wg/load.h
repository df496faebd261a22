/*
 * wg/load.h - when handshakes are limited, and whom (5.3).
 *
 * A source that sends more than its share while the device is not yet under load is limited alone: it has to prove
 * its address, its excess does not count, and nobody else notices. Load is what many sources make together.
 *
 * A handshake costs the responder about 150 µs of a core; when more than half a core's worth comes in a second, or
 * a long queue at once, the device is under load for at least a second more. Then a sender must first prove its address
 * (MAC2), and each source, a /32 or a /64, has a bucket of 5 that refills with 20 a second. Only strangers and replays
 * empty it: the caller gives the token back when a handshake proves to be a known peer's fresh one, so a thousand
 * peers behind one address are not an attack.
 */
#ifndef WG_LOAD_H
#define WG_LOAD_H

#include "base/addr.h"
#include "base/types.h"

#define WG_LOAD_SOURCES 4096 /* buckets; the table never grows */

struct wg_load_bucket {
	uint64_t key; /* hash of the source; 0 = free */
	nsec_t last;
	nsec_t tokens; /* in time: a token is 50 ms */
	nsec_t window; /* start of the window that it was last counted in */
	uint32_t n_in_window;
};

struct wg_load {
	uint64_t hash_key[2];
	nsec_t window_start;
	uint32_t n_in_window;
	nsec_t until; /* under load until then */
	struct wg_load_bucket *buckets;
};

/** wg_load_count() - a handshake message with a valid MAC1 came from @from; return: must it be proven by MAC2? */
bool wg_load_count(struct wg_load *l, nsec_t now, const struct ip_addr *from);
/** wg_load_is_high() - is the device under load? */
bool wg_load_is_high(const struct wg_load *l, nsec_t now);
/** wg_load_take() - a token of @from's source; false = none left. The bucket table is allocated at first use. */
bool wg_load_take(struct wg_load *l, nsec_t now, const struct ip_addr *from);
/** wg_load_give_back() - it was a known peer */
void wg_load_give_back(struct wg_load *l, const struct ip_addr *from);
void wg_load_fini(struct wg_load *l);

#endif
