/* test/lib/wghostile.h - what a stranger, a flood and a wire that remembers can do to a pair of devices. */
#ifndef TEST_LIB_WGHOSTILE_H
#define TEST_LIB_WGHOSTILE_H

#include "test/lib/wgpair.h"
#include "wg/device_internal.h"

struct wg_peer *peer_of(struct wgside *s);
struct endpoint stranger(uint16_t port);
/** forge_initiation() - that only MAC1 speaks for: all that a stranger who knows the public key can make */
void forge_initiation(struct wgpair *p, const struct wgside *to, struct wg_msg_initiation *ret);
/** flood() - @n of them from one place; what @to answers is thrown away */
void flood(struct wgpair *p, struct wgside *to, const struct endpoint *from, int n);
/** flood_from_everywhere() - from as many sources that the device as a whole is under load */
void flood_from_everywhere(struct wgpair *p, struct wgside *to);
/** forge_data() - a data message of @from's session, with any counter and plaintext. Return: its length. */
size_t forge_data(struct wgside *from, uint64_t counter, const void *plain, size_t len, uint8_t *ret);
bool at_endpoint(struct wgside *s, const struct endpoint *ep);

/* What the wire kept. */
struct kept {
	struct { struct wgside *from; size_t len; uint8_t b[2048]; } *msgs;
	size_t n, max;
	int type;     /* 0 = all */
	bool deliver; /* after keeping a copy */
};

/** kept_init() - from here on, by p->wire, of one @type (0 = all); free k->msgs */
void kept_init(struct wgpair *p, struct kept *k, size_t max, int type, bool deliver);
bool keep(struct wgpair *p, struct wgside *from, uint8_t *msg, size_t *len, void *ctx);
/** release() - the i-th reaches the other side, from where it came */
void release(struct wgpair *p, struct kept *k, size_t i);

#endif
