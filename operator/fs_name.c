/*
 * operator/fs_name.c - see fs_name.h.
 *
 * Names are bytes. Where they meet people they are read as UTF-8 as far as they are that, by one decoder that never fails: a byte
 * that begins no character is a "character" of its own above Unicode.
 */
#include "operator/fs_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t fs_char_next(const char *s, const char **ret_end)
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
		return FS_NOT_UTF8 + p[0];
	}
	*ret_end = s + len;
	return c;
}

/* ---- HOST:PATH ---- */

bool fs_spec_split(const char *s, char host[FS_HOST_MAX + 1], const char **ret_path)
{
	size_t len = strcspn(s, ":/");
	const char *path = s + len + 1;

	if (s[len] != ':' || len == 0 || len > FS_HOST_MAX)
		return false;
	memcpy(host, s, len);
	host[len] = '\0';
	if (strcmp(path, "~") == 0)
		path++;
	else if (strncmp(path, "~/", 2) == 0)
		path += 2 + strspn(path + 2, "/");
	*ret_path = *path ? path : ".";
	return true;
}

void fs_name_base(const char *path, char *ret, size_t size)
{
	size_t end = strlen(path), begin;

	while (end > 0 && path[end - 1] == '/')
		end--;
	begin = end;
	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	snprintf(ret, size, "%.*s", (int)(end - begin), path + begin);
}

bool fs_name_join(char *ret, size_t size, const char *dir, const char *name)
{
	size_t len = strlen(dir);
	bool slash = len > 0 && dir[len - 1] != '/' && *name;

	if (strcmp(dir, ".") == 0 && *name)
		return snprintf(ret, size, "%s", name) < (int)size;
	return snprintf(ret, size, "%s%s%s", dir, slash ? "/" : "", name) < (int)size;
}

bool fs_name_is_safe(const char *path)
{
	for (const char *p = path;; p += strcspn(p, "/") + 1) {
		size_t len = strcspn(p, "/");

		if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		if (!p[len])
			return true;
	}
}

/* ---- showing ---- */

bool fs_char_is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f || c == 0x2028 || c == 0x2029 ||
	       (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c >= FS_NOT_UTF8;
}

void fs_name_show(const char *name, char *ret)
{
	static const char letters[] = "abtnvfr";
	const char *end;

	for (const char *p = name; *p; p = end) {
		uint32_t c = fs_char_next(p, &end);

		if (c == '\\') {
			ret += sprintf(ret, "\\\\");
		} else if (!fs_char_is_control(c)) {
			memcpy(ret, p, (size_t)(end - p));
			ret += end - p;
		} else if (c >= 7 && c <= 13) {
			ret += sprintf(ret, "\\%c", letters[c - 7]);
		} else {
			for (const char *q = p; q < end; q++)
				ret += sprintf(ret, "\\x%02x", (uint8_t)*q);
		}
	}
	*ret = '\0';
}

bool fs_name_is_utf8(const char *name)
{
	for (const char *p = name; *p;)
		if (fs_char_next(p, &p) >= FS_NOT_UTF8)
			return false;
	return true;
}

static char *base64(const char *s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = (const uint8_t *)s;
	size_t len = strlen(s);
	char *ret = malloc((len + 2) / 3 * 4 + 1), *to = ret;

	for (size_t i = 0; ret && i < len; i += 3) {
		size_t n = MIN(len - i, (size_t)3);
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);

		*to++ = digits[v >> 18];
		*to++ = digits[v >> 12 & 63];
		*to++ = n > 1 ? digits[v >> 6 & 63] : '=';
		*to++ = n > 2 ? digits[v & 63] : '=';
	}
	if (ret)
		*to = '\0';
	return ret;
}

void fs_name_set_json(json_t *o, const char *key, const char *name)
{
	char other[40], *text;

	if (fs_name_is_utf8(name)) {
		json_object_set_new(o, key, json_string(name));
		return;
	}
	text = base64(name);
	snprintf(other, sizeof(other), "%s_base64", key);
	json_object_set_new(o, other, text ? json_string(text) : json_null());
	free(text);
}

/* ---- patterns ---- */

bool fs_glob_is_pattern(const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' && s[1])
			s++;
		else if (strchr("*?[", *s))
			return true;
	}
	return false;
}

void fs_glob_unquote(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (*s == '\\' && s[1])
			s++;
		*to++ = *s;
	}
	*to = '\0';
}

/* One character of a set, which a backslash may stand before. */
static uint32_t set_char(const char **p)
{
	if (**p == '\\' && (*p)[1])
		(*p)++;
	return fs_char_next(*p, p);
}

/*
 * Is @c in the set behind the '[' at @p? *ret_end is behind its ']'; NULL when there is none before @stop: then the bracket is
 * a character as others are.
 */
static bool in_set(const char *p, const char *stop, uint32_t c, const char **ret_end)
{
	bool not = *p == '!' || *p == '^', found = false;

	p += not;
	*ret_end = NULL;
	for (bool first = true; p < stop && (first || *p != ']'); first = false) {
		uint32_t low = set_char(&p), high = low;

		if (p + 1 < stop && *p == '-' && p[1] != ']') {
			p++;
			high = set_char(&p);
		}
		found |= c >= low && c <= high;
	}
	if (p < stop)
		*ret_end = p + 1;
	return found != not;
}

/* Does one character of the name fit what is at @p, which is no '*'? Both move on. */
static bool match_one(const char **p, const char *stop, const char **name)
{
	const char *at = *p, *end;
	uint32_t c = fs_char_next(*name, name);
	bool fits;

	if (*at == '?') {
		*p = at + 1;
		return true;
	}
	if (*at == '[') {
		fits = in_set(at + 1, stop, c, &end);
		if (end) {
			*p = end;
			return fits;
		}
	}
	if (*at == '\\' && at + 1 < stop)
		at++;
	fits = fs_char_next(at, p) == c;
	return fits;
}

/* After a mismatch the last '*' takes one more character: earlier ones need no second thought. */
bool fs_glob_match_dots(const char *pattern, size_t len, const char *name)
{
	const char *p = pattern, *stop = pattern + len, *star = NULL, *star_name = NULL;

	while (*name || p < stop) {
		if (p < stop && *p == '*') {
			star = ++p;
			star_name = name;
			continue;
		}
		if (*name && p < stop && match_one(&p, stop, &name))
			continue;
		if (!star || !*star_name)
			return false;
		fs_char_next(star_name, &star_name);
		name = star_name;
		p = star;
	}
	return true;
}

bool fs_glob_match(const char *pattern, size_t len, const char *name)
{
	bool dot = len > 0 && (pattern[0] == '.' || (pattern[0] == '\\' && len > 1 && pattern[1] == '.'));

	return (*name != '.' || dot) && fs_glob_match_dots(pattern, len, name);
}
