/* ssh/shell.h - inside the worker: what a SHELL session asks of its channel before the command runs. */
#ifndef SSH_SHELL_H
#define SSH_SHELL_H

#include "ssh/job.h"

/**
 * ssh_shell_start() - environment, terminal, shell or command; to be called again while it returns LIBSSH2_ERROR_EAGAIN
 * Return: 0, or libssh2's error. A server that refuses a variable of the environment is no error, as with ssh.
 */
int ssh_shell_start(struct ssh_job *j);
/** ssh_shell_resize() - a WINDOW frame */
void ssh_shell_resize(struct ssh_job *j, struct bytes body);

#endif
