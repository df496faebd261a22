/* os/log.h - where log lines go: standard error, or a file with rotation. */
#ifndef OS_LOG_H
#define OS_LOG_H

#include "base/err.h"
#include "base/log.h"

struct os_log_config {
	enum log_level level;
	const char *file;      /* NULL = standard error */
	bool echo;             /* to standard error beside the file */
	unsigned max_size_mb;  /* rotate beyond; 0 = never */
	unsigned max_backups;  /* compressed old files kept */
	unsigned max_age_days; /* older ones are removed */
};
/** os_log_open() - lines become "2026-11-21T10:00:00.123Z info message key=value" */
MUST_CHECK enum err os_log_open(const struct os_log_config *cfg);
void os_log_close(void);

#endif
