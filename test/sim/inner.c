/*
 * test/sim/inner.c - see inner.h.
 *
 * A sender is judged by what was delivered to it: the highest right edge that the other side offered in a segment that
 * came, its MSS, the highest sequence number that came. Resets are left out: they are also sent by who knows nothing of
 * the connection.
 */
#include "test/sim/inner.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "test/lib/netpair.h"

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16
#define BEFORE(a, b) ((int32_t)((a) - (b)) < 0)

/* Content that was sent, how often, and how often it came in. */
struct inner_packet {
	struct inner_packet *next;
	uint64_t hash;
	uint32_t n_sent, n_came;
};

struct inner_half {
	struct inner_half *next;
	int group;
	struct endpoint from, to;
	bool open; /* a SYN was sent */
	uint32_t isn;
	/* sent */
	uint8_t *bytes; /* from isn + 1 on */
	size_t n_bytes, cap;
	bool fin, has_ack, scales;
	uint32_t fin_seq, ack, edge; /* edge: end of the window that was offered */
	uint8_t scale;
	uint16_t mss;
	/* came from the other side */
	bool came, was_offered, other_scales;
	uint32_t syn_end, came_max, offered; /* offered: end of the other's window */
	uint8_t other_scale;
	uint16_t other_mss;
};

struct segment {
	struct endpoint from, to;
	uint32_t seq, ack, wnd;
	uint8_t flags;
	const uint8_t *data, *opt;
	size_t len, opt_len;
};

/* ---- packets ---- */

static uint64_t hash_of(int group, const uint8_t *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL ^ (uint64_t)group, word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h ^ h >> 32;
}

static struct inner_packet **find_packet(struct inner *in, uint64_t hash)
{
	struct inner_packet **at = &in->packets[hash % (INNER_HASH * 16)];

	while (*at && (*at)->hash != hash)
		at = &(*at)->next;
	return at;
}

static void note_packet(struct inner *in, uint64_t hash)
{
	struct inner_packet **at = find_packet(in, hash);

	if (!*at) {
		*at = calloc(1, sizeof(**at));
		ASSERT(*at);
		(*at)->hash = hash;
	}
	(*at)->n_sent++;
}

/* ---- segments ---- */

static bool parse(const uint8_t *p, size_t len, struct segment *s)
{
	bool v6 = p[0] >> 4 == 6;
	const uint8_t *t = p + (v6 ? 40 : 20);
	size_t head;

	if ((v6 ? p[6] : p[9]) != 6)
		return false;
	*s = (struct segment){ .seq = get_be32(t + 4), .ack = get_be32(t + 8), .flags = t[13], .wnd = get_be16(t + 14) };
	s->from.ip.family = s->to.ip.family = v6 ? IP_V6 : IP_V4;
	memcpy(s->from.ip.b, p + (v6 ? 8 : 12), v6 ? 16 : 4);
	memcpy(s->to.ip.b, p + (v6 ? 24 : 16), v6 ? 16 : 4);
	s->from.port = get_be16(t);
	s->to.port = get_be16(t + 2);
	head = (size_t)(t[12] >> 4) * 4;
	s->opt = t + 20;
	s->opt_len = head - 20;
	s->data = t + head;
	s->len = (size_t)(p + len - s->data);
	return true;
}

static struct inner_half *half_of(struct inner *in, int group, const struct endpoint *from, const struct endpoint *to)
{
	struct inner_half **at = &in->halves[(from->port * 31u + to->port + from->ip.b[3] + from->ip.b[15]) % INNER_HASH];

	while (*at && ((*at)->group != group || !endpoint_equal(&(*at)->from, from) || !endpoint_equal(&(*at)->to, to)))
		at = &(*at)->next;
	if (!*at) {
		*at = calloc(1, sizeof(**at));
		ASSERT(*at);
		(*at)->group = group;
		(*at)->from = *from;
		(*at)->to = *to;
	}
	return *at;
}

static void read_options(const struct segment *s, uint16_t *ret_mss, bool *ret_scales, uint8_t *ret_scale)
{
	*ret_mss = 536;
	*ret_scales = false;
	*ret_scale = 0;
	for (size_t i = 0; i + 1 < s->opt_len && s->opt[i] != 0; i += s->opt[i] == 1 ? 1 : MAX(s->opt[i + 1], 2)) {
		if (s->opt[i] == 2 && i + 4 <= s->opt_len)
			*ret_mss = get_be16(s->opt + i + 2);
		if (s->opt[i] == 3 && i + 3 <= s->opt_len) {
			*ret_scales = true;
			*ret_scale = s->opt[i + 2];
		}
	}
}

static enum rule syn_sent(struct inner_half *h, const struct segment *s)
{
	if (h->open && h->isn == s->seq)
		return RULE_NONE;
	/* Another connection with the same ends, or one that forgot itself. */
	if (h->open && !(s->flags & ACK) && h->n_bytes == 0 && !h->came)
		return RULE_SYN;
	free(h->bytes);
	h->bytes = NULL;
	h->n_bytes = h->cap = 0;
	h->open = true;
	h->fin = h->has_ack = false;
	h->isn = s->seq;
	read_options(s, &h->mss, &h->scales, &h->scale);
	if (!(s->flags & ACK))
		h->came = h->was_offered = false;
	return RULE_NONE;
}

static uint8_t scale_of(bool both, uint8_t scale)
{
	return both ? scale : 0;
}

static enum rule ack_sent(struct inner_half *h, const struct segment *s)
{
	uint8_t shift = scale_of(h->scales && h->other_scales && !(s->flags & SYN), h->scale);
	uint32_t edge = s->ack + (s->wnd << shift);

	if (!h->came || BEFORE(h->came_max, s->ack))
		return RULE_ACK_AHEAD;
	if (h->has_ack && BEFORE(s->ack, h->ack))
		return RULE_ACK_BACK;
	/* Rounding to the scale may take a little. */
	if (h->has_ack && BEFORE(edge + (1u << shift), h->edge))
		return RULE_SHRUNK;
	h->edge = h->has_ack && BEFORE(edge, h->edge) ? h->edge : edge;
	h->ack = s->ack;
	h->has_ack = true;
	return RULE_NONE;
}

static enum rule data_sent(struct inner *in, struct inner_half *h, const struct segment *s)
{
	size_t at = s->seq - h->isn - 1, old;

	if (s->len > h->other_mss)
		return RULE_MSS;
	if (h->fin && BEFORE(h->fin_seq, s->seq + (uint32_t)s->len))
		return RULE_AFTER_FIN;
	/* One byte beyond probes a window that is closed. */
	if (!h->was_offered || BEFORE(h->offered + (s->len == 1), s->seq + (uint32_t)s->len))
		return RULE_WINDOW;
	if (at > h->n_bytes)
		return RULE_RESENT; /* a hole: what was before it was never sent */
	old = MIN(s->len, h->n_bytes - at);
	if (old > 0 && memcmp(h->bytes + at, s->data, old) != 0)
		return RULE_RESENT;
	in->n_resent += old > 0;
	if (at + s->len > h->cap) {
		h->cap = MAX(h->cap * 2, at + s->len + 4096);
		h->bytes = realloc(h->bytes, h->cap);
		ASSERT(h->bytes);
	}
	memcpy(h->bytes + h->n_bytes, s->data + old, s->len - old);
	h->n_bytes += s->len - old;
	return RULE_NONE;
}

static enum rule segment_sent(struct inner *in, int group, const struct segment *s)
{
	struct inner_half *h = half_of(in, group, &s->from, &s->to);
	enum rule r = RULE_NONE;

	if (s->flags & RST)
		return RULE_NONE;
	if (s->flags & SYN)
		r = syn_sent(h, s);
	if (r == RULE_NONE && (s->flags & ACK))
		r = ack_sent(h, s);
	if (r == RULE_NONE && s->len > 0)
		r = data_sent(in, h, s);
	if (r == RULE_NONE && (s->flags & FIN)) {
		if (h->fin && h->fin_seq != s->seq + (uint32_t)s->len)
			return RULE_AFTER_FIN;
		h->fin = true;
		h->fin_seq = s->seq + (uint32_t)s->len;
	}
	in->n_zero_window += s->wnd == 0 && (s->flags & ACK);
	return r;
}

enum rule inner_sent(struct inner *in, int group, const uint8_t *p, size_t len, uint16_t mtu)
{
	struct segment s;

	if (wirecheck(p, len, mtu))
		return RULE_PACKET;
	note_packet(in, hash_of(group, p, len));
	return parse(p, len, &s) ? segment_sent(in, group, &s) : RULE_NONE;
}

/* ---- delivered ---- */

static void segment_came(struct inner *in, int group, const struct segment *s)
{
	/* What its receiver knows from now on is the receiver's half's. */
	struct inner_half *h = half_of(in, group, &s->to, &s->from);
	uint32_t end = s->seq + (uint32_t)s->len + !!(s->flags & SYN) + !!(s->flags & FIN), edge;
	uint8_t shift;

	if (s->flags & RST)
		return;
	if (s->flags & SYN) {
		read_options(s, &h->other_mss, &h->other_scales, &h->other_scale);
		if (!h->came || end != h->syn_end)
			h->came = h->was_offered = h->has_ack = false;
		h->syn_end = end;
	}
	if (!h->came || BEFORE(h->came_max, end))
		h->came_max = end;
	h->came = true;
	shift = scale_of(h->scales && h->other_scales && !(s->flags & SYN), h->other_scale);
	edge = s->ack + (s->wnd << shift);
	if ((s->flags & ACK) && (!h->was_offered || BEFORE(h->offered, edge)))
		h->offered = edge;
	h->was_offered |= !!(s->flags & ACK);
}

enum rule inner_delivered(struct inner *in, int group, const uint8_t *p, size_t len)
{
	struct inner_packet *k = *find_packet(in, hash_of(group, p, len));
	struct segment s;

	if (!k)
		return RULE_FORGED;
	if (++k->n_came > k->n_sent)
		return RULE_REPLAYED;
	if (parse(p, len, &s))
		segment_came(in, group, &s);
	return RULE_NONE;
}

void inner_fini(struct inner *in)
{
	for (size_t i = 0; i < INNER_HASH; i++)
		while (in->halves[i]) {
			struct inner_half *h = in->halves[i];

			in->halves[i] = h->next;
			free(h->bytes);
			free(h);
		}
	for (size_t i = 0; i < INNER_HASH * 16; i++)
		while (in->packets[i]) {
			struct inner_packet *k = in->packets[i];

			in->packets[i] = k->next;
			free(k);
		}
}
