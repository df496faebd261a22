/* ssh/worker_internal.h - what the worker, its starter and the nursery share. */
#ifndef SSH_WORKER_INTERNAL_H
#define SSH_WORKER_INTERNAL_H

#include "os/proc.h"

/* What is started, and for whom; as in struct ssh_worker_config. */
struct ssh_program {
	const char *program;
	bool is_guest;
};

/** ssh_worker_spawn() - the program with @arg, @fd as its descriptor 3, without our environment and terminal */
MUST_CHECK enum err ssh_worker_spawn(struct os_loop *loop, const struct ssh_program *from, const char *arg, int fd, os_exit_fn fn,
				     void *ctx, struct os_child **ret);
struct ssh_buf;
struct ssh_worker_config;
/** ssh_worker_put_config() - the first message to a worker; @key_types: of the host's keys that are known */
MUST_CHECK enum err ssh_worker_put_config(struct ssh_buf *b, const struct ssh_worker_config *cfg, const char *key_types);
/** ssh_worker_start_error() - of a process that could not be made: the limit of processes is no matter of trying again at once */
static inline enum err ssh_worker_start_error(enum err e)
{
	return e == ERR_AGAIN ? ERR_FULL : e;
}
/** ssh_worker_warm_up() - what libraries load or open at first use, before the sandbox and before a fork */
MUST_CHECK bool ssh_worker_warm_up(void);
/** ssh_worker_run() - enter the sandbox and serve @ctl_fd to its end. Return: the exit code of a failed start. */
int ssh_worker_run(int ctl_fd);

#endif
