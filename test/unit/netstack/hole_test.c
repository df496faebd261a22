/*
 * test/unit/netstack/hole_test.c - paths that swallow large packets: bytes arrive all the same, and soon.
 *
 * The path lets through what fits into 1,220 bytes, as one of an outer MTU of 1,300 does. What is sent is a pattern of its place in the
 * stream, which the reader checks: segments are cut anew while parts of them are under way.
 */
#include "test/lib/netpair.h"
#include "test/lib/netwrite.h"

#define SMALL 1220
#define STREAM (4u << 20)

struct run {
	struct netpair p;
	struct net_tcp *from, *to;
	struct net_listener *l;
	size_t written, got, size;
	bool wrong, failed, v6;
};

static struct run r;

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint8_t buf[30000];

	r.failed |= ev == NET_TCP_ERROR;
	if (ev != NET_TCP_CONNECTED && ev != NET_TCP_WRITABLE)
		return;
	while (r.written < r.size) {
		size_t n = MIN(sizeof(buf), r.size - r.written), took;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(r.written + i);
		took = net_write_mixed(c, buf, n);
		r.written += took;
		if (took < n)
			return;
	}
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint8_t buf[4096];
	size_t n;

	r.failed |= ev == NET_TCP_ERROR;
	while (ev == NET_TCP_READABLE && (n = net_tcp_read(c, buf, sizeof(buf))) > 0)
		for (size_t i = 0; i < n; i++)
			r.wrong |= buf[i] != byte_at(r.got++);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_to, NULL, &r.to), OK);
}

static bool has_all(void *ctx)
{
	return r.got >= r.size;
}

static bool has_half(void *ctx)
{
	return r.got >= r.size / 2;
}

static void begin(uint64_t seed)
{
	memset(&r, 0, sizeof(r));
	netpair_init(&r.p, seed);
	r.p.delay = 10 * NSEC_PER_MSEC;
	r.p.rate_bps = 100000000;
	r.p.bottleneck = 200;
	assert_int_equal(net_tcp_listen(r.p.b.nif, 22, 4, on_syn, NULL, &r.l), OK);
}

static void dial(size_t size)
{
	struct endpoint to = { r.v6 ? (struct ip_addr){ IP_V6, { 0xfd, [15] = 2 } } : ip_addr_v4(10, 99, 0, 2), 22, 0 };

	r.size = size;
	r.written = r.got = 0;
	assert_int_equal(net_tcp_dial(r.p.a.nif, &to, on_from, NULL, &r.from), OK);
}

static void hang_up(void)
{
	assert_false(r.wrong || r.failed);
	assert_int_equal(r.got, r.size);
	net_tcp_abort(r.from);
	net_tcp_abort(r.to);
	netpair_run(&r.p, 100 * NSEC_PER_MSEC, NULL, NULL);
}

static void end(void)
{
	net_listener_close(r.l);
	netpair_fini(&r.p);
}

static uint64_t holes(void)
{
	struct net_stats st;

	net_get_stats(&st);
	return st.n_holes;
}

/* Milliseconds until @size bytes have arrived. */
static double upload(size_t size)
{
	nsec_t start = r.p.now;

	dial(size);
	assert_true(netpair_run(&r.p, 60 * NSEC_PER_SEC, has_all, NULL));
	hang_up();
	return (double)(r.p.now - start) / 1e6;
}

static void from_the_start(bool v6)
{
	double first, second;

	begin(1);
	r.v6 = v6;
	r.p.len_max = SMALL;
	first = upload(STREAM);
	assert_int_equal(holes(), 1);
	/* The next one knows. */
	second = upload(STREAM);
	assert_int_equal(holes(), 1);
	print_message("4 MiB: %.0f ms, then %.0f ms\n", first, second);
	assert_true(first < 2500 && second < 1000);
	end();
}

static void a_path_that_swallows_carries_small_segments(void **state)
{
	from_the_start(false);
}

static void so_does_one_of_ipv6(void **state)
{
	from_the_start(true);
}

/* The path changes while a window of full segments is under way, and loses and repeats some besides. */
static void a_path_that_begins_to_swallow(void **state)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		begin(seed);
		dial(STREAM);
		assert_true(netpair_run(&r.p, 60 * NSEC_PER_SEC, has_half, NULL));
		r.p.loss_ppm = seed % 3 == 0 ? 5000 : 0;
		r.p.dup_ppm = r.p.reorder_ppm = seed % 2 ? 5000 : 0;
		r.p.len_max = SMALL;
		assert_true(netpair_run(&r.p, 60 * NSEC_PER_SEC, has_all, NULL));
		r.p.loss_ppm = 0;
		hang_up();
		assert_true(holes() >= 1);
		end();
	}
}

/* After ten minutes the full size is tried again. */
static void what_has_healed_is_found_out(void **state)
{
	uint64_t n;

	begin(3);
	r.p.len_max = SMALL;
	upload(STREAM);
	r.p.len_max = 0;
	n = r.p.a.n_sent;
	upload(STREAM);
	assert_true(r.p.a.n_sent - n >= STREAM / 1160);
	netpair_run(&r.p, 601 * NSEC_PER_SEC, NULL, NULL);
	n = r.p.a.n_sent;
	upload(STREAM);
	assert_true(r.p.a.n_sent - n < STREAM / 1250);
	assert_int_equal(holes(), 1);
	end();
}

/* Losses alone make nothing small. */
static void loss_is_no_hole(void **state)
{
	begin(4);
	r.p.loss_ppm = 10000;
	upload(STREAM);
	assert_int_equal(holes(), 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_that_swallows_carries_small_segments),
		cmocka_unit_test(so_does_one_of_ipv6),
		cmocka_unit_test(a_path_that_begins_to_swallow),
		cmocka_unit_test(what_has_healed_is_found_out),
		cmocka_unit_test(loss_is_no_hole),
	};
	return RUN_TESTS(tests);
}
