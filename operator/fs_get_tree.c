/*
 * operator/fs_get_tree.c - `nefia fs get -r`: what is in a folder, and where links lead (-L).
 *
 * A FIND tells all that is below a folder; its folders are made as they come, its files and links become jobs. A link that is
 * followed to a folder begins another FIND there, unless that folder holds the place of the link or of one that the way has
 * come through (the trail): it would go round in a circle.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "operator/fs_get_internal.h"

#define FOLLOWED_MAX 40 /* links to folders, one in the other */

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
	if (fs_get_is_type(a, FS_TYPE_DIR))
		make_folder(scan, local, a);
	else if (fs_get_is_type(a, FS_TYPE_FILE))
		fs_get_add(x, &fs_get_file, remote, local, a, NULL);
	else if (fs_get_is_type(a, FS_TYPE_LINK))
		fs_get_add(x, x->c.flags.follow ? &fs_get_follow : &fs_get_link, remote, local, a, scan->trail);
	else
		fs_run_error(&x->c.run, ERR_UNSUPPORTED, "%s is no file, folder or link: left out", remote);
}

static void find_start(struct fs_job *j)
{
	fs_get_ask(j, SSH_OP_FIND);
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

const struct fs_job_type fs_get_find = { .start = find_start, .event = find_event, .free = fs_get_free };

/* ---- the trail ---- */

struct trail *fs_get_trail_ref(struct trail *t)
{
	if (t)
		t->refs++;
	return t;
}

void fs_get_trail_unref(struct trail *t)
{
	while (t && --t->refs == 0) {
		struct trail *up = t->up;

		free(t->real);
		free(t);
		t = up;
	}
}

/* ---- where a link leads ---- */

/* Two questions: what is it, and where is it really? */
static void follow_start(struct fs_job *j)
{
	fs_get_ask(j, job_of(j)->target ? SSH_OP_REALPATH : SSH_OP_STAT);
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
		fs_get_trail_unref(t);
		fs_job_fail(&g->job, ERR_INVALID, "%s: this link leads in a circle: left out", g->remote);
		return;
	}
	t->up = fs_get_trail_ref(g->trail);
	fs_get_add(getting_of(g), &fs_get_find, real, g->local, &g->attr, t);
	fs_get_trail_unref(t);
	fs_job_end(&g->job);
}

static void follow_event(struct fs_job *j, const struct fs_event *ev)
{
	struct get_job *g = job_of(j);
	struct getting *x = getting_of(g);

	if (ev->type == SSH_F_OP_INFO)
		g->attr = ev->attr;
	fs_get_take_target(g, ev);
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK) {
		fs_job_fail(j, ev->error, "%s", ev->message);
	} else if (g->target) {
		enter(g, g->target);
	} else if (fs_get_is_type(&g->attr, FS_TYPE_DIR)) {
		g->target = strdup("");
		follow_start(j);
	} else {
		if (fs_get_is_type(&g->attr, FS_TYPE_FILE))
			fs_get_add(x, &fs_get_file, g->remote, g->local, &g->attr, NULL);
		fs_job_end(j);
	}
}

const struct fs_job_type fs_get_follow = { .start = follow_start, .event = follow_event, .free = fs_get_free };
