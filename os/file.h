/* os/file.h - files that survive a kill at any instruction, folders, locks. */
#ifndef OS_FILE_H
#define OS_FILE_H

#include "base/err.h"
#include "base/types.h"

/** os_file_read() - the whole file with a NUL after it; free *ret. ERR_TOO_LONG beyond @max bytes. */
MUST_CHECK enum err os_file_read(const char *path, size_t max, char **ret, size_t *ret_len);
/**
 * os_file_write_atomic() - the old content or the new, never a mixture
 * Temporary file in the same folder, fsync, rename, fsync of the folder. A symbolic link at @path is followed
 * once, so that a linked configuration stays linked. Return: OK; ERR_NO_SPACE; ERR_PERMISSION; ERR_NOT_FOUND; ERR_IO.
 */
MUST_CHECK enum err os_file_write_atomic(const char *path, const void *buf, size_t len, unsigned mode);
/**
 * os_file_append() - one line more, by one write at the end; whole or not at all
 * @mode: of a file that is made. A last line without its end gets that first. Others may append at the same time.
 * Return: OK; ERR_AGAIN: another file was put in its place meanwhile, look and append again; ERR_NO_SPACE ...
 */
MUST_CHECK enum err os_file_append(const char *path, const char *line, size_t len, unsigned mode);
/** os_file_sweep() - take away what writers of @path left behind that were killed; copies may hold keys */
void os_file_sweep(const char *path);
/** os_write_all() - all of it, waiting where @fd is non-blocking and full; ERR_CLOSED: its reader is gone */
MUST_CHECK enum err os_write_all(int fd, const void *buf, size_t len);
/** os_file_mode() - permission bits and owner; ERR_NOT_FOUND. Of what keeps nothing (devices, pipes), and of folders, the bits are 0. */
MUST_CHECK enum err os_file_mode(const char *path, unsigned *ret_mode, unsigned *ret_uid);
/** os_mkdir_p() - folders down to @path; those made get @mode. ERR_NOT_FOLDER: a part of it is something else. */
MUST_CHECK enum err os_mkdir_p(const char *path, unsigned mode);
/** os_file_remove() - OK also when it was not there */
enum err os_file_remove(const char *path);

struct os_lock;
/**
 * os_lock_take() - flock @path, tried every second up to @tries times (1 = only now)
 * The kernel frees it when the process ends. Return: OK; ERR_IN_USE; ERR_PERMISSION ...
 */
MUST_CHECK enum err os_lock_take(const char *path, unsigned tries, struct os_lock **ret);
void os_lock_free(struct os_lock *l);
/** os_lock_fd() - its descriptor: a forked child that lives on must close its copy, or the lock stays with it */
int os_lock_fd(const struct os_lock *l);

/** os_home() - $HOME, else the password entry's; NULL when neither */
const char *os_home(void);
/** os_runtime_dir() - $XDG_RUNTIME_DIR when it is ours and private, else NULL */
const char *os_runtime_dir(void);

#endif
