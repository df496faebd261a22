/* ssh/direct.h - inside the worker: a channel that the server connects to a port or a Unix socket. */
#ifndef SSH_DIRECT_H
#define SSH_DIRECT_H

#include "ssh/conn.h"

/** ssh_direct_open() - @host: a name or address there, or the path of a Unix socket; NULL: see libssh2's error (EAGAIN too) */
LIBSSH2_CHANNEL *ssh_direct_open(struct ssh_conn *c, const char *host, unsigned port);

#endif
