/* wg/hash.h - BLAKE2s, its HMAC and the key derivation of Noise (5.4 of the paper, RFC 7693, RFC 2104). */
#ifndef WG_HASH_H
#define WG_HASH_H

#include "wg/messages.h"

/** wg_hash() - BLAKE2s-256 of the concatenation of up to three parts */
void wg_hash(uint8_t out[WG_HASH_LEN], struct bytes a, struct bytes b, struct bytes c);
/** wg_mac() - keyed BLAKE2s with a 16-byte output; @key_len up to 32 */
void wg_mac(uint8_t out[WG_MAC_LEN], const void *key, size_t key_len, struct bytes in);
/** wg_kdf() - Noise's HKDF: one to three outputs; those not wanted are NULL from the end. @key may be an output. */
void wg_kdf(uint8_t *out1, uint8_t *out2, uint8_t *out3, const uint8_t key[WG_HASH_LEN], struct bytes in);

static inline struct bytes wg_bytes(const void *p, size_t len)
{
	return (struct bytes){ p, len };
}

#endif
