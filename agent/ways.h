/*
 * agent/ways.h - our own address on the way to each peer, and whether the network here has changed it.
 *
 * Containers come and go on a server, each with addresses and routes; what counts is the address that we have on the way to
 * a peer. A peer that is at another endpoint than before has another way too, but not because of a change here: it
 * has just been heard there.
 */
#ifndef AGENT_WAYS_H
#define AGENT_WAYS_H

#include "wg/wg.h"

struct agent_way;

struct agent_ways {
	/* os_route_source(), but for tests */
	bool (*source)(const struct endpoint *to, struct ip_addr *ret);
	struct agent_way *v;
	size_t n;
};

/** agent_ways_learn() - peers that are new, or at another endpoint, have the way that they have now; the others keep theirs */
void agent_ways_learn(struct agent_ways *w, const struct wg_device *dev, nsec_t now);
/**
 * agent_ways_look() - has our address on the way to an endpoint changed since it was learned?
 * @ret_any: there is a way to one peer at least
 *
 * What is seen now counts from here on.
 */
bool agent_ways_look(struct agent_ways *w, const struct wg_device *dev, nsec_t now, bool *ret_any);
void agent_ways_fini(struct agent_ways *w);

#endif
