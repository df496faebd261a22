/*
 * enroll/decide.h - may this agent enroll by this invite? A function of the stored invite, the token, the key and the time.
 *
 * It is asked twice: on what is loaded, to turn an attempt away early (peek), and under the lock of the file on what stands
 * there then (verify), right before the one write that marks the invite used and stores the host (commit). An invite
 * is used by an agent key, not by a connection: the same key gets the same answer as often as it asks.
 */
#ifndef ENROLL_DECIDE_H
#define ENROLL_DECIDE_H

#include "enroll/form.h"

/* An invite as the operator keeps it: with its host, or for a fleet by itself. */
struct enroll_invite {
	uint8_t id[ENROLL_ID_LEN]; /* enroll_id() of the nonce; invites are found by it */
	uint8_t nonce[ENROLL_NONCE_LEN];
	uint64_t expires; /* Unix seconds */
	char host_id[ENROLL_HOST_ID_MAX + 1]; /* empty: a fleet's */
	bool used;                  /* single: by @agent */
	bool revoked;
	uint8_t agent[KEY_LEN];
	unsigned n_used, n_uses_max; /* fleet */
};

/* Invites in the order of their ids. */
struct enroll_invites {
	struct enroll_invite *v;
	size_t n;
};

void enroll_invites_sort(struct enroll_invites *s);
/** enroll_invites_find() - in a sorted set; NULL = none */
const struct enroll_invite *enroll_invites_find(const struct enroll_invites *s, const uint8_t id[ENROLL_ID_LEN]);

/**
 * enroll_decide() - judge one attempt
 * @inv:    what the operator has under the hello's id; NULL: nothing any more
 * @secret: enroll_secret() of the operator
 * @known:  fleet: a host with @agent's key came by this invite already
 * @wall:   Unix seconds
 * @ret_again: with ENROLL_OK: the same agent once more; nothing is to be stored
 */
enum enroll_code enroll_decide(const struct enroll_invite *inv, const uint8_t secret[KEY_LEN], const struct enroll_request *req,
			       const uint8_t agent[KEY_LEN], bool known, uint64_t wall, bool *ret_again);

#endif
