/*
 * test/unit/wg/reliability_datagram_test.c - defects that other implementations of WireGuard have had, one named test each:
 * what stands in a datagram: lengths, indices, padding.
 *
 * Two devices on a virtual clock (test/lib/wgpair.h); what a test needs of a device's inside it reads through
 * wg/device_internal.h. What device_test.c proves already is not repeated.
 */
#include "test/lib/wghostile.h"

#include "base/endian.h"

/* ---- datagrams ---- */

/* With the index of a live session, so that the cipher is reached; each in a block of its exact size. */
static void random_datagrams_of_any_length_are_refused(void **state)
{
	struct wgpair p;
	uint32_t index;

	wgpair_init(&p, 20);
	wgpair_connect(&p);
	index = peer_of(&p.b)->current->local_index;
	for (size_t len = 1; len <= 65535; len += 1 + len / 500) {
		uint8_t *msg = malloc(len);

		assert_non_null(msg);
		rng_bytes(&p.rng.rng, msg, len);
		if (len >= 8) {
			put_le32(msg, WG_MSG_DATA);
			put_le32(msg + 4, index);
		}
		wgpair_inject(&p, &p.b, &p.a.ep, msg, len);
		free(msg);
	}
	assert_int_equal(p.b.n_rx, 0);
	assert_true(peer_of(&p.b)->n_auth_failed > 500);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	assert_int_equal(p.b.n_rx, 1);
	wgpair_fini(&p);
}

/* Sealed by a peer that has the keys: longer than any buffer of ours, or with lengths inside that lie. */
static void authentic_oversize_is_refused(void **state)
{
	static const size_t lens[] = { PKTBUF_DATA - 1, PKTBUF_DATA, PKTBUF_DATA + 1, 4096, 65535 - WG_DATA_OVERHEAD };
	static uint8_t plain[65536], msg[65536];
	struct wgpair p;
	uint64_t counter = 100;

	wgpair_init(&p, 21);
	wgpair_connect(&p);
	plain[0] = 0x45;
	memcpy(plain + 12, p.a.inner.b, 4);
	memcpy(plain + 16, p.b.inner.b, 4);
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		uint32_t before = p.b.n_rx;

		put_be16(plain + 2, (uint16_t)lens[i]);
		wgpair_inject(&p, &p.b, &p.a.ep, msg, forge_data(&p.a, counter++, plain, lens[i], msg));
		assert_int_equal(p.b.n_rx - before, lens[i] <= PKTBUF_DATA);
	}
	p.b.n_rx = 0;
	for (size_t said = 0; said < 65536; said += 1 + said / 16) {
		put_be16(plain + 2, (uint16_t)said);
		wgpair_inject(&p, &p.b, &p.a.ep, msg, forge_data(&p.a, counter++, plain, 100, msg));
		assert_true(p.b.last_len <= PKTBUF_DATA);
		assert_int_equal(p.b.n_rx, said >= 20 && said <= 100);
		p.b.n_rx = 0;
	}
	wgpair_fini(&p);
}

static bool cut_or_flip(struct wgpair *p, struct wgside *from, uint8_t *msg, size_t *len, void *ctx)
{
	int *at = ctx; /* below 4096: flip this byte; from there: cut to this length */

	if (msg[0] != WG_MSG_RESPONSE)
		return true;
	if (*at >= 4096)
		*len = (size_t)*at - 4096;
	else
		msg[*at] ^= 0x40;
	return true;
}

static void every_byte_of_the_response_counts(void **state)
{
	for (int at = 0; at < 4096 + 92; at = at == 75 ? 4096 : at + 1) {
		struct wgpair p;

		wgpair_init(&p, 22);
		p.wire = cut_or_flip;
		p.wire_ctx = &at;
		wg_peer_connect(p.a.dev, p.a.peer, p.now);
		wgpair_pump(&p);
		/* Bytes 4 to 7, the sender's index, are behind MAC1 alone, which the flip breaks. */
		assert_false(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
		/* It is as it was: the true one still counts. */
		p.wire = NULL;
		wgpair_run(&p, 6 * NSEC_PER_SEC);
		assert_true(wg_peer_is_up(p.a.dev, p.a.peer, p.now));
		wgpair_fini(&p);
	}
}

static void every_byte_of_data_counts(void **state)
{
	struct wgpair p;
	struct kept k;

	wgpair_init(&p, 23);
	wgpair_connect(&p);
	kept_init(&p, &k, 1, WG_MSG_DATA, false);
	wgpair_send(&p, &p.a, 84, NULL);
	wgpair_pump(&p);
	for (size_t i = 0; i < k.msgs[0].len * 8; i++) {
		k.msgs[0].b[i / 8] ^= (uint8_t)(1 << i % 8);
		release(&p, &k, 0);
		k.msgs[0].b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t len = k.msgs[0].len; k.msgs[0].len-- > 0;) {
		assert_true(k.msgs[0].len < len);
		release(&p, &k, 0);
	}
	assert_int_equal(p.b.n_rx, 0);
	k.msgs[0].len = 96 + WG_DATA_OVERHEAD;
	release(&p, &k, 0);
	assert_int_equal(p.b.n_rx, 1);
	free(k.msgs);
	wgpair_fini(&p);
}

/* ---- indices, padding, MTU ---- */

static void indices_are_random_and_never_twice_alive(void **state)
{
	enum { N = 20000 };
	static uint32_t all[N];
	struct wgpair p;
	unsigned ones[32] = { 0 }, steps = 0;

	wgpair_init(&p, 50);
	for (int i = 0; i < N; i++) {
		struct wg_index_entry *e;

		assert_int_equal(wg_index_new(p.a.dev, peer_of(&p.a), NULL, &all[i]), OK);
		assert_int_not_equal(all[i], 0);
		e = wg_index_find(p.a.dev, all[i]);
		assert_true(e && e->index == all[i]);
		for (int bit = 0; bit < 32; bit++)
			ones[bit] += all[i] >> bit & 1;
		steps += i > 0 && all[i] - all[i - 1] < 1u << 24;
	}
	/* Five standard deviations of a fair coin; and no walk in small steps. */
	for (int bit = 0; bit < 32; bit++)
		assert_in_range(ones[bit], N / 2 - 354, N / 2 + 354);
	assert_true(steps < N / 256 * 2);
	/* Every other one goes: the rest is still found, the gone are not. */
	for (int i = 0; i < N; i += 2)
		wg_index_drop(p.a.dev, all[i]);
	for (int i = 0; i < N; i++)
		assert_int_equal(wg_index_find(p.a.dev, all[i]) != NULL, i % 2);
	for (int i = 1; i < N; i += 2)
		wg_index_drop(p.a.dev, all[i]);
	assert_int_equal(p.a.dev->indices.n, 0);
	wgpair_fini(&p);
}

/* A source that repeats itself: 0, then each value twice. */
static void repeat_fill(struct rng *rng, void *buf, size_t len)
{
	static uint32_t n;
	uint32_t v = n++ / 2 % 1000;

	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(v >> (i % 4 * 8));
}

static void a_bad_random_source_gives_no_index_twice(void **state)
{
	struct rng rng = { repeat_fill };
	struct wgpair p;
	uint32_t a, b;

	wgpair_init(&p, 51);
	p.a.dev->cfg.rng = &rng;
	for (int i = 0; i < 400; i++) {
		assert_int_equal(wg_index_new(p.a.dev, peer_of(&p.a), NULL, &a), OK);
		assert_int_equal(wg_index_new(p.a.dev, peer_of(&p.a), NULL, &b), OK);
		assert_true(a != 0 && b != 0 && a != b);
	}
	assert_int_equal(p.a.dev->indices.n, 800);
	p.a.dev->cfg.rng = &p.rng.rng;
	wgpair_fini(&p);
}

static void padding_is_zero(void **state)
{
	struct wgpair p;
	struct wg_tx tx;
	uint8_t plain[2048], key[KEY_LEN];

	wgpair_init(&p, 52);
	wgpair_connect(&p);
	memcpy(key, peer_of(&p.a)->current->keys.send, KEY_LEN);
	for (size_t len = 20; len <= 100; len++) {
		struct wg_aead_job job = { .key = key, .dst = plain };

		wgpair_send(&p, &p.a, len, NULL);
		assert_true(wg_device_next_tx(p.a.dev, p.now, &tx));
		job.counter = get_le64(tx.p + 8);
		job.src = tx.p + 16;
		job.len = tx.len - 16;
		wg_aead_find(NULL)->open(&job, 1, 0);
		assert_true(job.ok);
		for (size_t i = len; i < job.len - WG_TAG_LEN; i++)
			assert_int_equal(plain[i], 0);
		wg_device_tx_done(p.a.dev);
	}
	wgpair_fini(&p);
}

static void extreme_mtus(void **state)
{
	static const struct { uint16_t mtu; bool ok; } rows[] = {
		{ 0, true }, { 1, false }, { 575, false }, { 576, true }, { 577, true }, { 1280, true }, { 1420, true },
		{ 1799, true }, { WG_MTU_MAX, true }, { WG_MTU_MAX + 1, false }, { 65535, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wgpair p;
		struct wg_config cfg;
		struct wg_device *dev;
		size_t mtu = rows[i].mtu ? rows[i].mtu : WG_MTU_DEFAULT;

		wgpair_init(&p, 53);
		cfg = (struct wg_config){ .pool = p.pool, .rng = &p.rng.rng, .mtu = rows[i].mtu };
		dev = wg_device_new(&cfg, p.now, p.wall);
		assert_int_equal(dev != NULL, rows[i].ok);
		wg_device_free(dev);
		if (rows[i].ok) {
			p.a.dev->cfg.mtu = p.b.dev->cfg.mtu = p.watch.mtu = (uint16_t)mtu;
			wgpair_connect(&p);
			assert_int_equal(wgpair_send(&p, &p.a, mtu + 1, NULL), WG_SEND_NO_ROUTE);
			for (size_t len = mtu - 17; len <= mtu; len++) {
				assert_int_equal(wgpair_send(&p, &p.a, len, NULL), WG_SEND_OK);
				wgpair_pump(&p);
				assert_int_equal(p.b.last_len, len);
			}
		}
		wgpair_fini(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_datagrams_of_any_length_are_refused),
		cmocka_unit_test(authentic_oversize_is_refused),
		cmocka_unit_test(every_byte_of_the_response_counts),
		cmocka_unit_test(every_byte_of_data_counts),
		cmocka_unit_test(indices_are_random_and_never_twice_alive),
		cmocka_unit_test(a_bad_random_source_gives_no_index_twice),
		cmocka_unit_test(padding_is_zero),
		cmocka_unit_test(extreme_mtus),
	};
	return RUN_TESTS(tests);
}
