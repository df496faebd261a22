/*
 * ssh/fs_walk.c - walking folders: LS (one), FIND (all below), recursive RM.
 *
 * Up to WALK_ACTIVE_MAX folders are read at once, the newest first, so that few are known and not
 * done. A folder counts what is open in it (its own scan, removals, subfolders); at zero RM removes
 * it and its parent counts down. Only what the server says is a folder (by the attributes of the
 * entry, which are those of a link itself) is entered; a name with a slash in it, or "..", is no
 * name and is never used.
 */
#include "ssh/fs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 256

/* A tag is a node and, in its low bits, what was asked about it. */
enum { ASK_START, ASK_OPEN, ASK_READ, ASK_REMOVE, ASK_RMDIR, ASK_CHECK, ASK_BITS = 7 };

static bool is_folder(const struct ssh_attr *a)
{
	return a->which & SSH_ATTR_MODE && (a->mode & 0170000) == 0040000;
}

static uint64_t tag_of(const struct fs_node *n, unsigned what)
{
	return (uint64_t)(uintptr_t)n | what;
}

static void note(struct fs_op *op, const char *path, enum err e, const char *why)
{
	struct fs_walk *w = &op->walk;

	if (w->first != OK)
		return;
	w->first = e;
	snprintf(w->why, sizeof(w->why), "%s%s%s: %s", op->path, *path ? "/" : "", path, why);
}

static void note_reply(struct fs_op *op, const char *path, const struct sftp_reply *r)
{
	const char *why = "the server gave an answer that does not fit";
	enum err e = r->type == SFTP_STATUS && r->status != SFTP_OK ? sftp_err(r->status, &why) : ERR_PROTOCOL;

	note(op, path, e, why);
}

/* One request about what is below the start. */
static void call_below(struct fs_op *op, enum sftp_type type, const char *below, uint64_t tag)
{
	char path[2 * SSH_PATH_MAX + 2];

	snprintf(path, sizeof(path), "%s%s%s", op->path, *below ? "/" : "", below);
	fs_op_on_path(op, type, path, tag);
}

/* ---- nodes ---- */

static struct fs_node *add_node(struct fs_op *op, struct fs_node *parent, const char *path)
{
	struct fs_walk *w = &op->walk;
	size_t len = strlen(path);
	struct fs_node *n = w->n_nodes < WALK_NODES_MAX ? calloc(1, sizeof(*n) + len + 1) : NULL;

	if (!n) {
		fs_op_fail(op, ERR_LIST_LIMIT, "%s: more than %d folders wait to be walked, which is a fixed limit", op->path,
			   WALK_NODES_MAX);
		return NULL;
	}
	memcpy(n->path, path, len + 1);
	n->parent = parent;
	n->depth = parent ? parent->depth + 1 : 1;
	n->n_open = 1;
	if (parent)
		parent->n_open++;
	w->n_nodes++;
	list_add(&w->queue, &n->link);
	list_add(&w->all, &n->all);
	return n;
}

static void end_walk(struct fs_op *op)
{
	if (op->walk.first == OK)
		fs_op_done(op);
	else
		fs_op_fail(op, op->walk.first, "%s", op->walk.why);
}

static void free_node(struct fs_op *op, struct fs_node *n)
{
	list_del(&n->link);
	list_del(&n->all);
	op->walk.n_nodes--;
	free(n);
}

/* Something in @n is done; with the last of it the folder is. */
static void release(struct fs_op *op, struct fs_node *n)
{
	while (n && --n->n_open == 0) {
		struct fs_node *parent = n->parent;

		if (op->walk.remove) {
			n->n_open = 1; /* its own removal */
			call_below(op, SFTP_RMDIR, n->path, tag_of(n, ASK_RMDIR));
			return;
		}
		free_node(op, n);
		if (!parent)
			end_walk(op);
		n = parent;
	}
}

static void removed_folder(struct fs_op *op, struct fs_node *n, const struct sftp_reply *r)
{
	struct fs_node *parent = n->parent;

	if (r->type != SFTP_STATUS || r->status != SFTP_OK)
		note_reply(op, n->path, r);
	free_node(op, n);
	if (parent)
		release(op, parent);
	else
		end_walk(op);
}

/* ---- entries ---- */

static bool usable(struct bytes name)
{
	return name.len > 0 && name.len <= 255 * 4 && !memchr(name.p, '/', name.len) && !memchr(name.p, 0, name.len);
}

static bool is_dots(struct bytes name)
{
	return (name.len == 1 && name.p[0] == '.') || (name.len == 2 && memcmp(name.p, "..", 2) == 0);
}

/* A file to be removed when there is room for the request: one list can have more of them than may be under way. */
struct doomed {
	struct list link;
	struct fs_node *in;
	char path[];
};

static void doom(struct fs_op *op, struct fs_node *in, const char *path)
{
	size_t size = strlen(path) + 1;
	struct doomed *d = malloc(sizeof(*d) + size);

	if (!d) {
		fs_op_fail(op, ERR_NOMEM, "out of memory");
		return;
	}
	memcpy(d->path, path, size);
	d->in = in;
	in->n_open++;
	list_add_tail(&op->walk.doomed, &d->link);
}

static void remove_doomed(struct fs_op *op)
{
	while (!op->over && !list_empty(&op->walk.doomed) && fs_op_room(op)) {
		struct doomed *d = container_of(list_first(&op->walk.doomed), struct doomed, link);

		list_del(&d->link);
		call_below(op, SFTP_REMOVE, d->path, tag_of(d->in, ASK_REMOVE));
		free(d);
	}
}

static void take_entry(struct fs_op *op, struct fs_node *n, struct bytes name, const struct ssh_attr *a)
{
	struct fs_walk *w = &op->walk;
	char path[SSH_PATH_MAX];
	int len;

	if (is_dots(name))
		return;
	len = snprintf(path, sizeof(path), "%s%s%.*s", n->path, *n->path ? "/" : "", (int)name.len,
		       (const char *)name.p);
	if (!usable(name) || len >= (int)sizeof(path)) {
		note(op, n->path, ERR_PROTOCOL, "the server has an entry there whose name cannot be used");
		return;
	}
	if (!w->remove)
		fs_emit_entry(op, fs_str(n->path), name, a);
	if (is_folder(a) && (w->depth_max == 0 || n->depth < w->depth_max)) {
		if (n->depth >= DEPTH_MAX)
			note(op, "", ERR_LIST_LIMIT, "folders in it are more than 256 deep: what is below is left out");
		else
			add_node(op, n, path);
	} else if (w->remove) {
		doom(op, n, path);
	}
}

static void read_on(struct fs_op *op, struct fs_node *n)
{
	struct sftp_request rq = { .type = SFTP_READDIR, .path = { n->handle, n->handle_len } };

	list_del(&n->link);
	fs_op_call(op, &rq, tag_of(n, ASK_READ));
}

static void end_scan(struct fs_op *op, struct fs_node *n)
{
	struct sftp_request rq = { .type = SFTP_CLOSE, .path = { n->handle, n->handle_len } };

	op->walk.n_active--;
	if (n->handle_len > 0)
		fs_op_call(op, &rq, UINT64_MAX);
	n->handle_len = 0;
	if (!op->over)
		release(op, n);
}

static void take_names(struct fs_op *op, struct fs_node *n, const struct sftp_reply *r)
{
	struct bytes names = r->data, name;
	struct ssh_attr a;

	bool idle = true;

	for (uint32_t i = 0; i < r->n_names && !op->over; i++) {
		if (!sftp_next_name(&names, &name, &a)) {
			fs_op_fail(op, ERR_PROTOCOL, "%s: the server's list is malformed", op->path);
			return;
		}
		idle &= is_dots(name);
		if (fs_op_list(op, strlen(n->path) + name.len))
			take_entry(op, n, name, &a);
	}
	if (op->over)
		return;
	/* "." and ".." may come by themselves, even one by one. */
	n->n_idle = idle ? n->n_idle + 1 : 0;
	if (r->n_names == 0 || n->n_idle > 2)
		fs_op_fail(op, ERR_PROTOCOL, "%s: the server's list is malformed, or has no end", op->path);
	else
		list_add_tail(&op->walk.wants, &n->link); /* walk_step() asks for the next when there is room */
}

/* ---- answers ---- */

/* An answer about it came, in whatever order the server gives them: with the last it is read, or done. */
static void settle(struct fs_op *op, struct fs_node *n)
{
	if (--n->n_asked > 0)
		return;
	if (n->failed)
		end_scan(op, n);
	else
		list_add_tail(&op->walk.wants, &n->link);
}

static void opened(struct fs_op *op, struct fs_node *n, const struct sftp_reply *r)
{
	if (r->type == SFTP_HANDLE && r->data.len > 0) {
		memcpy(n->handle, r->data.p, r->data.len);
		n->handle_len = r->data.len;
	} else {
		n->failed = true;
		note_reply(op, n->path, r);
	}
	settle(op, n);
}

/* In a session root: a folder that became a link after it was listed is not read. */
static void checked(struct fs_op *op, struct fs_node *n, const struct sftp_reply *r)
{
	char path[2 * SSH_PATH_MAX + 2];

	snprintf(path, sizeof(path), "%s%s%s", op->path, *n->path ? "/" : "", n->path);
	if (!n->failed && !fs_confine_is_same(r, path)) {
		n->failed = true;
		note(op, n->path, ERR_PERMISSION, "it became a link: refused, for ssh.session_root");
	}
	settle(op, n);
}

static void started(struct fs_op *op, const struct sftp_reply *r)
{
	struct fs_walk *w = &op->walk;

	if (r->type != SFTP_ATTRS) {
		if (w->remove && op->flags & SSH_RM_FORCE && r->status == SFTP_NO_SUCH_FILE)
			fs_op_done(op);
		else
			fs_op_fail_reply(op, r, w->remove ? "removing" : "walking");
		return;
	}
	if (!w->remove)
		fs_emit_entry(op, (struct bytes){ NULL, 0 }, (struct bytes){ NULL, 0 }, &r->attr);
	if (is_folder(&r->attr))
		add_node(op, NULL, "");
	else if (w->remove)
		fs_op_on_path(op, SFTP_REMOVE, op->path, ASK_REMOVE);
	else
		fs_op_done(op);
}

static void walk_step(struct fs_op *op)
{
	struct fs_walk *w = &op->walk;

	remove_doomed(op);
	while (!op->over && !list_empty(&w->wants) && list_empty(&w->doomed) && fs_op_room(op))
		read_on(op, container_of(list_first(&w->wants), struct fs_node, link));
	while (!op->over && !list_empty(&w->queue) && w->n_active < WALK_ACTIVE_MAX && fs_op_room(op)) {
		struct fs_node *n = container_of(list_first(&w->queue), struct fs_node, link);

		list_del(&n->link);
		w->n_active++;
		n->n_asked = op->s->root ? 2 : 1;
		call_below(op, SFTP_OPENDIR, n->path, tag_of(n, ASK_OPEN));
		/* Behind it: what it says is of after the opening. */
		if (op->s->root && !op->over)
			call_below(op, SFTP_REALPATH, n->path, tag_of(n, ASK_CHECK));
	}
}

static void walk_reply(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	struct fs_node *n = (struct fs_node *)(uintptr_t)(tag & ~(uint64_t)ASK_BITS);
	unsigned what = tag & ASK_BITS;

	if (tag == UINT64_MAX)
		return;
	if (what == ASK_START) {
		started(op, r);
	} else if (!n) { /* the start itself, which is no folder */
		if (fs_op_expect_ok(op, r, "removing"))
			fs_op_done(op);
	} else if (what == ASK_OPEN) {
		opened(op, n, r);
	} else if (what == ASK_CHECK) {
		checked(op, n, r);
	} else if (what == ASK_READ && r->type == SFTP_NAME) {
		take_names(op, n, r);
	} else if (what == ASK_READ) {
		if (r->type != SFTP_STATUS || r->status != SFTP_EOF)
			note_reply(op, n->path, r);
		end_scan(op, n);
	} else if (what == ASK_REMOVE) {
		if (r->type != SFTP_STATUS || r->status != SFTP_OK)
			note_reply(op, n->path, r);
		release(op, n);
	} else {
		removed_folder(op, n, r);
	}
	if (!op->over)
		walk_step(op);
}

static void walk_cleanup(struct fs_op *op)
{
	list_for_each(it, &op->walk.all) {
		struct fs_node *n = container_of(it, struct fs_node, all);
		struct sftp_request rq = { .type = SFTP_CLOSE, .path = { n->handle, n->handle_len } };

		if (n->handle_len > 0)
			fs_op_call(op, &rq, UINT64_MAX);
		n->handle_len = 0;
	}
}

static void walk_free(struct fs_op *op)
{
	list_for_each_safe(it, &op->walk.all)
		free(container_of(it, struct fs_node, all));
	list_for_each_safe(it, &op->walk.doomed)
		free(container_of(it, struct doomed, link));
}

void fs_walk_start(struct fs_op *op, uint32_t depth_max)
{
	struct fs_walk *w = &op->walk;

	op->type = &fs_walk_type;
	list_init(&w->queue);
	list_init(&w->wants);
	list_init(&w->all);
	list_init(&w->doomed);
	w->remove = op->kind == SSH_OP_RM;
	w->depth_max = depth_max;
	if (op->kind != SSH_OP_LS)
		fs_op_on_path(op, SFTP_LSTAT, op->path, ASK_START);
	else if (add_node(op, NULL, ""))
		walk_step(op);
}

const struct fs_op_type fs_walk_type = { walk_reply, walk_step, walk_cleanup, walk_free };
