/*
 * wg/noise.h - Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as a pure transcript machine.
 *
 * Two messages: the initiator sends (e, es, s, ss) with a payload, the responder (e, ee, se, psk) with a
 * payload. WireGuard's identifier is mixed in as the prologue, its payloads are the timestamp and nothing. Both are
 * parameters here, so that the published vectors of the Noise suite run on the same code.
 */
#ifndef WG_NOISE_H
#define WG_NOISE_H

#include "wg/messages.h"

struct noise_static {
	uint8_t priv[KEY_LEN];
	uint8_t pub[KEY_LEN];
};

/* One handshake in progress, either role; wiped by noise_clear(). */
struct noise {
	uint8_t hash[WG_HASH_LEN];
	uint8_t chaining[WG_HASH_LEN];
	uint8_t key[KEY_LEN];
	uint8_t ephemeral_priv[KEY_LEN];
	uint8_t remote_ephemeral[KEY_LEN];
};

struct noise_keys {
	uint8_t send[KEY_LEN];
	uint8_t recv[KEY_LEN];
};

/* The secret of two static keys, which never changes: a quarter of a responder's work. The holder wipes it. */
struct noise_shared {
	uint8_t secret[KEY_LEN];
	bool known;
};

/** noise_start() - begin a transcript: protocol name, prologue, the responder's static key (5.4.2) */
void noise_start(struct noise *n, struct bytes prologue, const uint8_t responder_pub[KEY_LEN]);

/* The initiator's first message: ephemeral, sealed static, sealed payload.
 * @shared: of @self and @remote_pub, filled at first use; or NULL
 * Return: false when a shared secret is all zero (a low-order key): nothing may be sent. */
bool noise_write_1(struct noise *n, const struct noise_static *self, const uint8_t remote_pub[KEY_LEN],
		   struct noise_shared *shared, const uint8_t ephemeral_priv[KEY_LEN], struct bytes payload,
		   uint8_t ret_ephemeral[KEY_LEN], uint8_t ret_static[KEY_LEN + WG_TAG_LEN],
		   uint8_t *ret_payload);
/** noise_read_1_static() - the first half, until the initiator's key is known: false = not authentic */
bool noise_read_1_static(struct noise *n, const struct noise_static *self, const uint8_t ephemeral[KEY_LEN],
			 const uint8_t sealed_static[KEY_LEN + WG_TAG_LEN], uint8_t ret_remote[KEY_LEN]);
/** noise_read_1_payload() - the second half; @ret_payload holds payload.len - 16 bytes */
bool noise_read_1_payload(struct noise *n, const struct noise_static *self, const uint8_t remote_pub[KEY_LEN],
			  struct noise_shared *shared, struct bytes payload, uint8_t *ret_payload);

/** noise_write_2() - the responder's answer; false as in noise_write_1 */
bool noise_write_2(struct noise *n, const uint8_t remote_pub[KEY_LEN], const uint8_t psk[KEY_LEN],
		   const uint8_t ephemeral_priv[KEY_LEN], struct bytes payload,
		   uint8_t ret_ephemeral[KEY_LEN], uint8_t *ret_payload);
/** noise_read_2() - the initiator reads the answer */
bool noise_read_2(struct noise *n, const struct noise_static *self, const uint8_t psk[KEY_LEN],
		  const uint8_t ephemeral[KEY_LEN], struct bytes payload, uint8_t *ret_payload);

/** noise_split() - the transport keys (5.4.5); wipes @n */
void noise_split(struct noise *n, bool initiator, struct noise_keys *ret);
void noise_clear(struct noise *n);

/** noise_pub() - public key of a private one */
void noise_pub(const uint8_t priv[KEY_LEN], uint8_t ret_pub[KEY_LEN]);
/** noise_clamp() - RFC 7748, section 5 */
void noise_clamp(uint8_t priv[KEY_LEN]);

#endif
