/* operator/fs_name.h - names of files: as people type them, as a terminal and JSON may show them, and patterns. Pure. */
#ifndef OPERATOR_FS_NAME_H
#define OPERATOR_FS_NAME_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"

#define FS_HOST_MAX 63
#define FS_SHOWN_MAX(len) (4 * (len) + 1) /* what fs_name_show() needs at most */

/**
 * fs_spec_split() - "HOST:PATH" into its parts; "~/" in front of the path is taken off, for paths start at home
 * @ret_path: in @s; "." for HOST: alone
 * Return: false when there is no colon, or one only after a slash: then it is a local path.
 */
bool fs_spec_split(const char *s, char host[FS_HOST_MAX + 1], const char **ret_path);
/**
 * fs_name_show() - as it may stand on a terminal: control characters, what is not UTF-8, and the backslash as \n, \x1b, \\
 * @ret: FS_SHOWN_MAX(strlen(name)) bytes
 */
void fs_name_show(const char *name, char *ret);
/** fs_name_set_json() - o[@key]; where the bytes are no UTF-8, o[@key_base64] in its place, which is exact */
void fs_name_set_json(json_t *o, const char *key, const char *name);
/** fs_name_base() - the last part of a path without the slashes behind it; "" for "/" and "" */
void fs_name_base(const char *path, char *ret, size_t size);
/** fs_name_join() - dir/name; dir "." is left out. false: longer than @size allows */
bool fs_name_join(char *ret, size_t size, const char *dir, const char *name);
/** fs_name_is_safe() - a relative path below where it starts: no empty part, no "." or "..", no slash in front or behind */
bool fs_name_is_safe(const char *path);

/*
 * Patterns: * any characters, ? one, [a-z] one of these, [!a-z] none of these; \ takes the meaning of the next one away. None
 * of them stands for a slash, nor for the dot that a name begins with. A character is one of UTF-8, or one byte that is none.
 */
/** fs_glob_is_pattern() - does it have one of these? */
bool fs_glob_is_pattern(const char *s);
/** fs_glob_unquote() - the text without its backslashes, in place */
void fs_glob_unquote(char *s);
/** fs_glob_match() - does the whole of @name fit the @len bytes of @pattern? Takes at most len * strlen(name) steps. */
bool fs_glob_match(const char *pattern, size_t len, const char *name);
/** fs_glob_match_dots() - the same, but a dot in front is a character as others are (as find has it) */
bool fs_glob_match_dots(const char *pattern, size_t len, const char *name);

#endif
