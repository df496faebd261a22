/*
 * enroll/way.h - the ways from an agent to its operator: one interface, tried in turn.
 *
 * A way carries a question to the operator and brings its answer back: the direct connection does (agent/enroll_net.c), a
 * relay will. What they share is here: which are tried, in which order, when an answer is final, and what is told.
 */
#ifndef ENROLL_WAY_H
#define ENROLL_WAY_H

#include "enroll/form.h"
#include "wg/noise.h"

/* What an agent wants to know, whichever way it takes. */
struct enroll_question {
	const struct enroll_token *token; /* of request->token, checked */
	const struct noise_static *self;  /* the agent's key, on disk already */
	struct enroll_request *request;   /* a way may add what it alone finds out, as local_endpoint */
	nsec_t wait_max;                  /* for each way */
};

struct enroll_outcome {
	enum enroll_code code;
	bool is_authentic;           /* the operator itself said so */
	struct enroll_reply reply;   /* with ENROLL_OK */
	const struct enroll_way *by; /* set by enroll_ways_ask(); NULL: no way serves this token */
};

struct enroll_way {
	const char *name;     /* as in "Trying NAME...", small letters: "direct connection", "cloud relay" */
	const char *noun;     /* as in "NOUN enrollment succeeded.": "Direct", "Cloud relay" */
	const char *steps;    /* whole lines that are told after a success; "" = none */
	const char *farewell; /* the last line of a success */
	/** serves() - has the token what this way needs? */
	bool (*serves)(const struct enroll_token *t);
	/**
	 * ask() - one question, with as many attempts as make sense, within q->wait_max
	 * @ret: all but @by. A success that is not authentic is a bug of the way.
	 */
	void (*ask)(void *ctx, const struct enroll_question *q, struct enroll_outcome *ret);
	void *ctx;
};

/* One line for the person, without its end. */
typedef void (*enroll_say_fn)(void *ctx, const char *line);

/**
 * enroll_ways_ask() - try the ways that serve the token, in their order, until the operator has answered
 * @ret: the operator's answer; if none came, the most telling of the failures: anything rather than ENROLL_LOST,
 *       the first way's rather than the second's
 *
 * A refusal that anybody could have sent does not keep the next way from being tried. Trying twice is harmless: the
 * same key with the same token gets the same answer (doc/enrollment.md).
 */
void enroll_ways_ask(const struct enroll_way *ways, size_t n, const struct enroll_question *q, enroll_say_fn say, void *ctx,
		     struct enroll_outcome *ret);

#endif
