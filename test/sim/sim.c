/*
 * test/sim/sim.c - N nodes of wg/ and netstack/ joined by a bad network; one seed is one run.
 *
 * Node 0 is the hub, the others dial it: a star. The clock moves only here, randomness comes from one seeded
 * generator, datagrams wait in one queue ordered by (time, number). So a seed gives the same datagrams at the same
 * times whenever it runs; their hash is compared between two runs. Every datagram sent passes wire_sent(), every
 * inner packet wirecheck(), and every byte read is compared with the one that was written at its place.
 * Faults stop at FAULTS_END; by RUN_END each flow must have ended well.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "netstack/net.h"
#include "test/lib/netpair.h"
#include "test/sim/wire.h"
#include "wg/messages.h"

#define START (1000 * NSEC_PER_SEC)
#define FAULTS_END (START + 60 * NSEC_PER_SEC)
#define RUN_END (START + 400 * NSEC_PER_SEC)
#define PORT 7000
#define MTU 1420

struct datagram {
	struct datagram *next;
	nsec_t at;
	int from, to;
	size_t len;
	bool corrupt;
	uint8_t p[];
};

struct sim;

struct node {
	struct sim *sim;
	int id;
	struct wg_device *dev;
	struct net_if *nif;
	struct wg_private_key priv;
	struct ip_addr inner;
	struct endpoint ep;
	struct net_listener *listener;
	struct net_udp *udp; /* the hub's */
	uint64_t timestamp; /* as on disk */
};

/* One end of a connection. What it writes is a function of @key and the place. */
struct end {
	struct sim *sim;
	struct net_tcp *c;
	uint64_t write_key, read_key;
	size_t n_write, n_written, n_read, n_expected;
	bool eof, closed;
};

struct flow {
	struct end client, server;
};

struct sim {
	uint64_t seed;
	nsec_t now;
	struct rng_seeded rng;
	struct pktpool *pool;
	struct wire wire;
	struct node nodes[WIRE_NODES];
	int n_nodes;
	struct flow flows[WIRE_NODES]; /* by the node that dials */
	struct datagram *queue;
	uint32_t loss_ppm, dup_ppm, reorder_ppm, corrupt_ppm;
	nsec_t delay;
	uint64_t trace_hash, n_sent, n_lost, n_duplicated, n_reordered, n_corrupt, n_chatter, n_late_resets;
	bool trace;
};

static const char marker[] = "PLAINTEXT-MARKER";
static char replay_line[128];

/* The line that replays the run, also when an ASSERT ends it. */
static void on_signal(int sig)
{
	if (write(STDERR_FILENO, replay_line, strlen(replay_line)) < 0)
		_exit(2);
	signal(sig, SIG_DFL);
	raise(sig);
}

static NORETURN void broken(const struct sim *s, const char *what)
{
	fprintf(stderr, "sim: seed %llu at %.6f s: %s\n%s", (unsigned long long)s->seed,
		(double)(s->now - START) / NSEC_PER_SEC, what, replay_line);
	exit(1);
}

/* ---- the network ---- */

static void hash(struct sim *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		s->trace_hash = (s->trace_hash ^ p[i]) * 0x100000001b3ULL;
}

static int node_at(const struct sim *s, const struct endpoint *ep)
{
	for (int i = 0; i < s->n_nodes; i++)
		if (endpoint_equal(&s->nodes[i].ep, ep))
			return i;
	return -1;
}

static bool happens(struct sim *s, uint32_t ppm, uint64_t *count)
{
	bool yes = s->now < FAULTS_END && rng_chance(&s->rng.rng, ppm);

	*count += yes;
	return yes;
}

/* Later ones overtake it. */
static nsec_t faulty_delay(struct sim *s)
{
	return happens(s, s->reorder_ppm, &s->n_reordered) ? rng_below(&s->rng.rng, 300 * NSEC_PER_MSEC) : 0;
}

static void enqueue(struct sim *s, int from, int to, const uint8_t *p, size_t len)
{
	struct datagram *d = malloc(sizeof(*d) + len), **at = &s->queue;

	ASSERT(d);
	*d = (struct datagram){ .at = s->now + s->delay + faulty_delay(s), .from = from, .to = to, .len = len };
	memcpy(d->p, p, len);
	if (happens(s, s->corrupt_ppm, &s->n_corrupt)) {
		size_t at_byte = rng_below(&s->rng.rng, len);

		d->p[at_byte] ^= (uint8_t)(1 + rng_below(&s->rng.rng, 255));
		/* MAC2 is looked at under load only. */
		d->corrupt = !wg_type_is(p, WG_MSG_RESPONSE) || at_byte < len - WG_MAC_LEN;
	}
	while (*at && (*at)->at <= d->at)
		at = &(*at)->next;
	d->next = *at;
	*at = d;
}

static void send_datagram(struct sim *s, struct node *n, const struct endpoint *dst, const uint8_t *p, size_t len)
{
	int to = node_at(s, dst);
	const char *why;

	if (to < 0)
		broken(s, "sent to nobody's address");
	why = wire_sent(&s->wire, n->id, to, p, len);
	if (why)
		broken(s, why);
	if (memmem(p, len, marker, sizeof(marker) - 1))
		broken(s, "plaintext on the wire");
	hash(s, &s->now, sizeof(s->now));
	hash(s, p, len);
	s->n_sent++;
	if (s->trace)
		printf("%12.6f %d > %d type %u, %zu bytes\n", (double)(s->now - START) / NSEC_PER_SEC, n->id, to, p[0], len);
	if (happens(s, s->loss_ppm, &s->n_lost))
		return;
	if (happens(s, s->dup_ppm, &s->n_duplicated))
		enqueue(s, n->id, to, p, len);
	enqueue(s, n->id, to, p, len);
}

static bool deliver_due(struct sim *s)
{
	bool any = false;

	while (s->queue && s->queue->at <= s->now) {
		struct datagram *d = s->queue;
		struct path_addr path = { .remote = s->nodes[d->from].ep, .local = s->nodes[d->to].ep.ip };
		struct wg_datagram in = { d->p, d->len, &path };

		s->queue = d->next;
		if (!d->corrupt)
			wire_delivered(&s->wire, d->from, d->to, d->p, d->len);
		wg_device_input(s->nodes[d->to].dev, s->now, &in, 1);
		free(d);
		any = true;
	}
	return any;
}

/* ---- load ---- */

static uint8_t stream_byte(uint64_t key, size_t at)
{
	uint64_t x = (key + at / 32) * 0x9e3779b97f4a7c15ULL;

	if (at % 32 < sizeof(marker) - 1)
		return (uint8_t)marker[at % 32];
	return (uint8_t)(x >> (at % 8 * 8) ^ x >> 29);
}

static void end_write(struct end *e)
{
	uint8_t buf[4096];

	while (e->n_written < e->n_write) {
		size_t want = MIN(sizeof(buf), e->n_write - e->n_written), got;

		for (size_t i = 0; i < want; i++)
			buf[i] = stream_byte(e->write_key, e->n_written + i);
		got = net_tcp_write(e->c, buf, want);
		e->n_written += got;
		if (got < want)
			return;
	}
	net_tcp_shutdown(e->c);
	e->closed = true;
}

static void end_read(struct end *e)
{
	uint8_t buf[4096];
	size_t n;

	while ((n = net_tcp_read(e->c, buf, sizeof(buf))) > 0)
		for (size_t i = 0; i < n; i++)
			if (buf[i] != stream_byte(e->read_key, e->n_read++))
				broken(e->sim, "a byte was read that was not written there");
	if (net_tcp_at_eof(e->c))
		e->eof = true;
	if (e->n_read > e->n_expected || (e->eof && e->n_read != e->n_expected))
		broken(e->sim, "the stream has another length than what was written");
}

static bool end_is_done(const struct end *e)
{
	return e->eof && e->closed;
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct end *e = ctx;

	e->c = c;
	/* The other side was done and forgot the connection (TIME_WAIT is short); its own check says if it got all. */
	if (ev == NET_TCP_ERROR && end_is_done(e)) {
		e->sim->n_late_resets++;
		return;
	}
	if (ev == NET_TCP_ERROR) {
		fprintf(stderr, "%s: written %zu of %zu, read %zu of %zu\n", err_name(net_tcp_error(c)),
			e->n_written, e->n_write, e->n_read, e->n_expected);
		broken(e->sim, "a connection failed");
	}
	if (ev == NET_TCP_READABLE)
		end_read(e);
	if (!e->closed && (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE))
		end_write(e);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct node *n = ctx;
	struct end *e = &n->sim->flows[remote->ip.b[3] - 1].server;

	if (net_syn_accept(syn, on_tcp, e, &e->c) != OK)
		broken(n->sim, "a SYN cannot be accepted");
}

static void flow_start(struct sim *s, int i)
{
	struct flow *f = &s->flows[i];
	struct endpoint to = { s->nodes[0].inner, PORT, 0 };
	uint64_t key = rng_u64(&s->rng.rng);

	f->client = (struct end){ .sim = s, .write_key = key, .read_key = ~key };
	f->server = (struct end){ .sim = s, .write_key = ~key, .read_key = key };
	f->client.n_write = f->server.n_expected = rng_below(&s->rng.rng, 60000);
	f->server.n_write = f->client.n_expected = rng_below(&s->rng.rng, 60000);
	if (net_tcp_dial(s->nodes[i].nif, &to, on_tcp, &f->client, &f->client.c) != OK)
		broken(s, "dial");
}

/* ---- nodes ---- */

static enum net_output output(void *ctx, const struct iovec *iov, int iovcnt, size_t len)
{
	struct node *n = ctx;
	uint8_t flat[2048];
	const char *why;
	size_t have = 0;

	ASSERT(len <= sizeof(flat));
	for (int i = 0; i < iovcnt; i++) {
		memcpy(flat + have, iov[i].iov_base, iov[i].iov_len);
		have += iov[i].iov_len;
	}
	why = have == len ? wirecheck(flat, len, MTU) : "pieces that are not the whole";
	if (why)
		broken(n->sim, why);
	return wg_device_send(n->dev, n->sim->now, iov, iovcnt, len) == WG_SEND_BLOCKED ? NET_OUTPUT_BLOCKED :
											  NET_OUTPUT_OK;
}

static bool pull(struct sim *s, struct node *n)
{
	struct wg_rx rx;
	struct wg_event ev;
	struct wg_tx tx;
	bool any = false;

	for (; wg_device_next_rx(n->dev, &rx); any = true)
		net_if_input(n->nif, &rx.pb, 1);
	while (wg_device_next_event(n->dev, &ev)) {
		if (ev.kind == WG_EVENT_TIMESTAMP)
			n->timestamp = ev.timestamp;
		if (ev.kind == WG_EVENT_SESSION_UP && n->id != 0 && !s->flows[n->id].client.sim)
			flow_start(s, n->id);
	}
	for (; wg_device_next_tx(n->dev, s->now, &tx); any = true) {
		for (size_t off = 0; off < tx.len; off += tx.seg_len)
			send_datagram(s, n, &tx.path.remote, tx.p + off, MIN((size_t)tx.seg_len, tx.len - off));
		wg_device_tx_done(n->dev);
		if (s->wire.timestamp[n->id] > n->timestamp)
			broken(s, "an initiation was sent before its timestamp was on disk");
	}
	if (net_if_is_blocked(n->nif))
		net_if_resume(n->nif);
	return any;
}

static void turn(struct sim *s)
{
	bool any;

	net_set_now(s->now);
	do {
		any = deliver_due(s);
		for (int i = 0; i < s->n_nodes; i++)
			any |= pull(s, &s->nodes[i]);
		net_flush();
		for (int i = 0; i < s->n_nodes; i++)
			any |= pull(s, &s->nodes[i]);
	} while (any);
}

/* ---- a run ---- */

static void node_prepare(struct sim *s, int i)
{
	struct node *n = &s->nodes[i];

	n->sim = s;
	n->id = i;
	n->inner = ip_addr_v4(10, 99, 0, (uint8_t)(i + 1));
	n->ep = (struct endpoint){ ip_addr_v4(192, 0, 2, (uint8_t)(i + 1)), 51820, 0 };
	wg_generate_private(&s->rng.rng, &n->priv);
	wg_public_from_private(&n->priv, &s->wire.pub[i]);
	s->wire.priv[i] = &n->priv;
}

static void node_add_peer(struct sim *s, struct node *n, const struct node *other)
{
	struct ip_prefix allowed = { other->inner, 32 };
	wg_peer_id peer;

	if (wg_peer_add(n->dev, &s->wire.pub[other->id], s->now, &peer) != OK ||
	    wg_peer_allow(n->dev, peer, &allowed) != OK)
		broken(s, "a peer cannot be added");
	wg_peer_set_endpoint(n->dev, peer, &other->ep, s->now);
}

static void on_udp(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
	broken(((struct node *)ctx)->sim, "a datagram came to the hub that nobody sent");
}

static void node_start(struct sim *s, struct node *n)
{
	struct wg_config wg = { .pool = s->pool, .rng = &s->rng.rng, .timestamp_watermark = n->timestamp, .mtu = MTU };
	struct net_if_config net = { .n_addrs = 1, .mtu = MTU, .output = output, .ctx = n, .reset_closed = true };

	n->dev = wg_device_new(&wg, s->now, 1700000000 * NSEC_PER_SEC + s->now);
	ASSERT(n->dev);
	wg_device_set_private(n->dev, &n->priv, s->now);
	for (int i = 0; i < s->n_nodes; i++)
		if (i != n->id && (i == 0 || n->id == 0))
			node_add_peer(s, n, &s->nodes[i]);
	net.addrs[0] = (struct ip_prefix){ n->inner, 24 };
	if (net_if_open(&net, &n->nif) != OK ||
	    (n->id == 0 && net_udp_open(n->nif, 0, on_udp, n, &n->udp) != OK) ||
	    (n->id == 0 && net_tcp_listen(n->nif, PORT, 64, on_syn, n, &n->listener) != OK))
		broken(s, "an interface cannot be opened");
}

static void sim_init(struct sim *s, uint64_t seed, bool trace)
{
	struct net_config cfg = { 0 };

	*s = (struct sim){ .seed = seed, .now = START, .trace = trace, .trace_hash = 0xcbf29ce484222325ULL };
	rng_seeded_init(&s->rng, seed);
	s->pool = pktpool_new(4096);
	s->wire.mtu = MTU;
	s->n_nodes = 2 + (int)rng_below(&s->rng.rng, 3);
	s->loss_ppm = (uint32_t)rng_below(&s->rng.rng, 200000);
	s->dup_ppm = (uint32_t)rng_below(&s->rng.rng, 100000);
	s->reorder_ppm = (uint32_t)rng_below(&s->rng.rng, 100000);
	s->corrupt_ppm = (uint32_t)rng_below(&s->rng.rng, 20000);
	s->delay = rng_below(&s->rng.rng, 80) * NSEC_PER_MSEC + 10 * NSEC_PER_USEC;
	cfg.rng = &s->rng.rng;
	cfg.pool = s->pool;
	if (!s->pool || net_init(&cfg, s->now) != OK)
		broken(s, "start");
	for (int i = 0; i < s->n_nodes; i++)
		node_prepare(s, i);
	for (int i = 0; i < s->n_nodes; i++)
		node_start(s, &s->nodes[i]);
}

static void sim_fini(struct sim *s)
{
	while (s->queue) {
		struct datagram *d = s->queue;

		s->queue = d->next;
		free(d);
	}
	for (int i = 0; i < s->n_nodes; i++) {
		net_if_close(s->nodes[i].nif);
		wg_device_free(s->nodes[i].dev);
	}
	net_fini();
	wire_fini(&s->wire);
	/* Asserts that every buffer came back. */
	pktpool_free(s->pool);
}

static bool all_done(const struct sim *s)
{
	for (int i = 1; i < s->n_nodes; i++)
		if (!end_is_done(&s->flows[i].client) || !end_is_done(&s->flows[i].server))
			return false;
	return true;
}

static nsec_t next_time(const struct sim *s)
{
	nsec_t next = net_deadline();

	if (s->queue)
		next = nsec_min(next, s->queue->at);
	for (int i = 0; i < s->n_nodes; i++)
		next = nsec_min(next, wg_device_deadline(s->nodes[i].dev));
	return MAX(next, s->now + NSEC_PER_USEC);
}

/* The hub speaks on its own too: both sides may initiate at once, and it has data before a session is confirmed. */
static void hub_chatter(struct sim *s)
{
	struct node *hub = &s->nodes[0];
	struct endpoint to = { .port = 9 };

	if (s->now >= FAULTS_END || !rng_chance(&s->rng.rng, 100000))
		return;
	to.ip = s->nodes[1 + rng_below(&s->rng.rng, (uint64_t)s->n_nodes - 1)].inner;
	if (net_udp_send(hub->udp, &to, marker, sizeof(marker)) == OK)
		s->n_chatter++;
}

static void run_until_done(struct sim *s)
{
	for (turn(s); !all_done(s); turn(s)) {
		s->now = next_time(s);
		if (s->now > RUN_END)
			broken(s, "a flow has not ended although the faults are over");
		for (int i = 0; i < s->n_nodes; i++)
			wg_device_expire(s->nodes[i].dev, s->now);
		net_expire(s->now);
		hub_chatter(s);
	}
}

static void close_flows(struct sim *s)
{
	for (int i = 1; i < s->n_nodes; i++) {
		net_tcp_close(s->flows[i].client.c);
		net_tcp_close(s->flows[i].server.c);
	}
}

struct totals {
	uint64_t n_seeds, n_sent, n_lost, n_duplicated, n_reordered, n_corrupt, n_chatter, n_init, n_resp, n_data, n_keepalive, n_resent, n_late_resets;
};

static uint64_t run_seed(uint64_t seed, bool trace, struct totals *t)
{
	static struct sim s;
	struct net_stats st;

	snprintf(replay_line, sizeof(replay_line), "replay: build/test/sim --seed %llu --trace\n",
		 (unsigned long long)seed);
	sim_init(&s, seed, trace);
	net_set_now(s.now);
	for (int i = 1; i < s.n_nodes; i++)
		wg_peer_connect(s.nodes[i].dev, wg_peer_next(s.nodes[i].dev, 0), s.now);
	run_until_done(&s);
	close_flows(&s);
	net_get_stats(&st);
	t->n_seeds++;
	t->n_sent += s.n_sent;
	t->n_lost += s.n_lost;
	t->n_duplicated += s.n_duplicated;
	t->n_reordered += s.n_reordered;
	t->n_corrupt += s.n_corrupt;
	t->n_chatter += s.n_chatter;
	t->n_init += s.wire.n_init;
	t->n_resp += s.wire.n_resp;
	t->n_data += s.wire.n_data;
	t->n_keepalive += s.wire.n_keepalive;
	t->n_late_resets += s.n_late_resets;
	t->n_resent += st.n_resent;
	sim_fini(&s);
	return s.trace_hash;
}

/* In a process of its own, because lwIP keeps state (time-wait, tick counters) that has no end. Return: its hash. */
static uint64_t run_alone(uint64_t seed, bool trace, struct totals *shared)
{
	static uint64_t *ret_hash;
	int status;
	pid_t pid;

	if (!ret_hash)
		ret_hash = mmap(NULL, sizeof(*ret_hash), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(ret_hash != MAP_FAILED);
	fflush(stdout);
	pid = fork();
	ASSERT(pid >= 0);
	if (pid == 0) {
		*ret_hash = run_seed(seed, trace, shared);
		fflush(stdout);
		_exit(0);
	}
	ASSERT(waitpid(pid, &status, 0) == pid);
	if (status != 0)
		exit(1);
	return *ret_hash;
}

static int report(const struct totals *t)
{
	const struct { const char *name; uint64_t n; } seen[] = {
		{ "datagrams", t->n_sent },   { "lost", t->n_lost },
		{ "duplicated", t->n_duplicated }, { "reordered", t->n_reordered },
		{ "corrupted", t->n_corrupt },
		{ "sent by the hub", t->n_chatter },
		{ "initiations", t->n_init }, { "responses", t->n_resp },
		{ "data", t->n_data },	      { "keepalives", t->n_keepalive },
		{ "resent segments", t->n_resent },
	};
	int bad = 0;

	printf("%llu seeds:", (unsigned long long)t->n_seeds);
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		printf(" %s %llu", seen[i].name, (unsigned long long)seen[i].n);
	printf(" late resets %llu\n", (unsigned long long)t->n_late_resets);
	for (size_t i = 0; i < ARRAY_SIZE(seen) && t->n_seeds >= 100; i++)
		if (seen[i].n == 0) {
			printf("never happened: %s\n", seen[i].name);
			bad = 1;
		}
	return bad;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "seeds", required_argument, NULL, 'n' },
		{ "trace", no_argument, NULL, 't' },	  { 0 },
	};
	uint64_t first = 1, n = 1000;
	struct totals *t = mmap(NULL, 2 * sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool trace = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's') {
			first = strtoull(optarg, NULL, 10);
			n = 1;
		} else if (opt == 'n') {
			n = strtoull(optarg, NULL, 10);
		} else if (opt == 't') {
			trace = true;
		} else {
			return 2;
		}
	}
	ASSERT(t != MAP_FAILED);
	signal(SIGABRT, on_signal);
	signal(SIGSEGV, on_signal);
	for (uint64_t seed = first; seed < first + n; seed++) {
		uint64_t h = run_alone(seed, trace, &t[0]);

		if ((n == 1 || seed % 10 == 0) && run_alone(seed, false, &t[1]) != h) {
			fprintf(stderr, "sim: two runs of seed %llu differ\n", (unsigned long long)seed);
			return 1;
		}
	}
	return report(t);
}
