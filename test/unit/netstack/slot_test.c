/*
 * test/unit/netstack/slot_test.c - memory that is read into and leaves as it is: the bytes that arrive, what is copied and what
 * is not, where a message ends, what is told when there is no room, and that all of it comes back.
 */
#include <malloc.h>

#include "test/lib/netpair.h"
#include "test/lib/netwrite.h"

#define MSS 1380
#define STREAM (3u << 20)

struct end {
	struct net_tcp *c;
	size_t written, got, want;
	bool connected, failed, wrong, writable, eof;
};

static struct world {
	struct netpair p;
	struct end a, b, a6, b6; /* the latter over IPv6, with smaller segments */
	struct net_listener *l;
	struct rng_seeded dice;
} w;

static uint8_t block[1 << 20];

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

/* Pieces of all sizes, by each of the ways. */
static void write_on(struct end *e)
{
	static uint8_t buf[1 << 17];

	while (e->written < e->want) {
		size_t n = 1 + rng_below(&w.dice.rng, 1u << rng_below(&w.dice.rng, 18)), took;

		n = MIN(n, e->want - e->written);
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(e->written + i);
		took = net_write_mixed(e->c, buf, n);
		e->written += took;
		if (took < n)
			return;
	}
	net_tcp_shutdown(e->c);
}

static void read_on(struct end *e)
{
	static uint8_t buf[1 << 16];
	size_t n;

	while ((n = net_tcp_read(e->c, buf, sizeof(buf))) > 0)
		for (size_t i = 0; i < n; i++)
			e->wrong |= buf[i] != byte_at(e->got++);
	e->eof = net_tcp_at_eof(e->c);
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	e->connected |= ev == NET_TCP_CONNECTED;
	e->failed |= ev == NET_TCP_ERROR;
	e->writable |= ev == NET_TCP_WRITABLE;
	if (ev == NET_TCP_READABLE)
		read_on(e);
	if (e->want > 0 && (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE))
		write_on(e);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_event, &w.b, &w.b.c), OK);
}

static void on_syn6(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_event, &w.b6, &w.b6.c), OK);
}

static bool both_have_all(void *ctx)
{
	return w.a.eof && w.b.eof;
}

static void run(nsec_t t)
{
	netpair_run(&w.p, t, NULL, NULL);
}

static void begin(uint64_t seed)
{
	memset(&w, 0, sizeof(w));
	netpair_init(&w.p, seed);
	rng_seeded_init(&w.dice, seed);
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, NULL, &w.l), OK);
}

static void dial(void)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	assert_int_equal(net_tcp_dial(w.p.a.nif, &to, on_event, &w.a, &w.a.c), OK);
}

static void connect_ends_after(nsec_t t)
{
	dial();
	run(t);
	assert_true(w.a.connected && w.b.connected);
}

static void connect_ends(void)
{
	connect_ends_after(20 * NSEC_PER_MSEC);
}

static void hang_up(void)
{
	net_tcp_abort(w.a.c);
	net_tcp_abort(w.b.c);
	w.a.c = w.b.c = NULL;
}

static void end(void)
{
	hang_up();
	net_listener_close(w.l);
	netpair_fini(&w.p);
}

static void transfer(void)
{
	w.a.want = w.b.want = STREAM;
	dial();
	assert_true(netpair_run(&w.p, 200 * NSEC_PER_SEC, both_have_all, NULL));
	assert_false(w.a.failed || w.b.failed || w.a.wrong || w.b.wrong);
	assert_int_equal(w.a.got, STREAM);
	assert_int_equal(w.b.got, STREAM);
}

static void bytes_arrive_whatever_the_way(void **state)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		begin(seed);
		transfer();
		end();
	}
}

static void bytes_arrive_over_a_bad_path(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++) {
		begin(seed);
		w.p.delay = 5 * NSEC_PER_MSEC;
		w.p.loss_ppm = 10000;
		w.p.reorder_ppm = 10000;
		w.p.dup_ppm = 5000;
		w.p.queue_max = seed % 2 ? 20 : 0; /* output says "blocked" */
		transfer();
		end();
	}
}

static bool all_have_all(void *ctx)
{
	return w.a.eof && w.b.eof && w.a6.eof && w.b6.eof;
}

/* Two that take turns: what one left is not of the other's size. */
static void segments_of_two_sizes_do_not_mix(void **state)
{
	struct endpoint to = { { IP_V6, { 0xfd, [15] = 2 } }, 23, 0 };
	struct net_listener *l;

	for (uint64_t seed = 1; seed <= 4; seed++) {
		begin(seed);
		w.a.want = w.b.want = w.a6.want = w.b6.want = STREAM;
		assert_int_equal(net_tcp_listen(w.p.b.nif, 23, 4, on_syn6, NULL, &l), OK);
		dial();
		assert_int_equal(net_tcp_dial(w.p.a.nif, &to, on_event, &w.a6, &w.a6.c), OK);
		assert_true(netpair_run(&w.p, 200 * NSEC_PER_SEC, all_have_all, NULL));
		assert_false(w.a.failed || w.b.failed || w.a6.failed || w.b6.failed);
		assert_false(w.a.wrong || w.b.wrong || w.a6.wrong || w.b6.wrong);
		assert_true(w.a.got == STREAM && w.b.got == STREAM && w.a6.got == STREAM && w.b6.got == STREAM);
		net_tcp_abort(w.a6.c);
		net_tcp_abort(w.b6.c);
		net_listener_close(l);
		end();
	}
}

/* Each piece costs the kernel's copy a start. */
static void what_is_read_into_is_in_few_pieces(void **state)
{
	struct net_reserve r;

#ifdef __SANITIZE_ADDRESS__
	skip(); /* each segment's is an allocation there */
#endif
	begin(1);
	connect_ends();
	assert_int_equal(net_tcp_reserve(w.a.c, 64 << 10, &r), OK);
	assert_int_equal(r.len, 64 << 10);
	assert_in_range(r.n, 1, 4);
	/* From the middle of a slab on. */
	assert_int_equal(net_write_read(w.a.c, block, 10 * MSS), 10 * MSS);
	assert_int_equal(net_tcp_reserve(w.a.c, 30 << 10, &r), OK);
	assert_in_range(r.n, 1, 3);
	end();
}

#define MOST (21u << 20) /* 31,500 segments of two buffers */

/* lwIP counts buffers, and refuses what goes beyond: room ends before that, and whatever is taken is sent. */
static void a_queue_ends_at_its_number_of_buffers(void **state)
{
	const struct net_if_config cfg = { .n_addrs = 1, .mtu = 740, .addrs = { { ip_addr_v4(10, 99, 0, 2), 24 } } };
	size_t sum = 0, most = 0;

	begin(1);
	net_listener_close(w.l);
	net_if_close(w.p.b.nif);
	netpair_reopen(&w.p, &w.p.b, &cfg);
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, NULL, &w.l), OK);
	w.p.unwatched = true;
	w.p.delay = 100 * NSEC_PER_MSEC;
	connect_ends_after(400 * NSEC_PER_MSEC);
	for (int i = 0; i < 1000; i++) {
		while (net_tcp_writable(w.a.c) > 0)
			sum += net_write_read(w.a.c, block, 256 << 10);
		most = MAX(most, sum - w.b.got);
		run(5 * NSEC_PER_MSEC);
	}
	print_message("%zu bytes queued at most\n", most);
	assert_true(most > MOST);
	assert_false(w.a.failed);
	end();
}

static void *where(void)
{
	struct net_reserve r;

	assert_int_equal(net_tcp_reserve(w.a.c, 1000, &r), OK);
	return r.iov[0].iov_base;
}

static void much_leaves_as_it_is_and_little_is_copied(void **state)
{
	void *at;

	begin(1);
	connect_ends();
	at = where();
	assert_int_equal(net_write_read(w.a.c, block, 1000), 1000);
	assert_ptr_equal(where(), at);
	assert_int_equal(net_write_read(w.a.c, block, 64 << 10), 64 << 10);
	assert_ptr_not_equal(where(), at);
	/* Reserved, and nothing came. */
	at = where();
	assert_int_equal(net_tcp_commit(w.a.c, 0), 0);
	assert_ptr_equal(where(), at);
	end();
}

/* Segments with data that lie on the path, and of these the ones with PSH; the last of them has it. */
static size_t n_flying(size_t *ret_pushed, bool *ret_last)
{
	size_t n = 0;

	*ret_pushed = 0;
	*ret_last = false;
	for (const struct netlink_pkt *k = w.p.a.first; k; k = k->next) {
		if (k->len <= 40)
			continue;
		n++;
		*ret_last = k->data[20 + 13] & 0x08;
		*ret_pushed += *ret_last;
	}
	return n;
}

static void the_last_segment_alone_is_pushed(void **state)
{
	/* With a rest, without one, and what is copied as a whole. */
	static const size_t sizes[] = { 9 * MSS + 7, 9 * MSS, 8 * MSS, 8 * MSS - 1, 3 * MSS + 1 };
	size_t pushed;
	bool last;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		begin(1);
		connect_ends();
		assert_int_equal(net_write_read(w.a.c, block, sizes[i]), sizes[i]);
		net_flush();
		assert_int_equal(n_flying(&pushed, &last), (sizes[i] + MSS - 1) / MSS);
		assert_true(pushed == 1 && last);
		end();
	}
}

static void no_room_is_told_and_so_is_room(void **state)
{
	struct net_reserve r;

	begin(1);
	connect_ends();
	netpair_drop_queue(&w.p.a);
	for (int i = 0; net_tcp_writable(w.a.c) > 0; i++) {
		assert_true(i < 4096);
		net_write_read(w.a.c, block, 256 << 10);
	}
	assert_int_equal(net_tcp_reserve(w.a.c, 1000, &r), ERR_AGAIN);
	assert_int_equal(r.n, 0);
	assert_int_equal(r.len, 0);
	assert_false(w.a.writable);
	run(NSEC_PER_SEC);
	assert_true(w.a.writable);
	assert_int_equal(net_tcp_reserve(w.a.c, 1000, &r), OK);
	end();
}

static void nothing_is_reserved_of_what_is_gone(void **state)
{
	struct net_reserve r;

	begin(1);
	connect_ends();
	net_tcp_shutdown(w.a.c);
	assert_int_equal(net_tcp_reserve(w.a.c, 1000, &r), ERR_AGAIN);
	net_tcp_abort(w.b.c);
	w.b.c = NULL;
	run(20 * NSEC_PER_MSEC);
	assert_true(w.a.failed);
	assert_int_equal(net_tcp_reserve(w.a.c, 1000, &r), ERR_AGAIN);
	assert_int_equal(net_tcp_commit(w.a.c, 1000), 0);
	end();
}

/* Connections that end with half of it under way, again and again: the heap is as it was. */
static void all_memory_comes_back(void **state)
{
	size_t before = 0;

	begin(1);
	w.p.unwatched = true;
	for (int round = 0; round < 20; round++) {
		connect_ends();
		net_write_read(w.a.c, block, 256 << 10);
		run(round * NSEC_PER_MSEC / 4);
		hang_up();
		run(2 * NSEC_PER_SEC);
		net_rest();
		if (round == 4)
			before = mallinfo2().uordblks;
	}
	assert_int_equal(mallinfo2().uordblks, before);
	end();
}

#define N_STUCK 24

static struct net_tcp *stuck[N_STUCK], *ends_of_stuck[N_STUCK];

static void on_nothing(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
}

static void on_stuck_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	size_t *n = ctx;

	assert_int_equal(net_syn_accept(syn, on_nothing, NULL, &ends_of_stuck[(*n)++]), OK);
}

/* Is a write of ten segments queued as it is? */
static bool links(void)
{
	void *at = where();

	assert_int_equal(net_write_read(w.a.c, block, 10 * MSS), 10 * MSS);
	return where() != at;
}

/* Each of many keeps ten segments, of slabs whose others are free: then all is copied, until they go. */
static void kept_slabs_are_few(void **state)
{
	const struct net_config limits = { .mem_bytes_max = 1 << 20 };
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 23, 0 };
	struct net_listener *l;
	size_t n = 0, i;

#ifdef __SANITIZE_ADDRESS__
	skip(); /* a slab has one slot there */
#endif
	memset(&w, 0, sizeof(w));
	netpair_init_limits(&w.p, 1, &limits);
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, NULL, &w.l), OK);
	assert_int_equal(net_tcp_listen(w.p.b.nif, 23, N_STUCK, on_stuck_syn, &n, &l), OK);
	connect_ends();
	for (i = 0; i < N_STUCK; i++)
		assert_int_equal(net_tcp_dial(w.p.a.nif, &to, on_nothing, NULL, &stuck[i]), OK);
	run(20 * NSEC_PER_MSEC);
	assert_int_equal(n, N_STUCK);
	for (i = 0; i < N_STUCK && links(); i++) {
		run(5 * NSEC_PER_MSEC);
		w.p.a.drop_next = 10;
		assert_int_equal(net_write_read(stuck[i], block, 10 * MSS), 10 * MSS);
		run(NSEC_PER_MSEC);
	}
	assert_in_range(i, 4, N_STUCK - 1);
	for (i = 0; i < N_STUCK; i++) {
		net_tcp_abort(stuck[i]);
		net_tcp_abort(ends_of_stuck[i]);
	}
	run(20 * NSEC_PER_MSEC);
	assert_true(links());
	net_listener_close(l);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive_whatever_the_way),
		cmocka_unit_test(bytes_arrive_over_a_bad_path),
		cmocka_unit_test(segments_of_two_sizes_do_not_mix),
		cmocka_unit_test(what_is_read_into_is_in_few_pieces),
		cmocka_unit_test(a_queue_ends_at_its_number_of_buffers),
		cmocka_unit_test(much_leaves_as_it_is_and_little_is_copied),
		cmocka_unit_test(the_last_segment_alone_is_pushed),
		cmocka_unit_test(no_room_is_told_and_so_is_room),
		cmocka_unit_test(nothing_is_reserved_of_what_is_gone),
		cmocka_unit_test(all_memory_comes_back),
		cmocka_unit_test(kept_slabs_are_few),
	};
	return RUN_TESTS(tests);
}
