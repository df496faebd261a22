/*
 * ssh/direct.c - see direct.h.
 *
 * A path is told by its slash: no host is called so. Unix sockets are OpenSSH's direct-streamlocal@openssh.com; other servers
 * refuse the channel.
 */
#include "ssh/direct.h"

LIBSSH2_CHANNEL *ssh_direct_open(struct ssh_conn *c, const char *host, unsigned port)
{
	if (host[0] == '/')
		return libssh2_channel_direct_streamlocal_ex(c->session, host, "127.0.0.1", 0);
	return libssh2_channel_direct_tcpip_ex(c->session, host, (int)port, "127.0.0.1", 0);
}
