/* X25519 by each provider beside the reference: the published chain, arbitrary and hostile points, batches of every size. */
#include <sodium.h>

#include "base/rng.h"
#include "test/lib/testing.h"
#include "wg/dh.h"

#define N_RANDOM 4000

static const struct wg_dh_provider *const *list;
static size_t n_list;

static const struct wg_dh_provider *now;

static void each(void (*fn)(void))
{
	for (size_t i = 0; i < n_list; i++) {
		now = list[i];
		if (now->available())
			fn();
		else
			printf("%s: not here\n", now->name);
	}
}

/* RFC 7748, 5.2: 1,000 times the result as the next scalar, the scalar as the next point. In each lane. */
static void chain(void)
{
	static const uint8_t after_1000[KEY_LEN] = { 0x68, 0x4c, 0xf5, 0x9b, 0xa8, 0x33, 0x09, 0x55, 0x28, 0x00, 0xef, 0x56, 0x6f, 0x2f, 0x4d, 0x3c,
						     0x1c, 0x38, 0x87, 0xc4, 0x93, 0x60, 0xe3, 0x87, 0x5f, 0x2e, 0xb9, 0x4d, 0x99, 0x53, 0x2c, 0x51 };
	uint8_t k[4][KEY_LEN] = { { 9 }, { 9 }, { 9 }, { 9 } }, u[4][KEY_LEN] = { { 9 }, { 9 }, { 9 }, { 9 } };

	for (int i = 0; i < 1000; i++) {
		struct wg_dh_job jobs[4];

		for (int lane = 0; lane < 4; lane++)
			jobs[lane] = (struct wg_dh_job){ .priv = k[lane], .pub = u[lane] };
		now->multiply(jobs, 4);
		for (int lane = 0; lane < 4; lane++) {
			memcpy(u[lane], k[lane], KEY_LEN);
			memcpy(k[lane], jobs[lane].out, KEY_LEN);
		}
	}
	for (int lane = 0; lane < 4; lane++)
		assert_memory_equal(k[lane], after_1000, KEY_LEN);
}

static void published(void **state)
{
	each(chain);
}

/* Around the borders of limbs, of p and of 2^255; low orders; or anything. */
static void some_point(struct rng *rng, uint8_t ret[KEY_LEN])
{
	rng_bytes(rng, ret, KEY_LEN);
	switch (rng_below(rng, 6)) {
	case 0:
		memset(ret, 0xff, KEY_LEN);
		ret[0] = (uint8_t)(0xff - rng_below(rng, 40));
		ret[31] = rng_below(rng, 2) ? 0x7f : 0xff;
		break;
	case 1:
		memset(ret + 1, 0, KEY_LEN - 1);
		ret[0] = (uint8_t)rng_below(rng, 20);
		break;
	case 2:
		for (size_t i = rng_below(rng, KEY_LEN), n = rng_below(rng, KEY_LEN); n > 0 && i < KEY_LEN; i++, n--)
			ret[i] = 0xff;
		break;
	case 3:
		for (size_t i = rng_below(rng, KEY_LEN), n = rng_below(rng, KEY_LEN); n > 0 && i < KEY_LEN; i++, n--)
			ret[i] = 0;
		break;
	}
}

static void random_jobs(void)
{
	uint8_t privs[9][KEY_LEN], pubs[9][KEY_LEN];
	struct rng_seeded rng;
	unsigned n_zero = 0;

	rng_seeded_init(&rng, 7);
	for (int i = 0; i < N_RANDOM; i++) {
		struct wg_dh_job jobs[9], ref;
		size_t n = 1 + rng_below(&rng.rng, 9);

		for (size_t k = 0; k < n; k++) {
			some_point(&rng.rng, privs[k]);
			some_point(&rng.rng, pubs[k]);
			jobs[k] = (struct wg_dh_job){ .priv = privs[k], .pub = rng_below(&rng.rng, 6) ? pubs[k] : NULL };
		}
		now->multiply(jobs, n);
		for (size_t k = 0; k < n; k++) {
			ref = jobs[k];
			list[0]->multiply(&ref, 1);
			n_zero += !ref.ok;
			if (ref.ok != jobs[k].ok || (ref.ok && memcmp(ref.out, jobs[k].out, KEY_LEN) != 0))
				fail_msg("%s: job %zu of %zu, round %d", now->name, k, n, i);
			if (!jobs[k].ok && now != list[0])
				assert_true(sodium_is_zero(jobs[k].out, KEY_LEN));
		}
	}
	printf("%s: %u all-zero results\n", now->name, n_zero);
	assert_true(n_zero > 10);
}

static void as_the_reference(void **state)
{
	each(random_jobs);
}

static void agreement(void)
{
	assert_true(wg_dh_agrees(now));
}

static void wrong_in_one_lane(struct wg_dh_job *jobs, size_t n)
{
	list[0]->multiply(jobs, n);
	if (n > 2)
		jobs[2].out[31] ^= 1;
}

static void trusting(struct wg_dh_job *jobs, size_t n)
{
	list[0]->multiply(jobs, n);
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = true;
}

/* What is relied on before a provider is used finds one that is wrong. */
static void self_test(void **state)
{
	struct wg_dh_provider bad = *list[0];

	each(agreement);
	bad.multiply = wrong_in_one_lane;
	assert_false(wg_dh_agrees(&bad));
	bad.multiply = trusting;
	assert_false(wg_dh_agrees(&bad));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published),
		cmocka_unit_test(as_the_reference),
		cmocka_unit_test(self_test),
	};

	if (sodium_init() < 0)
		return 1;
	list = wg_dh_list(&n_list);
	return RUN_TESTS(tests);
}
