/*
 * operator/fs_put.c - `nefia fs put`: the local tree is walked first, then copied.
 *
 *	folders   level by level, each level at once
 *	files     as many at once as are worth it; links anew (-L: what they lead to)
 *	folders   their modes and times, from the deepest on
 *
 * Holes of sparse files are not sent. With --resume the far side shows the end of what it has of this very file (its name says
 * which: place, size, time); only where these bytes are ours do we go on from them.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "operator/fs_format.h"
#include "operator/fs_get.h"
#include "os/loop.h"

#define CHUNK 261120 /* OpenSSH's longest write */

struct putting {
	struct fs_copy c;
	const char *to;            /* the far folder, or the new name */
	bool to_folder;
	struct list folders, rest; /* jobs, not yet begun; folders in the order in which they were met */
	unsigned depth_max;
};

/* The folders above, for -L: one that is met again is a circle. */
struct above {
	const struct above *up;
	dev_t dev;
	ino_t ino;
};

struct put_job {
	struct fs_job job;
	char *local, *remote, *target; /* target: of a link */
	struct stat st;
	unsigned depth;
	/* a file */
	int fd;
	uint64_t next, credit, old_size, counted;
	bool ready, sparse, eof_sent, has_info;
	/* a link */
	bool aside; /* it is made under another name first, and moved */
};

static const struct fs_job_type file_type, link_type, mkdir_type, set_type;
static uint8_t buf[CHUNK];

/* ---- jobs ---- */

static struct put_job *job_of(struct fs_job *j)
{
	return container_of(j, struct put_job, job);
}

static void free_job(struct fs_job *j)
{
	struct put_job *p = job_of(j);

	if (p->fd >= 0)
		close(p->fd);
	free(p->local);
	free(p->remote);
	free(p->target);
	free(p);
}

static struct put_job *new_job(struct putting *x, const struct fs_job_type *type, const char *local, const char *remote,
			       const struct stat *st)
{
	struct put_job *p = calloc(1, sizeof(*p));

	if (p) {
		p->fd = -1;
		p->local = strdup(local);
		p->remote = strdup(remote);
		p->st = *st;
		fs_job_init(&p->job, &x->c, type, type == &file_type ? (uint64_t)st->st_size : 0);
		if (p->local && p->remote)
			return p;
		free_job(&p->job);
	}
	fs_run_error(&x->c.run, ERR_NOMEM, "out of memory");
	return NULL;
}

static uint32_t clamp_time(time_t t)
{
	return t < 0 ? 0 : t > UINT32_MAX ? UINT32_MAX : (uint32_t)t;
}

static struct ssh_attr attr_of(const struct put_job *p)
{
	return (struct ssh_attr){ .which = SSH_ATTR_MODE | SSH_ATTR_TIMES,
				  .mode = p->st.st_mode & 0777,
				  .atime = clamp_time(p->st.st_atime),
				  .mtime = clamp_time(p->st.st_mtime) };
}

static void fail_local(struct put_job *p, int errnum)
{
	fs_copy_report(p->job.c, p->remote, p->local, 0, ERR_IO, strerror(errnum));
	fs_job_fail_local(&p->job, p->local, errnum);
}

static void fail_remote(struct put_job *p, const struct fs_event *ev)
{
	struct fs_copy *c = p->job.c;

	/* A full disk is full for the next one too. */
	c->fatal |= ev->error == ERR_NO_SPACE;
	fs_copy_report(c, p->remote, p->local, 0, ev->error, ev->message);
	fs_job_fail(&p->job, ev->error, "%s", ev->message);
}

/* The mode that the far umask cuts, where ours is not kept: what the server does with a new file of that mode. */
static uint32_t file_mode(const struct put_job *p)
{
	if (!p->job.c->flags.no_preserve)
		return p->st.st_mode & 0777;
	return p->st.st_mode & 0111 ? 0755 : 0644;
}

/* ---- a file ---- */

static void count(struct put_job *p, uint64_t upto, bool skipped)
{
	struct fs_progress *pr = &p->job.c->progress;

	pr->done += upto - p->counted;
	pr->skipped += skipped ? upto - p->counted : 0;
	p->counted = upto;
}

static void file_stop(struct fs_job *j, bool keep)
{
	struct put_job *p = job_of(j);
	struct fs_progress *pr = &j->c->progress;

	if (p->fd >= 0)
		close(p->fd);
	pr->done -= MIN(p->counted, pr->done);
	pr->skipped = MIN(pr->skipped, pr->done);
	pr->rate_done = MIN(pr->rate_done, pr->done - pr->skipped);
	p->fd = -1;
	p->next = p->credit = p->old_size = p->counted = 0;
	p->ready = p->eof_sent = p->has_info = false;
}

/* The file may be another than it was when the tree was walked. */
static int open_local(struct put_job *p)
{
	bool follow = p->job.c->flags.follow || p->depth == 0;

	if (p->fd < 0)
		p->fd = open(p->local, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
	if (p->fd < 0 || fstat(p->fd, &p->st) != 0)
		return errno;
	if (!S_ISREG(p->st.st_mode))
		return EINVAL;
	p->sparse = p->st.st_blocks * 512 < p->st.st_size;
	return 0;
}

static void file_start(struct fs_job *j)
{
	struct put_job *p = job_of(j);
	struct copy_flags *f = &j->c->flags;
	int e = open_local(p);
	const struct stat *st = &p->st;
	struct fs_request rq = { .op = SSH_OP_PUT,
				 .path = p->remote,
				 .mode = file_mode(p),
				 .attr = attr_of(p),
				 .flags = (f->resume ? SSH_PUT_RESUME : 0) | (f->no_preserve ? 0 : SSH_PUT_TIMES) |
					  (f->no_replace ? SSH_PUT_NO_REPLACE : 0) | (f->recursive ? SSH_PUT_NO_SYNC : 0) };

	if (e) {
		fail_local(p, e);
		return;
	}
	rq.source = fs_copy_source(p->local, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
				   (uint64_t)st->st_ino ^ (uint64_t)st->st_dev << 32);
	p->credit = SSH_PUT_CREDIT;
	p->ready = !f->resume;
	fs_progress_file(&j->c->progress, p->local);
	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static bool ours(struct put_job *p, uint64_t offset, struct bytes data)
{
	return data.len <= sizeof(buf) && pread(p->fd, buf, data.len, (off_t)offset) == (ssize_t)data.len &&
	       memcmp(buf, data.p, data.len) == 0;
}

/* The end of what is there: where it is ours, the rest is sent. */
static void take_tail(struct put_job *p, uint64_t offset, struct bytes tail)
{
	uint64_t size = (uint64_t)p->st.st_size;

	p->ready = true;
	if (tail.len == 0 || offset + tail.len != p->old_size || p->old_size > size || !ours(p, offset, tail)) {
		fs_client_data(&p->job.c->run.client, p->job.id, 0, buf, 0);
		return;
	}
	p->next = p->old_size;
	count(p, p->next, true);
}

/* From @at on: where data begin, and how far they go. Without holes, and where that cannot be told, everything is data. */
static uint64_t next_data(const struct put_job *p, uint64_t at, uint64_t *ret_end)
{
	uint64_t size = (uint64_t)p->st.st_size;
	off_t data = p->sparse ? lseek(p->fd, (off_t)at, SEEK_DATA) : (off_t)at, hole;

	*ret_end = size;
	if (data < 0)
		return errno == ENXIO ? size : at;
	hole = p->sparse ? lseek(p->fd, data, SEEK_HOLE) : (off_t)size;
	if (hole > data)
		*ret_end = MIN((uint64_t)hole, size);
	return MIN((uint64_t)data, size);
}

static bool file_feed(struct fs_job *j)
{
	struct put_job *p = job_of(j);
	uint64_t size = (uint64_t)p->st.st_size, end, at;
	size_t len;
	ssize_t n;

	if (!p->ready || p->eof_sent || p->credit == 0 || j->id < 0)
		return false;
	at = p->next < size ? next_data(p, p->next, &end) : size;
	if (at < size) {
		len = (size_t)MIN(MIN(end - at, p->credit), (uint64_t)CHUNK);
		n = pread(p->fd, buf, len, (off_t)at);
		if (n <= 0) {
			fail_local(p, n < 0 ? errno : EIO);
			return true;
		}
		fs_client_data(&j->c->run.client, j->id, at, buf, (size_t)n);
		p->credit -= (uint64_t)n;
		at += (uint64_t)n;
	}
	p->next = at;
	count(p, at, false);
	if (at == size) {
		p->eof_sent = true;
		fs_client_eof(&j->c->run.client, j->id, size);
	}
	return true;
}

static void file_event(struct fs_job *j, const struct fs_event *ev)
{
	struct put_job *p = job_of(j);

	if (ev->type == SSH_F_OP_INFO) {
		p->old_size = ev->attr.size;
		p->ready = p->old_size == 0;
	} else if (ev->type == SSH_F_OP_BYTES) {
		take_tail(p, ev->offset, ev->data);
	} else if (ev->type == SSH_F_OP_MORE) {
		p->credit += ev->credit;
	} else if (ev->type == SSH_F_OP_DONE && ev->error != OK) {
		fail_remote(p, ev);
	} else if (ev->type == SSH_F_OP_DONE) {
		j->c->progress.files_done++;
		fs_copy_report(j->c, p->remote, p->local, (uint64_t)p->st.st_size, OK, NULL);
		fs_job_end(j);
	}
}

static const struct fs_job_type file_type = {
	.start = file_start, .event = file_event, .feed = file_feed, .stop = file_stop, .free = free_job
};

/* ---- a link ---- */

/* Straight away; where something is there already, under another name, which then takes its place in one step. */
static void link_start(struct fs_job *j)
{
	struct put_job *p = job_of(j);
	char aside[SSH_PATH_MAX + 1];
	struct fs_request rq = { .op = SSH_OP_SYMLINK, .path = p->remote, .second = p->target };

	snprintf(aside, sizeof(aside), "%s.nefia-%016llx.part", p->remote, (unsigned long long)p->next);
	if (p->aside)
		rq.path = aside;
	if (p->aside && p->ready)
		rq = (struct fs_request){ .op = SSH_OP_MV, .path = aside, .second = p->remote };
	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static void link_event(struct fs_job *j, const struct fs_event *ev)
{
	struct put_job *p = job_of(j);

	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error == OK && (!p->aside || p->ready)) {
		j->c->progress.files_done++;
		fs_copy_report(j->c, p->remote, p->local, 0, OK, NULL);
		fs_job_end(j);
	} else if (ev->error != OK && (p->aside || j->c->flags.no_replace || fs_client_is_over(&j->c->run.client))) {
		fail_remote(p, ev);
	} else {
		p->ready = p->aside;
		p->aside = true;
		p->next = p->next ? p->next : rng_u64(os_rng());
		link_start(j);
	}
}

static const struct fs_job_type link_type = { .start = link_start, .event = link_event, .free = free_job };

/* ---- folders ---- */

/*
 * A folder gets the mode and times of ours, but for the one that was named and is there: what is in "tree/." goes to /tmp, and /tmp stays
 * what it is.
 */
static bool keeps_its_own(const struct put_job *p)
{
	const struct putting *x = container_of(p->job.c, struct putting, c);

	return p->job.c->flags.no_preserve || (x->to_folder && strncmp(p->remote, x->to, strlen(p->remote)) == 0);
}

static void mkdir_start(struct fs_job *j)
{
	struct put_job *p = job_of(j);
	/* Until it is whole we must be able to write to it. */
	const struct fs_request rq = { .op = SSH_OP_MKDIR,
				       .path = p->remote,
				       .flags = SSH_MKDIR_MAY_EXIST | (keeps_its_own(p) ? 0 : SSH_MKDIR_OPEN_UP),
				       .mode = j->c->flags.no_preserve ? 0777 : (p->st.st_mode & 0777) | 0700 };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static void set_start(struct fs_job *j)
{
	struct put_job *p = job_of(j);
	const struct fs_request rq = { .op = SSH_OP_SETSTAT, .path = p->remote, .attr = attr_of(p) };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static void folder_event(struct fs_job *j, const struct fs_event *ev)
{
	struct put_job *p = job_of(j);
	struct putting *x = container_of(j->c, struct putting, c);
	struct put_job *again;

	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fail_remote(p, ev);
		return;
	}
	/* In front: the last that was made gets its own first. */
	again = j->type == &mkdir_type && !keeps_its_own(p) ? new_job(x, &set_type, p->local, p->remote, &p->st) : NULL;
	if (again)
		list_add(&x->folders, &again->job.link);
	fs_job_end(j);
}

static const struct fs_job_type mkdir_type = { .start = mkdir_start, .event = folder_event, .free = free_job };
static const struct fs_job_type set_type = { .start = set_start, .event = folder_event, .free = free_job };

/* ---- walking here ---- */

static void walk(struct putting *x, const char *local, const char *remote, const struct above *up, unsigned depth);

static void add_link(struct putting *x, const char *local, const char *remote, const struct stat *st)
{
	struct put_job *p = new_job(x, &link_type, local, remote, st);
	char target[PATH_MAX];
	ssize_t n = readlink(local, target, sizeof(target) - 1);

	if (!p)
		return;
	if (n <= 0) {
		fs_run_local_error(&x->c.run, local, errno);
		free_job(&p->job);
		return;
	}
	target[n] = '\0';
	p->target = strdup(target);
	if (!p->target) {
		fs_run_error(&x->c.run, ERR_NOMEM, "out of memory");
		free_job(&p->job);
		return;
	}
	list_add_tail(&x->rest, &p->job.link);
	x->c.progress.files++;
}

static void add_file(struct putting *x, const char *local, const char *remote, const struct stat *st, unsigned depth)
{
	struct put_job *p = new_job(x, &file_type, local, remote, st);

	if (!p)
		return;
	p->depth = depth;
	list_add_tail(&x->rest, &p->job.link);
	x->c.progress.files++;
	x->c.progress.total += (uint64_t)st->st_size;
}

static bool is_circle(const struct above *up, const struct stat *st)
{
	for (; up; up = up->up)
		if (up->dev == st->st_dev && up->ino == st->st_ino)
			return true;
	return false;
}

static void walk_entry(struct putting *x, const char *local, const char *remote, const char *name, const struct above *up,
		       unsigned depth)
{
	char below[PATH_MAX], there[SSH_PATH_MAX + 1];

	if (!fs_name_join(below, sizeof(below), local, name) || !fs_name_join(there, sizeof(there), remote, name))
		fs_run_local_error(&x->c.run, local, ENAMETOOLONG);
	else
		walk(x, below, there, up, depth);
}

/* NULL at the end; an end that comes too early is said, or what follows would be missing there unnoticed. */
static struct dirent *next_entry(struct putting *x, DIR *dir, const char *local)
{
	struct dirent *d;

	errno = 0;
	d = readdir(dir);
	if (!d && errno)
		fs_run_local_error(&x->c.run, local, errno);
	return d;
}

static void walk_folder(struct putting *x, const char *local, const char *remote, const struct stat *st, const struct above *up,
			unsigned depth)
{
	const struct above here = { up, st->st_dev, st->st_ino };
	struct put_job *p;
	struct dirent *d;
	DIR *dir;

	if (is_circle(up, st) || depth >= FS_DEPTH_MAX) {
		fs_run_local_error(&x->c.run, local, ELOOP);
		return;
	}
	dir = opendir(local);
	p = dir ? new_job(x, &mkdir_type, local, remote, st) : NULL;
	if (!dir)
		fs_run_local_error(&x->c.run, local, errno);
	if (p) {
		p->depth = depth;
		list_add_tail(&x->folders, &p->job.link);
		x->depth_max = MAX(x->depth_max, depth);
	}
	while (p && (d = next_entry(x, dir, local)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			walk_entry(x, local, remote, d->d_name, &here, depth + 1);
	if (dir)
		closedir(dir);
}

/* One name: a link in a tree is one, unless -L; one that is named is followed, unless -r. */
static void walk(struct putting *x, const char *local, const char *remote, const struct above *up, unsigned depth)
{
	bool follow = x->c.flags.follow || (depth == 0 && !x->c.flags.recursive);
	struct stat st;

	if ((follow ? stat(local, &st) : lstat(local, &st)) != 0)
		fs_run_local_error(&x->c.run, local, errno);
	else if (S_ISDIR(st.st_mode) && !x->c.flags.recursive)
		fs_run_error(&x->c.run, ERR_INVALID, "%s is a folder: -r copies it with what is in it", local);
	else if (S_ISDIR(st.st_mode))
		walk_folder(x, local, remote, &st, up, depth);
	else if (S_ISLNK(st.st_mode))
		add_link(x, local, remote, &st);
	else if (S_ISREG(st.st_mode))
		add_file(x, local, remote, &st, depth);
	else
		fs_run_error(&x->c.run, ERR_UNSUPPORTED, "%s is no file, folder or link: left out", local);
}

/* ---- where to ---- */

static int look_at_target(struct putting *x, int n)
{
	const struct fs_request rq = { .op = SSH_OP_STAT, .path = x->to };
	struct fs_answer a;
	enum err e = fs_client_call(&x->c.run.client, &rq, &a);

	if (e != OK && fs_client_is_over(&x->c.run.client)) {
		fs_run_error(&x->c.run, e, "%s", a.message);
		return EXIT_FAILED;
	}
	x->to_folder = e == OK && (a.attr.mode & FS_TYPE_MASK) == FS_TYPE_DIR;
	/* The like of /dev/null would be replaced, by root for everybody. */
	if (e == OK && !x->to_folder && a.attr.which & SSH_ATTR_MODE && (a.attr.mode & FS_TYPE_MASK) != FS_TYPE_FILE) {
		fs_run_error(&x->c.run, ERR_INVALID, "%s is a device or a pipe, which a copy would replace", x->to);
		return EXIT_FAILED;
	}
	if (x->to_folder || (n == 1 && x->to[strlen(x->to) - 1] != '/'))
		return 0;
	fs_run_error(&x->c.run, ERR_INVALID, "%s is not a folder%s", x->to, n > 1 ? ", and there are several to copy" : "");
	return EXIT_FAILED;
}

static void take_source(struct putting *x, const char *local)
{
	char base[PATH_MAX], remote[SSH_PATH_MAX + 1];

	fs_name_base(local, base, sizeof(base));
	if (!x->to_folder || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		base[0] = '\0';
	if (fs_name_join(remote, sizeof(remote), x->to, base))
		walk(x, local, remote, NULL, 0);
	else
		fs_run_local_error(&x->c.run, local, ENAMETOOLONG);
}

static void begin_all(struct putting *x, struct list *from, unsigned depth, bool any)
{
	list_for_each_safe(it, from) {
		struct fs_job *j = container_of(it, struct fs_job, link);

		if (!any && job_of(j)->depth != depth)
			continue;
		list_del(&j->link);
		fs_job_add(j);
	}
	fs_copy_run(&x->c);
}

static void copy_all(struct putting *x)
{
	x->c.progress.counted = true;
	for (unsigned d = 0; d <= x->depth_max; d++)
		begin_all(x, &x->folders, d, false);
	begin_all(x, &x->rest, 0, true);
	/* What is there now are those that were made, to be given their own modes and times. */
	begin_all(x, &x->folders, 0, true);
}

static void drop(struct list *from)
{
	list_for_each_safe(it, from) {
		struct fs_job *j = container_of(it, struct fs_job, link);

		list_del(&j->link);
		j->type->free(j);
	}
}

int fs_put(struct cli *cli, const struct copy_flags *flags, int n, char **sources, const char *target)
{
	static struct putting x;
	char host[FS_HOST_MAX + 1], other[FS_HOST_MAX + 1];
	const char *path;
	int r;

	x.c.flags = *flags;
	list_init(&x.folders);
	list_init(&x.rest);
	if (!fs_spec_split(target, host, &x.to))
		return cli_usage(cli, "'%s' is not HOST:PATH", target);
	for (int i = 0; i < n; i++)
		if (fs_spec_split(sources[i], other, &path))
			return cli_usage(cli, "'%s' is at a host: files are copied between two by get and put (a local file: ./%s)",
					 sources[i], sources[i]);
	r = fs_copy_init(&x.c, cli);
	if (r == 0)
		r = fs_run_use(&x.c.run, host);
	if (r == 0)
		r = look_at_target(&x, n);
	for (int i = 0; i < n && r == 0; i++)
		take_source(&x, sources[i]);
	if (r == 0) {
		copy_all(&x);
		r = fs_run_status(&x.c.run);
	}
	drop(&x.folders);
	drop(&x.rest);
	return fs_copy_finish(&x.c, r);
}
