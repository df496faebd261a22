/*
 * ssh/fs_put.c - writing a file: under a temporary name beside it, and into its place in one step
 * when it is whole.
 *
 *	LSTAT target        no device, pipe, socket or folder is replaced; with SSH_PUT_NO_REPLACE nothing is
 *	OPEN temporary      new and ours alone (mode 0600, O_EXCL, a random name), or, to resume, what is
 *	                    there, of which size and last bytes are shown
 *	WRITE ...           as they come, none waits for another's answer
 *	FSETSTAT fsync CLOSE    behind the last write; every one of them and of the writes must succeed
 *	posix-rename        only then
 *	OPEN folder, fsync, CLOSE    where the server syncs, and opens folders (OpenSSH's does): the new name lasts too
 *
 * While the server's window holds what is to be sent, the temporary is opened on further channels too (struct fs_lanes), and
 * writes go to the one with the least before it. Then everything that is written must be answered, and those channels'
 * handles closed, before mode and times are set: they could be overtaken.
 *
 * Whatever fails before the rename leaves the old file. The partial file is removed, except when it
 * is to be resumed and every write so far was in order: then its bytes are a prefix of the
 * source's, which is what resuming builds on.
 */
#include "ssh/fs_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/rng.h"
#include "os/loop.h"

#define SEGMENT_HEAD 12
#define QUEUE_MAX (SSH_PUT_CREDIT + SSH_FRAME_MAX)
#define TAG_WRITES (1ull << 32) /* and the number of the write */
#define LANE_QUEUE (512u << 10) /* waits to be sent: then another channel is worth opening the file there */
#define NAME_KEPT (255 - 28) /* of a file's name in that of its partial file */
#define SPACE_LOW (1u << 20) /* less than that is left: what failed, failed for want of it */

enum { TAG_LOOK, TAG_LOOK_TEMP, TAG_OPEN, TAG_STAT, TAG_TAIL, TAG_FINISH, TAG_RENAME, TAG_RENAME_OLD,
       TAG_IGNORE, TAG_SPACE, TAG_LOOK_AGAIN, TAG_LANE_CLOSED, TAG_PLACE,
       TAG_FOLDER, TAG_FOLDER_SYNCED, TAG_LANE };

/* ---- beginning ---- */

static void open_temp(struct fs_op *op)
{
	struct fs_put *u = &op->put;
	bool resume = u->flags & SSH_PUT_RESUME;
	struct sftp_request rq = { .type = SFTP_OPEN,
				   .path = fs_str(u->temp),
				   .flags = SFTP_F_WRITE | SFTP_F_CREAT | (resume ? SFTP_F_READ : SFTP_F_EXCL),
				   .attr = { .which = SSH_ATTR_MODE, .mode = 0600 } };

	/* From here on it may be there: cleaning up removes it, also when the answer comes late. */
	u->made_temp = true;
	fs_op_call(op, &rq, TAG_OPEN);
}

static void start_temp(struct fs_op *op)
{
	/* To resume, only a regular file will do: a link could lead the bytes elsewhere. */
	if (op->put.flags & SSH_PUT_RESUME)
		fs_op_on_path(op, SFTP_LSTAT, op->put.temp, TAG_LOOK_TEMP);
	else
		open_temp(op);
}

/* The name cut where, with ours behind it, it would be longer than names may be. */
static char *temp_beside(const char *path, uint64_t source)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *temp;

	if (asprintf(&temp, "%.*s%.*s.nefia-%016" PRIx64 ".part", (int)(name - path), path, NAME_KEPT, name, source) < 0)
		return NULL;
	return temp;
}

void fs_put_start(struct fs_op *op)
{
	struct fs_put *u = &op->put;

	/* Two that write the same file at the same time must not share a name, unless they share the bytes. */
	if (u->source == 0 || !(u->flags & SSH_PUT_RESUME))
		u->source = rng_u64(os_rng());
	u->keep_temp = u->flags & SSH_PUT_RESUME;
	u->temp = temp_beside(op->path, u->source);
	if (!u->temp) {
		fs_op_fail(op, ERR_NOMEM, "out of memory");
	} else if (u->flags & SSH_PUT_NO_REPLACE) {
		fs_op_on_path(op, SFTP_LSTAT, op->path, TAG_LOOK);
	} else {
		u->n_unsure++;
		fs_op_on_path(op, SFTP_LSTAT, op->path, TAG_PLACE);
		if (!op->over)
			start_temp(op);
	}
}

static void take_opened(struct fs_op *op, const struct sftp_reply *r)
{
	struct fs_put *u = &op->put;

	if (!fs_op_take_handle(op, r, "writing"))
		return;
	fs_confine_check(op, u->temp);
	if (op->over)
		return;
	if (u->flags & SSH_PUT_RESUME)
		fs_op_on_handle(op, SFTP_FSTAT, TAG_STAT);
	else
		u->writable = true;
}

/* What is there to go on from: its size, and its last bytes for comparison. */
static void take_old_size(struct fs_op *op, const struct sftp_reply *r)
{
	struct sftp_request rq = { .type = SFTP_READ, .path = { op->handle, op->handle_len } };
	struct fs_put *u = &op->put;

	if (r->type != SFTP_ATTRS) {
		fs_op_fail_reply(op, r, "writing");
		return;
	}
	u->old_size = r->attr.which & SSH_ATTR_SIZE ? r->attr.size : 0;
	u->there = u->old_size;
	if (u->old_size > PUT_SPAN)
		u->old_size -= PUT_SPAN;
	u->writable = u->old_size == 0;
	fs_emit_attr(op, &(struct ssh_attr){ .which = SSH_ATTR_SIZE, .size = u->old_size });
	if (u->writable)
		return;
	rq.len = (uint32_t)MIN(MIN(u->old_size, (uint64_t)SSH_PUT_TAIL), (uint64_t)op->s->client->read_max);
	rq.offset = u->old_size - rq.len;
	op->attr.size = rq.len;
	fs_op_call(op, &rq, TAG_TAIL);
}

static void take_tail(struct fs_op *op, const struct sftp_reply *r)
{
	if (r->type == SFTP_DATA && r->data.len == op->attr.size)
		fs_emit_bytes(op, op->put.old_size - r->data.len, r->data);
	else /* not to be had whole: nothing to compare, so that nobody can go on from it */
		fs_emit_bytes(op, op->put.old_size, (struct bytes){ NULL, 0 });
	op->put.writable = true;
}

/* ---- writing ---- */

/* What is there is of something else: where the new file has holes, nothing of it may show. */
static void forget_partial(struct fs_op *op)
{
	struct fs_put *u = &op->put;
	struct sftp_request rq = { .type = SFTP_FSETSTAT,
				   .path = { op->handle, op->handle_len },
				   .attr = { .which = SSH_ATTR_SIZE, .size = 0 } };

	u->there = 0;
	u->n_unsure++;
	fs_op_call(op, &rq, TAG_FINISH);
}

enum err fs_put_data(struct fs_op *op, uint64_t offset, struct bytes data)
{
	struct fs_put *u = &op->put;
	uint8_t head[SEGMENT_HEAD];
	enum err e;

	if (op->over)
		return OK;
	if (u->eof || offset < u->written || offset > INT64_MAX - data.len ||
	    ssh_buf_used(&u->queue) + data.len > QUEUE_MAX)
		return ERR_PROTOCOL;
	if (data.len == 0) {
		if (offset == 0 && u->written == 0 && u->there > 0)
			forget_partial(op);
		return OK;
	}
	put_le64(head, offset);
	put_le32(head + 8, (uint32_t)data.len);
	e = ssh_buf_add(&u->queue, head, sizeof(head));
	if (e == OK)
		e = ssh_buf_add(&u->queue, data.p, data.len);
	u->written = offset + data.len;
	return e;
}

enum err fs_put_eof(struct fs_op *op, uint64_t size)
{
	struct fs_put *u = &op->put;

	if (op->over)
		return OK;
	if (u->eof || size < u->written || size > INT64_MAX)
		return ERR_PROTOCOL;
	u->eof = true;
	u->total = size;
	return OK;
}

/* Which channel has the least to send; *ret_handle: the file there. NULL: none has room. */
static struct sftp_client *least_busy(struct fs_op *op, struct bytes *ret_handle)
{
	struct sftp_client *best = sftp_client_room(op->s->client) ? op->s->client : NULL;

	*ret_handle = (struct bytes){ op->handle, op->handle_len };
	for (unsigned i = 0; i < op->put.n_lanes; i++) {
		struct fs_lane_file *l = &op->put.lane[i];

		if (l->handle_len == 0 || !sftp_client_room(l->client))
			continue;
		if (best && ssh_buf_used(&best->out) <= ssh_buf_used(&l->client->out))
			continue;
		best = l->client;
		*ret_handle = (struct bytes){ l->handle, l->handle_len };
	}
	return best;
}

/*
 * A partial file may lack what is under way. On one channel that is its end. On several it may be in the middle: so that one
 * who resumes knows how far back to go, it is never more than PUT_SPAN from the end.
 */
static bool may_write(const struct fs_put *u)
{
	if (ssh_buf_used(&u->queue) == 0 || u->next - u->first == PUT_WRITES_MAX)
		return false;
	return u->first == u->next || get_le64(u->queue.p + u->queue.off) < u->began[u->first % PUT_WRITES_MAX] + PUT_SPAN - SFTP_PACKET_MAX;
}

/*
 * A channel that the file is not open on yet: only for what is more than a moment's work. What is to be resumed gets there when
 * it is longer than PUT_SPAN: a shorter partial file has no gaps.
 */
static void open_lane(struct fs_op *op)
{
	struct fs_put *u = &op->put;
	const struct fs_lanes *lanes = op->s->lanes;
	struct sftp_request rq = { .type = SFTP_OPEN, .path = fs_str(u->temp), .flags = SFTP_F_WRITE };

	/* A second opening could be led elsewhere: in a session root there is one. */
	if (!lanes || op->s->root || u->n_lanes >= lanes->n || ssh_buf_used(&u->queue) < LANE_QUEUE ||
	    (u->flags & SSH_PUT_RESUME && (u->first == u->next || u->began[u->first % PUT_WRITES_MAX] < PUT_SPAN)))
		return;
	u->lane[u->n_lanes].client = lanes->v[u->n_lanes];
	if (lanes->v[u->n_lanes]->error == OK)
		fs_op_call_through(op, lanes->v[u->n_lanes], &rq, TAG_LANE + u->n_lanes);
	u->n_lanes++;
}

/* One that cannot be had is no error: there is the first. */
static void take_lane(struct fs_op *op, struct fs_lane_file *l, const struct sftp_reply *r)
{
	if (r->type != SFTP_HANDLE || r->data.len == 0)
		return;
	memcpy(l->handle, r->data.p, r->data.len);
	l->handle_len = r->data.len;
}

/* Return: how many there were. */
static unsigned close_lanes(struct fs_op *op)
{
	unsigned n = 0;

	for (unsigned i = 0; i < op->put.n_lanes; i++) {
		struct fs_lane_file *l = &op->put.lane[i];
		struct sftp_request rq = { .type = SFTP_CLOSE, .path = { l->handle, l->handle_len } };

		if (l->handle_len == 0)
			continue;
		l->handle_len = 0;
		n++;
		fs_op_call_through(op, l->client, &rq, op->over ? TAG_IGNORE : TAG_LANE_CLOSED);
	}
	return n;
}

/* One WRITE of what is first in the queue; a segment that is longer keeps its rest. */
static void write_one(struct fs_op *op, struct sftp_client *c, struct bytes handle)
{
	struct fs_put *u = &op->put;
	uint8_t *head = u->queue.p + u->queue.off;
	uint64_t offset = get_le64(head);
	size_t len = get_le32(head + 8), n = MIN(len, c->write_max);
	struct sftp_request rq = { .type = SFTP_WRITE,
				   .path = handle,
				   .offset = offset,
				   .second = { head + SEGMENT_HEAD, n } };

	u->began[u->next % PUT_WRITES_MAX] = offset;
	u->answered[u->next % PUT_WRITES_MAX] = false;
	u->n_unsure++;
	fs_op_call_through(op, c, &rq, TAG_WRITES + u->next++);
	ssh_buf_drop(&u->queue, n == len ? SEGMENT_HEAD + n : n);
	if (n < len) {
		head = u->queue.p + u->queue.off;
		put_le64(head, offset + n);
		put_le32(head + 8, (uint32_t)(len - n));
	}
	fs_emit_more(op, (uint32_t)n);
}

/* Mode and times last, for every write changes the time; the size where holes or an older rest are at the end. */
static void finish(struct fs_op *op)
{
	struct fs_put *u = &op->put;
	struct sftp_request set = { .type = SFTP_FSETSTAT,
				    .path = { op->handle, op->handle_len },
				    .attr = { .which = SSH_ATTR_MODE,
					      .size = u->total,
					      .mode = u->mode & 07777,
					      .atime = u->atime,
					      .mtime = u->mtime } };
	struct sftp_request sync = { .type = SFTP_EXTENDED, .ext = SFTP_X_FSYNC, .path = set.path };
	struct sftp_request shut = { .type = SFTP_CLOSE, .path = set.path };

	if (u->total != u->written || u->there > u->total)
		set.attr.which |= SSH_ATTR_SIZE;
	if (u->flags & SSH_PUT_TIMES)
		set.attr.which |= SSH_ATTR_TIMES;
	u->finishing = true;
	u->n_unsure += 2;
	fs_op_call(op, &set, TAG_FINISH);
	if (op->s->client->has[SFTP_X_FSYNC] && !(u->flags & SSH_PUT_NO_SYNC) && !op->over) {
		u->n_unsure++;
		fs_op_call(op, &sync, TAG_FINISH);
	}
	if (!op->over) {
		fs_op_call(op, &shut, TAG_FINISH);
		op->handle_len = 0;
	}
}

static void put_step(struct fs_op *op)
{
	struct fs_put *u = &op->put;

	struct sftp_client *c;
	struct bytes handle;

	/* Opened, and not looked at again yet. */
	if (op->n_checks > 0)
		return;
	while (!op->over && u->writable && may_write(u) && (c = least_busy(op, &handle)))
		write_one(op, c, handle);
	if (!op->over && u->writable)
		open_lane(op);
	if (op->over || !u->writable || !u->eof || u->finishing || ssh_buf_used(&u->queue) > 0)
		return;
	/* On one channel what comes later is done later: nothing need be waited for. */
	if (u->n_lanes > 0) {
		if (u->n_unsure > 0)
			return;
		u->n_unsure = close_lanes(op);
	}
	if (!op->over && (u->n_lanes == 0 || u->n_unsure == 0))
		finish(op);
}

/* ---- the end ---- */

static void move_into_place(struct fs_op *op)
{
	struct fs_put *u = &op->put;
	struct sftp_request rq = { .type = SFTP_EXTENDED,
				   .ext = SFTP_X_POSIX_RENAME,
				   .path = fs_str(u->temp),
				   .second = fs_str(op->path) };
	bool plain = u->flags & SSH_PUT_NO_REPLACE || !op->s->client->has[SFTP_X_POSIX_RENAME];

	if (plain)
		rq.type = SFTP_RENAME;
	fs_op_call(op, &rq, plain ? TAG_RENAME_OLD : TAG_RENAME);
}

/* A server that does not open folders, or cannot sync one, has renamed all the same. */
static void sync_folder(struct fs_op *op)
{
	struct sftp_request rq = { .type = SFTP_OPEN, .path = fs_str("."), .flags = SFTP_F_READ };
	const char *slash = strrchr(op->path, '/');

	if (!op->s->client->has[SFTP_X_FSYNC] || op->put.flags & SSH_PUT_NO_SYNC) {
		fs_op_done(op);
		return;
	}
	if (slash)
		rq.path = (struct bytes){ (const uint8_t *)op->path, (size_t)(slash - op->path) + (slash == op->path) };
	fs_op_call(op, &rq, TAG_FOLDER);
}

static void take_folder(struct fs_op *op, const struct sftp_reply *r)
{
	struct sftp_request sync = { .type = SFTP_EXTENDED, .ext = SFTP_X_FSYNC, .path = r->data };

	if (r->type != SFTP_HANDLE || r->data.len == 0) {
		fs_op_done(op);
		return;
	}
	memcpy(op->handle, r->data.p, r->data.len);
	op->handle_len = r->data.len;
	fs_op_call(op, &sync, TAG_FOLDER_SYNCED);
}

static void take_renamed(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	struct fs_put *u = &op->put;

	if (r->type == SFTP_STATUS && r->status == SFTP_OK) {
		u->made_temp = false;
		sync_folder(op);
	} else if (tag == TAG_RENAME_OLD && r->status == SFTP_FAILURE && u->flags & SSH_PUT_NO_REPLACE) {
		fs_op_on_path(op, SFTP_LSTAT, op->path, TAG_LOOK_AGAIN);
	} else if (tag == TAG_RENAME_OLD && r->status == SFTP_FAILURE) {
		/* A server that knows no other way: the old file goes first. */
		struct sftp_request rq = { .type = SFTP_RENAME, .path = fs_str(u->temp), .second = fs_str(op->path) };

		fs_op_on_path(op, SFTP_REMOVE, op->path, TAG_IGNORE);
		fs_op_call(op, &rq, TAG_RENAME);
	} else {
		fs_op_fail_reply(op, r, "writing");
	}
}

/* "Failure" is all that version 3 says of a full disk: look whether it is one. */
static void write_failed(struct fs_op *op, const struct sftp_reply *r)
{
	struct sftp_request rq = { .type = SFTP_EXTENDED, .ext = SFTP_X_STATVFS, .path = fs_str(op->put.temp) };

	if (op->put.write_failed)
		return;
	op->put.write_failed = true;
	op->put.writable = false;
	if (r->type != SFTP_STATUS || r->status != SFTP_FAILURE || !op->s->client->has[SFTP_X_STATVFS])
		fs_op_fail_reply(op, r, "writing");
	else
		fs_op_call(op, &rq, TAG_SPACE);
}

static void take_space(struct fs_op *op, const struct sftp_reply *r)
{
	struct ssh_fs_space sp;

	if (r->type == SFTP_EXTENDED_REPLY && sftp_read_space(r->data, &sp) && sp.avail < SPACE_LOW)
		fs_op_fail(op, ERR_NO_SPACE, "writing %s: no space left there", op->path);
	else
		fs_op_fail(op, ERR_IO, "writing %s: the server refused it (a quota, or an error of its disk?)", op->path);
}

/* One answer fewer is missing. */
static void be_surer(struct fs_op *op)
{
	struct fs_put *u = &op->put;

	if (--u->n_unsure == 0 && u->finishing && !u->write_failed)
		move_into_place(op);
}

static void take_written(struct fs_op *op, const struct sftp_reply *r)
{
	if (r->type != SFTP_STATUS || r->status != SFTP_OK) {
		op->put.n_unsure--;
		write_failed(op, r);
	} else {
		be_surer(op);
	}
}

/* What stands where the file shall be. Where nothing does there is no answer with attributes. */
static void take_place(struct fs_op *op, const struct sftp_reply *r)
{
	uint32_t type = r->type == SFTP_ATTRS && r->attr.which & SSH_ATTR_MODE ? r->attr.mode & 0170000 : 0;

	if (type == 0040000)
		fs_op_fail(op, ERR_IS_FOLDER, "writing %s: it is a folder", op->path);
	else if (type && type != 0100000 && type != 0120000)
		fs_op_fail(op, ERR_INVALID, "writing %s: it is a device, a pipe or a socket, which a copy would replace "
			   "(nefia exec, with --stdin, writes to it)", op->path);
	else
		be_surer(op);
}

static void take_write(struct fs_op *op, uint64_t n, const struct sftp_reply *r)
{
	struct fs_put *u = &op->put;

	u->answered[n % PUT_WRITES_MAX] = true;
	while (u->first < u->next && u->answered[u->first % PUT_WRITES_MAX])
		u->first++;
	take_written(op, r);
}

static void take_look(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	bool there = r->type == SFTP_ATTRS;

	if (tag == TAG_LOOK_TEMP && there && (r->attr.mode & 0170000) != 0100000 && r->attr.which & SSH_ATTR_MODE)
		fs_op_fail(op, ERR_INVALID, "writing %s: what is in its place is not a regular file", op->put.temp);
	else if (tag == TAG_LOOK_TEMP)
		open_temp(op);
	else if (there)
		fs_op_fail(op, ERR_EXISTS, "writing %s: it is there already", op->path);
	else if (tag == TAG_LOOK)
		start_temp(op);
	else
		fs_op_fail(op, ERR_IO, "writing %s: the server refused the rename", op->path);
}

static void put_reply(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	switch (tag) {
	case TAG_LOOK:
	case TAG_LOOK_TEMP:
	case TAG_LOOK_AGAIN:
		take_look(op, tag, r);
		break;
	case TAG_OPEN:
		take_opened(op, r);
		break;
	case TAG_STAT:
		take_old_size(op, r);
		break;
	case TAG_TAIL:
		take_tail(op, r);
		break;
	case TAG_FINISH:
	case TAG_LANE_CLOSED:
		take_written(op, r);
		break;
	case TAG_RENAME:
	case TAG_RENAME_OLD:
		take_renamed(op, tag, r);
		break;
	case TAG_SPACE:
		take_space(op, r);
		break;
	case TAG_PLACE:
		take_place(op, r);
		break;
	case TAG_FOLDER:
		take_folder(op, r);
		break;
	case TAG_FOLDER_SYNCED:
		fs_op_done(op);
		break;
	default:
		if (tag >= TAG_WRITES)
			take_write(op, tag - TAG_WRITES, r);
		else if (tag >= TAG_LANE)
			take_lane(op, &op->put.lane[tag - TAG_LANE], r);
		break;
	}
	if (!op->over)
		put_step(op);
}

static void put_cleanup(struct fs_op *op)
{
	struct fs_put *u = &op->put;

	close_lanes(op);
	if (u->made_temp && (!u->keep_temp || u->write_failed))
		fs_op_on_path(op, SFTP_REMOVE, u->temp, TAG_IGNORE);
	ssh_buf_drop(&u->queue, ssh_buf_used(&u->queue));
}

static void put_free(struct fs_op *op)
{
	ssh_buf_fini(&op->put.queue);
	free(op->put.temp);
}

const struct fs_op_type fs_put_type = { put_reply, put_step, put_cleanup, put_free };
