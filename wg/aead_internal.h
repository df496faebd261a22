/* wg/aead_internal.h - the entries of the provider table. */
#ifndef WG_AEAD_INTERNAL_H
#define WG_AEAD_INTERNAL_H

#include "base/endian.h"
#include "wg/aead.h"

#define AEAD_NONCE_LEN 12

static inline void aead_nonce(const struct wg_aead_job *job, uint8_t ret[AEAD_NONCE_LEN])
{
	put_le32(ret, job->nonce_head);
	put_le64(ret + 4, job->counter);
}

extern const struct wg_aead wg_aead_sodium;
extern const struct wg_aead wg_aead_openssl;
extern const struct wg_aead wg_aead_ipsecmb;

#endif
