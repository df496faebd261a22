/*
 * enroll/server.h - the operator's side of one connection, without I/O.
 *
 *	HELLO ----> REQUEST ----> COMMIT ----> CLOSING
 *	   \____________\________________________^      (a refusal, an error, time is over)
 *
 * In COMMIT the machine waits for its owner, who takes request and agent, verifies again under the lock of the
 * configuration, writes, and calls enroll_server_reply(). After every call: send what enroll_server_output() has.
 */
#ifndef ENROLL_SERVER_H
#define ENROLL_SERVER_H

#include "enroll/channel.h"
#include "enroll/decide.h"

enum enroll_server_state { ENROLL_SERVER_HELLO, ENROLL_SERVER_REQUEST, ENROLL_SERVER_COMMIT, ENROLL_SERVER_CLOSING };

struct enroll_server {
	enum enroll_server_state state;
	struct enroll_channel channel;
	const struct noise_static *self; /* outlives the machine */
	struct rng *rng;                 /* likewise */
	nsec_t deadline;                 /* enroll_server_expire() then */
	uint8_t id[ENROLL_ID_LEN];       /* of the invite, after the hello */
	uint8_t agent[KEY_LEN];          /* after the hello; proved in COMMIT */
	struct enroll_request *request;  /* in COMMIT */
	enum enroll_code code;           /* how it ended, in CLOSING */
	const char *why;                 /* the same for the operator's log; static */
	struct { uint8_t *p; size_t len, cap; } in, out;
};

/** enroll_server_init() - a new connection */
void enroll_server_init(struct enroll_server *s, const struct noise_static *self, struct rng *rng, nsec_t now);
/**
 * enroll_server_refuse() - end it at once, before anything was read
 * For the limiter, whose answer costs nothing. The agent cannot know who says so.
 */
void enroll_server_refuse(struct enroll_server *s, enum enroll_code code, const char *why);
/** enroll_server_input() - bytes as they came; what is too much or comes in a wrong state ends it */
void enroll_server_input(struct enroll_server *s, const struct enroll_invites *invites, struct bytes in);
/** enroll_server_is_known() - the sender holds a token: give its attempt back to the limiter */
bool enroll_server_is_known(const struct enroll_server *s);
/** enroll_server_reply() - in COMMIT: the outcome */
void enroll_server_reply(struct enroll_server *s, const struct enroll_reply *reply, const char *why);
/** enroll_server_output() - what is to be sent; valid until the next call */
struct bytes enroll_server_output(const struct enroll_server *s);
/** enroll_server_sent() - the first @n of them were taken */
void enroll_server_sent(struct enroll_server *s, size_t n);
/** enroll_server_expire() - its time is over */
void enroll_server_expire(struct enroll_server *s);
void enroll_server_fini(struct enroll_server *s);

#endif
