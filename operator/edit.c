/*
 * operator/edit.c - splices of nefia.yaml.
 *
 * The parser says where nodes begin and end; all else is lines. Inserted lines take the line ends of the file (CR LF when its first
 * line has that) and the indentation of the list. A list in [ ] form with hosts in it is not edited: ERR_UNSUPPORTED.
 */
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

static size_t skip_blanks(const char *text, size_t at)
{
	return at + strspn(text + at, " \t");
}

/*
 * Where an item's last own line ends. libyaml ends a block at the next token, after comments that are not its own: so the
 * end of the last value counts, and the comments below it that are indented more than the item's dash.
 */
static size_t item_end(const char *text, size_t len, const struct yaml_node *n, size_t dash_column)
{
	const struct yaml_node *last = n;
	size_t end;

	while (last->kind != YAML_SCALAR && last->first && !last->flow) {
		last = last->first;
		while (last->next)
			last = last->next;
	}
	end = line_end(text, len, last->end > 0 ? last->end - 1 : 0);
	for (;;) {
		size_t at = skip_blanks(text, end);

		if (text[at] != '#' || at - end <= dash_column)
			return end;
		end = line_end(text, len, at);
	}
}

/* ---- adding ---- */

/* The lines of @entry indented by @indent, with the line ends of @text; @lead stands before them. */
static char *indented(const char *text, const char *lead, const char *entry, size_t indent)
{
	const char *lf = strchr(text, '\n'), *nl = lf && lf > text && lf[-1] == '\r' ? "\r\n" : "\n";
	size_t lines = 2, n;
	char *out;

	for (const char *p = entry; *p; p++)
		lines += *p == '\n';
	out = malloc(strlen(lead) + strlen(entry) + lines * (indent + 2) + 1);
	if (!out)
		return NULL;
	n = (size_t)sprintf(out, "%s%s", lead, *lead ? nl : "");
	while (*entry) {
		size_t len = strcspn(entry, "\n");

		n += (size_t)sprintf(out + n, "%*s%.*s%s", (int)indent, "", (int)len, entry, nl);
		entry += len + (entry[len] == '\n');
	}
	return out;
}

/* @lines at @at, where a line begins or the text ends, perhaps without the end of its last line. */
static enum err insert_lines(const char *text, size_t len, size_t at, const char *lines, char **ret)
{
	bool open_line = at > 0 && text[at - 1] != '\n';
	char *mid = malloc(strlen(lines) + 3);

	if (!mid)
		return ERR_NOMEM;
	sprintf(mid, "%s%s", !open_line ? "" : strstr(lines, "\r\n") ? "\r\n" : "\n", lines);
	*ret = splice(text, len, at, at, mid);
	free(mid);
	return *ret ? OK : ERR_NOMEM;
}

static enum err add_to_list(const char *text, size_t len, const struct yaml_node *hosts, const char *entry, char **ret)
{
	char *lines = indented(text, "", entry, hosts->column - 1);
	enum err e = lines ? insert_lines(text, len, item_end(text, len, hosts, hosts->column - 1), lines, ret) : ERR_NOMEM;

	free(lines);
	return e;
}

/* The key is there with [] or nothing as its value: the value goes, what stands behind it on its line stays. */
static enum err fill_list(const char *text, size_t len, const struct yaml_node *hosts, const char *entry, char **ret)
{
	const struct yaml_node *key = hosts->key;
	bool is_written = hosts->end > hosts->start;
	size_t colon = key->end + strcspn(text + key->end, ":") + 1;
	size_t from = is_written ? colon : len, to = is_written ? hosts->end : len, at;
	char *lines = indented(text, "", entry, key->column + 1), *without = splice(text, len, from, to, "");
	enum err e = ERR_NOMEM;

	if (lines && without) {
		len = strlen(without);
		at = line_end(without, len, colon - 1);
		e = insert_lines(without, len, at, lines, ret);
	}
	if (without)
		sodium_memzero(without, len);
	free(without);
	free(lines);
	return e;
}

static enum err add_key(const char *text, size_t len, const struct yaml_node *root, const char *list, const char *entry, char **ret)
{
	size_t indent = root ? root->column - 1 : 0;
	char lead[64], *lines;
	enum err e;

	if (indent > 40)
		return ERR_UNSUPPORTED;
	snprintf(lead, sizeof(lead), "%*s%s:", (int)indent, "", list);
	lines = indented(text, lead, entry, indent + 2);
	e = lines ? insert_lines(text, len, len, lines, ret) : ERR_NOMEM;
	free(lines);
	return e;
}

enum err edit_add_host(const char *text, size_t len, const char *entry, char **ret)
{
	return edit_add_item(text, len, "hosts", entry, ret);
}

enum err edit_add_item(const char *text, size_t len, const char *list, const char *entry, char **ret)
{
	struct yaml_doc doc;
	const struct yaml_node *hosts;
	enum err e = yaml_parse(&doc, text, len);

	hosts = e == OK ? yaml_get(doc.root, list) : NULL;
	if (e == OK && doc.root && (doc.root->flow || (hosts && hosts->flow && hosts->first)))
		e = ERR_UNSUPPORTED; /* [a, b]: the caller says so */
	else if (e == OK && hosts && hosts->kind == YAML_SCALAR && hosts->start < len && strchr("|>", text[hosts->start]))
		e = ERR_UNSUPPORTED; /* hosts: >- would take what is added for its text */
	else if (e == OK && hosts && hosts->kind == YAML_SEQ && hosts->first)
		e = add_to_list(text, len, hosts, entry, ret);
	else if (e == OK && hosts)
		e = fill_list(text, len, hosts, entry, ret);
	else if (e == OK)
		e = add_key(text, len, doc.root, list, entry, ret);
	yaml_doc_free(&doc);
	return e;
}

/* ---- removing and renaming ---- */

static const struct yaml_node *find_host(const struct yaml_doc *doc, const char *id)
{
	yaml_for_each(n, yaml_get(doc->root, "hosts")) {
		const char *text = yaml_text(yaml_get(n, "id"));

		if (text && strcmp(text, id) == 0)
			return n;
	}
	return NULL;
}

/* Where the dash of the item @n stands: before it on its line, or alone (perhaps with a comment) on one above. */
static size_t dash_of(const char *text, const struct yaml_node *n)
{
	size_t line = line_start(text, n->start), at = skip_blanks(text, line);

	while (text[at] != '-' && line > 0) {
		line = line_start(text, line - 1);
		at = skip_blanks(text, line);
	}
	return at;
}

/* Comment lines directly above, in the column of the dash, belong to the item. */
static size_t with_comments(const char *text, size_t dash)
{
	size_t from = line_start(text, dash), column = dash - from;

	while (from > 0) {
		size_t line = line_start(text, from - 1), at = skip_blanks(text, line);

		if (text[at] != '#' || at - line != column)
			break;
		from = line;
	}
	return from;
}

enum err edit_remove_host(const char *text, size_t len, const char *id, char **ret)
{
	struct yaml_doc doc;
	const struct yaml_node *n;
	size_t dash, column;
	enum err e = yaml_parse(&doc, text, len);

	n = e == OK ? find_host(&doc, id) : NULL;
	if (e == OK && !n)
		e = ERR_NOT_FOUND;
	if (e == OK && (doc.root->flow || yaml_get(doc.root, "hosts")->flow))
		e = ERR_UNSUPPORTED;
	if (e == OK) {
		dash = dash_of(text, n);
		column = dash - line_start(text, dash);
		*ret = splice(text, len, with_comments(text, dash), item_end(text, len, n, column), "");
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

/* ---- changing a host ---- */

/* Before the closing brace of a map in { } form. */
static enum err add_flow_field(const char *text, size_t len, const struct yaml_node *map, const char *key, const char *value,
			       char **ret)
{
	size_t at = map->end - 1;
	char *field;

	if (map->end == 0 || text[at] != '}' || strchr(value, '\n'))
		return ERR_UNSUPPORTED;
	while (at > map->start && (text[at - 1] == ' ' || text[at - 1] == '\n'))
		at--;
	if (asprintf(&field, "%s%s: %s", map->first ? ", " : " ", key, value) < 0)
		return ERR_NOMEM;
	*ret = splice(text, len, at, at, field);
	free(field);
	return *ret ? OK : ERR_NOMEM;
}

/* A new "key: value" below the last line of @map, in the column of its keys. */
static enum err add_field(const char *text, size_t len, const struct yaml_node *map, const char *key, const char *value, char **ret)
{
	char *line = NULL, *lines;
	enum err e = ERR_NOMEM;

	if (map->flow)
		return add_flow_field(text, len, map, key, value, ret);
	if (!map->first)
		return ERR_UNSUPPORTED;
	if (asprintf(&line, "%s:%s%s\n", key, value[0] == '\n' ? "" : " ", value) < 0)
		return ERR_NOMEM;
	lines = indented(text, "", line, map->first->key->column - 1);
	if (lines)
		e = insert_lines(text, len, item_end(text, len, map, map->first->key->column - 2), lines, ret);
	free(lines);
	free(line);
	return e;
}

/* A map that is not there yet, with one field. */
static enum err add_map(const char *text, size_t len, const struct yaml_node *host, const char *map, const char *key,
			const char *value, char **ret)
{
	char *field = NULL;
	enum err e;

	if (host->flow)
		return ERR_UNSUPPORTED;
	/* The column of the host's keys is put before each line, so that the second brings only what it has more. */
	if (asprintf(&field, "\n  %s: %s", key, value) < 0)
		return ERR_NOMEM;
	e = add_field(text, len, host, map, field, ret);
	free(field);
	return e;
}

enum err edit_set_host(const char *text, size_t len, const char *id, const char *map, const char *key, const char *value,
		       char **ret)
{
	const struct yaml_node *host, *m, *v;
	struct yaml_doc doc;
	enum err e = yaml_parse(&doc, text, len);

	host = e == OK ? find_host(&doc, id) : NULL;
	m = map ? yaml_get(host, map) : host;
	v = yaml_get(m, key);
	if (e == OK && !host)
		e = ERR_NOT_FOUND;
	else if (e == OK && (!m || m->kind != YAML_MAP))
		e = m && m->end > m->start ? ERR_UNSUPPORTED : add_map(text, len, host, map, key, value, ret);
	else if (e == OK && v && (v->kind != YAML_SCALAR || v->end == v->start))
		e = ERR_UNSUPPORTED;
	else if (e == OK && v)
		e = (*ret = splice(text, len, v->start, v->end, value)) ? OK : ERR_NOMEM;
	else if (e == OK)
		e = add_field(text, len, m, key, value, ret);
	yaml_doc_free(&doc);
	return e;
}

enum err edit_set_fields(const char *text, size_t len, const char *id, const struct edit_field *fields, size_t n, char **ret)
{
	char *now = splice(text, len, 0, 0, "");
	enum err e = now ? OK : ERR_NOMEM;

	for (size_t i = 0; e == OK && i < n; i++) {
		char *next = NULL;

		if (!fields[i].value)
			continue;
		e = edit_set_host(now, strlen(now), id, fields[i].map, fields[i].key, fields[i].value, &next);
		if (e != OK)
			break;
		sodium_memzero(now, strlen(now));
		free(now);
		now = next;
	}
	if (e == OK) {
		*ret = now;
	} else if (now) {
		sodium_memzero(now, strlen(now));
		free(now);
	}
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

static enum err edit_with(const char *file, unsigned tries, config_edit_fn fn, void *ctx, char *why, size_t why_size)
{
	char lock_path[4096];
	struct os_lock *lock;
	enum err e;

	snprintf(lock_path, sizeof(lock_path), "%s.lock", file);
	e = os_lock_take(lock_path, tries, &lock);
	if (e != OK) {
		snprintf(why, why_size, "%s: %s", lock_path, err_text(e));
		return e;
	}
	why[0] = '\0';
	os_file_sweep(file);
	e = edit_locked(file, fn, ctx, why, why_size);
	os_lock_free(lock);
	return e;
}

enum err config_edit(const char *file, config_edit_fn fn, void *ctx, char *why, size_t why_size)
{
	return edit_with(file, LOCK_TRIES, fn, ctx, why, why_size);
}

enum err config_edit_now(const char *file, config_edit_fn fn, void *ctx, char *why, size_t why_size)
{
	return edit_with(file, 1, fn, ctx, why, why_size);
}
