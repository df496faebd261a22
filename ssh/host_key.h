/*
 * ssh/host_key.h - the hub's side of host keys: the file known_hosts, read by many and written by one at a time.
 */
#ifndef SSH_HOST_KEY_H
#define SSH_HOST_KEY_H

#include "base/err.h"
#include "base/types.h"

struct host_key_asked {
	const char *file;     /* known_hosts */
	const char *host;     /* looked up as HOST.nefia */
	const char *vpn_addr; /* and as this */
	const char *type;
	struct bytes blob;
};

/**
 * host_key_judge() - is it the host's key? One of a host that nothing is known of is written down, and is.
 * @why:     for people, on an error
 * @ret_new: it was not known before
 *
 * Does not wait. Return: OK; ERR_AGAIN: another process writes the file, ask again soon; ERR_HOST_KEY: it is not, or not to be
 * trusted; ERR_NO_SPACE and the like: the file cannot be read or written.
 */
MUST_CHECK enum err host_key_judge(const struct host_key_asked *q, char *why, size_t size, bool *ret_new);
/** host_key_types() - of the keys that are known of the host, as known_hosts_types() */
void host_key_types(const char *file, const char *host, const char *vpn_addr, char ret[256]);

#endif
