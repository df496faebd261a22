/*
 * operator/fs_get.c - `nefia fs get`: what is asked, where it goes.
 *
 *	operand  ->  pattern expanded  ->  LSTAT (STAT without -r)
 *		file    ->  GET into its partial file, compared and gone on from with --resume, renamed when whole
 *		folder  ->  FIND: its folders are made as they come, its files and links become jobs
 *		link    ->  READLINK, and made anew (-L: STAT, then as what it leads to)
 *
 * Folders get their modes and times in the end, from the deepest on: until then they can be written to. A file is as long as
 * the server said when it was opened; what arrives is written where it belongs.
 */
#include "operator/fs_get.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "operator/fs_format.h"
#include "operator/fs_local.h"

#define FOLLOWED_MAX 40 /* links to folders, one in the other */

struct folder {
	char *path;
	struct ssh_attr attr;
};

struct getting {
	struct fs_copy c;
	struct fs_tree tree;
	char shown_root[PATH_MAX]; /* the local folder, for messages */
	char rename[NAME_MAX + 1]; /* the one source gets this name; "": each keeps its own */
	struct folder *folders;
	size_t n_folders, cap_folders;
	unsigned n_scans;          /* operands and folders that are still looked at: the totals are not whole */
	mode_t umask;
};

/* The links to folders that the way has come through: the real paths of the folders that they stand in. */
struct trail {
	unsigned refs;
	struct trail *up;
	char *real;
};

struct get_job {
	struct fs_job job;
	char *remote, *local; /* @local below the tree */
	struct ssh_attr attr;
	struct trail *trail;
	/* a file */
	struct fs_out out;
	uint64_t verify_to, counted; /* bytes below it are compared; bytes of it in progress.done */
	bool began, differs;
	/* a link */
	char *target;
};

static const struct fs_job_type look_type, file_type, find_type, link_type, follow_type;

/* ---- jobs ---- */

static struct getting *getting_of(struct get_job *g)
{
	return container_of(g->job.c, struct getting, c);
}

static struct get_job *job_of(struct fs_job *j)
{
	return container_of(j, struct get_job, job);
}

static struct trail *trail_ref(struct trail *t)
{
	if (t)
		t->refs++;
	return t;
}

static void trail_unref(struct trail *t)
{
	while (t && --t->refs == 0) {
		struct trail *up = t->up;

		free(t->real);
		free(t);
		t = up;
	}
}

static void free_job(struct fs_job *j)
{
	struct get_job *g = job_of(j);
	struct getting *x = getting_of(g);

	if (j->type != &file_type && j->type != &link_type && --x->n_scans == 0)
		x->c.progress.counted = true;
	trail_unref(g->trail);
	free(g->remote);
	free(g->local);
	free(g->target);
	free(g);
}

static uint64_t size_of(const struct ssh_attr *a)
{
	return a->which & SSH_ATTR_SIZE ? a->size : 0;
}

static struct get_job *add_job(struct getting *x, const struct fs_job_type *type, const char *remote, const char *local,
			       const struct ssh_attr *a, struct trail *trail)
{
	struct get_job *g = calloc(1, sizeof(*g));

	if (g) {
		g->remote = strdup(remote);
		g->local = strdup(local);
	}
	if (!g || !g->remote || !g->local) {
		if (g) {
			free(g->remote);
			free(g->local);
		}
		free(g);
		fs_run_error(&x->c.run, ERR_NOMEM, "out of memory");
		return NULL;
	}
	g->attr = *a;
	g->trail = trail_ref(trail);
	g->out.fd = g->out.dir = -1;
	fs_job_init(&g->job, &x->c, type, type == &file_type ? size_of(a) : 0);
	if (type != &file_type && type != &link_type) {
		x->n_scans++;
		x->c.progress.counted = false;
	} else {
		x->c.progress.files++;
		x->c.progress.total += type == &file_type ? size_of(a) : 0;
	}
	fs_job_add(&g->job);
	return g;
}

static bool is_type(const struct ssh_attr *a, uint32_t type)
{
	return a->which & SSH_ATTR_MODE && (a->mode & FS_TYPE_MASK) == type;
}

static const char *shown_path(struct get_job *g, char buf[2 * PATH_MAX])
{
	return fs_name_join(buf, 2 * PATH_MAX, getting_of(g)->shown_root, g->local) ? buf : g->local;
}

static void fail_local(struct get_job *g, int errnum)
{
	char buf[2 * PATH_MAX];

	shown_path(g, buf);
	fs_copy_report(g->job.c, g->remote, buf, 0, ERR_IO, strerror(errnum));
	fs_job_fail_local(&g->job, buf, errnum);
}

static void fail_remote(struct get_job *g, const struct fs_event *ev)
{
	char buf[2 * PATH_MAX];

	fs_copy_report(g->job.c, g->remote, shown_path(g, buf), 0, ev->error, ev->message);
	fs_job_fail(&g->job, ev->error, "%s", ev->message);
}

/* Bytes that are there: in this attempt, or from one before. */
static void count(struct get_job *g, uint64_t upto, bool skipped)
{
	struct fs_progress *p = &g->job.c->progress;

	p->done += upto - g->counted;
	p->skipped += skipped ? upto - g->counted : 0;
	g->counted = upto;
}

/* ---- a file ---- */

/* Others get what the person's umask leaves, where the far file's own mode is not kept. */
static void set_attr(const struct getting *x, struct ssh_attr *a, bool dir)
{
	if (!x->c.flags.no_preserve)
		return;
	a->mode = (dir || a->mode & 0111 ? 0777 : 0666) & ~x->umask;
	a->which = SSH_ATTR_MODE;
}

static void uncount(struct get_job *g)
{
	struct fs_progress *p = &g->job.c->progress;

	p->done -= MIN(g->counted, p->done);
	p->skipped = MIN(p->skipped, p->done);
	p->rate_done = MIN(p->rate_done, p->done - p->skipped);
	g->counted = 0;
}

static void file_stop(struct fs_job *j, bool keep)
{
	struct get_job *g = job_of(j);

	fs_out_abort(&g->out, keep);
	uncount(g);
	g->began = false;
}

static void file_start(struct fs_job *j)
{
	struct get_job *g = job_of(j);
	struct getting *x = getting_of(g);
	struct fs_request rq = { .op = SSH_OP_GET, .path = g->remote, .length = UINT64_MAX };
	uint64_t source = fs_copy_source(g->remote, size_of(&g->attr), g->attr.mtime, g->attr.which);
	int e = g->out.fd >= 0 ? 0 : fs_out_begin(&g->out, &x->tree, g->local, source, j->c->flags.resume);

	if (e == 0 && (g->differs || g->out.size > size_of(&g->attr)))
		e = fs_out_restart(&g->out);
	if (e) {
		fail_local(g, e);
		return;
	}
	g->verify_to = g->out.size;
	rq.offset = g->out.size - MIN(g->out.size, (uint64_t)SSH_PUT_TAIL);
	fs_progress_file(&j->c->progress, g->local);
	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

/* What is there is not what the server has: from the beginning, once this GET has ended. */
static void begin_anew(struct get_job *g)
{
	g->differs = true;
	fs_client_cancel(&g->job.c->run.client, g->job.id);
}

static void file_info(struct get_job *g, const struct ssh_attr *a)
{
	struct fs_progress *p = &g->job.c->progress;
	bool same = size_of(a) == size_of(&g->attr) && a->mtime == g->attr.mtime;

	if (g->out.size > 0 && !same && !g->differs)
		begin_anew(g);
	p->total += size_of(a) - size_of(&g->attr);
	g->job.c->weight_active += size_of(a) - g->job.weight;
	g->job.weight = size_of(a);
	g->attr = *a;
	g->began = true;
}

static void file_bytes(struct get_job *g, uint64_t offset, struct bytes data)
{
	uint64_t overlap = offset < g->verify_to ? MIN(g->verify_to - offset, (uint64_t)data.len) : 0;
	int e;

	if (g->differs && g->verify_to > 0)
		return; /* of what was given up */
	if (overlap && !fs_out_equals(&g->out, offset, (struct bytes){ data.p, (size_t)overlap })) {
		begin_anew(g);
		return;
	}
	count(g, MAX(offset + overlap, g->counted), true);
	if (data.len == overlap)
		return;
	if (offset + overlap != g->out.size) {
		fs_job_fail(&g->job, ERR_PROTOCOL, "reading %s: the bytes came in another order", g->remote);
		return;
	}
	e = fs_out_write(&g->out, g->out.size, (struct bytes){ data.p + overlap, data.len - (size_t)overlap });
	if (e)
		fail_local(g, e);
	else
		count(g, g->out.size, false);
}

static void file_done(struct get_job *g)
{
	struct getting *x = getting_of(g);
	uint64_t size = g->out.size;
	char buf[2 * PATH_MAX];
	int e;

	if (size_of(&g->attr) > 0 && size != size_of(&g->attr)) {
		fs_job_fail(&g->job, ERR_IO, "reading %s: it is not as long as the server said", g->remote);
		return;
	}
	set_attr(x, &g->attr, false);
	/* A tree of many files is not worth a sync each; one that was named is. */
	e = fs_out_finish(&g->out, size, &g->attr, !x->c.flags.recursive);
	if (e) {
		fail_local(g, e);
		return;
	}
	x->c.progress.files_done++;
	fs_copy_report(&x->c, g->remote, shown_path(g, buf), size, OK, NULL);
	fs_job_end(&g->job);
}

static void file_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);

	if (ev->type == SSH_F_OP_INFO) {
		file_info(g, &ev->attr);
	} else if (ev->type == SSH_F_OP_BYTES) {
		file_bytes(g, ev->offset, ev->data);
	} else if (ev->type == SSH_F_OP_DONE && g->differs && g->verify_to > 0) {
		g->verify_to = 0;
		uncount(g);
		fs_out_restart(&g->out);
		file_start(j);
	} else if (ev->type == SSH_F_OP_DONE && ev->error != OK) {
		fail_remote(g, ev);
	} else if (ev->type == SSH_F_OP_DONE) {
		file_done(g);
	}
}

static const struct fs_job_type file_type = {
	.start = file_start, .event = file_event, .stop = file_stop, .free = free_job
};

/* ---- a link ---- */

static void link_start(struct fs_job *j)
{
	const struct fs_request rq = { .op = SSH_OP_READLINK, .path = job_of(j)->remote };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static void link_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	char buf[2 * PATH_MAX];
	int e;

	if (ev->type == SSH_F_OP_ENTRY && !g->target)
		g->target = strndup((const char *)ev->data.p, ev->data.len);
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fail_remote(g, ev);
		return;
	}
	e = g->target && *g->target ? fs_tree_link(&getting_of(g)->tree, g->local, g->target) : EINVAL;
	if (e) {
		fail_local(g, e);
		return;
	}
	j->c->progress.files_done++;
	fs_copy_report(j->c, g->remote, shown_path(g, buf), 0, OK, NULL);
	fs_job_end(j);
}

static const struct fs_job_type link_type = { .start = link_start, .event = link_event, .free = free_job };

/* ---- a folder ---- */

static bool add_folder(struct getting *x, const char *path, const struct ssh_attr *a)
{
	if (x->n_folders == x->cap_folders) {
		size_t cap = x->cap_folders ? 2 * x->cap_folders : 64;
		struct folder *v = realloc(x->folders, cap * sizeof(*v));

		if (!v)
			return false;
		x->folders = v;
		x->cap_folders = cap;
	}
	x->folders[x->n_folders] = (struct folder){ strdup(path), *a };
	return x->folders[x->n_folders].path && ++x->n_folders;
}

static void make_folder(struct get_job *scan, const char *local, const struct ssh_attr *a)
{
	struct getting *x = getting_of(scan);
	char buf[2 * PATH_MAX];
	int e = fs_tree_mkdir(&x->tree, local);

	if (e == 0 && !add_folder(x, local, a))
		e = ENOMEM;
	if (e) {
		fs_progress_clear(&x->c.progress);
		fs_run_local_error(&x->c.run, fs_name_join(buf, sizeof(buf), x->shown_root, local) ? buf : local, e);
	}
}

/* Something that a scan met. */
static void take_entry(struct get_job *scan, const char *name, const struct ssh_attr *a)
{
	struct getting *x = getting_of(scan);
	char remote[SSH_PATH_MAX + 1], local[PATH_MAX];

	if ((*name && !fs_name_is_safe(name)) || !fs_name_join(remote, sizeof(remote), scan->remote, name) ||
	    !fs_name_join(local, sizeof(local), *scan->local ? scan->local : ".", name)) {
		fs_run_error(&x->c.run, ERR_PROTOCOL, "%s: it has an entry whose name cannot be used", scan->remote);
		return;
	}
	if (strcmp(local, ".") == 0)
		local[0] = '\0';
	if (is_type(a, FS_TYPE_DIR))
		make_folder(scan, local, a);
	else if (is_type(a, FS_TYPE_FILE))
		add_job(x, &file_type, remote, local, a, NULL);
	else if (is_type(a, FS_TYPE_LINK))
		add_job(x, x->c.flags.follow ? &follow_type : &link_type, remote, local, a, scan->trail);
	else
		fs_run_error(&x->c.run, ERR_UNSUPPORTED, "%s is no file, folder or link: left out", remote);
}

static void find_start(struct fs_job *j)
{
	const struct fs_request rq = { .op = SSH_OP_FIND, .path = job_of(j)->remote };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static void find_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	char name[SSH_PATH_MAX + 1];

	if (ev->type == SSH_F_OP_ENTRY && ev->data.len < sizeof(name)) {
		memcpy(name, ev->data.p, ev->data.len);
		name[ev->data.len] = '\0';
		if (strlen(name) == ev->data.len)
			take_entry(g, name, &ev->attr);
	}
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK)
		fs_job_fail(j, ev->error, "%s", ev->message);
	else
		fs_job_end(j);
}

static const struct fs_job_type find_type = { .start = find_start, .event = find_event, .free = free_job };

/* ---- -L: where a link in a tree leads ---- */

/* Two questions: what is it, and where is it really? */
static void follow_start(struct fs_job *j)
{
	struct get_job *g = job_of(j);
	const struct fs_request rq = { .op = g->target ? SSH_OP_REALPATH : SSH_OP_STAT, .path = g->remote };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

static bool is_below_or_same(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/' || (len > 0 && folder[len - 1] == '/'));
}

/* Does the folder @real hold the place of the link, or of one that the way has come through? */
static bool is_circle(const struct get_job *g, const char *place, const char *real)
{
	unsigned depth = 0;

	if (is_below_or_same(place, real))
		return true;
	for (const struct trail *t = g->trail; t; t = t->up)
		if (is_below_or_same(t->real, real) || ++depth >= FOLLOWED_MAX)
			return true;
	return false;
}

/* The folder @real is entered by a link. Paths below a scan are real ones, so that the link's own place is known. */
static void enter(struct get_job *g, const char *real)
{
	struct trail *t = calloc(1, sizeof(*t));
	char *slash;

	if (!t || !(t->real = strdup(g->remote))) {
		free(t);
		fs_job_fail(&g->job, ERR_NOMEM, "out of memory");
		return;
	}
	slash = strrchr(t->real, '/');
	if (slash)
		slash[slash == t->real] = '\0';
	t->refs = 1;
	if (is_circle(g, t->real, real)) {
		trail_unref(t);
		fs_job_fail(&g->job, ERR_INVALID, "%s: this link leads in a circle: left out", g->remote);
		return;
	}
	t->up = trail_ref(g->trail);
	add_job(getting_of(g), &find_type, real, g->local, &g->attr, t);
	trail_unref(t);
	fs_job_end(&g->job);
}

static void follow_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	struct getting *x = getting_of(g);

	if (ev->type == SSH_F_OP_INFO)
		g->attr = ev->attr;
	if (ev->type == SSH_F_OP_ENTRY && g->target && !*g->target) {
		free(g->target);
		g->target = strndup((const char *)ev->data.p, ev->data.len);
	}
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fs_job_fail(j, ev->error, "%s", ev->message);
	} else if (g->target) {
		enter(g, g->target);
	} else if (is_type(&g->attr, FS_TYPE_DIR)) {
		g->target = strdup("");
		follow_start(j);
	} else {
		if (is_type(&g->attr, FS_TYPE_FILE))
			add_job(x, &file_type, g->remote, g->local, &g->attr, NULL);
		fs_job_end(j);
	}
}

static const struct fs_job_type follow_type = { .start = follow_start, .event = follow_event, .free = free_job };

/* ---- an operand ---- */

static void look_start(struct fs_job *j)
{
	struct get_job *g = job_of(j);
	bool follow = !j->c->flags.recursive || j->c->flags.follow;
	const struct fs_request rq = { .op = g->target ? SSH_OP_REALPATH : follow ? SSH_OP_STAT : SSH_OP_LSTAT, .path = g->remote };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

/* A folder that is named; where links are followed it is walked by its real path. */
static void begin_folder(struct get_job *g)
{
	add_job(getting_of(g), &find_type, g->target ? g->target : g->remote, g->local, &g->attr, NULL);
	fs_job_end(&g->job);
}

static void look_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	struct copy_flags *f = &j->c->flags;

	if (ev->type == SSH_F_OP_INFO)
		g->attr = ev->attr;
	if (ev->type == SSH_F_OP_ENTRY && g->target && !*g->target) {
		free(g->target);
		g->target = strndup((const char *)ev->data.p, ev->data.len);
	}
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fail_remote(g, ev);
	} else if (g->target) {
		begin_folder(g);
	} else if (is_type(&g->attr, FS_TYPE_DIR) && !f->recursive) {
		fs_job_fail(j, ERR_INVALID, "%s is a folder: -r copies it with what is in it", g->remote);
	} else if (is_type(&g->attr, FS_TYPE_DIR) && f->follow) {
		g->target = strdup("");
		look_start(j);
	} else if (is_type(&g->attr, FS_TYPE_DIR)) {
		begin_folder(g);
	} else if (!*g->local) {
		fs_job_fail(j, ERR_INVALID, "%s: it has no name to be called by here", g->remote);
	} else if (g->attr.which & SSH_ATTR_MODE && !is_type(&g->attr, FS_TYPE_LINK) && !is_type(&g->attr, FS_TYPE_FILE)) {
		fs_job_fail(j, ERR_UNSUPPORTED, "%s is no file, folder or link", g->remote);
	} else {
		add_job(getting_of(g), is_type(&g->attr, FS_TYPE_LINK) ? &link_type : &file_type, g->remote, g->local, &g->attr, NULL);
		fs_job_end(j);
	}
}

static const struct fs_job_type look_type = { .start = look_start, .event = look_event, .free = free_job };

/* ---- where to ---- */

/* A folder that is there takes each under its own name; else the one source gets that name in the folder above. */
static int open_target(struct getting *x, const char *local, bool several)
{
	struct stat st;
	size_t len = strlen(local);
	char host[FS_HOST_MAX + 1];
	const char *far;
	bool there = stat(local, &st) == 0, folder = there && S_ISDIR(st.st_mode);
	char *copy;
	int e;

	if (len == 0 || len >= PATH_MAX)
		return cli_usage(x->c.run.cli, "'%s' is not a path", local);
	if (!there && fs_spec_split(local, host, &far))
		return cli_usage(x->c.run.cli, "'%s' is at a host: files are copied between two by get and put (a local file: ./%s)", local,
				 local);
	/* The like of /dev/null would be replaced, by root for everybody. */
	if (there && !folder && !S_ISREG(st.st_mode))
		return cli_error(x->c.run.cli, 1041, "%s is a device or a pipe, which a copy would replace: nefia fs cat HOST:PATH >%s writes to it",
				 local, local);
	if (!folder && (several || local[len - 1] == '/'))
		return cli_error(x->c.run.cli, 1041, "%s is not a folder%s", local, several ? ", and there are several to copy" : "");
	if (folder) {
		snprintf(x->shown_root, sizeof(x->shown_root), "%s", local);
	} else {
		copy = strdup(local);
		snprintf(x->shown_root, sizeof(x->shown_root), "%s", copy ? dirname(copy) : ".");
		free(copy);
		fs_name_base(local, x->rename, sizeof(x->rename));
	}
	e = fs_tree_open(&x->tree, x->shown_root);
	return e ? cli_error(x->c.run.cli, 1041, "%s: %s", x->shown_root, strerror(e)) : 0;
}

static void on_get_path(void *ctx, const char *path)
{
	struct getting *x = ctx;
	char base[SSH_PATH_MAX + 1];

	if (!path) {
		fs_copy_run(&x->c);
		return;
	}
	fs_name_base(path, base, sizeof(base));
	if (x->rename[0])
		snprintf(base, sizeof(base), "%s", x->rename);
	else if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		base[0] = '\0'; /* what is in it */
	add_job(x, &look_type, path, base, &(struct ssh_attr){ 0 }, NULL);
}

static void set_folders(struct getting *x)
{
	for (size_t i = x->n_folders; i-- > 0;) {
		struct folder *f = &x->folders[i];
		char buf[2 * PATH_MAX];
		int e;

		set_attr(x, &f->attr, true);
		e = *f->path ? fs_tree_set(&x->tree, f->path, &f->attr) : 0; /* the folder that was there stays as it is */
		if (e)
			fs_run_local_error(&x->c.run, fs_name_join(buf, sizeof(buf), x->shown_root, f->path) ? buf : f->path, e);
		free(f->path);
	}
	free(x->folders);
}

int fs_get(struct cli *cli, const struct copy_flags *flags, int n, char **sources, const char *local)
{
	static struct getting x;
	char host[FS_HOST_MAX + 1];
	const char *path;
	int r;

	x.c.flags = *flags;
	x.umask = umask(0);
	umask(x.umask);
	x.tree.root = x.tree.last = -1;
	r = fs_copy_init(&x.c, cli);
	for (int i = 0; i < n && r == 0; i++)
		if (!fs_spec_split(sources[i], host, &path))
			r = cli_usage(cli, "'%s' is not HOST:PATH; the last is where to, here", sources[i]);
	if (r == 0)
		r = open_target(&x, local, n > 1 || (!flags->no_glob && fs_glob_is_pattern(path)));
	if (r == 0)
		r = fs_run_each(&x.c.run, n, sources, on_get_path, &x);
	set_folders(&x);
	fs_tree_close(&x.tree);
	return fs_copy_finish(&x.c, r);
}
