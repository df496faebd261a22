/*
 * test/fuzz/driver.c - runs a target where libFuzzer is not installed: seeded random inputs and mutations of a growing
 * pool of earlier ones. No coverage feedback: a smoke test, not a replacement.
 *
 * usage: X_fuzz SECONDS [SEED]; a failure prints the seed and the number of the input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"

#define N_POOL 256
#define LEN_MAX 2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t pool[N_POOL][LEN_MAX];
static size_t lens[N_POOL];
static unsigned long long n_done, seed;

static size_t make_input(struct rng *rng, uint8_t *to)
{
	size_t from = rng_below(rng, N_POOL), len = lens[from];

	if (len == 0 || rng_below(rng, 4) == 0) {
		len = rng_below(rng, LEN_MAX);
		rng_bytes(rng, to, len);
		return len;
	}
	memcpy(to, pool[from], len);
	for (uint32_t i = rng_below(rng, 16); i > 0; i--)
		to[rng_below(rng, (uint32_t)len)] = (uint8_t)(rng_u32(rng) >> rng_below(rng, 8));
	return rng_below(rng, 8) ? len : rng_below(rng, (uint32_t)len) + 1;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	static uint8_t input[LEN_MAX];
	struct rng_seeded rng;

	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	rng_seeded_init(&rng, seed);
	while (time(NULL) < end) {
		size_t len = make_input(&rng.rng, input), slot = rng_below(&rng.rng, N_POOL);

		LLVMFuzzerTestOneInput(input, len);
		memcpy(pool[slot], input, len);
		lens[slot] = len;
		n_done++;
	}
	printf("%llu inputs, seed %llu\n", n_done, seed);
	return 0;
}
