/*
 * enroll/channel.h - the handshake of the enrollment protocol and the sealed records after it.
 *
 * Noise_IKpsk2 as WireGuard's, with another prologue (the hello's head), so that nothing of one protocol is anything in
 * the other. Nothing is sealed for the operator before the operator has proved its key.
 */
#ifndef ENROLL_CHANNEL_H
#define ENROLL_CHANNEL_H

#include "base/rng.h"
#include "enroll/messages.h"
#include "wg/noise.h"

struct enroll_channel {
	struct noise noise;
	struct noise_keys keys;
	uint64_t n_sent, n_received;
	uint8_t version;
};

/** enroll_self() - a private key with its public one, as the handshake wants it */
void enroll_self(const uint8_t private_key[KEY_LEN], struct noise_static *ret);

/** enroll_hello_write() - the agent's first message; ERR_INVALID: the operator's key is none */
MUST_CHECK enum err enroll_hello_write(struct enroll_channel *c, const struct noise_static *self, const uint8_t operator_key[KEY_LEN],
				       const uint8_t nonce[ENROLL_NONCE_LEN], struct rng *rng, struct enroll_hello *ret);
/** enroll_hello_is_from() - does the sender know this invite's nonce? One keyed hash, no more. */
bool enroll_hello_is_from(const struct enroll_hello *h, const uint8_t nonce[ENROLL_NONCE_LEN]);
/**
 * enroll_hello_read() - the operator reads it and answers
 * @ret_agent: the agent's key, proved when a record opens
 * Return: OK; ERR_AUTH; ERR_VERSION.
 */
MUST_CHECK enum err enroll_hello_read(struct enroll_channel *c, const struct noise_static *self, const struct enroll_hello *h,
				      struct rng *rng, uint8_t ret_agent[KEY_LEN], struct enroll_answer *ret);
/** enroll_answer_read() - the agent reads the answer: OK, the operator has its key; ERR_AUTH; ERR_VERSION */
MUST_CHECK enum err enroll_answer_read(struct enroll_channel *c, const struct noise_static *self, const struct enroll_answer *a);

/** enroll_record_seal() - @ret: ENROLL_RECORD_HEAD + plain.len + ENROLL_TAG_LEN bytes */
void enroll_record_seal(struct enroll_channel *c, struct bytes plain, uint8_t *ret);
/** enroll_record_open() - what stands behind the length; @ret: sealed.len - ENROLL_TAG_LEN bytes. ERR_AUTH. */
MUST_CHECK enum err enroll_record_open(struct enroll_channel *c, struct bytes sealed, uint8_t *ret);
void enroll_channel_wipe(struct enroll_channel *c);

#endif
