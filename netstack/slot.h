/*
 * netstack/slot.h - memory for a segment, laid out so that its payload can be read into before the segment exists.
 */
#ifndef NETSTACK_SLOT_H
#define NETSTACK_SLOT_H

#include "netstack/net_internal.h"

#define NET_SLOT_BUFFERS 2 /* headers, payload; lwIP limits a queue by their number */

/* Headers in front of the payload, as pbuf_alloced_custom() leaves room for them. */
#define SLOT_HEAD LWIP_MEM_ALIGN_SIZE((size_t)PBUF_TRANSPORT)

struct net_slab;

/* The payload lies elsewhere in the slab, behind that of the slot before. */
struct net_slot {
	/* As long as its slab: whichever part is freed last finds it. */
	_Alignas(64) struct net_slot_mark {
		size_t step; /* stands where mem.c looks: MEM_OF_SLOT */
		struct net_slab *slab;
	} mark;
	struct tcp_seg seg;
	struct pbuf_custom head, body;
	uint8_t head_mem[SLOT_HEAD];
};

#define MEM_OF_SLOT SIZE_MAX

/** net_slot_free_seg() - lwIP gave the segment back that lies behind @mark */
void net_slot_free_seg(struct net_slot_mark *mark);
/** net_slot_rest() - what is free goes back to the heap */
void net_slot_rest(void);

/*
 * net_slots_link() - the engine's: as many whole segments of @len bytes in @slots as are worth it join the queue of @c
 * Return: how many slots it took; 0: the bytes are to be copied.
 */
size_t net_slots_link(struct net_tcp *c, struct net_slot *const *slots, size_t len);
/** net_slots_are_wasted() - so many are kept by others of their slabs that no more should be taken */
bool net_slots_are_wasted(void);
/** net_slot_pbuf() - room for the headers, empty, and behind it @len bytes of the payload of @s */
struct pbuf *net_slot_pbuf(struct net_slot *s, uint16_t len);
/** net_slot_payload() - where the payload of @s is read to */
uint8_t *net_slot_payload(const struct net_slot *s);
/** net_slot_size() - of its payload */
size_t net_slot_size(const struct net_slot *s);

#endif
