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

/* When it is full, what is told again costs least if the smallest is what is not there. */
static void a_large_range_takes_the_place_of_the_smallest(void **state)
{
	struct net_scoreboard b = { 0 };
	struct seq_range gap;
	const uint32_t smallest = NET_SACK_RANGES_MAX / 2 * 10, end = NET_SACK_RANGES_MAX * 10;

	for (uint32_t i = 0; i < NET_SACK_RANGES_MAX; i++)
		net_scoreboard_add(&b, i * 10, i * 10 + (i * 10 == smallest ? 4 : 5));
	assert_int_equal(net_scoreboard_add(&b, end, end + 100), 100);
	assert_int_equal(b.n, NET_SACK_RANGES_MAX);
	assert_int_equal(b.bytes, 5 * (NET_SACK_RANGES_MAX - 1) + 100);
	assert_false(net_scoreboard_gap(&b, end, end + 100, &gap));
	assert_true(net_scoreboard_gap(&b, smallest, smallest + 4, &gap));
	for (uint32_t at = 0; at < end; at += 10)
		assert_true(at == smallest || !net_scoreboard_gap(&b, at, at + 5, &gap));
	/* In front of it too. */
	assert_int_equal(net_scoreboard_add(&b, UINT32_MAX - 200, UINT32_MAX - 100), 100);
	assert_int_equal(b.bytes, 5 * (NET_SACK_RANGES_MAX - 2) + 200);
	assert_false(net_scoreboard_gap(&b, UINT32_MAX - 200, UINT32_MAX - 100, &gap));
	net_scoreboard_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_a_map_of_bytes),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(a_large_range_takes_the_place_of_the_smallest),
	};
	return RUN_TESTS(tests);
}
