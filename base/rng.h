/* base/rng.h - randomness as an argument, so that a seed replays a run. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include "base/types.h"

/* A source of random bytes. os_rng() is the kernel's; rng_seeded() is the simulator's. */
struct rng {
	void (*fill)(struct rng *rng, void *buf, size_t len);
};

/* xoshiro256**; for tests and the simulator only, never for keys. */
struct rng_seeded {
	struct rng rng;
	uint64_t s[4];
};

void rng_seeded_init(struct rng_seeded *r, uint64_t seed);

void rng_bytes(struct rng *rng, void *buf, size_t len);
uint32_t rng_u32(struct rng *rng);
uint64_t rng_u64(struct rng *rng);
/** rng_below() - uniform in [0, n); n > 0 */
uint64_t rng_below(struct rng *rng, uint64_t n);
/** rng_chance() - true with probability ppm / 1,000,000 */
bool rng_chance(struct rng *rng, uint32_t ppm);

#endif
