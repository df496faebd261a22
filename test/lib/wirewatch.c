/* test/lib/wirewatch.c - see wirewatch.h. */
#include "test/lib/wirewatch.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

struct seg {
	uint32_t seq, ack;
	uint16_t wnd;
	uint8_t flags;
	const uint8_t *opts, *data;
	size_t opts_len, len;
};

static bool before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* The same for both sides: the one that dialled first. NULL: not seen before; with @make: no room. */
static struct wirewatch_flow *flow_of(struct wirewatch *w, int side, const uint8_t *p, const uint8_t *tcp, bool make)
{
	bool v6 = p[0] >> 4 == 6;
	size_t n = v6 ? 16 : 4, at = v6 ? 8 : 12;
	uint8_t key[36] = { 0 };
	uint32_t h = 2166136261u;

	memcpy(key, p + at + (side ? n : 0), n);
	memcpy(key + 16, p + at + (side ? 0 : n), n);
	memcpy(key + 32, tcp + (side ? 2 : 0), 2);
	memcpy(key + 34, tcp + (side ? 0 : 2), 2);
	for (size_t i = 0; i < sizeof(key); i++)
		h = (h ^ key[i]) * 16777619u;
	if (!w->flows)
		w->flows = calloc(WIREWATCH_FLOWS, sizeof(*w->flows));
	for (uint32_t i = 0; w->flows && i < 64; i++) {
		struct wirewatch_flow *f = &w->flows[(h + i) % WIREWATCH_FLOWS];

		if (f->used && memcmp(f->key, key, sizeof(key)) != 0)
			continue;
		if (!f->used && !make)
			return NULL;
		f->used = true;
		memcpy(f->key, key, sizeof(key));
		return f;
	}
	return NULL;
}

static void read_syn(struct wirewatch_dir *d, const struct seg *s)
{
	uint8_t *history = d->history;

	if (d->syn && d->iss == s->seq)
		return;
	*d = (struct wirewatch_dir){ .syn = true, .iss = s->seq, .nxt = s->seq + 1, .mss = 536, .history = history };
	for (size_t i = 0; i < s->opts_len && s->opts[i] != 0;) {
		size_t n = s->opts[i] == 1 ? 1 : s->opts[i + 1];

		if (s->opts[i] == 2)
			d->mss = get_be16(s->opts + i + 2);
		if (s->opts[i] == 3) {
			d->scale = s->opts[i + 2];
			d->scale_said = true;
		}
		i += n;
	}
}

static const char *check_ack(struct wirewatch_dir *d, const struct wirewatch_dir *other, const struct seg *s)
{
	bool scaled = d->scale_said && other->scale_said && !(s->flags & SYN);
	uint32_t edge = s->ack + ((uint32_t)s->wnd << (scaled ? d->scale : 0));

	if (before(other->nxt + other->fin, s->ack))
		return "acknowledges what was not sent";
	if (d->has_acked && before(s->ack, d->acked))
		return "acknowledgement goes back";
	d->acked = s->ack;
	d->has_acked = true;
	/* Less than the unit of the field is rounding. */
	if (d->has_window && before(edge + (scaled ? (1u << d->scale) - 1 : 0), d->edge))
		return "a window that was offered is taken back";
	if (!d->has_window || before(d->edge, edge))
		d->edge = edge;
	d->has_window = true;
	for (size_t i = 0; i < s->opts_len && s->opts[i] != 0; i += s->opts[i] == 1 ? 1 : s->opts[i + 1]) {
		if (s->opts[i] != 5)
			continue;
		for (size_t k = 2; k + 8 <= s->opts[i + 1]; k += 8) {
			uint32_t from = get_be32(s->opts + i + k), to = get_be32(s->opts + i + k + 4);

			/* The first may tell of what came twice (RFC 2883). */
			if (!before(from, to) || before(other->nxt + other->fin, to) || (k > 2 && before(from, s->ack)))
				return "SACK of what was not sent or is acknowledged";
		}
	}
	return NULL;
}

static const char *check_bytes(struct wirewatch_dir *d, const struct seg *s)
{
	if (!d->history)
		d->history = malloc(WIREWATCH_HISTORY);
	for (size_t i = 0; d->history && i < s->len; i++) {
		uint32_t seq = s->seq + (uint32_t)i;
		uint8_t *was = &d->history[seq % WIREWATCH_HISTORY];

		if (before(seq, d->nxt) && d->nxt - seq < WIREWATCH_HISTORY && *was != s->data[i])
			return "a byte sent again has changed";
		if (!before(seq, d->nxt))
			*was = s->data[i];
	}
	return NULL;
}

static const char *check_data(struct wirewatch_dir *d, const struct wirewatch_dir *other, const struct seg *s)
{
	uint32_t end = s->seq + (uint32_t)s->len;
	const char *why;

	if (s->len > other->mss)
		return "segment larger than the announced MSS";
	if (!other->has_acked)
		return s->len > 0 ? "data before the handshake" : NULL;
	if (before(d->nxt + d->fin, s->seq))
		return "a hole before new data";
	/* One byte may ask whether a closed window has opened. */
	if (s->len > 1 && other->has_window && before(other->edge, end))
		return "data beyond the window";
	if (s->len > 0 && d->fin && before(d->fin_seq, end))
		return "data after FIN";
	why = check_bytes(d, s);
	if (s->len > 0 && before(d->nxt, end))
		d->nxt = end;
	if (s->flags & FIN && !d->fin) {
		d->fin = true;
		d->fin_seq = end;
	}
	return why;
}

const char *wirewatch_packet(struct wirewatch *w, int side, const uint8_t *p, size_t len)
{
	size_t head = p[0] >> 4 == 6 ? 40 : 20, tcp_head;
	const uint8_t *tcp = p + head;
	struct wirewatch_flow *f;
	struct wirewatch_dir *d;
	const char *why = NULL;
	struct seg s;

	if (len < head + 20 || (head == 40 ? p[6] : p[9]) != 6)
		return NULL;
	tcp_head = (size_t)(tcp[12] >> 4) * 4;
	if (tcp_head < 20 || head + tcp_head > len)
		return "TCP header length";
	if (tcp[13] & RST)
		return NULL;
	f = flow_of(w, side, p, tcp, tcp[13] & SYN);
	if (!f)
		return tcp[13] & SYN ? "more connections than can be watched" : NULL;
	d = &f->dirs[side];
	s = (struct seg){ .seq = get_be32(tcp + 4), .ack = get_be32(tcp + 8), .wnd = get_be16(tcp + 14), .flags = tcp[13],
			  .opts = tcp + 20, .opts_len = tcp_head - 20, .data = tcp + tcp_head, .len = len - head - tcp_head };
	if (s.flags & SYN)
		read_syn(d, &s);
	if (!d->syn || !(s.flags & ACK))
		return d->syn && !(s.flags & SYN) ? "no ACK after the handshake" : NULL;
	/* A side made by hand is not seen: nothing is known of what it allows. */
	if (!f->dirs[!side].syn)
		return NULL;
	why = check_ack(d, &f->dirs[!side], &s);
	return why || s.flags & SYN ? why : check_data(d, &f->dirs[!side], &s);
}

void wirewatch_fini(struct wirewatch *w)
{
	for (size_t i = 0; w->flows && i < WIREWATCH_FLOWS; i++) {
		free(w->flows[i].dirs[0].history);
		free(w->flows[i].dirs[1].history);
	}
	free(w->flows);
	w->flows = NULL;
}
