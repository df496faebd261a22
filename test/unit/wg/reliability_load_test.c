/*
 * test/unit/wg/reliability_load_test.c - defects that other implementations of WireGuard have had, one named test each:
 * floods, cookies, and a thousand peers that come at once.
 *
 * Two devices on a virtual clock (test/lib/wgpair.h); what a test needs of a device's inside it reads through
 * wg/device_internal.h. What device_test.c proves already is not repeated.
 */
#include <malloc.h>

#include "test/lib/wghostile.h"

/* ---- cookies and load ---- */

/* cookie: MAC2 covers the source port. */
static void cookie_is_bound_to_the_source_port(void **state)
{
	struct wgpair p;
	struct kept k;
	struct endpoint elsewhere;
	uint64_t cookies;

	wgpair_init(&p, 1);
	flood_from_everywhere(&p, &p.b);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_cookie, 1);
	assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	kept_init(&p, &k, 8, WG_MSG_INITIATION, false);
	wgpair_run(&p, 5400 * NSEC_PER_MSEC);
	assert_int_equal(k.n, 1);
	p.wire = NULL;
	flood_from_everywhere(&p, &p.b);
	elsewhere = p.a.ep;
	elsewhere.port++;
	cookies = p.b.n_cookie;
	wgpair_inject(&p, &p.b, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_cookie, cookies + 1);
	assert_int_equal(p.b.n_resp, 0);
	release(&p, &k, 0);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_resp, 1);
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	free(k.msgs);
	wgpair_fini(&p);
}

static void cookie_of_an_old_secret_is_refused(void **state)
{
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 2);
	flood_from_everywhere(&p, &p.b);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	kept_init(&p, &k, 8, WG_MSG_INITIATION, false);
	wgpair_run(&p, 5400 * NSEC_PER_MSEC);
	p.wire = NULL;
	p.now += 121 * NSEC_PER_SEC;
	flood_from_everywhere(&p, &p.b);
	release(&p, &k, 0);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_resp, 0);
	assert_int_equal(p.b.n_cookie, 2);
	free(k.msgs);
	wgpair_fini(&p);
}

/* limits: a flood from A puts neither B in cookie mode nor the device under load. */
static void flood_from_one_source_leaves_others_at_the_first_try(void **state)
{
	struct wgpair p;
	struct endpoint a = stranger(9);
	struct wg_device_stats stats;

	wgpair_init(&p, 3);
	for (int i = 0; i < 20; i++) {
		flood(&p, &p.b, &a, 200);
		p.now += 10 * NSEC_PER_MSEC;
	}
	wg_device_get_stats(p.b.dev, &stats);
	assert_true(stats.n_rx_cookie_sent > 3000);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_init, 1);
	assert_int_equal(p.b.n_cookie, 0);
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	wgpair_fini(&p);
}

/* Many sources at once: the second try, with the cookie, is served although the flood goes on. */
static void flood_from_everywhere_costs_one_retry(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 4);
	flood_from_everywhere(&p, &p.b);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	for (int i = 0; i < 60 && !wg_peer_is_up(p.a.dev, p.a.peer, p.now); i++) {
		flood_from_everywhere(&p, &p.b);
		wgpair_run(&p, 100 * NSEC_PER_MSEC);
	}
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	assert_int_equal(p.a.n_init, 2);
	assert_int_equal(p.b.n_cookie, 1);
	wgpair_fini(&p);
}

/* The socket takes nothing while strangers go on: what waits for it is bounded by the memory it takes, not by its bytes. */
static void answers_that_cannot_leave_take_bounded_memory(void **state)
{
	struct wg_msg_initiation msg;
	struct wgpair p;
	size_t before, n = 0;
	struct wg_tx tx;

	wgpair_init(&p, 5);
	flood_from_everywhere(&p, &p.b);
	forge_initiation(&p, &p.b, &msg);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	for (int i = 0; i < 40000; i++) {
		struct endpoint from = stranger((uint16_t)i);

		wgpair_inject(&p, &p.b, &from, &msg, sizeof(msg));
	}
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd - before < 24u << 20);
	for (; wg_device_next_tx(p.b.dev, p.now, &tx); n++)
		wg_device_tx_done(p.b.dev);
	assert_true(n > 1000);
	/* Then as ever. */
	flood(&p, &p.b, &(struct endpoint){ ip_addr_v4(198, 18, 9, 9), 7, 0 }, 1);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_cookie, 1);
	wgpair_fini(&p);
}

#define N_CLIENTS 1000

struct star {
	nsec_t now;
	struct rng_seeded rng;
	struct pktpool *pool;
	struct wg_device *hub, *clients[N_CLIENTS];
	wg_peer_id peers[N_CLIENTS]; /* the hub's names for them */
	struct wg_public_key hub_pub;
};

static struct wg_device *star_device(struct star *s, struct wg_public_key *ret_pub)
{
	struct wg_config cfg = { .pool = s->pool, .rng = &s->rng.rng };
	struct wg_device *dev = wg_device_new(&cfg, s->now, s->now);
	struct wg_private_key priv;

	assert_non_null(dev);
	wg_generate_private(&s->rng.rng, &priv);
	wg_device_set_private(dev, &priv, s->now);
	*ret_pub = *wg_device_public(dev);
	return dev;
}

static struct endpoint star_endpoint(int i)
{
	return (struct endpoint){ ip_addr_v4(192, 0, 2, 50), (uint16_t)(1000 + i), 0 };
}

static void star_init(struct star *s)
{
	struct endpoint hub_ep = { ip_addr_v4(192, 0, 2, 1), 51820, 0 };

	memset(s, 0, sizeof(*s));
	rng_seeded_init(&s->rng, 77);
	s->now = 1000 * NSEC_PER_SEC;
	s->pool = pktpool_new(4096);
	s->hub = star_device(s, &s->hub_pub);
	for (int i = 0; i < N_CLIENTS; i++) {
		struct wg_public_key pub;
		wg_peer_id hub;

		s->clients[i] = star_device(s, &pub);
		assert_int_equal(wg_peer_add(s->hub, &pub, s->now, &s->peers[i]), OK);
		assert_int_equal(wg_peer_add(s->clients[i], &s->hub_pub, s->now, &hub), OK);
		wg_peer_set_endpoint(s->clients[i], hub, &hub_ep, s->now);
		wg_peer_connect(s->clients[i], hub, s->now);
	}
}

static void star_deliver(struct star *s, struct wg_device *to, const struct endpoint *from, const struct wg_tx *tx)
{
	struct path_addr path = { .remote = *from };
	struct wg_datagram d = { tx->p, tx->len, &path };
	struct wg_event ev;

	wg_device_input(to, s->now, &d, 1);
	while (wg_device_next_event(to, &ev))
		;
}

static void star_move(struct star *s)
{
	struct endpoint hub_ep = { ip_addr_v4(192, 0, 2, 1), 51820, 0 };
	struct wg_tx tx;

	for (int i = 0; i < N_CLIENTS; i++) {
		struct endpoint ep = star_endpoint(i);

		wg_device_expire(s->clients[i], s->now);
		for (; wg_device_next_tx(s->clients[i], s->now, &tx); wg_device_tx_done(s->clients[i]))
			star_deliver(s, s->hub, &ep, &tx);
	}
	wg_device_expire(s->hub, s->now);
	for (; wg_device_next_tx(s->hub, s->now, &tx); wg_device_tx_done(s->hub))
		star_deliver(s, s->clients[tx.path.remote.port - 1000], &hub_ep, &tx);
}

static int star_n_up(struct star *s)
{
	int n = 0;

	for (int i = 0; i < N_CLIENTS; i++)
		n += wg_peer_is_up(s->hub, s->peers[i], s->now);
	return n;
}

/* A NAT, or a hub that restarted: they are not an attack, and no one of them is left out. */
static void a_thousand_peers_behind_one_address_come_back(void **state)
{
	static struct star s;
	nsec_t start;

	star_init(&s);
	for (start = s.now; s.now < start + 6 * NSEC_PER_SEC && star_n_up(&s) < N_CLIENTS; s.now += 10 * NSEC_PER_MSEC)
		star_move(&s);
	assert_int_equal(star_n_up(&s), N_CLIENTS);
	for (int i = 0; i < N_CLIENTS; i++)
		wg_device_free(s.clients[i]);
	wg_device_free(s.hub);
	pktpool_free(s.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cookie_is_bound_to_the_source_port),
		cmocka_unit_test(cookie_of_an_old_secret_is_refused),
		cmocka_unit_test(flood_from_one_source_leaves_others_at_the_first_try),
		cmocka_unit_test(flood_from_everywhere_costs_one_retry),
		cmocka_unit_test(answers_that_cannot_leave_take_bounded_memory),
		cmocka_unit_test(a_thousand_peers_behind_one_address_come_back),
	};
	return RUN_TESTS(tests);
}
