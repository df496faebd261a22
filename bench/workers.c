/*
 * bench/workers.c - do threads for the cipher make a sender faster where a core is idle, and slower where none is?
 *
 *	workers [--workers off|auto|N] [--ends N] [--rest NS] [--aead NAME] [--seconds S]
 *
 * The sender is a tunnel as the programs have it. It sends datagrams of 1,368 bytes through its stack as fast as it can, and
 * works NS a packet besides, for the local socket and the TCP that a flow would have (890 without the option: with the stack's own
 * part a packet then costs what doc/datapath.md says of one of a flow). Its peer shakes hands and is then stopped, so what is sent
 * costs nobody anything: the kernel drops it. --ends 2: two such senders at once, which leaves no core idle on a machine of two.
 * One JSON object on standard output: what a sender has sent, by the counters of its socket.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/loop.h"
#include "tunnel/tunnel.h"

#define PAYLOAD 1368
#define A_TURN 64 /* packets between two looks at the descriptors */
#define WARM_UP (NSEC_PER_SEC)

static struct {
	double seconds;
	unsigned rest_ns, n_ends;
	int workers;
	const char *aead;
} opt = { .seconds = 3, .rest_ns = 890, .n_ends = 1 };

/* Of one sender. */
struct result {
	double gbps;
	int64_t handed, used, trials;
	char aead[24];
};

static struct os_loop *loop;
static struct tunnel *tun;
static struct net_udp *udp;
static struct os_late source;
static struct os_timer over;
static pid_t peer;
static nsec_t measured_from;
static int64_t sent_before;
static struct result *result;
static uint64_t loops_per_us;
static volatile uint64_t sink;

static void die(const char *what)
{
	fprintf(stderr, "workers: %s\n", what);
	exit(1);
}

/* ---- work that stands for the rest ---- */

static void spin(uint64_t n)
{
	uint64_t x = n;

	for (uint64_t i = 0; i < n; i++)
		x = x * 6364136223846793005ULL + i;
	sink = x;
}

static void calibrate(void)
{
	nsec_t least = NSEC_NEVER;

	for (int i = 0; i < 20; i++) {
		nsec_t from = os_now();

		spin(1000000);
		least = nsec_min(least, os_now() - from);
	}
	loops_per_us = 1000000ULL * 1000 / least;
}

/* ---- a sender and its peer ---- */

static int64_t gauge(const char *name)
{
	struct tunnel_gauge g[TUNNEL_N_GAUGES];
	size_t n = tunnel_gauges(tun, g, ARRAY_SIZE(g));

	for (size_t i = 0; i < n; i++)
		if (strcmp(g[i].name, name) == 0)
			return g[i].value;
	return -1;
}

static void send_some(void *ctx)
{
	static uint8_t payload[PAYLOAD];
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 9, 0 };

	for (int i = 0; i < A_TURN; i++) {
		if (net_udp_send(udp, &to, payload, sizeof(payload)) != OK)
			break;
		spin((uint64_t)opt.rest_ns * loops_per_us / 1000);
	}
	tunnel_kick(tun);
	os_late_ask(&source);
}

static void on_over(void *ctx)
{
	double took = (double)(os_now() - measured_from) / 1e9;

	if (measured_from == 0) {
		measured_from = os_now();
		sent_before = gauge("tx_datagrams");
		os_timer_set(&over, measured_from + (nsec_t)(opt.seconds * 1e9));
		return;
	}
	result->gbps = (double)(gauge("tx_datagrams") - sent_before) * PAYLOAD * 8 / took / 1e9;
	result->handed = gauge("aead_handed");
	result->used = gauge("aead_workers");
	result->trials = gauge("aead_trials");
	snprintf(result->aead, sizeof(result->aead), "%s", tunnel_aead(tun));
	kill(peer, SIGKILL);
	_exit(0);
}

static void on_event(void *ctx, const struct wg_event *ev)
{
	if (ev->kind != WG_EVENT_SESSION_UP || !peer || udp)
		return;
	kill(peer, SIGSTOP);
	if (net_udp_open(tunnel_if(tun), 0, NULL, NULL, &udp) != OK)
		die("no inner socket");
	os_timer_set(&over, os_now() + WARM_UP);
	os_late_ask(&source);
}

static void open_tunnel(bool is_sender, const struct wg_private_key keys[2], uint16_t port)
{
	struct tunnel_config cfg = { .private_key = keys[!is_sender], .n_addrs = 1, .aead = opt.aead, .initiate = is_sender,
				     .listen_port = is_sender ? 0 : port, .on_event = on_event,
				     .aead_workers = is_sender ? opt.workers : TUNNEL_WORKERS_OFF };
	struct tunnel_peer other = { .n_allowed = 1 };

	loop = os_loop_new();
	cfg.addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, is_sender ? 1 : 2), 32 };
	if (!loop || tunnel_open(loop, &cfg, &tun) != OK)
		die("no tunnel");
	wg_public_from_private(&keys[is_sender], &other.key);
	other.allowed[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, is_sender ? 2 : 1), 32 };
	if (is_sender)
		other.endpoint = (struct endpoint){ ip_addr_v4(127, 0, 0, 1), port, 0 };
	if (tunnel_add_peer(tun, &other) != OK)
		die("no peer");
}

static void be_sender(struct result *r)
{
	struct wg_private_key keys[2];
	uint16_t port = (uint16_t)(20000 + rng_below(os_rng(), 10000));

	result = r;
	for (int i = 0; i < 2; i++)
		wg_generate_private(os_rng(), &keys[i]);
	peer = fork();
	if (peer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		open_tunnel(false, keys, port);
		os_loop_run(loop);
	}
	usleep(100000);
	open_tunnel(true, keys, port);
	os_late_init(&source, loop, send_some, NULL);
	os_timer_init(&over, loop, on_over, NULL);
	os_loop_run(loop);
}

/* ---- main ---- */

static double cpu_s(void)
{
	struct rusage r;

	getrusage(RUSAGE_CHILDREN, &r);
	return (double)r.ru_utime.tv_sec + (double)r.ru_utime.tv_usec / 1e6 + (double)r.ru_stime.tv_sec + (double)r.ru_stime.tv_usec / 1e6;
}

static void run(void)
{
	struct result *r = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double sum = 0;

	if (r == MAP_FAILED)
		die("no memory");
	calibrate();
	for (unsigned i = 0; i < opt.n_ends; i++)
		if (fork() == 0)
			be_sender(&r[i]);
	for (unsigned i = 0; i < opt.n_ends; i++)
		wait(NULL);
	for (unsigned i = 0; i < opt.n_ends; i++)
		sum += r[i].gbps;
	printf("{\"aead\":\"%s\",\"workers\":%d,\"ends\":%u,\"rest_ns\":%u,\"gbps_an_end\":%.2f,\"in_use\":%lld,\"handed\":%lld,"
	       "\"trials\":%lld,\"cpu_s_per_gb\":%.2f}\n",
	       r[0].aead, opt.workers, opt.n_ends, opt.rest_ns, sum / opt.n_ends, (long long)r[0].used, (long long)r[0].handed,
	       (long long)r[0].trials, cpu_s() / (sum * (opt.seconds + 1) / 8));
}

static bool read_options(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--aead") == 0)
			opt.aead = argv[i + 1];
		else if (strcmp(argv[i], "--rest") == 0)
			opt.rest_ns = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--workers") == 0 && tunnel_workers_parse(argv[i + 1], &opt.workers))
			;
		else if (strcmp(argv[i], "--ends") == 0)
			opt.n_ends = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seconds") == 0)
			opt.seconds = atof(argv[i + 1]);
		else
			return false;
	}
	return argc % 2 == 1 && opt.n_ends >= 1 && opt.n_ends <= 64 && opt.seconds > 0;
}

int main(int argc, char **argv)
{
	if (!read_options(argc, argv)) {
		fprintf(stderr, "usage: workers [--workers off|auto|N] [--ends N] [--rest NS] [--aead NAME] [--seconds S]\n");
		return 2;
	}
	run();
	return 0;
}
