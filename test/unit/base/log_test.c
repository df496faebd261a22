#include "base/err.h"
#include "base/log.h"
#include "test/lib/testing.h"

static char last[2048];
static int n_lines;

static void sink(enum log_level level, const char *line)
{
	snprintf(last, sizeof(last), "%s %s", log_level_name(level), line);
	n_lines++;
}

static void lines_cannot_be_forged(void **state)
{
	log_set(LOG_INFO, sink);
	log_info("peer=%s", "a\nerror all is lost\x1b[2J\x7f");
	assert_string_equal(last, "info peer=a\\x0aerror all is lost\\x1b[2J\\x7f");
}

static void levels_hold_back(void **state)
{
	enum log_level level;

	n_lines = 0;
	log_set(LOG_WARN, sink);
	log_debug("no");
	log_info("no");
	log_error("yes");
	assert_int_equal(n_lines, 1);
	assert_true(log_level_parse("debug", &level) && level == LOG_DEBUG);
	assert_false(log_level_parse("verbose", &level));
}

static void long_lines_are_cut(void **state)
{
	char big[5000];

	memset(big, '\n', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_set(LOG_INFO, sink);
	log_info("%s", big);
	assert_true(strlen(last) < 1200);
}

static void limit_counts_what_it_held(void **state)
{
	struct log_limit l = { 0 };
	uint32_t held = 9;
	nsec_t t = 1000 * NSEC_PER_SEC;

	assert_true(log_limit_ok(&l, t, &held));
	assert_int_equal(held, 0);
	for (int i = 0; i < 5; i++)
		assert_false(log_limit_ok(&l, t + (nsec_t)i * NSEC_PER_SEC, &held));
	assert_true(log_limit_ok(&l, t + 10 * NSEC_PER_SEC, &held));
	assert_int_equal(held, 5);
}

static void every_error_has_its_text(void **state)
{
	for (int e = 0; e < ERR_N; e++) {
		assert_non_null(err_name((enum err)e));
		assert_non_null(err_text((enum err)e));
	}
	assert_string_equal(err_text((enum err)9999), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_cannot_be_forged), cmocka_unit_test(levels_hold_back),
		cmocka_unit_test(long_lines_are_cut),	  cmocka_unit_test(limit_counts_what_it_held),
		cmocka_unit_test(every_error_has_its_text),
	};
	return RUN_TESTS(tests);
}
