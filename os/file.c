/* os/file.c - see file.h: reading whole files, replacing them atomically, locks. */
#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "os/loop.h"

/* @size: what is expected. With room for that and the end a secret is not left behind in a smaller buffer. */
static enum err read_fd(int fd, size_t size, size_t max, char **ret, size_t *ret_len)
{
	size_t len = 0, cap = MIN(MAX(size, (size_t)4095), max) + 1;
	char *buf = malloc(cap + 1), *bigger;

	for (;;) {
		ssize_t n;

		if (!buf)
			return ERR_NOMEM;
		n = read(fd, buf + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || len + (size_t)n > max) {
			enum err e = n < 0 ? err_from_errno(errno) : ERR_TOO_LONG;

			free(buf);
			return e;
		}
		len += (size_t)n;
		if (n == 0)
			break;
		if (len == cap) {
			cap *= 2;
			bigger = realloc(buf, cap + 1);
			if (!bigger)
				free(buf);
			buf = bigger;
		}
	}
	buf[len] = '\0';
	*ret = buf;
	*ret_len = len;
	return OK;
}

enum err os_file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };
	enum err e;

	if (fd < 0)
		return err_from_errno(errno);
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		e = ERR_IS_FOLDER;
	else
		e = read_fd(fd, S_ISREG(st.st_mode) ? (size_t)st.st_size : 0, max, ret, ret_len);
	close(fd);
	return e;
}

enum err os_write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, -1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n == 0 ? ERR_NO_SPACE : errno == EPIPE ? ERR_CLOSED : err_from_errno(errno);
		p += n;
		len -= (size_t)n;
	}
	return OK;
}

static enum err sync_folder(const char *path)
{
	char dir[PATH_MAX];
	char *slash;
	int fd;
	enum err e = OK;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == dir)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	/* Some file systems cannot sync a folder; then there is nothing more to do. */
	if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
		e = err_from_errno(errno);
	close(fd);
	return e;
}

/* The file that a symbolic link at @path names, or @path itself. */
static void follow_link(const char *path, char target[PATH_MAX])
{
	char link[PATH_MAX];
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	const char *slash = strrchr(path, '/');
	int len;

	snprintf(target, PATH_MAX, "%s", path);
	if (n <= 0)
		return;
	link[n] = '\0';
	if (link[0] == '/' || !slash)
		len = snprintf(target, PATH_MAX, "%s", link);
	else
		len = snprintf(target, PATH_MAX, "%.*s/%s", (int)(slash - path), path, link);
	if (len >= PATH_MAX)
		snprintf(target, PATH_MAX, "%s", path);
}

static enum err write_temp(const char *temp, const void *buf, size_t len, unsigned mode)
{
	int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	enum err e;

	if (fd < 0)
		return err_from_errno(errno);
	e = os_write_all(fd, buf, len);
	if (e == OK && fchmod(fd, mode) != 0)
		e = err_from_errno(errno);
	if (e == OK && fsync(fd) != 0)
		e = err_from_errno(errno);
	if (close(fd) != 0 && e == OK)
		e = err_from_errno(errno);
	return e;
}

enum err os_file_write_atomic(const char *path, const void *buf, size_t len, unsigned mode)
{
	static unsigned counter;
	char target[PATH_MAX], temp[PATH_MAX + 32];
	enum err e;

	follow_link(path, target);
	if (snprintf(temp, sizeof(temp), "%s.tmp.%ld.%u", target, (long)getpid(), counter++) >= PATH_MAX)
		return ERR_TOO_LONG;
	e = write_temp(temp, buf, len, mode);
	/* A leftover of a killed process that had our number. */
	if (e == ERR_EXISTS && unlink(temp) == 0)
		e = write_temp(temp, buf, len, mode);
	if (e == OK && rename(temp, target) != 0)
		e = err_from_errno(errno);
	if (e != OK) {
		if (e != ERR_EXISTS)
			unlink(temp);
		return e;
	}
	/* The new content stands, whatever a power cut would leave of it: an error here would be taken for the old one. */
	e = sync_folder(target);
	if (e != OK)
		log_warn("folder not synced path=%s error=%s", target, err_text(e));
	return OK;
}

/* The end of the last line, where it has none, stands before ours in the same write. */
static enum err append(int fd, off_t size, const char *line, size_t len)
{
	char last = '\n';
	bool gap = size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
	struct iovec iov[] = { { (char *)"\n", gap }, { (char *)line, len } };
	ssize_t n = writev(fd, iov, 2);
	enum err e;

	if (n == (ssize_t)(len + gap))
		return OK;
	e = n < 0 ? err_from_errno(errno) : ERR_NO_SPACE;
	/* A part of a line would be read as another one. It stands before the offset, whoever wrote since the size was asked for. */
	if (n > 0 && ftruncate(fd, lseek(fd, 0, SEEK_CUR) - n) != 0)
		e = ERR_IO;
	return e;
}

enum err os_file_append(const char *path, const char *line, size_t len, unsigned mode)
{
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, mode);
	struct stat ours, now;
	enum err e;

	if (fd < 0)
		return err_from_errno(errno);
	if (fstat(fd, &ours) != 0)
		e = err_from_errno(errno);
	else
		e = append(fd, ours.st_size, line, len);
	if (e == OK && fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
		e = err_from_errno(errno);
	if (e == OK && ours.st_size == 0)
		e = sync_folder(path);
	if (e == OK && (stat(path, &now) != 0 || now.st_ino != ours.st_ino || now.st_dev != ours.st_dev))
		e = ERR_AGAIN;
	close(fd);
	return e;
}

static bool is_left_behind(const char *name, const char *base, size_t base_len)
{
	char *end;
	long pid;

	if (strncmp(name, base, base_len) != 0 || strncmp(name + base_len, ".tmp.", 5) != 0)
		return false;
	pid = strtol(name + base_len + 5, &end, 10);
	return *end == '.' && pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

void os_file_sweep(const char *path)
{
	char target[PATH_MAX], folder[PATH_MAX];
	const char *slash, *base;
	struct dirent *d;
	DIR *dir;

	follow_link(path, target);
	slash = strrchr(target, '/');
	base = slash ? slash + 1 : target;
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - target) + 1 : 1, slash ? target : ".");
	dir = opendir(folder);
	while (dir && (d = readdir(dir)))
		if (is_left_behind(d->d_name, base, strlen(base)))
			unlinkat(dirfd(dir), d->d_name, 0);
	if (dir)
		closedir(dir);
}

enum err os_file_mode(const char *path, unsigned *ret_mode, unsigned *ret_uid)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return err_from_errno(errno);
	*ret_mode = S_ISREG(st.st_mode) ? st.st_mode & 07777 : 0;
	*ret_uid = st.st_uid;
	return OK;
}

/* 0: it is there, whatever it is; else an errno. */
static int make_folder(const char *path, unsigned mode)
{
	return mkdir(path, mode) == 0 || errno == EEXIST ? 0 : errno;
}

enum err os_mkdir_p(const char *path, unsigned mode)
{
	char part[PATH_MAX];
	struct stat st;
	int r = 0, denied = 0;

	if (snprintf(part, sizeof(part), "%s", path) >= PATH_MAX)
		return ERR_TOO_LONG;
	for (char *slash = strchr(part + (part[0] == '/'), '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = make_folder(part, mode);
		*slash = '/';
		/* What is needed may be there already where nothing may be made; if it is not, this is why. */
		if (r == EACCES || r == EROFS) {
			denied = r;
			r = 0;
		}
	}
	if (r == 0)
		r = make_folder(part, mode);
	if (r == ENOENT && denied)
		r = denied;
	if (r != 0)
		return err_from_errno(r);
	return stat(part, &st) == 0 && S_ISDIR(st.st_mode) ? OK : ERR_NOT_FOLDER;
}

enum err os_file_remove(const char *path)
{
	return unlink(path) == 0 || errno == ENOENT ? OK : err_from_errno(errno);
}

/* ---- locks ---- */

struct os_lock {
	int fd;
};

static enum err flock_tries(int fd, unsigned tries)
{
	for (unsigned i = 0; i < tries; i++) {
		/* About a second: those who wait together do not come back together. */
		struct timespec second = { 0, 500 * NSEC_PER_MSEC + rng_below(os_rng(), 499 * NSEC_PER_MSEC) };

		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return OK;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_from_errno(errno);
		if (i + 1 < tries)
			nanosleep(&second, NULL);
	}
	return ERR_IN_USE;
}

enum err os_lock_take(const char *path, unsigned tries, struct os_lock **ret)
{
	struct os_lock *l = malloc(sizeof(*l));
	enum err e;

	if (!l)
		return ERR_NOMEM;
	l->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->fd < 0) {
		e = err_from_errno(errno);
		free(l);
		return e;
	}
	e = flock_tries(l->fd, tries);
	if (e != OK) {
		os_lock_free(l);
		return e;
	}
	*ret = l;
	return OK;
}

void os_lock_free(struct os_lock *l)
{
	if (!l)
		return;
	close(l->fd);
	free(l);
}

int os_lock_fd(const struct os_lock *l)
{
	return l->fd;
}

/* ---- folders of the user ---- */

#ifdef NEFIA_STATIC
/*
 * A static glibc would load the system's name service modules, perhaps another glibc's, and the linker warns of it. So
 * its function is replaced, for libuv too: the password file alone is read.
 */
int getpwuid_r(uid_t uid, struct passwd *pw, char *buf, size_t size, struct passwd **ret)
{
	FILE *f = fopen("/etc/passwd", "re");
	int e;

	*ret = NULL;
	if (!f)
		return errno;
	do
		e = fgetpwent_r(f, pw, buf, size, ret);
	while (e == 0 && pw->pw_uid != uid);
	fclose(f);
	if (e != 0)
		*ret = NULL;
	return e == ENOENT ? 0 : e;
}
#endif

const char *os_home(void)
{
	static struct passwd pw;
	static char buf[4096];
	const char *home = getenv("HOME");
	struct passwd *found;

	if (home && home[0] == '/')
		return home;
	if (getpwuid_r(getuid(), &pw, buf, sizeof(buf), &found) != 0 || !found)
		return NULL;
	return pw.pw_dir && pw.pw_dir[0] == '/' ? pw.pw_dir : NULL;
}

const char *os_runtime_dir(void)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (!dir || dir[0] != '/' || stat(dir, &st) != 0)
		return NULL;
	return S_ISDIR(st.st_mode) && st.st_uid == getuid() && (st.st_mode & 077) == 0 ? dir : NULL;
}
