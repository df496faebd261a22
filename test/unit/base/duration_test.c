#include "base/duration.h"
#include "test/lib/testing.h"

static void reads_go_durations(void **state)
{
	static const struct {
		const char *text;
		nsec_t want;
	} rows[] = {
		{ "0", 0 },
		{ "60m", 3600 * NSEC_PER_SEC },
		{ "24h", 86400 * NSEC_PER_SEC },
		{ "1h30m", 5400 * NSEC_PER_SEC },
		{ "500ms", 500 * NSEC_PER_MSEC },
		{ "1.5s", 1500 * NSEC_PER_MSEC },
		{ "7us", 7 * NSEC_PER_USEC },
		{ "9ns", 9 },
	};
	nsec_t t;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(duration_parse(rows[i].text, &t), OK);
		assert_true(t == rows[i].want);
	}
}

static void refuses_what_is_no_duration(void **state)
{
	static const char *const bad[] = { "", "5", "s", "5x", "-1s", "1h ", " 1h", "1..5s", ".s", "1h30" };
	nsec_t t;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(duration_parse(bad[i], &t), ERR_FORMAT);
	assert_int_equal(duration_parse("99999999999999999h", &t), ERR_RANGE);
}

static void formats(void **state)
{
	char buf[DURATION_STR_MAX];

	assert_string_equal(duration_format(42 * NSEC_PER_MSEC, buf), "42ms");
	assert_string_equal(duration_format(59 * NSEC_PER_SEC, buf), "59s");
	assert_string_equal(duration_format(90 * NSEC_PER_SEC, buf), "1m30s");
	assert_string_equal(duration_format(5400 * NSEC_PER_SEC, buf), "1h30m0s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_go_durations),
		cmocka_unit_test(refuses_what_is_no_duration),
		cmocka_unit_test(formats),
	};

	return RUN_TESTS(tests);
}
