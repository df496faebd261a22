/* ssh/conn_internal.h - what the parts of a connection share: conn.c, conn_library.c, conn_kex.c. */
#ifndef SSH_CONN_INTERNAL_H
#define SSH_CONN_INTERNAL_H

#include "ssh/conn.h"

/* ---- conn_library.c ---- */
/** ssh_conn_session_new() - libssh2's part of @c, with our memory and transport; NULL without memory */
LIBSSH2_SESSION *ssh_conn_session_new(struct ssh_conn *c);
/** ssh_conn_fill() - read once from the socket; false: nothing there, or the end (@eof) */
bool ssh_conn_fill(struct ssh_conn *c);

/* ---- conn_kex.c ---- */
/** ssh_conn_set_methods() - tell the library what we offer; false: it does not know something of it */
bool ssh_conn_set_methods(struct ssh_conn *c);
/** ssh_conn_step_handshake() - HANDSHAKE: go on; then HOST_KEY, or DEAD */
void ssh_conn_step_handshake(struct ssh_conn *c);

#endif
