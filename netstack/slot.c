/*
 * netstack/slot.c - bytes that are read straight into the segments which they leave in.
 *
 * A local socket's bytes used to be read into one buffer and copied from there into segments from the heap. A segment of a flow
 * lives for a window's time: what the heap gave for the next had left the caches, and each list and each header that was
 * touched on its way out and when it was acknowledged was waited for. So who has much to write reserves slots: a slot has
 * the segment, its buffer and the room for headers and payload side by side, slots lie side by side in slabs, and the socket
 * is read into their payloads. What was read becomes segments as it is (link.c), when it is much; a few bytes
 * are copied as ever, for lwIP fills a segment that has not left with those that come next.
 *
 * A slab is free again when the last part of its slots is; slots that were reserved and not used are the next ones reserved. A
 * connection that keeps a few segments for long keeps a slab, of which the limit of memory counts those few: so slabs are small, few
 * bytes never take one, and when an eighth of that limit is kept for nothing all bytes are copied.
 */
#include <stdlib.h>

#include "netstack/slot.h"

/* Sanitizers see every slot as an allocation. */
#ifdef SANITIZED
#define N_SLOTS 1u
#define N_FREE_MAX 0u
#else
#define N_SLOTS 21u    /* 32 KiB */
#define N_FREE_MAX 64u /* 2 MiB: more than a short path has under way */
#endif

struct net_slab {
	struct list link; /* of free ones */
	uint32_t n_parts; /* of slots, that are not free: the segment is one, its buffer another */
	struct net_slot slots[N_SLOTS];
};

/* Slots to be reserved next: whole slabs are added, the first are used first. */
static struct net_slot *spare[NET_RESERVE_MAX + N_SLOTS];
static size_t n_spare;
static struct list free_slabs = { &free_slabs, &free_slabs };
static uint32_t n_free;
static size_t n_idle_parts; /* free, and another part of their slab is not */

/* ---- slabs ---- */

static void put_parts(struct net_slab *slab, uint32_t n)
{
	slab->n_parts -= n;
	n_idle_parts += n;
	if (slab->n_parts > 0)
		return;
	n_idle_parts -= 2 * N_SLOTS;
	if (n_free == N_FREE_MAX) {
		free(slab);
		return;
	}
	list_add(&free_slabs, &slab->link);
	n_free++;
}

void net_slot_free_seg(struct net_slot_mark *mark)
{
	put_parts(mark->slab, 1);
}

static void free_pbuf(struct pbuf *p)
{
	put_parts(container_of((struct pbuf_custom *)p, struct net_slot, custom)->mark.slab, 1);
}

static struct net_slab *slab_new(void)
{
	struct net_slab *slab = aligned_alloc(64, sizeof(*slab));

	if (!slab)
		return NULL;
	list_init(&slab->link);
	for (size_t i = 0; i < N_SLOTS; i++) {
		slab->slots[i].mark = (struct net_slot_mark){ MEM_OF_SLOT, slab };
		slab->slots[i].custom.custom_free_function = free_pbuf;
	}
	return slab;
}

static struct net_slab *slab_take(void)
{
	struct list *first = list_first(&free_slabs);
	struct net_slab *slab;

	if (first) {
		list_del(first);
		n_free--;
		slab = container_of(first, struct net_slab, link);
	} else {
		slab = slab_new();
		if (!slab)
			return NULL;
	}
	slab->n_parts = 2 * N_SLOTS;
	return slab;
}

struct pbuf *net_slot_pbuf(struct net_slot *s, uint16_t len)
{
	return pbuf_alloced_custom(PBUF_TRANSPORT, len, PBUF_RAM, &s->custom, s->mem, sizeof(s->mem));
}

void net_slot_rest(void)
{
	while (n_spare > 0)
		put_parts(spare[--n_spare]->mark.slab, 2);
	list_for_each_safe(it, &free_slabs) {
		list_del(it);
		free(container_of(it, struct net_slab, link));
	}
	n_free = 0;
}

bool net_slots_are_wasted(void)
{
	return n_idle_parts / 2 * sizeof(struct net_slot) > net_g.cfg.mem_bytes_max / 8;
}

/* ---- to read into ---- */

/* A whole slab; false: no memory. */
static bool add_spare(void)
{
	struct net_slab *slab = slab_take();

	if (!slab)
		return false;
	for (size_t i = 0; i < N_SLOTS; i++)
		spare[n_spare++] = &slab->slots[i];
	return true;
}

static void use_spare(size_t n)
{
	n_spare -= n;
	for (size_t i = 0; i < n_spare; i++)
		spare[i] = spare[n + i];
}

enum err net_tcp_reserve(struct net_tcp *c, size_t len, struct net_reserve *ret)
{
	size_t room = MIN(len, net_tcp_writable(c)), size = c->pcb ? net_seg_size(c->pcb) : 0;

	ret->n = 0;
	ret->len = 0;
	if (room == 0) {
		net_room_ask(c);
		return ERR_AGAIN;
	}
	while (ret->len < room && ret->n < NET_RESERVE_MAX) {
		size_t part = MIN(room - ret->len, size);

		if ((size_t)ret->n == n_spare && !add_spare())
			break;
		ret->iov[ret->n] = (struct iovec){ spare[ret->n]->mem + SLOT_HEAD, part };
		ret->len += part;
		ret->n++;
	}
	return ret->n > 0 ? OK : ERR_NOMEM;
}

size_t net_tcp_commit(struct net_tcp *c, size_t len)
{
	size_t size, linked, done;

	if (!c->pcb)
		return 0;
	size = net_seg_size(c->pcb);
	linked = net_slots_link(c, spare, len);
	done = linked * size;
	for (size_t i = linked, took = size; done < len && took == size; i++) {
		took = net_tcp_append(c, spare[i]->mem + SLOT_HEAD, MIN(len - done, size), done + size < len);
		done += took;
	}
	net_tcp_wrote(c, len, len, done);
	if (linked > 0) {
		use_spare(linked);
		/* Much leaves while the caches hold it, not after others have read as much. */
		net_pcb_send(c->pcb);
	}
	return done;
}
