/*
 * operator/fs_local.c - see fs_local.h.
 *
 * Every step begins at the folder's descriptor and goes through os_open_beneath(): no link is followed, neither one that was
 * there nor one that the server has just sent, and no path leads out. A name is looked at before anyway (fs_name_is_safe()).
 */
#include "operator/fs_local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "operator/fs_name.h"
#include "os/beneath.h"
#include "os/loop.h"

#define SUFFIX_LEN 28 /* of the temporary name */
#define BLOCK 4096
#define WRITEBACK (8u << 20) /* the disk is kept busy from the beginning, so that the sync at the end is short */

/* ---- the tree ---- */

int fs_tree_open(struct fs_tree *t, const char *path)
{
	*t = (struct fs_tree){ .last = -1 };
	t->root = open(path, O_DIRECTORY | O_PATH | O_CLOEXEC);
	return t->root < 0 ? errno : 0;
}

static void forget_last(struct fs_tree *t)
{
	if (t->last >= 0)
		close(t->last);
	t->last = -1;
}

void fs_tree_close(struct fs_tree *t)
{
	forget_last(t);
	if (t->root >= 0)
		close(t->root);
	t->root = -1;
}

/* The folder that @path is in; *ret_name its last part. Return: 0 or an errno value. */
static int parent_of(struct fs_tree *t, const char *path, int *ret_dir, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (!fs_name_is_safe(path) || strlen(path) >= PATH_MAX)
		return EINVAL;
	*ret_name = slash ? slash + 1 : path;
	if (strlen(*ret_name) > NAME_MAX)
		return ENAMETOOLONG;
	if (len == 0) {
		*ret_dir = t->root;
		return 0;
	}
	if (t->last < 0 || strlen(t->last_path) != len || memcmp(t->last_path, path, len) != 0) {
		forget_last(t);
		snprintf(t->last_path, sizeof(t->last_path), "%.*s", (int)len, path);
		t->last = os_open_beneath(t->root, t->last_path, O_DIRECTORY | O_PATH, 0);
		if (t->last < 0)
			return errno;
	}
	*ret_dir = t->last;
	return 0;
}

/* A folder that an earlier copy made unwritable: it gets its mode again in the end. */
static int open_up(struct fs_tree *t, const char *path, mode_t mode)
{
	int fd = os_open_beneath(t->root, path, O_DIRECTORY | O_RDONLY, 0), e;

	if (fd < 0)
		return errno;
	e = fchmod(fd, (mode & 07777) | 0700) == 0 ? 0 : errno;
	close(fd);
	return e;
}

int fs_tree_mkdir(struct fs_tree *t, const char *path)
{
	const char *name;
	struct stat st;
	int dir, e;

	if (!*path)
		return 0;
	e = parent_of(t, path, &dir, &name);
	if (e)
		return e;
	if (mkdirat(dir, name, 0700) == 0)
		return 0;
	e = errno;
	if (e != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return e;
	if (!S_ISDIR(st.st_mode))
		return ENOTDIR;
	return (st.st_mode & 0700) == 0700 ? 0 : open_up(t, path, st.st_mode);
}

/* "NAME.nefia-SOURCE.part", the name cut where it would be too long. */
static void temp_name(char ret[NAME_MAX + 1], const char *name, uint64_t source)
{
	snprintf(ret, NAME_MAX + 1, "%.*s.nefia-%016" PRIx64 ".part", NAME_MAX - SUFFIX_LEN, name, source);
}

int fs_tree_link(struct fs_tree *t, const char *path, const char *target)
{
	char temp[NAME_MAX + 1];
	const char *name;
	int dir, e = parent_of(t, path, &dir, &name);

	if (e)
		return e;
	temp_name(temp, name, rng_u64(os_rng()));
	if (symlinkat(target, dir, temp) != 0)
		return errno;
	if (renameat(dir, temp, dir, name) == 0)
		return 0;
	e = errno;
	unlinkat(dir, temp, 0);
	return e;
}

static int set_fd(int fd, const struct ssh_attr *a)
{
	const struct timespec times[2] = { { .tv_sec = a->atime }, { .tv_sec = a->mtime } };

	if (a->which & SSH_ATTR_MODE && fchmod(fd, a->mode & 0777) != 0)
		return errno;
	if (a->which & SSH_ATTR_TIMES && futimens(fd, times) != 0)
		return errno;
	return 0;
}

int fs_tree_set(struct fs_tree *t, const char *path, const struct ssh_attr *a)
{
	int fd = os_open_beneath(t->root, *path ? path : ".", O_DIRECTORY | O_RDONLY, 0), e;

	if (fd < 0)
		return errno;
	e = set_fd(fd, a);
	close(fd);
	return e;
}

/* ---- a file ---- */

/* Only a plain file of ours is gone on from: a link or somebody's pipe could lead the bytes elsewhere. */
static int open_kept(struct fs_out *o)
{
	struct stat st;

	o->fd = openat(o->dir, o->temp, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (o->fd < 0 || fstat(o->fd, &st) != 0)
		return errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1)
		return EEXIST;
	o->size = (uint64_t)st.st_size;
	return 0;
}

static int open_new(struct fs_out *o)
{
	o->fd = openat(o->dir, o->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return o->fd < 0 ? errno : 0;
}

/* A device or a pipe stays: a file in its place is hardly what was meant. */
static bool is_special(int dir, const char *name)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) && !S_ISDIR(st.st_mode);
}

int fs_out_begin(struct fs_out *o, struct fs_tree *t, const char *path, uint64_t source, bool resume)
{
	const char *name;
	int dir, e = parent_of(t, path, &dir, &name);

	*o = (struct fs_out){ .dir = -1, .fd = -1 };
	if (e == 0 && is_special(dir, name))
		e = EEXIST;
	if (e)
		return e;
	o->dir = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	if (o->dir < 0)
		return errno;
	snprintf(o->name, sizeof(o->name), "%s", name);
	temp_name(o->temp, name, resume ? source : rng_u64(os_rng()));
	e = resume ? open_kept(o) : open_new(o);
	if (e) {
		o->temp[0] = '\0'; /* not ours to take away */
		fs_out_abort(o, true);
	}
	return e;
}

int fs_out_restart(struct fs_out *o)
{
	o->size = 0;
	return ftruncate(o->fd, 0) == 0 ? 0 : errno;
}

bool fs_out_equals(struct fs_out *o, uint64_t offset, struct bytes data)
{
	uint8_t buf[65536];

	for (size_t at = 0; at < data.len;) {
		ssize_t n = pread(o->fd, buf, MIN(sizeof(buf), data.len - at), (off_t)(offset + at));

		if (n <= 0 || memcmp(buf, data.p + at, (size_t)n) != 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* How much from @p on is alike: blocks of zeros, or blocks that are none. Blocks are those of the file. */
static size_t run_of(uint64_t offset, const uint8_t *p, size_t len, bool *ret_zero)
{
	size_t at = 0;

	while (at < len) {
		size_t n = MIN(len - at, BLOCK - (size_t)((offset + at) % BLOCK));
		bool zero = is_zero(p + at, n);

		if (at == 0)
			*ret_zero = zero;
		else if (zero != *ret_zero)
			break;
		at += n;
	}
	return at;
}

static int write_all_at(int fd, uint64_t offset, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : EIO;
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int fs_out_write(struct fs_out *o, uint64_t offset, struct bytes data)
{
	uint64_t before = o->size;

	for (size_t at = 0; at < data.len;) {
		bool zero = false;
		size_t n = run_of(offset + at, data.p + at, data.len - at, &zero);
		int e = zero ? 0 : write_all_at(o->fd, offset + at, data.p + at, n);

		if (e)
			return e;
		at += n;
	}
	o->size = offset + data.len;
	if (o->size / WRITEBACK != before / WRITEBACK)
		sync_file_range(o->fd, (off_t)(before / WRITEBACK * WRITEBACK), WRITEBACK, SYNC_FILE_RANGE_WRITE);
	return 0;
}

/* For the new name, where the folder may be read and its file system can. */
static int sync_folder(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int e = fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != EROFS ? errno : 0;

	if (fd >= 0)
		close(fd);
	return e;
}

int fs_out_finish(struct fs_out *o, uint64_t size, const struct ssh_attr *a, bool sync)
{
	int e = ftruncate(o->fd, (off_t)size) == 0 ? 0 : errno;

	if (e == 0)
		e = set_fd(o->fd, a);
	if (e == 0 && sync && fsync(o->fd) != 0)
		e = errno;
	if (e == 0 && renameat(o->dir, o->temp, o->dir, o->name) != 0)
		e = errno;
	if (e == 0)
		o->temp[0] = '\0';
	if (e == 0 && sync)
		e = sync_folder(o->dir);
	fs_out_abort(o, false);
	return e;
}

void fs_out_abort(struct fs_out *o, bool keep)
{
	if (o->dir >= 0 && o->temp[0] && !(keep && o->size > 0))
		unlinkat(o->dir, o->temp, 0);
	else if (o->fd >= 0 && o->temp[0] && ftruncate(o->fd, (off_t)o->size) != 0)
		unlinkat(o->dir, o->temp, 0); /* zeros at its end would be missing: of no use */
	if (o->fd >= 0)
		close(o->fd);
	if (o->dir >= 0)
		close(o->dir);
	o->fd = o->dir = -1;
	o->temp[0] = '\0';
}
