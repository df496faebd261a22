/*
 * ssh/sftp.c - see sftp.h.
 *
 * Requests are written from one struct by a table that says which members a type has; replies are
 * read with a sticky failure. Lengths are checked against the packet before anything is believed,
 * and trailing bytes of a reply are refused, except where the protocol lets a server add some
 * (VERSION, STATUS, EXTENDED_REPLY).
 */
#include "ssh/sftp.h"

#include <string.h>

#include "base/endian.h"

#define ATTR_EXTENDED 0x80000000u
#define ATTR_KNOWN (SSH_ATTR_SIZE | SSH_ATTR_OWNER | SSH_ATTR_MODE | SSH_ATTR_TIMES)

static const char *const ext_names[SFTP_X_N] = {
	[SFTP_X_POSIX_RENAME] = "posix-rename@openssh.com", [SFTP_X_STATVFS] = "statvfs@openssh.com",
	[SFTP_X_FSYNC] = "fsync@openssh.com",		    [SFTP_X_HARDLINK] = "hardlink@openssh.com",
	[SFTP_X_LIMITS] = "limits@openssh.com",
};

/* ---- writing ---- */

/* What follows the id, in this order. */
enum { HAS_EXT = 1, HAS_PATH = 2, HAS_OFFSET = 4, HAS_LEN = 8, HAS_SECOND = 16, HAS_FLAGS = 32, HAS_ATTR = 64 };

static unsigned members(const struct sftp_request *rq)
{
	switch (rq->type) {
	case SFTP_OPEN:
		return HAS_PATH | HAS_FLAGS | HAS_ATTR;
	case SFTP_READ:
		return HAS_PATH | HAS_OFFSET | HAS_LEN;
	case SFTP_WRITE:
		return HAS_PATH | HAS_OFFSET | HAS_SECOND;
	case SFTP_SETSTAT:
	case SFTP_FSETSTAT:
	case SFTP_MKDIR:
		return HAS_PATH | HAS_ATTR;
	case SFTP_RENAME:
	case SFTP_SYMLINK:
		return HAS_PATH | HAS_SECOND;
	case SFTP_EXTENDED:
		return rq->ext == SFTP_X_LIMITS				     ? HAS_EXT :
		       rq->ext == SFTP_X_STATVFS || rq->ext == SFTP_X_FSYNC ? HAS_EXT | HAS_PATH :
									      HAS_EXT | HAS_PATH | HAS_SECOND;
	default:
		return HAS_PATH;
	}
}

static size_t attr_len(const struct ssh_attr *a)
{
	return 4 + (a->which & SSH_ATTR_SIZE ? 8 : 0) + (a->which & SSH_ATTR_OWNER ? 8 : 0) +
	       (a->which & SSH_ATTR_MODE ? 4 : 0) + (a->which & SSH_ATTR_TIMES ? 8 : 0);
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	put_be32(p, v);
	return p + 4;
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
	put_be64(p, v);
	return p + 8;
}

static uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
	p = put32(p, (uint32_t)b.len);
	if (b.len)
		memcpy(p, b.p, b.len);
	return p + b.len;
}

static uint8_t *put_attr(uint8_t *p, const struct ssh_attr *a)
{
	p = put32(p, a->which & ATTR_KNOWN);
	if (a->which & SSH_ATTR_SIZE)
		p = put64(p, a->size);
	if (a->which & SSH_ATTR_OWNER)
		p = put32(put32(p, a->uid), a->gid);
	if (a->which & SSH_ATTR_MODE)
		p = put32(p, a->mode);
	if (a->which & SSH_ATTR_TIMES)
		p = put32(put32(p, a->atime), a->mtime);
	return p;
}

static struct bytes ext_name(enum sftp_ext x)
{
	return (struct bytes){ (const uint8_t *)ext_names[x], strlen(ext_names[x]) };
}

static size_t body_len(const struct sftp_request *rq, unsigned has)
{
	return 5 + (has & HAS_EXT ? 4 + ext_name(rq->ext).len : 0) + (has & HAS_PATH ? 4 + rq->path.len : 0) +
	       (has & HAS_OFFSET ? 8 : 0) + (has & HAS_LEN ? 4 : 0) + (has & HAS_SECOND ? 4 + rq->second.len : 0) +
	       (has & HAS_FLAGS ? 4 : 0) + (has & HAS_ATTR ? attr_len(&rq->attr) : 0);
}

enum err sftp_encode(struct ssh_buf *b, uint32_t id, const struct sftp_request *rq)
{
	unsigned has = rq->type == SFTP_INIT ? 0 : members(rq);
	size_t len;
	uint8_t *p;

	if (rq->path.len > SFTP_PACKET_MAX || rq->second.len > SFTP_PACKET_MAX)
		return ERR_TOO_LONG;
	len = body_len(rq, has);
	if (len > SFTP_PACKET_MAX)
		return ERR_TOO_LONG;
	p = ssh_buf_room(b, 4 + len);
	if (!p)
		return ERR_NOMEM;
	b->len += 4 + len;
	p = put32(p, (uint32_t)len);
	*p++ = (uint8_t)rq->type;
	p = put32(p, id);
	if (has & HAS_EXT)
		p = put_bytes(p, ext_name(rq->ext));
	if (has & HAS_PATH)
		p = put_bytes(p, rq->path);
	if (has & HAS_OFFSET)
		p = put64(p, rq->offset);
	if (has & HAS_LEN)
		p = put32(p, rq->len);
	if (has & HAS_SECOND)
		p = put_bytes(p, rq->second);
	if (has & HAS_FLAGS)
		p = put32(p, rq->flags);
	if (has & HAS_ATTR)
		put_attr(p, &rq->attr);
	return OK;
}

/* ---- reading ---- */

enum err sftp_next(const struct ssh_buf *b, struct bytes *ret_packet, size_t *ret_total)
{
	size_t have = ssh_buf_used(b), len;

	if (have < 4)
		return ERR_AGAIN;
	len = get_be32(b->p + b->off);
	if (len < 5 || len > SFTP_PACKET_MAX)
		return ERR_PROTOCOL;
	if (have < 4 + len)
		return ERR_AGAIN;
	*ret_packet = (struct bytes){ b->p + b->off + 4, len };
	*ret_total = 4 + len;
	return OK;
}

static const uint8_t *take(struct ssh_reader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->bad || r->len < len) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	r->len -= len;
	return p;
}

static uint32_t take32(struct ssh_reader *r)
{
	const uint8_t *p = take(r, 4);

	return p ? get_be32(p) : 0;
}

static uint64_t take64(struct ssh_reader *r)
{
	const uint8_t *p = take(r, 8);

	return p ? get_be64(p) : 0;
}

static struct bytes take_bytes(struct ssh_reader *r)
{
	size_t len = take32(r);
	const uint8_t *p = take(r, len);

	return p ? (struct bytes){ p, len } : (struct bytes){ NULL, 0 };
}

static void take_attr(struct ssh_reader *r, struct ssh_attr *ret)
{
	uint32_t flags = take32(r), n;

	*ret = (struct ssh_attr){ .which = flags & ATTR_KNOWN };
	if (flags & SSH_ATTR_SIZE)
		ret->size = take64(r);
	if (flags & SSH_ATTR_OWNER) {
		ret->uid = take32(r);
		ret->gid = take32(r);
	}
	if (flags & SSH_ATTR_MODE)
		ret->mode = take32(r);
	if (flags & SSH_ATTR_TIMES) {
		ret->atime = take32(r);
		ret->mtime = take32(r);
	}
	/* Each takes eight bytes at least, so the packet's end stops the loop. */
	n = flags & ATTR_EXTENDED ? take32(r) : 0;
	for (; n > 0 && !r->bad; n--) {
		take_bytes(r);
		take_bytes(r);
	}
	r->bad |= (flags & ~(ATTR_KNOWN | ATTR_EXTENDED)) != 0;
}

static struct bytes take_rest(struct ssh_reader *r)
{
	struct bytes b = { r->p, r->len };

	r->p += r->len;
	r->len = 0;
	return b;
}

enum err sftp_decode(struct bytes packet, struct sftp_reply *ret)
{
	struct ssh_reader r = { packet.p, packet.len, false };
	const uint8_t *type = take(&r, 1);

	*ret = (struct sftp_reply){ .type = type ? (enum sftp_type)*type : SFTP_INIT };
	ret->id = take32(&r);
	switch (ret->type) {
	case SFTP_VERSION:
	case SFTP_EXTENDED_REPLY:
		ret->data = take_rest(&r);
		break;
	case SFTP_STATUS:
		ret->status = (enum sftp_status)take32(&r);
		take_rest(&r); /* a text and its language; some servers leave them out */
		break;
	case SFTP_HANDLE:
		ret->data = take_bytes(&r);
		r.bad |= ret->data.len > SFTP_HANDLE_MAX;
		break;
	case SFTP_DATA:
		ret->data = take_bytes(&r);
		break;
	case SFTP_NAME:
		ret->n_names = take32(&r);
		ret->data = take_rest(&r);
		break;
	case SFTP_ATTRS:
		take_attr(&r, &ret->attr);
		break;
	default:
		return ERR_PROTOCOL;
	}
	return r.bad || r.len > 0 ? ERR_PROTOCOL : OK;
}

bool sftp_next_name(struct bytes *names, struct bytes *ret_name, struct ssh_attr *ret_attr)
{
	struct ssh_reader r = { names->p, names->len, false };

	*ret_name = take_bytes(&r);
	take_bytes(&r); /* what "ls -l" would print */
	take_attr(&r, ret_attr);
	*names = (struct bytes){ r.p, r.len };
	return !r.bad;
}

bool sftp_next_ext(struct bytes *exts, enum sftp_ext *ret)
{
	struct ssh_reader r = { exts->p, exts->len, false };
	struct bytes name = take_bytes(&r);

	take_bytes(&r); /* its version: the first of each is what we know, and later ones keep to it */
	*exts = (struct bytes){ r.p, r.len };
	*ret = SFTP_X_N;
	for (int x = 0; x < SFTP_X_N && !r.bad; x++)
		if (name.len == strlen(ext_names[x]) && memcmp(name.p, ext_names[x], name.len) == 0)
			*ret = (enum sftp_ext)x;
	return !r.bad;
}

bool sftp_read_limits(struct bytes data, struct sftp_limits *ret)
{
	struct ssh_reader r = { data.p, data.len, false };

	ret->packet = take64(&r);
	ret->read = take64(&r);
	ret->write = take64(&r);
	ret->handles = take64(&r);
	return !r.bad;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t r;

	return __builtin_mul_overflow(a, b, &r) ? UINT64_MAX : r;
}

bool sftp_read_space(struct bytes data, struct ssh_fs_space *ret)
{
	struct ssh_reader r = { data.p, data.len, false };
	uint64_t unit;

	take64(&r); /* the preferred block */
	unit = take64(&r);
	ret->size = multiply(take64(&r), unit);
	ret->free = multiply(take64(&r), unit);
	ret->avail = multiply(take64(&r), unit);
	ret->files = take64(&r);
	ret->files_free = take64(&r);
	return !r.bad;
}

enum err sftp_err(enum sftp_status s, const char **ret_text)
{
	static const struct {
		enum sftp_status status;
		enum err e;
		const char *text;
	} rows[] = {
		{ SFTP_OK, OK, "success" },
		{ SFTP_EOF, ERR_IO, "the file ended" },
		{ SFTP_NO_SUCH_FILE, ERR_NOT_FOUND, "no such file or folder" },
		{ SFTP_PERMISSION_DENIED, ERR_PERMISSION, "permission denied" },
		{ SFTP_FAILURE, ERR_IO, "the server refused it" },
		{ SFTP_BAD_MESSAGE, ERR_PROTOCOL, "the server did not understand the request" },
		{ SFTP_NO_CONNECTION, ERR_RESET, "the server has no connection to its files" },
		{ SFTP_CONNECTION_LOST, ERR_RESET, "the server lost the connection to its files" },
		{ SFTP_OP_UNSUPPORTED, ERR_UNSUPPORTED, "the server cannot do that" },
		{ SFTP_EXISTS, ERR_EXISTS, "it is there already" },
		{ SFTP_WRITE_PROTECT, ERR_PERMISSION, "the medium is write-protected" },
		{ SFTP_NO_SPACE, ERR_NO_SPACE, "no space left there" },
		{ SFTP_QUOTA, ERR_NO_SPACE, "the quota is used up" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].status == s) {
			*ret_text = rows[i].text;
			return rows[i].e;
		}
	*ret_text = "the server gave an unknown reason";
	return ERR_IO;
}
