/*
 * ssh/fs_get.c - reading a file: many reads under way, passed on in the order of the file.
 *
 * OPEN, then FSTAT and a first READ together, so that a small file takes two round trips. With the
 * size known, reads are asked for up to it, as far ahead as struct sftp_ahead says. Answers may
 * come in any order; the one whose turn it is goes out at once, others are kept. A short answer is
 * completed by asking for its rest. The file is as long as it was when it was opened: what grows
 * after is left, and one that became shorter is an error. A size of 0 (as /proc says) means: read
 * until the end.
 *
 * The limit of the file size is looked at before the first byte is passed on, and for each byte
 * after.
 */
#include "ssh/fs_internal.h"

#include <stdlib.h>
#include <string.h>

/* Beside these a tag is the number of a chunk. */
#define TAG_OPEN (UINT64_MAX - 1)
#define TAG_STAT UINT64_MAX

static struct fs_chunk *chunk(struct fs_get *g, uint64_t seq)
{
	return &g->ring[seq % GET_CHUNKS_MAX];
}

static void ask(struct fs_op *op, uint64_t seq)
{
	struct fs_chunk *k = chunk(&op->get, seq);
	struct sftp_request rq = { .type = SFTP_READ,
				   .path = { op->handle, op->handle_len },
				   .offset = k->offset + k->got,
				   .len = k->len - k->got };

	fs_op_call(op, &rq, seq);
}

/* May another read be asked for? Unknown sizes are read one by one. */
static bool may_ask(const struct fs_op *op)
{
	const struct fs_get *g = &op->get;

	if (op->over || op->handle_len == 0 || op->n_checks > 0 || g->next >= g->end || g->tail - g->head >= GET_CHUNKS_MAX)
		return false;
	if (!g->known || g->size == 0)
		return g->tail == g->head;
	return (g->n_bytes == 0 || op->s->n_asked < op->s->client->ahead.bytes) && fs_op_room(op);
}

static void ask_more(struct fs_op *op)
{
	struct fs_get *g = &op->get;

	while (may_ask(op)) {
		uint64_t seq = g->tail++, len = MIN(g->end - g->next, (uint64_t)op->s->client->read_max);

		*chunk(g, seq) = (struct fs_chunk){ .offset = g->next, .len = (uint32_t)len };
		g->next += len;
		g->n_bytes += len;
		op->s->n_asked += len;
		ask(op, seq);
	}
}

static bool too_large(struct fs_op *op, uint64_t end)
{
	uint64_t max = op->s->file_size_max;

	if (max == 0 || end <= max)
		return false;
	fs_op_fail(op, ERR_TOO_LONG, "reading %s: it is larger than ssh.max_file_size_bytes (%llu)", op->path,
		   (unsigned long long)max);
	return true;
}

static void take_stat(struct fs_op *op, const struct sftp_reply *r)
{
	struct fs_get *g = &op->get;
	const struct ssh_attr *a = &r->attr;

	if (r->type != SFTP_ATTRS) {
		fs_op_fail_reply(op, r, "reading");
		return;
	}
	if (a->which & SSH_ATTR_MODE && (a->mode & 0170000) == 0040000) {
		fs_op_fail(op, ERR_INVALID, "reading %s: it is a folder", op->path);
		return;
	}
	g->known = true;
	g->size = a->which & SSH_ATTR_SIZE ? a->size : 0;
	if (g->size > 0)
		g->end = MIN(g->end, g->size);
	if (!too_large(op, g->size > 0 ? g->end : 0))
		fs_emit_attr(op, a);
}

/* Passes on what has its turn. */
static void deliver(struct fs_op *op)
{
	struct fs_get *g = &op->get;

	while (!op->over && g->known && g->deliver < g->end && g->head < g->tail && chunk(g, g->head)->answered) {
		struct fs_chunk *k = chunk(g, g->head);

		if (k->eof) {
			if (g->size > 0)
				fs_op_fail(op, ERR_IO, "reading %s: it became shorter meanwhile", op->path);
			else
				fs_op_done(op);
			return;
		}
		k->answered = false;
		if (k->data) {
			size_t n = (size_t)MIN(k->offset + k->got - g->deliver, g->end - g->deliver);

			fs_emit_bytes(op, g->deliver, (struct bytes){ k->data, n });
			g->deliver += n;
			free(k->data);
			k->data = NULL;
		}
		if (k->got < k->len && g->deliver < g->end) {
			ask(op, g->head);
			return;
		}
		g->n_bytes -= k->len;
		op->s->n_asked -= k->len;
		g->head++;
	}
	if (!op->over && g->known && g->deliver >= g->end)
		fs_op_done(op);
}

/* Data whose turn it is go out from where they lie; others are copied. */
static void take_data(struct fs_op *op, uint64_t seq, struct fs_chunk *k, struct bytes data)
{
	struct fs_get *g = &op->get;

	if (data.len == 0 || data.len > k->len - k->got) {
		fs_op_fail(op, ERR_PROTOCOL, "reading %s: the server sent another length than asked for", op->path);
		return;
	}
	if (too_large(op, k->offset + k->got + data.len))
		return;
	k->got += (uint32_t)data.len;
	k->answered = true;
	if (seq == g->head && g->known) {
		data.len = (size_t)MIN((uint64_t)data.len, g->end - g->deliver);
		fs_emit_bytes(op, g->deliver, data);
		g->deliver += data.len;
		return;
	}
	k->data = malloc(data.len);
	if (k->data)
		memcpy(k->data, data.p, data.len);
	else
		fs_op_fail(op, ERR_NOMEM, "out of memory");
}

static void get_reply(struct fs_op *op, uint64_t tag, const struct sftp_reply *r)
{
	struct fs_get *g = &op->get;

	if (tag == TAG_OPEN) {
		if (fs_op_take_handle(op, r, "reading")) {
			fs_confine_check(op, op->path);
			if (op->over)
				return;
			fs_op_on_handle(op, SFTP_FSTAT, TAG_STAT);
			ask_more(op);
		}
		return;
	}
	if (tag == TAG_STAT) {
		take_stat(op, r);
	} else if (r->type == SFTP_DATA) {
		take_data(op, tag, chunk(g, tag), r->data);
	} else if (r->type == SFTP_STATUS && r->status == SFTP_EOF) {
		chunk(g, tag)->answered = chunk(g, tag)->eof = true;
	} else {
		fs_op_fail_reply(op, r, "reading");
	}
	if (op->over)
		return;
	deliver(op);
	ask_more(op);
}

static void get_free(struct fs_op *op)
{
	struct fs_get *g = &op->get;

	op->s->n_asked -= g->n_bytes;
	for (uint64_t i = g->head; g->ring && i < g->tail; i++)
		free(chunk(g, i)->data);
	free(g->ring);
}

void fs_get_start(struct fs_op *op, uint64_t offset, uint64_t length)
{
	struct fs_get *g = &op->get;
	struct sftp_request rq = { .type = SFTP_OPEN, .path = fs_str(op->path), .flags = SFTP_F_READ };

	g->next = g->deliver = offset;
	g->end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	g->ring = calloc(GET_CHUNKS_MAX, sizeof(*g->ring));
	if (!g->ring)
		fs_op_fail(op, ERR_NOMEM, "out of memory");
	else
		fs_op_call(op, &rq, TAG_OPEN);
}

const struct fs_op_type fs_get_type = { .reply = get_reply, .step = ask_more, .free = get_free };
