/*
 * enroll/way.c - see way.h.
 *
 *	operator answered      final, be it yes or no
 *	anything else          the next way; the last one's end is everybody's end
 *
 * An attacker on the first way can make it fail, and cannot make it succeed: so only what was authentic may stop the
 * search, and whoever blocks one way does not block the others.
 */
#include "enroll/way.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct voice {
	enroll_say_fn fn;
	void *ctx;
};

static void say(const struct voice *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(const struct voice *v, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	line[0] = (char)toupper((unsigned char)line[0]);
	v->fn(v->ctx, line);
}

static const struct enroll_way *next_way(const struct enroll_way *ways, size_t n, size_t *at, const struct enroll_token *t)
{
	while (*at < n) {
		const struct enroll_way *w = &ways[(*at)++];

		if (w->serves(t))
			return w;
	}
	return NULL;
}

static bool tells_more(const struct enroll_outcome *o, const struct enroll_outcome *than)
{
	return !than->by || (than->code == ENROLL_LOST && o->code != ENROLL_LOST);
}

/* Whole lines of @text, each said by itself. */
static void say_lines(const struct voice *v, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		say(v, "%.*s", (int)n, text);
		text += n + (text[n] == '\n');
	}
}

void enroll_ways_ask(const struct enroll_way *ways, size_t n, const struct enroll_question *q, enroll_say_fn fn, void *ctx,
		     struct enroll_outcome *ret)
{
	const struct voice v = { fn, ctx };
	struct enroll_outcome best = { .code = ENROLL_LOST };
	size_t at = 0;
	const struct enroll_way *w = next_way(ways, n, &at, q->token), *after;

	for (; w; w = after) {
		struct enroll_outcome o = { .code = ENROLL_LOST };

		w->ask(w->ctx, q, &o);
		ASSERT(o.code != ENROLL_OK || o.is_authentic);
		o.by = w;
		if (o.is_authentic || tells_more(&o, &best))
			best = o;
		if (o.is_authentic)
			break;
		after = next_way(ways, n, &at, q->token);
		if (after)
			say(&v, "%s failed. Trying %s...", w->name, after->name);
	}
	if (best.by && best.code == ENROLL_OK) {
		say(&v, "%s enrollment succeeded.", best.by->noun);
		say_lines(&v, best.by->steps);
	}
	*ret = best;
}
