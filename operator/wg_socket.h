/* operator/wg_socket.h - a hub's or agent's control socket, as WireGuard's tools use it (the userspace API). */
#ifndef OPERATOR_WG_SOCKET_H
#define OPERATOR_WG_SOCKET_H

#include "base/err.h"
#include "ssh/frame.h"

struct cli;

/** wg_socket_open() - of the process called @name, in @dir, else in the places where hub and agent put it; -1: nobody of ours answers */
int wg_socket_open(const struct cli *cli, const char *dir, const char *name);
/** wg_socket_ask() - @request and its answer, a text with a NUL behind it, in @ret; false: it broke off. ssh_buf_fini() wipes. */
MUST_CHECK bool wg_socket_ask(int fd, const char *request, struct ssh_buf *ret);

#endif
