/*
 * test/unit/netstack/torture_test.c - every allocation of a connection's life fails, one after the other (test/lib/shortage.h):
 * of the heap, of lwIP's memory (whether its cache would have had the bytes or not), of packet units.
 *
 * A connection that both ends had must deliver every byte and its end all the same; one that came to
 * nothing must have been told of; and afterwards no connection, no queued byte and no allocation may be left. Under the sanitizers
 * (where lwIP's memory has no cache) the same is looked at for what was used after it was freed.
 */
#include "test/lib/netpair.h"
#include "test/lib/shortage.h"

#define BYTES 24000u
#define LIMIT (900 * NSEC_PER_SEC)
#define MIDDLE (2500 * NSEC_PER_USEC) /* of such a transfer */

static bool is_warm;

struct end {
	struct net_tcp *c;
	struct world *w;
	size_t to_send, sent, got;
	uint8_t salt;
	bool is_client, connected, shut, eof, failed;
};

struct world {
	struct netpair p;
	const struct scene *scene;
	struct end a, b;
	struct net_listener *l;
	struct net_syn *held;
	bool syn_gone;
};

/* What happens, from the dial on, and how much of it is waited for. */
struct scene {
	const char *name;
	enum { WHOLE, CLOSE_AT_ONCE, ABORT, REFUSE, NOBODY, HOLD, CUT, NO_INTERFACE } how;
	uint32_t loss_ppm, reorder_ppm;
	bool v6;
};

static uint8_t pattern(uint8_t salt, size_t i)
{
	return (uint8_t)(salt + i * 131 + (i >> 8) * 7);
}

static void take(struct end *e, const struct end *from)
{
	uint8_t buf[2000];
	size_t n;

	while ((n = net_tcp_read(e->c, buf, sizeof(buf))) > 0)
		for (size_t i = 0; i < n; i++, e->got++)
			assert_int_equal(buf[i], pattern(from->salt, e->got));
	e->eof |= net_tcp_at_eof(e->c);
}

static void give(struct end *e)
{
	uint8_t buf[2000];

	while (e->sent < e->to_send) {
		size_t n = MIN(sizeof(buf), e->to_send - e->sent), done;

		for (size_t i = 0; i < n; i++)
			buf[i] = pattern(e->salt, e->sent + i);
		done = net_tcp_write(e->c, buf, n);
		e->sent += done;
		if (done < n)
			return;
	}
	if (!e->shut)
		net_tcp_shutdown(e->c);
	e->shut = true;
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;
	struct world *w = e->w;

	e->connected |= ev == NET_TCP_CONNECTED;
	e->failed |= ev == NET_TCP_ERROR;
	if (e->failed)
		return;
	take(e, e->is_client ? &w->b : &w->a);
	if (e->is_client && w->scene->how == ABORT && e->got > 0) {
		net_tcp_abort(c);
		e->c = NULL;
		return;
	}
	if (e->connected && !e->shut)
		give(e);
	if (e->is_client && w->scene->how == CLOSE_AT_ONCE && e->shut) {
		net_tcp_close(c);
		e->c = NULL;
	}
}

static void on_gone(void *ctx)
{
	struct world *w = ctx;

	w->held = NULL;
	w->syn_gone = true;
}

static void accept(struct world *w, struct net_syn *syn)
{
	if (net_syn_accept(syn, on_event, &w->b, &w->b.c) != OK)
		w->b.c = NULL;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct world *w = ctx;

	if (w->scene->how == REFUSE || w->b.c) {
		net_syn_refuse(syn);
	} else if (w->scene->how == HOLD) {
		w->held = syn;
		net_syn_set_gone(syn, on_gone, w);
	} else {
		accept(w, syn);
	}
}

static bool is_over(const struct end *e)
{
	return !e->c || e->failed || (e->eof && e->shut);
}

static bool done(void *ctx)
{
	struct world *w = ctx;

	shortage.now = w->p.now;
	return is_over(&w->a) && is_over(&w->b) && !w->held;
}

static bool is_middle(void *ctx)
{
	struct world *w = ctx;

	shortage.now = w->p.now;
	return w->b.got > BYTES / 4;
}

/* ---- one run ---- */

static void check_ends(const struct world *w, bool in_time)
{
	const struct scene *s = w->scene;

	if (s->how == CUT || s->how == NO_INTERFACE)
		return;
	if (!in_time)
		print_message("got %zu of %zu at the client, %zu of %zu at the server; connected %d %d, shut %d %d, ended %d %d\n", w->a.got,
			      w->b.sent, w->b.got, w->a.sent, w->a.connected, w->b.connected, w->a.shut, w->b.shut, w->a.eof, w->b.eof);
	assert_true(in_time);
	if (s->how == REFUSE || s->how == NOBODY)
		assert_true(!w->a.connected && (w->a.failed || shortage.n_failed));
	if (!w->a.connected || !w->b.connected) {
		assert_true(s->how == REFUSE || s->how == NOBODY || shortage.n_failed > 0);
		return;
	}
	if (s->how == ABORT)
		return;
	assert_false(w->a.failed || w->b.failed);
	assert_int_equal(w->b.got, BYTES);
	assert_true(w->b.eof);
	if (s->how != CLOSE_AT_ONCE) {
		assert_int_equal(w->a.got, BYTES);
		assert_true(w->a.eof);
	}
}

static bool play(struct world *w)
{
	const struct scene *s = w->scene;
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), s->how == NOBODY ? 23 : 22, 0 };

	if (s->v6)
		to.ip = (struct ip_addr){ IP_V6, { 0xfd, [15] = 2 } };
	if (net_tcp_dial(w->p.a.nif, &to, on_event, &w->a, &w->a.c) != OK)
		return true; /* nothing came of it */
	if (s->how == HOLD) {
		netpair_run(&w->p, 50 * NSEC_PER_MSEC, NULL, NULL);
		if (w->held) {
			accept(w, w->held);
			w->held = NULL;
		}
	}
	if (s->how == CUT || s->how == NO_INTERFACE)
		netpair_run(&w->p, 5 * NSEC_PER_SEC, is_middle, w);
	if (s->how == NO_INTERFACE) {
		struct net_if_config cfg = { .addrs = { { ip_addr_v4(10, 99, 0, 2), 24 } }, .n_addrs = 1 };

		net_if_close(w->p.b.nif);
		w->l = NULL;
		shortage.is_on = false;
		netpair_reopen(&w->p, &w->p.b, &cfg);
		shortage.is_on = true;
		netpair_run(&w->p, MIDDLE, NULL, NULL);
	}
	return netpair_run(&w->p, s->how == CUT ? 0 : LIMIT, done, w);
}

/* Return: how many allocations there were; @fail: the one that fails, none with 0. */
static unsigned run(const struct scene *s, unsigned fail, bool lasts)
{
	static struct world w;
	struct net_stats st;
	bool in_time;
	long before;

	net_rest();
	before = shortage.n_live;
	memset(&w, 0, sizeof(w));
	w.scene = s;
	w.a = (struct end){ .w = &w, .to_send = BYTES, .salt = 3, .is_client = true };
	w.b = (struct end){ .w = &w, .to_send = s->how == CLOSE_AT_ONCE ? 0 : BYTES, .salt = 90 };
	netpair_init(&w.p, 5);
	w.p.loss_ppm = s->loss_ppm;
	w.p.reorder_ppm = s->reorder_ppm;
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 4, on_syn, &w, &w.l), OK);
	shortage_begin(w.p.now, fail, lasts);
	in_time = play(&w);
	check_ends(&w, in_time);
	net_tcp_close(w.a.c);
	net_tcp_close(w.b.c);
	net_listener_close(w.l);
	shortage.is_on = false;
	netpair_run(&w.p, s->how == CUT ? 0 : 10 * NSEC_PER_SEC, NULL, NULL);
	net_get_stats(&st);
	assert_int_equal(st.n_syn_held, 0);
	if (s->how != CUT) {
		assert_int_equal(st.n_tcp, 0);
		assert_int_equal(st.mem_bytes, 0);
	}
	netpair_fini(&w.p);
	net_rest();
	assert_true(shortage.n_live == before || !is_warm);
	return shortage.n;
}

static const struct scene *scene;

static unsigned run_scene(unsigned fail, bool lasts)
{
	return run(scene, fail, lasts);
}

#define SCENE(id, ...) \
	static void id(void **state) \
	{ \
		static const struct scene this = { .name = #id, __VA_ARGS__ }; \
\
		scene = &this; \
		shortage_torture(#id, run_scene, 2); \
	}
SCENE(whole, .how = WHOLE)
SCENE(whole_over_ipv6, .how = WHOLE, .v6 = true)
SCENE(whole_with_loss, .how = WHOLE, .loss_ppm = 60000, .reorder_ppm = 100000)
SCENE(closed_at_once, .how = CLOSE_AT_ONCE, .loss_ppm = 30000)
SCENE(aborted, .how = ABORT)
SCENE(refused, .how = REFUSE)
SCENE(nobody_listens, .how = NOBODY)
SCENE(held_and_accepted, .how = HOLD)
SCENE(cut_short, .how = CUT, .reorder_ppm = 100000)
SCENE(interface_closed, .how = NO_INTERFACE, .reorder_ppm = 100000)

/* ---- many at once: what is one for all of them grows ---- */

#define CROWD 40

static struct crowd {
	struct netpair p;
	struct net_listener *l;
	struct net_tcp *of[2 * CROWD];
	size_t n, n_dialed, n_connected, n_failed;
} crowd;

static void on_crowd(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	crowd.n_connected += ev == NET_TCP_CONNECTED && ctx;
	crowd.n_failed += ev == NET_TCP_ERROR && ctx;
}

static void on_crowd_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	crowd.n += net_syn_accept(syn, on_crowd, NULL, &crowd.of[crowd.n]) == OK;
}

static unsigned come_together(unsigned fail, bool lasts)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };
	long before;

	net_rest();
	before = shortage.n_live;
	memset(&crowd, 0, sizeof(crowd));
	netpair_init(&crowd.p, 5);
	assert_int_equal(net_tcp_listen(crowd.p.b.nif, 22, CROWD, on_crowd_syn, NULL, &crowd.l), OK);
	shortage_begin(crowd.p.now, fail, lasts);
	for (int i = 0; i < CROWD; i++) {
		bool ok = net_tcp_dial(crowd.p.a.nif, &to, on_crowd, &crowd, &crowd.of[crowd.n]) == OK;

		crowd.n += ok;
		crowd.n_dialed += ok;
	}
	netpair_run(&crowd.p, 20 * NSEC_PER_SEC, NULL, NULL);
	shortage.is_on = false;
	assert_int_equal(crowd.n_connected + crowd.n_failed, crowd.n_dialed);
	assert_true(crowd.n_dialed - crowd.n_failed + shortage.n_failed >= CROWD);
	for (size_t i = 0; i < crowd.n; i++)
		net_tcp_abort(crowd.of[i]);
	net_listener_close(crowd.l);
	netpair_fini(&crowd.p);
	net_rest();
	assert_true(shortage.n_live == before || !is_warm);
	return shortage.n;
}

static void a_crowd(void **state)
{
	shortage_torture("a_crowd", come_together, 1);
}

/* What the stack takes once a process and keeps, it has from here on. */
static int warm(void **state)
{
	run(&(const struct scene){ .name = "warm", .how = WHOLE }, 0, false);
	come_together(0, false);
	is_warm = true;
	return 0;
}

/* ---- what is opened ---- */

static void on_datagram(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
}

static void on_echo(void *ctx, const struct ip_addr *from, uint16_t id, uint16_t seq, struct bytes data)
{
}

static unsigned open_and_send(unsigned fail, bool lasts)
{
	static struct netpair p;
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 53, 0 };
	struct net_if_config cfg = { .addrs = { { ip_addr_v4(10, 98, 0, 1), 24 } }, .n_addrs = 1 };
	struct net_if *nif = NULL;
	struct net_udp *from = NULL, *at = NULL;
	struct net_listener *l = NULL;
	long before;
	unsigned n_ok = 0;
	enum err e;

	net_rest();
	before = shortage.n_live;
	netpair_init(&p, 5);
	shortage_begin(p.now, fail, lasts);
	n_ok += net_if_open(&cfg, &nif) == OK;
	e = net_tcp_listen(p.b.nif, 22, 4, on_syn, NULL, &l);
	assert_true(e == OK || e == ERR_NOMEM);
	n_ok += e == OK;
	n_ok += net_udp_open(p.a.nif, 0, on_datagram, NULL, &from) == OK;
	n_ok += net_udp_open(p.b.nif, 53, on_datagram, NULL, &at) == OK;
	n_ok += from && net_udp_send(from, &to, "question", 8) == OK;
	net_echo_listen(p.a.nif, on_echo, NULL);
	n_ok += net_echo_send(p.a.nif, &to.ip, 1, 1, "ping", 4) == OK;
	netpair_run(&p, 10 * NSEC_PER_MSEC, NULL, NULL);
	shortage.is_on = false;
	assert_true(n_ok == 6 || shortage.n_failed > 0);
	net_udp_close(from);
	net_udp_close(at);
	net_listener_close(l);
	if (nif)
		net_if_close(nif);
	netpair_fini(&p);
	net_rest();
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void opened(void **state)
{
	shortage_torture("opened", open_and_send, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHORTAGE_TEST(whole),	      SHORTAGE_TEST(whole_over_ipv6), SHORTAGE_TEST(whole_with_loss),
		SHORTAGE_TEST(closed_at_once), SHORTAGE_TEST(aborted),	      SHORTAGE_TEST(refused),
		SHORTAGE_TEST(nobody_listens), SHORTAGE_TEST(held_and_accepted), SHORTAGE_TEST(cut_short),
		SHORTAGE_TEST(interface_closed), SHORTAGE_TEST(a_crowd),	      SHORTAGE_TEST(opened),
	};

	/* The path's packets are not the product's. */
	shortage.not_bytes = sizeof(struct netlink_pkt);
	return cmocka_run_group_tests(tests, warm, NULL);
}
