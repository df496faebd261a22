/*
 * ssh/known_hosts.h - OpenSSH's known_hosts: who a host is, remembered since the first time (trust
 * on first use).
 *
 * The file's format and its rules of matching are those of sshd(8): lists of names with '*', '?'
 * and '!', hashed names, "[host]:port", @revoked, @cert-authority. Pure on bytes; the file and its
 * lock are the caller's.
 */
#ifndef SSH_KNOWN_HOSTS_H
#define SSH_KNOWN_HOSTS_H

#include "base/err.h"
#include "base/types.h"

enum known_host {
	KNOWN_HOST_UNKNOWN,  /* nothing is known of these names */
	KNOWN_HOST_MATCH,
	KNOWN_HOST_MISMATCH, /* another key is known: *ret_line */
	KNOWN_HOST_REVOKED,  /* this key is revoked for one of the names: *ret_line */
	KNOWN_HOST_CA_ONLY,  /* only a certificate authority is known, which we do not check */
};

/**
 * known_hosts_check() - is this key that of the host?
 * @names:    those of the host, NULL-terminated, the most specific first
 * @type:     e.g. "ssh-ed25519"
 * @blob_b64: the key in base64, as it stands in such a file
 * @ret_line: where the verdict comes from; 0 for UNKNOWN and MATCH
 *
 * A revocation under any name wins over everything. Else the first name decides of which a key is
 * known: a key that the file holds for an address alone does not make it the key of a name known
 * with another one.
 */
enum known_host known_hosts_check(struct bytes file, const char *const *names, const char *type, const char *blob_b64,
				  unsigned *ret_line);
/** known_hosts_name_matches() - does the first field of a line (no marker) speak of @name? */
bool known_hosts_name_matches(struct bytes list, const char *name);
/**
 * known_hosts_types() - the types of the keys that are known under any of the names,
 * "ssh-rsa,ssh-ed25519", "" for none
 *
 * To be preferred when keys are exchanged: a server with keys of several types must show the one
 * that we can check.
 */
void known_hosts_types(struct bytes file, const char *const *names, char ret[256]);
/** known_hosts_fingerprint() - "SHA256:..." of a key blob */
void known_hosts_fingerprint(struct bytes blob, char ret[64]);

#endif
