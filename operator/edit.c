/* operator/edit.c - see edit.h. */
#include "operator/edit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"
#include "os/file.h"

#define CONFIG_BYTES_MAX (1u << 20)
#define LOCK_TRIES 30

/* @text with [from, to) replaced by @mid. */
static char *splice(const char *text, size_t len, size_t from, size_t to, const char *mid)
{
	size_t mid_len = strlen(mid);
	char *out = malloc(from + mid_len + (len - to) + 1);

	if (!out)
		return NULL;
	memcpy(out, text, from);
	memcpy(out + from, mid, mid_len);
	memcpy(out + from + mid_len, text + to, len - to);
	out[from + mid_len + (len - to)] = '\0';
	return out;
}

static size_t line_start(const char *text, size_t at)
{
	while (at > 0 && text[at - 1] != '\n')
		at--;
	return at;
}

static size_t line_end(const char *text, size_t len, size_t at)
{
	while (at < len && text[at] != '\n')
		at++;
	return at < len ? at + 1 : at;
}

static bool is_comment_line(const char *text, size_t start)
{
	while (text[start] == ' ' || text[start] == '\t')
		start++;
	return text[start] == '#';
}

/* Where a node's last own line ends: libyaml ends a block at the next token, after comments that are not its own. */
static size_t content_end(const char *text, size_t len, const struct yaml_node *n)
{
	const struct yaml_node *last = n;

	while (last->kind != YAML_SCALAR && last->first && !last->flow) {
		last = last->first;
		while (last->next)
			last = last->next;
	}
	return line_end(text, len, last->end > 0 ? last->end - 1 : 0);
}

/* @entry with each line indented by @indent; the text must end in a newline. */
static char *indented(const char *entry, size_t indent)
{
	size_t lines = 1, n = 0;
	char *out;

	for (const char *p = entry; *p; p++)
		lines += *p == '\n';
	out = malloc(strlen(entry) + lines * (indent + 1) + 2);
	if (!out)
		return NULL;
	for (const char *p = entry; *p;) {
		size_t len = strcspn(p, "\n");

		memset(out + n, ' ', indent);
		n += indent;
		memcpy(out + n, p, len);
		n += len;
		out[n++] = '\n';
		p += len + (p[len] == '\n');
	}
	out[n] = '\0';
	return out;
}

static enum err add_to_list(const char *text, size_t len, const struct yaml_node *hosts, const char *entry, char **ret)
{
	size_t at = content_end(text, len, hosts), indent = hosts->column - 1;
	bool newline = at > 0 && text[at - 1] != '\n';
	char *lines = indented(entry, indent), *mid;

	if (!lines)
		return ERR_NOMEM;
	mid = malloc(strlen(lines) + 2);
	if (mid)
		sprintf(mid, "%s%s", newline ? "\n" : "", lines);
	*ret = mid ? splice(text, len, at, at, mid) : NULL;
	free(lines);
	free(mid);
	return *ret ? OK : ERR_NOMEM;
}

/* There is no list yet: no key, an empty value or []. */
static enum err add_list(const char *text, size_t len, const struct yaml_node *hosts, const char *entry, char **ret)
{
	char *lines = indented(entry, 2), *mid;
	size_t from = hosts ? line_start(text, hosts->key->start) : len;
	size_t to = hosts ? line_end(text, len, hosts->end > hosts->key->end ? hosts->end - 1 : hosts->key->end) : len;
	bool newline = !hosts && len > 0 && text[len - 1] != '\n';

	if (!lines)
		return ERR_NOMEM;
	mid = malloc(strlen(lines) + 16);
	if (mid)
		sprintf(mid, "%shosts:\n%s", newline ? "\n" : "", lines);
	*ret = mid ? splice(text, len, from, to, mid) : NULL;
	free(lines);
	free(mid);
	return *ret ? OK : ERR_NOMEM;
}

enum err edit_add_host(const char *text, size_t len, const char *entry, char **ret)
{
	struct yaml_doc doc;
	const struct yaml_node *hosts;
	enum err e = yaml_parse(&doc, text, len);

	hosts = e == OK ? yaml_get(doc.root, "hosts") : NULL;
	if (e == OK && hosts && hosts->kind == YAML_SEQ && hosts->flow && hosts->first)
		e = ERR_UNSUPPORTED; /* [a, b]: the caller says so */
	else if (e == OK && hosts && hosts->kind == YAML_SEQ && hosts->first)
		e = add_to_list(text, len, hosts, entry, ret);
	else if (e == OK)
		e = add_list(text, len, hosts, entry, ret);
	yaml_doc_free(&doc);
	return e;
}

static const struct yaml_node *find_host(const struct yaml_doc *doc, const char *id)
{
	yaml_for_each(n, yaml_get(doc->root, "hosts")) {
		const char *text = yaml_text(yaml_get(n, "id"));

		if (text && strcmp(text, id) == 0)
			return n;
	}
	return NULL;
}

enum err edit_remove_host(const char *text, size_t len, const char *id, char **ret)
{
	struct yaml_doc doc;
	const struct yaml_node *n;
	size_t from, to;
	enum err e = yaml_parse(&doc, text, len);

	n = e == OK ? find_host(&doc, id) : NULL;
	if (e == OK && !n)
		e = ERR_NOT_FOUND;
	if (e == OK && n->flow)
		e = ERR_UNSUPPORTED;
	if (e == OK) {
		from = line_start(text, n->start);
		to = content_end(text, len, n);
		while (from > 0 && is_comment_line(text, line_start(text, from - 1)))
			from = line_start(text, from - 1);
		*ret = splice(text, len, from, to, "");
		e = *ret ? OK : ERR_NOMEM;
	}
	yaml_doc_free(&doc);
	return e;
}

enum err edit_rename_host(const char *text, size_t len, const char *id, const char *new_id, char **ret)
{
	struct yaml_doc doc;
	const struct yaml_node *n;
	enum err e = yaml_parse(&doc, text, len);

	n = e == OK ? find_host(&doc, id) : NULL;
	if (e == OK && !n)
		e = ERR_NOT_FOUND;
	if (e == OK) {
		const struct yaml_node *v = yaml_get(n, "id");

		*ret = splice(text, len, v->start, v->end, new_id);
		e = *ret ? OK : ERR_NOMEM;
	}
	yaml_doc_free(&doc);
	return e;
}

/* Parses what would be written: an edit never leaves a file that does not load. */
static enum err verify(const char *file, const char *text, char *why, size_t why_size)
{
	struct config cfg;
	enum err e = config_parse(file, text, strlen(text), &cfg, why, why_size);

	if (e == OK)
		config_free(&cfg);
	return e;
}

static enum err edit_locked(const char *file, config_edit_fn fn, void *ctx, char *why, size_t why_size)
{
	struct config cfg;
	char *text = NULL, *next = NULL;
	size_t len = 0;
	enum err e = config_load(file, &cfg, why, why_size);

	if (e != OK)
		return e;
	e = os_file_read(file, CONFIG_BYTES_MAX, &text, &len);
	if (e == OK)
		e = fn(text, len, &cfg, ctx, &next);
	if (e == OK)
		e = verify(file, next, why, why_size);
	if (e == OK) {
		e = os_file_write_atomic(file, next, strlen(next), 0600);
		if (e != OK)
			snprintf(why, why_size, "%s: %s", file, err_text(e));
	}
	if (text)
		sodium_memzero(text, len);
	if (next)
		sodium_memzero(next, strlen(next));
	free(text);
	free(next);
	config_free(&cfg);
	return e;
}

enum err config_edit(const char *file, config_edit_fn fn, void *ctx, char *why, size_t why_size)
{
	char lock_path[4096];
	struct os_lock *lock;
	enum err e;

	snprintf(lock_path, sizeof(lock_path), "%s.lock", file);
	e = os_lock_take(lock_path, LOCK_TRIES, &lock);
	if (e != OK) {
		snprintf(why, why_size, "%s: %s", lock_path, err_text(e));
		return e;
	}
	why[0] = '\0';
	e = edit_locked(file, fn, ctx, why, why_size);
	os_lock_free(lock);
	return e;
}
