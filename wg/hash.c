/* wg/hash.c - see hash.h. The BLAKE2s underneath is the BLAKE2 reference's. */
#include "wg/hash.h"

#include <sodium.h>
#include <string.h>

#include <blake2.h>

#define BLOCK_LEN 64

static void update(blake2s_state *s, struct bytes b)
{
	if (b.len > 0)
		blake2s_update(s, b.p, b.len);
}

void wg_hash(uint8_t out[WG_HASH_LEN], struct bytes a, struct bytes b, struct bytes c)
{
	blake2s_state s;

	blake2s_init(&s, WG_HASH_LEN);
	update(&s, a);
	update(&s, b);
	update(&s, c);
	blake2s_final(&s, out, WG_HASH_LEN);
	sodium_memzero(&s, sizeof(s));
}

void wg_mac(uint8_t out[WG_MAC_LEN], const void *key, size_t key_len, struct bytes in)
{
	blake2s_state s;

	blake2s_init_key(&s, WG_MAC_LEN, key, key_len);
	update(&s, in);
	blake2s_final(&s, out, WG_MAC_LEN);
	sodium_memzero(&s, sizeof(s));
}

/* HMAC-BLAKE2s-256 */
static void hmac(uint8_t out[WG_HASH_LEN], const uint8_t key[WG_HASH_LEN], struct bytes in)
{
	uint8_t ipad[BLOCK_LEN], opad[BLOCK_LEN], inner[WG_HASH_LEN];

	memset(ipad, 0x36, sizeof(ipad));
	memset(opad, 0x5c, sizeof(opad));
	for (int i = 0; i < WG_HASH_LEN; i++) {
		ipad[i] ^= key[i];
		opad[i] ^= key[i];
	}
	wg_hash(inner, wg_bytes(ipad, sizeof(ipad)), in, wg_bytes(NULL, 0));
	wg_hash(out, wg_bytes(opad, sizeof(opad)), wg_bytes(inner, sizeof(inner)), wg_bytes(NULL, 0));
	sodium_memzero(ipad, sizeof(ipad));
	sodium_memzero(opad, sizeof(opad));
	sodium_memzero(inner, sizeof(inner));
}

void wg_kdf(uint8_t *out1, uint8_t *out2, uint8_t *out3, const uint8_t key[WG_HASH_LEN], struct bytes in)
{
	uint8_t secret[WG_HASH_LEN], block[WG_HASH_LEN + 1];
	uint8_t *outs[3] = { out1, out2, out3 };

	hmac(secret, key, in);
	for (uint8_t i = 0; i < 3 && outs[i]; i++) {
		size_t prev = i == 0 ? 0 : WG_HASH_LEN;

		block[prev] = (uint8_t)(i + 1);
		hmac(outs[i], secret, wg_bytes(block, prev + 1));
		memcpy(block, outs[i], WG_HASH_LEN);
	}
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(block, sizeof(block));
}
