/*
 * enroll/token.h - the invite token: one line of text that pairs one agent (or, reusable, several) with one operator.
 *
 *	base64url(JSON) "." base64url(HMAC-SHA256 of the JSON, 32 bytes, and a checksum of both, 4 bytes)
 *
 * The signature is the operator's, who alone can check it. The checksum lets the agent see a line that was cut or
 * mistyped before it asks anybody.
 */
#ifndef ENROLL_TOKEN_H
#define ENROLL_TOKEN_H

#include "base/addr.h"
#include "enroll/messages.h"

#define ENROLL_TOKEN_VERSION 1
#define ENROLL_TOKEN_MAX 4096 /* bytes of text, with its NUL */
#define ENROLL_HOST_ID_MAX 63

struct enroll_token {
	char host_id[ENROLL_HOST_ID_MAX + 1]; /* empty in a reusable one: the host takes its own name */
	char vpn_addr[IP_ADDR_STR_MAX];       /* for people; what counts is in the reply. Empty in a reusable one. */
	uint8_t operator_key[KEY_LEN];
	struct endpoint endpoint; /* of the operator's WireGuard; enrollment is at the same address */
	uint16_t enroll_port;
	uint8_t nonce[ENROLL_NONCE_LEN];
	bool has_nonce;
	uint64_t expires; /* Unix seconds */
	bool reusable;
	char session[129]; /* of the cloud relay; empty = none */
};

/** enroll_token_encode() - @secret: the operator's signing key. ERR_TOO_LONG. */
MUST_CHECK enum err enroll_token_encode(const struct enroll_token *t, const uint8_t secret[KEY_LEN],
					char ret[ENROLL_TOKEN_MAX]);
/**
 * enroll_token_decode() - structure and checksum; blanks and line ends around (and within, as mail wraps) are skipped
 * Return: OK; ERR_FORMAT: no token, or damaged; ERR_VERSION: of a later release.
 */
MUST_CHECK enum err enroll_token_decode(const char *text, struct enroll_token *ret);
/** enroll_token_is_signed() - by @secret? Constant time. False for anything that is no token. */
bool enroll_token_is_signed(const char *text, const uint8_t secret[KEY_LEN]);

/** enroll_secret() - the operator's signing key, out of its private key */
void enroll_secret(const uint8_t private_key[KEY_LEN], uint8_t ret[KEY_LEN]);
/** enroll_id() - how an invite is named on the wire: one-way from its nonce */
void enroll_id(const uint8_t nonce[ENROLL_NONCE_LEN], uint8_t ret[ENROLL_ID_LEN]);
/** enroll_nonce_prefix() - the first 8 hex digits, all of a nonce that a log ever shows */
const char *enroll_nonce_prefix(const uint8_t nonce[ENROLL_NONCE_LEN], char buf[9]);

#endif
