/* operator/fs_format.c - see fs_format.h. */
#include "operator/fs_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
	uint32_t type;
	char letter;
	const char *name;
} types[] = {
	{ FS_TYPE_DIR, 'd', "dir" }, { FS_TYPE_FILE, '-', "file" }, { FS_TYPE_LINK, 'l', "link" }, { 0010000, 'p', "fifo" },
	{ 0140000, 's', "socket" },  { 0060000, 'b', "block" },	    { 0020000, 'c', "char" },
};

const char *fs_format_type(uint32_t mode)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((mode & FS_TYPE_MASK) == types[i].type)
			return types[i].name;
	return "unknown";
}

const char *fs_format_mode(uint32_t mode, char ret[11])
{
	static const char letters[] = "rwxrwxrwx";
	static const struct {
		uint32_t bit;
		int at;
		char with, without; /* x */
	} special[] = { { 04000, 3, 's', 'S' }, { 02000, 6, 's', 'S' }, { 01000, 9, 't', 'T' } };

	memcpy(ret, "?---------", 11);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if ((mode & FS_TYPE_MASK) == types[i].type)
			ret[0] = types[i].letter;
	for (int i = 0; i < 9; i++)
		if (mode >> (8 - i) & 1)
			ret[1 + i] = letters[i];
	for (size_t i = 0; i < ARRAY_SIZE(special); i++)
		if (mode & special[i].bit)
			ret[special[i].at] = ret[special[i].at] == 'x' ? special[i].with : special[i].without;
	return ret;
}

const char *fs_format_time(const struct ssh_attr *a, char ret[24])
{
	time_t t = a->mtime;
	struct tm tm;

	if (!(a->which & SSH_ATTR_TIMES) || !localtime_r(&t, &tm) || strftime(ret, 24, "%Y-%m-%d %H:%M", &tm) == 0)
		strcpy(ret, "-");
	return ret;
}

const char *fs_format_bytes(uint64_t n, char ret[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)n;
	size_t u = 0;

	while (v >= 999.5 && u + 1 < ARRAY_SIZE(units)) {
		v /= 1024;
		u++;
	}
	snprintf(ret, 16, u > 0 && v < 9.95 ? "%.1f %s" : "%.0f %s", v, units[u]);
	return ret;
}

const char *fs_format_seconds(uint64_t s, char ret[32])
{
	unsigned long long d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60;

	if (d)
		snprintf(ret, 32, "%llud %lluh", d, h);
	else if (h)
		snprintf(ret, 32, "%llu:%02llu:%02llu", h, m, (unsigned long long)s % 60);
	else
		snprintf(ret, 32, "%llu:%02llu", m, (unsigned long long)s % 60);
	return ret;
}

json_t *fs_format_json(uint64_t n)
{
	return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

uint64_t fs_format_used(const struct ssh_fs_space *s, double *ret_pct)
{
	uint64_t used = s->size - MIN(s->free, s->size);
	double of = (double)used + (double)s->avail;

	*ret_pct = of > 0 ? 100 * (double)used / of : 0;
	return used;
}

void fs_format_set_json(json_t *o, const struct ssh_attr *a)
{
	char mode[8];

	if (a->which & SSH_ATTR_MODE) {
		snprintf(mode, sizeof(mode), "%04o", a->mode & 07777);
		json_object_set_new(o, "type", json_string(fs_format_type(a->mode)));
		json_object_set_new(o, "mode", json_string(mode));
	}
	if (a->which & SSH_ATTR_SIZE)
		json_object_set_new(o, "size", fs_format_json(a->size));
	if (a->which & SSH_ATTR_OWNER) {
		json_object_set_new(o, "uid", json_integer(a->uid));
		json_object_set_new(o, "gid", json_integer(a->gid));
	}
	if (a->which & SSH_ATTR_TIMES) {
		json_object_set_new(o, "mtime", json_integer(a->mtime));
		json_object_set_new(o, "atime", json_integer(a->atime));
	}
}

/* ---- chmod ---- */

/* "ugoa" as the bits that they may touch; nothing is all of them. */
static uint32_t take_who(const char **p)
{
	uint32_t who = 0;

	for (; **p && strchr("ugoa", **p); (*p)++)
		who |= **p == 'u' ? 04700 : **p == 'g' ? 02070 : **p == 'o' ? 01007 : 07777;
	return who ? who : 07777;
}

static uint32_t take_perms(const char **p, uint32_t mode)
{
	bool x = (mode & FS_TYPE_MASK) == FS_TYPE_DIR || mode & 0111;
	uint32_t bits = 0;

	for (; **p && strchr("rwxXst", **p); (*p)++)
		bits |= **p == 'r' ? 0444 :
			**p == 'w' ? 0222 :
			**p == 'x' ? 0111 :
			**p == 'X' ? (x ? 0111u : 0) :
			**p == 's' ? 06000 :
				     01000;
	return bits;
}

/* One clause, as in "go-w"; false: malformed. */
static bool take_clause(const char **p, uint32_t *mode)
{
	uint32_t who = take_who(p);

	if (!**p || !strchr("+-=", **p))
		return false;
	while (**p && strchr("+-=", **p)) {
		char op = *(*p)++;
		uint32_t bits = take_perms(p, *mode) & who;

		if (op == '-')
			*mode &= ~bits;
		else
			*mode = (op == '=' ? *mode & ~who : *mode) | bits;
	}
	return true;
}

bool fs_mode_change(const char *text, uint32_t mode, uint32_t *ret)
{
	size_t digits = strspn(text, "01234567");

	if (digits > 0) {
		*ret = (uint32_t)strtoul(text, NULL, 8);
		return !text[digits] && digits <= 5 && *ret <= 07777;
	}
	for (const char *p = text; take_clause(&p, &mode);) {
		if (!*p) {
			*ret = mode & 07777;
			return true;
		}
		if (*p++ != ',')
			return false;
	}
	return false;
}
