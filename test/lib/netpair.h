/* test/lib/netpair.h - two interfaces of one stack joined by a queue on a virtual clock, with seeded faults. */
#ifndef TEST_LIB_NETPAIR_H
#define TEST_LIB_NETPAIR_H

#include "netstack/net.h"
#include "test/lib/testing.h"
#include "test/lib/wirewatch.h"

struct netlink_pkt {
	struct netlink_pkt *next;
	nsec_t at;
	size_t len;
	uint8_t data[2048];
};

struct netpair;
struct netside {
	struct netpair *pair;
	struct net_if *nif;
	struct netlink_pkt *first, **last; /* what this side sent */
	size_t n_queued;
	nsec_t busy_until;  /* the bottleneck's */
	nsec_t wake_at;     /* with @late: when the other side will see what has come; 0: not decided */
	uint64_t n_dropped; /* by it */
	uint32_t drop_next; /* so many packets are lost now */
	nsec_t burst_until;
	struct pktowner *charged; /* for what it receives; NULL: nobody */
	uint64_t n_sent, n_bad; /* n_bad: packets that break a rule of the wire */
};

struct netpair {
	nsec_t now;
	struct rng_seeded rng;
	struct pktpool *pool;
	struct netside a, b;
	struct wirewatch watch; /* of what both sides send */
	bool unwatched;         /* where its memory or time would count */
	nsec_t delay;
	uint32_t loss_ppm, dup_ppm, reorder_ppm;
	uint32_t burst_ppm; /* chance that this packet and all that follow in the next @burst are lost */
	nsec_t burst;
	uint64_t rate_bps;    /* bottleneck each way; 0 = none */
	uint32_t bottleneck;  /* packets of 1,420 bytes that wait there; more are dropped */
	nsec_t tick;      /* packets are handed over at multiples of it, 32 at once, as a busy receiver does; 0 = each by itself */
	nsec_t stall_every, stall_for; /* a busy machine: nothing runs for up to that long, about so often; 0 = never */
	nsec_t next_stall;
	nsec_t late; /* each side wakes up to that long after something came, for all that is there by then; 0 = at once */
	bool no_sack;     /* the offer of it is struck out of each SYN, as by other ends that do not know it */
	size_t len_max;   /* longer packets vanish; 0 = none do */
	size_t queue_max; /* output answers "blocked" beyond; 0 = none */
};

void netpair_init(struct netpair *p, uint64_t seed);
/** netpair_init_limits() - the same; what @limits leaves 0 is as usual; a pool that it names is freed at the end */
void netpair_init_limits(struct netpair *p, uint64_t seed, const struct net_config *limits);
/** netpair_open_twin() - one more interface with the addresses of the side 10.99.0.@last; what it sends is only queued */
void netpair_open_twin(struct netpair *p, struct netside *s, uint8_t last);
/** netpair_reopen() - an interface in place of one that was closed */
void netpair_reopen(struct netpair *p, struct netside *s, const struct net_if_config *cfg);
void netpair_drop_queue(struct netside *s);
void netpair_fini(struct netpair *p);
/** netpair_run() - until @done(ctx) or @limit of virtual time; return: was it done? */
bool netpair_run(struct netpair *p, nsec_t limit, bool (*done)(void *ctx), void *ctx);
/** netpair_fill() - a source without end: zeros in blocks of @chunk (at most 1 MiB), as long as they are taken whole */
void netpair_fill(struct net_tcp *c, size_t chunk);
/** netpair_drain() - a sink: throw away what has come. Return: how many bytes. */
size_t netpair_drain(struct net_tcp *c);
/** netpair_inject() - raw bytes to a side, as if decrypted */
void netpair_inject(struct netpair *p, struct netside *to, const void *data, size_t len);
/** wirecheck() - does an outgoing packet keep the rules: lengths, checksums, MTU, MSS? NULL = yes */
const char *wirecheck(const uint8_t *p, size_t len, size_t mtu);

#endif
