/*
 * tunnel/gather.h - when to leave small writes of a local program standing until they are worth a read. No I/O.
 *
 * A program that streams in writes of some bytes pays for each a way through the kernel's TCP to a reader that waits for it,
 * and the reader a wake-up. Told of 16 KiB at once (SO_RCVLOWAT), the reader sleeps, the window fills, and the kernel puts
 * the next writes into the segment that waits: cheaper for both ends.
 *
 * Gathering begins when GATHER_READS reads in a row were small and together fast; while it lasts, what stands is read after
 * GATHER_WAIT at the latest; when that was little, it is over. So an exchange of small messages is never kept waiting, and the end
 * of a stream by GATHER_WAIT once.
 */
#ifndef TUNNEL_GATHER_H
#define TUNNEL_GATHER_H

#include "base/types.h"

#define GATHER_BYTES (16 << 10) /* what is waited for */
#define GATHER_WAIT (200 * NSEC_PER_USEC)
#define GATHER_READS 32U
#define GATHER_SMALL (2U << 10) /* a read of less is small */
#define GATHER_LEAST (4U << 10) /* bytes in GATHER_WAIT that make it worth while */

struct tunnel_gather {
	nsec_t since; /* the first of the small reads in a row */
	unsigned n_small;
	size_t bytes; /* of theirs */
	bool on;
};

/** tunnel_gather_read() - @n bytes came at @now. Return: does gathering begin? The caller sets the low-water mark then. */
static inline bool tunnel_gather_read(struct tunnel_gather *g, nsec_t now, size_t n)
{
	bool fast;

	if (g->on)
		return false;
	if (n >= GATHER_SMALL || g->n_small == 0)
		*g = (struct tunnel_gather){ .since = now };
	if (n >= GATHER_SMALL)
		return false;
	g->bytes += n;
	if (++g->n_small < GATHER_READS)
		return false;
	/* bytes / time >= GATHER_LEAST / GATHER_WAIT */
	fast = (uint64_t)g->bytes * GATHER_WAIT >= (now - g->since) * (uint64_t)GATHER_LEAST;
	*g = (struct tunnel_gather){ .on = fast };
	return fast;
}

/** tunnel_gather_waited() - GATHER_WAIT is over; @n: what stood there then. Return: is gathering over? */
static inline bool tunnel_gather_waited(struct tunnel_gather *g, size_t n)
{
	if (!g->on || n >= GATHER_LEAST)
		return false;
	*g = (struct tunnel_gather){ 0 };
	return true;
}

#endif
