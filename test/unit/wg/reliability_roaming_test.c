/*
 * test/unit/wg/reliability_roaming_test.c - defects that other implementations of WireGuard have had, one named test each:
 * who may move an endpoint, and what clocks and timers do.
 *
 * Two devices on a virtual clock (test/lib/wgpair.h); what a test needs of a device's inside it reads through
 * wg/device_internal.h. What device_test.c proves already is not repeated.
 */
#include "test/lib/wghostile.h"

#include "base/endian.h"

/* ---- allowed IPs, roaming ---- */

/* allowed-IP: a's packet with the address of another peer of b's; the endpoint roams all the same, as it is authentic. */
static void a_peer_cannot_send_as_another(void **state)
{
	struct wgpair p;
	struct wg_public_key key = { { 9, 9 } };
	struct ip_prefix theirs = { ip_addr_v4(10, 99, 0, 3), 32 };
	wg_peer_id third;

	wgpair_init(&p, 30);
	wgpair_connect(&p);
	assert_int_equal(wg_peer_add(p.b.dev, &key, p.now, &third), OK);
	assert_int_equal(wg_peer_allow(p.b.dev, third, &theirs), OK);
	p.a.ep.port = 4444;
	wgpair_send(&p, &p.a, 84, &theirs.ip);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 0);
	assert_int_equal(peer_of(&p.b)->n_bad_source, 1);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	/* It moves to the other by the more specific prefix. */
	theirs.ip = p.a.inner;
	assert_int_equal(wg_peer_allow(p.b.dev, third, &theirs), OK);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 0);
	/* The wider one of a's own does not help against it. */
	theirs.bits = 24;
	assert_int_equal(wg_peer_allow(p.b.dev, p.b.peer, &theirs), OK);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 0);
	wg_peer_remove(p.b.dev, third);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1);
	wgpair_fini(&p);
}

static void a_cookie_reply_moves_nobody(void **state)
{
	struct wgpair p;
	struct kept k;
	struct endpoint elsewhere = stranger(5);
	struct wg_peer_info info;

	wgpair_init(&p, 31);
	flood_from_everywhere(&p, &p.b);
	kept_init(&p, &k, 1, WG_MSG_COOKIE, false);
	wg_peer_connect(p.a.dev, p.a.peer, p.now);
	wgpair_pump(&p);
	assert_int_equal(k.n, 1);
	wgpair_inject(&p, &p.a, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	wg_peer_get_info(p.a.dev, p.a.peer, p.now, &info);
	assert_int_equal(info.rx_bytes, 64); /* it was taken */
	assert_true(at_endpoint(&p.a, &p.b.ep));
	/* Only once, and only unchanged. */
	wgpair_inject(&p, &p.a, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	wg_peer_get_info(p.a.dev, p.a.peer, p.now, &info);
	assert_int_equal(info.rx_bytes, 64);
	free(k.msgs);
	wgpair_fini(&p);
}

static void a_replay_or_a_forgery_moves_nobody(void **state)
{
	struct wgpair p;
	struct kept k;
	struct endpoint elsewhere = stranger(6);

	wgpair_init(&p, 32);
	wgpair_connect(&p);
	kept_init(&p, &k, 1, WG_MSG_DATA, true);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	wgpair_inject(&p, &p.b, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	assert_int_equal(peer_of(&p.b)->n_replayed, 1);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	put_le64(k.msgs[0].b + 8, 1000);
	wgpair_inject(&p, &p.b, &elsewhere, k.msgs[0].b, k.msgs[0].len);
	assert_int_equal(peer_of(&p.b)->n_auth_failed, 1);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	free(k.msgs);
	wgpair_fini(&p);
}

static void any_authentic_message_moves_the_endpoint(void **state)
{
	struct wgpair p;
	uint8_t msg[64];

	wgpair_init(&p, 33);
	wgpair_connect(&p);
	p.a.ep.port = 1111; /* data */
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	p.a.ep = stranger(2222); /* a keepalive */
	wgpair_inject(&p, &p.b, &p.a.ep, msg, forge_data(&p.a, 50, NULL, 0, msg));
	assert_true(at_endpoint(&p.b, &p.a.ep));
	p.a.ep.ip = (struct ip_addr){ IP_V6, { 0x20, 1, 0xd, 0xb8, [15] = 7 } }; /* an initiation, other family */
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	wg_peer_rehandshake(p.a.dev, p.a.peer, p.now);
	p.b.ep.port = 3333; /* and its response */
	wgpair_pump(&p);
	assert_true(at_endpoint(&p.b, &p.a.ep));
	assert_true(at_endpoint(&p.a, &p.b.ep));
	wgpair_send(&p, &p.b, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_rx, 1);
	wgpair_fini(&p);
}

/* ---- time ---- */

static void idle_packets_are_counted_exactly(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 40);
	wgpair_connect(&p);
	p.a.n_tx = p.b.n_tx = 0;
	wgpair_run(&p, 600 * NSEC_PER_SEC);
	assert_int_equal(p.a.n_tx + p.b.n_tx, 0);
	wgpair_fini(&p);

	/* A sender whose traffic is answered owes nothing: the answer is the keepalive. */
	wgpair_init(&p, 41);
	wgpair_connect(&p);
	p.a.n_tx = p.b.n_tx = 0;
	for (int i = 0; i < 100; i++) {
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_send(&p, &p.b, 84, NULL);
		wgpair_run(&p, NSEC_PER_SEC);
	}
	assert_int_equal(p.a.n_tx, 100);
	assert_int_equal(p.b.n_tx, 100);
	wgpair_run(&p, 30 * NSEC_PER_SEC);
	/* The last packets crossed; each side had just sent when the other's came, or owes one empty message. */
	assert_true(p.a.n_keepalive + p.b.n_keepalive <= 1 + 2);
	assert_int_equal(p.a.n_tx + p.b.n_tx - p.a.n_init - p.b.n_init - p.a.n_resp - p.b.n_resp - 200,
			 p.a.n_keepalive + p.b.n_keepalive - 1 - (p.a.n_init ? 2 : 0));
	wgpair_fini(&p);
}

static void persistent_keepalive_keeps_its_pace(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 42);
	wgpair_connect(&p);
	wg_peer_set_keepalive(p.a.dev, p.a.peer, 25, p.now);
	wgpair_pump(&p);
	p.a.n_tx = p.b.n_tx = p.a.n_keepalive = 0;
	wgpair_run(&p, 100 * NSEC_PER_SEC);
	assert_int_equal(p.a.n_keepalive, 4);
	assert_int_equal(p.a.n_tx, 4);
	assert_int_equal(p.b.n_tx, 0);
	/* While data flows there is nothing to keep alive. */
	p.a.n_keepalive = 0;
	for (int i = 0; i < 10; i++) {
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_run(&p, NSEC_PER_SEC);
	}
	assert_int_equal(p.a.n_keepalive, 0);
	wgpair_fini(&p);
}

/* A NAT may go by outbound packets alone: what the other sends must not silence us (sim seed 17952588549002). */
static void persistent_keepalives_of_both_sides_are_sent(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 43);
	wgpair_connect(&p);
	wg_peer_set_keepalive(p.a.dev, p.a.peer, 25, p.now);
	wgpair_pump(&p);
	wgpair_run(&p, NSEC_PER_SEC);
	wg_peer_set_keepalive(p.b.dev, p.b.peer, 25, p.now);
	wgpair_pump(&p);
	p.a.n_keepalive = p.b.n_keepalive = 0;
	wgpair_run(&p, 100 * NSEC_PER_SEC);
	assert_int_equal(p.a.n_keepalive, 4);
	assert_int_equal(p.b.n_keepalive, 4);
	wgpair_fini(&p);
}

static void late_responses_are_taken(void **state)
{
	static const nsec_t late[] = { 300 * NSEC_PER_MSEC, 2 * NSEC_PER_SEC, 4900 * NSEC_PER_MSEC };

	for (size_t i = 0; i < ARRAY_SIZE(late); i++) {
		struct wgpair p;
		struct kept k;

		wgpair_init(&p, 43);
		kept_init(&p, &k, 4, WG_MSG_RESPONSE, false);
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_run(&p, late[i]);
		assert_int_equal(k.n, 1);
		p.wire = NULL;
		release(&p, &k, 0);
		wgpair_pump(&p);
		assert_int_equal(p.a.n_init, 1);
		assert_int_equal(p.b.n_rx, 1);
		free(k.msgs);
		wgpair_fini(&p);
	}
}

/* Retries have jitter: two devices that began together do not stay together. */
static void retries_are_spread(void **state)
{
	nsec_t at[32], least = NSEC_NEVER, most = 0;

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		struct wgpair p;

		wgpair_init(&p, 100 + i);
		wg_peer_connect(p.a.dev, p.a.peer, p.now);
		at[i] = wg_device_deadline(p.a.dev) - p.now;
		assert_in_range(at[i], WG_REKEY_TIMEOUT, WG_REKEY_TIMEOUT + WG_REKEY_JITTER_MAX - 1);
		least = MIN(least, at[i]);
		most = MAX(most, at[i]);
		wgpair_fini(&p);
	}
	assert_true(most - least > WG_REKEY_JITTER_MAX / 2);
}

static void send_both_ways(struct wgpair *p)
{
	uint32_t a = p->a.n_rx, b = p->b.n_rx;

	wgpair_send(p, &p->a, 84, NULL);
	wgpair_run(p, 6 * NSEC_PER_SEC);
	wgpair_send(p, &p->b, 84, NULL);
	wgpair_run(p, 6 * NSEC_PER_SEC);
	assert_int_equal(p->a.n_rx, a + 1);
	assert_int_equal(p->b.n_rx, b + 1);
}

static void a_clock_that_jumps_does_no_lasting_harm(void **state)
{
	static const int64_t jumps_s[] = { -1, -3600, 7 * 86400, -7 * 86400, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(jumps_s); i++) {
		struct wgpair p;

		/* the monotonic one */
		wgpair_init(&p, 44);
		p.now += 30 * 86400 * NSEC_PER_SEC;
		wgpair_connect(&p);
		send_both_ways(&p);
		p.now += (uint64_t)(jumps_s[i] * (int64_t)NSEC_PER_SEC);
		send_both_ways(&p);
		wgpair_fini(&p);
		/* the wall's */
		wgpair_init(&p, 45);
		wgpair_connect(&p);
		p.wall += (uint64_t)(jumps_s[i] * (int64_t)NSEC_PER_SEC);
		wg_device_set_wall(p.a.dev, p.now, p.wall);
		wg_device_set_wall(p.b.dev, p.now, p.wall);
		wgpair_run(&p, 200 * NSEC_PER_SEC);
		send_both_ways(&p);
		wgpair_fini(&p);
	}
}

/* CVE-2021-46873: a clock that was once set far ahead. The watermark goes on from there. */
static void a_clock_ten_years_ahead_and_back_locks_nobody_out(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 46);
	wg_device_set_wall(p.a.dev, p.now, p.wall + 3650ULL * 86400 * NSEC_PER_SEC);
	wgpair_connect(&p);
	wg_device_set_wall(p.a.dev, p.now, p.wall);
	for (int i = 0; i < 5; i++) {
		wgpair_run(&p, 200 * NSEC_PER_SEC);
		assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
		wgpair_connect(&p);
	}
	wgpair_run(&p, NSEC_PER_SEC);
	wgpair_restart(&p, &p.a, p.a.timestamp);
	wgpair_connect(&p);
	wgpair_fini(&p);
}

/* The wall clock belongs to the time that is told with it, not to that of the call before. */
static void a_silence_does_not_put_timestamps_ahead(void **state)
{
	struct wg_peer_info info;
	struct wgpair p;

	wgpair_init(&p, 47);
	p.now += 3600 * NSEC_PER_SEC;
	p.wall += 3600 * NSEC_PER_SEC;
	wg_device_set_wall(p.a.dev, p.now, p.wall);
	wg_device_set_wall(p.b.dev, p.now, p.wall);
	wgpair_connect(&p);
	assert_true(p.a.timestamp - p.wall < NSEC_PER_SEC);
	assert_true(wg_peer_get_info(p.b.dev, p.b.peer, p.now, &info));
	assert_true(info.last_timestamp - p.wall < NSEC_PER_SEC);
	assert_int_equal(info.last_handshake_wall, p.wall);
	wgpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_cannot_send_as_another),
		cmocka_unit_test(a_cookie_reply_moves_nobody),
		cmocka_unit_test(a_replay_or_a_forgery_moves_nobody),
		cmocka_unit_test(any_authentic_message_moves_the_endpoint),
		cmocka_unit_test(idle_packets_are_counted_exactly),
		cmocka_unit_test(persistent_keepalive_keeps_its_pace),
		cmocka_unit_test(persistent_keepalives_of_both_sides_are_sent),
		cmocka_unit_test(late_responses_are_taken),
		cmocka_unit_test(retries_are_spread),
		cmocka_unit_test(a_clock_that_jumps_does_no_lasting_harm),
		cmocka_unit_test(a_clock_ten_years_ahead_and_back_locks_nobody_out),
		cmocka_unit_test(a_silence_does_not_put_timestamps_ahead),
	};
	return RUN_TESTS(tests);
}
