/*
 * bench/quick.c - what a packet costs us, without sockets, other processes or the kernel: for `make bench-quick`.
 *
 *	quick [ROUNDS]
 *
 * Each piece of work runs on a virtual clock and always does the same. Where the machine counts instructions, they are
 * what is counted; else it is processor time, divided by the time of a fixed piece of another library's work
 * (libsodium's cipher) right before and after, so that a machine that is slower just then divides out. The median of ROUNDS such
 * quotients counts. One JSON object on standard output.
 */
#include <linux/perf_event.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "test/lib/netpair.h"
#include "test/lib/wgpair.h"

#define N_PACKETS 20000
#define N_CONNECTIONS 300
#define N_HANDSHAKES 300
#define N_CALIBRATIONS 2000
#define N_ROUNDS_MAX 1000

static int counter = -1; /* of instructions; -1: this machine does not tell */

static void open_counter(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_HARDWARE, .size = sizeof(attr),
					.config = PERF_COUNT_HW_INSTRUCTIONS, .exclude_kernel = 1 };

	counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static double spent(void)
{
	struct timespec ts;
	uint64_t n;

	if (counter >= 0 && read(counter, &n, sizeof(n)) == sizeof(n))
		return (double)n;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ---- TCP ---- */

struct stream {
	struct netpair p;
	struct net_tcp *to;
	uint64_t got, want;
	unsigned n_open;
};

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		netpair_fill(c, 1 << 16);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct stream *s = ctx;

	if (ev == NET_TCP_READABLE)
		s->got += netpair_drain(c);
	if (net_tcp_at_eof(c)) {
		net_tcp_close(c);
		s->n_open--;
	}
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct stream *s = ctx;

	if (net_syn_accept(syn, on_to, s, &s->to) == OK)
		s->n_open++;
}

static bool got_all(void *ctx)
{
	struct stream *s = ctx;

	return s->got >= s->want;
}

static struct net_tcp *dial(struct stream *s, net_tcp_fn fn)
{
	struct endpoint to = { { .family = IP_V4, .b = { 10, 99, 0, 2 } }, 22, 0 };
	struct net_tcp *c;

	if (net_tcp_dial(s->p.a.nif, &to, fn, s, &c) != OK)
		exit(1);
	return c;
}

static struct net_listener *begin(struct stream *s, uint64_t seed)
{
	/* Both ends share the caches here: how much is in flight must not be what is measured. */
	static const struct net_config limits = { .wnd_bytes_max = 1 << 20 };
	struct net_listener *l;

	netpair_init_limits(&s->p, seed, &limits);
	s->p.unwatched = true;
	s->p.delay = 50 * NSEC_PER_USEC;
	if (net_tcp_listen(s->p.b.nif, 22, 64, on_syn, s, &l) != OK)
		exit(1);
	return l;
}

static double segments(void)
{
	struct stream s = { .want = (uint64_t)N_PACKETS * 1380 };
	struct net_listener *l;
	struct net_tcp *c;
	double cost;

	l = begin(&s, 1);
	c = dial(&s, on_from);
	s.want /= 4; /* slow start, and the caches */
	if (!netpair_run(&s.p, 60 * NSEC_PER_SEC, got_all, &s))
		exit(1);
	s.want = s.got + (uint64_t)N_PACKETS * 1380;
	cost = spent();
	if (!netpair_run(&s.p, 60 * NSEC_PER_SEC, got_all, &s))
		exit(1);
	cost = spent() - cost;
	net_tcp_abort(c);
	net_tcp_abort(s.to);
	net_listener_close(l);
	netpair_fini(&s.p);
	return cost / N_PACKETS;
}

static void on_short(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	if (ev == NET_TCP_CONNECTED)
		net_tcp_shutdown(c);
}

static bool is_shut(void *ctx)
{
	return ((struct stream *)ctx)->n_open == 0 && ((struct stream *)ctx)->to;
}

static double connections(void)
{
	struct stream s = { 0 };
	struct net_listener *l;
	double cost;

	l = begin(&s, 2);
	cost = spent();
	for (int i = 0; i < N_CONNECTIONS; i++) {
		struct net_tcp *c = dial(&s, on_short);

		s.to = NULL;
		if (!netpair_run(&s.p, NSEC_PER_SEC, is_shut, &s))
			exit(1);
		net_tcp_close(c);
	}
	cost = spent() - cost;
	net_listener_close(l);
	netpair_fini(&s.p);
	return cost / N_CONNECTIONS;
}

/* ---- WireGuard ---- */

static double transport(void)
{
	struct wgpair p;
	double cost;

	wgpair_init(&p, 3);
	p.unwatched = true;
	wgpair_connect(&p);
	cost = spent();
	for (int i = 0; i < N_PACKETS / 16; i++) {
		for (int k = 0; k < 16; k++)
			(void)wgpair_send(&p, &p.a, 1400, NULL);
		wgpair_pump(&p);
	}
	cost = spent() - cost;
	wgpair_fini(&p);
	return cost / N_PACKETS;
}

static double handshakes(void)
{
	struct wgpair p;
	double cost = 0;

	wgpair_init(&p, 4);
	p.unwatched = true;
	for (int i = 0; i < N_HANDSHAKES; i++) {
		double before;

		wgpair_restart(&p, &p.a, p.a.timestamp);
		p.now += NSEC_PER_SEC;
		p.wall += NSEC_PER_SEC;
		before = spent();
		wgpair_connect(&p);
		cost += spent() - before;
	}
	wgpair_fini(&p);
	return cost / N_HANDSHAKES;
}

/* ---- the measure ---- */

static double calibration(void)
{
	static const uint8_t key[32], nonce[12];
	static uint8_t plain[1400], out[1400 + 16];
	double cost = spent();

	for (int i = 0; i < N_CALIBRATIONS; i++)
		crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, 1400, NULL, 0, NULL, nonce, key);
	return (spent() - cost) / N_CALIBRATIONS;
}

static const struct {
	const char *name;
	double (*run)(void);
} works[] = {
	{ "tcp segment, both ends", segments },
	{ "tcp connection, both ends", connections },
	{ "wireguard packet, both ends", transport },
	{ "wireguard handshake, both ends", handshakes },
};

#define N_WORKS (sizeof(works) / sizeof(works[0]))

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double cost[N_WORKS][N_ROUNDS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 9;

	if (sodium_init() < 0 || rounds < 1 || rounds > N_ROUNDS_MAX)
		return 2;
	open_counter();
	for (int r = 0; r < rounds; r++)
		for (size_t i = 0; i < N_WORKS; i++) {
			double before = calibration();
			double work = works[i].run();

			cost[i][r] = counter < 0 ? 2 * work / (before + calibration()) : work;
		}
	printf("{\"unit\":\"%s\"", counter < 0 ? "libsodium packets" : "instructions");
	for (size_t i = 0; i < N_WORKS; i++) {
		qsort(cost[i], (size_t)rounds, sizeof(cost[i][0]), by_size);
		printf(",\"%s\":%.4f", works[i].name, cost[i][rounds / 2]);
	}
	printf("}\n");
	return 0;
}
