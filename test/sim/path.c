/*
 * test/sim/path.c - the network: what is sent waits in one queue, ordered by (time, number), or is lost on the way.
 *
 * An address is used by one node in all of a run, so it always tells whose it is or was. A stranger listens to
 * everything: it sends old datagrams again, whole or mangled, from its own address or with the sender's, and floods nodes
 * with initiations that carry a valid MAC1 (public keys are public).
 *
 * What a stranger sends from its own address was delivered before to the same run of the node: an authentic datagram that comes
 * for the first time makes a node follow its source, in WireGuard as anywhere, and a node that restarted knows no first time.
 */
#include <stdlib.h>
#include <string.h>

#include "test/sim/sim.h"
#include "wg/cookie.h"

#define NAT_MEMORY (60 * NSEC_PER_SEC)
#define N_BATCH 64
#define STRANGERS_NET 100 /* all of 100.0.0.0/8 is the stranger's */

static const char marker[] = "PLAINTEXT-MARKER";

/* ---- addresses ---- */

void path_settle(struct node *n, bool v6, bool nat)
{
	struct sim *s = n->sim;
	uint16_t k = ++s->fresh;
	struct ip_addr ip = ip_addr_v4(198, 18, (uint8_t)(k >> 8), (uint8_t)k);

	ASSERT(s->n_places < SIM_PLACES);
	if (v6)
		ip = (struct ip_addr){ IP_V6, { 0x20, 0x01, 0x0d, 0xb8, [14] = (uint8_t)(k >> 8), [15] = (uint8_t)k } };
	if (nat) {
		n->ep.port = (uint16_t)(20000 + k);
	} else {
		n->local = ip;
		n->ep = (struct endpoint){ ip, n->port, 0 };
	}
	s->places[s->n_places].ep = n->ep;
	s->places[s->n_places++].node = n->id;
	memset(n->heard_from, 0, sizeof(n->heard_from));
	sim_trace(s, "node %d is at port %u of address %u", n->id, n->ep.port, k);
}

/* Whose address is or was it? -1: the stranger's; -2: nobody's */
static int whose(const struct sim *s, const struct endpoint *ep)
{
	for (size_t i = s->n_places; i-- > 0;)
		if (endpoint_equal(&s->places[i].ep, ep))
			return s->places[i].node;
	return ep->ip.family == IP_V4 && ep->ip.b[0] == STRANGERS_NET ? -1 : -2;
}

bool path_is_calm(const struct sim *s)
{
	return s->now >= s->faults_end || s->now < s->calm_until;
}

bool path_is_lossless(const struct sim *s)
{
	return path_is_calm(s) || s->now < s->lossless_until;
}

/* ---- on the way ---- */

static bool happens(struct sim *s, uint32_t ppm, enum cover c)
{
	bool yes = !path_is_lossless(s) && rng_chance(&s->world.rng, ppm);

	s->cover[c] += yes;
	return yes;
}

static struct datagram *datagram_new(int from, int to, const struct endpoint *src, const struct endpoint *dst,
				     const uint8_t *p, size_t len)
{
	struct datagram *d = malloc(sizeof(*d) + len);

	ASSERT(d);
	*d = (struct datagram){ .from = from, .author = from, .to = to, .src = *src, .dst = *dst, .intact = true, .len = len };
	heap_node_init(&d->at);
	memcpy(d->p, p, len);
	return d;
}

/* Flips bits of one byte. MAC2 is looked at under load only: without it the datagram counts as intact. */
static void corrupt(struct sim *s, struct datagram *d)
{
	size_t at = rng_below(&s->world.rng, d->len);
	bool is_handshake = d->p[0] == 1 || d->p[0] == 2;

	d->p[at] ^= (uint8_t)(1 + rng_below(&s->world.rng, 255));
	d->intact = is_handshake && at >= d->len - 16;
}

static void enqueue(struct sim *s, struct datagram *d)
{
	nsec_t late = rng_below(&s->world.rng, s->jitter + 1);

	if (happens(s, s->reorder_ppm, SEEN_REORDERED))
		late += rng_below(&s->world.rng, 300 * NSEC_PER_MSEC);
	if (d->from >= 0 && happens(s, s->corrupt_ppm, SEEN_CORRUPTED))
		corrupt(s, d);
	heap_set(&s->queue, &d->at, s->now + s->delay + (path_is_calm(s) ? 0 : late));
}

static void capture(struct sim *s, const struct datagram *d)
{
	size_t at = s->n_captured < N_CAPTURED ? s->n_captured++ : rng_below(&s->world.rng, N_CAPTURED);

	free(s->captured[at]);
	s->captured[at] = datagram_new(d->from, d->to, &d->src, &d->dst, d->p, d->len);
}

/* Return: is it lost between these two? */
static bool is_lost(struct sim *s, struct node *from, int to, const struct endpoint *dst)
{
	if (plant_loses(s, from))
		return true;
	if (to < 0 || !endpoint_equal(&s->nodes[to].ep, dst)) {
		sim_seen(s, SEEN_TO_OLD_ADDRESS);
		return true;
	}
	if (s->cut_until[from->id][to] > s->now && !path_is_calm(s)) {
		sim_seen(s, SEEN_CUT);
		return true;
	}
	return happens(s, s->loss_ppm, SEEN_LOST);
}

void path_check(struct sim *s, struct node *from, int to, const struct endpoint *dst, const uint8_t *p, size_t len)
{
	if (to == -2)
		sim_broken(s, RULE_NOBODY, "");
	if (memmem(p, len, marker, sizeof(marker) - 1))
		sim_broken(s, RULE_PLAINTEXT, "");
	sim_check(s, wire_sent(&s->wire, s->now, from->id, to, dst, p, len));
	/* One that could not be kept may have waited for the socket since. */
	if (p[0] == 1 && s->wire.timestamp[from->id] > from->disk_watermark && !from->disk_full &&
	    (!from->disk_was_full || s->now - from->disk_was_full > 3 * NSEC_PER_SEC))
		sim_broken(s, RULE_INIT_DISK, "");
	sim_hash(s, &s->now, sizeof(s->now));
	sim_hash(s, p, len);
	sim_seen(s, SEEN_SENT);
	sim_trace(s, "%d > %d type %u, %zu bytes", from->id, to, p[0], len);
}

void path_send(struct sim *s, struct node *from, const struct endpoint *dst, const uint8_t *p, size_t len)
{
	uint8_t copy[2048];
	struct endpoint at = *dst;
	struct datagram *d;
	int to;

	ASSERT(len <= sizeof(copy) - 64);
	memcpy(copy, p, len);
	plant_datagram(s, from, copy, &len, &at);
	to = whose(s, &at);
	path_check(s, from, to, &at, copy, len);
	plant_after(s, from, to, &at, copy, len);
	if (to >= 0)
		from->heard_from[to] = s->now;
	if (to >= 0 && copy[0] != 3)
		s->wire.n_sent[from->id][to] += len;
	if (is_lost(s, from, to, &at))
		return;
	d = datagram_new(from->id, to, &from->ep, &at, copy, len);
	if (happens(s, s->dup_ppm, SEEN_DUPLICATED))
		enqueue(s, datagram_new(from->id, to, &from->ep, &at, copy, len));
	enqueue(s, d);
}

/* ---- arriving ---- */

/* May it come in now? */
static bool passes(struct sim *s, const struct datagram *d)
{
	struct node *n = &s->nodes[d->to];
	int from = whose(s, &d->src);

	if (!n->t || !n->udp)
		return false;
	if (!endpoint_equal(&n->ep, &d->dst)) {
		sim_seen(s, SEEN_TO_OLD_ADDRESS);
		return false;
	}
	if (n->behind_nat && (from < 0 || !n->heard_from[from] || s->now - n->heard_from[from] > NAT_MEMORY)) {
		sim_seen(s, SEEN_NAT_DROP);
		return false;
	}
	return true;
}

static void hand_over(struct sim *s, struct node *n, struct datagram **d, size_t n_d)
{
	struct os_udp_dgram batch[N_BATCH];
	struct node *before = sim_enter(n);

	for (size_t i = 0; i < n_d; i++) {
		uint32_t rekeyed = s->wire.n_rekeyed;

		batch[i] = (struct os_udp_dgram){ d[i]->p, d[i]->len, { d[i]->src, n->local, 0 } };
		if (d[i]->author >= 0)
			s->wire.n_came[d[i]->author][n->id] += d[i]->len;
		if (d[i]->intact)
			wire_delivered(&s->wire, s->now, n->id, &d[i]->src, d[i]->p, d[i]->len);
		if (s->wire.n_rekeyed > rekeyed && d[i]->from >= 0 && load_is_between(s, n, &s->nodes[d[i]->from]))
			sim_seen(s, SEEN_REKEY_IN_FLOW);
		if (d[i]->from >= 0 && d[i]->intact)
			capture(s, d[i]);
	}
	n->udp->h.on_recv(n->udp->h.ctx, batch, n_d);
	sim_leave(before);
	for (size_t i = 0; i < n_d; i++)
		free(d[i]);
}

static struct datagram *due(const struct sim *s)
{
	struct heap_node *first = heap_first(&s->queue);

	return first && first->key <= s->now ? container_of(first, struct datagram, at) : NULL;
}

bool path_deliver(struct sim *s)
{
	struct datagram *batch[N_BATCH], *d;
	struct node *n = NULL;
	size_t n_batch = 0;
	bool any = false;

	for (; n_batch < N_BATCH && (d = due(s)) && (!n || d->to == n->id); any = true) {
		heap_remove(&s->queue, &d->at);
		if (!passes(s, d)) {
			free(d);
			continue;
		}
		n = &s->nodes[d->to];
		if (!n->frozen)
			batch[n_batch++] = d;
		else if (n->n_held < ARRAY_SIZE(n->held))
			n->held[n->n_held++] = d;
		else
			free(d);
	}
	if (n_batch > 0)
		hand_over(s, n, batch, n_batch);
	return any;
}

void path_thaw(struct node *n)
{
	size_t n_held = n->n_held;

	n->n_held = 0;
	if (n_held > 0 && n->t && n->udp)
		hand_over(n->sim, n, n->held, n_held);
	else
		for (size_t i = 0; i < n_held; i++)
			free(n->held[i]);
}

/* ---- the stranger ---- */

static void mangle(struct sim *s, struct datagram *d)
{
	switch (rng_below(&s->world.rng, 3)) {
	case 0:
		corrupt(s, d);
		sim_seen(s, SEEN_MANGLED);
		return;
	case 1:
		d->len = rng_below(&s->world.rng, d->len);
		break;
	default:
		d->p[rng_below(&s->world.rng, MIN(d->len, (size_t)16))] ^= 1u << rng_below(&s->world.rng, 8);
	}
	d->intact = false;
	sim_seen(s, SEEN_MANGLED);
}

void path_attack(struct sim *s, uint64_t n)
{
	while (n-- > 0 && s->n_captured > 0 && !path_is_calm(s)) {
		const struct datagram *old = s->captured[rng_below(&s->world.rng, s->n_captured)];
		struct datagram *d = datagram_new(-1, old->to, &old->src, &s->nodes[old->to].ep, old->p, old->len);

		d->author = old->from;
		if (rng_chance(&s->world.rng, 500000) && wire_is_used_up(&s->wire, old->to, old->p))
			d->src = s->stranger;
		if (rng_chance(&s->world.rng, 500000))
			mangle(s, d);
		else
			sim_seen(s, SEEN_REPLAY);
		enqueue(s, d);
	}
}

/* A burst that makes a node limit handshakes, from many addresses. */
void path_flood(struct sim *s, uint64_t node)
{
	struct node *n = &s->nodes[node];
	struct wg_cookie_maker maker;
	struct endpoint src = s->stranger;
	struct datagram *d;
	uint8_t msg[sizeof(struct wg_msg_initiation)];

	if (path_is_calm(s) || !n->t)
		return;
	s->flooded = s->wire.load_is_possible = true;
	wg_cookie_maker_init(&maker, s->wire.pub[node].b);
	for (int i = 0; i < 400; i++) {
		rng_bytes(&s->world.rng, msg, sizeof(msg));
		memset(msg, 0, 4);
		msg[0] = WG_MSG_INITIATION;
		wg_cookie_sign(&maker, s->now, msg, sizeof(msg));
		rng_bytes(&s->world.rng, src.ip.b + 1, 3);
		d = datagram_new(-1, n->id, &src, &n->ep, msg, sizeof(msg));
		d->intact = false;
		enqueue(s, d);
		sim_seen(s, SEEN_FLOOD);
	}
}

void path_fini(struct sim *s)
{
	struct heap_node *first;

	while ((first = heap_first(&s->queue))) {
		heap_remove(&s->queue, first);
		free(container_of(first, struct datagram, at));
	}
	for (size_t i = 0; i < s->n_captured; i++)
		free(s->captured[i]);
	for (int i = 0; i < s->n_nodes; i++)
		for (size_t k = 0; k < s->nodes[i].n_held; k++)
			free(s->nodes[i].held[k]);
}
