/* Spans of time, and the names of log levels: two small parsers of what people type. */
#include "base/duration.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = fuzz_text(data, size), buf[DURATION_STR_MAX];
	enum log_level level;
	nsec_t t, again;

	if (duration_parse(s, &t) == OK) {
		/* Written in whole seconds, or below one in milliseconds. */
		nsec_t unit = t < NSEC_PER_SEC ? NSEC_PER_MSEC : NSEC_PER_SEC;

		ASSERT(t <= 103 * 366 * 24 * 3600ULL * NSEC_PER_SEC);
		ASSERT(duration_parse(duration_format(t, buf), &again) == OK);
		/* It is read through a double, which holds a hundred years to half a microsecond. */
		ASSERT(again <= t + NSEC_PER_USEC && t - MIN(t, again) < unit + NSEC_PER_USEC);
	}
	if (log_level_parse(s, &level))
		ASSERT(strcmp(log_level_name(level), s) == 0);
	free(s);
	return 0;
}
