/*
 * base/rng.c - see rng.h. The seeded generator is xoshiro256** (Blackman and Vigna, 2018), its state
 * spread from one 64-bit seed by splitmix64.
 */
#include "base/rng.h"

#include <string.h>

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static uint64_t seeded_next(uint64_t s[4])
{
	uint64_t result = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

static void seeded_fill(struct rng *rng, void *buf, size_t len)
{
	struct rng_seeded *r = container_of(rng, struct rng_seeded, rng);
	uint8_t *p = buf;

	while (len > 0) {
		uint64_t v = seeded_next(r->s);
		size_t n = MIN(len, sizeof(v));

		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}

void rng_seeded_init(struct rng_seeded *r, uint64_t seed)
{
	r->rng.fill = seeded_fill;
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15ULL);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
		r->s[i] = z ^ (z >> 31);
	}
}

void rng_bytes(struct rng *rng, void *buf, size_t len)
{
	rng->fill(rng, buf, len);
}

uint32_t rng_u32(struct rng *rng)
{
	uint32_t v;

	rng->fill(rng, &v, sizeof(v));
	return v;
}

uint64_t rng_u64(struct rng *rng)
{
	uint64_t v;

	rng->fill(rng, &v, sizeof(v));
	return v;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
	uint64_t limit, v;

	ASSERT(n > 0);
	limit = UINT64_MAX - UINT64_MAX % n;
	do
		v = rng_u64(rng);
	while (v >= limit);
	return v % n;
}

bool rng_chance(struct rng *rng, uint32_t ppm)
{
	return rng_below(rng, 1000000) < ppm;
}
