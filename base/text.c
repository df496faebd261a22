/*
 * base/text.c - see text.h.
 *
 * One decoder that never fails: a byte that begins no character is a "character" of its own above Unicode. What is cut in the
 * middle of a character (every buffer is finite) ends in such bytes, and JSON takes none of them: a library that is given one
 * gives up the whole message.
 */
#include "base/text.h"

#include <string.h>

uint32_t text_next(const char *s, const char **ret_end)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = (const uint8_t *)s;
	unsigned len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	uint32_t c = len == 1 ? p[0] : len ? p[0] & (0x7fu >> len) : 0;

	for (unsigned i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			len = 0;
		else
			c = c << 6 | (p[i] & 0x3f);
	}
	if (len == 0 || c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
		*ret_end = s + 1;
		return TEXT_NOT_UTF8 + p[0];
	}
	*ret_end = s + len;
	return c;
}

bool text_is_utf8(const char *s)
{
	while (*s)
		if (text_next(s, &s) >= TEXT_NOT_UTF8)
			return false;
	return true;
}

bool text_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f || c == 0x2028 || c == 0x2029 ||
	       (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c >= TEXT_NOT_UTF8;
}

bool text_has_control(const char *s)
{
	while (*s)
		if (text_is_control(text_next(s, &s)))
			return true;
	return false;
}

void text_clean(char *s)
{
	const char *end;

	for (; *s; s = (char *)end)
		if (text_is_control(text_next(s, &end)))
			memset(s, '?', (size_t)(end - s));
}

void text_make_utf8(char *s)
{
	const char *end;

	for (; *s; s = (char *)end)
		if (text_next(s, &end) >= TEXT_NOT_UTF8)
			*s = '?';
}
