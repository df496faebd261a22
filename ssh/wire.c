/* ssh/wire.c - see wire.h. */
#include "ssh/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

void ssh_blob_fini(struct ssh_blob *b)
{
	if (b->p)
		explicit_bzero(b->p, b->len);
	free(b->p);
	*b = (struct ssh_blob){ 0 };
}

enum err ssh_blob_set(struct ssh_blob *b, struct bytes from)
{
	uint8_t *p = malloc(from.len + 1);

	if (!p)
		return ERR_NOMEM;
	if (from.len)
		memcpy(p, from.p, from.len);
	ssh_blob_fini(b);
	*b = (struct ssh_blob){ p, from.len };
	return OK;
}

static const uint8_t *take(struct wire_reader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->bad || len > r->len) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	r->len -= len;
	return p;
}

uint8_t wire_u8(struct wire_reader *r)
{
	const uint8_t *p = take(r, 1);

	return p ? *p : 0;
}

uint32_t wire_u32(struct wire_reader *r)
{
	const uint8_t *p = take(r, 4);

	return p ? get_be32(p) : 0;
}

struct bytes wire_string(struct wire_reader *r)
{
	uint32_t len = wire_u32(r);
	const uint8_t *p = take(r, len);

	return (struct bytes){ p, p ? len : 0 };
}

bool wire_is(struct bytes b, const char *s)
{
	return b.len == strlen(s) && memcmp(b.p, s, b.len) == 0;
}

bool wire_word(struct bytes b, char *ret, size_t size)
{
	struct wire_reader r = { b.p, b.len, false };
	struct bytes word = wire_string(&r);

	if (r.bad || word.len == 0 || word.len >= size)
		return false;
	for (size_t i = 0; i < word.len; i++)
		if (word.p[i] <= ' ' || word.p[i] > '~')
			return false;
	memcpy(ret, word.p, word.len);
	ret[word.len] = '\0';
	return true;
}

void wire_put_u8(struct wire_writer *w, uint8_t v)
{
	w->p[w->len++] = v;
}

void wire_put_u32(struct wire_writer *w, uint32_t v)
{
	put_be32(w->p + w->len, v);
	w->len += 4;
}

void wire_put_string(struct wire_writer *w, const void *p, size_t len)
{
	wire_put_u32(w, (uint32_t)len);
	if (len)
		memcpy(w->p + w->len, p, len);
	w->len += len;
}
