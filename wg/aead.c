/* wg/aead.c - the provider table, and libsodium's entry. */
#include "wg/aead.h"

#include <sodium.h>
#include <string.h>

#include "base/endian.h"
#include "wg/aead_internal.h"
#include "wg/wg.h"

static bool sodium_available(void)
{
	return sodium_init() >= 0;
}

static void sodium_seal(struct wg_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t nonce[12] = { 0 };

		put_le64(nonce + 4, jobs[i].counter);
		crypto_aead_chacha20poly1305_ietf_encrypt(jobs[i].dst, NULL, jobs[i].src, jobs[i].len, NULL, 0,
							  NULL, nonce, jobs[i].key);
	}
}

static void sodium_open(struct wg_aead_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t nonce[12] = { 0 };

		put_le64(nonce + 4, jobs[i].counter);
		jobs[i].ok = jobs[i].len >= WG_TAG_LEN &&
			     crypto_aead_chacha20poly1305_ietf_decrypt(jobs[i].dst, NULL, NULL, jobs[i].src,
								       jobs[i].len, NULL, 0, nonce,
								       jobs[i].key) == 0;
	}
}

static const struct wg_aead aead_sodium = { "libsodium", sodium_available, sodium_seal, sodium_open };

static const struct wg_aead *const providers[] = { &aead_sodium, &wg_aead_openssl };

const struct wg_aead *const *wg_aead_list(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(providers);
	return providers;
}

const struct wg_aead *wg_aead_find(const char *name)
{
	if (!name)
		name = aead_sodium.name;
	for (size_t i = 0; i < ARRAY_SIZE(providers); i++)
		if (strcmp(name, providers[i]->name) == 0)
			return providers[i]->available() ? providers[i] : NULL;
	return NULL;
}

bool wg_aead_name_is_available(const char *name)
{
	return wg_aead_find(name) != NULL;
}
