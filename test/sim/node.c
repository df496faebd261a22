/*
 * test/sim/node.c - a node: a key, a machine with an address, a state file, and while it is up a tunnel.
 *
 * Node 0 is the hub, the others its spokes. Two more may be twins of the hub and of the first spoke: other keys and other
 * machines' addresses, the same inner addresses, so that one stack has two interfaces of one address.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/sim.h"

bool node_is_peer(const struct node *a, const struct node *b)
{
	return a != b && a->group == b->group && (a->is_hub || b->is_hub);
}

struct node *node_by_device(struct sim *s, const struct wg_device *dev)
{
	for (int i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].t && tunnel_device(s->nodes[i].t) == dev)
			return &s->nodes[i];
	/* It is being opened or closed. */
	return s->current;
}

struct node *node_by_if(struct sim *s, const struct net_if *nif)
{
	for (int i = 0; i < s->n_nodes; i++)
		if (s->nodes[i].t && tunnel_if(s->nodes[i].t) == nif)
			return &s->nodes[i];
	return s->current;
}

struct wg_psk *node_psk(struct sim *s, const struct node *a, const struct node *b)
{
	return &s->psk[MIN(a->id, b->id)][MAX(a->id, b->id)];
}

void node_prepare(struct sim *s, int id)
{
	struct node *n = &s->nodes[id];
	int last;

	n->sim = s;
	n->id = id;
	last = n->group ? id - s->n_nodes + 3 : id + 1;
	n->is_hub = last == 1;
	n->inner4 = ip_addr_v4(10, 99, 0, (uint8_t)last);
	n->inner6 = (struct ip_addr){ IP_V6, { 0xfd, [15] = (uint8_t)last } };
	n->port = 51820;
	n->loop.node = n;
	heap_init(&n->loop.timers);
	list_init(&n->loop.lates);
	wg_generate_private(&s->world.rng, &n->priv);
	wg_public_from_private(&n->priv, &s->wire.pub[id]);
	s->wire.priv[id] = &n->priv;
	path_settle(n, s->v6_outside, false);
}

static void fill_peer(struct node *n, struct node *other, struct tunnel_peer *p)
{
	struct sim *s = n->sim;

	*p = (struct tunnel_peer){ .key = s->wire.pub[other->id],
				   .psk = *node_psk(s, n, other),
				   .endpoint = n->config[other->id],
				   .n_allowed = 2,
				   .keepalive_s = n->keepalive_s };
	p->allowed[0] = (struct ip_prefix){ other->inner4, 32 };
	p->allowed[1] = (struct ip_prefix){ other->inner6, 128 };
	snprintf(p->name, sizeof(p->name), "node%d", other->id);
	if (endpoint_is_set(&p->endpoint))
		wire_may_send_to(&s->wire, n->id, other->id, &p->endpoint);
}

void node_apply_peers(struct node *n)
{
	struct sim *s = n->sim;
	struct tunnel_peer peers[SIM_NODES];
	struct node *before = sim_enter(n);
	size_t n_peers = 0;

	for (int i = 0; i < s->n_nodes; i++)
		if (node_is_peer(n, &s->nodes[i]))
			fill_peer(n, &s->nodes[i], &peers[n_peers++]);
	ASSERT(tunnel_set_peers(n->t, peers, n_peers) == OK);
	sim_leave(before);
}

void node_start(struct node *n)
{
	struct sim *s = n->sim;
	struct tunnel_config cfg = { .private_key = n->priv,
				     .n_addrs = 2,
				     .listen_port = n->port,
				     .mtu = n->mtu,
				     .aead = s->aead,
				     .state_file = "state",
				     .initiate = true };
	struct node *before = sim_enter(n);

	cfg.addrs[0] = (struct ip_prefix){ n->inner4, 24 };
	cfg.addrs[1] = (struct ip_prefix){ n->inner6, 64 };
	n->crashing = false;
	memset(n->counters, 0, sizeof(n->counters));
	n->started_at = s->now;
	/* Nothing on disk says what was sent before. */
	if (n->lost_state)
		s->wire.timestamp[n->id] = 0;
	s->wire.incarnation[n->id] = ++n->incarnation;
	s->wire.mtu[n->id] = n->mtu;
	net_set_now(s->now);
	ASSERT(tunnel_open(&n->loop, &cfg, &n->t) == OK);
	node_apply_peers(n);
	load_listen(n);
	sim_leave(before);
	sim_trace(s, "node %d starts", n->id);
}

void node_stop(struct node *n, bool crash)
{
	struct node *before = sim_enter(n);
	struct tunnel *t = n->t;

	sim_trace(n->sim, "node %d %s", n->id, crash ? "crashes" : "stops");
	if (n->frozen) {
		n->frozen = false;
		path_thaw(n);
	}
	n->crashing = crash;
	load_node_gone(n);
	tunnel_close(t);
	n->t = NULL;
	sim_leave(before);
}

/*
 * Counters only rise. They count a message when it is taken, before it is sent, and none twice that came twice: so no more
 * was seen to leave, and no less to come.
 */
static void check_peer(struct node *n, int i)
{
	struct sim *s = n->sim;
	struct wg_peer_info info;
	wg_peer_id id = wg_peer_find(tunnel_device(n->t), &s->wire.pub[i]);

	if (!wg_peer_get_info(tunnel_device(n->t), id, s->now, &info))
		return;
	if (n->counters[i].id != id) {
		n->counters[i].id = id;
		n->counters[i].rx = n->counters[i].tx = 0;
		n->counters[i].came = s->wire.n_came[i][n->id] - MIN(info.rx_bytes, s->wire.n_came[i][n->id]);
		n->counters[i].sent = s->wire.n_sent[n->id][i];
	}
	if (plant_is(s, RULE_COUNTERS) && info.rx_bytes > 1000)
		info.rx_bytes = 1;
	if (info.rx_bytes < n->counters[i].rx || info.tx_bytes < n->counters[i].tx)
		sim_broken(s, RULE_COUNTERS, "back");
	if (info.rx_bytes > s->wire.n_came[i][n->id] - n->counters[i].came)
		sim_broken(s, RULE_COUNTERS, "received");
	if (info.tx_bytes < s->wire.n_sent[n->id][i] - n->counters[i].sent)
		sim_broken(s, RULE_COUNTERS, "sent");
	n->counters[i].rx = info.rx_bytes;
	n->counters[i].tx = info.tx_bytes;
}

void node_check_counters(struct node *n)
{
	for (int i = 0; i < n->sim->n_nodes && n->t; i++)
		if (node_is_peer(n, &n->sim->nodes[i]))
			check_peer(n, i);
}
