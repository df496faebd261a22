/*
 * test/lib/enrollpair.h - an operator with one invite and agents that enroll by it, without files or sockets.
 *
 * The operator's disk is a struct; a commit assigns it whole, as a rename does. What is not on it dies in a crash.
 */
#ifndef TEST_LIB_ENROLLPAIR_H
#define TEST_LIB_ENROLLPAIR_H

#include "base/rng.h"
#include "enroll/client.h"
#include "enroll/server.h"

#define ENROLLPAIR_AGENTS 3
#define ENROLLPAIR_WALL 1700000000

struct enrollpair {
	struct rng_seeded rng;
	struct noise_static operator;
	uint8_t secret[KEY_LEN];
	struct enroll_token token;
	char text[ENROLL_TOKEN_MAX];
	uint64_t wall;
	/* the operator's disk */
	struct enroll_invite invite;
	unsigned n_hosts; /* stored, ever */
	/* agents: their disk, and an attempt under way */
	struct enrollpair_agent {
		struct noise_static self;
		bool stored; /* it has a configuration */
		struct enroll_reply config;
		bool running;
		enum enroll_code last;
		struct enroll_client client;
		struct enroll_server server; /* the other end, in the operator's memory */
		uint8_t sent[8192];          /* what this attempt put on the wire, for who listens */
		size_t n_sent;
	} agents[ENROLLPAIR_AGENTS];
};

void enrollpair_init(struct enrollpair *p, uint64_t seed);
void enrollpair_fini(struct enrollpair *p);
/** enrollpair_start() - agent @i begins an attempt, dropping one that is under way */
void enrollpair_start(struct enrollpair *p, size_t i);
/** enrollpair_drop() - its connection breaks: both ends notice */
void enrollpair_drop(struct enrollpair *p, size_t i);
/**
 * enrollpair_step() - the next thing in agent @i's attempt: hello arrives, answer arrives, request arrives, commit, reply
 * arrives. Return: false when none is under way.
 */
bool enrollpair_step(struct enrollpair *p, size_t i);
/** enrollpair_crash() - the operator's process ends: every attempt breaks, the disk stays */
void enrollpair_crash(struct enrollpair *p);
/** enrollpair_replay() - a stranger sends again what agent @i sent; whatever comes of it */
void enrollpair_replay(struct enrollpair *p, size_t i);
/** enrollpair_commit() - what the operator does with a verified request; @s: in COMMIT */
void enrollpair_commit(struct enrollpair *p, struct enroll_server *s);
/** enrollpair_check() - what must always hold */
void enrollpair_check(const struct enrollpair *p);

#endif
