/* ssh/key_internal.h - what key.c and key_file.c share. */
#ifndef SSH_KEY_INTERNAL_H
#define SSH_KEY_INTERNAL_H

#include <openssl/types.h>

#include "ssh/key.h"

#define KEY_RSA_BITS_MAX 16384
#define KEY_NUMBER_MAX (KEY_RSA_BITS_MAX / 8 + 1)

/* The curves, by all their names. */
struct key_curve {
	const char *ssh, *type, *group;
	int bits;
};
extern const struct key_curve key_curves[3];

/** key_decode_base64() - over lines, up to @end; ERR_FORMAT also for nothing at all */
MUST_CHECK enum err key_decode_base64(const char *p, const char *end, struct ssh_blob *ret);
/** key_public_of() - the public half as SSH sends it; ERR_UNSUPPORTED: of no kind that is used here, *ret_why says so */
MUST_CHECK enum err key_public_of(EVP_PKEY *pkey, struct ssh_blob *ret, const char **ret_why);

#endif
