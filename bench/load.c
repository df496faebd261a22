/*
 * bench/load.c - ordinary TCP load, to be put in front of and behind whatever is measured.
 *
 *	load serve PORT [IP [CONTROL]]  one server for all modes, on 127.0.0.1
 *	load relay PORT HOST:PORT       accepts on 127.0.0.1, connects to HOST:PORT, copies: what a hop costs that does nothing else
 *	load run HOST:PORT MODE [--flows N] [--seconds S] [--size BYTES] [--socks IP:PORT] [--bins MS] [--congestion CONTROL]
 *
 * The client's first byte names the mode. Results are one JSON object on standard output.
 *	up      the client sends; the server counts and tells the sum at the end, so what lies in buffers on the way counts
 *	        only when it has arrived, and the time until then counts too
 *	down    the server sends; the client counts
 *	rr      one byte there and one back; percentiles of the time
 *	crr     connect, one byte there and one back, close; how many in a second
 *	get     one byte there, 64 KiB back, on one connection; percentiles of the time
 *	both    half of the flows up, half down
 * --bins prints beside it what arrived in each span of MS (down only). CONTROL is one of the kernel's congestion controls.
 * A thread a flow, blocking calls: the load itself shall not be clever. The server's threads stay for the next connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536
#define LAST 1 /* the first byte of the last chunk; half-close is not relied on, for some tools do not carry it */
#define N_FLOWS_MAX 256
#define N_SAMPLES_MAX 2000000
#define N_BINS 4096
#define REFUSED_MAX 20 /* connections in a row */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *congestion; /* the kernel's name, NULL for its default */

static void set_options(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (congestion && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)) != 0)
		die(congestion);
}

static bool write_all(int fd, const void *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n <= 0)
			return false;
		p = (const char *)p + n;
		len -= (size_t)n;
	}
	return true;
}

/* ---- server ---- */

static void serve_up(int fd)
{
	static __thread char buf[CHUNK];
	uint64_t sum = 0;
	bool last = false;
	ssize_t n;

	while (!(last && sum % CHUNK == 0) && (n = read(fd, buf, CHUNK - sum % CHUNK)) > 0) {
		if (sum % CHUNK == 0)
			last = buf[0] == LAST;
		sum += (uint64_t)n;
	}
	write_all(fd, &sum, sizeof(sum));
}

static void serve_down(int fd)
{
	static __thread char buf[CHUNK];

	while (write_all(fd, buf, sizeof(buf)))
		;
}

static void serve_echo(int fd)
{
	char buf[CHUNK];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0 && write_all(fd, buf, (size_t)n))
		;
}

static void serve_answers(int fd)
{
	static __thread char buf[CHUNK];
	char c;

	while (read(fd, &c, 1) == 1 && write_all(fd, buf, sizeof(buf)))
		;
}

static void serve_one(int fd)
{
	char mode = 0;

	set_options(fd);
	if (read(fd, &mode, 1) == 1) {
		if (mode == 'u')
			serve_up(fd);
		else if (mode == 'd')
			serve_down(fd);
		else if (mode == 'g')
			serve_answers(fd);
		else
			serve_echo(fd);
	}
	close(fd);
}

/* As many threads as connections at once ever were, and one: a thread for each connection costs more than the connection. */
static atomic_int n_waiting;

static void *serve_always(void *arg);

static void start_server(int listener)
{
	pthread_attr_t attr;
	pthread_t t;

	n_waiting++;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	if (pthread_create(&t, &attr, serve_always, (void *)(intptr_t)listener) != 0)
		n_waiting--; /* those that there are go on */
	pthread_attr_destroy(&attr);
}

static void *serve_always(void *arg)
{
	int listener = (int)(intptr_t)arg;

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (--n_waiting == 0)
			start_server(listener);
		serve_one(fd);
		n_waiting++;
	}
	return NULL;
}

static int listen_on(int port, const char *ip)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	sa.sin_addr.s_addr = inet_addr(ip);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 || listen(fd, 1024) != 0)
		die("listen");
	return fd;
}

_Noreturn static void serve(int port, const char *ip)
{
	start_server(listen_on(port, ip));
	for (;;)
		pause();
}

/* ---- relay ---- */

#define N_EVENTS 64

/* One direction in: what comes here goes to the other; a pair is freed when both have ended. */
struct hop {
	int fd;
	struct hop *other;
	bool ended;
};

static struct sockaddr_in target;

static void relay_accept(int set, int listener)
{
	int fds[2] = { accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1 };
	struct hop *hops = fds[0] < 0 ? NULL : calloc(2, sizeof(*hops));

	if (!hops)
		return;
	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fds[1], (struct sockaddr *)&target, sizeof(target)) != 0)
		die("connect");
	for (int i = 0; i < 2; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = &hops[i] };

		hops[i] = (struct hop){ .fd = fds[i], .other = &hops[1 - i] };
		set_options(fds[i]);
		if (epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &e) != 0)
			die("epoll");
	}
}

/* Writes block, and with them all flows for as long as one reader is behind. The last event of a pair frees it. */
static void relay_copy(int set, struct hop *h)
{
	static char buf[CHUNK];
	ssize_t n = read(h->fd, buf, sizeof(buf));

	if (n > 0 && write_all(h->other->fd, buf, (size_t)n))
		return;
	h->ended = true;
	epoll_ctl(set, EPOLL_CTL_DEL, h->fd, NULL);
	if (!h->other->ended) {
		shutdown(h->other->fd, SHUT_WR);
		return;
	}
	close(h->fd);
	close(h->other->fd);
	free(h < h->other ? h : h->other); /* the two are one block */
}

_Noreturn static void relay(int port)
{
	int listener = listen_on(port, "127.0.0.1"), set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[N_EVENTS], e = { .events = EPOLLIN };

	fcntl(listener, F_SETFL, O_NONBLOCK);
	if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, listener, &e) != 0)
		die("epoll");
	for (;;) {
		int n = epoll_wait(set, events, N_EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct hop *h = events[i].data.ptr;

			if (!h)
				relay_accept(set, listener);
			else
				relay_copy(set, h);
		}
	}
}

/* ---- client ---- */

static struct sockaddr_in socks;
static double seconds = 5, started, bin; /* bin: seconds, 0 for none */
static size_t size = CHUNK;
static _Atomic uint64_t bins[N_BINS];
static atomic_bool over;

struct flow {
	pthread_t thread;
	uint64_t bytes, count, n_refused;
	double elapsed;
	float *samples; /* seconds */
	const char *error;
};

/* RFC 1928: no authentication, CONNECT to an IPv4 address. */
static bool socks_connect(int fd)
{
	uint8_t ask[10] = { 5, 1, 0, 1 }, answer[12];

	memcpy(ask + 4, &target.sin_addr, 4);
	memcpy(ask + 8, &target.sin_port, 2);
	return write_all(fd, "\5\1\0", 3) && recv(fd, answer, 2, MSG_WAITALL) == 2 && write_all(fd, ask, sizeof(ask)) &&
	       recv(fd, answer, 10, MSG_WAITALL) == 10 && answer[1] == 0;
}

static int connect_target(struct flow *f)
{
	const struct sockaddr_in *to = socks.sin_port ? &socks : &target;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = 20 };

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) != 0 || (socks.sin_port && !socks_connect(fd))) {
		f->error = "connect";
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	set_options(fd);
	return fd;
}

static void *run_up(void *arg)
{
	static __thread char buf[CHUNK];
	struct flow *f = arg;
	int fd = connect_target(f);
	bool ok = true;

	if (fd < 0)
		return NULL;
	write_all(fd, "u", 1);
	while (ok && buf[0] != LAST) {
		buf[0] = over ? LAST : 0;
		for (size_t at = 0; ok && at < CHUNK; at += size)
			ok = write_all(fd, buf + at, size < CHUNK - at ? size : CHUNK - at);
	}
	if (!ok)
		f->error = "write";
	if (recv(fd, &f->bytes, sizeof(f->bytes), MSG_WAITALL) != sizeof(f->bytes))
		f->error = "no sum from the server";
	f->elapsed = now() - started;
	close(fd);
	return NULL;
}

static void count_bin(uint64_t n)
{
	size_t i = bin > 0 ? (size_t)((now() - started) / bin) : N_BINS;

	if (i < N_BINS)
		atomic_fetch_add_explicit(&bins[i], n, memory_order_relaxed);
}

static void *run_down(void *arg)
{
	static __thread char buf[CHUNK];
	struct flow *f = arg;
	int fd = connect_target(f);

	if (fd < 0)
		return NULL;
	write_all(fd, "d", 1);
	while (!over) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0) {
			f->error = "read";
			break;
		}
		f->bytes += (uint64_t)n;
		count_bin((uint64_t)n);
	}
	f->elapsed = now() - started;
	close(fd);
	return NULL;
}

static bool exchange(int fd, size_t answer)
{
	static __thread char buf[CHUNK];

	return write(fd, "x", 1) == 1 && recv(fd, buf, answer, MSG_WAITALL) == (ssize_t)answer;
}

static void sample(struct flow *f, double took)
{
	if (f->count < N_SAMPLES_MAX)
		f->samples[f->count] = (float)took;
	f->count++;
}

static void *exchanges(struct flow *f, const char *kind, size_t answer)
{
	int fd = connect_target(f);

	if (fd < 0)
		return NULL;
	write_all(fd, kind, 1);
	while (!over && !f->error) {
		double t = now();

		if (!exchange(fd, answer))
			f->error = "exchange";
		sample(f, now() - t);
	}
	f->elapsed = now() - started;
	close(fd);
	return NULL;
}

static void *run_rr(void *arg)
{
	return exchanges(arg, "r", 1);
}

static void *run_get(void *arg)
{
	return exchanges(arg, "g", CHUNK);
}

static void *run_crr(void *arg)
{
	struct flow *f = arg;
	int in_a_row = 0;

	while (!over && in_a_row < REFUSED_MAX) {
		double t = now();
		int fd = connect_target(f);
		bool ok = fd >= 0 && write(fd, "rx", 2) == 2 && read(fd, &(char){ 0 }, 1) == 1;

		if (fd >= 0)
			close(fd);
		if (ok)
			sample(f, now() - t);
		f->n_refused += !ok;
		in_a_row = ok ? 0 : in_a_row + 1;
	}
	/* A tool that refuses one in thousands is slower by as much, and told; one that refuses many in a row has failed. */
	if (in_a_row < REFUSED_MAX)
		f->error = NULL;
	f->elapsed = now() - started;
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void print_percentiles(struct flow *flows, int n_flows)
{
	size_t n = 0;
	float *all;

	for (int i = 0; i < n_flows; i++)
		n += flows[i].count < N_SAMPLES_MAX ? flows[i].count : N_SAMPLES_MAX;
	all = malloc((n + 1) * sizeof(*all));
	if (!all || n == 0)
		return;
	n = 0;
	for (int i = 0; i < n_flows; i++)
		for (uint64_t k = 0; k < flows[i].count && k < N_SAMPLES_MAX; k++)
			all[n++] = flows[i].samples[k];
	qsort(all, n, sizeof(*all), by_value);
	printf(",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f", all[n / 2] * 1e6, all[n * 99 / 100] * 1e6,
	       all[n * 999 / 1000] * 1e6);
	free(all);
}

static int report(const char *mode, struct flow *flows, int n_flows)
{
	double sum = 0, least = 1e18, longest = 0;
	uint64_t count = 0, refused = 0;
	int failed = 0;

	for (int i = 0; i < n_flows; i++) {
		double rate = flows[i].elapsed > 0 ? (double)flows[i].bytes * 8 / flows[i].elapsed / 1e9 : 0;

		if (flows[i].error) {
			fprintf(stderr, "load: flow %d: %s\n", i, flows[i].error);
			failed++;
		}
		sum += rate;
		least = rate < least ? rate : least;
		longest = flows[i].elapsed > longest ? flows[i].elapsed : longest;
		count += flows[i].count;
		refused += flows[i].n_refused;
	}
	printf("{\"mode\":\"%s\",\"flows\":%d,\"seconds\":%.3f,\"failed\":%d", mode, n_flows, longest, failed);
	if (count == 0)
		printf(",\"gbps\":%.4f,\"least_gbps\":%.4f", sum, least);
	else
		printf(",\"per_second\":%.1f", longest > 0 ? (double)count / longest : 0);
	if (refused)
		printf(",\"refused\":%llu", (unsigned long long)refused);
	if (count)
		print_percentiles(flows, n_flows);
	for (size_t i = 0; bin > 0 && (double)i * bin < seconds && i < N_BINS; i++)
		printf("%s%llu", i ? "," : ",\"bins\":[", (unsigned long long)bins[i]);
	printf("%s}\n", bin > 0 ? "]" : "");
	return failed ? 1 : 0;
}

static int run(const char *mode, int n_flows)
{
	static struct flow flows[N_FLOWS_MAX];
	bool both = strcmp(mode, "both") == 0;
	void *(*fn)(void *) = strcmp(mode, "up") == 0 || both ? run_up :
			      strcmp(mode, "down") == 0 ? run_down :
			      strcmp(mode, "rr") == 0	? run_rr :
			      strcmp(mode, "get") == 0	? run_get :
			      strcmp(mode, "crr") == 0	? run_crr : NULL;

	if (!fn) {
		fprintf(stderr, "load: unknown mode %s\n", mode);
		return 2;
	}
	started = now();
	for (int i = 0; i < n_flows; i++) {
		if (fn == run_rr || fn == run_crr || fn == run_get)
			flows[i].samples = malloc(N_SAMPLES_MAX * sizeof(float));
		if (pthread_create(&flows[i].thread, NULL, both && i % 2 ? run_down : fn, &flows[i]) != 0)
			die("thread");
	}
	usleep((useconds_t)(seconds * 1e6));
	over = true;
	for (int i = 0; i < n_flows; i++)
		pthread_join(flows[i].thread, NULL);
	return report(mode, flows, n_flows);
}

static bool read_address(char *text, struct sockaddr_in *ret)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		return false;
	*colon = '\0';
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
	return inet_pton(AF_INET, text, &ret->sin_addr) == 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: load serve PORT [IP [CONTROL]] | relay PORT HOST:PORT | run HOST:PORT up|down|both|rr|crr|get [--flows N] [--seconds S] [--size BYTES] "
		"[--socks IP:PORT] [--bins MS] [--congestion CONTROL]\n");
	return 2;
}

int main(int argc, char **argv)
{
	int n_flows = 1;

	signal(SIGPIPE, SIG_IGN);
	congestion = argc == 5 && strcmp(argv[1], "serve") == 0 ? argv[4] : NULL;
	if (argc >= 3 && argc <= 5 && strcmp(argv[1], "serve") == 0)
		serve(atoi(argv[2]), argc >= 4 ? argv[3] : "127.0.0.1");
	if (argc == 4 && strcmp(argv[1], "relay") == 0 && read_address(argv[3], &target))
		relay(atoi(argv[2]));
	if (argc < 4 || strcmp(argv[1], "run") != 0 || !read_address(argv[2], &target))
		return usage();
	for (int i = 4; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--flows") == 0)
			n_flows = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seconds") == 0)
			seconds = atof(argv[i + 1]);
		else if (strcmp(argv[i], "--size") == 0)
			size = (size_t)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--congestion") == 0)
			congestion = argv[i + 1];
		else if (strcmp(argv[i], "--bins") == 0)
			bin = atof(argv[i + 1]) / 1e3;
		else if (strcmp(argv[i], "--socks") != 0 || !read_address(argv[i + 1], &socks))
			return usage();
	}
	if (n_flows < 1 || n_flows > N_FLOWS_MAX || size < 1 || size > CHUNK)
		return usage();
	return run(argv[3], n_flows);
}
