/*
 * ssh/listen.h - inside the worker: ports that the server listens on for us.
 *
 * A LISTEN session asks for the port and holds it; each ACCEPT session takes one connection that came in there, and is a
 * direct connection from then on. Both are on the same SSH connection, because that is where the server sends them.
 */
#ifndef SSH_LISTEN_H
#define SSH_LISTEN_H

#include "ssh/job.h"

/**
 * ssh_listen_open() - ask for the port of a LISTEN session
 * Return: OK with the number that ACCEPT names, and the port; ERR_AGAIN; ERR_REFUSED by the server; ERR_UNSUPPORTED: a path.
 */
MUST_CHECK enum err ssh_listen_open(struct ssh_job *j, uint32_t *ret_id, uint32_t *ret_port);
/** ssh_listen_accept() - the next connection becomes @j->channel. ERR_AGAIN: none yet; ERR_CLOSED: nobody listens any more */
MUST_CHECK enum err ssh_listen_accept(struct ssh_job *j);
/** ssh_listen_conn() - where the listener is; NULL = there is none of this number */
struct ssh_conn *ssh_listen_conn(uint32_t id);
/** ssh_listen_close() - the session of a listener ends */
void ssh_listen_close(struct ssh_job *j);
/** ssh_listen_conn_dead() - its listeners go with it */
void ssh_listen_conn_dead(struct ssh_conn *c);

#endif
