/* test/unit/netstack/scoreboard_test.c - the scoreboard against a map of bytes, across the wrap of sequence numbers. */
#include "base/rng.h"
#include "netstack/scoreboard.h"
#include "test/lib/testing.h"

#define SPAN 4000

static uint32_t count(const bool *map, uint32_t from, uint32_t to)
{
	uint32_t n = 0;

	for (uint32_t i = from; i < to; i++)
		n += map[i];
	return n;
}

static void assert_gap(const struct net_scoreboard *b, const bool *map, uint32_t base, uint32_t from, uint32_t to)
{
	struct seq_range gap;
	uint32_t end;

	while (from < to && map[from])
		from++;
	for (end = from; end < to && !map[end];)
		end++;
	assert_int_equal(net_scoreboard_gap(b, base + from, base + to, &gap), from < to);
	if (from < to) {
		assert_int_equal(gap.from, base + from);
		assert_int_equal(gap.to, base + end);
	}
}

static void agrees_with_a_map_of_bytes(void **state)
{
	struct rng_seeded rng;

	rng_seeded_init(&rng, 7);
	for (int round = 0; round < 200; round++) {
		struct net_scoreboard b = { 0 };
		static bool map[SPAN];
		uint32_t base = UINT32_MAX - SPAN / 2, una = 0;

		memset(map, 0, sizeof(map));
		for (int i = 0; i < 200; i++) {
			uint32_t from = una + rng_below(&rng.rng, SPAN - una - 1);
			uint32_t to = from + 1 + rng_below(&rng.rng, MIN(SPAN - from, 60u));
			uint32_t had = count(map, from, MIN(to, (uint32_t)SPAN));

			to = MIN(to, (uint32_t)SPAN);
			assert_int_equal(net_scoreboard_has(&b, base + from, base + to), had == to - from);
			assert_int_equal(net_scoreboard_add(&b, base + from, base + to), to - from - had);
			memset(map + from, 1, to - from);
			if (rng_below(&rng.rng, 10) == 0 && una + 50 < SPAN) {
				una += rng_below(&rng.rng, 50);
				memset(map, 0, una);
				net_scoreboard_trim(&b, base + una);
			}
			assert_int_equal(b.bytes, count(map, 0, SPAN));
			assert_gap(&b, map, base, from, MIN(from + 100, (uint32_t)SPAN));
		}
		net_scoreboard_fini(&b);
	}
}

/* What a peer can make us keep has an end; what does not fit counts as not received. */
static void is_bounded(void **state)
{
	struct net_scoreboard b = { 0 };

	for (uint32_t i = 0; i < 3 * NET_SACK_RANGES_MAX; i++)
		assert_int_equal(net_scoreboard_add(&b, i * 10, i * 10 + 5), i < NET_SACK_RANGES_MAX ? 5 : 0);
	assert_int_equal(b.bytes, 5 * NET_SACK_RANGES_MAX);
	net_scoreboard_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_a_map_of_bytes),
		cmocka_unit_test(is_bounded),
	};
	return RUN_TESTS(tests);
}
