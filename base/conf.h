/*
 * base/conf.h - fields out of a YAML tree into structs, with one error that names file, line and column.
 *
 * A reader remembers the first thing that is wrong; after that every call does nothing more. A field that is not there
 * (a NULL node) leaves the value as it is, so defaults are set before.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include "base/addr.h"
#include "base/encode.h"
#include "base/yaml.h"

struct conf_reader {
	const char *file;
	char *why; /* "file:line:column: what" */
	size_t why_size;
	enum err e;
};

/**
 * conf_parse() - a whole document: @fn gets its root, a mapping; @expected says what one holds, for the error
 * Return: OK; what the reader found wrong, with @r->why.
 */
MUST_CHECK enum err conf_parse(struct conf_reader *r, const char *text, size_t len, const char *expected,
			       void (*fn)(struct conf_reader *r, const struct yaml_node *root, void *ctx), void *ctx);
void conf_wrong(struct conf_reader *r, const struct yaml_node *n, const char *fmt, ...) PRINTF_LIKE(3, 4);
void conf_read_text(struct conf_reader *r, const struct yaml_node *n, char *ret, size_t size);
/** conf_read_key() - 44 characters of base64; an empty value counts as not there */
void conf_read_key(struct conf_reader *r, const struct yaml_node *n, uint8_t ret[KEY_LEN]);
void conf_read_endpoint(struct conf_reader *r, const struct yaml_node *n, struct endpoint *ret);
void conf_read_number(struct conf_reader *r, const struct yaml_node *n, unsigned long long max, unsigned long long *ret);
void conf_read_bool(struct conf_reader *r, const struct yaml_node *n, bool *ret);
/** conf_each() - @fn for a single value, or for each item of a list */
void conf_each(struct conf_reader *r, const struct yaml_node *n,
	       void (*fn)(struct conf_reader *r, const struct yaml_node *item, void *ctx), void *ctx);
/** conf_known_fields() - warn of each field of @map that is not in @names (ends with NULL) */
void conf_known_fields(struct conf_reader *r, const struct yaml_node *map, const char *const *names);

#endif
