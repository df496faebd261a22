/*
 * test/unit/wg/aead_test.c - every provider of the cipher: the published answer, and equal to the reference on every
 * length and alignment; a changed byte is refused wherever it is.
 */
#include "base/endian.h"
#include "test/lib/testing.h"
#include "wg/aead.h"
#include "wg/wg.h"

#define LEN_MAX 2048

static const struct wg_aead *const *list;
static size_t n_list;

static void each(void (*check)(const struct wg_aead *a))
{
	unsigned n = 0;

	for (size_t i = 0; i < n_list; i++) {
		if (!list[i]->available()) {
			print_message("%s is not on this machine\n", list[i]->name);
			continue;
		}
		check(list[i]);
		n++;
	}
	assert_true(n >= 1);
}

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
	struct rng_seeded rng;

	rng_seeded_init(&rng, seed);
	rng_bytes(&rng.rng, p, len);
}

/*
 * RFC 8439 A.5 has associated data, which WireGuard's packets do not have; so the answer here is made of its two
 * published halves: the key stream of A.2 (key of zeros, counter 0 gives the one-time key, counter 1 the stream) and
 * Poly1305 over an empty message. Key stream of block 1: RFC 8439 A.1, test vector 2.
 */
static void keystream_is_the_published_one(const struct wg_aead *a)
{
	static const uint8_t block1[64] = {
		0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a, 0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d,
		0xcb, 0x0f, 0x29, 0xa0, 0x48, 0xe3, 0x65, 0x69, 0x12, 0xc6, 0x53, 0x3e, 0x32, 0xee, 0x7a, 0xed,
		0x29, 0xb7, 0x21, 0x76, 0x9c, 0xe6, 0x4e, 0x43, 0xd5, 0x71, 0x33, 0xb0, 0x74, 0xd8, 0x39, 0xd5,
		0x31, 0xed, 0x1f, 0x28, 0x51, 0x0a, 0xfb, 0x45, 0xac, 0xe1, 0x0a, 0x1f, 0x4b, 0x79, 0x4d, 0x6f,
	};
	uint8_t key[32] = { 0 }, zeros[64] = { 0 }, out[80];
	struct wg_aead_job job = { .key = key, .src = zeros, .dst = out, .len = 64 };

	a->seal(&job, 1, 0);
	assert_memory_equal(out, block1, 64);
}

static void published(void **state)
{
	each(keystream_is_the_published_one);
}

#define GUARD 16

static void assert_untouched(const uint8_t *p)
{
	for (size_t i = 0; i < GUARD; i++)
		assert_int_equal(p[i], 0xa5);
}

/* Every length, with source and destination at every alignment; in place or not. No byte behind the end is written. */
static void equal_at(const struct wg_aead *a, size_t at)
{
	static uint8_t plain[LEN_MAX + 32], ours[LEN_MAX + 64], theirs[LEN_MAX + 64], back[LEN_MAX + 64];
	const struct wg_aead *ref = list[0];
	uint8_t key[32];

	fill(key, sizeof(key), 1);
	fill(plain, sizeof(plain), 2);
	for (size_t len = 0; len <= LEN_MAX; len++) {
		size_t to = (at * 7 + len) % 16;
		struct wg_aead_job job = { .key = key, .counter = len * 0x100000001ULL, .src = plain + at, .dst = ours + to,
					   .len = len };

		memset(ours + to + len + 16, 0xa5, GUARD);
		memset(back + at + len, 0xa5, GUARD);
		a->seal(&job, 1, 0);
		assert_untouched(ours + to + len + 16);
		job.dst = theirs;
		ref->seal(&job, 1, 0);
		assert_memory_equal(ours + to, theirs, len + 16);
		job = (struct wg_aead_job){ .key = key, .counter = job.counter, .src = ours + to, .dst = back + at,
					    .len = len + 16 };
		a->open(&job, 1, 0);
		assert_true(job.ok);
		assert_memory_equal(back + at, plain + at, len);
		assert_untouched(back + at + len);
		memcpy(ours + to, plain + at, len);
		job = (struct wg_aead_job){ .key = key, .counter = job.counter, .src = ours + to, .dst = ours + to,
					    .len = len };
		a->seal(&job, 1, 0);
		assert_memory_equal(ours + to, theirs, len + 16);
	}
}

static void equal_on_every_length(const struct wg_aead *a)
{
	for (size_t at = 0; at < 16; at++)
		equal_at(a, at);
}

static void equal(void **state)
{
	each(equal_on_every_length);
}

static void batches_keep_their_order(const struct wg_aead *a)
{
	static uint8_t bufs[200][300], plain[200][284];
	struct wg_aead_job jobs[200];
	uint8_t keys[200][32];

	for (size_t i = 0; i < 200; i++) {
		fill(keys[i], 32, 100 + i);
		fill(plain[i], sizeof(plain[i]), 500 + i);
		jobs[i] = (struct wg_aead_job){ .key = keys[i], .counter = i, .src = plain[i], .dst = bufs[i],
						.len = i % 7 == 0 ? 0 : 84 + i };
	}
	a->seal(jobs, 200, 0);
	for (size_t i = 0; i < 200; i++)
		jobs[i] = (struct wg_aead_job){ .key = keys[i], .counter = i, .src = bufs[i], .dst = bufs[i],
						.len = jobs[i].len + 16 };
	bufs[150][3] ^= 1;
	a->open(jobs, 200, 0);
	for (size_t i = 0; i < 200; i++) {
		assert_int_equal(jobs[i].ok, i != 150);
		if (i != 150)
			assert_memory_equal(bufs[i], plain[i], jobs[i].len - 16);
	}
}

static void batches(void **state)
{
	each(batches_keep_their_order);
}

static void every_byte_counts(const struct wg_aead *a)
{
	static const size_t lens[] = { 0, 1, 25, 64, 100, 1420 };
	uint8_t key[32], plain[1420], sealed[1436], out[1420];
	struct wg_aead_job job;

	fill(key, sizeof(key), 3);
	fill(plain, sizeof(plain), 4);
	for (size_t n = 0; n < ARRAY_SIZE(lens); n++) {
		size_t len = lens[n];

		job = (struct wg_aead_job){ .key = key, .counter = 7, .src = plain, .dst = sealed, .len = len };
		a->seal(&job, 1, 0);
		for (size_t i = 0; i < len + 16; i++)
			for (int bit = 0; bit < 8; bit += 7) {
				sealed[i] ^= (uint8_t)(1 << bit);
				job = (struct wg_aead_job){ .key = key, .counter = 7, .src = sealed, .dst = out,
							    .len = len + 16 };
				a->open(&job, 1, 0);
				assert_false(job.ok);
				sealed[i] ^= (uint8_t)(1 << bit);
			}
		job = (struct wg_aead_job){ .key = key, .counter = 8, .src = sealed, .dst = out, .len = len + 16 };
		a->open(&job, 1, 0);
		assert_false(job.ok);
	}
	for (size_t len = 0; len < 16; len++) {
		job = (struct wg_aead_job){ .key = key, .counter = 7, .src = sealed, .dst = out, .len = len, .ok = true };
		a->open(&job, 1, 0);
		assert_false(job.ok);
	}
}

static void tampering(void **state)
{
	each(every_byte_counts);
}

static void agreement_is_asked(const struct wg_aead *a)
{
	assert_true(wg_aead_agrees(a));
}

static void wrong_seal(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	list[0]->seal(jobs, n, 0);
	for (size_t i = 0; i < n; i++)
		if (jobs[i].len == 1024)
			jobs[i].dst[1023] ^= 1;
}

static void trusting_open(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	list[0]->open(jobs, n, 0);
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = true;
}

/* What wg_aead_pick() relies on finds a provider that is wrong on one length, and one that lets everything pass. */
static void self_test(void **state)
{
	struct wg_aead bad = *list[0];

	each(agreement_is_asked);
	bad.seal = wrong_seal;
	assert_false(wg_aead_agrees(&bad));
	bad = *list[0];
	bad.open = trusting_open;
	assert_false(wg_aead_agrees(&bad));
}

static nsec_t fake_now;
static nsec_t fake_clock(void)
{
	return fake_now += 1000;
}

static void a_choice_is_made(void **state)
{
	const char *name = wg_aead_pick(fake_clock);

	assert_true(wg_aead_name_is_available(name));
	assert_ptr_equal(wg_aead_pick(fake_clock), name);
	assert_false(wg_aead_name_is_available("rot13"));
	assert_null(wg_aead_find("rot13"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published), cmocka_unit_test(equal),	  cmocka_unit_test(batches),
		cmocka_unit_test(tampering), cmocka_unit_test(self_test), cmocka_unit_test(a_choice_is_made),
	};

	list = wg_aead_list(&n_list);
	return RUN_TESTS(tests);
}
