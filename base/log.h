/*
 * base/log.h - levelled, structured log lines: "message key=value key=value".
 *
 * Machines never log; they return events and the programs log those. The sink (where lines go, their
 * timestamp, rotation) belongs to os/log.h. What a stranger can cause is logged through a log_limit.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/types.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

typedef void (*log_sink_fn)(enum log_level level, const char *line);

/** log_set() - lines of @level and above go to @sink; NULL = standard error */
void log_set(enum log_level level, log_sink_fn sink);
bool log_enabled(enum log_level level);
const char *log_level_name(enum log_level level);
/** log_level_parse() - "debug", "info", "warn", "error" */
bool log_level_parse(const char *s, enum log_level *ret);
/** log_msg() - one line; control characters in it are escaped, so that peers cannot forge lines */
void log_msg(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_debug(...)                                                                             \
	(log_enabled(LOG_DEBUG) ? log_msg(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_msg(LOG_ERROR, __VA_ARGS__)

/* One line in 10 s per use; the number held back is told with the next. Zero-initialise. */
struct log_limit {
	nsec_t next;
	uint32_t n_held;
};

/** log_limit_ok() - may this be logged now? *ret_held = how many were held back since the last */
bool log_limit_ok(struct log_limit *l, nsec_t now, uint32_t *ret_held);

#endif
