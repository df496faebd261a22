/* os/beneath.h - opening what is below a folder, whatever links stand on the way. */
#ifndef OS_BENEATH_H
#define OS_BENEATH_H

#include "base/types.h"

/**
 * os_open_beneath() - openat() that cannot leave @dir: no symbolic link is followed, in no part of @path, and no ".." leads out
 * @path: relative
 *
 * openat2() with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS in one step of the kernel's; where the kernel or a sandbox has none,
 * part by part with O_NOFOLLOW, which is as strict (and refuses ".." altogether).
 * Return: a descriptor (O_CLOEXEC); -1 with errno: ELOOP or ENOTDIR for a link, EXDEV for a path that leads out.
 */
int os_open_beneath(int dir, const char *path, int flags, unsigned mode);
/** os_open_beneath_plain() - the second way alone; for the tests */
int os_open_beneath_plain(int dir, const char *path, int flags, unsigned mode);

#endif
