/*
 * test/unit/wg/torture_test.c - every allocation of a session's life fails, one after the other (test/lib/shortage.h): of the
 * heap and of packet units.
 *
 * A call that says no must leave the device as it was. A packet may be lost, as on any network; what each side is then sent again,
 * as TCP would, must come through by the protocol's own timers, under the first session and under the next. Afterwards no block
 * may be left.
 */
#include "test/lib/shortage.h"
#include "test/lib/wgpair.h"

#define N_PEERS 40 /* tables grow, twice */
#define EVERY NSEC_PER_SEC
#define PATIENCE (120 * NSEC_PER_SEC) /* beyond WireGuard's own 90 s */

static struct wgpair p;

/* Until both sides have heard of the other: each says something once a second. */
static void talk(void)
{
	uint32_t a = p.a.n_rx, b = p.b.n_rx;
	nsec_t end = p.now + PATIENCE;

	while ((p.a.n_rx == a || p.b.n_rx == b) && p.now < end) {
		enum wg_send sent = wgpair_send(&p, &p.a, 400, NULL);

		assert_true(sent == WG_SEND_OK || sent == WG_SEND_STAGED || (sent == WG_SEND_BLOCKED && shortage.n_failed > 0));
		(void)wgpair_send(&p, &p.b, 400, NULL);
		wgpair_run(&p, EVERY);
		shortage.now = p.now;
	}
	assert_true(p.a.n_rx > a && p.b.n_rx > b);
}

/* What is under way when memory runs out may be lost, but nothing that follows. */
static unsigned live(unsigned fail, bool lasts)
{
	long before = shortage.n_live;

	wgpair_init(&p, 7);
	shortage_begin(p.now, fail, lasts);
	talk();
	talk();
	/* As many as make a run grow, and wait for a socket. */
	for (int i = 0; i < 40; i++)
		(void)wgpair_send(&p, &p.a, 1400, NULL);
	wgpair_pump(&p);
	/* The next key, and the end of the first. */
	wgpair_run(&p, 121 * NSEC_PER_SEC);
	shortage.now = p.now;
	talk();
	wgpair_run(&p, 200 * NSEC_PER_SEC);
	shortage.now = p.now;
	talk();
	shortage_end();
	wgpair_fini(&p);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void a_life(void **state)
{
	shortage_torture("a_life", live, 2);
}

/* Nobody says anything: the handshake alone must come to its end. */
static unsigned connect_silently(unsigned fail, bool lasts)
{
	long before = shortage.n_live;

	wgpair_init(&p, 8);
	shortage_begin(p.now, fail, lasts);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	for (int i = 0; i < 120 && !(p.a.n_up && p.b.n_up); i++) {
		wgpair_run(&p, NSEC_PER_SEC);
		shortage.now = p.now;
	}
	assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	assert_int_equal(p.a.n_up, 1);
	shortage_end();
	wgpair_fini(&p);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void a_handshake_of_nobody(void **state)
{
	shortage_torture("a_handshake_of_nobody", connect_silently, 2);
}

static struct wg_public_key key_of(unsigned i)
{
	struct wg_public_key key = { .b = { 9, (uint8_t)i, (uint8_t)(i >> 8) } };

	return key;
}

static struct ip_prefix prefix_of(unsigned i, uint8_t bits)
{
	return (struct ip_prefix){ ip_addr_v4(10, (uint8_t)(i * 37), (uint8_t)(i * 11), 0), bits };
}

/* A call that failed left nothing behind: repeated, it succeeds, and all is found. */
static unsigned many_peers(unsigned fail, bool lasts)
{
	long before = shortage.n_live;
	wg_peer_id ids[N_PEERS] = { 0 };

	wgpair_init(&p, 9);
	shortage_begin(p.now, fail, lasts);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < N_PEERS; i++) {
			struct wg_public_key key = key_of(i);
			struct ip_prefix narrow = prefix_of(i, 24), wide = prefix_of(i, 9);
			enum err e = ids[i] ? OK : wg_peer_add(p.a.dev, &key, p.now, &ids[i]);

			assert_true(e == OK || (e == ERR_NOMEM && shortage.n_failed > 0));
			assert_int_equal(wg_peer_find(p.a.dev, &key), ids[i]);
			if (e != OK)
				continue;
			e = wg_peer_allow(p.a.dev, ids[i], &narrow);
			assert_true(e == OK || (e == ERR_NOMEM && shortage.n_failed > 0));
			if (e == OK)
				assert_int_equal(wg_route(p.a.dev, &narrow.ip), ids[i]);
			assert_true(wg_peer_allow(p.a.dev, ids[i], &wide) == OK || shortage.n_failed > 0);
		}
		shortage.now = p.now += 3 * NSEC_PER_SEC;
	}
	shortage_end();
	for (unsigned i = 0; i < N_PEERS; i++) {
		struct ip_prefix narrow = prefix_of(i, 24);

		assert_int_not_equal(ids[i], 0);
		assert_int_equal(wg_route(p.a.dev, &narrow.ip), ids[i]);
		if (i % 2)
			wg_peer_remove(p.a.dev, ids[i]);
	}
	/* The pair's own peer was not touched. */
	talk();
	wgpair_fini(&p);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void peers_are_added(void **state)
{
	shortage_torture("peers_are_added", many_peers, 2);
}

static unsigned make_device(unsigned fail, bool lasts)
{
	long before = shortage.n_live;
	struct wg_config cfg = { 0 };
	struct wg_device *dev;

	wgpair_init(&p, 10);
	cfg = (struct wg_config){ .pool = p.pool, .rng = &p.rng.rng };
	shortage_begin(p.now, fail, lasts);
	dev = wg_device_new(&cfg, p.now, p.wall);
	assert_true(dev || shortage.n_failed > 0);
	shortage_end();
	wg_device_free(dev);
	wgpair_fini(&p);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void a_device_is_made(void **state)
{
	shortage_torture("a_device_is_made", make_device, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHORTAGE_TEST(a_device_is_made),
		SHORTAGE_TEST(a_handshake_of_nobody),
		SHORTAGE_TEST(a_life),
		SHORTAGE_TEST(peers_are_added),
	};

	return RUN_TESTS(tests);
}
