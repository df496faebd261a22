/*
 * operator/enroll_store.h - invites in nefia.yaml: made, given again, used, approved, revoked; each one edit of the file.
 *
 * An invite is part of its host's entry, so that "used" and "stored" are one write (doc/enrollment.md).
 */
#ifndef OPERATOR_ENROLL_STORE_H
#define OPERATOR_ENROLL_STORE_H

#include "enroll/decide.h"
#include "operator/config.h"

/* What `nefia vpn invite` wants. */
struct invite_request {
	const char *host_id, *os;
	struct endpoint endpoint; /* of our WireGuard, as agents reach it */
	uint16_t enroll_port;
	uint64_t ttl_s, wall; /* Unix seconds */
	bool again;           /* reinvite: the host is there, and keeps its address */
	struct rng *rng;
};

struct invite_result {
	char token[ENROLL_TOKEN_MAX];
	char addr[IP_ADDR_STR_MAX];
	unsigned ecode; /* on an error: its code in the table, or 0 */
	char why[512];
};

/** invite_make() - store the invite, then give its token. @file: nefia.yaml */
MUST_CHECK enum err invite_make(const char *file, const struct invite_request *req, struct invite_result *ret);

/**
 * invites_of() - the invites of all hosts, sorted; free ret->v
 * @ret_pending: hosts that may still come
 * @ret_open:    invites that somebody may ask for, be it to hear that they have expired or to hear a lost answer again
 */
MUST_CHECK enum err invites_of(const struct config *c, uint64_t wall, struct enroll_invites *ret, size_t *ret_pending,
			       size_t *ret_open);

/* An agent that proved its key asks to be stored. */
struct enroll_attempt {
	const uint8_t *id, *agent; /* of the invite; the agent's key */
	const struct enroll_request *req;
	struct ip_addr from; /* where it called from */
	uint64_t wall;
	bool again;                /* it had been stored before */
	struct enroll_reply reply; /* the answer */
	char why[256];             /* for the log */
};

/** enroll_commit() - verify under the lock, then one write; a->reply.code says how it ended */
void enroll_commit(const char *file, struct enroll_attempt *a);

/** enroll_set_state() - of a host that is in state @from (NULL: any); ERR_NOT_FOUND; ERR_INVALID: another state */
MUST_CHECK enum err enroll_set_state(const char *file, const char *host_id, const char *from, const char *to, char *why,
				     size_t why_size);

#endif
