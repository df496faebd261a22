/*
 * test/sim/inner.h - what must hold for every inner packet, and for the TCP connections that they make up.
 *
 * One struct inner_half is one direction of one connection, known by its ends and by the group of interfaces (twins have
 * the same addresses). Its first bytes are kept, so that what is sent again can be compared.
 */
#ifndef TEST_SIM_INNER_H
#define TEST_SIM_INNER_H

#include "base/addr.h"
#include "test/sim/rules.h"

#define INNER_HASH 256

struct inner_half;
struct inner_packet;

struct inner {
	struct inner_half *halves[INNER_HASH];
	struct inner_packet *packets[INNER_HASH * 16];
	uint64_t n_zero_window, n_resent;
};

/** inner_sent() - a stack of @group with the MTU @mtu sends this */
enum rule inner_sent(struct inner *in, int group, const uint8_t *p, size_t len, uint16_t mtu);
/** inner_delivered() - it is about to enter a stack of @group */
enum rule inner_delivered(struct inner *in, int group, const uint8_t *p, size_t len);
void inner_fini(struct inner *in);

#endif
