/*
 * test/unit/netstack/strange_acks_test.c - a receiver that acknowledges what no receiver would: a sender with 10,000 segments under
 * way must not look at all of them for each such packet.
 *
 * The receiver is this test: it answers by hand.
 *
 * alone: processor time is measured
 */
#include <time.h>

#include "base/endian.h"
#include "test/lib/netpair.h"

#define MSS 1380
#define ISS 1000u
#define N_SEGMENTS 10000
#define N_ACKS 2000
#define NS_MAX 20000 /* for an ACK; a walk over all of them takes 100 us and more */

struct block {
	uint32_t from, to;
};

static struct world {
	struct netpair p;
	struct net_tcp *c;
	uint16_t port;
	uint32_t acked, nxt;
	uint64_t n_sent; /* segments with data, repeated ones too */
	bool failed;
} w;

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	w.failed |= ev == NET_TCP_ERROR;
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		netpair_fill(c, 1 << 20);
}

/* What it has sent is read, and goes nowhere. */
static void hear(void)
{
	for (const struct netlink_pkt *k = w.p.a.first; k; k = k->next) {
		const uint8_t *tcp = k->data + 20;
		size_t len = k->len - 20 - (size_t)(tcp[12] >> 4) * 4;
		uint32_t end = get_be32(tcp + 4) + (uint32_t)len + (tcp[13] & 0x02 ? 1 : 0);

		w.port = get_be16(tcp);
		w.nxt = (int32_t)(end - w.nxt) > 0 || w.port == 0 ? end : w.nxt;
		w.nxt = tcp[13] & 0x02 ? end : w.nxt;
		w.n_sent += len > 0;
	}
	netpair_drop_queue(&w.p.a);
}

static void say(uint8_t flags, const uint8_t *opts, size_t n_opts)
{
	uint8_t p[100] = { 0x45 };

	put_be16(p + 2, (uint16_t)(40 + n_opts));
	p[8] = 64;
	p[9] = 6;
	memcpy(p + 12, "\x0a\x63\x00\x02\x0a\x63\x00\x01", 8);
	put_be16(p + 20, 22);
	put_be16(p + 22, w.port);
	put_be32(p + 24, flags & 0x02 ? ISS : ISS + 1);
	put_be32(p + 28, w.acked);
	p[32] = (uint8_t)((20 + n_opts) / 4 << 4);
	p[33] = flags;
	put_be16(p + 34, 0xffff);
	if (n_opts > 0)
		memcpy(p + 40, opts, n_opts);
	netpair_inject(&w.p, &w.p.a, p, 40 + n_opts);
}

static void ack(uint32_t upto)
{
	w.acked = upto;
	say(0x10, NULL, 0);
}

static void sack(const struct block *b, size_t n)
{
	uint8_t opts[40] = { 1, 1, 5, (uint8_t)(2 + 8 * n) };

	for (size_t i = 0; i < n; i++) {
		put_be32(opts + 4 + 8 * i, b[i].from);
		put_be32(opts + 8 + 8 * i, b[i].to);
	}
	say(0x10, opts, 4 + 8 * n);
}

static void pass(nsec_t t)
{
	for (nsec_t end = w.p.now + t; w.p.now < end;) {
		w.p.now += NSEC_PER_MSEC;
		net_expire(w.p.now);
		hear();
	}
}

static uint32_t n_flying(void)
{
	return (w.nxt - w.acked) / MSS;
}

/* Slow start over a path of 10 ms, until so many segments are under way. */
static void begin(void)
{
	static const uint8_t syn_options[] = { 2, 4, 5, 0x64, 3, 3, 10, 4, 2, 1, 1, 0 };
	const struct endpoint there = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	memset(&w, 0, sizeof(w));
	netpair_init(&w.p, 1);
	w.p.unwatched = true;
	assert_int_equal(net_tcp_dial(w.p.a.nif, &there, on_event, NULL, &w.c), OK);
	net_flush();
	hear();
	pass(10 * NSEC_PER_MSEC);
	w.acked = w.nxt;
	say(0x12, syn_options, sizeof(syn_options));
	hear();
	for (int i = 0; i < 100 && n_flying() < N_SEGMENTS; i++) {
		uint32_t upto = w.nxt;

		pass(10 * NSEC_PER_MSEC);
		if (n_flying() < N_SEGMENTS)
			ack(upto);
		hear();
	}
	assert_in_range(n_flying(), N_SEGMENTS, 4 * N_SEGMENTS);
	w.n_sent = 0;
}

static void end(void)
{
	assert_false(w.failed);
	net_tcp_abort(w.c);
	netpair_fini(&w.p);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The first byte that is missing is among those that arrived: no receiver means that, and nothing follows from it. */
static void what_contradicts_itself_is_ignored(void **state)
{
	double start;

	begin();
	start = cpu_ns();
	for (int i = 0; i < N_ACKS; i++) {
		sack(&(struct block){ w.acked, w.nxt }, 1);
		hear();
	}
	start = (cpu_ns() - start) / N_ACKS;
	print_message("%u segments under way: %.0f ns for an ACK, %llu sent again\n", n_flying(), start, (unsigned long long)w.n_sent);
	assert_true(start < NS_MAX);
	assert_int_equal(w.n_sent, 0);
	end();
}

/* It has told to have all but the first, and after that one it asks for the second. */
static void who_takes_back_what_it_has_told_costs_no_walk_each_time(void **state)
{
	double start;

	begin();
	start = cpu_ns();
	for (int i = 0; i < N_ACKS; i++) {
		sack(&(struct block){ w.acked + MSS, w.nxt }, 1);
		hear();
		ack(w.acked + MSS);
		hear();
	}
	start = (cpu_ns() - start) / (2 * N_ACKS);
	print_message("%u segments under way: %.0f ns for an ACK\n", n_flying(), start);
	assert_true(start < NS_MAX);
	end();
}

/* Everything that it took back comes again all the same. */
static void what_was_taken_back_is_sent_again(void **state)
{
	uint32_t from, upto;
	nsec_t since;

	begin();
	from = w.acked;
	upto = w.nxt;
	since = w.p.now;
	sack(&(struct block){ from + MSS, upto }, 1);
	ack(from + MSS);
	hear();
	for (int i = 0; i < 1000 && (int32_t)(upto - w.acked) > 0; i++) {
		uint32_t came;

		pass(10 * NSEC_PER_MSEC);
		came = (uint32_t)w.n_sent * MSS;
		w.n_sent = 0;
		if (came > 0)
			ack(w.acked + MIN(came, upto - w.acked));
		hear();
	}
	print_message("sent again within %.1f s\n", (double)(w.p.now - since) / 1e9);
	assert_int_equal(w.acked, upto);
	end();
}

/* Each second segment arrived: as many holes as there can be, and each ACK tells of one more. */
static void thousands_of_holes_cost_no_walk_each_time(void **state)
{
	double start;

	begin();
	start = cpu_ns();
	for (uint32_t i = 0; i < N_ACKS; i++) {
		struct block b[4];

		for (uint32_t k = 0; k < 4; k++)
			b[k] = (struct block){ w.acked + (2 * (4 * i + k) + 1) * MSS, w.acked + (2 * (4 * i + k) + 2) * MSS };
		sack(b, 4);
		hear();
	}
	start = (cpu_ns() - start) / N_ACKS;
	print_message("%u segments under way: %.0f ns for an ACK\n", n_flying(), start);
	assert_true(start < NS_MAX);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_contradicts_itself_is_ignored),
		cmocka_unit_test(who_takes_back_what_it_has_told_costs_no_walk_each_time),
		cmocka_unit_test(what_was_taken_back_is_sent_again),
		cmocka_unit_test(thousands_of_holes_cost_no_walk_each_time),
	};

	return RUN_TESTS(tests);
}
