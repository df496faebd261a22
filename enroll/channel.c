/*
 * enroll/channel.c - see channel.h.
 *
 * The hello's head (magic, versions, invite id) is the prologue: who changes a bit of it ends the handshake. The chosen
 * version stands in the clear for the agent to read and sealed beside it, and both must agree, so that nobody can talk
 * the two down. The mac costs the operator one hash, and only who holds the token can make it: strangers never get
 * as far as a Diffie-Hellman.
 */
#include "enroll/channel.h"

#include <sodium.h>
#include <string.h>

#include "base/endian.h"
#include "enroll/token.h"
#include "wg/hash.h"

static const uint8_t no_psk[KEY_LEN];

void enroll_self(const uint8_t private_key[KEY_LEN], struct noise_static *ret)
{
	memcpy(ret->priv, private_key, KEY_LEN);
	noise_clamp(ret->priv);
	noise_pub(ret->priv, ret->pub);
}

void enroll_channel_wipe(struct enroll_channel *c)
{
	sodium_memzero(c, sizeof(*c));
}

static void fresh_private(struct rng *rng, uint8_t ret[KEY_LEN])
{
	rng_bytes(rng, ret, KEY_LEN);
	noise_clamp(ret);
}

static void hello_mac(const struct enroll_hello *h, const uint8_t nonce[ENROLL_NONCE_LEN], uint8_t ret[ENROLL_MAC_LEN])
{
	static const char label[] = "nefia invite mac v1";
	static const struct bytes nothing;
	uint8_t key[WG_HASH_LEN];

	wg_hash(key, wg_bytes(label, sizeof(label) - 1), wg_bytes(nonce, ENROLL_NONCE_LEN), nothing);
	wg_mac(ret, key, sizeof(key), wg_bytes(h, offsetof(struct enroll_hello, mac)));
	sodium_memzero(key, sizeof(key));
}

bool enroll_hello_is_from(const struct enroll_hello *h, const uint8_t nonce[ENROLL_NONCE_LEN])
{
	uint8_t mac[ENROLL_MAC_LEN];

	hello_mac(h, nonce, mac);
	return sodium_memcmp(mac, h->mac, sizeof(mac)) == 0;
}

static struct bytes prologue(const struct enroll_hello *h)
{
	return wg_bytes(h, ENROLL_HELLO_HEAD);
}

enum err enroll_hello_write(struct enroll_channel *c, const struct noise_static *self, const uint8_t operator_key[KEY_LEN],
			    const uint8_t nonce[ENROLL_NONCE_LEN], struct rng *rng, struct enroll_hello *ret)
{
	uint8_t ephemeral[KEY_LEN];
	bool ok;

	memset(ret, 0, sizeof(*ret));
	memcpy(ret->magic, ENROLL_MAGIC, sizeof(ret->magic));
	ret->version_min = ENROLL_VERSION_MIN;
	ret->version_max = ENROLL_VERSION_MAX;
	enroll_id(nonce, ret->id);
	fresh_private(rng, ephemeral);
	noise_start(&c->noise, prologue(ret), operator_key);
	ok = noise_write_1(&c->noise, self, operator_key, NULL, ephemeral, wg_bytes(NULL, 0), ret->ephemeral, ret->static_key, ret->empty);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	hello_mac(ret, nonce, ret->mac);
	return ok ? OK : ERR_INVALID;
}

static bool choose_version(const struct enroll_hello *h, uint8_t *ret)
{
	if (h->version_max < ENROLL_VERSION_MIN || h->version_min > ENROLL_VERSION_MAX || h->version_min > h->version_max)
		return false;
	*ret = MIN(h->version_max, ENROLL_VERSION_MAX);
	return true;
}

enum err enroll_hello_read(struct enroll_channel *c, const struct noise_static *self, const struct enroll_hello *h,
			   struct rng *rng, uint8_t ret_agent[KEY_LEN], struct enroll_answer *ret)
{
	uint8_t none, ephemeral[KEY_LEN], agent[KEY_LEN];
	bool ok;

	if (!choose_version(h, &c->version))
		return ERR_VERSION;
	noise_start(&c->noise, prologue(h), self->pub);
	if (!noise_read_1_static(&c->noise, self, h->ephemeral, h->static_key, agent) ||
	    !noise_read_1_payload(&c->noise, self, agent, NULL, wg_bytes(h->empty, sizeof(h->empty)), &none))
		return ERR_AUTH;
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->magic, ENROLL_MAGIC, sizeof(ret->magic));
	ret->type = ENROLL_ANSWER;
	ret->version = c->version;
	fresh_private(rng, ephemeral);
	ok = noise_write_2(&c->noise, agent, no_psk, ephemeral, wg_bytes(&c->version, 1), ret->ephemeral, ret->version_sealed);
	sodium_memzero(ephemeral, sizeof(ephemeral));
	if (!ok)
		return ERR_AUTH;
	noise_split(&c->noise, false, &c->keys);
	memcpy(ret_agent, agent, KEY_LEN);
	return OK;
}

enum err enroll_answer_read(struct enroll_channel *c, const struct noise_static *self, const struct enroll_answer *a)
{
	uint8_t version;

	if (!noise_read_2(&c->noise, self, no_psk, a->ephemeral, wg_bytes(a->version_sealed, sizeof(a->version_sealed)), &version))
		return ERR_AUTH;
	/* All of it was made by who made the sealed byte, or it is not taken. */
	if (version != a->version || a->code != 0 || a->zero != 0)
		return ERR_AUTH;
	if (version < ENROLL_VERSION_MIN || version > ENROLL_VERSION_MAX)
		return ERR_VERSION;
	c->version = version;
	noise_split(&c->noise, true, &c->keys);
	return OK;
}

/* ---- records ---- */

/* Each direction has its key and counts its records, so that none can be left out, repeated or moved. */
static void record_nonce(uint64_t n, uint8_t ret[12])
{
	memset(ret, 0, 4);
	put_le64(ret + 4, n);
}

void enroll_record_seal(struct enroll_channel *c, struct bytes plain, uint8_t *ret)
{
	uint8_t nonce[12];

	put_be32(ret, (uint32_t)(plain.len + ENROLL_TAG_LEN));
	record_nonce(c->n_sent++, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(ret + ENROLL_RECORD_HEAD, NULL, plain.p, plain.len, ret, ENROLL_RECORD_HEAD, NULL,
						  nonce, c->keys.send);
}

enum err enroll_record_open(struct enroll_channel *c, struct bytes sealed, uint8_t *ret)
{
	uint8_t nonce[12], head[ENROLL_RECORD_HEAD];

	if (sealed.len < ENROLL_TAG_LEN)
		return ERR_AUTH;
	put_be32(head, (uint32_t)sealed.len);
	record_nonce(c->n_received, nonce);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(ret, NULL, NULL, sealed.p, sealed.len, head, sizeof(head), nonce,
						      c->keys.recv) != 0)
		return ERR_AUTH;
	c->n_received++;
	return OK;
}
