/*
 * operator/fs_name.c - see fs_name.h.
 *
 * Names are bytes. Where they meet people they are read as UTF-8 as far as they are that (base/text.h): a byte that begins no
 * character is a "character" of its own.
 */
#include "operator/fs_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/text.h"

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

void fs_name_show(const char *name, char *ret)
{
	static const char letters[] = "abtnvfr";
	const char *end;

	for (const char *p = name; *p; p = end) {
		uint32_t c = text_next(p, &end);

		if (c == '\\') {
			ret += sprintf(ret, "\\\\");
		} else if (!text_is_control(c)) {
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

void fs_name_set_json(json_t *o, const char *key, const char *name)
{
	size_t size = sodium_base64_ENCODED_LEN(strlen(name), sodium_base64_VARIANT_ORIGINAL);
	char other[40], *text;

	if (text_is_utf8(name)) {
		json_object_set_new(o, key, json_string(name));
		return;
	}
	text = malloc(size);
	if (text)
		sodium_bin2base64(text, size, (const uint8_t *)name, strlen(name), sodium_base64_VARIANT_ORIGINAL);
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
	return text_next(*p, p);
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
	uint32_t c = text_next(*name, name);
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
	fits = text_next(at, p) == c;
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
		text_next(star_name, &star_name);
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
