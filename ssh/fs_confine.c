/*
 * ssh/fs_confine.c - session roots: operations that may not leave one folder of the host (ssh.session_root).
 *
 * Before anything else is asked, the server resolves the root and every path of the operation (REALPATH, which follows all links):
 * the whole path where the operation follows its last part, else the folder above it. What is not below the root is
 * refused; else the resolved path takes the place of the one that was given. Relative paths begin at the root.
 *
 * SFTP has no openat(): between the answer and what is then done with the path, somebody at the host can put a link into it. So what
 * is opened is looked at again before a byte of it moves (fs_confine_check()): the path must still resolve to itself, and what
 * the handle is must be what stands there. Two questions, so one who changes the folder to and fro needs it to be right for each:
 * they are asked often and in an order that nobody can foresee. What that leaves open is in doc/ssh.md.
 */
#include "ssh/fs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "os/loop.h"

enum { TAG_ROOT, TAG_PATH, TAG_SECOND, TAG_MADE, TAG_STEP, TAG_LAST };

#define CHECK_TRIES 8
#define CHECK_LOOKS 16 /* by the path, of either kind: who flips a coin for each gets through one time in 65,536 */

struct fs_confine {
	char *real[3];      /* by the tag: of the root, of the path (or its folder), of the second */
	char *last[3];      /* what is appended to it; NULL: nothing */
	unsigned n_open;    /* answers to come */
	/* mkdir -p, part by part */
	char *rest;         /* parts to be made, in one block */
	char *next;         /* the first of them in @rest */
	enum sftp_status made;
};

/* ---- paths ---- */

static bool is_inside(const char *path, const char *root)
{
	size_t len = strlen(root);

	while (len > 0 && root[len - 1] == '/')
		len--;
	return strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0') && *path == '/';
}

static char *join(const char *dir, const char *name)
{
	char *ret;

	if (asprintf(&ret, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name) < 0)
		return NULL;
	return ret;
}

/* Links are looked at with their targets as they are read, not followed: may @target lead out of the folder @dir? */
static bool leads_out(const char *root, const char *dir, const char *target)
{
	char path[2 * SSH_PATH_MAX + 2];
	size_t len = 0;
	char *save, *copy, *part;
	bool out;

	if (*target == '/')
		copy = strdup(target);
	else
		copy = join(dir, target);
	path[0] = '\0';
	for (part = copy ? strtok_r(copy, "/", &save) : NULL; part; part = strtok_r(NULL, "/", &save)) {
		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			char *slash = strrchr(path, '/');

			len = slash ? (size_t)(slash - path) : 0;
			path[len] = '\0';
			/* On the way as well: what is above may be a link. */
			if (!is_inside(*path ? path : "/", root))
				break;
		} else if (len + strlen(part) + 2 < sizeof(path)) {
			len += (size_t)sprintf(path + len, "/%s", part);
		} else {
			break;
		}
	}
	out = !copy || part || !is_inside(*path ? path : "/", root);
	free(copy);
	return out;
}

static void refuse(struct fs_op *op, const char *path)
{
	fs_op_fail(op, ERR_PERMISSION, "%s: it is outside of ssh.session_root (%s)", path, op->s->root);
}

/* ---- resolving ---- */

/* Does the operation act on the last part itself, and not on what a link there leads to? */
static bool is_about_name(enum ssh_op kind)
{
	return kind != SSH_OP_GET && kind != SSH_OP_LS && kind != SSH_OP_STAT && kind != SSH_OP_SETSTAT && kind != SSH_OP_DF &&
	       kind != SSH_OP_REALPATH;
}

/* Asks for @path, or the folder that it is in; the part behind that is kept. */
static void resolve(struct fs_op *op, const char *path, uint64_t tag, bool name)
{
	struct fs_confine *c = op->confine;
	char *whole = *path == '/' ? strdup(path) : join(op->s->root, path), *slash;

	slash = whole ? strrchr(whole, '/') : NULL;
	name = name && whole && slash[1] && strcmp(slash + 1, ".") != 0 && strcmp(slash + 1, "..") != 0;
	if (name) {
		c->last[tag] = strdup(slash + 1);
		slash[slash == whole] = '\0';
	}
	if (whole && (c->last[tag] || !name)) {
		c->n_open++;
		fs_op_on_path(op, SFTP_REALPATH, whole, tag);
	} else {
		/* Without its last part it would be the folder that the operation is about. */
		fs_op_fail(op, ERR_NOMEM, "out of memory");
	}
	free(whole);
}

/* The resolved path that stands for the one of @tag; NULL when it is outside, or without memory: failed. */
static char *take_resolved(struct fs_op *op, uint64_t tag, const char *shown)
{
	struct fs_confine *c = op->confine;
	char *path;

	if (!is_inside(c->real[tag], c->real[TAG_ROOT])) {
		refuse(op, shown);
		return NULL;
	}
	path = c->last[tag] ? join(c->real[tag], c->last[tag]) : strdup(c->real[tag]);
	if (!path || strlen(path) > SSH_PATH_MAX) {
		free(path);
		fs_op_fail(op, ERR_TOO_LONG, "%s: the resolved path is too long", shown);
		return NULL;
	}
	return path;
}

static void free_state(struct fs_op *op)
{
	struct fs_confine *c = op->confine;

	for (size_t i = 0; c && i < ARRAY_SIZE(c->real); i++) {
		free(c->real[i]);
		free(c->last[i]);
	}
	if (c)
		free(c->rest);
	free(c);
	op->confine = NULL;
}

/* Everything is resolved: from here on it is an operation as others are, on other paths. */
static void go(struct fs_op *op)
{
	struct fs_confine *c = op->confine;
	char *path = take_resolved(op, TAG_PATH, op->path), *second = NULL;

	if (path && op->kind == SSH_OP_SYMLINK && leads_out(c->real[TAG_ROOT], c->real[TAG_PATH], op->second))
		refuse(op, op->second);
	else if (path && c->real[TAG_SECOND])
		second = take_resolved(op, TAG_SECOND, op->second);
	if (op->over) {
		free(path);
		return;
	}
	if (second) {
		free(op->second);
		op->second = second;
	}
	free(op->path);
	op->path = path;
	free_state(op);
	fs_op_begin(op);
}

/* ---- mkdir -p: each part is resolved before the next is made in it ---- */

static void make_next(struct fs_op *op)
{
	struct fs_confine *c = op->confine;
	struct sftp_request rq = { .type = SFTP_MKDIR, .attr = { .which = SSH_ATTR_MODE, .mode = op->mode & 07777 } };
	char *path;

	c->next += strspn(c->next, "/");
	if (!*c->next) {
		fs_op_on_path(op, SFTP_STAT, c->real[TAG_PATH], TAG_LAST);
		return;
	}
	c->last[TAG_PATH] = strndup(c->next, strcspn(c->next, "/"));
	c->next += strcspn(c->next, "/");
	path = c->last[TAG_PATH] ? join(c->real[TAG_PATH], c->last[TAG_PATH]) : NULL;
	if (!path) {
		fs_op_fail(op, ERR_NOMEM, "out of memory");
		return;
	}
	rq.path = fs_str(path);
	fs_op_call(op, &rq, TAG_MADE);
	if (!op->over)
		fs_op_on_path(op, SFTP_REALPATH, path, TAG_STEP);
	free(path);
}

/* What lies below the root as it is written, where that is so. */
static void begin_parts(struct fs_op *op)
{
	struct fs_confine *c = op->confine;
	const char *below = op->path;

	if (*below == '/' && !is_inside(below, op->s->root)) {
		refuse(op, op->path);
		return;
	}
	if (*below == '/')
		below += strspn(op->s->root, "/") == strlen(op->s->root) ? 0 : strlen(op->s->root);
	c->rest = strdup(below);
	c->real[TAG_PATH] = strdup(c->real[TAG_ROOT]);
	c->next = c->rest;
	if (c->rest && c->real[TAG_PATH])
		make_next(op);
	else
		fs_op_fail(op, ERR_NOMEM, "out of memory");
}

static void stepped(struct fs_op *op)
{
	struct fs_confine *c = op->confine;

	if (!is_inside(c->real[TAG_PATH], c->real[TAG_ROOT])) {
		refuse(op, op->path);
		return;
	}
	free(c->last[TAG_PATH]);
	c->last[TAG_PATH] = NULL;
	make_next(op);
}

static void made_all(struct fs_op *op, const struct sftp_reply *r)
{
	struct sftp_reply first = { .type = SFTP_STATUS, .status = op->confine->made };

	if (r->type == SFTP_ATTRS && (r->attr.mode & 0170000) == 0040000)
		fs_op_done(op);
	else
		fs_op_fail_reply(op, first.status == SFTP_OK ? r : &first, "making");
}

/* ---- answers ---- */

static bool keep_real(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	struct bytes names = r->data, name;
	struct fs_confine *c = op->confine;
	struct ssh_attr a;

	if (r->type != SFTP_NAME) {
		fs_op_fail_reply(op, r, tag == TAG_ROOT ? "resolving ssh.session_root for" : "resolving");
		return false;
	}
	free(c->real[tag]);
	c->real[tag] = NULL;
	if (r->n_names == 1 && sftp_next_name(&names, &name, &a) && name.len > 0 && name.len <= SSH_PATH_MAX && name.p[0] == '/' &&
	    !memchr(name.p, 0, name.len))
		c->real[tag] = strndup((const char *)name.p, name.len);
	if (!c->real[tag])
		fs_op_fail(op, ERR_PROTOCOL, "resolving %s: the server's answer is malformed", op->path);
	return c->real[tag] != NULL;
}

static void confine_reply(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	struct fs_confine *c = op->confine;

	if (tag == TAG_MADE) {
		c->made = r->type == SFTP_STATUS ? r->status : SFTP_FAILURE;
	} else if (tag == TAG_LAST) {
		made_all(op, r);
	} else if (tag == TAG_STEP) {
		if (c->made != SFTP_OK && c->made != SFTP_FAILURE && r->type != SFTP_NAME)
			fs_op_fail_reply(op, &(struct sftp_reply){ .type = SFTP_STATUS, .status = c->made }, "making");
		else if (keep_real(op, TAG_PATH, r))
			stepped(op);
	} else if (keep_real(op, tag, r) && --c->n_open == 0) {
		if (op->kind == SSH_OP_MKDIR && op->flags & SSH_MKDIR_PARENTS)
			begin_parts(op);
		else
			go(op);
	}
}

static void confine_free(struct fs_op *op)
{
	free_state(op);
	if (op->kind == SSH_OP_PUT)
		fs_put_type.free(op);
}

static const struct fs_op_type confine_type = { .reply = confine_reply, .free = confine_free };

void fs_confine_start(struct fs_op *op)
{
	op->confine = calloc(1, sizeof(*op->confine));
	op->type = &confine_type;
	if (!op->confine) {
		fs_op_fail(op, ERR_NOMEM, "out of memory");
		return;
	}
	op->confine->n_open = 1;
	fs_op_on_path(op, SFTP_REALPATH, op->s->root, TAG_ROOT);
	if (op->over || (op->kind == SSH_OP_MKDIR && op->flags & SSH_MKDIR_PARENTS))
		return;
	resolve(op, op->path, TAG_PATH, is_about_name(op->kind));
	if (!op->over && (op->kind == SSH_OP_MV || op->kind == SSH_OP_LINK))
		resolve(op, op->second, TAG_SECOND, true);
}

/* ---- after open ---- */

bool fs_confine_is_same(const struct sftp_reply *r, const char *path)
{
	struct bytes names = r->data, name;
	struct ssh_attr a;

	return r->type == SFTP_NAME && r->n_names == 1 && sftp_next_name(&names, &name, &a) && name.len == strlen(path) &&
	       memcmp(name.p, path, name.len) == 0;
}

static bool is_same_file(const struct ssh_attr *a, const struct ssh_attr *b)
{
	return a->which == b->which && a->uid == b->uid && a->gid == b->gid && a->mode == b->mode && a->size == b->size &&
	       a->mtime == b->mtime;
}

void fs_confine_look_on(struct fs_op *op)
{
	for (; op->n_looks > 0 && !op->over && sftp_client_room(op->s->client); op->n_looks--, op->coins >>= 1) {
		bool real = op->coins & 1;

		fs_op_on_path(op, real ? SFTP_REALPATH : SFTP_LSTAT, op->check_path,
			      real ? FS_TAG_CHECK_REAL : FS_TAG_CHECK_THERE);
	}
}

static void look_again(struct fs_op *op)
{
	uint64_t coins = rng_u64(os_rng());

	/* Each kind once at least. */
	op->coins = (coins & ~(uint64_t)3) | (coins & 4 ? 1 : 2);
	op->n_looks = CHECK_LOOKS;
	op->n_checks = CHECK_LOOKS + 1;
	op->check_seen = op->check_differs = false;
	fs_op_on_handle(op, SFTP_FSTAT, FS_TAG_CHECK_OPEN);
	fs_confine_look_on(op);
}

/* What stands there; it must be the same each time. */
static void take_there(struct fs_op *op, const struct ssh_attr *a)
{
	if (op->check_seen && !is_same_file(&op->check_there, a))
		op->check_differs = true;
	op->check_seen = true;
	op->check_there = *a;
}

void fs_confine_checked(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	bool ok = tag == FS_TAG_CHECK_REAL ? fs_confine_is_same(r, op->check_path) : r->type == SFTP_ATTRS;

	if (tag == FS_TAG_CHECK_THERE)
		take_there(op, &r->attr);
	if (tag == FS_TAG_CHECK_OPEN)
		op->check_open = r->attr;
	/* A server answers in the order that it likes. */
	if (--op->n_checks > 0 && ok)
		return;
	if (ok && (op->check_differs || !is_same_file(&op->check_there, &op->check_open))) {
		/* Somebody may have written to it between two looks. */
		ok = op->check_tries-- > 0;
		if (ok)
			look_again(op);
	}
	if (!ok)
		fs_op_fail(op, ERR_PERMISSION, "%s: it changed while it was opened: refused, for ssh.session_root (%s)", op->path,
			   op->s->root);
	else if (op->n_checks == 0 && op->type->step)
		op->type->step(op);
}

bool fs_confine_check(struct fs_op *op, const char *path)
{
	if (!op->s->root)
		return false;
	op->check_path = path;
	op->check_tries = CHECK_TRIES;
	look_again(op);
	return true;
}
