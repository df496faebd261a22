/* test/lib/flows.h - uploads over a netpair: a path with its faults, one or more flows, and what they reach. */
#ifndef TEST_LIB_FLOWS_H
#define TEST_LIB_FLOWS_H

#include "test/lib/netpair.h"

#define FLOWS_MAX 32

struct path {
	const char *name;
	double ms;   /* one way */
	double mbps; /* bottleneck; 0 = none */
	uint32_t queue, loss_ppm, reorder_ppm;
	double tick_ms; /* packets and their ACKs in batches */
	double stall_ms, stall_every_ms; /* pauses of the process, every 30 ms when nothing else is said */
	double late_ms; /* each side wakes up to that late, for all that has come until then */
	const char *congestion;
	unsigned n_seeds, seconds;
	uint32_t units; /* of the pool, both sides'; 0 = plenty */
	double least_mbps; /* what must be reached */
};

struct flow {
	struct net_tcp *from, *to;
	uint64_t got;
	bool failed;
};

struct flows {
	struct netpair p;
	struct flow flows[FLOWS_MAX];
	size_t n, n_accepted;
	struct net_listener *l;
};

void flows_begin(struct flows *r, const struct path *path, uint64_t seed);
/** flows_begin_limits() - the same with @limits as netpair_init_limits() takes them; path->units has no say then */
void flows_begin_limits(struct flows *r, const struct path *path, uint64_t seed, const struct net_config *limits);
/** flows_add() - one more, connected before anything is lost; @congestion: NULL for the default */
void flows_add(struct flows *r, const struct path *path, const char *congestion);
void flows_end(struct flows *r);
double flows_mbps(uint64_t bytes, double seconds);
/**
 * flows_upload() - one flow over the whole run, with each seed; prints one line
 * @ret_least: of the worst seed, Mb/s; may be NULL
 *
 * Return: Mb/s, the mean of all seeds.
 */
double flows_upload(const struct path *path, double *ret_least);
/** flows_reach_floors() - uploads of each path; how many stay below their floor */
unsigned flows_reach_floors(const struct path *paths, size_t n);

#endif
