/* os/log.h - where log lines go: standard error, a file with rotation, or both. */
#ifndef OS_LOG_H
#define OS_LOG_H

#include "base/err.h"
#include "base/log.h"

struct os_log_config {
	enum log_level level;
	const char *file;      /* NULL = standard error */
	bool also_stderr;      /* with a file: to standard error too */
	unsigned max_size_mb;  /* rotate beyond; 0 = never */
	unsigned max_backups;  /* compressed old files kept; 0 = all */
	unsigned max_age_days; /* older ones are removed; 0 = none */
};
/**
 * os_log_open() - lines become "2026-11-21T10:00:00.123Z info message key=value"
 *
 * Folders of the file are made, 0700. On an error lines go where they went before.
 */
MUST_CHECK enum err os_log_open(const struct os_log_config *cfg);
/** os_log_open_default() - @cfg->file = $XDG_STATE_HOME/nefia/@name, else ~/.local/state/nefia/@name; *ret_path for messages */
MUST_CHECK enum err os_log_open_default(const struct os_log_config *cfg, const char *name, const char **ret_path);
void os_log_close(void);

#endif
