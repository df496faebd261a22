/*
 * wg/noise.c - see noise.h.
 *
 * Each step is one of Noise's: mix a public value into the hash, mix a shared secret into the chaining key, seal or
 * open under the current key with the hash as associated data. Steps work on a copy of the caller's state where they
 * may fail, so that a message that is not authentic leaves the handshake as it was.
 */
#include "wg/noise.h"

#include <sodium.h>
#include <string.h>

#include "wg/dh.h"
#include "wg/hash.h"

static const char protocol_name[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const struct bytes nothing;

void noise_clamp(uint8_t priv[KEY_LEN])
{
	priv[0] &= 248;
	priv[31] = (uint8_t)((priv[31] & 127) | 64);
}

void noise_pub(const uint8_t priv[KEY_LEN], uint8_t ret_pub[KEY_LEN])
{
	struct wg_dh_job job = { .priv = priv };

	/* Only fails for an all-zero result, which a clamped scalar on the base point never gives. */
	ASSERT(wg_dh(&job, 1));
	memcpy(ret_pub, job.out, KEY_LEN);
}

void noise_clear(struct noise *n)
{
	sodium_memzero(n, sizeof(*n));
}

static void mix_hash(struct noise *n, struct bytes data)
{
	wg_hash(n->hash, wg_bytes(n->hash, WG_HASH_LEN), data, nothing);
}

/* e: the ephemeral goes into the hash, and with a psk modifier into the chaining key too. */
static void mix_ephemeral(struct noise *n, const uint8_t ephemeral[KEY_LEN])
{
	mix_hash(n, wg_bytes(ephemeral, KEY_LEN));
	wg_kdf(n->chaining, NULL, NULL, n->chaining, wg_bytes(ephemeral, KEY_LEN));
}

/* A Diffie-Hellman result into chaining key and key; false for the zero that low-order keys give. */
static bool mix_dh(struct noise *n, const struct wg_dh_job *dh)
{
	if (dh->ok)
		wg_kdf(n->chaining, n->key, NULL, n->chaining, wg_bytes(dh->out, KEY_LEN));
	return dh->ok;
}

static bool mix_shared(struct noise *n, struct noise_shared *s, const uint8_t priv[KEY_LEN], const uint8_t pub[KEY_LEN])
{
	struct wg_dh_job dh = { .priv = priv, .pub = pub };
	bool ok;

	if (s && s->known) {
		wg_kdf(n->chaining, n->key, NULL, n->chaining, wg_bytes(s->secret, KEY_LEN));
		return true;
	}
	wg_dh(&dh, 1);
	ok = mix_dh(n, &dh);
	if (ok && s) {
		memcpy(s->secret, dh.out, KEY_LEN);
		s->known = true;
	}
	sodium_memzero(dh.out, sizeof(dh.out));
	return ok;
}

static void mix_psk(struct noise *n, const uint8_t psk[KEY_LEN])
{
	uint8_t tau[WG_HASH_LEN];

	wg_kdf(n->chaining, tau, n->key, n->chaining, wg_bytes(psk, KEY_LEN));
	mix_hash(n, wg_bytes(tau, sizeof(tau)));
	sodium_memzero(tau, sizeof(tau));
}

/* Every key seals one message of a handshake, so the nonce is zero. */
static const uint8_t nonce_zero[crypto_aead_chacha20poly1305_IETF_NPUBBYTES];

static void seal(struct noise *n, uint8_t *out, struct bytes plain)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain.p, plain.len, n->hash, WG_HASH_LEN, NULL,
						  nonce_zero, n->key);
	mix_hash(n, wg_bytes(out, plain.len + WG_TAG_LEN));
}

static bool open(struct noise *n, uint8_t *out, struct bytes sealed)
{
	if (sealed.len < WG_TAG_LEN ||
	    crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed.p, sealed.len, n->hash,
						      WG_HASH_LEN, nonce_zero, n->key) != 0)
		return false;
	mix_hash(n, sealed);
	return true;
}

void noise_start(struct noise *n, struct bytes prologue, const uint8_t responder_pub[KEY_LEN])
{
	memset(n, 0, sizeof(*n));
	wg_hash(n->chaining, wg_bytes(protocol_name, sizeof(protocol_name) - 1), nothing, nothing);
	memcpy(n->hash, n->chaining, WG_HASH_LEN);
	mix_hash(n, prologue);
	mix_hash(n, wg_bytes(responder_pub, KEY_LEN));
}

bool noise_write_1(struct noise *n, const struct noise_static *self, const uint8_t remote_pub[KEY_LEN],
		   struct noise_shared *shared, const uint8_t ephemeral_priv[KEY_LEN], struct bytes payload,
		   uint8_t ret_ephemeral[KEY_LEN], uint8_t ret_static[KEY_LEN + WG_TAG_LEN],
		   uint8_t *ret_payload)
{
	struct wg_dh_job dh[2] = { { .priv = ephemeral_priv }, { .priv = ephemeral_priv, .pub = remote_pub } };
	bool ok;

	memcpy(n->ephemeral_priv, ephemeral_priv, KEY_LEN);
	/* e */
	wg_dh(dh, 2);
	memcpy(ret_ephemeral, dh[0].out, KEY_LEN);
	mix_ephemeral(n, ret_ephemeral);
	/* es */
	ok = mix_dh(n, &dh[1]);
	sodium_memzero(dh, sizeof(dh));
	if (!ok)
		return false;
	/* s */
	seal(n, ret_static, wg_bytes(self->pub, KEY_LEN));
	/* ss */
	if (!mix_shared(n, shared, self->priv, remote_pub))
		return false;
	/* {payload} */
	seal(n, ret_payload, payload);
	return true;
}

bool noise_read_1_static(struct noise *n, const struct noise_static *self, const uint8_t ephemeral[KEY_LEN],
			 const uint8_t sealed_static[KEY_LEN + WG_TAG_LEN], uint8_t ret_remote[KEY_LEN])
{
	struct wg_dh_job dh = { .priv = self->priv, .pub = ephemeral };
	bool ok;

	/* e */
	memcpy(n->remote_ephemeral, ephemeral, KEY_LEN);
	mix_ephemeral(n, ephemeral);
	/* es */
	wg_dh(&dh, 1);
	ok = mix_dh(n, &dh);
	sodium_memzero(dh.out, sizeof(dh.out));
	if (!ok)
		return false;
	/* s */
	return open(n, ret_remote, wg_bytes(sealed_static, KEY_LEN + WG_TAG_LEN));
}

bool noise_read_1_payload(struct noise *n, const struct noise_static *self, const uint8_t remote_pub[KEY_LEN],
			  struct noise_shared *shared, struct bytes payload, uint8_t *ret_payload)
{
	/* ss */
	if (!mix_shared(n, shared, self->priv, remote_pub))
		return false;
	/* {payload} */
	return open(n, ret_payload, payload);
}

bool noise_write_2(struct noise *n, const uint8_t remote_pub[KEY_LEN], const uint8_t psk[KEY_LEN],
		   const uint8_t ephemeral_priv[KEY_LEN], struct bytes payload,
		   uint8_t ret_ephemeral[KEY_LEN], uint8_t *ret_payload)
{
	struct wg_dh_job dh[3] = { { .priv = ephemeral_priv },
				   { .priv = ephemeral_priv, .pub = n->remote_ephemeral },
				   { .priv = ephemeral_priv, .pub = remote_pub } };
	bool ok;

	memcpy(n->ephemeral_priv, ephemeral_priv, KEY_LEN);
	/* e */
	wg_dh(dh, 3);
	memcpy(ret_ephemeral, dh[0].out, KEY_LEN);
	mix_ephemeral(n, ret_ephemeral);
	/* ee, se */
	ok = mix_dh(n, &dh[1]) && mix_dh(n, &dh[2]);
	sodium_memzero(dh, sizeof(dh));
	if (!ok)
		return false;
	/* psk */
	mix_psk(n, psk);
	/* {payload} */
	seal(n, ret_payload, payload);
	return true;
}

bool noise_read_2(struct noise *n, const struct noise_static *self, const uint8_t psk[KEY_LEN],
		  const uint8_t ephemeral[KEY_LEN], struct bytes payload, uint8_t *ret_payload)
{
	struct wg_dh_job dh[2] = { { .priv = n->ephemeral_priv, .pub = ephemeral }, { .priv = self->priv, .pub = ephemeral } };
	struct noise next = *n;
	bool ok;

	/* e */
	mix_ephemeral(&next, ephemeral);
	/* ee, se */
	wg_dh(dh, 2);
	ok = mix_dh(&next, &dh[0]) && mix_dh(&next, &dh[1]);
	sodium_memzero(dh, sizeof(dh));
	if (ok) {
		/* psk */
		mix_psk(&next, psk);
		/* {payload} */
		ok = open(&next, ret_payload, payload);
	}
	if (ok)
		*n = next;
	noise_clear(&next);
	return ok;
}

void noise_split(struct noise *n, bool initiator, struct noise_keys *ret)
{
	uint8_t *first = initiator ? ret->send : ret->recv, *second = initiator ? ret->recv : ret->send;

	wg_kdf(first, second, NULL, n->chaining, nothing);
	noise_clear(n);
}
