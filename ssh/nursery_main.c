/*
 * ssh/nursery_main.c - the nursery's process: warm up, wait for the hub's word, fork. See nursery.c for the messages.
 */
#include <errno.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/proc.h"
#include "os/stream.h"
#include "ssh/frame.h"
#include "ssh/nursery.h"
#include "ssh/worker_internal.h"

/* False: the hub has gone. */
static bool serve_one(int ctl)
{
	uint8_t msg[12] = { 0 };
	int fds[OS_FDS_MAX], pidfd = -1;
	size_t len = 0, n_fds = 0;
	enum err e = os_recv_fds(ctl, msg, 4, &len, fds, &n_fds);
	pid_t pid;

	if (e == ERR_AGAIN)
		return true;
	if (e != OK || len != 4 || n_fds != 1)
		return false;
	pid = os_fork_sibling(&pidfd);
	if (pid == 0) {
		close(ctl);
		_exit(ssh_worker_run(fds[0]));
	}
	if (pid < 0)
		put_le32(msg + 8, ssh_worker_start_error(err_from_errno(errno)));
	close(fds[0]);
	put_le32(msg + 4, pid > 0 ? (uint32_t)pid : 0);
	e = os_send_fds(ctl, msg, sizeof(msg), &pidfd, pid > 0 ? 1 : 0);
	if (pid > 0)
		close(pidfd);
	return e == OK;
}

int ssh_nursery_main(int ctl_fd)
{
	os_harden();
	if (!ssh_worker_warm_up())
		return SSH_WORKER_NO_SANDBOX;
	while (os_wait_readable(ctl_fd) && serve_one(ctl_fd))
		;
	_exit(0);
}
