/* ssh/frame.c - see frame.h. */
#include "ssh/frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "ssh/fs_session.h"

void ssh_buf_fini(struct ssh_buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	free(b->p);
	*b = (struct ssh_buf){ 0 };
}

static void move_down(struct ssh_buf *b)
{
	memmove(b->p, b->p + b->off, b->len - b->off);
	b->len -= b->off;
	b->off = 0;
}

/*
 * A larger block for what is in @b. Private keys pass through these queues, and realloc() would leave the old block as it
 * was: it is wiped here.
 */
static bool grow(struct ssh_buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : 4096, used = ssh_buf_used(b);
	uint8_t *p;

	while (cap < need || (cap == b->cap && cap < SSH_BUF_MAX))
		cap *= 2;
	p = malloc(cap);
	if (!p)
		return false;
	if (b->p) {
		memcpy(p, b->p + b->off, used);
		explicit_bzero(b->p, b->cap);
		free(b->p);
	}
	*b = (struct ssh_buf){ .p = p, .len = used, .cap = cap };
	return true;
}

uint8_t *ssh_buf_room(struct ssh_buf *b, size_t len)
{
	size_t used = ssh_buf_used(b);

	if (len > SSH_BUF_MAX - used)
		return NULL;
	if (b->len + len <= b->cap)
		return b->p + b->len;
	/* Moving is for what is little: a long queue that is moved for each piece would be copied many times over. */
	if (b->off > 0 && used + len <= b->cap && (used <= b->cap / 2 || b->cap >= SSH_BUF_MAX))
		move_down(b);
	else if (!grow(b, used + len))
		return NULL;
	return b->p + b->len;
}

enum err ssh_buf_add(struct ssh_buf *b, const void *p, size_t len)
{
	uint8_t *to;

	/* An empty buffer has no room to point at, and needs none. */
	if (len == 0)
		return OK;
	to = ssh_buf_room(b, len);
	if (!to)
		return ERR_NOMEM;
	memcpy(to, p, len);
	b->len += len;
	return OK;
}

void ssh_buf_drop(struct ssh_buf *b, size_t len)
{
	b->off += len;
	if (b->off == b->len)
		b->off = b->len = 0;
}

enum err ssh_frame_add(struct ssh_buf *b, enum ssh_frame type, struct bytes a, struct bytes c)
{
	uint8_t *p;

	if (a.len > SSH_FRAME_MAX - 1 || c.len > SSH_FRAME_MAX - 1 - a.len)
		return ERR_TOO_LONG;
	p = ssh_buf_room(b, 5 + a.len + c.len);
	if (!p)
		return ERR_NOMEM;
	put_le32(p, (uint32_t)(1 + a.len + c.len));
	p[4] = (uint8_t)type;
	if (a.len)
		memcpy(p + 5, a.p, a.len);
	if (c.len)
		memcpy(p + 5 + a.len, c.p, c.len);
	b->len += 5 + a.len + c.len;
	return OK;
}

enum err ssh_frame_next(const struct ssh_buf *b, uint8_t *ret_type, struct bytes *ret_body, size_t *ret_total)
{
	size_t have = ssh_buf_used(b), len;
	const uint8_t *p;

	if (have < 4)
		return ERR_AGAIN;
	p = b->p + b->off;
	len = get_le32(p);
	if (len < 1 || len > SSH_FRAME_MAX)
		return ERR_PROTOCOL;
	if (have < 4 + len)
		return ERR_AGAIN;
	*ret_type = p[4];
	*ret_body = (struct bytes){ p + 5, len - 1 };
	*ret_total = 4 + len;
	return OK;
}

uint32_t ssh_read_u32(struct ssh_reader *r)
{
	uint32_t v;

	if (r->bad || r->len < 4) {
		r->bad = true;
		return 0;
	}
	v = get_le32(r->p);
	r->p += 4;
	r->len -= 4;
	return v;
}

enum err ssh_read_err(struct ssh_reader *r)
{
	uint32_t e = ssh_read_u32(r);

	r->bad |= e >= ERR_N;
	return r->bad ? ERR_PROTOCOL : (enum err)e;
}

struct bytes ssh_read_string(struct ssh_reader *r)
{
	uint32_t len = ssh_read_u32(r);
	struct bytes b = { r->p, len };

	if (r->bad || len > r->len) {
		r->bad = true;
		return (struct bytes){ NULL, 0 };
	}
	r->p += len;
	r->len -= len;
	return b;
}

void ssh_read_text(struct ssh_reader *r, char *ret, size_t size)
{
	struct bytes b = ssh_read_string(r);

	ret[0] = '\0';
	if (b.len >= size || (b.len && memchr(b.p, 0, b.len)))
		r->bad = true;
	if (r->bad)
		return;
	if (b.len)
		memcpy(ret, b.p, b.len);
	ret[b.len] = '\0';
}

enum err ssh_put_u32(struct ssh_buf *b, uint32_t v)
{
	uint8_t p[4];

	put_le32(p, v);
	return ssh_buf_add(b, p, 4);
}

enum err ssh_put_string(struct ssh_buf *b, const void *p, size_t len)
{
	enum err e = len > UINT32_MAX ? ERR_TOO_LONG : ssh_put_u32(b, (uint32_t)len);

	return e == OK ? ssh_buf_add(b, p, len) : e;
}

/* ---- file operations (ssh/fs_session.h) ---- */

enum err ssh_put_u64(struct ssh_buf *b, uint64_t v)
{
	uint8_t p[8];

	put_le64(p, v);
	return ssh_buf_add(b, p, 8);
}

enum err ssh_put_attr(struct ssh_buf *b, const struct ssh_attr *a)
{
	const uint32_t words[] = { a->uid, a->gid, a->mode, a->atime, a->mtime };
	uint8_t p[SSH_ATTR_BYTES];

	put_le32(p, a->which);
	put_le64(p + 4, a->size);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		put_le32(p + 12 + 4 * i, words[i]);
	return ssh_buf_add(b, p, sizeof(p));
}

uint8_t ssh_read_u8(struct ssh_reader *r)
{
	if (r->bad || r->len < 1) {
		r->bad = true;
		return 0;
	}
	r->len--;
	return *r->p++;
}

uint64_t ssh_read_u64(struct ssh_reader *r)
{
	uint64_t low = ssh_read_u32(r);

	return low | (uint64_t)ssh_read_u32(r) << 32;
}

void ssh_read_attr(struct ssh_reader *r, struct ssh_attr *ret)
{
	ret->which = ssh_read_u32(r);
	ret->size = ssh_read_u64(r);
	ret->uid = ssh_read_u32(r);
	ret->gid = ssh_read_u32(r);
	ret->mode = ssh_read_u32(r);
	ret->atime = ssh_read_u32(r);
	ret->mtime = ssh_read_u32(r);
}

void ssh_read_space(struct ssh_reader *r, struct ssh_fs_space *ret)
{
	ret->size = ssh_read_u64(r);
	ret->free = ssh_read_u64(r);
	ret->avail = ssh_read_u64(r);
	ret->files = ssh_read_u64(r);
	ret->files_free = ssh_read_u64(r);
}

/* ---- what a worker asks ---- */

/* A host key of this type: its first string says so, and nothing of it can break a line of known_hosts. */
static bool is_host_key(const char *type, struct bytes blob)
{
	size_t len = strlen(type);

	for (size_t i = 0; i < len; i++)
		if (type[i] <= ' ' || type[i] > '~')
			return false;
	return len > 0 && blob.len > 4 + len && blob.len <= SSH_BLOB_MAX && get_be32(blob.p) == len &&
	       memcmp(blob.p + 4, type, len) == 0;
}

enum err ssh_question_decode(struct bytes msg, struct ssh_question *ret)
{
	struct ssh_question q = { 0 };
	struct ssh_reader r;

	if (msg.len == 0)
		return ERR_PROTOCOL;
	r = (struct ssh_reader){ msg.p + 1, msg.len - 1, false };
	q.kind = (enum ssh_control)msg.p[0];
	q.id = ssh_read_u32(&r);
	if (q.kind == SSH_C_HOST_KEY) {
		ssh_read_text(&r, q.type, sizeof(q.type));
		q.blob = ssh_read_string(&r);
		r.bad |= !is_host_key(q.type, q.blob);
	} else if (q.kind == SSH_C_AGENT || q.kind == SSH_C_SECRET) {
		q.blob = ssh_read_string(&r);
		r.bad |= q.kind == SSH_C_SECRET && (q.blob.len > SSH_PASSPHRASE_MAX || (q.blob.len && memchr(q.blob.p, 0, q.blob.len)));
	} else if (q.kind == SSH_C_OUTCOME) {
		q.outcome = ssh_read_err(&r);
	} else if (q.kind == SSH_C_COUNTS) {
		q.counts.n_connections = q.id;
		q.counts.n_sessions = ssh_read_u32(&r);
		q.counts.n_file_sessions = ssh_read_u32(&r);
		q.counts.n_files_ended = ssh_read_u32(&r);
	} else if (q.kind != SSH_C_DIAL && q.kind != SSH_C_IDLE && q.kind != SSH_C_TAKEN) {
		return ERR_PROTOCOL;
	}
	if (r.bad)
		return ERR_PROTOCOL;
	*ret = q;
	return OK;
}
