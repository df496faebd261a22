/*
 * test/sim/load.c - what uses the tunnels: connections of several kinds, datagrams, pings.
 *
 * Each connection has a port of its own, so that a SYN tells which one it is. What an end writes is a function of its key
 * and of the place in the stream, so that each byte read can be judged alone. A connection that something harmed (a crash, a
 * reset, a handshake that ran out) may end with an error; any other must end whole.
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "test/sim/sim.h"

#define DIAL_PATIENCE (20 * NSEC_PER_SEC)
#define FINAL_PATIENCE (12 * NSEC_PER_SEC)
#define ECHO_ID 77

static const char marker[] = "PLAINTEXT-MARKER";

static uint8_t stream_byte(uint64_t key, size_t at)
{
	uint64_t x = (key + at / 32) * 0x9e3779b97f4a7c15ULL;

	if (at % 32 < sizeof(marker) - 1)
		return (uint8_t)marker[at % 32];
	return (uint8_t)(x >> (at % 8 * 8) ^ x >> 29);
}

static struct end *other_end(struct end *e)
{
	return e == &e->flow->client ? &e->flow->server : &e->flow->client;
}

static uint64_t draw(struct sim *s, uint64_t from, uint64_t to)
{
	return from + rng_below(&s->world.rng, to - from + 1);
}

/* ---- an end ---- */

static void flow_settle(struct flow *f)
{
	bool was_over = f->over;

	f->over = f->dialled && !f->dial && (!f->client.opened || f->client.over) && (!f->server.opened || f->server.over) && !f->syn;
	if (f->over && !was_over && f->client.eof && f->client.shut && f->server.eof && f->server.shut)
		sim_seen(f->sim, SEEN_FLOW_WHOLE);
}

static void end_over(struct end *e)
{
	e->over = true;
	e->c = NULL;
	os_timer_cancel(&e->timer);
	flow_settle(e->flow);
}

static bool is_paced(const struct end *e)
{
	enum flow_kind k = e->flow->kind;

	return k == FLOW_TRICKLE || (k == FLOW_HALF && e == &e->flow->server);
}

static bool reads_slowly(const struct end *e)
{
	return e->flow->kind == FLOW_SLOW && e == &e->flow->server;
}

static void end_write(struct end *e, size_t most)
{
	uint8_t buf[2048];

	while (!e->shut && e->n_written < e->n_write && most > 0) {
		size_t want = MIN(MIN(sizeof(buf), most), e->n_write - e->n_written), got;

		for (size_t i = 0; i < want; i++)
			buf[i] = stream_byte(e->key, e->n_written + i);
		got = net_tcp_write(e->c, buf, want);
		e->n_written += got;
		e->pending |= got > 0;
		most -= got;
		if (got < want)
			return;
	}
	if (e->n_written == e->n_write && !e->shut) {
		e->shut = true;
		net_tcp_shutdown(e->c);
	}
}

static void end_check_eof(struct end *e)
{
	const struct end *o = other_end(e);

	if (!net_tcp_at_eof(e->c))
		return;
	e->eof = true;
	if (!o->shut || e->n_read != o->n_written)
		sim_broken(e->flow->sim, RULE_END, "");
	if (!e->shut)
		sim_seen(e->flow->sim, SEEN_HALF_CLOSE);
}

static void end_read(struct end *e, size_t most)
{
	struct end *o = other_end(e);
	struct sim *s = e->flow->sim;
	uint8_t buf[2048];
	size_t n;

	while (most > 0 && (n = net_tcp_read(e->c, buf, MIN(sizeof(buf), most))) > 0) {
		if (plant_once(s, RULE_STREAM))
			buf[n - 1] ^= 1;
		for (size_t i = 0; i < n; i++)
			if (buf[i] != stream_byte(o->key, e->n_read++))
				sim_broken(s, RULE_STREAM, "");
		if (e->n_read > o->n_written)
			sim_broken(s, RULE_END, "more was read than was written");
		most -= n;
	}
	if (net_tcp_at_eof(e->c) && plant_once(s, RULE_END))
		e->n_read--;
	end_check_eof(e);
}

/* Return: did it leave in the middle? */
static bool end_quits(struct end *e)
{
	struct net_tcp *c = e->c;

	if (!e->quit_at || e->n_read + e->n_written < e->quit_at || e->over)
		return false;
	e->flow->harmed = true;
	if (e->flow->kind == FLOW_ABORT) {
		sim_seen(e->flow->sim, SEEN_ABORT);
		net_tcp_abort(c);
	} else {
		sim_seen(e->flow->sim, SEEN_EARLY_CLOSE);
		e->shut = true;
		net_tcp_close(c);
	}
	end_over(e);
	return true;
}

static void end_go_on(struct end *e)
{
	if (e->connected && plant_once(e->flow->sim, RULE_STALLED))
		e->deaf = true;
	if (e->deaf)
		return;
	if (!reads_slowly(e))
		end_read(e, SIZE_MAX);
	if (!is_paced(e))
		end_write(e, SIZE_MAX);
	if (end_quits(e))
		return;
	if (e->eof && e->shut) {
		net_tcp_close(e->c);
		end_over(e);
	}
}

/* Writes a little, or reads a little, and comes again. */
static void on_pace(void *ctx)
{
	struct end *e = ctx;
	struct sim *s = e->flow->sim;
	nsec_t wait = draw(s, 1, 12 * 1000) * NSEC_PER_MSEC;

	if (reads_slowly(e)) {
		end_read(e, draw(s, 500, 6000));
		wait = draw(s, 20, 300) * NSEC_PER_MSEC;
	} else {
		end_write(e, draw(s, 1, 3000));
	}
	if (!e->over && !(e->shut && !reads_slowly(e)) && !(e->eof && reads_slowly(e)))
		os_timer_set(&e->timer, s->now + wait);
	end_go_on(e);
	tunnel_kick(e->node->t);
}

static void end_failed(struct end *e, struct net_tcp *c)
{
	struct flow *f = e->flow;

	e->error = net_tcp_error(c);
	if (plant_once(f->sim, RULE_FAILED))
		f->harmed = false;
	/* The handshake's last ACK was lost, and then so much that the half-open connection ran out. */
	if (e == &f->server && !e->connected)
		f->harmed = true;
	if (!f->harmed)
		sim_broken(f->sim, RULE_FAILED, err_name(e->error));
	sim_seen(f->sim, SEEN_FLOW_ERROR);
	sim_trace(f->sim, "flow %d: the %s got %s", f->index, e == &f->client ? "client" : "server", err_name(e->error));
	net_tcp_close(c);
	end_over(e);
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	if (e->over)
		return;
	e->c = c;
	if (ev == NET_TCP_ERROR) {
		end_failed(e, c);
		return;
	}
	if (ev == NET_TCP_CONNECTED && !e->connected) {
		e->connected = true;
		if (is_paced(e) || reads_slowly(e))
			os_timer_set(&e->timer, sim.now + NSEC_PER_MSEC);
	}
	if (ev == NET_TCP_SENT_ALL)
		e->pending = false;
	end_go_on(e);
}

static void end_open(struct end *e, struct net_tcp *c)
{
	e->opened = true;
	e->c = c;
}

/* ---- the server's side ---- */

static void accept_now(struct flow *f)
{
	struct net_syn *syn = f->syn;
	struct net_tcp *c;

	f->syn = NULL;
	f->server.incarnation = f->server.node->incarnation;
	if (net_syn_accept(syn, on_tcp, &f->server, &c) == OK)
		end_open(&f->server, c);
	flow_settle(f);
}

static void on_hold_over(void *ctx)
{
	struct flow *f = ctx;

	sim_seen(f->sim, SEEN_HELD);
	accept_now(f);
	tunnel_kick(f->server.node->t);
}

static void on_syn_gone(void *ctx)
{
	struct flow *f = ctx;

	sim_seen(f->sim, SEEN_HELD_GONE);
	f->syn = NULL;
	os_timer_cancel(&f->hold);
	flow_settle(f);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct flow *f = ctx;

	if (f->kind == FLOW_REFUSED || f->server.opened || f->syn || f->over) {
		net_syn_refuse(syn);
		return;
	}
	f->syn = syn;
	if (f->kind != FLOW_HELD) {
		accept_now(f);
		return;
	}
	net_syn_set_gone(syn, on_syn_gone, f);
	os_timer_set(&f->hold, f->sim->now + draw(f->sim, 1, 40000) * NSEC_PER_MSEC);
}

static void listen_for(struct node *n, struct flow *f)
{
	struct net_listener *l;

	if (f->kind != FLOW_DEAF && f->kind != FLOW_NO_ROUTE &&
	    net_tcp_listen(tunnel_if(n->t), (uint16_t)(FIRST_PORT + f->index), 8, on_syn, f, &l) != OK)
		sim_broken(f->sim, RULE_DIAL, "a port cannot be listened to");
}

/* ---- the client's side ---- */

static bool dial_may_end_so(const struct flow *f, enum err e)
{
	bool deaf = f->kind == FLOW_REFUSED || f->kind == FLOW_DEAF;

	switch (e) {
	case OK:
		return !deaf && f->kind != FLOW_NO_ROUTE;
	case ERR_REFUSED:
		return deaf || f->harmed;
	case ERR_TIMEOUT:
		return f->kind == FLOW_HELD || f->began < f->sim->faults_end;
	case ERR_NO_ROUTE:
		return f->kind == FLOW_NO_ROUTE;
	default:
		return f->harmed;
	}
}

static void on_dialled(void *ctx, enum err e, struct net_tcp *c)
{
	struct flow *f = ctx;

	f->dial = NULL;
	if (plant_once(f->sim, RULE_DIAL))
		e = ERR_NO_ROUTE;
	sim_trace(f->sim, "flow %d: dialled: %s", f->index, err_name(e));
	if (!dial_may_end_so(f, e))
		sim_broken(f->sim, RULE_DIAL, err_name(e));
	f->sim->cover[SEEN_REFUSED] += e == ERR_REFUSED;
	f->sim->cover[SEEN_DIAL_TIMEOUT] += e == ERR_TIMEOUT;
	f->sim->cover[SEEN_NO_ROUTE] += e == ERR_NO_ROUTE;
	if (e == OK) {
		net_tcp_set_fn(c, on_tcp, &f->client);
		end_open(&f->client, c);
		on_tcp(&f->client, c, NET_TCP_CONNECTED);
	} else {
		/* What the server holds of it is nobody's. */
		f->harmed = true;
	}
	flow_settle(f);
}

static void end_init(struct end *e, struct flow *f, struct node *n, uint64_t key)
{
	struct sim *s = f->sim;
	bool big = rng_chance(&s->world.rng, 30000);

	*e = (struct end){ .flow = f, .node = n, .incarnation = n->incarnation, .key = key };
	os_timer_init(&e->timer, &n->loop, on_pace, e);
	e->n_write = draw(s, 0, big ? 400000 : f->kind == FLOW_SLOW ? 120000 : 40000);
	if (f->is_final || is_paced(e))
		e->n_write = draw(s, 1, !is_paced(e) ? 5000 : MAX(4000, (s->faults_end - START) / NSEC_PER_SEC * 300));
}

static void draw_ends(struct flow *f, struct node *client, struct node *server)
{
	struct sim *s = f->sim;
	uint64_t key = rng_u64(&s->world.rng);
	struct end *quitter = rng_chance(&s->world.rng, 500000) ? &f->client : &f->server;

	end_init(&f->client, f, client, key);
	end_init(&f->server, f, server, ~key);
	if (f->kind == FLOW_HALF)
		f->client.n_write = 0;
	if (f->kind == FLOW_ABORT || f->kind == FLOW_CLOSE)
		quitter->quit_at = draw(s, 1, f->client.n_write + f->server.n_write + 1);
}

void load_flow(struct sim *s, enum flow_kind kind, struct node *client, struct node *server, bool is_final)
{
	struct flow *f = &s->flows[s->n_flows];
	struct endpoint to = { .port = (uint16_t)(FIRST_PORT + s->n_flows) };
	struct node *before = sim_enter(client);

	if (s->n_flows == SIM_FLOWS || !client->t || !server->t)
		goto out;
	*f = (struct flow){ .sim = s, .index = s->n_flows++, .kind = kind, .is_final = is_final, .began = s->now };
	f->v6 = rng_chance(&s->world.rng, 300000);
	draw_ends(f, client, server);
	os_timer_init(&f->hold, &server->loop, on_hold_over, f);
	listen_for(server, f);
	to.ip = f->v6 ? server->inner6 : server->inner4;
	if (kind == FLOW_NO_ROUTE)
		to.ip.b[f->v6 ? 15 : 3] = 200;
	sim_seen(s, SEEN_FLOW);
	s->cover[SEEN_V6_INSIDE] += f->v6;
	s->cover[SEEN_FINAL] += is_final;
	sim_trace(s, "flow %d: node %d dials node %d, kind %d, v6 %d, %zu and %zu bytes", f->index, client->id, server->id,
		  (int)kind, f->v6, f->client.n_write, f->server.n_write);
	f->dialled = true;
	ASSERT(tunnel_dial_start(client->t, &to, s->now + (is_final ? FINAL_PATIENCE : DIAL_PATIENCE), on_dialled, f,
				 &f->dial) == OK);
out:
	sim_leave(before);
}

/* ---- datagrams, pings ---- */

/* [0] from, [1] to, [2..3] number, then the stream of that number */
static void fill_datagram(uint8_t *p, size_t len, const struct node *from, const struct node *to, uint16_t number)
{
	p[0] = (uint8_t)from->id;
	p[1] = (uint8_t)to->id;
	put_be16(p + 2, number);
	for (size_t i = 4; i < len; i++)
		p[i] = stream_byte(number + 1u, i);
}

static void check_datagram(struct node *at, struct bytes d, bool is_echo)
{
	uint8_t want[1500];
	bool ok = d.len >= 4 && d.len <= sizeof(want) && d.p[0] < SIM_NODES && d.p[1] < SIM_NODES;

	if (ok) {
		fill_datagram(want, d.len, &at->sim->nodes[d.p[0]], &at->sim->nodes[d.p[1]], get_be16(d.p + 2));
		ok = memcmp(want, d.p, d.len) == 0 && (is_echo ? d.p[0] : d.p[1]) == at->id;
	}
	if (!ok || plant_once(at->sim, RULE_DATAGRAM))
		sim_broken(at->sim, RULE_DATAGRAM, "");
	sim_seen(at->sim, is_echo ? SEEN_ECHO : SEEN_DATAGRAM);
}

static void on_udp(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
	check_datagram(ctx, data, false);
}

static void on_echo(void *ctx, const struct ip_addr *from, uint16_t id, uint16_t seq, struct bytes data)
{
	check_datagram(ctx, data, true);
}

static bool pick_pair(struct sim *s, struct node **ret_a, struct node **ret_b)
{
	*ret_a = &s->nodes[rng_below(&s->world.rng, (uint64_t)s->n_nodes)];
	*ret_b = &s->nodes[rng_below(&s->world.rng, (uint64_t)s->n_nodes)];
	return node_is_peer(*ret_a, *ret_b) && (*ret_a)->t && !(*ret_a)->frozen;
}

void load_datagram(struct sim *s, uint64_t arg)
{
	struct node *a, *b, *before;
	uint8_t buf[1400];
	struct endpoint to = { .port = UDP_PORT };
	size_t len = draw(s, 4, 1200);

	if (!pick_pair(s, &a, &b))
		return;
	before = sim_enter(a);
	to.ip = rng_chance(&s->world.rng, 300000) ? b->inner6 : b->inner4;
	fill_datagram(buf, len, a, b, (uint16_t)rng_u32(&s->world.rng));
	if (net_udp_send(a->sock, &to, buf, len) != OK)
		sim_trace(s, "node %d: a datagram was not taken", a->id);
	tunnel_kick(a->t);
	sim_leave(before);
}

void load_ping(struct sim *s, uint64_t arg)
{
	struct node *a, *b, *before;
	uint8_t buf[1400];
	size_t len = draw(s, 4, 1000);

	if (!pick_pair(s, &a, &b))
		return;
	before = sim_enter(a);
	fill_datagram(buf, len, a, b, (uint16_t)rng_u32(&s->world.rng));
	if (net_echo_send(tunnel_if(a->t), rng_chance(&s->world.rng, 300000) ? &b->inner6 : &b->inner4, ECHO_ID, 1, buf,
			  len) != OK)
		sim_trace(s, "node %d: a ping was not taken", a->id);
	tunnel_kick(a->t);
	sim_leave(before);
}

/* A node whose program is not ours sends with an inner source that is not its own. */
enum wg_send __real_wg_device_send(struct wg_device *dev, nsec_t now, const struct iovec *iov, int iovcnt, size_t len);
void load_forge(struct sim *s, uint64_t arg)
{
	uint8_t pkt[60] = { 0x45, 0, 0, sizeof(pkt), [8] = 64, [9] = 17 };
	struct iovec iov = { pkt, sizeof(pkt) };
	struct node *a, *b, *before;

	if (!pick_pair(s, &a, &b))
		return;
	before = sim_enter(a);
	memcpy(pkt + 12, ip_addr_v4(10, 99, 0, (uint8_t)draw(s, 7, 9)).b, 4);
	memcpy(pkt + 16, b->inner4.b, 4);
	put_be16(pkt + 20, UDP_PORT);
	put_be16(pkt + 22, UDP_PORT);
	put_be16(pkt + 24, sizeof(pkt) - 20);
	__real_wg_device_send(tunnel_device(a->t), s->now, &iov, 1, sizeof(pkt));
	sim_seen(s, SEEN_FORGED);
	tunnel_kick(a->t);
	sim_leave(before);
}

/* ---- nodes come and go ---- */

void load_listen(struct node *n)
{
	for (int i = 0; i < n->sim->n_flows; i++)
		if (n->sim->flows[i].server.node == n && !n->sim->flows[i].over)
			listen_for(n, &n->sim->flows[i]);
	ASSERT(net_udp_open(tunnel_if(n->t), UDP_PORT, on_udp, n, &n->sock) == OK);
	net_echo_listen(tunnel_if(n->t), on_echo, n);
}

void load_node_gone(struct node *n)
{
	for (int i = 0; i < n->sim->n_flows; i++) {
		struct flow *f = &n->sim->flows[i];

		if (!f->over && (f->client.node == n || f->server.node == n))
			f->harmed = true;
	}
	net_udp_close(n->sock);
	n->sock = NULL;
}

/* ---- does it end? ---- */

bool load_is_over(const struct sim *s)
{
	for (int i = 0; i < s->n_flows; i++)
		if (!s->flows[i].over)
			return false;
	return true;
}

void load_dump(const struct sim *s)
{
	for (int i = 0; i < s->n_flows; i++) {
		const struct flow *f = &s->flows[i];
		const struct end *e = &f->client;

		for (int k = 0; k < 2 && !f->over; k++, e = &f->server)
			sim_trace(s, "flow %d, kind %d, node %d: opened %d over %d written %zu of %zu read %zu eof %d shut %d", i,
				  (int)f->kind, e->node->id, e->opened, e->over, e->n_written, e->n_write, e->n_read, e->eof,
				  e->shut);
	}
}

bool load_is_between(const struct sim *s, const struct node *a, const struct node *b)
{
	for (int i = 0; i < s->n_flows; i++) {
		const struct flow *f = &s->flows[i];

		if (!f->over && f->client.connected && !f->client.over &&
		    ((f->client.node == a && f->server.node == b) || (f->client.node == b && f->server.node == a)))
			return true;
	}
	return false;
}
