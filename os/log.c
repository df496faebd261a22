/*
 * os/log.c - the sink of log lines.
 *
 * Rotation: when the file has grown beyond its limit it is renamed to NAME-<UTC time>.<serial>, a new one begins, and a
 * child process compresses the old one (to .gz under a temporary name, renamed when whole) so that the loop does not wait
 * for 50 MiB of zlib. A child that is killed leaves the uncompressed file. Old ones beyond the number or the age are
 * removed at each rotation. Several processes may write to one file: who finds it renamed by another opens the new one.
 * If anything of that fails, logging goes on in the file that is open; a full disk loses lines and nothing else.
 */
#include "os/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <zlib.h>

#include "os/file.h"
#include "os/task.h"

#define CHECK_EVERY 256 /* lines between looks whether our file is still the one of that name */

static struct {
	int fd; /* -1 = standard error */
	bool also_stderr;
	char path[PATH_MAX - 64];
	size_t size, max_size;
	unsigned max_backups, max_age_days, n_lines;
} out = { .fd = -1 };

static void utc(char *buf, size_t size, const char *fmt, time_t t)
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, size, fmt, &tm);
}

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
}

/* ---- rotation ---- */

/*
 * One compresses at a time, in the same temporary file, so that what a killed one left is taken over. Who waited for the
 * lock holds what meanwhile has its final name, and opens again.
 */
static int open_temp(const char *temp)
{
	struct stat mine, named;

	for (;;) {
		int fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX) != 0 || fstat(fd, &mine) != 0) {
			close(fd);
			return -1;
		}
		if (stat(temp, &named) == 0 && named.st_ino == mine.st_ino && ftruncate(fd, 0) == 0)
			return fd;
		close(fd);
	}
}

static bool compress_to(int to, const char *from)
{
	char buf[16384];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int copy = dup(to); /* gzclose() closes it; the lock lives on in @to until the file has its name */
	gzFile gz = copy >= 0 ? gzdopen(copy, "wb") : NULL;
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

NORETURN static void compress_and_exit(const char *old)
{
	char temp[PATH_MAX], name[PATH_MAX];
	int fd;

	/* Nobody waits for this. */
	setpriority(PRIO_PROCESS, 0, 19);
	snprintf(temp, sizeof(temp), "%s.tmp", out.path);
	snprintf(name, sizeof(name), "%s.gz", old);
	fd = open_temp(temp);
	if (fd < 0)
		_exit(1);
	if (compress_to(fd, old) && rename(temp, name) == 0)
		unlink(old);
	else
		unlink(temp);
	_exit(0);
}

/* Twice forked: nobody has to wait for it. We have one thread, so the child may do as it likes. */
static void compress_aside(const char *old)
{
	pid_t pid = os_fork_quiet();

	if (pid == 0) {
		if (fork() != 0)
			_exit(0);
		compress_and_exit(old);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* PATH-2026...: an older file of ours */
static int is_backup(const struct dirent *d)
{
	const char *base = strrchr(out.path, '/');
	size_t n;

	base = base ? base + 1 : out.path;
	n = strlen(base);
	return strncmp(d->d_name, base, n) == 0 && d->d_name[n] == '-' && d->d_name[n + 1] >= '0' &&
	       d->d_name[n + 1] <= '9';
}

static void prune(void)
{
	char folder[PATH_MAX], name[PATH_MAX + 256];
	time_t oldest = time(NULL) - (time_t)out.max_age_days * 86400;
	struct dirent **found;
	struct stat st;
	char *slash;
	int n;

	snprintf(folder, sizeof(folder), "%s", out.path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[1] = '\0';
	else
		snprintf(folder, sizeof(folder), ".");
	/* The names sort by time. */
	n = scandir(folder, &found, is_backup, alphasort);
	for (int i = 0; i < n; i++) {
		bool surplus = out.max_backups && (unsigned)i + out.max_backups < (unsigned)n;

		snprintf(name, sizeof(name), "%s/%s", folder, found[i]->d_name);
		if (surplus || (out.max_age_days && stat(name, &st) == 0 && st.st_mtime < oldest))
			unlink(name);
		free(found[i]);
	}
	if (n >= 0)
		free(found);
}

/* Takes the file that has our name now, if it is another one. */
static bool follow_name(void)
{
	struct stat ours, named;
	int fd;

	if (fstat(out.fd, &ours) != 0 || (stat(out.path, &named) == 0 && named.st_ino == ours.st_ino))
		return false;
	fd = open_file(out.path);
	if (fd < 0)
		return false;
	close(out.fd);
	out.fd = fd;
	out.size = fstat(fd, &ours) == 0 ? (size_t)ours.st_size : 0;
	return true;
}

static void rotate(void)
{
	static unsigned serial;
	char old[PATH_MAX], stamp[32];

	if (follow_name())
		return;
	utc(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", time(NULL));
	snprintf(old, sizeof(old), "%s-%s.%03u", out.path, stamp, serial++ % 1000);
	/* Should it fail, it is tried again after as much as this. */
	out.size = 0;
	if (rename(out.path, old) != 0 || !follow_name())
		return;
	prune();
	compress_aside(old);
}

/* ---- lines ---- */

static void write_line(const char *text, size_t len)
{
	if (out.fd < 0 || out.also_stderr)
		if (write(STDERR_FILENO, text, len) < 0 && out.fd < 0)
			return;
	if (out.fd < 0)
		return;
	if (++out.n_lines % CHECK_EVERY == 0)
		follow_name();
	if (write(out.fd, text, len) < 0)
		return;
	out.size += len;
	if (out.max_size && out.size >= out.max_size)
		rotate();
}

static void sink(enum log_level level, const char *line)
{
	char text[1400], stamp[32];
	struct timespec ts;
	int n;

	clock_gettime(CLOCK_REALTIME, &ts);
	utc(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", ts.tv_sec);
	n = snprintf(text, sizeof(text), "%s.%03ldZ %s %s\n", stamp, ts.tv_nsec / 1000000, log_level_name(level), line);
	write_line(text, (size_t)MIN(n, (int)sizeof(text) - 1));
}

/* ---- opening ---- */

static enum err make_folder(const char *path)
{
	char folder[PATH_MAX];
	char *slash;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash || slash == folder)
		return OK;
	*slash = '\0';
	return os_mkdir_p(folder, 0700);
}

enum err os_log_open(const struct os_log_config *cfg)
{
	struct stat st = { 0 };
	int fd = -1;

	if (cfg->file) {
		enum err e = strlen(cfg->file) >= sizeof(out.path) ? ERR_TOO_LONG : make_folder(cfg->file);

		if (e != OK)
			return e;
		fd = open_file(cfg->file);
		if (fd < 0)
			return err_from_errno(errno);
	}
	os_log_close();
	out.fd = fd;
	out.also_stderr = cfg->also_stderr;
	snprintf(out.path, sizeof(out.path), "%s", cfg->file ? cfg->file : "");
	out.size = fd >= 0 && fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
	/* A pipe or a device is not rotated. */
	out.max_size = fd >= 0 && S_ISREG(st.st_mode) ? (size_t)cfg->max_size_mb << 20 : 0;
	out.max_backups = cfg->max_backups;
	out.max_age_days = cfg->max_age_days;
	log_set(cfg->level, sink);
	return OK;
}

enum err os_log_open_default(const struct os_log_config *cfg, const char *name, const char **ret_path)
{
	static char path[sizeof(out.path)];
	const char *state = getenv("XDG_STATE_HOME"), *home = os_home();
	struct os_log_config own = *cfg;

	*ret_path = path;
	path[0] = '\0';
	if (state && state[0] == '/')
		snprintf(path, sizeof(path), "%s/nefia/%s", state, name);
	else if (home)
		snprintf(path, sizeof(path), "%s/.local/state/nefia/%s", home, name);
	else
		return ERR_NOT_FOUND;
	own.file = path;
	return os_log_open(&own);
}

void os_log_close(void)
{
	if (out.fd >= 0)
		close(out.fd);
	out.fd = -1;
}
