/*
 * operator/json_text.c - see json_text.h.
 *
 * JSON asks for escapes of ASCII's control characters alone. Names and output of other machines stand in ours, and it is often
 * looked at in a terminal, where a CSI of Latin-1 or a turned line shows what is not there. Other characters stay as they are.
 */
#include "operator/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* What is below 0x7f is escaped already, or the white space between values. */
static bool is_raw(uint32_t c)
{
	return c < 0x7f || !text_is_control(c);
}

/* @to: may be NULL, to learn the length. Return: without the NUL */
static size_t escape(const char *from, char *to)
{
	size_t len = 0;
	const char *end;
	char u[8];

	for (const char *p = from; *p; p = end) {
		uint32_t c = text_next(p, &end);
		size_t n = (size_t)(end - p);
		bool raw = is_raw(c);

		if (!raw)
			n = (size_t)snprintf(u, sizeof(u), "\\u%04X", c & 0xffff);
		if (to)
			memcpy(to + len, raw ? p : u, n);
		len += n;
	}
	if (to)
		to[len] = '\0';
	return len;
}

char *json_text(const json_t *o, size_t flags)
{
	char *plain = o ? json_dumps(o, flags) : NULL, *ret = NULL;

	if (plain)
		ret = malloc(escape(plain, NULL) + 1);
	if (ret)
		escape(plain, ret);
	free(plain);
	return ret;
}

int json_text_print(const json_t *o, size_t flags)
{
	char *text = json_text(o, flags);
	int r = text && puts(text) >= 0 ? 0 : -1;

	free(text);
	return r;
}
