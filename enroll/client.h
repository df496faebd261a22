/*
 * enroll/client.h - the agent's side of one attempt, without I/O.
 *
 *	ANSWER ----> REPLY ----> DONE
 *	    \___________\__________^     (code says how it ended)
 *
 * The owner has the agent's private key on disk before it starts: a later attempt with the same key and token gets the
 * same answer, whatever happened to this one.
 */
#ifndef ENROLL_CLIENT_H
#define ENROLL_CLIENT_H

#include "enroll/channel.h"
#include "enroll/form.h"

enum enroll_client_state { ENROLL_CLIENT_ANSWER, ENROLL_CLIENT_REPLY, ENROLL_CLIENT_DONE };

struct enroll_client {
	enum enroll_client_state state;
	struct enroll_channel channel;
	const struct noise_static *self; /* outlives the machine */
	char *request;                   /* JSON */
	enum enroll_code code;           /* in DONE */
	bool is_authentic;               /* the operator itself said so */
	struct enroll_reply reply;       /* in DONE with ENROLL_OK */
	struct { uint8_t *p; size_t len, cap; } in, out;
};

/** enroll_client_check() - what can be said of a token without asking anybody: ENROLL_OK, or why not */
enum enroll_code enroll_client_check(const char *token, uint64_t wall, struct enroll_token *ret);
/** enroll_client_init() - @t: the token of @req, checked. ERR_NOMEM; ERR_INVALID: the operator's key is none. */
MUST_CHECK enum err enroll_client_init(struct enroll_client *c, const struct enroll_token *t, const struct noise_static *self,
				       const struct enroll_request *req, struct rng *rng);
void enroll_client_input(struct enroll_client *c, struct bytes in);
/** enroll_client_end() - the connection ended, or the time is over */
void enroll_client_end(struct enroll_client *c);
struct bytes enroll_client_output(const struct enroll_client *c);
void enroll_client_sent(struct enroll_client *c, size_t n);
void enroll_client_fini(struct enroll_client *c);

#endif
