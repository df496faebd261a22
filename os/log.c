/*
 * os/log.c - the sink of log lines.
 *
 * Rotation: when the file would grow beyond its limit it is compressed to NAME-<UTC time>.gz, written under a
 * temporary name and renamed, and a new one begins. Old ones beyond the number or the age are removed then. If
 * anything of that fails, logging goes on in the file that is open.
 */
#include "os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <zlib.h>

#include "os/file.h"

static struct {
	int fd; /* -1 = standard error */
	char path[PATH_MAX - 64];
	size_t size, max_size;
	unsigned max_backups, max_age_days;
	bool echo;
} out = { .fd = -1 };

static void utc(char *buf, size_t size, const char *fmt, time_t t)
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, size, fmt, &tm);
}

static bool compress_to(const char *temp)
{
	char buf[16384];
	gzFile gz = gzopen(temp, "wbe");
	int in = open(out.path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (gz && in >= 0)
		while ((n = read(in, buf, sizeof(buf))) > 0)
			if (gzwrite(gz, buf, (unsigned)n) != (int)n) {
				n = -1;
				break;
			}
	if (in >= 0)
		close(in);
	return gz && gzclose(gz) == Z_OK && n == 0;
}

static void prune(void)
{
	char pattern[PATH_MAX];
	time_t oldest = time(NULL) - (time_t)out.max_age_days * 86400;
	glob_t g;
	struct stat st;

	snprintf(pattern, sizeof(pattern), "%s-*.gz", out.path);
	if (glob(pattern, 0, NULL, &g) != 0)
		return;
	/* The names sort by time. */
	for (size_t i = 0; i < g.gl_pathc; i++) {
		bool surplus = out.max_backups && i + out.max_backups < g.gl_pathc;
		bool aged = out.max_age_days && stat(g.gl_pathv[i], &st) == 0 && st.st_mtime < oldest;

		if (surplus || aged)
			unlink(g.gl_pathv[i]);
	}
	globfree(&g);
}

static void rotate(void)
{
	static unsigned serial;
	char name[PATH_MAX], temp[PATH_MAX], stamp[32];

	utc(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", time(NULL));
	snprintf(name, sizeof(name), "%s-%s.%03u.gz", out.path, stamp, serial++ % 1000);
	snprintf(temp, sizeof(temp), "%s.tmp", out.path);
	out.size = 0;
	if (!compress_to(temp) || rename(temp, name) != 0) {
		unlink(temp);
		return;
	}
	if (ftruncate(out.fd, 0) != 0)
		return;
	prune();
}

static void sink(enum log_level level, const char *line)
{
	char text[1400], stamp[32];
	struct timespec ts;
	int n;

	clock_gettime(CLOCK_REALTIME, &ts);
	utc(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", ts.tv_sec);
	n = snprintf(text, sizeof(text), "%s.%03ldZ %s %s\n", stamp, ts.tv_nsec / 1000000, log_level_name(level),
		     line);
	n = MIN(n, (int)sizeof(text) - 1);
	if ((out.fd < 0 || out.echo) && write(STDERR_FILENO, text, (size_t)n) < 0 && out.fd < 0)
		return;
	if (out.fd >= 0 && write(out.fd, text, (size_t)n) < 0)
		return;
	out.size += (size_t)n;
	if (out.fd >= 0 && out.max_size && out.size >= out.max_size)
		rotate();
}

enum err os_log_open(const struct os_log_config *cfg)
{
	struct stat st;
	int fd = -1;

	if (cfg->file) {
		if (strlen(cfg->file) >= sizeof(out.path))
			return ERR_TOO_LONG;
		fd = open(cfg->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0)
			return err_from_errno(errno);
	}
	os_log_close();
	out.fd = fd;
	out.echo = cfg->echo;
	snprintf(out.path, sizeof(out.path), "%s", cfg->file ? cfg->file : "");
	out.size = fd >= 0 && fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
	out.max_size = (size_t)cfg->max_size_mb << 20;
	out.max_backups = cfg->max_backups;
	out.max_age_days = cfg->max_age_days;
	log_set(cfg->level, sink);
	return OK;
}

void os_log_close(void)
{
	if (out.fd >= 0)
		close(out.fd);
	out.fd = -1;
}
