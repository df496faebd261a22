/*
 * wg/dh_ifma.c - X25519 with AVX-512's 52-bit multiplication: four Montgomery ladders side by side, one a lane.
 *
 * The ladder is RFC 7748's, step by step. A field element is five limbs of 51 bits, each limb a vector with those of the four
 * lanes. The instruction multiplies the low 52 bits of two numbers and adds the low or the high 52 bits of the product; the
 * high half's weight is then 2^52, which is twice the next limb's, so high halves are added up apart and doubled.
 * What goes into a multiplication must have limbs below 2^52: a product's are below 2^51 + 2^15, and sums and differences are
 * carried at once.
 *
 * Constant time: no branch and no address depends on a scalar or a point. What the ladder leaves on the stack is wiped.
 */
#include "wg/dh_internal.h"

#if defined(__x86_64__) && __has_include(<immintrin.h>)

#include <immintrin.h>
#include <sodium.h>
#include <string.h>

#include "base/endian.h"

#define LANES 4
#define LIMBS 5
#define LIMB_BITS 51
#define LIMB_MASK ((1ULL << LIMB_BITS) - 1)
#define STACK_USED 8192 /* more than the ladder's frames */
#define TARGET __attribute__((target("avx512f,avx512vl,avx512ifma,avx2")))
/* The limbs are registers only when every index is a constant. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE TARGET static inline __attribute__((always_inline))

struct fe {
	__m256i v[LIMBS];
};

INLINE __m256i all(uint64_t x)
{
	return _mm256_set1_epi64x((long long)x);
}

INLINE __m256i times_19(__m256i x)
{
	return _mm256_add_epi64(_mm256_add_epi64(_mm256_slli_epi64(x, 4), _mm256_slli_epi64(x, 1)), x);
}

/* Limbs of up to 61 bits become ones below 2^51 + 2^15, all at once: what is carried is less than 2^10. */
INLINE void carry(struct fe *r)
{
	const __m256i mask = all(LIMB_MASK);
	__m256i c[LIMBS];

	UNROLL
	for (int i = 0; i < LIMBS; i++) {
		c[i] = _mm256_srli_epi64(r->v[i], LIMB_BITS);
		r->v[i] = _mm256_and_si256(r->v[i], mask);
	}
	r->v[0] = _mm256_madd52lo_epu64(r->v[0], c[LIMBS - 1], all(19));
	UNROLL
	for (int i = 1; i < LIMBS; i++)
		r->v[i] = _mm256_add_epi64(r->v[i], c[i - 1]);
}

INLINE void add(struct fe *r, const struct fe *a, const struct fe *b)
{
	UNROLL
	for (int i = 0; i < LIMBS; i++)
		r->v[i] = _mm256_add_epi64(a->v[i], b->v[i]);
	carry(r);
}

/* 4p is added, so that no limb is negative. */
INLINE void sub(struct fe *r, const struct fe *a, const struct fe *b)
{
	const __m256i first = all((LIMB_MASK - 18) * 4), rest = all(LIMB_MASK * 4);

	UNROLL
	for (int i = 0; i < LIMBS; i++)
		r->v[i] = _mm256_sub_epi64(_mm256_add_epi64(a->v[i], i == 0 ? first : rest), b->v[i]);
	carry(r);
}

/* From the sums of products by weight; 2^255 is 19. */
INLINE void fold(struct fe *r, const __m256i z[2 * LIMBS])
{
	UNROLL
	for (int i = 0; i < LIMBS; i++)
		r->v[i] = _mm256_add_epi64(z[i], times_19(z[i + LIMBS]));
	carry(r);
}

INLINE void mul(struct fe *r, const struct fe *a, const struct fe *b)
{
	__m256i z[2 * LIMBS], lo, hi;

	z[0] = _mm256_setzero_si256();
	UNROLL
	for (int sum = 0; sum < 2 * LIMBS - 1; sum++) {
		lo = z[sum];
		hi = _mm256_setzero_si256();
		UNROLL
		for (int i = 0; i < LIMBS; i++) {
			if (sum < i || sum - i >= LIMBS)
				continue;
			lo = _mm256_madd52lo_epu64(lo, a->v[i], b->v[sum - i]);
			hi = _mm256_madd52hi_epu64(hi, a->v[i], b->v[sum - i]);
		}
		z[sum] = lo;
		z[sum + 1] = _mm256_add_epi64(hi, hi);
	}
	fold(r, z);
}

/* Products of two different limbs stand for two. */
INLINE void sqr(struct fe *r, const struct fe *a)
{
	__m256i z[2 * LIMBS], lo, hi;

	z[0] = _mm256_setzero_si256();
	UNROLL
	for (int sum = 0; sum < 2 * LIMBS - 1; sum++) {
		lo = hi = _mm256_setzero_si256();
		UNROLL
		for (int i = 0; i < LIMBS; i++) {
			if (sum - i <= i || sum - i >= LIMBS)
				continue;
			lo = _mm256_madd52lo_epu64(lo, a->v[i], a->v[sum - i]);
			hi = _mm256_madd52hi_epu64(hi, a->v[i], a->v[sum - i]);
		}
		lo = _mm256_add_epi64(lo, lo);
		hi = _mm256_add_epi64(hi, hi);
		if (sum % 2 == 0) {
			lo = _mm256_madd52lo_epu64(lo, a->v[sum / 2], a->v[sum / 2]);
			hi = _mm256_madd52hi_epu64(hi, a->v[sum / 2], a->v[sum / 2]);
		}
		z[sum] = _mm256_add_epi64(z[sum], lo);
		z[sum + 1] = _mm256_add_epi64(hi, hi);
	}
	fold(r, z);
}

/* (486662 - 2) / 4 */
INLINE void mul_a24(struct fe *r, const struct fe *a)
{
	const __m256i a24 = all(121665), zero = _mm256_setzero_si256();
	__m256i hi[LIMBS];

	UNROLL
	for (int i = 0; i < LIMBS; i++) {
		hi[i] = _mm256_slli_epi64(_mm256_madd52hi_epu64(zero, a->v[i], a24), 1);
		r->v[i] = _mm256_madd52lo_epu64(zero, a->v[i], a24);
	}
	r->v[0] = _mm256_add_epi64(r->v[0], times_19(hi[LIMBS - 1]));
	UNROLL
	for (int i = 1; i < LIMBS; i++)
		r->v[i] = _mm256_add_epi64(r->v[i], hi[i - 1]);
	carry(r);
}

/* In the lanes where @mask is all ones. */
INLINE void swap(struct fe *a, struct fe *b, __m256i mask)
{
	UNROLL
	for (int i = 0; i < LIMBS; i++) {
		__m256i x = _mm256_and_si256(_mm256_xor_si256(a->v[i], b->v[i]), mask);

		a->v[i] = _mm256_xor_si256(a->v[i], x);
		b->v[i] = _mm256_xor_si256(b->v[i], x);
	}
}

TARGET static void sqr_times(struct fe *r, const struct fe *a, int n)
{
	sqr(r, a);
	while (--n > 0)
		sqr(r, r);
}

TARGET static __attribute__((noinline)) void mul_call(struct fe *r, const struct fe *a, const struct fe *b)
{
	mul(r, a, b);
}

/* To the power of p - 2 = 2^255 - 21; x_n is z to the power of 2^n - 1. */
TARGET static void invert(struct fe *r, const struct fe *z)
{
	struct fe z2, z9, z11, x5, x10, x20, x50, x100, t;

	sqr_times(&z2, z, 1);
	sqr_times(&t, &z2, 2);
	mul_call(&z9, &t, z);
	mul_call(&z11, &z9, &z2);
	sqr_times(&t, &z11, 1);
	mul_call(&x5, &t, &z9);
	sqr_times(&t, &x5, 5);
	mul_call(&x10, &t, &x5);
	sqr_times(&t, &x10, 10);
	mul_call(&x20, &t, &x10);
	sqr_times(&t, &x20, 20);
	mul_call(&t, &t, &x20);
	sqr_times(&t, &t, 10);
	mul_call(&x50, &t, &x10);
	sqr_times(&t, &x50, 50);
	mul_call(&x100, &t, &x50);
	sqr_times(&t, &x100, 100);
	mul_call(&t, &t, &x100);
	sqr_times(&t, &t, 50);
	mul_call(&t, &t, &x50);
	sqr_times(&t, &t, 5);
	mul_call(r, &t, &z11);
}

/* RFC 7748, section 5; the names are its own. */
INLINE void step(const struct fe *x_1, struct fe *x_2, struct fe *z_2, struct fe *x_3, struct fe *z_3)
{
	struct fe a, aa, b, bb, e, c, d, da, cb, t;

	add(&a, x_2, z_2);
	sqr(&aa, &a);
	sub(&b, x_2, z_2);
	sqr(&bb, &b);
	sub(&e, &aa, &bb);
	add(&c, x_3, z_3);
	sub(&d, x_3, z_3);
	mul(&da, &d, &a);
	mul(&cb, &c, &b);
	add(&t, &da, &cb);
	sqr(x_3, &t);
	sub(&t, &da, &cb);
	sqr(&t, &t);
	mul(z_3, x_1, &t);
	mul(x_2, &aa, &bb);
	mul_a24(&t, &e);
	add(&t, &t, &aa);
	mul(z_2, &e, &t);
}

TARGET static __attribute__((noinline)) void ladder(struct fe *r, const struct fe *u, uint8_t scalars[LANES][KEY_LEN])
{
	struct fe x_2 = { { all(1) } }, z_2 = { { all(0) } }, x_3 = *u, z_3 = x_2;
	__m256i swapped = all(0);

	for (int t = 254; t >= 0; t--) {
		__m256i bit = _mm256_set_epi64x(-(long long)(scalars[3][t / 8] >> t % 8 & 1), -(long long)(scalars[2][t / 8] >> t % 8 & 1),
						-(long long)(scalars[1][t / 8] >> t % 8 & 1), -(long long)(scalars[0][t / 8] >> t % 8 & 1));
		__m256i now = _mm256_xor_si256(swapped, bit);

		swap(&x_2, &x_3, now);
		swap(&z_2, &z_3, now);
		swapped = bit;
		step(u, &x_2, &z_2, &x_3, &z_3);
	}
	swap(&x_2, &x_3, swapped);
	swap(&z_2, &z_3, swapped);
	invert(&z_2, &z_2);
	mul_call(r, &x_2, &z_2);
}

/* ---- bytes ---- */

static void limbs_of(uint64_t ret[LIMBS], const uint8_t b[KEY_LEN])
{
	ret[0] = get_le64(b) & LIMB_MASK;
	ret[1] = get_le64(b + 6) >> 3 & LIMB_MASK;
	ret[2] = get_le64(b + 12) >> 6 & LIMB_MASK;
	ret[3] = get_le64(b + 19) >> 1 & LIMB_MASK;
	ret[4] = get_le64(b + 24) >> 12 & LIMB_MASK; /* the highest bit is ignored */
}

/* The least form: below p. Return: is it not zero? */
static bool bytes_of(uint8_t ret[KEY_LEN], uint64_t x[LIMBS])
{
	uint64_t over = 19;

	/* Twice: the first may leave the first limb too long. */
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < LIMBS - 1; i++) {
			x[i + 1] += x[i] >> LIMB_BITS;
			x[i] &= LIMB_MASK;
		}
		x[0] += 19 * (x[LIMBS - 1] >> LIMB_BITS);
		x[LIMBS - 1] &= LIMB_MASK;
	}
	/* x + 19 reaches 2^255 where x is p or more: then that is taken away. */
	for (int i = 0; i < LIMBS; i++)
		over = (x[i] + over) >> LIMB_BITS;
	x[0] += 19 * over;
	for (int i = 0; i < LIMBS - 1; i++) {
		x[i + 1] += x[i] >> LIMB_BITS;
		x[i] &= LIMB_MASK;
	}
	x[LIMBS - 1] &= LIMB_MASK;
	put_le64(ret, x[0] | x[1] << 51);
	put_le64(ret + 8, x[1] >> 13 | x[2] << 38);
	put_le64(ret + 16, x[2] >> 26 | x[3] << 25);
	put_le64(ret + 24, x[3] >> 39 | x[4] << 12);
	return (x[0] | x[1] | x[2] | x[3] | x[4]) != 0;
}

static void take_scalar(uint8_t ret[KEY_LEN], const uint8_t priv[KEY_LEN])
{
	memcpy(ret, priv, KEY_LEN);
	ret[0] &= 248;
	ret[31] = (uint8_t)((ret[31] & 127) | 64);
}

/* Lanes without a job repeat the first. */
TARGET static __attribute__((noinline)) void multiply_four(struct wg_dh_job *jobs, size_t n)
{
	static const uint8_t base[KEY_LEN] = { 9 };
	_Alignas(32) uint64_t limbs[LIMBS][LANES];
	uint64_t one[LIMBS];
	uint8_t scalars[LANES][KEY_LEN];
	struct fe u;

	for (size_t lane = 0; lane < LANES; lane++) {
		const struct wg_dh_job *job = &jobs[lane < n ? lane : 0];

		take_scalar(scalars[lane], job->priv);
		limbs_of(one, job->pub ? job->pub : base);
		for (size_t i = 0; i < LIMBS; i++)
			limbs[i][lane] = one[i];
	}
	for (size_t i = 0; i < LIMBS; i++)
		u.v[i] = _mm256_load_si256((const __m256i *)limbs[i]);
	ladder(&u, &u, scalars);
	for (size_t i = 0; i < LIMBS; i++)
		_mm256_store_si256((__m256i *)limbs[i], u.v[i]);
	for (size_t lane = 0; lane < n; lane++) {
		for (size_t i = 0; i < LIMBS; i++)
			one[i] = limbs[i][lane];
		jobs[lane].ok = bytes_of(jobs[lane].out, one);
	}
	sodium_memzero(scalars, sizeof(scalars));
	sodium_memzero(limbs, sizeof(limbs));
	sodium_memzero(one, sizeof(one));
	sodium_memzero(&u, sizeof(u));
}

static void ifma_multiply(struct wg_dh_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i += LANES)
		multiply_four(jobs + i, MIN(n - i, (size_t)LANES));
	sodium_stackzero(STACK_USED);
}

static bool ifma_available(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma");
}

#else

static bool ifma_available(void)
{
	return false;
}

static void ifma_multiply(struct wg_dh_job *jobs, size_t n)
{
	ASSERT(!"not available");
}

#endif

const struct wg_dh_provider wg_dh_ifma = { "AVX-512 IFMA", ifma_available, ifma_multiply };
