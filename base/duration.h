/* base/duration.h - spans of time as people write them in flags and files: 60m, 1h30m, 500ms, 1.5s. */
#ifndef BASE_DURATION_H
#define BASE_DURATION_H

#include "base/err.h"
#include "base/types.h"

/** duration_parse() - Go's form: numbers with units h, m, s, ms, us, ns; a lone "0". ERR_FORMAT, ERR_RANGE. */
MUST_CHECK enum err duration_parse(const char *s, nsec_t *ret);
#define DURATION_STR_MAX 32
/** duration_format() - the largest two units: "72h22m0s" as Go prints it. Return: @buf. */
const char *duration_format(nsec_t t, char buf[DURATION_STR_MAX]);

#endif
