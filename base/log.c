/* base/log.c - see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES 1024
#define LIMIT_INTERVAL (10 * NSEC_PER_SEC)

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static enum log_level min_level = LOG_INFO;
static log_sink_fn the_sink;

void log_set(enum log_level level, log_sink_fn sink)
{
	min_level = level;
	the_sink = sink;
}

bool log_enabled(enum log_level level)
{
	return level >= min_level;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

bool log_level_parse(const char *s, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
		if (strcmp(s, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	return false;
}

/* Escapes control characters of @in into @out as \xNN. */
static void escape(char *out, size_t size, const char *in)
{
	size_t n = 0;

	for (; *in && n + 5 < size; in++) {
		unsigned char c = (unsigned char)*in;

		if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(out + n, size - n, "\\x%02x", c);
		else
			out[n++] = (char)c;
	}
	out[n] = '\0';
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char raw[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 64];
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	escape(line, sizeof(line), raw);
	if (the_sink)
		the_sink(level, line);
	else
		fprintf(stderr, "%s: %s\n", level_names[level], line);
}

bool log_limit_ok(struct log_limit *l, nsec_t now, uint32_t *ret_held)
{
	if (now < l->next) {
		l->n_held++;
		return false;
	}
	l->next = now + LIMIT_INTERVAL;
	*ret_held = l->n_held;
	l->n_held = 0;
	return true;
}
