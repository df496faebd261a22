/*
 * test/sim/events.c - what happens in a run, and when, drawn from the seed before it begins.
 *
 * Each seed takes some kinds of events and leaves others out, so that in some runs one kind stands alone and in others many
 * meet. A restart calms the network for four seconds: within three the node must be back.
 */
#include <stdlib.h>
#include <string.h>

#include "test/sim/sim.h"

#define BACK_WITHIN (3 * NSEC_PER_SEC)
#define FLOODED_WITHIN (7 * NSEC_PER_SEC)
#define CALM (4 * NSEC_PER_SEC)
#define YEAR (365 * 86400 * NSEC_PER_SEC)

static uint64_t draw(struct sim *s, uint64_t from, uint64_t to)
{
	return from + rng_below(&s->world.rng, to - from + 1);
}

static bool coin(struct sim *s, uint32_t pct)
{
	return rng_chance(&s->world.rng, pct * 10000);
}

static struct node *any_node(struct sim *s)
{
	return &s->nodes[rng_below(&s->world.rng, (uint64_t)s->n_nodes)];
}

/* A node that is up and can be disturbed now, or NULL. */
static struct node *victim(struct sim *s)
{
	struct node *n = any_node(s);

	return path_is_calm(s) || !n->t || n->frozen ? NULL : n;
}

static struct node *hub_of(const struct node *n)
{
	return &n->sim->nodes[n->group ? n->sim->n_nodes - 2 : 0];
}

static void disturb(struct node *n, nsec_t until)
{
	n->disturbed_until = MAX(n->disturbed_until, until);
}

/* ---- the network ---- */

static void on_partition(struct sim *s, uint64_t arg)
{
	nsec_t until = s->now + (coin(s, 80) ? draw(s, 1, 8000) : draw(s, 8000, 110000)) * NSEC_PER_MSEC;
	struct node *a = any_node(s), *b = any_node(s);
	bool one_way = coin(s, 30);

	if (path_is_calm(s) || !node_is_peer(a, b))
		return;
	sim_seen(s, SEEN_PARTITION);
	sim_trace(s, "nodes %d and %d are cut%s", a->id, b->id, one_way ? " one way" : "");
	s->cut_until[a->id][b->id] = until;
	if (!one_way)
		s->cut_until[b->id][a->id] = until;
}

/* Only spokes move: somebody must stay where the others look for him. */
static void on_move(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s);
	bool nat = coin(s, 40), was_v6;

	if (!n || n->is_hub)
		return;
	was_v6 = n->ep.ip.family == IP_V6;
	path_settle(n, coin(s, 80) ? was_v6 : !was_v6, nat);
	sim_seen(s, nat ? SEEN_REBIND : SEEN_MOVE);
	s->cover[SEEN_FAMILY] += was_v6 != (n->ep.ip.family == IP_V6);
}

static void on_stuck(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s);

	if (!n)
		return;
	sim_socket_stuck(n, s->now + draw(s, 1, 2000) * NSEC_PER_MSEC);
	disturb(n, n->udp->stuck_until);
}

static void on_attack(struct sim *s, uint64_t arg)
{
	path_attack(s, draw(s, 1, 12));
}

/* ---- nodes ---- */

static bool knows(struct node *n, const struct node *peer)
{
	struct wg_peer_info info;
	wg_peer_id id = wg_peer_find(tunnel_device(n->t), &n->sim->wire.pub[peer->id]);

	return wg_peer_get_info(tunnel_device(n->t), id, n->sim->now, &info) && endpoint_equal(&info.endpoint, &peer->ep);
}

static nsec_t last_handshake(struct node *n, const struct node *peer)
{
	struct wg_peer_info info;
	wg_peer_id id = wg_peer_find(tunnel_device(n->t), &n->sim->wire.pub[peer->id]);

	return wg_peer_get_info(tunnel_device(n->t), id, n->sim->now, &info) && info.is_up ? info.last_handshake : 0;
}

/* ---- a flood ---- */

/* Were the two, and the path between them, left alone by all but the flood since @at? */
static bool were_alone(const struct node *a, const struct node *b, nsec_t at)
{
	const struct sim *s = a->sim;

	return a->t && b->t && !a->frozen && !b->frozen && a->started_at < at && b->started_at < at &&
	       s->wire.stuck_until[a->id] < at && s->wire.stuck_until[b->id] < at && s->cut_until[a->id][b->id] < at &&
	       s->cut_until[b->id][a->id] < at && endpoint_equal(&a->ep, &a->ep_at_call) && endpoint_equal(&b->ep, &b->ep_at_call);
}

/* The first try gets a cookie, the second a session. */
static void check_called(struct sim *s, uint64_t arg)
{
	struct node *n = &s->nodes[arg >> 8], *flooded = &s->nodes[arg & 0xff];
	nsec_t at = s->now - FLOODED_WITHIN;

	if (!were_alone(n, flooded, at))
		return;
	if (last_handshake(n, flooded) < at)
		sim_broken(s, RULE_FLOODED, "");
	sim_seen(s, SEEN_SERVED);
}

/* A peer of the flooded node wants a new session now. */
static void call_flooded(struct sim *s, uint64_t node)
{
	struct node *flooded = &s->nodes[node], *n = any_node(s), *before;
	wg_peer_id id;

	if (!node_is_peer(n, flooded) || !n->t || n->frozen || !flooded->t)
		return;
	before = sim_enter(n);
	id = wg_peer_find(tunnel_device(n->t), &s->wire.pub[node]);
	wg_peer_rehandshake(tunnel_device(n->t), id, s->now);
	tunnel_kick(n->t);
	sim_leave(before);
	sim_run_timers(n, s->now); /* to the turn's end, where it leaves */
	/* Not when it had just tried: then it waits for its turn. */
	if (s->wire.initiated_at[n->id][node] != s->now || !knows(n, flooded))
		return;
	n->ep_at_call = n->ep;
	flooded->ep_at_call = flooded->ep;
	sim_at(s, s->now + FLOODED_WITHIN, check_called, (uint64_t)n->id << 8 | node);
}

static void flood_once(struct sim *s, uint64_t node)
{
	struct node *n = &s->nodes[node];

	if (!path_is_calm(s) && n->t) {
		path_flood(s, node);
		disturb(n, s->now + 3 * NSEC_PER_SEC);
	}
}

/* Handshakes are limited for seconds: new ones need a cookie. Nothing else is lost meanwhile, so that it is seen who gets one. */
static void on_flood(struct sim *s, uint64_t arg)
{
	struct node *n = any_node(s);

	s->lossless_until = s->now + FLOODED_WITHIN + 2 * NSEC_PER_SEC;
	for (uint64_t i = 0; i < 9; i++)
		sim_at(s, s->now + i * 900 * NSEC_PER_MSEC, flood_once, (uint64_t)n->id);
	for (int i = 0; i < 3; i++)
		sim_at(s, s->now + NSEC_PER_SEC, call_flooded, (uint64_t)n->id);
}

/* ---- back again ---- */

/* The node, its peer and the network between them were undisturbed since the restart. */
static bool must_be_back(const struct node *n, const struct node *peer)
{
	return node_is_peer(n, peer) && peer->t && !peer->frozen && peer->started_at < n->started_at &&
	       n->disturbed_until < n->started_at && peer->disturbed_until < n->started_at && !n->lost_state && n->reached[peer->id];
}

/* Does what @n sends now come to where @peer is, through its NAT too and for the next seconds? */
static bool reaches(struct node *n, const struct node *peer)
{
	nsec_t heard = peer->heard_from[n->id];

	return node_is_peer(n, peer) && knows(n, peer) &&
	       (!peer->behind_nat || (heard && n->sim->now - heard < 50 * NSEC_PER_SEC));
}

static void check_back(struct sim *s, uint64_t arg)
{
	struct node *n = &s->nodes[arg & 0xff];

	if (!n->t || n->frozen || n->incarnation != arg >> 8)
		return;
	for (int i = 0; i < s->n_nodes; i++) {
		struct node *peer = &s->nodes[i];

		if (!must_be_back(n, peer))
			continue;
		sim_trace(s, "node %d: handshake with %d at %.6f, %.6f", n->id, i,
			  ((double)last_handshake(n, peer) - START) / NSEC_PER_SEC,
			  ((double)last_handshake(peer, n) - START) / NSEC_PER_SEC);
		if (last_handshake(n, peer) < n->started_at || last_handshake(peer, n) < n->started_at)
			sim_broken(s, RULE_BACK, "");
		sim_seen(s, SEEN_BACK);
	}
}

/* From now on three seconds. */
static void expect_back(struct node *n)
{
	struct sim *s = n->sim;

	for (int i = 0; i < s->n_nodes; i++)
		n->reached[i] = reaches(n, &s->nodes[i]);
	sim_at(s, s->now + BACK_WITHIN, check_back, (uint64_t)n->incarnation << 8 | (uint64_t)n->id);
}

static void on_start(struct sim *s, uint64_t node)
{
	struct node *n = &s->nodes[node];

	if (n->t)
		return;
	s->calm_until = s->now + CALM;
	node_start(n);
	expect_back(n);
}

/* A peer takes one initiation in 20 ms; one of before, late on its way, would stand in the way of the next. */
static bool has_just_initiated(const struct node *n)
{
	for (int i = 0; i < n->sim->n_nodes; i++)
		if (n->sim->now - n->sim->wire.initiated_at[n->id][i] < 500 * NSEC_PER_MSEC)
			return true;
	return false;
}

/* The watchdog throws away sessions and sockets: back within the same time, connections go on. */
static void on_rebuild(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s), *before;

	if (!n || has_just_initiated(n))
		return;
	before = sim_enter(n);
	s->calm_until = s->now + CALM;
	n->started_at = s->now;
	memset(s->wire.initiated_at[n->id], 0, sizeof(s->wire.initiated_at[n->id]));
	ASSERT(tunnel_rebuild(n->t) == OK);
	sim_leave(before);
	sim_seen(s, SEEN_REBUILD);
	sim_trace(s, "node %d rebuilds its tunnel", n->id);
	expect_back(n);
}

/* A spoke gets another key, and its hub is told: connections go on, the old key is worth nothing. */
static void on_new_key(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s), *hub, *before;

	if (!n || n->is_hub || has_just_initiated(n) || n->disturbed_until > s->now)
		return;
	hub = hub_of(n);
	if (!hub->t || hub->frozen || hub->disturbed_until > s->now)
		return;
	s->calm_until = s->now + CALM;
	n->started_at = s->now;
	wg_generate_private(&s->world.rng, &n->priv);
	wg_public_from_private(&n->priv, &s->wire.pub[n->id]);
	s->wire.initiated_at[n->id][hub->id] = s->wire.initiated_at[hub->id][n->id] = 0;
	node_apply_peers(hub);
	before = sim_enter(n);
	tunnel_set_private(n->t, &n->priv);
	sim_leave(before);
	node_apply_peers(n);
	sim_seen(s, SEEN_NEW_KEY);
	sim_trace(s, "node %d has a new key", n->id);
	expect_back(n);
}

static void on_restart(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s);
	bool crash = coin(s, 70);

	if (!n)
		return;
	sim_seen(s, crash ? SEEN_CRASH : SEEN_STOP);
	node_stop(n, crash);
	if (coin(s, 10)) {
		free(n->file);
		n->file = NULL;
		n->lost_state = true;
		sim_seen(s, SEEN_STATE_LOST);
	}
	sim_at(s, s->now + (coin(s, 70) ? draw(s, 500, 3000) : draw(s, 3000, 40000)) * NSEC_PER_MSEC, on_start, (uint64_t)n->id);
}

static void on_wall(struct sim *s, uint64_t arg)
{
	struct node *n = any_node(s);
	int64_t by = (int64_t)(coin(s, 50) ? draw(s, 1, 3600) * NSEC_PER_SEC : draw(s, 1, 10) * YEAR);

	if (coin(s, 50)) {
		sim_seen(s, SEEN_CLOCK_BACK);
		by = -by;
	} else {
		sim_seen(s, SEEN_CLOCK_FORWARD);
	}
	n->wall_jump += by;
	sim_trace(s, "node %d: its wall clock jumps by %lld s", n->id, (long long)(by / (int64_t)NSEC_PER_SEC));
}

static void on_thaw(struct sim *s, uint64_t node)
{
	struct node *n = &s->nodes[node];

	if (!n->frozen)
		return;
	n->frozen = false;
	s->wire.stuck_until[node] = MAX(s->wire.stuck_until[node], s->now);
	disturb(n, s->now + 10 * NSEC_PER_SEC);
	path_thaw(n);
}

static void on_freeze(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s);

	if (!n)
		return;
	sim_seen(s, SEEN_FREEZE);
	sim_trace(s, "node %d is suspended", n->id);
	n->frozen = true;
	sim_at(s, s->now + (coin(s, 80) ? draw(s, 1, 9000) : draw(s, 9000, 100000)) * NSEC_PER_MSEC, on_thaw, (uint64_t)n->id);
}

static void on_disk_free(struct sim *s, uint64_t node)
{
	s->nodes[node].disk_full = false;
	s->nodes[node].disk_was_full = s->now;
}

/* A watermark that is not on disk may be older than what was sent: a clock that jumps back then needs the peer's help. */
static void on_disk_full(struct sim *s, uint64_t arg)
{
	struct node *n = any_node(s);

	n->disk_full = n->lost_state = true;
	sim_at(s, s->now + draw(s, 100, 30000) * NSEC_PER_MSEC, on_disk_free, (uint64_t)n->id);
}

/* The configuration is read again, the same or with another preshared key: neither must end a session. */
static void on_reload(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s), *hub;

	if (!n)
		return;
	hub = hub_of(n);
	if (!n->is_hub && hub->t && !hub->frozen && coin(s, 50)) {
		rng_bytes(&s->world.rng, node_psk(s, n, hub), KEY_LEN);
		sim_seen(s, SEEN_NEW_PSK);
		disturb(hub, s->now + 11 * NSEC_PER_SEC);
		node_apply_peers(hub);
	}
	sim_seen(s, SEEN_RELOAD);
	disturb(n, s->now + 11 * NSEC_PER_SEC);
	node_apply_peers(n);
}

static void on_port(struct sim *s, uint64_t arg)
{
	struct node *n = victim(s), *before;

	/* A run of which a part left before the socket was full leaves whole by the new one: the same datagrams again. */
	if (!n || n->is_hub || n->behind_nat || n->udp->n_left > 0)
		return;
	before = sim_enter(n);
	n->port++;
	path_settle(n, n->ep.ip.family == IP_V6, false);
	ASSERT(tunnel_set_port(n->t, n->port) == OK);
	sim_leave(before);
	sim_seen(s, SEEN_NEW_PORT);
}

/* ---- load ---- */

static void on_flow(struct sim *s, uint64_t arg)
{
	struct node *a = any_node(s), *b = any_node(s);

	for (int tries = 0; !node_is_peer(a, b) && tries < 20; tries++)
		b = any_node(s);
	if (node_is_peer(a, b) && !a->frozen)
		load_flow(s, (enum flow_kind)arg, a, b, false);
}

/* ---- the plan ---- */

static const struct kind {
	void (*fn)(struct sim *s, uint64_t arg);
	uint32_t pct;      /* of the seeds have it */
	unsigned n, n_long; /* at most so many in a run, in a long run */
} kinds[] = {
	{ on_partition, 30, 3, 5 }, { on_move, 35, 3, 8 },	{ on_stuck, 25, 4, 8 },	  { on_attack, 50, 5, 10 },
	{ on_flood, 4, 1, 1 },	    { on_restart, 40, 2, 4 },	{ on_wall, 25, 3, 6 },	  { on_freeze, 15, 2, 3 },
	{ on_disk_full, 8, 1, 2 },  { on_reload, 20, 2, 4 },	{ on_port, 15, 2, 3 },	  { load_datagram, 60, 12, 30 },
	{ on_rebuild, 15, 2, 3 },   { on_new_key, 15, 1, 2 },   { load_ping, 40, 8, 16 },   { load_forge, 20, 3, 3 },
};

static void draw_events(struct sim *s)
{
	bool is_long = s->faults_end - START > 90 * NSEC_PER_SEC;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		unsigned n = coin(s, kinds[i].pct) ? (unsigned)draw(s, 1, is_long ? kinds[i].n_long : kinds[i].n) : 0;

		while (n-- > 0)
			sim_at(s, START + rng_below(&s->world.rng, s->faults_end - START), kinds[i].fn, 0);
	}
}

static void draw_flows(struct sim *s)
{
	unsigned n = (unsigned)draw(s, 1, 8);

	while (n-- > 0) {
		enum flow_kind k = coin(s, 40) ? FLOW_BULK : (enum flow_kind)rng_below(&s->world.rng, N_FLOW_KINDS);

		sim_at(s, START + rng_below(&s->world.rng, (s->faults_end - START) / 2), on_flow, k);
	}
}

/* Some seeds have a clean network, in which only events disturb. */
static void draw_network(struct sim *s)
{
	s->delay = draw(s, 10, 60000) * NSEC_PER_USEC;
	s->jitter = coin(s, 50) ? draw(s, 0, 5000) * NSEC_PER_USEC : 0;
	if (coin(s, 20))
		return;
	s->loss_ppm = (uint32_t)draw(s, 0, coin(s, 70) ? 60000 : 200000);
	s->dup_ppm = coin(s, 60) ? (uint32_t)draw(s, 0, 100000) : 0;
	s->reorder_ppm = coin(s, 60) ? (uint32_t)draw(s, 0, 100000) : 0;
	s->corrupt_ppm = coin(s, 60) ? (uint32_t)draw(s, 0, 20000) : 0;
	s->unreachable_ppm = coin(s, 15) ? (uint32_t)draw(s, 0, 50000) : 0;
}

void events_draw(struct sim *s)
{
	uint64_t length = draw(s, 0, 99);

	s->faults_end = START + (length < 65   ? draw(s, 3000, 15000) :
				 length < 92 ? draw(s, 15000, 60000) :
					       draw(s, 100000, 280000)) *
					NSEC_PER_MSEC;
	draw_network(s);
	draw_events(s);
	draw_flows(s);
	sim_at(s, s->faults_end, events_faults_end, 0);
}

void events_faults_end(struct sim *s, uint64_t arg)
{
	for (int i = 0; i < s->n_nodes; i++) {
		struct node *n = &s->nodes[i];

		if (n->disk_full)
			on_disk_free(s, (uint64_t)i);
		on_thaw(s, (uint64_t)i);
		if (!n->t)
			on_start(s, (uint64_t)i);
	}
	sim_trace(s, "the faults are over");
}
