/*
 * test/unit/netstack/oracle_test.c - our TCP against lwIP's as shipped, in virtual time, over a seeded path with faults.
 *
 * Two whole stacks in one process: every symbol of the other one begins with stock_ (netstack/module.mk). Both dial; bytes are
 * checked at both ends, and so is how each connection ends: both directions closed one after the other, refused, or reset.
 * Every packet is watched for the rules of the wire. What one side takes for right and the other does not shows here as a
 * transfer that hangs, an error, or a wrong byte.
 */
#include "test/lib/testing.h"

#include "netstack/net.h"
#include "test/lib/netpair.h"

#define STACK_FNS(X)                                                                                                  \
	X(init) X(fini) X(set_now) X(deadline) X(expire) X(flush) X(if_open) X(if_close) X(if_input) X(tcp_dial)        \
	X(tcp_read) X(tcp_write) X(tcp_shutdown) X(tcp_close) X(tcp_abort) X(tcp_at_eof) X(tcp_error) X(tcp_get_addrs) \
	X(tcp_listen) X(listener_close) X(syn_accept) X(syn_refuse)

struct stack {
#define X(name) __typeof__(&net_##name) name;
	STACK_FNS(X)
#undef X
};
#define X(name) extern __typeof__(net_##name) stock_net_##name;
STACK_FNS(X)
#undef X

static const struct stack ours = {
#define X(name) .name = net_##name,
	STACK_FNS(X)
#undef X
};
static const struct stack stock = {
#define X(name) .name = stock_net_##name,
	STACK_FNS(X)
#undef X
};

#define N_AT_ONCE 24
#define PORT 22
#define DEADLINE (600 * NSEC_PER_SEC) /* of one transfer: lwIP waits for its timer again and again */

enum ending { END_BOTH, END_REFUSED, END_RESET };

struct end {
	const struct stack *s;
	struct net_tcp *c;
	struct transfer *t;
	uint8_t salt;
	size_t to_send, sent, got, stop_at; /* resets the connection after so many bytes sent */
	nsec_t pause_until;                 /* reads nothing till then */
	bool shut, done, failed;
	enum err error;
};

struct transfer {
	bool used;
	enum ending ending;
	struct end client, server;
	nsec_t since;
	uint16_t port; /* the client's */
	uint8_t dialed_by;
};

struct flying {
	struct flying *next;
	nsec_t at;
	unsigned to;
	size_t len;
	uint8_t data[1500];
};

struct side {
	const struct stack *s;
	struct net_if *nif;
	struct net_listener *l;
	struct pktpool *pool;
	struct ip_addr ip;
	unsigned index;
	uint64_t n_bad;
};

struct faults {
	const char *name;
	double ms; /* one way */
	uint32_t loss_ppm, dup_ppm, late_ppm;
	unsigned n_transfers;
	size_t size_max;
	bool pauses; /* readers stop for a while */
};

static struct world {
	struct rng_seeded rng;
	const struct faults *f;
	struct side sides[2]; /* ours, stock */
	struct wirewatch watch;
	struct flying *flying, *last;
	struct transfer t[N_AT_ONCE];
	unsigned n_begun, n_done[3];
	uint64_t n_bytes, n_packets;
	nsec_t now;
} w;

static uint8_t byte_at(uint8_t salt, size_t i)
{
	return (uint8_t)(salt + i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* ---- the path ---- */

static void fly(unsigned from, const struct iovec *iov, int n, size_t len)
{
	struct flying *k = calloc(1, sizeof(*k)), **at = &w.flying;

	assert_non_null(k);
	for (int i = 0; i < n; i++) {
		memcpy(k->data + k->len, iov[i].iov_base, iov[i].iov_len);
		k->len += iov[i].iov_len;
	}
	k->to = !from;
	k->at = w.now + (nsec_t)(w.f->ms * 1e6);
	if (rng_chance(&w.rng.rng, w.f->late_ppm))
		k->at += rng_below(&w.rng.rng, 5 * NSEC_PER_MSEC);
	if (w.last && w.last->at <= k->at)
		at = &w.last->next;
	while (*at && (*at)->at <= k->at)
		at = &(*at)->next;
	k->next = *at;
	*at = k;
	if (!k->next)
		w.last = k;
}

static enum net_output side_output(void *ctx, const struct iovec *iov, int iovcnt, size_t len)
{
	static uint8_t flat[2048];
	struct side *s = ctx;
	const char *why;
	size_t n = 0;

	assert_true(len <= sizeof(flat));
	for (int i = 0; i < iovcnt; i++) {
		memcpy(flat + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	why = wirecheck(flat, len, 1420);
	if (!why)
		why = wirewatch_packet(&w.watch, (int)s->index, flat, len);
	if (why) {
		print_message("wire: %s: %s\n", s->index ? "stock" : "ours", why);
		s->n_bad++;
	}
	w.n_packets++;
	if (rng_chance(&w.rng.rng, w.f->loss_ppm))
		return NET_OUTPUT_OK;
	fly(s->index, iov, iovcnt, len);
	if (rng_chance(&w.rng.rng, w.f->dup_ppm))
		fly(s->index, iov, iovcnt, len);
	return NET_OUTPUT_OK;
}

static void deliver_due(void)
{
	while (w.flying && w.flying->at <= w.now) {
		struct flying *k = w.flying;
		struct side *to = &w.sides[k->to];
		struct pktbuf *pb = pktbuf_alloc(to->pool, NULL);

		w.flying = k->next;
		if (!w.flying)
			w.last = NULL;
		assert_non_null(pb);
		memcpy(pb->data, k->data, k->len);
		pb->len = (uint16_t)k->len;
		to->s->if_input(to->nif, &pb, 1);
		free(k);
	}
}

/* ---- transfers ---- */

static void end_done(struct end *e, enum err error)
{
	e->done = true;
	e->error = error;
	e->s->tcp_close(e->c);
	e->c = NULL;
}

static void send_some(struct end *e)
{
	uint8_t buf[4096];

	while (e->sent < e->to_send) {
		size_t n = MIN(e->to_send - e->sent, sizeof(buf)), took;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(e->salt, e->sent + i);
		took = e->s->tcp_write(e->c, buf, n);
		e->sent += took;
		if (took < n)
			return;
	}
	if (!e->shut)
		e->s->tcp_shutdown(e->c);
	e->shut = true;
}

static void read_some(struct end *e, const struct end *other)
{
	uint8_t buf[4096];
	size_t n;

	if (w.now < e->pause_until)
		return;
	while ((n = e->s->tcp_read(e->c, buf, sizeof(buf))) > 0) {
		for (size_t i = 0; i < n; i++)
			if (buf[i] != byte_at(other->salt, e->got + i))
				fail_msg("byte %zu is wrong", e->got + i);
		e->got += n;
		w.n_bytes += n;
	}
}

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;
	struct end *other = e == &e->t->client ? &e->t->server : &e->t->client;

	if (ev == NET_TCP_ERROR) {
		end_done(e, e->s->tcp_error(c));
		return;
	}
	send_some(e);
	read_some(e, other);
	if (e->stop_at && e->sent >= e->stop_at) {
		e->s->tcp_abort(c);
		e->c = NULL;
		e->done = true;
	} else if (e->shut && e->s->tcp_at_eof(c)) {
		end_done(e, OK);
	}
}

static struct transfer *transfer_of(unsigned dialed_by, const struct endpoint *client)
{
	for (size_t i = 0; i < N_AT_ONCE; i++) {
		struct transfer *t = &w.t[i];

		if (t->used && t->dialed_by == dialed_by && t->port == client->port)
			return t;
	}
	return NULL;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct side *s = ctx;
	struct transfer *t = transfer_of(!s->index, remote);

	/* A late copy of one that has ended, or one that is to be refused. */
	if (!t || t->server.c || t->server.done || t->ending == END_REFUSED)
		s->s->syn_refuse(syn);
	else
		assert_int_equal(s->s->syn_accept(syn, on_event, &t->server, &t->server.c), OK);
}

static void end_begin(struct end *e, struct transfer *t, const struct stack *s)
{
	struct rng *rng = &w.rng.rng;

	e->s = s;
	e->t = t;
	e->salt = (uint8_t)rng_u32(rng);
	/* Some say nothing at all. */
	e->to_send = rng_below(rng, 8) ? rng_below(rng, w.f->size_max) : 0;
	if (w.f->pauses && rng_below(rng, 2))
		e->pause_until = w.now + rng_below(rng, 5 * NSEC_PER_SEC);
}

static void transfer_begin(struct transfer *t)
{
	struct rng *rng = &w.rng.rng;
	struct side *a = &w.sides[w.n_begun % 2], *b = &w.sides[!a->index];
	struct endpoint to = { b->ip, PORT, 0 }, local, remote;
	uint64_t dice = rng_below(rng, 100);

	*t = (struct transfer){ .used = true, .since = w.now, .dialed_by = (uint8_t)a->index };
	t->ending = dice < 5 ? END_REFUSED : dice < 15 ? END_RESET : END_BOTH;
	end_begin(&t->client, t, a->s);
	end_begin(&t->server, t, b->s);
	if (t->ending == END_RESET) {
		/* The other one has more to say than fits, so that it hears of it even when the reset is lost. */
		struct end *stops = rng_below(rng, 2) ? &t->client : &t->server;
		struct end *goes_on = stops == &t->client ? &t->server : &t->client;

		stops->to_send = 1 + rng_below(rng, 30000);
		stops->stop_at = 1 + rng_below(rng, stops->to_send);
		goes_on->to_send = SIZE_MAX;
		goes_on->pause_until = 0;
	}
	w.n_begun++;
	assert_int_equal(a->s->tcp_dial(a->nif, &to, on_event, &t->client, &t->client.c), OK);
	a->s->tcp_get_addrs(t->client.c, &local, &remote);
	t->port = local.port;
}

static const char *name_of(const struct end *e)
{
	return e->s == &ours ? "ours" : "stock";
}

static void transfer_check(const struct transfer *t)
{
	const struct end *c = &t->client, *s = &t->server;

	switch (t->ending) {
	case END_BOTH:
		if (c->error || s->error)
			fail_msg("transfer of port %u: client (%s): %s after %zu of %zu sent, %zu got, server (%s): %s after %zu of %zu sent, "
				 "%zu got", t->port, name_of(c), err_name(c->error), c->sent, c->to_send, c->got, name_of(s),
				 err_name(s->error), s->sent, s->to_send, s->got);
		assert_int_equal(c->got, s->to_send);
		assert_int_equal(s->got, c->to_send);
		break;
	case END_REFUSED:
		assert_int_equal(c->error, ERR_REFUSED);
		break;
	case END_RESET:
		assert_int_equal(c->stop_at ? s->error : c->error, ERR_RESET);
		break;
	}
}

static void transfer_step(struct transfer *t)
{
	struct end *ends[] = { &t->client, &t->server };

	for (size_t i = 0; i < 2; i++)
		if (ends[i]->c && ends[i]->pause_until && ends[i]->pause_until <= w.now) {
			ends[i]->pause_until = 0;
			on_event(ends[i], ends[i]->c, NET_TCP_READABLE);
		}
	if (!t->used || w.now - t->since > DEADLINE)
		assert_false(t->used);
	if (!t->client.done || !(t->server.done || t->ending == END_REFUSED))
		return;
	transfer_check(t);
	w.n_done[t->ending]++;
	t->used = false;
}

/* ---- the world ---- */

static void side_init(struct side *s, unsigned index, const struct stack *stack)
{
	struct net_if_config cfg = { .n_addrs = 1, .output = side_output, .ctx = s, .reset_closed = true };
	struct net_config net = { .rng = &w.rng.rng };

	*s = (struct side){ .s = stack, .index = index, .ip = ip_addr_v4(10, 99, 0, (uint8_t)(1 + index)), .pool = pktpool_new(16384) };
	net.pool = s->pool;
	cfg.addrs[0] = (struct ip_prefix){ s->ip, 24 };
	assert_int_equal(stack->init(&net, w.now), OK);
	assert_int_equal(stack->if_open(&cfg, &s->nif), OK);
	assert_int_equal(stack->tcp_listen(s->nif, PORT, 1000, on_syn, s, &s->l), OK);
}

static void side_fini(struct side *s)
{
	s->s->listener_close(s->l);
	s->s->if_close(s->nif);
	s->s->fini();
	pktpool_free(s->pool);
}

static nsec_t next_pause(void)
{
	nsec_t at = NSEC_NEVER;

	for (size_t i = 0; i < N_AT_ONCE; i++) {
		const struct end *ends[] = { &w.t[i].client, &w.t[i].server };

		for (size_t k = 0; k < 2; k++)
			if (w.t[i].used && ends[k]->c && ends[k]->pause_until)
				at = nsec_min(at, ends[k]->pause_until);
	}
	return at;
}

static void step(void)
{
	nsec_t next = nsec_min(w.sides[0].s->deadline(), w.sides[1].s->deadline());

	next = nsec_min(nsec_min(next, next_pause()), w.flying ? w.flying->at : NSEC_NEVER);
	assert_true(next != NSEC_NEVER);
	w.now = MAX(next, w.now + 10 * NSEC_PER_USEC);
	for (size_t i = 0; i < 2; i++)
		w.sides[i].s->set_now(w.now);
	deliver_due();
	for (size_t i = 0; i < 2; i++)
		w.sides[i].s->expire(w.now);
}

static bool work(void)
{
	bool any = false;

	for (size_t i = 0; i < N_AT_ONCE; i++) {
		if (w.t[i].used)
			transfer_step(&w.t[i]);
		if (!w.t[i].used && w.n_begun < w.f->n_transfers)
			transfer_begin(&w.t[i]);
		any |= w.t[i].used;
	}
	for (size_t i = 0; i < 2; i++)
		w.sides[i].s->flush();
	return any;
}

static void drop_flying(void)
{
	while (w.flying) {
		struct flying *k = w.flying;

		w.flying = k->next;
		free(k);
	}
}

static void run(const struct faults *f, uint64_t seed)
{
	nsec_t began = 1000 * NSEC_PER_SEC;

	memset(&w, 0, sizeof(w));
	w.f = f;
	w.now = began;
	rng_seeded_init(&w.rng, seed);
	side_init(&w.sides[0], 0, &ours);
	side_init(&w.sides[1], 1, &stock);
	while (work())
		step();
	print_message("%-28s seed %llu: %u closed, %u refused, %u reset, %.1f MB, %llu packets in %.1f s\n", f->name,
		      (unsigned long long)seed, w.n_done[END_BOTH], w.n_done[END_REFUSED], w.n_done[END_RESET],
		      (double)w.n_bytes / 1e6, (unsigned long long)w.n_packets, (double)(w.now - began) / 1e9);
	assert_int_equal(w.n_done[0] + w.n_done[1] + w.n_done[2], f->n_transfers);
	assert_int_equal(w.sides[0].n_bad, 0);
	assert_int_equal(w.sides[1].n_bad, 0);
	side_fini(&w.sides[0]);
	side_fini(&w.sides[1]);
	drop_flying();
	wirewatch_fini(&w.watch);
}

static const struct faults kinds[] = {
	{ "nothing happens", 0.1, 0, 0, 0, 400, 60000, false },
	{ "1 % lost", 5, 10000, 0, 0, 400, 60000, false },
	{ "5 % lost", 5, 50000, 0, 0, 300, 40000, false },
	{ "2 % doubled", 5, 0, 20000, 0, 400, 60000, false },
	{ "5 % late", 5, 0, 0, 50000, 400, 60000, false },
	{ "all of it", 20, 20000, 10000, 20000, 400, 60000, true },
	{ "long ones", 10, 200, 200, 2000, 10, 3000000, false },
	/* More than its receive window, which is 4 MiB from the first byte. */
	{ "longer, readers that stop", 10, 200, 200, 2000, 8, 8000000, true },
};

static void both_understand_each_other(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (uint64_t seed = 1; seed <= 2; seed++)
			run(&kinds[i], seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(both_understand_each_other) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
