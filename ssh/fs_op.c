/*
 * ssh/fs_op.c - what all file operations share, and those of one or two requests.
 *
 * An operation is over when its DONE is said, at once when something fails. It is freed when the
 * last answer has come: a handle that arrives after the end is still closed, and what it made on
 * the way is taken away.
 */
#include "ssh/fs_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { TAG_CLOSE = UINT32_MAX };

static void on_reply(void *ctx, uint64_t tag, const struct sftp_reply *r)
{
	struct fs_op *op = ctx;

	op->n_calls--;
	if (op->over) {
		if (r && r->type == SFTP_HANDLE) {
			struct sftp_request rq = { .type = SFTP_CLOSE, .path = r->data };

			fs_op_call_through(op, r->from, &rq, TAG_CLOSE);
		}
		return;
	}
	if (tag == TAG_CLOSE)
		return;
	if (r && fs_tag_is_check(tag))
		fs_confine_checked(op, tag, r);
	else if (r)
		op->type->reply(op, tag, r);
	else if (op->s->client->error != OK)
		fs_op_fail(op, op->s->client->error, "%s", op->s->client->message);
	else
		fs_op_fail(op, ERR_RESET, "%s: the server ended one of its SFTP channels", op->path);
}

void fs_op_call_through(struct fs_op *op, struct sftp_client *c, const struct sftp_request *rq, uint64_t tag)
{
	enum err e = sftp_client_call(c, op->s->now, rq, on_reply, op, tag);

	if (e == OK)
		op->n_calls++;
	else if (!op->over)
		fs_op_fail(op, e, "%s: %s", op->path, e == ERR_CLOSED ? c->message : err_text(e));
}

void fs_op_call(struct fs_op *op, const struct sftp_request *rq, uint64_t tag)
{
	fs_op_call_through(op, op->s->client, rq, tag);
}

void fs_op_on_path(struct fs_op *op, enum sftp_type type, const char *path, uint64_t tag)
{
	struct sftp_request rq = { .type = type, .path = fs_str(path) };

	fs_op_call(op, &rq, tag);
}

void fs_op_on_handle(struct fs_op *op, enum sftp_type type, uint64_t tag)
{
	struct sftp_request rq = { .type = type, .path = { op->handle, op->handle_len } };

	fs_op_call(op, &rq, tag);
}

bool fs_op_room(const struct fs_op *op)
{
	return sftp_client_room(op->s->client) && ssh_buf_used(op->s->out) < FS_OUT_MAX;
}

bool fs_op_list(struct fs_op *op, size_t len)
{
	struct fs_session *s = op->s;

	s->n_listed++;
	s->listed_bytes += len;
	if (s->list_max == 0 || (s->n_listed <= s->list_max && s->listed_bytes / FS_NAME_BYTES <= s->list_max))
		return true;
	fs_op_fail(op, ERR_LIST_LIMIT, "%s: more than %llu %s were listed (ssh.max_list_entries%s)", op->path,
		   (unsigned long long)(s->n_listed > s->list_max ? s->list_max : s->list_max * FS_NAME_BYTES),
		   s->n_listed > s->list_max ? "names" : "bytes of names", s->n_listed > s->list_max ? "" : ", 256 bytes for each");
	return false;
}

/* ---- ends ---- */

static void finish(struct fs_op *op, enum err e, const char *message)
{
	if (op->over)
		return;
	op->over = true;
	op->s->n_over++;
	fs_emit_done(op, e, message);
	if (op->handle_len > 0)
		fs_op_on_handle(op, SFTP_CLOSE, TAG_CLOSE);
	op->handle_len = 0;
	if (op->type->cleanup)
		op->type->cleanup(op);
}

void fs_op_done(struct fs_op *op)
{
	finish(op, OK, "");
}

void fs_op_fail(struct fs_op *op, enum err e, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(text);
	finish(op, e, text);
}

void fs_op_fail_reply(struct fs_op *op, const struct sftp_reply *r, const char *what)
{
	const char *text;
	enum err e;

	if (r->type != SFTP_STATUS || r->status == SFTP_OK) {
		fs_op_fail(op, ERR_PROTOCOL, "%s %s: the server gave an answer that does not fit", what, op->path);
		return;
	}
	e = sftp_err(r->status, &text);
	/* Which of two names it means no server says. */
	if (op->kind == SSH_OP_MV)
		fs_op_fail(op, e, "%s %s: %s (to %s)", what, op->path, text, op->second);
	else
		fs_op_fail(op, e, "%s %s: %s", what, op->path, text);
}

bool fs_op_expect_ok(struct fs_op *op, const struct sftp_reply *r, const char *what)
{
	if (r->type == SFTP_STATUS && r->status == SFTP_OK)
		return true;
	fs_op_fail_reply(op, r, what);
	return false;
}

bool fs_op_take_handle(struct fs_op *op, const struct sftp_reply *r, const char *what)
{
	if (r->type != SFTP_HANDLE || r->data.len == 0) {
		fs_op_fail_reply(op, r, what);
		return false;
	}
	memcpy(op->handle, r->data.p, r->data.len);
	op->handle_len = r->data.len;
	return true;
}

/* ---- operations of one or two requests ---- */

enum { TAG_FIRST, TAG_RETRY, TAG_LOOK, TAG_PARENT };

static const char *verb(const struct fs_op *op)
{
	static const char *const verbs[] = {
		[SSH_OP_STAT] = "looking at", [SSH_OP_LSTAT] = "looking at", [SSH_OP_RM] = "removing",
		[SSH_OP_MKDIR] = "making",    [SSH_OP_MV] = "moving",	     [SSH_OP_SETSTAT] = "changing",
		[SSH_OP_DF] = "looking at",   [SSH_OP_REALPATH] = "resolving", [SSH_OP_READLINK] = "reading the link",
		[SSH_OP_SYMLINK] = "linking", [SSH_OP_LINK] = "linking",
	};

	return op->kind < ARRAY_SIZE(verbs) && verbs[op->kind] ? verbs[op->kind] : "using";
}

static void call_ext(struct fs_op *op, enum sftp_ext x, const char *path, const char *second)
{
	struct sftp_request rq = { .type = SFTP_EXTENDED, .ext = x, .path = fs_str(path), .second = fs_str(second) };

	if (op->s->client->has[x])
		fs_op_call(op, &rq, TAG_FIRST);
	else
		fs_op_fail(op, ERR_UNSUPPORTED, "%s %s: the server cannot do that", verb(op), op->path);
}

static void rename_plainly(struct fs_op *op)
{
	struct sftp_request rq = { .type = SFTP_RENAME, .path = fs_str(op->path), .second = fs_str(op->second) };

	fs_op_call(op, &rq, TAG_RETRY);
}

/* In the order of the path; what fails because it is there already is found out by looking at the last. */
static void make_folder(struct fs_op *op)
{
	struct sftp_request rq = { .type = SFTP_MKDIR, .attr = { .which = SSH_ATTR_MODE, .mode = op->mode & 07777 } };
	size_t len = strlen(op->path);

	for (size_t i = 1; i < len && op->flags & SSH_MKDIR_PARENTS; i++) {
		if (op->path[i] != '/' || op->path[i - 1] == '/')
			continue;
		rq.path = (struct bytes){ (uint8_t *)op->path, i };
		fs_op_call(op, &rq, TAG_PARENT);
	}
	rq.path = fs_str(op->path);
	fs_op_call(op, &rq, TAG_FIRST);
}

void fs_op_start_simple(struct fs_op *op)
{
	struct sftp_request rq = { .path = fs_str(op->path), .attr = op->attr };

	switch (op->kind) {
	case SSH_OP_STAT:
		rq.type = SFTP_STAT;
		break;
	case SSH_OP_LSTAT:
		rq.type = SFTP_LSTAT;
		break;
	case SSH_OP_RM:
		rq.type = SFTP_REMOVE;
		break;
	case SSH_OP_MKDIR:
		make_folder(op);
		return;
	case SSH_OP_MV:
		if (op->flags & SSH_MV_NO_REPLACE || !op->s->client->has[SFTP_X_POSIX_RENAME])
			rename_plainly(op);
		else
			call_ext(op, SFTP_X_POSIX_RENAME, op->path, op->second);
		return;
	case SSH_OP_SETSTAT:
		rq.type = SFTP_SETSTAT;
		break;
	case SSH_OP_DF:
		call_ext(op, SFTP_X_STATVFS, op->path, "");
		return;
	case SSH_OP_REALPATH:
		rq.type = SFTP_REALPATH;
		break;
	case SSH_OP_READLINK:
		rq.type = SFTP_READLINK;
		break;
	case SSH_OP_SYMLINK:
		/* OpenSSH takes the target first, against the draft, and everybody follows. */
		rq = (struct sftp_request){ .type = SFTP_SYMLINK, .path = fs_str(op->second), .second = fs_str(op->path) };
		break;
	case SSH_OP_LINK:
		call_ext(op, SFTP_X_HARDLINK, op->second, op->path);
		return;
	default:
		fs_op_fail(op, ERR_UNSUPPORTED, "the hub's SSH worker does not know this operation: restart the hub");
		return;
	}
	fs_op_call(op, &rq, TAG_FIRST);
}

/* Version 3 has one status for most refusals: look at what is there, to say more. */
static bool look_closer(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	/* No folder, or one with something in it: what REMOVE said counts. */
	if (op->kind == SSH_OP_RM && tag == TAG_RETRY && r->status != SFTP_PERMISSION_DENIED) {
		fs_op_on_path(op, SFTP_LSTAT, op->path, TAG_LOOK);
		return true;
	}
	op->status = r->status;
	if (op->kind == SSH_OP_RM && tag == TAG_FIRST && r->status == SFTP_FAILURE)
		fs_op_on_path(op, SFTP_RMDIR, op->path, TAG_RETRY);
	else if (op->kind == SSH_OP_RM && op->flags & SSH_RM_FORCE && r->status == SFTP_NO_SUCH_FILE)
		fs_op_done(op);
	else if (op->kind == SSH_OP_MKDIR && r->status == SFTP_FAILURE)
		fs_op_on_path(op, SFTP_STAT, op->path, TAG_LOOK);
	else if (op->kind == SSH_OP_MV && tag == TAG_RETRY && r->status == SFTP_FAILURE)
		fs_op_on_path(op, SFTP_LSTAT, op->second, TAG_LOOK);
	else
		return false;
	return true;
}

/* Whether it can be written to then, those who write will see. */
static void open_up(struct fs_op *op, uint32_t mode)
{
	struct sftp_request rq = { .type = SFTP_SETSTAT,
				   .path = fs_str(op->path),
				   .attr = { .which = SSH_ATTR_MODE, .mode = (mode & 07777) | 0700 } };

	fs_op_call(op, &rq, TAG_PARENT);
	if (!op->over)
		fs_op_done(op);
}

static void looked(struct fs_op *op, const struct sftp_reply *r)
{
	struct sftp_reply first = { .type = SFTP_STATUS, .status = op->status };
	bool dir = r->type == SFTP_ATTRS && (r->attr.mode & 0170000) == 0040000;

	if (r->type != SFTP_ATTRS)
		fs_op_fail_reply(op, &first, verb(op));
	else if (op->kind == SSH_OP_RM && dir)
		fs_op_fail(op, ERR_IO, "removing %s: it is a folder that is not empty: -r removes it with what is in it", op->path);
	else if (op->kind == SSH_OP_RM)
		fs_op_fail_reply(op, &first, verb(op));
	else if (op->kind == SSH_OP_MKDIR && dir && op->flags & SSH_MKDIR_OPEN_UP && (r->attr.mode & 0700) != 0700)
		open_up(op, r->attr.mode);
	else if (op->kind == SSH_OP_MKDIR && dir && op->flags & (SSH_MKDIR_PARENTS | SSH_MKDIR_MAY_EXIST))
		fs_op_done(op);
	else if (op->kind == SSH_OP_MKDIR || op->flags & SSH_MV_NO_REPLACE)
		fs_op_fail(op, ERR_EXISTS, "%s %s: %s is there already", verb(op), op->path,
			   op->kind == SSH_OP_MV ? op->second : "it");
	else if (op->mode == 0) {
		/* A server without posix-rename: not in one step, but its only way. Once. */
		op->mode = 1;
		fs_op_on_path(op, SFTP_REMOVE, op->second, TAG_PARENT);
		rename_plainly(op);
	} else
		fs_op_fail_reply(op, &first, verb(op));
}

static void one_name(struct fs_op *op, const struct sftp_reply *r)
{
	struct bytes names = r->data, name;
	struct ssh_attr a;

	if (r->n_names != 1 || !sftp_next_name(&names, &name, &a) || name.len > SSH_PATH_MAX) {
		fs_op_fail(op, ERR_PROTOCOL, "%s %s: the server's answer is malformed", verb(op), op->path);
		return;
	}
	if (!fs_op_list(op, name.len))
		return;
	fs_emit_entry(op, (struct bytes){ NULL, 0 }, name, &a);
	fs_op_done(op);
}

static void simple_reply(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	struct ssh_fs_space space;

	if (tag == TAG_PARENT)
		return;
	if (tag == TAG_LOOK) {
		looked(op, r);
	} else if (r->type == SFTP_ATTRS && (op->kind == SSH_OP_STAT || op->kind == SSH_OP_LSTAT)) {
		fs_emit_attr(op, &r->attr);
		fs_op_done(op);
	} else if (r->type == SFTP_EXTENDED_REPLY && op->kind == SSH_OP_DF && sftp_read_space(r->data, &space)) {
		fs_emit_space(op, &space);
		fs_op_done(op);
	} else if (r->type == SFTP_NAME && (op->kind == SSH_OP_REALPATH || op->kind == SSH_OP_READLINK)) {
		one_name(op, r);
	} else if (r->type == SFTP_STATUS && r->status == SFTP_OK && op->kind != SSH_OP_STAT && op->kind != SSH_OP_LSTAT &&
		   op->kind != SSH_OP_DF && op->kind != SSH_OP_REALPATH && op->kind != SSH_OP_READLINK) {
		fs_op_done(op);
	} else if (r->type != SFTP_STATUS || !look_closer(op, tag, r)) {
		fs_op_fail_reply(op, r, verb(op));
	}
}

const struct fs_op_type fs_simple_type = { .reply = simple_reply };
