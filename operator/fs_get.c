/*
 * operator/fs_get.c - `nefia fs get`: what is asked, where it goes.
 *
 *	operand  ->  pattern expanded  ->  LSTAT (STAT without -r)
 *		file    ->  GET into its partial file, compared and gone on from with --resume, renamed when whole
 *		folder  ->  FIND: its folders are made as they come, its files and links become jobs
 *		link    ->  READLINK, and made anew (-L: STAT, then as what it leads to)
 *
 * Files and links are in fs_get_file.c, what is in folders in fs_get_tree.c.
 *
 * Folders get their modes and times in the end, from the deepest on: until then they can be written to. A file is as long as
 * the server said when it was opened; what arrives is written where it belongs.
 */
#include "operator/fs_get.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "operator/fs_get_internal.h"

/* ---- jobs ---- */

void fs_get_free(struct fs_job *j)
{
	struct get_job *g = job_of(j);
	struct getting *x = getting_of(g);

	if (j->type != &fs_get_file && j->type != &fs_get_link && --x->n_scans == 0)
		x->c.progress.counted = true;
	fs_get_trail_unref(g->trail);
	free(g->remote);
	free(g->local);
	free(g->target);
	free(g);
}

struct get_job *fs_get_add(struct getting *x, const struct fs_job_type *type, const char *remote, const char *local,
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
	g->trail = fs_get_trail_ref(trail);
	g->out.fd = g->out.dir = -1;
	fs_job_init(&g->job, &x->c, type, type == &fs_get_file ? fs_get_size(a) : 0);
	if (type != &fs_get_file && type != &fs_get_link) {
		x->n_scans++;
		x->c.progress.counted = false;
	} else {
		x->c.progress.files++;
		x->c.progress.total += type == &fs_get_file ? fs_get_size(a) : 0;
	}
	fs_job_add(&g->job);
	return g;
}

const char *fs_get_shown(struct get_job *g, char buf[2 * PATH_MAX])
{
	return fs_name_join(buf, 2 * PATH_MAX, getting_of(g)->shown_root, g->local) ? buf : g->local;
}

void fs_get_fail_local(struct get_job *g, int errnum)
{
	char buf[2 * PATH_MAX];
	const char *at = fs_get_shown(g, buf);

	fs_copy_report(g->job.c, g->remote, at, 0, ERR_IO, strerror(errnum));
	fs_job_fail_local(&g->job, at, errnum);
}

void fs_get_fail_remote(struct get_job *g, const struct fs_event *ev)
{
	char buf[2 * PATH_MAX];

	fs_copy_report(g->job.c, g->remote, fs_get_shown(g, buf), 0, ev->error, ev->message);
	fs_job_fail(&g->job, ev->error, "%s", ev->message);
}

void fs_get_ask(struct fs_job *j, enum ssh_op op)
{
	const struct fs_request rq = { .op = op, .path = job_of(j)->remote };

	if (!fs_job_ask(j, &rq))
		fs_job_again(j);
}

void fs_get_take_target(struct get_job *g, const struct fs_event *ev)
{
	if (ev->type != SSH_F_OP_ENTRY || !g->target || *g->target)
		return;
	free(g->target);
	g->target = strndup((const char *)ev->data.p, ev->data.len);
}

void fs_get_set_attr(const struct getting *x, struct ssh_attr *a, bool dir)
{
	if (!x->c.flags.no_preserve)
		return;
	a->mode = (dir || a->mode & 0111 ? 0777 : 0666) & ~x->umask;
	a->which = SSH_ATTR_MODE;
}

/* ---- an operand ---- */

static void look_start(struct fs_job *j)
{
	bool follow = !j->c->flags.recursive || j->c->flags.follow;

	fs_get_ask(j, job_of(j)->target ? SSH_OP_REALPATH : follow ? SSH_OP_STAT : SSH_OP_LSTAT);
}

/* A folder that is named; where links are followed it is walked by its real path. */
static void begin_folder(struct get_job *g)
{
	fs_get_add(getting_of(g), &fs_get_find, g->target ? g->target : g->remote, g->local, &g->attr, NULL);
	fs_job_end(&g->job);
}

static void look_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	struct copy_flags *f = &j->c->flags;

	if (ev->type == SSH_F_OP_INFO)
		g->attr = ev->attr;
	fs_get_take_target(g, ev);
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fs_get_fail_remote(g, ev);
	} else if (g->target) {
		begin_folder(g);
	} else if (fs_get_is_type(&g->attr, FS_TYPE_DIR) && !f->recursive) {
		fs_job_fail(j, ERR_INVALID, "%s is a folder: -r copies it with what is in it", g->remote);
	} else if (fs_get_is_type(&g->attr, FS_TYPE_DIR) && f->follow) {
		g->target = strdup("");
		look_start(j);
	} else if (fs_get_is_type(&g->attr, FS_TYPE_DIR)) {
		begin_folder(g);
	} else if (!*g->local) {
		fs_job_fail(j, ERR_INVALID, "%s: it has no name to be called by here", g->remote);
	} else if (g->attr.which & SSH_ATTR_MODE && !fs_get_is_type(&g->attr, FS_TYPE_LINK) && !fs_get_is_type(&g->attr, FS_TYPE_FILE)) {
		fs_job_fail(j, ERR_UNSUPPORTED, "%s is no file, folder or link", g->remote);
	} else {
		fs_get_add(getting_of(g), fs_get_is_type(&g->attr, FS_TYPE_LINK) ? &fs_get_link : &fs_get_file, g->remote, g->local, &g->attr, NULL);
		fs_job_end(j);
	}
}

const struct fs_job_type fs_get_look = { .start = look_start, .event = look_event, .free = fs_get_free };

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
	fs_get_add(x, &fs_get_look, path, base, &(struct ssh_attr){ 0 }, NULL);
}

static void set_folders(struct getting *x)
{
	for (size_t i = x->n_folders; i-- > 0;) {
		struct folder *f = &x->folders[i];
		char buf[2 * PATH_MAX];
		int e;

		fs_get_set_attr(x, &f->attr, true);
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
