/* base/duration.c - see duration.h. */
#include "base/duration.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	nsec_t size;
} units[] = {
	{ "ns", 1 },
	{ "us", NSEC_PER_USEC },
	{ "ms", NSEC_PER_MSEC },
	{ "s", NSEC_PER_SEC },
	{ "m", 60 * NSEC_PER_SEC },
	{ "h", 3600 * NSEC_PER_SEC },
};

static nsec_t unit_size(const char **s)
{
	nsec_t best = 0;
	size_t best_len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		size_t len = strlen(units[i].name);

		if (len > best_len && strncmp(*s, units[i].name, len) == 0) {
			best = units[i].size;
			best_len = len;
		}
	}
	*s += best_len;
	return best;
}

/* Digits, perhaps a fraction; false when there is no digit. */
static bool number(const char **s, double *ret)
{
	double v = 0, place = 1;
	const char *start = *s;
	bool digit = false;

	for (; **s >= '0' && **s <= '9' && *s - start < 18; ++*s, digit = true)
		v = v * 10 + (**s - '0');
	if (**s == '.')
		for (++*s; **s >= '0' && **s <= '9'; ++*s, digit = true)
			v += (**s - '0') * (place /= 10);
	*ret = v;
	return digit;
}

enum err duration_parse(const char *s, nsec_t *ret)
{
	double total = 0;

	if (strcmp(s, "0") == 0) {
		*ret = 0;
		return OK;
	}
	if (!*s)
		return ERR_FORMAT;
	while (*s) {
		double v;
		nsec_t unit;

		if (!number(&s, &v))
			return ERR_FORMAT;
		unit = unit_size(&s);
		if (!unit)
			return ERR_FORMAT;
		total += v * (double)unit;
	}
	/* A hundred years are enough for anybody. */
	if (total > 3.2e18)
		return ERR_RANGE;
	*ret = (nsec_t)(total + 0.5);
	return OK;
}

const char *duration_format(nsec_t t, char buf[DURATION_STR_MAX])
{
	unsigned long long s = t / NSEC_PER_SEC;

	if (t < NSEC_PER_SEC)
		snprintf(buf, DURATION_STR_MAX, "%llums", (unsigned long long)(t / NSEC_PER_MSEC));
	else if (s < 60)
		snprintf(buf, DURATION_STR_MAX, "%llus", s);
	else if (s < 3600)
		snprintf(buf, DURATION_STR_MAX, "%llum%llus", s / 60, s % 60);
	else
		snprintf(buf, DURATION_STR_MAX, "%lluh%llum%llus", s / 3600, s / 60 % 60, s % 60);
	return buf;
}
