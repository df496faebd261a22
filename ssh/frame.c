/* ssh/frame.c - see frame.h. */
#include "ssh/frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

void ssh_buf_fini(struct ssh_buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->cap);
	free(b->p);
	*b = (struct ssh_buf){ 0 };
}

uint8_t *ssh_buf_room(struct ssh_buf *b, size_t len)
{
	size_t cap;
	uint8_t *p;

	if (b->off > 0 && (b->off == b->len || b->len + len > b->cap)) {
		memmove(b->p, b->p + b->off, b->len - b->off);
		b->len -= b->off;
		b->off = 0;
	}
	if (b->len + len > b->cap) {
		for (cap = b->cap ? b->cap : 4096; cap < b->len + len; cap *= 2)
			;
		p = realloc(b->p, cap);
		if (!p)
			return NULL;
		b->p = p;
		b->cap = cap;
	}
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
	uint8_t *p = ssh_buf_room(b, 5 + a.len + c.len);

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
	const uint8_t *p = b->p + b->off;
	size_t have = ssh_buf_used(b), len;

	if (have < 4)
		return ERR_AGAIN;
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
	enum err e = ssh_put_u32(b, (uint32_t)len);

	return e == OK ? ssh_buf_add(b, p, len) : e;
}

/* It becomes a field of a line in known_hosts. */
static bool is_word(const char *s)
{
	size_t n = 0;

	while (s[n] > ' ' && s[n] < 0x7f)
		n++;
	return n > 0 && s[n] == '\0';
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
		r.bad |= q.blob.len == 0 || q.blob.len > SSH_BLOB_MAX || !is_word(q.type);
	} else if (q.kind != SSH_C_DIAL) {
		return ERR_PROTOCOL;
	}
	if (r.bad)
		return ERR_PROTOCOL;
	*ret = q;
	return OK;
}
