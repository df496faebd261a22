/*
 * netstack/ooseq.c - segments that came before those in front of them, and the SACKs that tell of them.
 *
 * lwIP keeps one entry for each packet and walks all of them several times at every arrival: at a window of 10 MB the
 * receiver of a lossy path does little else. Here a segment that continues the one before it is chained to it (up to
 * 64 KiB), so the list has about as many entries as there are holes. It stays lwIP's list: tcp_receive() takes
 * from its front what has become in order.
 *
 * A queue that overflows leaves thousands of holes, and a list that is too short for them makes the sender repeat what has
 * arrived. What comes then is new data, which belongs behind the last entry, and repetitions, each of which belongs a
 * little behind the one before: two places are kept from which to walk. A place is good as long as what lies there is
 * beyond rcv_nxt; what is not was taken and freed.
 *
 * What comes a second time when it is no longer here is told as such with the next ACK (RFC 2883): the sender learns that it
 * was late, not lost.
 *
 * What lies here occupies units of the pool, and the segment that fills a gap needs one: when units were refused, the peer that
 * holds most loses what it has out of order (its sender still has it; RFC 2018 section 8 allows it), or nobody would ever go on.
 * When the refused were over their own share, only who is near his is asked: nobody loses by what another hoards. One look is at
 * N_RELIEVED connections, the next at those behind them: a peer can be refused with every packet, and have thousands.
 *
 * Limits: the window bounds the bytes, N_ENTRIES the list, spill.c the memory of all lists. A segment of a few bytes is
 * copied to the heap, or it would hold a unit of 2 KiB each; when units run short, so is every one.
 */
#include <stdlib.h>
#include <string.h>

#include "netstack/loss.h"

#define N_ENTRIES 8192
#define SMALL 512
#define N_RELIEVED 64
#define N_LOOKS 256 /* at buffers of a connection */

/* An entry, where it begins, and where the run of bytes does of which it is part. */
struct place {
	struct tcp_seg *seg;
	uint32_t from, block;
};

struct net_ooseq {
	struct place recent, last;
	uint32_t n, counted_at; /* entries, and rcv_nxt when they were counted */
	struct tcp_pcb *pcb;
	struct list hoard; /* net_g.hoards: it may hold units of the pool */
};

static uint32_t from_of(const struct tcp_seg *seg)
{
	return seg->tcphdr->seqno;
}

static uint32_t end_of(const struct tcp_seg *seg)
{
	return seg->tcphdr->seqno + seg->len;
}

static bool has_fin(const struct tcp_seg *seg)
{
	return TCPH_FLAGS(seg->tcphdr) & TCP_FIN;
}

static void cut_tail(struct tcp_seg *seg, uint32_t end)
{
	if (!TCP_SEQ_GT(end_of(seg), end))
		return;
	seg->len = (uint16_t)(end - from_of(seg));
	pbuf_realloc(seg->p, seg->len);
	TCPH_FLAGS_SET(seg->tcphdr, TCPH_FLAGS(seg->tcphdr) & ~(unsigned)TCP_FIN);
}

static void cut_front(struct tcp_seg *seg, uint32_t from)
{
	uint16_t off = (uint16_t)(from - from_of(seg)), tot = (uint16_t)(seg->p->tot_len - off);
	struct pbuf *p = seg->p;

	seg->len = (uint16_t)(seg->len - off);
	seg->tcphdr->seqno = from;
	for (; p->len < off; p = p->next) {
		off = (uint16_t)(off - p->len);
		p->tot_len = tot;
		p->len = 0;
	}
	pbuf_remove_header(p, off);
}

/* A segment of its own, header included, in a buffer of its size. */
static struct tcp_seg *copy_out(const struct tcp_seg *in)
{
	struct pbuf *p = net_spill_alloc((u16_t)(sizeof(struct tcp_hdr) + in->len));
	struct tcp_seg own = *in, *seg;

	if (!p)
		return NULL;
	memcpy(p->payload, in->tcphdr, sizeof(struct tcp_hdr));
	pbuf_copy_partial(in->p, (uint8_t *)p->payload + sizeof(struct tcp_hdr), in->len, 0);
	own.tcphdr = p->payload;
	own.p = p;
	pbuf_remove_header(p, sizeof(struct tcp_hdr));
	seg = tcp_seg_copy(&own); /* with a reference of its own */
	pbuf_free(p);
	return seg;
}

/* Return: was it kept? */
static bool insert(struct tcp_seg *in, struct tcp_seg **at, struct tcp_seg *prev)
{
	struct tcp_seg *seg;

	if (prev && end_of(prev) == from_of(in) && !has_fin(in) && in->len >= SMALL && prev->len >= SMALL &&
	    prev->len + in->len <= 0xffff) {
		struct pbuf *copy = net_spill(in->p);

		pbuf_chain(prev->p, copy ? copy : in->p);
		if (copy)
			pbuf_free(copy);
		prev->len = (uint16_t)(prev->len + in->len);
		return true;
	}
	seg = in->len < SMALL || net_spill_wanted(in->len) ? copy_out(in) : tcp_seg_copy(in);
	if (!seg)
		return false;
	seg->next = *at;
	*at = seg;
	return true;
}

/* The newest block first (RFC 2018 section 4); those that touch it become part of it. */
static void tell_sack(struct tcp_pcb *pcb, uint32_t left, uint32_t right)
{
	struct tcp_sack_range next[LWIP_TCP_MAX_SACK_NUM] = { { 0 } };
	unsigned n = 1;

	if (!(pcb->flags & TF_SACK))
		return;
	for (unsigned i = 0; i < LWIP_TCP_MAX_SACK_NUM && LWIP_TCP_SACK_VALID(pcb, i); i++) {
		struct tcp_sack_range r = pcb->rcv_sacks[i];

		if (TCP_SEQ_LT(r.right, left) || TCP_SEQ_LT(right, r.left)) {
			if (n < LWIP_TCP_MAX_SACK_NUM)
				next[n++] = r;
			continue;
		}
		left = TCP_SEQ_LT(r.left, left) ? r.left : left;
		right = TCP_SEQ_GT(r.right, right) ? r.right : right;
	}
	next[0] = (struct tcp_sack_range){ left, right };
	memcpy(pcb->rcv_sacks, next, sizeof(next));
}

/* What follows and is part of @in goes; what sticks out cuts @in's end. */
static void swallow(struct tcp_seg *in, struct tcp_seg **at)
{
	while (*at && TCP_SEQ_LEQ(end_of(*at), end_of(in))) {
		struct tcp_seg *gone = *at;

		if (has_fin(gone))
			TCPH_SET_FLAG(in->tcphdr, TCP_FIN);
		*at = gone->next;
		tcp_seg_free(gone);
	}
	if (*at)
		cut_tail(in, from_of(*at));
}

/* ---- places ---- */

static struct net_ooseq *state_of(struct net_pcb *n)
{
	if (n->oo)
		return n->oo;
	n->oo = calloc(1, sizeof(*n->oo));
	if (!n->oo)
		return NULL;
	n->oo->pcb = n->pcb;
	list_init(&n->oo->hoard);
	return n->oo;
}

void net_ooseq_fini(struct net_pcb *n)
{
	if (n->oo)
		list_del(&n->oo->hoard);
	free(n->oo);
	n->oo = NULL;
}

static bool is_good(const struct tcp_pcb *pcb, const struct place *place)
{
	return place->seg && pcb->ooseq && TCP_SEQ_GT(place->from, pcb->rcv_nxt);
}

/* From where to look for the place of @from; NULL: from the front. */
static const struct place *nearest(const struct net_pcb *n, uint32_t from)
{
	struct place *best = NULL, *all[] = { &n->oo->recent, &n->oo->last };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (!is_good(n->pcb, all[i]))
			*all[i] = (struct place){ 0 };
		else if (TCP_SEQ_LEQ(all[i]->from, from) && (!best || TCP_SEQ_GT(all[i]->from, best->from)))
			best = all[i];
	}
	return best;
}

static void keep_places(struct net_ooseq *o, struct tcp_seg *seg, uint32_t block)
{
	o->recent = (struct place){ seg, from_of(seg), block };
	if (!seg->next)
		o->last = o->recent;
}

/* What was taken from the front is not counted; so it is done anew, once for each step of the front. */
static bool is_full(struct net_ooseq *o, const struct tcp_pcb *pcb)
{
	if (!pcb->ooseq)
		o->n = 0;
	if (o->n < N_ENTRIES)
		return false;
	if (o->counted_at == pcb->rcv_nxt)
		return true;
	o->counted_at = pcb->rcv_nxt;
	o->n = 0;
	for (const struct tcp_seg *it = pcb->ooseq; it; it = it->next)
		o->n++;
	return o->n >= N_ENTRIES;
}

/* ---- a segment ---- */

/* Behind @prev, at @at. Return: where it lies now; NULL: it was not kept. */
static struct tcp_seg *put(struct net_ooseq *o, struct tcp_seg *in, struct tcp_seg **at, struct tcp_seg *prev)
{
	struct tcp_seg *behind = *at;

	swallow(in, at);
	if (*at != behind)
		o->recent = o->last = (struct place){ 0 };
	behind = *at;
	if (!insert(in, at, prev))
		return NULL;
	if (list_empty(&o->hoard))
		list_add_tail(&net_g.hoards, &o->hoard);
	if (*at == behind)
		return prev;
	o->n++;
	return *at;
}

void net_lwip_out_of_order(void *arg, void *seg)
{
	struct tcp_pcb *pcb = arg;
	struct tcp_seg *in = seg, *prev = NULL, **at = &pcb->ooseq, *it;
	struct net_ooseq *o = state_of(pcb->net);
	const struct place *from = o ? nearest(pcb->net, from_of(in)) : NULL;
	uint32_t block = from_of(in), end;

	cut_tail(in, pcb->rcv_nxt + pcb->rcv_wnd);
	if (from) {
		prev = from->seg;
		at = &prev->next;
		block = from->block;
	}
	for (; *at && TCP_SEQ_LEQ(from_of(*at), from_of(in)); at = &(*at)->next) {
		if (!prev || end_of(prev) != from_of(*at))
			block = from_of(*at);
		prev = *at;
	}
	if (!o || is_full(o, pcb) || (prev && has_fin(prev)))
		return;
	if (!prev || TCP_SEQ_LT(end_of(prev), from_of(in)))
		block = from_of(in);
	end = prev ? end_of(prev) : from_of(in);
	if (TCP_SEQ_GT(end, from_of(in)) && TCP_SEQ_LEQ(end, end_of(in)))
		cut_front(in, end);
	if (TCP_SEQ_LEQ(end, from_of(in)) && (in->len > 0 || has_fin(in))) {
		it = put(o, in, at, prev);
		if (!it)
			return;
		keep_places(o, it, block);
		end = end_of(in);
		at = &it->next;
	}
	for (it = *at; it && TCP_SEQ_LEQ(from_of(it), end); it = it->next)
		end = TCP_SEQ_GT(end_of(it), end) ? end_of(it) : end;
	if (TCP_SEQ_LT(block, end))
		tell_sack(pcb, block, end);
}

/* What came lies outside of the window. Bytes that were there already are the first block of the answer, once (RFC 2883 section 4). */
void net_lwip_outside(void *arg, uint32_t from, uint16_t len)
{
	struct tcp_pcb *pcb = arg;
	struct tcp_sack_range kept[LWIP_TCP_MAX_SACK_NUM];
	bool twice = pcb->flags & TF_SACK && len > 0 && TCP_SEQ_LEQ(from + len, pcb->rcv_nxt);

	memcpy(kept, pcb->rcv_sacks, sizeof(kept));
	if (twice) {
		memmove(pcb->rcv_sacks + 1, kept, sizeof(kept) - sizeof(*kept));
		pcb->rcv_sacks[0] = (struct tcp_sack_range){ from, from + len };
	}
	tcp_send_empty_ack(pcb);
	memcpy(pcb->rcv_sacks, kept, sizeof(kept));
}

/* ---- when units run short ---- */

/* Whose units lie there? What lies in front was copied to the heap (spill.c) when it came late; far behind it nobody looks. */
static const struct pktowner *holder(const struct tcp_pcb *pcb)
{
	int n_looks = N_LOOKS;

	for (const struct tcp_seg *seg = pcb->ooseq; seg; seg = seg->next)
		for (struct pbuf *p = seg->p; p; p = p->next) {
			const struct pktbuf *pb = net_unit_of(p);

			if (pb || --n_looks == 0)
				return pb ? pb->owner : NULL;
		}
	return NULL;
}

/* Was anything refused since the last look? *@ret_all: for want of units at all. */
static bool units_were_refused(bool *ret_all)
{
	struct pktpool_stats s;

	if (!net_g.cfg.pool)
		return false;
	pktpool_get_stats(net_g.cfg.pool, &s);
	if (s.n_refused == net_g.n_refused_seen)
		return false;
	*ret_all = s.n_empty != net_g.n_empty_seen;
	net_g.n_refused_seen = s.n_refused;
	net_g.n_empty_seen = s.n_empty;
	return true;
}

/* The next few that hold units, and whose they are; those that hold none leave the list until something comes out of order again. */
static size_t next_hoards(struct net_ooseq *ret[N_RELIEVED], const struct pktowner *ret_whose[N_RELIEVED])
{
	struct list *first;
	size_t n = 0;

	for (int i = 0; i < N_RELIEVED && (first = list_first(&net_g.hoards)); i++) {
		struct net_ooseq *o = container_of(first, struct net_ooseq, hoard);

		list_del(first);
		ret[n] = o;
		ret_whose[n] = holder(o->pcb);
		n += ret_whose[n] != NULL;
	}
	return n;
}

void net_ooseq_relieve(void)
{
	const struct pktowner *whose[N_RELIEVED], *most = NULL;
	struct net_ooseq *some[N_RELIEVED];
	bool all;
	size_t n;

	if (!units_were_refused(&all))
		return;
	n = next_hoards(some, whose);
	for (size_t i = 0; i < n; i++)
		if ((all || whose[i]->n_units >= pktpool_share(net_g.cfg.pool, whose[i]) / 2) &&
		    (!most || whose[i]->n_units > most->n_units))
			most = whose[i];
	for (size_t i = 0; i < n; i++) {
		if (whose[i] != most) {
			list_add_tail(&net_g.hoards, &some[i]->hoard);
			continue;
		}
		tcp_free_ooseq(some[i]->pcb); /* and the SACKs that tell of it */
		net_g.stats.n_reneged++;
	}
}
