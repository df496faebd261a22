/*
 * ssh/nursery.h - one process from which workers are forked, so that they share its memory.
 *
 * A worker that is started by itself loads and initialises the same libraries as all others, a megabyte each and ten
 * milliseconds. The nursery does that once and never sees a byte of a server, a key or a configuration: it waits for the hub's
 * word, forks, and the child becomes a worker, the hub's child and sandboxed as ever. It is this program started again with
 * the hidden first argument "ssh-nursery", by the first worker that is wanted; should it die, by the next one.
 */
#ifndef SSH_NURSERY_H
#define SSH_NURSERY_H

#include <sys/types.h>

#include "base/err.h"
#include "base/types.h"
#include "os/loop.h"

struct ssh_nursery;
struct ssh_birth;
/*
 * The process is there, to be adopted (os_child_adopt()); or @pid is 0 and @e says why. ERR_CLOSED: the nursery ended meanwhile;
 * ERR_PERMISSION: its sandbox is refused here; ERR_FULL: no more processes or descriptors are allowed; ERR_NOMEM.
 */
typedef void (*ssh_birth_fn)(void *ctx, enum err e, pid_t pid, int pidfd);

/** ssh_nursery_new() - no process yet; @program and @is_guest as in struct ssh_worker_config; NULL without memory */
struct ssh_nursery *ssh_nursery_new(struct os_loop *loop, const char *program, bool is_guest);
/** ssh_nursery_free() - after the workers; NULL is fine */
void ssh_nursery_free(struct ssh_nursery *n);
/**
 * ssh_nursery_fork() - a worker with @fd (copied) as its way to us; exactly one call of @fn, from the loop, unless dropped
 * Return: OK; ERR_AGAIN: it has as many before it as its socket holds; ERR_FULL as above, or whatever else a start fails with.
 */
MUST_CHECK enum err ssh_nursery_fork(struct ssh_nursery *n, int fd, ssh_birth_fn fn, void *ctx, struct ssh_birth **ret);
/** ssh_birth_drop() - nobody waits for it any more: the process is ended as soon as we know it */
void ssh_birth_drop(struct ssh_birth *b);

/** ssh_nursery_main() - the process itself; @ctl_fd is descriptor 3. Return: its exit code. */
int ssh_nursery_main(int ctl_fd);

#endif
