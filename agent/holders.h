/*
 * agent/holders.h - which hubs have called under one operator's key.
 *
 * One key is one hub's. Two that live (a configuration that was copied by hand) take this agent from each other without
 * knowing of each other: each tells us when it began, and hears of the other.
 */
#ifndef AGENT_HOLDERS_H
#define AGENT_HOLDERS_H

#include "wg/wg.h"

#define AGENT_HOLDERS_MAX 4

struct agent_holder {
	uint64_t since_ms; /* what it says: Unix time when it began, and its name; 0 = unused */
	bool brief;        /* lives for one command */
	struct endpoint from;
	nsec_t at; /* when it called last */
};

/* Of one operator's key. */
struct agent_holders {
	struct wg_public_key key;
	struct agent_holder v[AGENT_HOLDERS_MAX];
};

/** agent_holders_note() - one has called; the one that was silent longest makes room */
void agent_holders_note(struct agent_holders *h, const struct wg_public_key *key, const struct agent_holder *caller);

#endif
