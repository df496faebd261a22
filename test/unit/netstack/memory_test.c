/*
 * test/unit/netstack/memory_test.c - the heap has nothing left just when a connection needs it.
 *
 * malloc() of this program fails on demand. What is under test: a received buffer that cannot be queued is offered again,
 * once; an end that cannot be queued is sent later.
 */
#include "test/lib/netpair.h"

#define RX_FIRST 128 /* bytes of the first array for received buffers: tcp.c */

static uint8_t block[20000];

#ifdef __SANITIZE_ADDRESS__
/* Its allocator cannot be replaced. */
static bool can_fail(void)
{
	return false;
}
static size_t fail_from, fail_to, n_failed;
#else
void *__libc_malloc(size_t size);
static size_t fail_from, fail_to, n_failed;

void *malloc(size_t size)
{
	if (size >= fail_from && size < fail_to) {
		n_failed++;
		return NULL;
	}
	return __libc_malloc(size);
}

static bool can_fail(void)
{
	return true;
}
#endif

/* Requests of @from up to less than @to bytes fail from now on; none with 0, 0. */
static void fail_sizes(size_t from, size_t to)
{
	fail_from = from;
	fail_to = to;
	if (to)
		n_failed = 0;
}

struct end {
	struct net_tcp *c;
	size_t got;
	bool connected, eof, failed;
};

struct world {
	struct netpair p;
	struct end a, b;
	struct net_listener *l;
};

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;
	uint8_t buf[1000];
	size_t n;

	e->connected |= ev == NET_TCP_CONNECTED;
	e->failed |= ev == NET_TCP_ERROR;
	while ((n = net_tcp_read(c, buf, sizeof(buf))) > 0) {
		assert_true(e->got + n <= sizeof(block));
		assert_memory_equal(buf, block + e->got, n);
		e->got += n;
	}
	e->eof |= net_tcp_at_eof(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct world *w = ctx;

	assert_int_equal(net_syn_accept(syn, on_event, &w->b, &w->b.c), OK);
}

static void run_ms(struct world *w, unsigned ms)
{
	netpair_run(&w->p, ms * NSEC_PER_MSEC, NULL, NULL);
}

static void open_pair(struct world *w)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	if (!can_fail())
		skip();
	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
	netpair_init(&w->p, 3);
	assert_int_equal(net_tcp_listen(w->p.b.nif, 22, 4, on_syn, w, &w->l), OK);
	assert_int_equal(net_tcp_dial(w->p.a.nif, &to, on_event, &w->a, &w->a.c), OK);
	run_ms(w, 5);
	assert_true(w->a.connected && w->b.c);
}

static void close_pair(struct world *w)
{
	assert_false(w->a.failed || w->b.failed);
	net_tcp_close(w->a.c);
	net_tcp_close(w->b.c);
	net_listener_close(w->l);
	netpair_fini(&w->p);
}

static void a_refused_buffer_is_offered_again_once(void **state)
{
	static struct world w;

	open_pair(&w);
	fail_sizes(RX_FIRST, RX_FIRST + 1);
	assert_int_equal(net_tcp_write(w.a.c, block, sizeof(block)), sizeof(block));
	run_ms(&w, 400);
	assert_true(n_failed >= 3); /* refused, and refused again */
	assert_int_equal(w.b.got, 0);
	fail_sizes(0, 0);
	run_ms(&w, 2000);
	assert_int_equal(w.b.got, sizeof(block));
	close_pair(&w);
}

static void a_refused_buffer_with_the_end_in_it_is_not_lost(void **state)
{
	static struct world w;

	open_pair(&w);
	fail_sizes(RX_FIRST, RX_FIRST + 1);
	assert_int_equal(net_tcp_write(w.a.c, block, 100), 100);
	net_tcp_shutdown(w.a.c);
	run_ms(&w, 200);
	assert_true(n_failed >= 2 && w.b.got == 0 && !w.b.eof);
	fail_sizes(0, 0);
	run_ms(&w, 2000);
	assert_int_equal(w.b.got, 100);
	assert_true(w.b.eof);
	close_pair(&w);
}

/* What was refused counts as unread: it does not turn the end into a reset that takes our own bytes along. */
static void a_refused_buffer_does_not_hinder_a_close(void **state)
{
	static struct world w;

	open_pair(&w);
	fail_sizes(RX_FIRST, RX_FIRST + 1);
	assert_int_equal(net_tcp_write(w.a.c, block, 100), 100);
	run_ms(&w, 20);
	assert_true(n_failed >= 1);
	fail_sizes(0, 0);
	assert_int_equal(net_tcp_write(w.b.c, block, sizeof(block)), sizeof(block));
	net_tcp_close(w.b.c);
	w.b.c = NULL;
	run_ms(&w, 1000);
	assert_int_equal(w.a.got, sizeof(block));
	assert_true(w.a.eof);
	close_pair(&w);
}

/* tcp_close() finds no memory for the FIN, three times. */
static void an_end_without_memory_is_sent_later(void **state)
{
	static struct world w;

	open_pair(&w);
	net_rest();
	fail_sizes(16, 600);
	net_tcp_close(w.a.c);
	w.a.c = NULL;
	run_ms(&w, 180);
	assert_true(n_failed >= 3);
	assert_false(w.b.eof || w.b.failed);
	fail_sizes(0, 0);
	run_ms(&w, 200);
	assert_true(w.b.eof);
	close_pair(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refused_buffer_is_offered_again_once),
		cmocka_unit_test(a_refused_buffer_with_the_end_in_it_is_not_lost),
		cmocka_unit_test(a_refused_buffer_does_not_hinder_a_close),
		cmocka_unit_test(an_end_without_memory_is_sent_later),
	};
	return RUN_TESTS(tests);
}
