/*
 * test/sim/sim.h - the simulated world, shared by the files of test/sim/.
 *
 *	os.c      stands in for os/: loops, timers, UDP sockets, files, clocks, randomness
 *	path.c    the network between the nodes, and a stranger on it
 *	node.c    a node's life: it starts, crashes, comes back, moves
 *	load.c    connections, datagrams and pings that use the nodes
 *	events.c  what happens when, drawn from the seed
 *	wire.c    the rules that each datagram keeps
 *	inner.c   the rules that each inner packet keeps
 *	plant.c   deliberate defects, one for each rule
 *	run.c     one run from its seed to its end
 *	main.c    many runs, each in a process of its own, and the report
 */
#ifndef TEST_SIM_SIM_H
#define TEST_SIM_SIM_H

#include "os/loop.h"
#include "os/udp.h"
#include "test/sim/inner.h"
#include "test/sim/rules.h"
#include "test/sim/wire.h"
#include "tunnel/tunnel.h"

#define START (1000 * NSEC_PER_SEC)
#define WALL_START (1700000000ULL * NSEC_PER_SEC)
#define FIRST_PORT 700 /* below those that dials draw */
#define UDP_PORT 9
#define SIM_FLOWS 24
#define N_CAPTURED 64
#define SIM_PLACES 256

struct sim;

/* Stands in for os/loop.c's. */
struct os_loop {
	struct node *node;
	struct heap timers;
	struct list lates;
};

/* A datagram on its way. */
struct datagram {
	struct heap_node at;
	int from;   /* node, or -1: a stranger's */
	int author; /* who made it, or -1 */
	int to;
	struct endpoint src, dst;
	bool intact;
	size_t len;
	uint8_t p[];
};

struct os_udp {
	struct node *node;
	struct os_udp_handler h;
	uint16_t port;
	nsec_t stuck_until; /* refuses until then */
	size_t n_left;      /* segments of the present run that left before it refused */
	struct os_timer writable;
};

struct node {
	struct sim *sim;
	int id, group;   /* group 1: twins of nodes of group 0, with the same inner addresses */
	bool is_hub;
	struct os_loop loop;
	struct tunnel *t; /* NULL: down */
	struct os_udp *udp;
	uint32_t incarnation;
	struct wg_private_key priv;
	struct ip_addr inner4, inner6, local; /* @local: the address of its machine */
	struct endpoint ep;                   /* where it is reached; a NAT's when local differs */
	uint16_t mtu, port, keepalive_s;
	int64_t wall_jump;
	bool crashing, frozen, disk_full, behind_nat, lost_state;
	bool reached[SIM_NODES]; /* what it sends comes to them, when it started */
	uint64_t disk_watermark;
	char *file;
	size_t file_len;
	struct datagram *held[64]; /* came while frozen */
	size_t n_held;
	nsec_t heard_from[SIM_NODES]; /* last sent to: lets answers through a NAT */
	nsec_t started_at, disturbed_until, disk_was_full;
	struct endpoint ep_at_call; /* when it or its peer was called in a flood */
	struct endpoint config[SIM_NODES]; /* of its peers, as its file names them; may be unset */
	struct net_udp *sock;
	struct { wg_peer_id id; uint64_t rx, tx, came, sent; } counters[SIM_NODES]; /* of its peers; @came, @sent: when it was new */
};

enum flow_kind {
	FLOW_BULK,   /* both write at once */
	FLOW_TRICKLE,/* both write now and then, through rekeys */
	FLOW_SLOW,   /* the server reads little and seldom */
	FLOW_HALF,   /* the client closes its direction at once */
	FLOW_ABORT,  /* one side resets in the middle */
	FLOW_CLOSE,  /* one side closes in the middle */
	FLOW_HELD,   /* the SYN is accepted late */
	FLOW_REFUSED,
	FLOW_DEAF,   /* nobody listens */
	FLOW_NO_ROUTE,
	N_FLOW_KINDS,
};

struct flow;

/* One end of a connection. What it writes is a function of @key and the place. */
struct end {
	struct flow *flow;
	struct node *node;
	uint32_t incarnation;
	struct net_tcp *c;
	struct os_timer timer; /* the next write or read of one that takes its time */
	uint64_t key;
	size_t n_write, n_written, n_read, quit_at;
	bool deaf; /* planted */
	bool opened, connected, eof, shut, over, pending; /* pending: written bytes are not acknowledged */
	enum err error;
};

struct flow {
	struct sim *sim;
	int index;
	enum flow_kind kind;
	bool v6, is_final, harmed; /* harmed: something happened to it that may end it with an error */
	struct end client, server;
	struct tunnel_dial *dial;
	struct net_syn *syn;
	struct os_timer hold;
	nsec_t began, deadline;
	bool dialled, over;
};

struct sim_timer {
	struct heap_node at;
	void (*fn)(struct sim *s, uint64_t arg);
	uint64_t arg;
};

struct sim {
	uint64_t seed;
	enum rule plant; /* the rule that is broken on purpose; RULE_NONE = none */
	bool trace, over;
	nsec_t now, faults_end, run_end, calm_until, lossless_until, ended_at, quiet_since;
	uint64_t quiet_sent;
	bool finals_done;
	struct rng_seeded world; /* what happens */
	struct rng_seeded dice;  /* what the nodes draw */
	struct node nodes[SIM_NODES];
	int n_nodes;
	struct node *current; /* whose code runs */
	struct heap queue, timers;
	struct flow flows[SIM_FLOWS];
	int n_flows;
	struct wire wire;
	struct inner inner;
	uint32_t loss_ppm, dup_ppm, reorder_ppm, corrupt_ppm, unreachable_ppm;
	nsec_t delay, jitter;
	nsec_t cut_until[SIM_NODES][SIM_NODES]; /* from, to */
	uint16_t fresh; /* numbers addresses that were never used */
	struct endpoint stranger;
	const char *aead;
	struct { struct endpoint ep; int node; } places[SIM_PLACES]; /* every address that was ever in use */
	size_t n_places;
	struct datagram *captured[N_CAPTURED];
	size_t n_captured;
	bool flooded, v6_outside;
	struct wg_psk psk[SIM_NODES][SIM_NODES]; /* [lower][higher] */
	uint64_t trace_hash;
	uint64_t cover[N_COVER];
	bool planted;
};

extern struct sim sim; /* one a process, as lwIP is */

/* main.c */
NORETURN void sim_broken(const struct sim *s, enum rule r, const char *detail);
/** sim_seen() - count it in the report */
static inline void sim_seen(struct sim *s, enum cover c)
{
	s->cover[c]++;
}
static inline void sim_check(const struct sim *s, enum rule r)
{
	if (UNLIKELY(r != RULE_NONE))
		sim_broken(s, r, "");
}
void sim_hash(struct sim *s, const void *data, size_t len);
void sim_trace(const struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* run.c */
void sim_at(struct sim *s, nsec_t at, void (*fn)(struct sim *s, uint64_t arg), uint64_t arg);
void sim_run(struct sim *s, uint64_t seed, enum rule plant, bool trace);

/* os.c */
struct node *sim_enter(struct node *n);
void sim_leave(struct node *before);
bool sim_run_timers(struct node *n, nsec_t now);
nsec_t sim_next_timer(const struct node *n);
void sim_socket_stuck(struct node *n, nsec_t until);
extern struct pktpool *sim_pool; /* tunnel.c's; NULL while there is none */
/** sim_live_blocks() - allocated and not yet freed */
long sim_live_blocks(void);

/* path.c */
void path_send(struct sim *s, struct node *from, const struct endpoint *dst, const uint8_t *p, size_t len);
bool path_deliver(struct sim *s);
void path_thaw(struct node *n);
void path_attack(struct sim *s, uint64_t n);
void path_flood(struct sim *s, uint64_t node);
/** path_settle() - a new address for @n, never used before; @nat: only the outer port changes */
void path_settle(struct node *n, bool v6, bool nat);
/** path_is_calm() - no event disturbs now; path_is_lossless() - at least the network does not */
bool path_is_calm(const struct sim *s);
bool path_is_lossless(const struct sim *s);
/** path_check() - the rules for what @from sends to @dst, the address of node @to */
void path_check(struct sim *s, struct node *from, int to, const struct endpoint *dst, const uint8_t *p, size_t len);
void path_fini(struct sim *s);

/* node.c */
void node_prepare(struct sim *s, int id);
void node_start(struct node *n);
void node_stop(struct node *n, bool crash);
void node_apply_peers(struct node *n);
bool node_is_peer(const struct node *a, const struct node *b);
struct node *node_by_device(struct sim *s, const struct wg_device *dev);
struct node *node_by_if(struct sim *s, const struct net_if *nif);
/** node_check_counters() - do what the peers' counters say and what was seen agree? */
void node_check_counters(struct node *n);
struct wg_psk *node_psk(struct sim *s, const struct node *a, const struct node *b);

/* load.c */
void load_listen(struct node *n);
void load_flow(struct sim *s, enum flow_kind kind, struct node *client, struct node *server, bool is_final);
void load_node_gone(struct node *n);
void load_datagram(struct sim *s, uint64_t arg);
void load_ping(struct sim *s, uint64_t arg);
void load_forge(struct sim *s, uint64_t arg);
bool load_is_over(const struct sim *s);
/** load_is_between() - does a connection of @a and @b go on? */
bool load_is_between(const struct sim *s, const struct node *a, const struct node *b);
/** load_dump() - what is not over, into the trace */
void load_dump(const struct sim *s);

/* events.c */
void events_draw(struct sim *s);
void events_faults_end(struct sim *s, uint64_t arg);

/* plant.c */
static inline bool plant_is(const struct sim *s, enum rule r)
{
	return UNLIKELY(s->plant == r);
}
/** plant_once() - is it @r that is to be broken, now and not again? */
static inline bool plant_once(struct sim *s, enum rule r)
{
	if (LIKELY(s->plant != r) || s->planted)
		return false;
	return s->planted = true;
}
/** plant_datagram() - what a defective node would send instead */
void plant_datagram(struct sim *s, struct node *from, uint8_t *p, size_t *len, struct endpoint *dst);
/** plant_after() - what it would send in addition */
void plant_after(struct sim *s, struct node *from, int to, const struct endpoint *dst, const uint8_t *p, size_t len);
bool plant_loses(const struct sim *s, const struct node *from);
/** plant_inner_out(), plant_inner_in() - a defective stack: what it sends in addition, what it believes to have received */
void plant_inner_out(struct sim *s, struct node *n, const uint8_t *p, size_t len);
void plant_inner_in(struct sim *s, uint8_t *p, size_t len);
/** plant_small_mss() - a SYN announces less than it can take; the peer will not believe it. Return: altered? */
bool plant_small_mss(struct sim *s, uint8_t *p, size_t len);
/** plant_leak() - something is forgotten at the end of the run */
void plant_leak(struct sim *s);

#endif
