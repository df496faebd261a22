/*
 * ssh/known_hosts.h - OpenSSH's known_hosts: who a host is, remembered since the first time (trust on first use).
 *
 * Plain and hashed names, @revoked respected, a host known only through @cert-authority refused. Pure on bytes; the
 * file and its lock are the caller's.
 */
#ifndef SSH_KNOWN_HOSTS_H
#define SSH_KNOWN_HOSTS_H

#include "base/err.h"
#include "base/types.h"

enum known_host {
	KNOWN_HOST_UNKNOWN,  /* nothing is known of these names */
	KNOWN_HOST_MATCH,
	KNOWN_HOST_MISMATCH, /* another key is known: *ret_line */
	KNOWN_HOST_REVOKED,
	KNOWN_HOST_CA_ONLY,  /* only a certificate authority is known, which we do not check */
};

/** known_hosts_check() - @names: those of the host, NULL-terminated; @blob_b64: the key in base64 */
enum known_host known_hosts_check(struct bytes file, const char *const *names, const char *type, const char *blob_b64,
				  unsigned *ret_line);
/** known_hosts_fingerprint() - "SHA256:..." of a key blob */
void known_hosts_fingerprint(struct bytes blob, char ret[64]);

#endif
