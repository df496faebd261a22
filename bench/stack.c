/*
 * bench/stack.c - source and sink on net.h itself, in two processes; and the ceiling below it.
 *
 *	stack up|rr|crr|ceiling [--flows N] [--seconds S] [--aead NAME] [--workers auto|off|N]
 *
 * The parent is the client, its child the server; each has its own tunnel on loopback. What the sink received is
 * counted, and the processor time of either process. One JSON object on standard output.
 *	ceiling    no TCP/IP at all: sealed in batches, sent as GSO runs, opened, counted; a window of 2 MiB, so that
 *	           nothing is lost
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/loop.h"
#include "os/udp.h"
#include "tunnel/tunnel.h"
#include "wg/aead.h"

#define CHUNK 65536
#define N_SAMPLES_MAX 1000000
#define SERVICE 4242

enum mode { UP, RR, CRR, CEILING };

static struct {
	enum mode mode;
	int flows;
	double seconds;
	const char *aead;
	int workers;
} opt = { .flows = 1, .seconds = 5 };

/* Shared between the two processes. */
static struct shared {
	struct wg_private_key keys[2];
	uint16_t ports[2];
	volatile uint64_t received, per_flow[256];
	volatile bool ready;
} *sh;

static struct os_loop *loop;
static struct tunnel *tun;
static uint8_t chunk[CHUNK];

static void die(const char *what, enum err e)
{
	fprintf(stderr, "stack: %s: %s\n", what, err_text(e));
	exit(1);
}

static struct ip_addr address(int side)
{
	struct ip_addr a = { .family = IP_V4, .b = { 10, 99, 0, (uint8_t)(side + 1) } };

	return a;
}

static void open_tunnel(int side)
{
	struct tunnel_config cfg = { .private_key = sh->keys[side], .n_addrs = 1, .aead = opt.aead, .initiate = side == 0,
				     .aead_workers = opt.workers };
	struct tunnel_peer peer = { .n_allowed = 1 };
	enum err e;

	cfg.addrs[0] = (struct ip_prefix){ address(side), 32 };
	cfg.listen_port = side == 1 ? sh->ports[1] : 0;
	e = tunnel_open(loop, &cfg, &tun);
	if (e != OK)
		die("tunnel", e);
	wg_public_from_private(&sh->keys[!side], &peer.key);
	peer.allowed[0] = (struct ip_prefix){ address(!side), 32 };
	if (side == 0)
		peer.endpoint = (struct endpoint){ { .family = IP_V4, .b = { 127, 0, 0, 1 } }, sh->ports[1], 0 };
	e = tunnel_add_peer(tun, &peer);
	if (e != OK)
		die("peer", e);
}

/* ---- server: counts, and echoes what comes on the echo port ---- */

struct served {
	int flow;
	bool echo;
};

static void on_served(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct served *s = ctx;
	struct iovec iov[64];
	size_t sum = 0;
	int n;

	if (ev == NET_TCP_ERROR) {
		net_tcp_close(c);
		free(s);
		return;
	}
	while ((n = net_tcp_peek(c, iov, 64)) > 0) {
		size_t part = 0;

		for (int i = 0; i < n; i++) {
			part += iov[i].iov_len;
			if (s->echo)
				net_tcp_write(c, iov[i].iov_base, iov[i].iov_len);
		}
		net_tcp_consume(c, part);
		sum += part;
	}
	sh->received += sum;
	sh->per_flow[s->flow % 256] += sum;
	if (net_tcp_at_eof(c)) {
		net_tcp_close(c);
		free(s);
	}
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	static int n_flows;
	struct served *s = calloc(1, sizeof(*s));
	struct net_tcp *c;

	s->flow = n_flows++;
	s->echo = opt.mode != UP;
	if (net_syn_accept(syn, on_served, s, &c) != OK)
		free(s);
}

static void serve(void)
{
	struct net_listener *l;
	enum err e;

	open_tunnel(1);
	e = net_tcp_listen(tunnel_if(tun), SERVICE, 1024, on_syn, NULL, &l);
	if (e != OK)
		die("listen", e);
	sh->ready = true;
	os_loop_run(loop);
}

/* ---- client ---- */

struct flow {
	struct net_tcp *c;
	nsec_t sent;
};

static struct flow flows[256];
static nsec_t *samples;
static size_t n_samples;
static nsec_t measured_from;
static uint64_t received_before;

static void fill(struct net_tcp *c)
{
	while (net_tcp_writable(c) > 0)
		if (net_tcp_write(c, chunk, sizeof(chunk)) < sizeof(chunk))
			return;
	net_tcp_write(c, chunk, sizeof(chunk)); /* asks to be told of room */
}

static void take_sample(struct flow *f)
{
	nsec_t t = os_now();

	if (n_samples < N_SAMPLES_MAX)
		samples[n_samples++] = t - f->sent;
	f->sent = t;
}

static void dial(struct flow *f);

static void on_flow(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;
	char byte;

	if (ev == NET_TCP_ERROR)
		die("flow", net_tcp_error(c));
	if (opt.mode == UP && ev == NET_TCP_WRITABLE)
		fill(c);
	if (opt.mode == UP || ev != NET_TCP_READABLE || net_tcp_read(c, &byte, 1) != 1)
		return;
	take_sample(f);
	if (opt.mode == RR) {
		net_tcp_write(c, "x", 1);
	} else {
		net_tcp_close(c);
		dial(f);
	}
}

static void on_dialed(void *ctx, enum err e, struct net_tcp *c)
{
	struct flow *f = ctx;

	if (e != OK)
		die("dial", e);
	net_tcp_set_fn(c, on_flow, f);
	f->c = c;
	if (opt.mode == RR)
		f->sent = os_now();
	if (opt.mode == UP)
		fill(c);
	else
		net_tcp_write(c, "x", 1);
}

static void dial(struct flow *f)
{
	struct endpoint to = { address(1), SERVICE, 0 };
	struct tunnel_dial *d;
	enum err e;

	f->sent = os_now();
	e = tunnel_dial_start(tun, &to, os_now() + 5 * NSEC_PER_SEC, on_dialed, f, &d);
	if (e != OK)
		die("dial", e);
}

static int by_value(const void *a, const void *b)
{
	nsec_t x = *(const nsec_t *)a, y = *(const nsec_t *)b;

	return (x > y) - (x < y);
}

static double cpu_seconds(const struct rusage *r)
{
	return (double)r->ru_utime.tv_sec + (double)r->ru_utime.tv_usec / 1e6 + (double)r->ru_stime.tv_sec +
	       (double)r->ru_stime.tv_usec / 1e6;
}

static void report(double took, uint64_t bytes, pid_t child)
{
	static const char *const names[] = { "up", "rr", "crr", "ceiling" };
	struct rusage mine, its;
	int status;

	kill(child, SIGTERM);
	wait4(child, &status, 0, &its);
	getrusage(RUSAGE_SELF, &mine);
	printf("{\"mode\":\"%s\",\"flows\":%d,\"seconds\":%.3f,\"gbps\":%.3f", names[opt.mode], opt.flows, took,
	       (double)bytes * 8 / took / 1e9);
	if (opt.mode == UP || opt.mode == CEILING)
		printf(",\"cpu_s_per_gb\":%.3f", (cpu_seconds(&mine) + cpu_seconds(&its)) / ((double)bytes / 1e9));
	if (n_samples > 0) {
		qsort(samples, n_samples, sizeof(*samples), by_value);
		printf(",\"per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f", (double)n_samples / took,
		       (double)samples[n_samples / 2] / 1e3, (double)samples[n_samples * 99 / 100] / 1e3,
		       (double)samples[n_samples * 999 / 1000] / 1e3);
	}
	printf(",\"rss_mib\":[%.1f,%.1f]}\n", (double)mine.ru_maxrss / 1024, (double)its.ru_maxrss / 1024);
}

static pid_t server_pid;

static void on_over(void *ctx)
{
	nsec_t now = os_now();

	report((double)(now - measured_from) / 1e9, sh->received - received_before, server_pid);
	exit(0);
}

static void on_warm(void *ctx)
{
	static struct os_timer over;

	measured_from = os_now();
	received_before = sh->received;
	n_samples = 0;
	os_timer_init(&over, loop, on_over, NULL);
	os_timer_set(&over, measured_from + (nsec_t)(opt.seconds * 1e9));
}

static void client(void)
{
	static struct os_timer warm;

	while (!sh->ready)
		usleep(1000);
	samples = malloc(N_SAMPLES_MAX * sizeof(*samples));
	open_tunnel(0);
	for (int i = 0; i < opt.flows; i++)
		dial(&flows[i]);
	os_timer_init(&warm, loop, on_warm, NULL);
	os_timer_set(&warm, os_now() + NSEC_PER_SEC / 2);
	os_loop_run(loop);
}

/* ---- the ceiling ---- */

#define N_SEGS 44
#define SEG 1452
#define PLAIN (SEG - 32)
#define WINDOW (2u << 20)

static const struct wg_aead *aead;
static const uint8_t ceiling_key[32] = "a key for measurements, 32 bytes";

static void ceiling_open(void *ctx, const struct os_udp_dgram *d, size_t n)
{
	static uint8_t plain[64][2048];
	struct wg_aead_job jobs[64];

	for (size_t done = 0; done < n;) {
		size_t m = MIN(n - done, (size_t)64);
		uint64_t good = 0;

		for (size_t i = 0; i < m; i++)
			jobs[i] = (struct wg_aead_job){ .key = ceiling_key, .counter = get_le64(d[done + i].p + 8),
							.src = d[done + i].p + 16, .dst = plain[i],
							.len = d[done + i].len - 16 };
		aead->open(jobs, m, 0);
		for (size_t i = 0; i < m; i++)
			good += jobs[i].ok;
		sh->received += good * PLAIN;
		done += m;
	}
}

static void ceiling_nothing(void *ctx)
{
}

static void ceiling_serve(void)
{
	struct os_udp_handler h = { ceiling_open, ceiling_nothing, NULL };
	struct os_udp *udp;
	enum err e = os_udp_open(loop, sh->ports[1], &h, &udp);

	if (e != OK)
		die("socket", e);
	sh->ready = true;
	os_loop_run(loop);
}

static void ceiling_client(void)
{
	struct os_udp_handler h = { ceiling_open, ceiling_nothing, NULL };
	struct path_addr to = { .remote = { { .family = IP_V4, .b = { 127, 0, 0, 1 } }, sh->ports[1], 0 } };
	static uint8_t run[N_SEGS * SEG];
	struct wg_aead_job jobs[N_SEGS];
	uint64_t counter = 0, sent = 0, before;
	nsec_t from, now;
	struct os_udp *udp;
	enum err e = os_udp_open(loop, 0, &h, &udp);

	if (e != OK)
		die("socket", e);
	while (!sh->ready)
		usleep(1000);
	from = os_now();
	before = 0;
	do {
		now = os_now();
		while (sent - sh->received > WINDOW && os_now() - now < NSEC_PER_SEC)
			;
		for (size_t i = 0; i < N_SEGS; i++) {
			uint8_t *p = run + i * SEG;

			put_le64(p + 8, counter);
			jobs[i] = (struct wg_aead_job){ .key = ceiling_key, .counter = counter++, .src = p + 16,
							.dst = p + 16, .len = PLAIN };
		}
		aead->seal(jobs, N_SEGS, 0);
		e = os_udp_send(udp, &to, run, sizeof(run), SEG);
		if (e == OK)
			sent += N_SEGS * PLAIN;
	} while (now - from < (nsec_t)(opt.seconds * 1e9));
	report((double)(now - from) / 1e9, sh->received - before, server_pid);
	exit(0);
}

/* ---- main ---- */

static bool read_options(int argc, char **argv)
{
	static const char *const names[] = { "up", "rr", "crr", "ceiling" };
	bool known = false;

	for (int i = 0; argc > 1 && i < 4; i++)
		if (strcmp(argv[1], names[i]) == 0) {
			opt.mode = (enum mode)i;
			known = true;
		}
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--flows") == 0)
			opt.flows = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seconds") == 0)
			opt.seconds = atof(argv[i + 1]);
		else if (strcmp(argv[i], "--aead") == 0)
			opt.aead = argv[i + 1];
		else if (strcmp(argv[i], "--workers") == 0 && tunnel_workers_parse(argv[i + 1], &opt.workers))
			;
		else
			known = false;
	}
	return known && opt.flows >= 1 && opt.flows <= 256;
}

int main(int argc, char **argv)
{
	bool ceiling;

	if (!read_options(argc, argv)) {
		fprintf(stderr, "usage: stack up|rr|crr|ceiling [--flows N] [--seconds S] [--aead NAME] [--workers auto|off|N]\n");
		return 2;
	}
	ceiling = opt.mode == CEILING;
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("memory", ERR_NOMEM);
	for (int i = 0; i < 2; i++)
		wg_generate_private(os_rng(), &sh->keys[i]);
	sh->ports[1] = (uint16_t)(20000 + rng_below(os_rng(), 10000));
	aead = wg_aead_find(opt.aead ? opt.aead : wg_aead_pick(os_now));
	if (!aead)
		die("aead", ERR_NOT_FOUND);
	server_pid = fork();
	loop = os_loop_new();
	if (!loop)
		die("loop", ERR_NOMEM);
	if (server_pid == 0)
		ceiling ? ceiling_serve() : serve();
	else
		ceiling ? ceiling_client() : client();
	return 0;
}
