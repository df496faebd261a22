/*
 * base/yaml.h - a YAML document as a tree whose nodes know where they stand in the text.
 *
 * A subset on purpose: one document, scalars, sequences, mappings with scalar keys; no anchors, aliases or tags. Limits:
 * 1 MiB, 64 levels, 65,536 nodes. A key twice in one mapping is an error. UTF-8; lines end in LF or CR LF.
 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include "base/err.h"
#include "base/types.h"

enum yaml_kind { YAML_SCALAR, YAML_SEQ, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	unsigned line, column; /* from 1 */
	size_t start, end;     /* bytes of the text: [start, end) */
	bool flow;             /* written in [] or {} */
	const char *text;      /* scalar: its value, without NULs inside */
	bool plain;            /* scalar: written without quotes */
	/* mapping: the key's node; NULL elsewhere */
	struct yaml_node *key;
	struct yaml_node *first, *next; /* children; in a mapping the values */
};

struct yaml_doc {
	struct yaml_node *root; /* NULL: an empty document */
	void *arena;
	char error[256]; /* "line:column: what", after a failure */
};

/** yaml_parse() - ERR_FORMAT with @ret->error; yaml_doc_free(@ret) in any case */
MUST_CHECK enum err yaml_parse(struct yaml_doc *ret, const char *text, size_t len);
/** yaml_doc_free() - wipes the values: configurations hold keys. (libyaml exports a yaml_free of its own.) */
void yaml_doc_free(struct yaml_doc *d);
/** yaml_get() - the value of @key in a mapping, or NULL (also when @map is NULL or no mapping) */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/** yaml_text() - a scalar's value, or NULL */
const char *yaml_text(const struct yaml_node *n);
#define yaml_for_each(it, parent)                                                                  \
	for (struct yaml_node *it = (parent) ? (parent)->first : NULL; it; it = it->next)

#endif
