/* test/lib/tunflows.h - uploads from a tunpair's hub to its agent, every byte looked at; and a socket that takes nothing. */
#ifndef TEST_LIB_TUNFLOWS_H
#define TEST_LIB_TUNFLOWS_H

#include <sys/socket.h>

#include "test/lib/tunpair.h"

#define TUNFLOWS_N 4

struct tunflow {
	struct net_tcp *from, *to;
	uint64_t index, each, written, got; /* bytes */
};

struct tunflows {
	struct tunpair pair;
	struct net_listener *l;
	struct tunflow flows[TUNFLOWS_N];
	size_t n_served;
};

/** tunflows_begin() - open the pair and send @each bytes in each flow */
void tunflows_begin(struct tunflows *t, uint64_t each);
void tunflows_end(struct tunflows *t);
/** tunflows_arrive() - run until @pct percent of all bytes are there; false: not within @limit */
bool tunflows_arrive(struct tunflows *t, unsigned pct, nsec_t limit);

/* For os_udp_sendmsg: while it is stuck, data is refused as by a full socket. */
extern bool tunflows_stuck;
extern unsigned tunflows_refused; /* how often */
ssize_t tunflows_sendmsg(int fd, const struct msghdr *m, int flags);

#endif
