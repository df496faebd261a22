/* base/yaml.c - see yaml.h; libyaml's event parser underneath. Nodes and texts live in chunks that are wiped at the end. */
#include "base/yaml.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#define BYTES_MAX (1u << 20)
#define DEPTH_MAX 64
#define NODES_MAX 65536

struct chunk {
	struct chunk *next;
	size_t len;
	uint8_t data[];
};

struct builder {
	struct yaml_doc *doc;
	yaml_parser_t parser;
	struct yaml_node *stack[DEPTH_MAX]; /* open collections */
	struct yaml_node **tail[DEPTH_MAX];
	struct yaml_node *key[DEPTH_MAX]; /* the key that waits for its value */
	size_t depth, n_nodes;
	/* libyaml counts characters; a cursor turns that into bytes as the events pass by */
	const char *text;
	size_t len, at_chars, at_bytes;
};

static void *arena_alloc(struct yaml_doc *d, size_t len)
{
	struct chunk *c = calloc(1, sizeof(*c) + len);

	if (!c)
		return NULL;
	c->len = len;
	c->next = d->arena;
	d->arena = c;
	return c->data;
}

void yaml_doc_free(struct yaml_doc *d)
{
	for (struct chunk *c = d->arena, *next; c; c = next) {
		next = c->next;
		sodium_memzero(c->data, c->len);
		free(c);
	}
	d->arena = NULL;
	d->root = NULL;
}

static enum err fail(struct builder *b, yaml_mark_t at, const char *what)
{
	snprintf(b->doc->error, sizeof(b->doc->error), "%zu:%zu: %s", at.line + 1, at.column + 1, what);
	return ERR_FORMAT;
}

static size_t byte_offset(struct builder *b, size_t chars)
{
	if (chars < b->at_chars)
		b->at_chars = b->at_bytes = 0;
	while (b->at_chars < chars && b->at_bytes < b->len) {
		b->at_bytes++;
		while (b->at_bytes < b->len && ((uint8_t)b->text[b->at_bytes] & 0xc0) == 0x80)
			b->at_bytes++;
		b->at_chars++;
	}
	return b->at_bytes;
}

static struct yaml_node *node_new(struct builder *b, const yaml_event_t *ev, enum yaml_kind kind)
{
	struct yaml_node *n = ++b->n_nodes > NODES_MAX ? NULL : arena_alloc(b->doc, sizeof(*n));

	if (!n)
		return NULL;
	n->kind = kind;
	n->line = (unsigned)ev->start_mark.line + 1;
	n->column = (unsigned)ev->start_mark.column + 1;
	n->start = byte_offset(b, ev->start_mark.index);
	n->end = byte_offset(b, ev->end_mark.index);
	return n;
}

/* A finished or opened node goes to its place: root, sequence item, mapping key or value. */
static enum err attach(struct builder *b, struct yaml_node *n, yaml_mark_t at)
{
	struct yaml_node *parent = b->depth ? b->stack[b->depth - 1] : NULL;
	size_t i = b->depth - 1;

	if (!parent) {
		b->doc->root = n;
		return OK;
	}
	if (parent->kind == YAML_MAP && !b->key[i]) {
		if (n->kind != YAML_SCALAR)
			return fail(b, at, "a key must be a plain word");
		if (yaml_get(parent, n->text))
			return fail(b, at, "this key stands here twice");
		b->key[i] = n;
		return OK;
	}
	n->key = b->key[i];
	b->key[i] = NULL;
	*b->tail[i] = n;
	b->tail[i] = &n->next;
	return OK;
}

static enum err on_scalar(struct builder *b, const yaml_event_t *ev)
{
	struct yaml_node *n = node_new(b, ev, YAML_SCALAR);
	char *text = n ? arena_alloc(b->doc, ev->data.scalar.length + 1) : NULL;

	if (!text)
		return fail(b, ev->start_mark, "too many values");
	if (ev->data.scalar.anchor || ev->data.scalar.tag)
		return fail(b, ev->start_mark, "anchors and tags are not supported");
	memcpy(text, ev->data.scalar.value, ev->data.scalar.length);
	if (strlen(text) != ev->data.scalar.length)
		return fail(b, ev->start_mark, "a value holds a NUL character");
	n->text = text;
	n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	return attach(b, n, ev->start_mark);
}

static enum err on_start(struct builder *b, const yaml_event_t *ev, enum yaml_kind kind)
{
	struct yaml_node *n = node_new(b, ev, kind);
	enum err e;

	if (!n)
		return fail(b, ev->start_mark, "too many values");
	if (b->depth == DEPTH_MAX)
		return fail(b, ev->start_mark, "nested too deeply");
	n->flow = kind == YAML_MAP ? ev->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE :
				     ev->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
	e = attach(b, n, ev->start_mark);
	if (e != OK)
		return e;
	b->stack[b->depth] = n;
	b->tail[b->depth] = &n->first;
	b->key[b->depth++] = NULL;
	return OK;
}

static enum err on_event(struct builder *b, const yaml_event_t *ev, bool *ret_done)
{
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return on_scalar(b, ev);
	case YAML_SEQUENCE_START_EVENT:
		return on_start(b, ev, YAML_SEQ);
	case YAML_MAPPING_START_EVENT:
		return on_start(b, ev, YAML_MAP);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->stack[--b->depth]->end = byte_offset(b, ev->end_mark.index);
		return OK;
	case YAML_ALIAS_EVENT:
		return fail(b, ev->start_mark, "aliases are not supported");
	case YAML_DOCUMENT_START_EVENT:
		return b->doc->root ? fail(b, ev->start_mark, "only one document is expected") : OK;
	case YAML_STREAM_END_EVENT:
		*ret_done = true;
		return OK;
	default:
		return OK;
	}
}

static enum err parser_error(struct builder *b)
{
	return fail(b, b->parser.problem_mark, b->parser.problem ? b->parser.problem : "not valid YAML");
}

/*
 * YAML 1.1 breaks lines at a lone CR, NEL, LS and PS too; nobody sees these, and editors of the text count lines otherwise.
 */
static enum err check_breaks(struct builder *b)
{
	const uint8_t *p = (const uint8_t *)b->text, *end = p + b->len, *line = p;
	yaml_mark_t at = { 0 };

	for (; p < end; p++) {
		size_t left = (size_t)(end - p);

		if (*p == '\n') {
			at.line++;
			line = p + 1;
		} else if ((*p == '\r' && !(left > 1 && p[1] == '\n')) || (left > 1 && p[0] == 0xc2 && p[1] == 0x85) ||
			   (left > 2 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] | 1) == 0xa9)) {
			at.column = (size_t)(p - line);
			return fail(b, at, "an invisible line separator stands here: lines end in LF");
		}
	}
	return OK;
}

enum err yaml_parse(struct yaml_doc *ret, const char *text, size_t len)
{
	struct builder b = { .doc = ret, .text = text, .len = len };
	bool done = false;
	enum err e = OK;

	memset(ret, 0, sizeof(*ret));
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		return fail(&b, (yaml_mark_t){ 0 }, "a byte order mark stands here: save the file as plain UTF-8");
	if (len > BYTES_MAX) {
		snprintf(ret->error, sizeof(ret->error), "1:1: longer than 1 MiB");
		return ERR_FORMAT;
	}
	e = check_breaks(&b);
	if (e != OK)
		return e;
	if (!yaml_parser_initialize(&b.parser))
		return ERR_NOMEM;
	/* Not guessed from the first bytes: in UTF-16 the marks would point elsewhere. */
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, (const unsigned char *)text, len);
	while (!done && e == OK) {
		yaml_event_t ev;

		if (!yaml_parser_parse(&b.parser, &ev)) {
			e = parser_error(&b);
			break;
		}
		e = on_event(&b, &ev, &done);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&b.parser);
	return e;
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->kind != YAML_MAP)
		return NULL;
	yaml_for_each(n, map)
		if (n->key && strcmp(n->key->text, key) == 0)
			return n;
	return NULL;
}

const char *yaml_text(const struct yaml_node *n)
{
	return n && n->kind == YAML_SCALAR ? n->text : NULL;
}
