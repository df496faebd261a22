/*
 * operator/edit.h - changes to nefia.yaml that keep the person's comments and order.
 *
 * Each is a splice of the text at the marks of the parser. config_edit() takes the lock, reads, lets the caller make a new
 * text, parses that again and renames it into place: a text that would not load is never written.
 */
#ifndef OPERATOR_EDIT_H
#define OPERATOR_EDIT_H

#include "base/err.h"
#include "operator/config.h"

/* Makes the new text (malloc) from the old; ERR_* ends the edit and leaves the file as it is. */
typedef enum err (*config_edit_fn)(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret);

/** config_edit() - under @file.lock; ERR_IN_USE after 30 s; @why as config_load's */
MUST_CHECK enum err config_edit(const char *file, config_edit_fn fn, void *ctx, char *why, size_t why_size);
/** config_edit_now() - the same, without waiting for the lock: for who must not block */
MUST_CHECK enum err config_edit_now(const char *file, config_edit_fn fn, void *ctx, char *why, size_t why_size);

/** edit_add_host() - @entry: the lines of a list item, "- id: x" first, without indentation */
MUST_CHECK enum err edit_add_host(const char *text, size_t len, const char *entry, char **ret);
/** edit_remove_host() - its item goes, with the comment lines directly above it; ERR_NOT_FOUND */
MUST_CHECK enum err edit_remove_host(const char *text, size_t len, const char *id, char **ret);
/** edit_rename_host() - the value of its id */
MUST_CHECK enum err edit_rename_host(const char *text, size_t len, const char *id, const char *new_id, char **ret);

/** edit_set_host() - the value of @key in the host's own map, or in its map @map; added when it is not there */
MUST_CHECK enum err edit_set_host(const char *text, size_t len, const char *id, const char *map, const char *key,
				  const char *value, char **ret);

/* One of several changes to a host; @map NULL: its own. */
struct edit_field {
	const char *map, *key, *value;
};

/** edit_set_fields() - all of @fields whose value is not NULL */
MUST_CHECK enum err edit_set_fields(const char *text, size_t len, const char *id, const struct edit_field *fields, size_t n,
				    char **ret);

#endif
