/*
 * base/pktbuf.h - packet buffers: 2 KiB units from one bounded pool per process.
 *
 * wg/ decrypts into a unit (that pass is the only copy of a received packet) and netstack/ hands the same
 * unit to TCP as a custom pbuf, whose header lives in @priv. An owner (a peer) is charged for every unit
 * that it holds, so that one peer cannot take the whole pool.
 */
#ifndef BASE_PKTBUF_H
#define BASE_PKTBUF_H

#include "base/types.h"

#define PKTBUF_UNIT 2048
#define PKTBUF_PRIV 96
#define PKTBUF_HDR (PKTBUF_PRIV + 32)
#define PKTBUF_DATA (PKTBUF_UNIT - PKTBUF_HDR)

struct pktpool;

/* Who is charged: embed one per peer, zero-initialised. */
struct pktowner {
	uint32_t n_units;
};

struct pktbuf {
	struct pktpool *pool;
	struct pktbuf *next;    /* for its holder's queues */
	struct pktowner *owner; /* charged; may be NULL */
	uint16_t off;           /* first byte of the packet in data[] */
	uint16_t len;           /* bytes of the packet */
	uint32_t flags;         /* its holder's */
	_Alignas(16) uint8_t priv[PKTBUF_PRIV];
	_Alignas(16) uint8_t data[PKTBUF_DATA];
};
_Static_assert(sizeof(struct pktbuf) == PKTBUF_UNIT, "one unit");

struct pktpool_stats {
	uint32_t n_max, n_used, n_peak, n_held; /* n_held: in memory, used or free */
	uint64_t n_refused; /* allocations refused: pool empty or owner over its share */
	uint64_t n_empty;   /* of these, because there was no unit for anybody */
};

/** pktpool_new() - a pool of at most @n_max units; memory is taken as it is first used. NULL: no memory. */
struct pktpool *pktpool_new(uint32_t n_max);
/** pktpool_free() - every unit must have come back */
void pktpool_free(struct pktpool *pool);
/** pktpool_share() - how many units @owner may hold now: half of what the others left free, and always at least 64 */
uint32_t pktpool_share(const struct pktpool *pool, const struct pktowner *owner);
/**
 * pktbuf_alloc() - one unit charged to @owner (or NULL)
 *
 * An owner is refused when it holds its fair share. Return: the unit with off = len = 0, or NULL.
 */
struct pktbuf *pktbuf_alloc(struct pktpool *pool, struct pktowner *owner);
void pktbuf_free(struct pktbuf *pb);
/** pktbuf_disown() - the owner goes away; its units stay valid and are charged to nobody */
void pktbuf_disown_all(struct pktpool *pool, struct pktowner *owner);
/** pktpool_trim() - give slabs back in which no unit is in use; walks all free units: for quiet moments */
void pktpool_trim(struct pktpool *pool);
void pktpool_get_stats(const struct pktpool *pool, struct pktpool_stats *ret);

#endif
