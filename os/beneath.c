/* os/beneath.c - see beneath.h. */
#include "os/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The folder that the first @len bytes of @path name, below @dir. A new descriptor. */
static int walk(int dir, const char *path, size_t len)
{
	int at = fcntl(dir, F_DUPFD_CLOEXEC, 3);

	for (size_t i = 0; i < len && at >= 0;) {
		size_t n = strcspn(path + i, "/");
		char part[NAME_MAX + 1];
		int next = -1;

		if (n > NAME_MAX) {
			errno = ENAMETOOLONG;
		} else if (n == 2 && path[i] == '.' && path[i + 1] == '.') {
			errno = EXDEV;
		} else {
			snprintf(part, sizeof(part), "%.*s", (int)n, path + i);
			next = n ? openat(at, part, O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC) :
				   fcntl(at, F_DUPFD_CLOEXEC, 3);
		}
		close(at);
		at = next;
		i += n + 1;
	}
	return at;
}

int os_open_beneath_plain(int dir, const char *path, int flags, unsigned mode)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	int at, fd, saved;

	if (*path == '/' || strcmp(name, "..") == 0) {
		errno = EXDEV;
		return -1;
	}
	at = walk(dir, path, slash ? (size_t)(slash - path) : 0);
	if (at < 0)
		return -1;
	fd = openat(at, *name ? name : ".", flags | O_NOFOLLOW | O_CLOEXEC, mode);
	saved = errno;
	close(at);
	errno = saved;
	return fd;
}

int os_open_beneath(int dir, const char *path, int flags, unsigned mode)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC),
				.mode = flags & O_CREAT ? mode : 0,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	long fd;

	/* EAGAIN: something was renamed meanwhile; EPERM, EINVAL, ENOSYS: a sandbox or an old kernel. */
	for (int i = 0; i < 16; i++) {
		fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
		return os_open_beneath_plain(dir, path, flags, mode);
	return (int)fd;
}
