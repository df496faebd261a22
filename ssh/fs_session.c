/*
 * ssh/fs_session.c - one command's file operations: its frames to operations, their results to
 * frames.
 *
 * A session of SSH_F_GET or SSH_F_PUT is one operation whose results are told in the older frames
 * ("stream").
 */
#include "ssh/fs_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

/* ---- towards the command ---- */

/* Behind a frame for which there was no memory nothing is said any more: what was left out would look as if it had never been. */
static void emit_plain(struct fs_op *op, enum ssh_frame type, struct bytes head, struct bytes body)
{
	struct fs_session *s = op->s;

	s->broken = s->broken || ssh_frame_add(s->out, type, head, body) != OK;
}

static void emit(struct fs_op *op, enum ssh_frame type, struct bytes head, struct bytes body)
{
	uint8_t full[64];

	put_le32(full, op->id);
	if (head.len)
		memcpy(full + 4, head.p, head.len);
	emit_plain(op, type, (struct bytes){ full, 4 + head.len }, body);
}

static void emit_buf(struct fs_op *op, enum ssh_frame type, struct ssh_buf *b, enum err e)
{
	op->s->broken |= e != OK;
	emit(op, type, (struct bytes){ NULL, 0 }, (struct bytes){ b->p, ssh_buf_used(b) });
	ssh_buf_fini(b);
}

void fs_emit_attr(struct fs_op *op, const struct ssh_attr *a)
{
	struct ssh_buf b = { 0 };
	uint8_t ready[12];

	if (op->over)
		return;
	if (!op->s->stream) {
		enum err e = ssh_put_attr(&b, a);

		emit_buf(op, SSH_F_OP_INFO, &b, e);
		return;
	}
	put_le64(ready, a->which & SSH_ATTR_SIZE ? a->size : UINT64_MAX);
	put_le32(ready + 8, a->which & SSH_ATTR_MODE ? a->mode & 07777 : 0644);
	emit_plain(op, SSH_F_READY, (struct bytes){ ready, sizeof(ready) }, (struct bytes){ NULL, 0 });
}

void fs_emit_space(struct fs_op *op, const struct ssh_fs_space *sp)
{
	const uint64_t words[] = { sp->size, sp->free, sp->avail, sp->files, sp->files_free };
	struct ssh_buf b = { 0 };
	enum err e = OK;

	for (size_t i = 0; i < ARRAY_SIZE(words) && e == OK; i++)
		e = ssh_put_u64(&b, words[i]);
	emit_buf(op, SSH_F_OP_INFO, &b, e);
}

void fs_emit_entry(struct fs_op *op, struct bytes dir, struct bytes name, const struct ssh_attr *a)
{
	size_t slash = dir.len > 0 && name.len > 0;
	struct ssh_buf b = { 0 };
	enum err e;

	if (op->over)
		return;
	e = ssh_put_u32(&b, (uint32_t)(dir.len + slash + name.len));
	if (e == OK)
		e = ssh_buf_add(&b, dir.p, dir.len);
	if (e == OK)
		e = ssh_buf_add(&b, "/", slash);
	if (e == OK)
		e = ssh_buf_add(&b, name.p, name.len);
	if (e == OK)
		e = ssh_put_attr(&b, a);
	emit_buf(op, SSH_F_OP_ENTRY, &b, e);
}

void fs_emit_bytes(struct fs_op *op, uint64_t offset, struct bytes data)
{
	uint8_t head[8];

	if (op->over)
		return;
	put_le64(head, offset);
	if (op->s->stream)
		emit_plain(op, SSH_F_STDOUT, data, (struct bytes){ NULL, 0 });
	else
		emit(op, SSH_F_OP_BYTES, (struct bytes){ head, 8 }, data);
}

void fs_emit_more(struct fs_op *op, uint32_t n_bytes)
{
	uint8_t head[4];

	if (op->over)
		return;
	put_le32(head, n_bytes);
	if (op->s->stream)
		op->s->stream_credit += n_bytes;
	else
		emit(op, SSH_F_OP_MORE, (struct bytes){ head, 4 }, (struct bytes){ NULL, 0 });
}

void fs_emit_done(struct fs_op *op, enum err e, const char *message)
{
	struct bytes text = fs_str(message);
	uint8_t head[8];

	put_le32(head, (uint32_t)e);
	put_le32(head + 4, (uint32_t)text.len);
	if (!op->s->stream)
		emit(op, SSH_F_OP_DONE, (struct bytes){ head, 8 }, text);
	else if (e == OK)
		emit_plain(op, SSH_F_EXIT, (struct bytes){ (const uint8_t *)"\0\0\0\0", 4 }, (struct bytes){ NULL, 0 });
	else
		emit_plain(op, SSH_F_ERROR, (struct bytes){ head, 8 }, text);
}

/* ---- life ---- */

void fs_session_init(struct fs_session *s, struct sftp_client *client, struct ssh_buf *out, uint64_t file_size_max)
{
	*s = (struct fs_session){ .client = client, .out = out, .file_size_max = file_size_max };
	list_init(&s->ops);
}

static void free_op(struct fs_op *op)
{
	list_del(&op->link);
	op->s->n_ops--;
	op->s->n_over -= op->over;
	if (op->type->free)
		op->type->free(op);
	free(op->path);
	free(op->second);
	free(op);
}

void fs_session_step(struct fs_session *s, nsec_t now)
{
	s->now = now;
	list_for_each_safe(it, &s->ops) {
		struct fs_op *op = container_of(it, struct fs_op, link);

		fs_confine_look_on(op);
		if (!op->over && op->type->step)
			op->type->step(op);
		if (op->over && op->n_calls == 0)
			free_op(op);
	}
}

/* Only to be called when the command is not told any more. */
static void cancel(struct fs_op *op)
{
	if (!op->over)
		fs_op_fail(op, ERR_CANCELLED, "cancelled");
}

void fs_session_abandon(struct fs_session *s, nsec_t now)
{
	s->now = now;
	list_for_each(it, &s->ops)
		cancel(container_of(it, struct fs_op, link));
	fs_session_step(s, now);
}

bool fs_session_idle(const struct fs_session *s)
{
	return s->n_ops == 0;
}

void fs_session_fini(struct fs_session *s)
{
	list_for_each_safe(it, &s->ops) {
		struct fs_op *op = container_of(it, struct fs_op, link);

		sftp_client_forget(s->client, op);
		for (unsigned i = 0; s->lanes && i < s->lanes->n; i++)
			sftp_client_forget(s->lanes->v[i], op);
		free_op(op);
	}
}

/* ---- beginning an operation ---- */

static char *dup_path(struct bytes b)
{
	if (b.len > SSH_PATH_MAX || (b.len && memchr(b.p, 0, b.len)))
		return NULL;
	/* Nothing is the login folder. */
	return b.len ? strndup((const char *)b.p, b.len) : strdup(".");
}

static struct fs_op *find_op(struct fs_session *s, uint32_t id)
{
	list_for_each(it, &s->ops) {
		struct fs_op *op = container_of(it, struct fs_op, link);

		if (op->id == id && !op->over)
			return op;
	}
	return NULL;
}

static struct fs_op *new_op(struct fs_session *s, uint32_t id, enum ssh_op kind)
{
	struct fs_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->s = s;
	op->id = id;
	op->kind = kind;
	op->type = &fs_simple_type;
	list_add_tail(&s->ops, &op->link);
	s->n_ops++;
	return op;
}

/* The fields that follow the path, by the kind. */
static void read_fields(struct fs_op *op, struct ssh_reader *r)
{
	uint64_t *number = op->number;

	switch (op->kind) {
	case SSH_OP_GET:
		number[0] = ssh_read_u64(r);
		number[1] = ssh_read_u64(r);
		break;
	case SSH_OP_PUT:
		op->put.mode = ssh_read_u32(r);
		op->put.flags = ssh_read_u32(r);
		op->put.source = ssh_read_u64(r);
		op->put.atime = ssh_read_u32(r);
		op->put.mtime = ssh_read_u32(r);
		break;
	case SSH_OP_FIND:
		number[0] = ssh_read_u32(r);
		break;
	case SSH_OP_RM:
		op->flags = ssh_read_u32(r);
		break;
	case SSH_OP_MKDIR:
		op->mode = ssh_read_u32(r);
		op->flags = ssh_read_u32(r);
		break;
	case SSH_OP_MV:
		op->second = dup_path(ssh_read_string(r));
		op->flags = ssh_read_u32(r);
		break;
	case SSH_OP_SETSTAT:
		ssh_read_attr(r, &op->attr);
		break;
	case SSH_OP_SYMLINK:
	case SSH_OP_LINK:
		op->second = dup_path(ssh_read_string(r));
		break;
	default:
		break;
	}
}

void fs_op_begin(struct fs_op *op)
{
	op->type = op->kind == SSH_OP_GET ? &fs_get_type : op->kind == SSH_OP_PUT ? &fs_put_type : &fs_simple_type;
	switch (op->kind) {
	case SSH_OP_GET:
		fs_get_start(op, op->number[0], op->number[1]);
		break;
	case SSH_OP_PUT:
		fs_put_start(op);
		break;
	case SSH_OP_LS:
		fs_walk_start(op, 1);
		break;
	case SSH_OP_FIND:
		fs_walk_start(op, (uint32_t)op->number[0]);
		break;
	case SSH_OP_RM:
		if (op->flags & SSH_RM_RECURSIVE) {
			fs_walk_start(op, 0);
			break;
		}
		/* fallthrough */
	default:
		fs_op_start_simple(op);
		break;
	}
}

static void start(struct fs_op *op)
{
	if (op->s->root)
		fs_confine_start(op);
	else
		fs_op_begin(op);
}

static enum err take_op(struct fs_session *s, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	uint32_t id = ssh_read_u32(&r);
	enum ssh_op kind = (enum ssh_op)ssh_read_u8(&r);
	struct bytes path = ssh_read_string(&r);
	bool two = kind == SSH_OP_MV || kind == SSH_OP_SYMLINK || kind == SSH_OP_LINK;
	struct fs_op *op;

	if (r.bad || find_op(s, id))
		return ERR_PROTOCOL;
	op = new_op(s, id, kind);
	if (!op)
		return ERR_NOMEM;
	op->path = dup_path(path);
	read_fields(op, &r);
	if (r.bad || !op->path || (two && !op->second)) {
		fs_op_fail(op, ERR_INVALID, "the path is too long, or the request malformed");
	} else if (s->n_ops - s->n_over > SSH_FS_OPS_MAX) {
		fs_op_fail(op, ERR_FULL, "more than %d file operations at once", SSH_FS_OPS_MAX);
	} else {
		start(op);
	}
	return OK;
}

enum err fs_session_frame(struct fs_session *s, nsec_t now, uint8_t type, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	struct fs_op *op;
	uint64_t number;
	enum err e = OK;

	s->now = now;
	if (type == SSH_F_OP)
		return take_op(s, body);
	op = find_op(s, ssh_read_u32(&r));
	/* One that has just ended may still be spoken to. */
	if (r.bad || !op || (op->kind != SSH_OP_PUT && type != SSH_F_OP_CANCEL))
		return r.bad ? ERR_PROTOCOL : OK;
	if (type == SSH_F_OP_CANCEL) {
		cancel(op);
		return OK;
	}
	number = ssh_read_u64(&r);
	if (type == SSH_F_OP_DATA)
		e = fs_put_data(op, number, (struct bytes){ r.p, r.len });
	else if (type == SSH_F_OP_EOF)
		e = fs_put_eof(op, number);
	if (e == OK && !op->over)
		fs_put_type.step(op);
	return r.bad ? ERR_PROTOCOL : e;
}

/* ---- one operation in the older frames ---- */

enum err fs_session_stream(struct fs_session *s, nsec_t now, enum ssh_frame kind, const char *path, uint32_t mode)
{
	struct fs_op *op = new_op(s, 0, kind == SSH_F_GET ? SSH_OP_GET : SSH_OP_PUT);

	s->now = now;
	s->stream = true;
	s->stream_credit = SSH_PUT_CREDIT;
	if (!op)
		return ERR_NOMEM;
	op->path = strdup(path);
	if (!op->path)
		return ERR_NOMEM;
	op->number[1] = UINT64_MAX;
	if (kind == SSH_F_PUT) {
		op->put.mode = mode;
		fs_emit_attr(op, &(struct ssh_attr){ .which = 0 }); /* READY */
	}
	start(op);
	return OK;
}

void fs_session_stream_data(struct fs_session *s, nsec_t now, struct ssh_buf *data, bool eof)
{
	struct fs_op *op = find_op(s, 0);

	s->now = now;
	while (op && !op->over && ssh_buf_used(data) > 0 && s->stream_credit > 0) {
		size_t n = (size_t)MIN(MIN((uint64_t)ssh_buf_used(data), s->stream_credit), (uint64_t)SSH_DATA_MAX);

		if (fs_put_data(op, s->stream_sent, (struct bytes){ data->p + data->off, n }) != OK) {
			s->broken = true;
			return;
		}
		ssh_buf_drop(data, n);
		s->stream_sent += n;
		s->stream_credit -= n;
		fs_put_type.step(op);
	}
	if (op && !op->over && eof && ssh_buf_used(data) == 0 && !op->put.eof) {
		if (fs_put_eof(op, s->stream_sent) != OK)
			s->broken = true;
		fs_put_type.step(op);
	}
}
