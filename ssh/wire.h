/*
 * ssh/wire.h - SSH's own encoding (RFC 4251, section 5): big-endian numbers, strings with their length; and blobs of it.
 *
 * Not that of ssh/frame.h, which is ours.
 */
#ifndef SSH_WIRE_H
#define SSH_WIRE_H

#include "base/err.h"
#include "base/types.h"

/* Memory of our own, wiped when it is given back. */
struct ssh_blob {
	uint8_t *p;
	size_t len;
};
void ssh_blob_fini(struct ssh_blob *b);
/** ssh_blob_set() - a copy of @from in place of what was there */
MUST_CHECK enum err ssh_blob_set(struct ssh_blob *b, struct bytes from);
static inline struct bytes ssh_blob_view(const struct ssh_blob *b)
{
	return (struct bytes){ b->p, b->len };
}

/* A reader with a sticky failure: read all, then look at @bad once. */
struct wire_reader {
	const uint8_t *p;
	size_t len;
	bool bad;
};
uint8_t wire_u8(struct wire_reader *r);
uint32_t wire_u32(struct wire_reader *r);
/** wire_string() - a view */
struct bytes wire_string(struct wire_reader *r);
bool wire_is(struct bytes b, const char *s);
/** wire_word() - a first string of printable characters, a name; false: there is none, or too long */
bool wire_word(struct bytes b, char *ret, size_t size);

/* A writer into room that its owner knows to be enough. */
struct wire_writer {
	uint8_t *p;
	size_t len;
};
void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_string(struct wire_writer *w, const void *p, size_t len);

#endif
