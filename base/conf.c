/* base/conf.c - see conf.h. */
#include "base/conf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void conf_wrong(struct conf_reader *r, const struct yaml_node *n, const char *fmt, ...)
{
	char what[200];
	va_list ap;

	if (r->e != OK)
		return;
	r->e = ERR_FORMAT;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(r->why, r->why_size, "%s:%u:%u: %s", r->file, n->line, n->column, what);
}

enum err conf_parse(struct conf_reader *r, const char *text, size_t len, const char *expected,
		    void (*fn)(struct conf_reader *r, const struct yaml_node *root, void *ctx), void *ctx)
{
	struct yaml_doc doc;

	r->why[0] = '\0';
	r->e = yaml_parse(&doc, text, len);
	if (r->e == ERR_FORMAT) {
		snprintf(r->why, r->why_size, "%s:%s", r->file, doc.error);
	} else if (r->e == OK && (!doc.root || doc.root->kind != YAML_MAP)) {
		r->e = ERR_FORMAT;
		snprintf(r->why, r->why_size, "%s:1:1: a mapping with %s is expected", r->file, expected);
	} else if (r->e == OK) {
		fn(r, doc.root, ctx);
	}
	yaml_doc_free(&doc);
	return r->e;
}

/* Each reader leaves @ret alone when the field is not there. */
void conf_read_text(struct conf_reader *r, const struct yaml_node *n, char *ret, size_t size)
{
	const char *s = yaml_text(n);

	if (!n)
		return;
	if (!s)
		conf_wrong(r, n, "a single value is expected for %s", n->key ? n->key->text : "this");
	else if (strlen(s) >= size)
		conf_wrong(r, n, "%s is too long", n->key ? n->key->text : "this");
	else
		strcpy(ret, s);
}

void conf_read_key(struct conf_reader *r, const struct yaml_node *n, uint8_t ret[KEY_LEN])
{
	const char *s = yaml_text(n);

	if (n && s && s[0] && key_from_base64(s, ret) != OK)
		conf_wrong(r, n, "%s is not a key: 44 characters of base64 are expected", n->key->text);
	else if (n && !s)
		conf_wrong(r, n, "%s must be a single value", n->key->text);
}

void conf_read_endpoint(struct conf_reader *r, const struct yaml_node *n, struct endpoint *ret)
{
	const char *s = yaml_text(n);

	if (n && s && s[0] && (endpoint_parse(s, ret) != OK || ret->port == 0))
		conf_wrong(r, n, "%s is not an endpoint: ADDRESS:PORT is expected", n->key->text);
}

void conf_read_number(struct conf_reader *r, const struct yaml_node *n, unsigned long long max, unsigned long long *ret)
{
	const char *s = yaml_text(n);
	char *end;

	if (!n)
		return;
	if (!s || *s < '0' || *s > '9' || (*ret = strtoull(s, &end, 10), *end) || *ret > max)
		conf_wrong(r, n, "%s must be a number from 0 to %llu", n->key->text, max);
}

void conf_read_bool(struct conf_reader *r, const struct yaml_node *n, bool *ret)
{
	const char *s = yaml_text(n);

	if (!n)
		return;
	if (s && strcmp(s, "true") == 0)
		*ret = true;
	else if (s && strcmp(s, "false") == 0)
		*ret = false;
	else
		conf_wrong(r, n, "%s must be true or false", n->key->text);
}

/* One value or a list of them: calls @fn for each. */
void conf_each(struct conf_reader *r, const struct yaml_node *n,
		 void (*fn)(struct conf_reader *r, const struct yaml_node *item, void *ctx), void *ctx)
{
	if (!n)
		return;
	if (n->kind == YAML_SCALAR) {
		if (n->text[0])
			fn(r, n, ctx);
		return;
	}
	if (n->kind == YAML_MAP) {
		conf_wrong(r, n, "%s must be a value or a list", n->key ? n->key->text : "this");
		return;
	}
	yaml_for_each(item, n)
		fn(r, item, ctx);
}

void conf_known_fields(struct conf_reader *r, const struct yaml_node *map, const char *const *names)
{
	if (!map)
		return;
	if (map->kind != YAML_MAP) {
		conf_wrong(r, map, "a mapping is expected here");
		return;
	}
	yaml_for_each(n, map) {
		size_t i = 0;

		while (names[i] && strcmp(names[i], n->key->text) != 0)
			i++;
		if (!names[i])
			log_warn("%s:%u:%u: unknown field '%s' is ignored", r->file, n->key->line, n->key->column,
				 n->key->text);
	}
}
