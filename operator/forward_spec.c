/*
 * operator/forward_spec.c - see forward_spec.h.
 *
 * The argument is cut at colons outside of brackets; a part that begins with a slash is the path of a Unix socket and
 * stands for a host and a port. So the number of parts says which are there.
 */
#include "operator/forward_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_PARTS_MAX 4

struct part {
	const char *p;
	size_t len;
};

/* Return: how many; 0 = malformed. */
static size_t cut(const char *arg, struct part parts[N_PARTS_MAX])
{
	size_t n = 0;

	for (;;) {
		struct part *part = &parts[n];
		const char *end = arg;

		if (n++ == N_PARTS_MAX)
			return 0;
		if (*arg == '[') {
			end = strchr(arg, ']');
			if (!end)
				return 0;
			*part = (struct part){ arg + 1, (size_t)(end - arg - 1) };
			end++;
		} else {
			end = arg + strcspn(arg, ":");
			*part = (struct part){ arg, (size_t)(end - arg) };
		}
		if (*end == '\0')
			return n;
		if (*end != ':')
			return 0;
		arg = end + 1;
	}
}

static enum err read_port(const struct part *part, bool may_be_zero, uint16_t *ret)
{
	unsigned long n = 0;

	if (part->len == 0 || part->len > 5)
		return ERR_FORMAT;
	for (size_t i = 0; i < part->len; i++) {
		if (part->p[i] < '0' || part->p[i] > '9')
			return ERR_FORMAT;
		n = n * 10 + (unsigned long)(part->p[i] - '0');
	}
	if (n > 65535 || (n == 0 && !may_be_zero))
		return ERR_FORMAT;
	*ret = (uint16_t)n;
	return OK;
}

static enum err read_host(const struct part *part, char ret[FORWARD_HOST_MAX])
{
	if (part->len == 0)
		return ERR_FORMAT;
	if (part->len >= FORWARD_HOST_MAX)
		return ERR_TOO_LONG;
	memcpy(ret, part->p, part->len);
	ret[part->len] = '\0';
	return OK;
}

/* What goes with a port is no path, and no name begins with a bracket. */
static enum err read_name(const struct part *part, char ret[FORWARD_HOST_MAX])
{
	return part->len > 0 && (part->p[0] == '/' || part->p[0] == '[') ? ERR_FORMAT : read_host(part, ret);
}

static bool is_path(const struct part *part)
{
	return part->len > 1 && part->p[0] == '/';
}

/* The name of the end that listens: what people write for it as an address. */
static void resolve_bind(struct forward_end *e)
{
	if (strcmp(e->host, "*") == 0)
		strcpy(e->host, "0.0.0.0");
	else if (strcmp(e->host, "localhost") == 0 || !e->host[0])
		strcpy(e->host, "127.0.0.1");
}

/* [BIND:]PORT or /PATH out of @n parts. */
static enum err read_listen(const struct part *parts, size_t n, struct forward_end *ret)
{
	enum err e = OK;

	if (n == 1 && is_path(&parts[0]))
		return read_host(&parts[0], ret->host);
	if (n < 1 || n > 2)
		return ERR_FORMAT;
	if (n == 2)
		e = read_name(&parts[0], ret->host);
	if (e == OK)
		e = read_port(&parts[n - 1], true, &ret->port);
	if (e == OK)
		resolve_bind(ret);
	return e;
}

enum err forward_spec_parse(const char *arg, bool with_target, struct forward_spec *ret)
{
	struct part parts[N_PARTS_MAX];
	struct forward_spec s = { 0 };
	size_t n = cut(arg, parts), n_target;
	enum err e = n ? OK : ERR_FORMAT;

	n_target = !with_target ? 0 : n && is_path(&parts[n - 1]) ? 1 : 2;
	if (e == OK && n <= n_target)
		e = ERR_FORMAT;
	if (e == OK)
		e = read_listen(parts, n - n_target, &s.listen);
	if (e == OK && n_target == 1)
		e = read_host(&parts[n - 1], s.target.host);
	if (e == OK && n_target == 2)
		e = read_name(&parts[n - 2], s.target.host);
	if (e == OK && n_target == 2)
		e = read_port(&parts[n - 1], false, &s.target.port);
	if (e == OK)
		*ret = s;
	return e;
}

bool forward_end_is_path(const struct forward_end *e)
{
	return e->host[0] == '/';
}

const char *forward_end_format(const struct forward_end *e, char buf[FORWARD_END_STR_MAX])
{
	bool has_colon = strchr(e->host, ':');
	int n = snprintf(buf, FORWARD_END_STR_MAX, "%s%s%s", has_colon ? "[" : "", e->host, has_colon ? "]" : "");

	if (!forward_end_is_path(e))
		snprintf(buf + n, FORWARD_END_STR_MAX - (size_t)n, ":%u", e->port);
	return buf;
}
