/*
 * ssh/key.h - SSH keys as their files have them, and what they sign.
 *
 * Read: OpenSSH's own format, encrypted or not, and what OpenSSL reads (PKCS#1, SEC1, PKCS#8, encrypted or not); of the
 * kinds Ed25519, ECDSA on the three NIST curves, and RSA. Pure on bytes: the files are the caller's.
 */
#ifndef SSH_KEY_H
#define SSH_KEY_H

#include "base/err.h"
#include "base/types.h"
#include "ssh/wire.h"

#define SSH_KEY_BLOB_MAX 16384  /* of a public key or a certificate */
#define SSH_KEY_ROUNDS_MAX 1024 /* of bcrypt, some ten seconds; ssh-keygen makes 16 or 24 */

struct ssh_key {
	struct ssh_blob pub; /* the public key as SSH sends it; empty while that is not known */
	struct evp_pkey_st *private; /* OpenSSL's EVP_PKEY; NULL: locked */
};

/**
 * ssh_key_read() - a private key's file
 * @passphrase: NULL: none is known
 * @ret:        zeroed or from an earlier call, of which it keeps what it does not learn anew
 * @ret_why:    for people, on an error
 *
 * Return: OK; ERR_AUTH: locked, and @passphrase is missing or wrong (ret->pub is known in OpenSSH's format); ERR_UNSUPPORTED: a
 * format, kind or cipher that is not read here; ERR_FORMAT: damaged, or no private key; ERR_NOMEM.
 */
MUST_CHECK enum err ssh_key_read(struct bytes file, const char *passphrase, struct ssh_key *ret, const char **ret_why);
void ssh_key_fini(struct ssh_key *k);
/** ssh_key_read_public() - the blob in a file as "ssh-ed25519 AAAA... comment"; ERR_FORMAT */
MUST_CHECK enum err ssh_key_read_public(struct bytes file, struct ssh_blob *ret);
/** ssh_key_is_public() - does the file look like a public key or a certificate? */
bool ssh_key_is_public(struct bytes file);
/** ssh_key_type() - a blob's first string; false: malformed */
bool ssh_key_type(struct bytes blob, char ret[64]);
/** ssh_key_is_certificate_of() - does the certificate speak of this public key? */
bool ssh_key_is_certificate_of(struct bytes certificate, struct bytes pub);
/**
 * ssh_key_sign() - the signature without its algorithm's name, as RFC 4253 and 5656 have it
 * @algorithm: "ssh-ed25519", "ecdsa-sha2-nistp…", "rsa-sha2-256", "rsa-sha2-512"; no other one is signed with
 *
 * Return: OK; ERR_UNSUPPORTED: the key does not make such signatures; ERR_INTERNAL.
 */
MUST_CHECK enum err ssh_key_sign(const struct ssh_key *k, const char *algorithm, struct bytes data, struct ssh_blob *ret);

#endif
