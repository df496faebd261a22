/*
 * test/unit/wg/reliability_session_test.c - defects that other implementations of WireGuard have had, one named test each:
 * counters, keys, and when a session must end.
 *
 * Two devices on a virtual clock (test/lib/wgpair.h); what a test needs of a device's inside it reads through
 * wg/device_internal.h. What device_test.c proves already is not repeated.
 */
#include "test/lib/wghostile.h"

#include "base/endian.h"

/* ---- counters ---- */

static void session_ends_at_the_send_limit(void **state)
{
	struct wgpair p;
	struct wg_keypair *kp;

	wgpair_init(&p, 10);
	wgpair_connect(&p);
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	p.a.n_init = 0;
	kp = peer_of(&p.a)->current;
	kp->send_counter = WG_REKEY_AFTER_MESSAGES - 1;
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_OK);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_init, 0);
	p.wire = NULL;
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_OK);
	wgpair_pump(&p);
	assert_int_equal(p.a.n_init, 1);
	assert_int_equal(p.b.n_rx, 2);
	assert_ptr_not_equal(peer_of(&p.a)->current, kp);

	wgpair_run(&p, 6 * NSEC_PER_SEC);
	kp = peer_of(&p.a)->current;
	kp->send_counter = WG_REJECT_AFTER_MESSAGES - 1;
	/* The last one goes, and a new session is asked for with it; without it nothing goes. */
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_OK);
	assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	assert_int_equal(wgpair_send(&p, &p.a, 84, NULL), WG_SEND_STAGED);
	assert_int_equal(kp->send_counter, WG_REJECT_AFTER_MESSAGES);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 4);
	assert_true(peer_of(&p.a)->current->send_counter < 10);
	wgpair_fini(&p);
}

static void counters_beyond_the_limit_are_refused(void **state)
{
	static const uint64_t bad[] = { WG_REJECT_AFTER_MESSAGES, WG_REJECT_AFTER_MESSAGES + 1, UINT64_MAX - 1, UINT64_MAX };
	struct wgpair p;
	uint8_t msg[64];
	size_t len;

	wgpair_init(&p, 11);
	wgpair_connect(&p);
	/* Refused before it is opened and after: the window stands where it was. */
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		len = forge_data(&p.a, bad[i], NULL, 0, msg);
		wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
		assert_int_equal(peer_of(&p.b)->n_replayed, i + 1);
	}
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1);
	/* 64 bits of it count, not 32. */
	len = forge_data(&p.a, 1ULL << 32, NULL, 0, msg);
	wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
	len = forge_data(&p.a, WG_REJECT_AFTER_MESSAGES - 1, NULL, 0, msg);
	wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
	assert_int_equal(peer_of(&p.b)->n_replayed, ARRAY_SIZE(bad));
	assert_int_equal(peer_of(&p.b)->n_auth_failed, 0);
	wgpair_fini(&p);
}

static void reordered_by_4000_nothing_is_lost(void **state)
{
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 12);
	wgpair_connect(&p);
	kept_init(&p, &k, 4001, WG_MSG_DATA, false);
	for (int i = 0; i < 4001; i++)
		assert_int_equal(wgpair_send(&p, &p.a, 40, NULL), WG_SEND_OK);
	wgpair_pump(&p);
	assert_int_equal(k.n, 4001);
	release(&p, &k, 4000);
	for (size_t i = 0; i < 4000; i++)
		release(&p, &k, i);
	assert_int_equal(p.b.n_rx, 4001);
	for (size_t i = 0; i <= 4000; i++)
		release(&p, &k, i);
	assert_int_equal(p.b.n_rx, 4001);
	assert_int_equal(peer_of(&p.b)->n_replayed, 4001);
	free(k.msgs);
	wgpair_fini(&p);
}

/* Whatever was recorded, sent again later from elsewhere: no packet, no session, no roaming. */
static void recorded_messages_do_nothing(void **state)
{
	static const unsigned after[] = { 0, 1, 118, 62, 400 };
	struct endpoint elsewhere = stranger(4000);
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 13);
	kept_init(&p, &k, 100, 0, true);
	wgpair_connect(&p);
	for (int i = 0; i < 10; i++) {
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_send(&p, &p.b, 84, NULL);
		wgpair_pump(&p);
	}
	p.wire = NULL;
	for (size_t t = 0; t < ARRAY_SIZE(after); t++) {
		wgpair_run(&p, after[t] * NSEC_PER_SEC);
		for (size_t i = 0; i < k.n; i++) {
			wgpair_inject(&p, &p.a, &elsewhere, k.msgs[i].b, k.msgs[i].len);
			wgpair_inject(&p, &p.b, &elsewhere, k.msgs[i].b, k.msgs[i].len);
		}
		assert_true(at_endpoint(&p.a, &p.b.ep) && at_endpoint(&p.b, &p.a.ep));
		assert_int_equal(p.a.n_rx, 10);
		assert_int_equal(p.b.n_rx, 10);
		wgpair_pump(&p);
	}
	free(k.msgs);
	wgpair_fini(&p);
}

/* ---- keys ---- */

static void points_of_low_order_give_no_session(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};

	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		struct wgpair p;
		struct wg_public_key key;
		struct wg_msg_initiation msg;
		wg_peer_id id;

		wgpair_init(&p, 60);
		assert_int_equal(hex_decode(points[i], key.b, KEY_LEN), OK);
		assert_false(wg_public_key_is_valid(&key));
		assert_int_equal(wg_peer_add(p.a.dev, &key, p.now, &id), OK);
		wg_peer_set_endpoint(p.a.dev, id, &p.b.ep, p.now);
		wg_peer_connect(p.a.dev, id, p.now);
		wg_peer_set_keepalive(p.a.dev, id, 1, p.now);
		wgpair_run(&p, 20 * NSEC_PER_SEC);
		assert_int_equal(p.a.n_tx, 0);
		/* As the ephemeral of a message to us, with a good MAC1. */
		forge_initiation(&p, &p.b, &msg);
		memcpy(msg.ephemeral, key.b, KEY_LEN);
		wg_cookie_sign(&peer_of(&p.a)->cookie, p.now, (uint8_t *)&msg, sizeof(msg));
		wgpair_inject(&p, &p.b, &p.a.ep, &msg, sizeof(msg));
		wgpair_pump(&p);
		assert_int_equal(p.b.n_tx, 0);
		wgpair_fini(&p);
	}
}

static void our_own_key_is_no_peer(void **state)
{
	struct wgpair p;
	wg_peer_id id;

	wgpair_init(&p, 61);
	assert_int_equal(wg_peer_add(p.a.dev, &p.a.pub, p.now, &id), ERR_INVALID);
	/* a takes b's key: the peer b is itself then, and goes. */
	wg_device_set_private(p.a.dev, &p.b.priv, p.now);
	assert_int_equal(wg_peer_find(p.a.dev, &p.b.pub), 0);
	assert_int_equal(wg_peer_next(p.a.dev, 0), 0);
	wgpair_fini(&p);
}

/* A change of our key ends every session at once, and the new one works within a second. */
static void a_new_private_key_ends_the_old_sessions(void **state)
{
	struct wgpair p;
	struct ip_prefix allowed;
	struct wg_private_key priv;

	wgpair_init(&p, 62);
	wgpair_connect(&p);
	wg_generate_private(&p.rng.rng, &priv);
	wg_device_set_private(p.a.dev, &priv, p.now);
	assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	wg_peer_remove(p.b.dev, p.b.peer);
	assert_int_equal(wg_peer_add(p.b.dev, wg_device_public(p.a.dev), p.now, &p.b.peer), OK);
	allowed = (struct ip_prefix){ p.a.inner, 32 };
	assert_int_equal(wg_peer_allow(p.b.dev, p.b.peer, &allowed), OK);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_run(&p, NSEC_PER_SEC);
	assert_int_equal(p.b.n_rx, 1);
	wgpair_fini(&p);
}

/*
 * Memory that is given back is searched for every secret that was alive, by a free() of our own in front of the
 * C library's. Under ASan, which has its own, only the structs are looked at.
 */
#define N_SECRETS 256
static uint8_t secrets[N_SECRETS][KEY_LEN];
static size_t n_secrets, n_leaks;

static bool has_secret(const void *p, size_t len)
{
	for (size_t i = 0; i < n_secrets; i++)
		if (memmem(p, len, secrets[i], KEY_LEN))
			return true;
	return false;
}

static void watch(const uint8_t key[KEY_LEN])
{
	static const uint8_t zero[KEY_LEN];

	if (memcmp(key, zero, KEY_LEN) == 0 || has_secret(key, KEY_LEN))
		return;
	assert_true(n_secrets < N_SECRETS);
	memcpy(secrets[n_secrets++], key, KEY_LEN);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#include <malloc.h>
#define SEES_FREE true
extern void __libc_free(void *p);

void free(void *p)
{
	if (p && n_secrets > 0 && has_secret(p, malloc_usable_size(p)))
		n_leaks++;
	__libc_free(p);
}
#else
#define SEES_FREE false
#endif

static void watch_peer(struct wgside *s)
{
	struct wg_peer *peer = peer_of(s);
	struct wg_keypair *all[] = { peer->current, peer->previous, peer->next };

	watch(peer->psk.b);
	watch(peer->handshake.chaining);
	watch(peer->handshake.key);
	watch(peer->handshake.ephemeral_priv);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (!all[i])
			continue;
		watch(all[i]->keys.send);
		watch(all[i]->keys.recv);
	}
}

static void the_search_finds_what_is_there(void **state)
{
	uint8_t *block = calloc(1, 200);

	memset(secrets[0], 0x5a, KEY_LEN);
	n_secrets = 1;
	memset(block + 77, 0x5a, KEY_LEN);
	assert_true(has_secret(block, 200));
	free(block);
	assert_int_equal(n_leaks, SEES_FREE);
	n_leaks = n_secrets = 0;
}

static void keys_do_not_stay_in_freed_memory(void **state)
{
	static struct wgpair p;
	struct wg_psk psk = { { 1, 2, 3, [31] = 4 } };

	wgpair_init(&p, 63);
	wg_peer_set_psk(p.a.dev, p.a.peer, &psk);
	wg_peer_set_psk(p.b.dev, p.b.peer, &psk);
	wgpair_connect(&p);
	watch_peer(&p.a);
	watch_peer(&p.b);
	for (int i = 0; i < 4; i++) {
		wgpair_run(&p, 6 * NSEC_PER_SEC);
		wg_peer_rehandshake(p.a.dev, p.a.peer, p.now);
		watch_peer(&p.a);
		wgpair_send(&p, &p.a, 84, NULL);
		wgpair_pump(&p);
		watch_peer(&p.a);
		watch_peer(&p.b);
	}
	/* An initiation under way, and a run that waits with its key. */
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	wgpair_send(&p, &p.a, 84, NULL);
	wg_peer_rehandshake(p.a.dev, p.a.peer, p.now);
	watch_peer(&p.a);
	watch(p.a.priv.b);
	watch(p.b.priv.b);
	watch(p.b.dev->checker.secret);
	assert_true(n_secrets >= 20);
	wg_device_free(p.a.dev);
	wg_device_free(p.b.dev);
	pktpool_free(p.pool);
	n_secrets = 0;
	assert_int_equal(n_leaks, 0);
}

/* 540 s without a new session: nothing in the peer can open what was recorded. */
static void keys_go_after_three_times_the_lifetime(void **state)
{
	struct wgpair p;
	struct wg_peer *peer;

	wgpair_init(&p, 64);
	wgpair_connect(&p);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	watch_peer(&p.a);
	p.wire = NULL;
	wgpair_run(&p, 541 * NSEC_PER_SEC);
	peer = peer_of(&p.a);
	assert_null(peer->current);
	assert_null(peer->previous);
	assert_null(peer->next);
	assert_false(has_secret(peer, sizeof(*peer)));
	assert_false(has_secret(p.a.dev, sizeof(*p.a.dev)));
	list_for_each(it, &p.a.dev->free_runs)
		assert_false(has_secret(container_of(it, struct wg_run, link), sizeof(struct wg_run)));
	assert_int_equal(n_leaks, 0);
	n_secrets = 0;
	wgpair_fini(&p);
}

/* A peer that gives two sessions the same index: what waits for the socket is sealed with each one's own key. */
static void sessions_of_one_remote_index_are_kept_apart(void **state)
{
	struct wgpair p;
	struct kept k;
	struct wg_keypair second, *first;
	uint8_t plain[128];
	struct wg_aead_job job;

	wgpair_init(&p, 65);
	p.unwatched = true; /* to which two sessions of one index are one */
	wgpair_connect(&p);
	wgpair_run(&p, 6 * NSEC_PER_SEC);
	wgpair_send(&p, &p.a, 84, NULL); /* waits, under the first session */
	kept_init(&p, &k, 8, WG_MSG_DATA, true);
	first = peer_of(&p.a)->current;
	second = *first;
	memset(second.keys.send, 0x77, KEY_LEN);
	second.send_counter = 0;
	peer_of(&p.a)->current = &second;
	wgpair_send(&p, &p.a, 84, NULL);
	peer_of(&p.a)->current = first;
	wgpair_pump(&p);
	assert_int_equal(k.n, 2);
	job = (struct wg_aead_job){ .key = second.keys.send, .src = k.msgs[1].b + 16, .dst = plain,
				    .len = k.msgs[1].len - 16 };
	assert_int_equal(get_le64(k.msgs[1].b + 8), 0);
	wg_aead_find(NULL)->open(&job, 1, 0);
	assert_true(job.ok);
	free(k.msgs);
	wgpair_fini(&p);
}

/* Short-lived processes with one key, each with a handshake of its own: dropping one of these cost its command 5 s. */
static void restarts_within_milliseconds_are_answered_but_not_a_thousand(void **state)
{
	struct wgpair p;

	wgpair_init(&p, 77);
	for (int i = 0; i < 8; i++) {
		wgpair_restart(&p, &p.a, p.a.timestamp);
		wg_peer_connect(p.a.dev, p.a.peer, p.now);
		wgpair_run(&p, 5 * NSEC_PER_MSEC);
		assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
	}
	wgpair_run(&p, NSEC_PER_SEC);
	p.b.n_resp = 0;
	for (int i = 0; i < 1000; i++) {
		wgpair_restart(&p, &p.a, p.a.timestamp);
		wg_peer_connect(p.a.dev, p.a.peer, p.now);
		wgpair_run(&p, NSEC_PER_MSEC);
	}
	assert_in_range(p.b.n_resp, 50, 60);
	wgpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(session_ends_at_the_send_limit),
		cmocka_unit_test(counters_beyond_the_limit_are_refused),
		cmocka_unit_test(reordered_by_4000_nothing_is_lost),
		cmocka_unit_test(recorded_messages_do_nothing),
		cmocka_unit_test(points_of_low_order_give_no_session),
		cmocka_unit_test(our_own_key_is_no_peer),
		cmocka_unit_test(a_new_private_key_ends_the_old_sessions),
		cmocka_unit_test(the_search_finds_what_is_there),
		cmocka_unit_test(keys_do_not_stay_in_freed_memory),
		cmocka_unit_test(keys_go_after_three_times_the_lifetime),
		cmocka_unit_test(sessions_of_one_remote_index_are_kept_apart),
		cmocka_unit_test(restarts_within_milliseconds_are_answered_but_not_a_thousand),
	};
	return RUN_TESTS(tests);
}
