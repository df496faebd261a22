/*
 * netstack/spill.c - received bytes that have to wait go from units of the pool to the heap.
 *
 * Units are for packets on their way: the packet that would fill a gap needs one, and an owner gets no more than its share
 * (base/pktbuf.h). What waits, because its reader is slow or because something in front of it was lost, is copied out
 * as soon as a quarter of the pool is used; a single peer's share ends at half. Without that one loss on a path that
 * holds more than the share makes the pool refuse everything behind it, and each refusal is one loss more.
 *
 * Limit: half of the memory for queues, what an allocation itself takes included: pieces of a byte are mostly that. What does
 * not fit stays where it is, or is not kept when it is small (ooseq.c).
 */
#include <string.h>

#include "netstack/net_internal.h"

#define OVERHEAD 128 /* the heap's and lwIP's, for the entry of a list too */

struct spilled {
	struct pbuf_custom custom;
	size_t size; /* as it counts */
	uint8_t data[];
};

static size_t size_of(size_t len)
{
	return sizeof(struct spilled) + len + OVERHEAD;
}

static bool fits(size_t len)
{
	return net_g.spilled_bytes + size_of(len) <= net_g.cfg.mem_bytes_max / 2;
}

static void free_spilled(struct pbuf *p)
{
	struct spilled *s = container_of((struct pbuf_custom *)p, struct spilled, custom);

	net_g.spilled_bytes -= s->size;
	net_lwip_free(s);
}

bool net_spill_wanted(size_t len)
{
	struct pktpool_stats s;

	if (!net_g.cfg.pool)
		return false;
	pktpool_get_stats(net_g.cfg.pool, &s);
	return s.n_used >= s.n_max / 4 && fits(len);
}

struct pbuf *net_spill_alloc(uint16_t len)
{
	struct spilled *s = fits(len) ? net_lwip_malloc(sizeof(*s) + len) : NULL;

	if (!s)
		return NULL;
	memset(&s->custom, 0, sizeof(s->custom));
	s->custom.custom_free_function = free_spilled;
	s->size = size_of(len);
	net_g.spilled_bytes += s->size;
	return pbuf_alloced_custom(PBUF_RAW, len, PBUF_REF, &s->custom, s->data, len);
}

struct pbuf *net_spill(struct pbuf *p)
{
	struct pbuf *copy = net_spill_wanted(p->tot_len) ? net_spill_alloc(p->tot_len) : NULL;

	if (copy)
		pbuf_copy_partial(p, copy->payload, p->tot_len, 0);
	return copy;
}
