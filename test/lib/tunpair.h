/* test/lib/tunpair.h - two tunnels of one process on loopback, each the other's peer, and a loop that runs until. */
#ifndef TEST_LIB_TUNPAIR_H
#define TEST_LIB_TUNPAIR_H

#include "tunnel/tunnel.h"

struct tunpair {
	struct os_loop *loop;
	struct tunnel *hub, *agent; /* 10.99.0.1 and 10.99.0.2, with fd00::1 and fd00::2 */
	struct tunnel_peer to_agent, to_hub;
	struct os_timer tick;
	bool (*until)(void *ctx);
	void *ctx;
	nsec_t end;
	int64_t calm_end;
	nsec_t patience; /* of a dial: 20 s from tunpair_open() on */
};

/* The hub's threads for the cipher (struct tunnel_config); none unless a test says so. */
extern int tunpair_workers;

/** tunpair_open() - @hub_state: the hub's state file, or NULL. Fails the test when it cannot. */
void tunpair_open(struct tunpair *p, const char *hub_state);
void tunpair_close(struct tunpair *p);
/** tunpair_run() - turn the loop until @fn is true; false: not within @limit of calm.h's time */
bool tunpair_run(struct tunpair *p, bool (*fn)(void *ctx), void *ctx, nsec_t limit);
/** tunpair_rest() - turn the loop for @span, by the wall as all timers are */
void tunpair_rest(struct tunpair *p, nsec_t span);
/** tunpair_dial() - from the hub; NULL with *ret_e when it failed within @p->patience */
struct net_tcp *tunpair_dial(struct tunpair *p, const char *remote, enum err *ret_e);

#endif
