/*
 * enroll/messages.h - the wire formats and every number of the enrollment protocol; doc/enrollment.md describes it.
 *
 * The agent is the initiator and knows the operator's key from its token; the operator is the responder.
 *
 *	agent                                operator
 *	hello (id, Noise 1, mac)      ->     mac under the invite's nonce, before any Diffie-Hellman
 *	                              <-     answer (Noise 2): proves the operator's key; or refusal
 *	record: request with token    ->     peek, verify, commit
 *	                              <-     record: reply
 */
#ifndef ENROLL_MESSAGES_H
#define ENROLL_MESSAGES_H

#include "base/encode.h"
#include "base/err.h"

#define ENROLL_PORT 19820
#define ENROLL_VERSION_MIN 1
#define ENROLL_VERSION_MAX 1

#define ENROLL_NONCE_LEN 16
#define ENROLL_ID_LEN 16
#define ENROLL_MAC_LEN 16
#define ENROLL_TAG_LEN 16

/* A record is a length (4 bytes, network order) and so many sealed bytes, tag included. */
#define ENROLL_RECORD_HEAD 4
#define ENROLL_REQUEST_MAX (32u << 10) /* token, names, host keys: some KiB */
#define ENROLL_REPLY_MAX (1u << 20)

/* Time limits: a connection that does not speak costs a descriptor for so long. */
#define ENROLL_HELLO_MAX (5 * NSEC_PER_SEC)
#define ENROLL_TOTAL_MAX (30 * NSEC_PER_SEC)
#define ENROLL_DIRECT_MAX (10 * NSEC_PER_SEC) /* the agent's, for the direct way */

#define ENROLL_MAGIC "nefiaenr"

struct enroll_hello {
	uint8_t magic[8];
	uint8_t version_min, version_max;
	uint8_t zero[2];
	uint8_t id[ENROLL_ID_LEN]; /* which invite; tells nothing about its nonce */
	uint8_t ephemeral[KEY_LEN];
	uint8_t static_key[KEY_LEN + ENROLL_TAG_LEN];
	uint8_t empty[ENROLL_TAG_LEN];
	uint8_t mac[ENROLL_MAC_LEN]; /* of all before it, under a key from the nonce */
};
_Static_assert(sizeof(struct enroll_hello) == 140, "hello");
/* What stands before the Noise message is the prologue, so that no bit of it can be changed. */
#define ENROLL_HELLO_HEAD offsetof(struct enroll_hello, ephemeral)

enum enroll_answer_type { ENROLL_ANSWER = 1, ENROLL_REFUSAL = 2 };

struct enroll_answer {
	uint8_t magic[8];
	uint8_t type;
	uint8_t version; /* chosen; of a refusal: the greatest known */
	uint8_t code;    /* of a refusal: enum enroll_code, unauthenticated */
	uint8_t zero;
	uint8_t ephemeral[KEY_LEN];
	uint8_t version_sealed[1 + ENROLL_TAG_LEN]; /* the chosen version again, authentic */
};
_Static_assert(sizeof(struct enroll_answer) == 61, "answer");

/* How an attempt ends. X(name, number on the wire, what the agent prints, what to do next) */
#define ENROLL_CODE_LIST(X)                                                                                          \
	X(ENROLL_OK, 0, "success", "")                                                                               \
	X(ENROLL_EXPIRED, 1, "token has expired",                                                                    \
	  "Ask the operator for a new one: nefia vpn reinvite --name %s --endpoint IP:PORT")                         \
	X(ENROLL_USED, 2, "token has already been used (nonce reused)",                                              \
	  "Ask the operator for a new token: nefia vpn reinvite --name %s --endpoint IP:PORT")                       \
	X(ENROLL_SIGNATURE, 3, "invalid token signature", "Copy the full token again.")                              \
	X(ENROLL_VALIDATION, 4, "validation failed", "The reason is in the operator's log: nefia hub logs")          \
	X(ENROLL_NO_NONCE, 5, "enrollment nonce must not be empty", "Ask the operator for a new token.")             \
	X(ENROLL_RATE, 6, "too many enrollment requests", "Wait 30 seconds and try again.")                          \
	X(ENROLL_VERSION, 7, "operator and agent speak no common version of the enrollment protocol",                \
	  "Update the older one of nefia and nefia-agent.")                                                          \
	X(ENROLL_BUSY, 8, "the operator could not store the enrollment",                                             \
	  "Try again; the token is not used up. The reason is in the operator's log: nefia hub logs")                \
	X(ENROLL_BAD_OPERATOR, 9, "whoever answered is not the operator of this token",                              \
	  "Somebody may be in between. Check the endpoint in the token: nefia vpn token-info")                       \
	X(ENROLL_LOST, 10, "the connection ended before the operator had answered",                                  \
	  "Run the command again: the same token works until it is answered.")                                       \
	X(ENROLL_UNREACHED, 11, "the operator cannot be reached",                                                    \
	  "Check that it listens (nefia vpn listen), and that its firewall and router let the enrollment port in.")

enum enroll_code {
#define ENROLL_CODE_ENUM(name, number, text, hint) name = number,
	ENROLL_CODE_LIST(ENROLL_CODE_ENUM)
#undef ENROLL_CODE_ENUM
	ENROLL_CODE_N
};

/** enroll_code_text() - what a person reads; an unknown number reads as ENROLL_VALIDATION */
const char *enroll_code_text(enum enroll_code c);
/** enroll_code_hint() - the next step; may hold one "%s", the host's id */
const char *enroll_code_hint(enum enroll_code c);

#endif
