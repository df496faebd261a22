/*
 * wg/aead_openssl.c - libcrypto's ChaCha20-Poly1305, loaded when the machine has it.
 *
 * It is loaded at run time, so that a program without it, or a static one, still starts. The few functions used are
 * declared here by their documented prototypes. One context for each direction is kept in each lane and gets key and nonce
 * for each packet: setting the key costs about 2 % of a full packet.
 */
#include "wg/aead_internal.h"

#include <string.h>

#include "base/dynlib.h"

#define CTRL_AEAD_GET_TAG 0x10
#define CTRL_AEAD_SET_TAG 0x11

static struct {
	void *(*ctx_new)(void);
	void (*ctx_free)(void *ctx);
	const void *(*chacha20_poly1305)(void);
	int (*init)(void *ctx, const void *cipher, void *impl, const uint8_t *key, const uint8_t *iv, int enc);
	int (*update)(void *ctx, uint8_t *out, int *out_len, const uint8_t *in, int in_len);
	int (*final)(void *ctx, uint8_t *out, int *out_len);
	int (*ctrl)(void *ctx, int type, int arg, void *ptr);
	void *sealer[WG_AEAD_LANES], *opener[WG_AEAD_LANES];
	bool tried;
} lib;

static bool openssl_open_lane(unsigned lane)
{
	void *sealer, *opener;

	if (lib.sealer[lane])
		return true;
	sealer = lib.ctx_new();
	opener = lib.ctx_new();
	if (sealer && opener && lib.init(sealer, lib.chacha20_poly1305(), NULL, NULL, NULL, 1) == 1 &&
	    lib.init(opener, lib.chacha20_poly1305(), NULL, NULL, NULL, 0) == 1) {
		lib.sealer[lane] = sealer;
		lib.opener[lane] = opener;
		return true;
	}
	lib.ctx_free(sealer);
	lib.ctx_free(opener);
	return false;
}

static void load(void)
{
	void *so = dynlib_open("libcrypto.so.3");

	*(void **)&lib.ctx_new = dynlib_find(so, "EVP_CIPHER_CTX_new");
	*(void **)&lib.ctx_free = dynlib_find(so, "EVP_CIPHER_CTX_free");
	*(void **)&lib.chacha20_poly1305 = dynlib_find(so, "EVP_chacha20_poly1305");
	*(void **)&lib.init = dynlib_find(so, "EVP_CipherInit_ex");
	*(void **)&lib.update = dynlib_find(so, "EVP_CipherUpdate");
	*(void **)&lib.final = dynlib_find(so, "EVP_CipherFinal_ex");
	*(void **)&lib.ctrl = dynlib_find(so, "EVP_CIPHER_CTX_ctrl");
	if (lib.ctx_new && lib.ctx_free && lib.chacha20_poly1305 && lib.init && lib.update && lib.final && lib.ctrl)
		openssl_open_lane(0);
}

static bool openssl_available(void)
{
	if (!lib.tried)
		load();
	lib.tried = true;
	return lib.sealer[0] != NULL;
}

static bool start(void *ctx, const struct wg_aead_job *job, int enc)
{
	uint8_t nonce[AEAD_NONCE_LEN];
	int len;

	aead_nonce(job, nonce);
	return lib.init(ctx, NULL, NULL, job->key, nonce, enc) == 1 &&
	       (job->ad.len == 0 || lib.update(ctx, NULL, &len, job->ad.p, (int)job->ad.len) == 1);
}

static bool seal_one(void *ctx, struct wg_aead_job *job)
{
	int len = 0;

	return start(ctx, job, 1) &&
	       (job->len == 0 || lib.update(ctx, job->dst, &len, job->src, (int)job->len) == 1) &&
	       lib.final(ctx, job->dst + job->len, &len) == 1 &&
	       lib.ctrl(ctx, CTRL_AEAD_GET_TAG, WG_TAG_LEN, job->dst + job->len) == 1;
}

static void openssl_seal(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	/* Sealing has no input that could be wrong: a failure would send plaintext, so it must not go on. */
	for (size_t i = 0; i < n; i++)
		ASSERT(seal_one(lib.sealer[lane], &jobs[i]));
}

static bool open_one(void *ctx, struct wg_aead_job *job)
{
	int len = 0;
	size_t plain = job->len - WG_TAG_LEN;
	uint8_t end[WG_TAG_LEN];

	return start(ctx, job, 0) &&
	       lib.ctrl(ctx, CTRL_AEAD_SET_TAG, WG_TAG_LEN, (void *)(job->src + plain)) == 1 &&
	       (plain == 0 || lib.update(ctx, job->dst, &len, job->src, (int)plain) == 1) &&
	       lib.final(ctx, end, &len) == 1;
}

static void openssl_open(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = jobs[i].len >= WG_TAG_LEN && open_one(lib.opener[lane], &jobs[i]);
}

const struct wg_aead wg_aead_openssl = { "libcrypto", openssl_available, openssl_seal, openssl_open,
					 openssl_open_lane, NULL /* it pins itself in memory */ };
