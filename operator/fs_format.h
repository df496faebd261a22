/* operator/fs_format.h - what listings, progress and chmod write and read: modes, sizes, times. Pure. */
#ifndef OPERATOR_FS_FORMAT_H
#define OPERATOR_FS_FORMAT_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"
#include "ssh/fs_session.h"

#define FS_TYPE_MASK 0170000u
#define FS_TYPE_DIR 0040000u
#define FS_TYPE_FILE 0100000u
#define FS_TYPE_LINK 0120000u

/** fs_format_mode() - "drwxr-sr-t"; '?' in front when the type is not known. Return: @ret. */
const char *fs_format_mode(uint32_t mode, char ret[11]);
/** fs_format_type() - "file", "dir", "link", "fifo", "socket", "block", "char", "unknown" */
const char *fs_format_type(uint32_t mode);
/** fs_format_time() - local time as "2026-11-21 10:41"; "-" without one. Return: @ret. */
const char *fs_format_time(const struct ssh_attr *a, char ret[24]);
/** fs_format_bytes() - "17 B", "1.5 KiB", "204 MiB": three digits at most before the unit. Return: @ret. */
const char *fs_format_bytes(uint64_t n, char ret[16]);
/** fs_format_seconds() - "0:05", "12:34", "2:03:04", "5d 3h". Return: @ret. */
const char *fs_format_seconds(uint64_t s, char ret[32]);
/** fs_format_json() - a number that a server gave: what JSON's integers do not hold is the largest of them */
json_t *fs_format_json(uint64_t n);
/** fs_format_used() - of a file system, what is taken, and of what is there for us how much in percent; whatever the server says */
uint64_t fs_format_used(const struct ssh_fs_space *s, double *ret_pct);
/** fs_format_set_json() - type, size, mode, uid, gid, mtime, atime: those that are known */
void fs_format_set_json(json_t *o, const struct ssh_attr *a);

/**
 * fs_mode_change() - what chmod's @text makes of @mode: octal ("640", "2755"), or symbolic ("u+x,go-w", "a=rX")
 * @ret: the permission bits. Return: false: @text is neither.
 */
bool fs_mode_change(const char *text, uint32_t mode, uint32_t *ret);

#endif
