/*
 * test/sim/run.c - one run: the world is drawn, runs through its faults, settles, is used once more, rests and is taken down.
 *
 *	START .. faults_end	faults and load
 *	+ 2 to 60 s		each pair dials both ways: every dial must succeed; whatever goes on ends
 *	then, sometimes		a quiet minute: nobody talks without a reason
 *	end			everything is closed, and nothing may be left
 */
#include <stdlib.h>
#include <string.h>

#include "test/sim/sim.h"

#define SETTLE_MAX (60 * NSEC_PER_SEC)
#define ALL_ENDED (420 * NSEC_PER_SEC) /* lwIP sends again after 128 times its timeout at most */
#define QUIET (60 * NSEC_PER_SEC)
#define QUIET_PER_PAIR 16 /* a rekey and its keepalives both ways, persistent keepalives */
#define LINGER (10 * NSEC_PER_SEC)
#define ORPHANS_END (250 * NSEC_PER_SEC) /* connections given back, with bytes that nobody acknowledges */

struct sim sim;

/* lwIP's lists: connections whose handles were given back are only there. */
struct tcp_pcb;
extern struct tcp_pcb *tcp_active_pcbs, *tcp_tw_pcbs;

/* ---- time ---- */

void sim_at(struct sim *s, nsec_t at, void (*fn)(struct sim *s, uint64_t arg), uint64_t arg)
{
	struct sim_timer *t = malloc(sizeof(*t));

	ASSERT(t);
	*t = (struct sim_timer){ .fn = fn, .arg = arg };
	heap_node_init(&t->at);
	heap_set(&s->timers, &t->at, at);
}

static bool run_due(struct sim *s)
{
	struct heap_node *first;
	bool any = false;

	while ((first = heap_first(&s->timers)) && first->key <= s->now) {
		struct sim_timer t = *container_of(first, struct sim_timer, at);

		heap_remove(&s->timers, first);
		free(container_of(first, struct sim_timer, at));
		t.fn(s, t.arg);
		any = true;
	}
	return any;
}

static void turn(struct sim *s)
{
	bool any;
	int rounds = 0;

	net_set_now(s->now);
	do {
		any = path_deliver(s);
		for (int i = 0; i < s->n_nodes; i++)
			if (!s->nodes[i].frozen && sim_next_timer(&s->nodes[i]) <= s->now)
				any |= sim_run_timers(&s->nodes[i], s->now);
		any |= run_due(s);
	} while (any && ++rounds < 1000);
}

static nsec_t next_time(const struct sim *s)
{
	struct heap_node *d = heap_first(&s->queue), *t = heap_first(&s->timers);
	nsec_t next = nsec_min(d ? d->key : NSEC_NEVER, t ? t->key : NSEC_NEVER);

	for (int i = 0; i < s->n_nodes; i++)
		next = nsec_min(next, sim_next_timer(&s->nodes[i]));
	return MAX(next, s->now + NSEC_PER_USEC);
}

/* ---- the course of a run ---- */

static void dial_both_ways(struct sim *s)
{
	for (int i = 0; i < s->n_nodes; i++)
		for (int k = 0; k < s->n_nodes; k++)
			if (node_is_peer(&s->nodes[i], &s->nodes[k]) && s->nodes[k].is_hub)
				load_flow(s, FLOW_BULK, &s->nodes[i], &s->nodes[k], true);
}

static void dial_back(struct sim *s, uint64_t arg)
{
	for (int i = 0; i < s->n_nodes; i++)
		for (int k = 0; k < s->n_nodes; k++)
			if (node_is_peer(&s->nodes[i], &s->nodes[k]) && s->nodes[i].is_hub)
				load_flow(s, FLOW_BULK, &s->nodes[i], &s->nodes[k], true);
	s->finals_done = true;
}

static void check_quiet(struct sim *s)
{
	uint64_t n_pairs = (uint64_t)s->n_nodes - 1;

	if (s->now - s->quiet_since < QUIET)
		return;
	if (s->cover[SEEN_SENT] - s->quiet_sent > QUIET_PER_PAIR * n_pairs)
		sim_broken(s, RULE_CHATTER, "");
	sim_seen(s, SEEN_QUIET);
	s->over = true;
}

static void all_ended(struct sim *s)
{
	if (plant_is(s, RULE_EXPIRED) && s->now < s->faults_end + 300 * NSEC_PER_SEC)
		return;
	if (!s->ended_at)
		s->ended_at = s->now;
	if (s->now < s->ended_at + LINGER || ((tcp_active_pcbs || tcp_tw_pcbs) && s->now < s->ended_at + ORPHANS_END))
		return;
	if (!s->quiet_since)
		s->quiet_since = s->now;
	if (s->seed % 8 != 0) {
		s->over = true;
		return;
	}
	if (!s->quiet_sent)
		s->quiet_sent = s->cover[SEEN_SENT];
	if (plant_is(s, RULE_CHATTER))
		for (int i = 0; i < 20; i++)
			load_ping(s, 0);
	check_quiet(s);
}

static void each_second(struct sim *s, uint64_t second)
{
	for (int i = 0; i < s->n_nodes; i++)
		node_check_counters(&s->nodes[i]);
	if (s->finals_done && load_is_over(s))
		all_ended(s);
	if (s->now <= s->run_end || s->ended_at) {
		sim_at(s, s->now + NSEC_PER_SEC, each_second, second + 1);
		return;
	}
	load_dump(s);
	sim_broken(s, RULE_STALLED, "");
}

static void settle_is_over(struct sim *s, uint64_t arg)
{
	dial_both_ways(s);
	sim_at(s, s->now + 2 * NSEC_PER_SEC, dial_back, 0);
}

/* ---- beginning and end ---- */

static void draw_nodes(struct sim *s)
{
	bool twin = rng_chance(&s->world.rng, 150000);
	uint16_t mtu = (uint16_t)(1280 + rng_below(&s->world.rng, 141));
	uint16_t all = rng_chance(&s->world.rng, 500000) ? mtu : 1420;
	bool same_mtu = rng_chance(&s->world.rng, 700000);

	s->n_nodes = 2 + (int)rng_below(&s->world.rng, 3) + (twin ? 2 : 0);
	s->v6_outside = rng_chance(&s->world.rng, 300000);
	for (int i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		n->group = twin && i >= s->n_nodes - 2;
		n->mtu = same_mtu ? all : rng_chance(&s->world.rng, 500000) ? mtu : 1420;
		node_prepare(s, i);
		n->behind_nat = !n->is_hub && rng_chance(&s->world.rng, 300000);
		n->keepalive_s = !n->is_hub || rng_chance(&s->world.rng, 500000) ? 25 : 0;
	}
	s->cover[SEEN_TWIN] += twin;
	s->cover[SEEN_MTU] += !same_mtu;
	s->cover[SEEN_V6_OUTSIDE] += s->v6_outside;
}

static void draw_configs(struct sim *s)
{
	bool psk = rng_chance(&s->world.rng, 400000);

	for (int i = 0; i < s->n_nodes; i++)
		for (int k = 0; k < s->n_nodes; k++) {
			struct node *a = &s->nodes[i], *b = &s->nodes[k];

			if (!node_is_peer(a, b))
				continue;
			if (b->is_hub || rng_chance(&s->world.rng, 500000))
				a->config[k] = b->ep;
			if (psk && i < k)
				rng_bytes(&s->world.rng, node_psk(s, a, b), KEY_LEN);
		}
	s->cover[SEEN_PSK] += psk;
}

static void sim_init(struct sim *s, uint64_t seed, enum rule plant, bool trace)
{
	static const char *const aeads[] = { "libsodium", "libcrypto", "libIPSec_MB" };

	*s = (struct sim){ .seed = seed, .plant = plant, .trace = trace, .now = START, .trace_hash = 0xcbf29ce484222325ULL };
	rng_seeded_init(&s->world, seed);
	rng_seeded_init(&s->dice, ~seed);
	heap_init(&s->queue);
	heap_init(&s->timers);
	s->stranger = (struct endpoint){ ip_addr_v4(100, 64, 0, 1), 4000, 0 };
	s->aead = aeads[rng_below(&s->world.rng, ARRAY_SIZE(aeads))];
	if (!wg_aead_name_is_available(s->aead))
		s->aead = aeads[0];
	draw_nodes(s);
	draw_configs(s);
	events_draw(s);
	s->run_end = s->faults_end + ALL_ENDED;
	sim_at(s, s->faults_end + 2 * NSEC_PER_SEC + rng_below(&s->world.rng, SETTLE_MAX), settle_is_over, 0);
	sim_at(s, START + NSEC_PER_SEC, each_second, 1);
	for (int i = 0; i < s->n_nodes; i++)
		node_start(&s->nodes[i]);
}

static void check_leaks(struct sim *s)
{
	struct pktpool_stats pool;
	struct net_stats st;

	plant_leak(s);
	net_get_stats(&st);
	sim_trace(s, "%u connections, %u held SYNs, %llu bytes queued, active %d, waiting %d", st.n_tcp, st.n_syn_held,
		  (unsigned long long)st.mem_bytes, tcp_active_pcbs != NULL, tcp_tw_pcbs != NULL);
	if (st.n_tcp || st.n_syn_held || st.mem_bytes || tcp_active_pcbs || tcp_tw_pcbs)
		sim_broken(s, RULE_LEAK_CONN, "");
	pktpool_get_stats(sim_pool, &pool);
	if (pool.n_used)
		sim_broken(s, RULE_LEAK_BUFFER, "");
	for (int i = 0; i < s->n_nodes; i++)
		if (wg_device_tx_bytes(tunnel_device(s->nodes[i].t)))
			sim_broken(s, RULE_LEAK_QUEUE, "");
}

static void sim_fini(struct sim *s)
{
	struct heap_node *first;

	for (int i = 0; i < s->n_nodes; i++) {
		node_stop(&s->nodes[i], false);
		free(s->nodes[i].file);
	}
	while ((first = heap_first(&s->timers))) {
		heap_remove(&s->timers, first);
		free(container_of(first, struct sim_timer, at));
	}
	path_fini(s);
	s->cover[SEEN_INITIATION] += s->wire.n_init;
	s->cover[SEEN_RESPONSE] += s->wire.n_resp;
	s->cover[SEEN_COOKIE] += s->wire.n_cookie;
	s->cover[SEEN_DATA] += s->wire.n_data;
	s->cover[SEEN_KEEPALIVE] += s->wire.n_keepalive;
	s->cover[SEEN_SIMULTANEOUS] += s->wire.n_crossed;
	s->cover[SEEN_REKEY] += s->wire.n_rekeyed;
	s->cover[SEEN_PROVEN] += s->wire.n_proven;
	s->cover[SEEN_CALLED_BACK] += s->wire.n_called_back;
	s->cover[SEEN_ZERO_WINDOW] += s->inner.n_zero_window;
	s->cover[SEEN_RESENT] += s->inner.n_resent;
	wire_fini(&s->wire);
	inner_fini(&s->inner);
}

void sim_run(struct sim *s, uint64_t seed, enum rule plant, bool trace)
{
	static bool warm;
	long live = sim_live_blocks();

	sim_init(s, seed, plant, trace);
	for (turn(s); !s->over; turn(s))
		s->now = next_time(s);
	check_leaks(s);
	sim_fini(s);
	/* What lwIP and the parts below allocate once and keep is there after the first run of the process. */
	if (warm && sim_live_blocks() != live)
		sim_broken(s, RULE_LEAK_MEMORY, "");
	warm = true;
}
