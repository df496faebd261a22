/*
 * test/unit/netstack/ooseq_test.c - segments in any order, overlapping in any way: the stream is what was sent.
 *
 * A peer made of raw packets sends pieces of one stream, cut and shuffled by a seed, with repeats, single bytes, pieces
 * that overlap others and pieces beyond the window; the FIN rides on any piece that ends the stream. Every ACK's SACKs
 * must name only what was sent to us; bytes that came twice are named by the answer to them, and by no other.
 */
#include <malloc.h>

#include "base/endian.h"
#include "test/lib/netpair.h"

#define N_STREAM 40000
#define N_LONG (1 << 20)
#define N_ENTRIES 8192 /* as ooseq.c has it */
#define ISS 0xfffff000u /* the numbers wrap early in the stream */

struct reader {
	struct net_tcp *c;
	size_t got;
	bool eof, wrong, failed;
};

static struct raw {
	struct netpair p;
	struct reader r;
	struct net_listener *l;
	uint32_t ack; /* of the next packet: the other side's ISS + 1 */
	size_t total; /* of the stream */
	uint32_t newest[2]; /* the first block of the last SACK */
	uint32_t told[2];   /* of the last answer; 0, 0: it had none */
	bool sent[N_LONG + 2];
} w;

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 131 + (i >> 8) * 7 + (i >> 16));
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct reader *r = ctx;
	uint8_t buf[4096];
	size_t n;

	r->failed |= ev == NET_TCP_ERROR;
	while (ev == NET_TCP_READABLE && (n = net_tcp_read(c, buf, sizeof(buf))) > 0)
		for (size_t i = 0; i < n; i++, r->got++)
			r->wrong |= buf[i] != pattern(r->got);
	r->eof |= net_tcp_at_eof(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_event, &w.r, &w.r.c), OK);
}

/* What @b has answered: its ISS; its SACKs are looked at. */
static void hear(void)
{
	for (const struct netlink_pkt *k = w.p.b.first; k; k = k->next) {
		const uint8_t *tcp = k->data + 20, *o = tcp + 20, *end = tcp + (tcp[12] >> 4) * 4;

		if (tcp[13] & 0x02)
			w.ack = get_be32(tcp + 4) + 1;
		w.told[0] = w.told[1] = 0;
		for (; o < end && *o != 0; o += *o == 1 ? 1 : o[1])
			for (int i = 2; *o == 5 && i + 8 <= o[1]; i += 8) {
				uint32_t from = get_be32(o + i) - (ISS + 1), to = get_be32(o + i + 4) - (ISS + 1);

				assert_true(from < to && to <= w.total);
				if (i == 2) {
					w.newest[0] = w.told[0] = from;
					w.newest[1] = w.told[1] = to;
				}
				for (uint32_t s = from; s < to; s++)
					assert_true(w.sent[s]);
			}
	}
	netpair_drop_queue(&w.p.b);
}

static void say(uint8_t flags, size_t from, size_t len)
{
	static const uint8_t syn_options[] = { 2, 4, 5, 0x64, 3, 3, 7, 4, 2, 1, 1, 0 };
	size_t opts = flags & 0x02 ? sizeof(syn_options) : 0, total = 40 + opts + len;
	uint8_t p[1500] = { 0x45 };

	put_be16(p + 2, (uint16_t)total);
	p[8] = 64;
	p[9] = 6;
	memcpy(p + 12, "\x0a\x63\x00\x01\x0a\x63\x00\x02", 8);
	put_be16(p + 20, 5555);
	put_be16(p + 22, 22);
	put_be32(p + 24, flags & 0x02 ? ISS : ISS + 1 + (uint32_t)from);
	put_be32(p + 28, w.ack);
	p[32] = (uint8_t)((20 + opts) / 4 << 4);
	p[33] = flags;
	put_be16(p + 34, 0xffff);
	memcpy(p + 40, syn_options, opts);
	for (size_t i = 0; i < len; i++) {
		p[40 + opts + i] = pattern(from + i);
		w.sent[from + i] = true;
	}
	netpair_inject(&w.p, &w.p.b, p, total);
	hear();
}

static void say_piece(struct rng *rng, size_t from, size_t len)
{
	bool last = from + len == N_STREAM;

	say((uint8_t)(0x10 | (last && rng_below(rng, 2) ? 0x01 : 0)), from, len);
}

static void begin_limits(uint64_t seed, size_t total, const struct net_config *limits)
{
	memset(&w, 0, sizeof(w));
	w.total = total;
	netpair_init_limits(&w.p, seed, limits);
	w.p.unwatched = true;
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, NULL, &w.l), OK);
	say(0x02, 0, 0);
	say(0x10, 0, 0);
	assert_non_null(w.r.c);
}

static void begin(uint64_t seed, size_t total)
{
	begin_limits(seed, total, &(struct net_config){ 0 });
}

static void end(void)
{
	assert_false(w.r.wrong || w.r.failed);
	assert_int_equal(w.r.got, w.total);
	assert_true(w.r.eof);
	net_tcp_abort(w.r.c);
	net_listener_close(w.l);
	netpair_drop_queue(&w.p.b);
	netpair_fini(&w.p);
}

static void pieces_in_any_order_make_the_stream(void **state)
{
	for (uint64_t seed = 0; seed < 150; seed++) {
		struct rng_seeded rng;
		size_t biggest;

		rng_seeded_init(&rng, seed);
		begin(seed, N_STREAM);
		biggest = seed % 3 == 0 ? 1400 : seed % 3 == 1 ? 200 : 3;
		for (int i = 0; i < 400; i++) {
			size_t len = 1 + rng_below(&rng.rng, biggest), from = rng_below(&rng.rng, N_STREAM - len);

			/* Mostly on a grid, so that pieces meet; sometimes the end. */
			from = rng_below(&rng.rng, 4) ? from / 100 * 100 : from;
			from = rng_below(&rng.rng, 40) ? from : N_STREAM - len;
			say_piece(&rng.rng, from, len);
			assert_false(w.r.wrong || w.r.failed);
		}
		for (size_t from = 0; from < N_STREAM; from += 1000)
			say_piece(&rng.rng, from, 1000);
		say(0x11, N_STREAM, 0);
		end();
	}
}

static size_t units_in_use(void)
{
	struct pktpool_stats st;

	pktpool_get_stats(w.p.pool, &st);
	return st.n_used;
}

/*
 * Backwards, byte by byte: each is an entry of its own at first; what does not fit is not kept, and comes again. None of them
 * holds a unit of 2 KiB.
 */
static void what_does_not_fit_is_told_by_no_sack(void **state)
{
	size_t n_kept = 0;

	begin(7, N_STREAM);
	for (size_t i = 3 * 9000; i > 0; i -= 3) {
		say(0x10, i, 1);
		n_kept += w.newest[0] == i;
	}
	assert_int_equal(n_kept, N_ENTRIES);
	assert_int_equal(units_in_use(), 0);
	for (size_t from = 0; from < N_STREAM; from += 1000)
		say(0x10, from, 1000);
	say(0x11, N_STREAM, 0);
	end();
}

static void assert_told(uint32_t from, uint32_t to)
{
	assert_int_equal(w.told[0], from);
	assert_int_equal(w.told[1], to);
}

/* RFC 2883: the first block of the answer, before those of what is out of order, and once. */
static void what_comes_twice_is_told_once(void **state)
{
	begin(2, N_STREAM);
	say(0x10, 0, 1000);
	say(0x10, 1000, 1000);
	assert_told(0, 0);
	say(0x10, 1000, 1000);
	assert_told(1000, 2000);
	say(0x10, 3000, 1000);
	assert_told(3000, 4000);
	say(0x10, 600, 1400);
	assert_told(600, 2000);
	say(0x10, 5000, 1000);
	assert_told(5000, 6000);
	/* Partly new is not twice. */
	say(0x10, 1600, 1400);
	assert_told(5000, 6000);
	say(0x10, 4000, 1000);
	for (size_t from = 6000; from < N_STREAM; from += 1000)
		say(0x10, from, 1000);
	assert_told(0, 0);
	say(0x11, N_STREAM, 0);
	end();
}

/* Single bytes, each behind a hole: what they take is bounded by the memory for queues, not by their number. */
static void bytes_behind_holes_do_not_fill_the_heap(void **state)
{
	size_t before, grown;

	begin_limits(8, N_STREAM, &(struct net_config){ .mem_bytes_max = 1u << 20 });
	before = mallinfo2().uordblks;
	for (size_t i = 0; i < 8000; i++)
		say(0x10, 3 * i + 3, 1);
	grown = mallinfo2().uordblks - before;
	print_message("8,000 bytes behind as many holes take %zu KiB\n", grown >> 10);
	/* Half of it, and a slab of the pool */
	assert_true(grown < 800u << 10);
	for (size_t from = 0; from < N_STREAM; from += 1000)
		say(0x10, from, 1000);
	say(0x11, N_STREAM, 0);
	end();
}

/* A window of 64 KiB is offered at first: what sticks out of it is cut off, what lies beyond is not kept. */
static void what_is_beyond_the_window_is_not_kept(void **state)
{
	begin(8, N_LONG);
	say(0x10, 65536 - 100, 1000);
	assert_int_equal(w.newest[1], 65536);
	say(0x10, 65536 + 200, 1000);
	assert_int_equal(w.newest[1], 65536);
	for (size_t from = 0; from < N_LONG; from += 1024) {
		say(0x10, from, 1024);
		netpair_run(&w.p, 20 * NSEC_PER_USEC, NULL, NULL);
	}
	say(0x11, N_LONG, 0);
	end();
}

/* More than a buffer's length field can say, without a gap, behind one that is. */
static void a_long_run_behind_a_hole_is_kept_whole(void **state)
{
	size_t from = 0, hole;

	begin(9, N_LONG);
	/* A reader that drains opens the window. */
	for (; from < N_LONG / 2; from += 1024) {
		say(0x10, from, 1024);
		netpair_run(&w.p, 20 * NSEC_PER_USEC, NULL, NULL);
	}
	hole = from;
	for (from += 1024; from < hole + (200 << 10); from += 1024)
		say(0x10, from, 1024);
	assert_int_equal(w.newest[1], from);
	say(0x10, hole, 1024);
	netpair_run(&w.p, NSEC_PER_MSEC, NULL, NULL);
	assert_int_equal(w.r.got, from);
	for (; from < N_LONG; from += 1024)
		say(0x10, from, 1024);
	say(0x11, N_LONG, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_in_any_order_make_the_stream),
		cmocka_unit_test(what_does_not_fit_is_told_by_no_sack),
		cmocka_unit_test(what_comes_twice_is_told_once),
		cmocka_unit_test(bytes_behind_holes_do_not_fill_the_heap),
		cmocka_unit_test(what_is_beyond_the_window_is_not_kept),
		cmocka_unit_test(a_long_run_behind_a_hole_is_kept_whole),
	};
	return RUN_TESTS(tests);
}
