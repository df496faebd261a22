/*
 * netstack/slot.c - bytes that are read straight into the segments which they leave in.
 *
 * A local socket's bytes used to be read into one buffer and copied from there into segments from the heap. A segment of a flow
 * lives for a window's time: what the heap gave for the next had left the caches, and each list and each header that was
 * touched on its way out and when it was acknowledged was waited for. So who has much to write reserves slots: a slot has
 * the segment, its buffers and the room for headers side by side, slots lie side by side in slabs, and so do their payloads, into which
 * the socket is read. What was read becomes segments as it is (link.c), when it is much; a few bytes
 * are copied as ever, for lwIP fills a segment that has not left with those that come next.
 *
 * The payloads of a slab follow one another without a gap, so all of them are one piece for the kernel: in pieces of a segment each
 * its copy costs a third more, for it waits for the memory of each anew. So the segments of a slab have one size.
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
#define N_SLOTS 20u    /* 32 KiB */
#define N_FREE_MAX 64u /* 2 MiB: more than a short path has under way */
#endif
#define N_PARTS 3u /* of a slot, to be freed one by one: the segment, the buffer of its headers, that of its payload */

struct net_slab {
	struct list link; /* of free ones */
	uint32_t n_parts; /* that are not free */
	uint32_t size;    /* of a payload */
	struct net_slot slots[N_SLOTS];
	_Alignas(64) uint8_t payload[N_SLOTS * TCP_MSS];
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
	n_idle_parts -= N_PARTS * N_SLOTS;
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

static void free_head(struct pbuf *p)
{
	put_parts(container_of((struct pbuf_custom *)p, struct net_slot, head)->mark.slab, 1);
}

static void free_body(struct pbuf *p)
{
	put_parts(container_of((struct pbuf_custom *)p, struct net_slot, body)->mark.slab, 1);
}

static struct net_slab *slab_new(void)
{
	struct net_slab *slab = aligned_alloc(64, sizeof(*slab));

	if (!slab)
		return NULL;
	list_init(&slab->link);
	for (size_t i = 0; i < N_SLOTS; i++) {
		slab->slots[i].mark = (struct net_slot_mark){ MEM_OF_SLOT, slab };
		slab->slots[i].head.custom_free_function = free_head;
		slab->slots[i].body.custom_free_function = free_body;
	}
	return slab;
}

static struct net_slab *slab_take(size_t size)
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
	slab->n_parts = N_PARTS * N_SLOTS;
	slab->size = (uint32_t)size;
	return slab;
}

size_t net_slot_size(const struct net_slot *s)
{
	return s->mark.slab->size;
}

uint8_t *net_slot_payload(const struct net_slot *s)
{
	struct net_slab *slab = s->mark.slab;

	return slab->payload + (size_t)(s - slab->slots) * slab->size;
}

struct pbuf *net_slot_pbuf(struct net_slot *s, uint16_t len)
{
	struct pbuf *head = pbuf_alloced_custom(PBUF_TRANSPORT, 0, PBUF_RAM, &s->head, s->head_mem, sizeof(s->head_mem));
	struct pbuf *body = pbuf_alloced_custom(PBUF_RAW, len, PBUF_REF, &s->body, net_slot_payload(s), len);

	if (head && body)
		pbuf_cat(head, body);
	return body ? head : NULL;
}

static void put_spare(void)
{
	while (n_spare > 0)
		put_parts(spare[--n_spare]->mark.slab, N_PARTS);
}

void net_slot_rest(void)
{
	put_spare();
	list_for_each_safe(it, &free_slabs) {
		list_del(it);
		free(container_of(it, struct net_slab, link));
	}
	n_free = 0;
}

bool net_slots_are_wasted(void)
{
	return n_idle_parts / N_PARTS * (sizeof(struct net_slot) + TCP_MSS) > net_g.cfg.mem_bytes_max / 8;
}

/* ---- to read into ---- */

/* A whole slab; false: no memory. */
static bool add_spare(size_t size)
{
	struct net_slab *slab = slab_take(size);

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

/* @p follows what is there, or begins another piece. */
static void add_piece(struct net_reserve *r, uint8_t *p, size_t len)
{
	struct iovec *last = r->n > 0 ? &r->iov[r->n - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == p)
		last->iov_len += len;
	else
		r->iov[r->n++] = (struct iovec){ p, len };
	r->len += len;
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
	if (n_spare > 0 && net_slot_size(spare[0]) != size)
		put_spare();
	for (size_t i = 0; ret->len < room && i < NET_RESERVE_MAX; i++) {
		if (i == n_spare && !add_spare(size))
			break;
		add_piece(ret, net_slot_payload(spare[i]), MIN(room - ret->len, size));
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
		took = net_tcp_append(c, net_slot_payload(spare[i]), MIN(len - done, size), done + size < len);
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
