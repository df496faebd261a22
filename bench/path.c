/*
 * bench/path.c - a seeded path for UDP: delay, rate, a drop-tail queue, loss, bursts, reordering.
 *
 *	path LISTEN-IP:PORT TO-IP:PORT [--also LISTEN-IP:PORT TO-IP:PORT] [--seed N] [--delay MS] [--rate MBPS]
 *	     [--queue PACKETS] [--loss P] [--burst P,LENGTH] [--reorder P,MS]
 *
 * Datagrams that come to LISTEN go to TO, what TO answers goes back to the last that spoke; each direction is a link
 * of its own with the same figures and its own generator, so that the n-th datagram of a direction meets the same fate
 * in every run with the same seed. A datagram that comes when QUEUE others wait for the link is dropped; then the link
 * sends at RATE (with 28 bytes of IP and UDP header counted), and DELAY ms later the datagram is delivered. A second pair
 * of addresses (--also) shares both links with the first.
 *	loss      each datagram alone
 *	burst     Gilbert: with P a run of losses begins, of LENGTH on average
 *	reorder   with P a datagram takes MS longer
 * On SIGTERM what happened is printed as one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define N_HELD 65536 /* datagrams on their way, a direction; more are lost and counted as "full" */
#define SIZE 2048
#define BATCH 64
#define HEADERS 28
#define N_PAIRS 2

static struct {
	double delay, rate, loss, burst, burst_length, reorder, reorder_by; /* seconds, bit/s, shares */
	uint32_t queue;
	uint64_t seed;
} opt = { .queue = N_HELD / 2, .seed = 1 };

struct held {
	double due;
	uint64_t number;
	uint32_t slot, len;
	int pair;
};

struct direction {
	int in[N_PAIRS], out[N_PAIRS];
	struct held heap[N_HELD];
	uint32_t free[N_HELD], n_heap, n_free;
	uint8_t (*slots)[SIZE];
	double link_free;
	double departs[N_HELD]; /* a ring: when those that wait for the link leave it */
	uint32_t first, n_waiting;
	uint64_t rng, number;
	bool in_burst;
	uint64_t delivered, lost, dropped, reordered, full;
};

static struct direction there, back;
static struct sockaddr_in clients[N_PAIRS];
static int n_pairs = 1;
static volatile sig_atomic_t over;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "path: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* splitmix64; a number in [0, 1). */
static double chance(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static bool earlier(const struct held *a, const struct held *b)
{
	return a->due < b->due || (a->due == b->due && a->number < b->number);
}

static void heap_push(struct direction *d, struct held h)
{
	uint32_t i = d->n_heap++;

	for (; i > 0 && earlier(&h, &d->heap[(i - 1) / 2]); i = (i - 1) / 2)
		d->heap[i] = d->heap[(i - 1) / 2];
	d->heap[i] = h;
}

static struct held heap_pop(struct direction *d)
{
	struct held top = d->heap[0], last = d->heap[--d->n_heap];
	uint32_t i = 0;

	for (;;) {
		uint32_t c = 2 * i + 1;

		if (c >= d->n_heap)
			break;
		if (c + 1 < d->n_heap && earlier(&d->heap[c + 1], &d->heap[c]))
			c++;
		if (!earlier(&d->heap[c], &last))
			break;
		d->heap[i] = d->heap[c];
		i = c;
	}
	d->heap[i] = last;
	return top;
}

/* The fate of one datagram: always the same number of draws, so that a drop does not shift the fates of the next. */
static bool is_lost(struct direction *d, bool *late)
{
	double random = chance(&d->rng), burst = chance(&d->rng);

	*late = chance(&d->rng) < opt.reorder;
	d->in_burst = d->in_burst ? burst >= 1 / opt.burst_length : opt.burst > 0 && burst < opt.burst;
	return random < opt.loss || d->in_burst;
}

/* Takes the datagram in SLOT, or gives the slot back. */
static void take(struct direction *d, int pair, uint32_t slot, uint32_t len, double t)
{
	double wire = opt.rate > 0 ? (len + HEADERS) * 8 / opt.rate : 0, due;
	bool late, lost = is_lost(d, &late);

	while (d->n_waiting > 0 && d->departs[d->first] <= t) {
		d->first = (d->first + 1) % N_HELD;
		d->n_waiting--;
	}
	if (d->n_waiting > opt.queue) {
		d->dropped++;
		d->free[d->n_free++] = slot;
		return;
	}
	d->link_free = (d->link_free > t ? d->link_free : t) + wire;
	if (wire > 0)
		d->departs[(d->first + d->n_waiting++) % N_HELD] = d->link_free;
	if (lost) {
		d->lost++;
		d->free[d->n_free++] = slot;
		return;
	}
	due = d->link_free + opt.delay + (late ? opt.reorder_by : 0);
	d->reordered += late;
	heap_push(d, (struct held){ due, d->number++, slot, len, pair });
}

static void receive(struct direction *d, int pair)
{
	static struct mmsghdr m[BATCH];
	static struct iovec iov[BATCH];
	static struct sockaddr_in from[BATCH];
	uint32_t slots[BATCH];
	int n, want = d->n_free < BATCH ? (int)d->n_free : BATCH;
	double t;

	if (want == 0) {
		char scrap[SIZE];

		d->full += recv(d->in[pair], scrap, sizeof(scrap), MSG_DONTWAIT) >= 0;
		return;
	}
	for (int i = 0; i < want; i++) {
		slots[i] = d->free[--d->n_free];
		iov[i] = (struct iovec){ d->slots[slots[i]], SIZE };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &iov[i],
						.msg_iovlen = 1 };
	}
	n = recvmmsg(d->in[pair], m, (unsigned)want, MSG_DONTWAIT, NULL);
	t = now();
	for (int i = want; i-- > (n > 0 ? n : 0);)
		d->free[d->n_free++] = slots[i];
	for (int i = 0; i < n; i++) {
		if (d == &there)
			clients[pair] = from[i];
		take(d, pair, slots[i], m[i].msg_len, t);
	}
}

/* Those that go the same way leave in one call. */
static void deliver(struct direction *d)
{
	static struct mmsghdr m[BATCH];
	static struct iovec iov[BATCH];
	uint32_t slots[BATCH];
	int n = 0, pair = d->n_heap > 0 ? d->heap[0].pair : 0;
	double t = now();

	while (n < BATCH && d->n_heap > 0 && d->heap[0].due <= t && d->heap[0].pair == pair) {
		struct held h = heap_pop(d);

		slots[n] = h.slot;
		iov[n] = (struct iovec){ d->slots[h.slot], h.len };
		m[n].msg_hdr = (struct msghdr){ .msg_iov = &iov[n], .msg_iovlen = 1 };
		if (d == &back) {
			m[n].msg_hdr.msg_name = &clients[pair];
			m[n].msg_hdr.msg_namelen = sizeof(clients[pair]);
		}
		n++;
	}
	for (int done = 0; done < n;) {
		int k = sendmmsg(d->out[pair], m + done, (unsigned)(n - done), 0);

		done += k > 0 ? k : 1;
		d->delivered += k > 0 ? (uint64_t)k : 0;
	}
	for (int i = 0; i < n; i++)
		d->free[d->n_free++] = slots[i];
}

static struct timespec next_due(void)
{
	double due = 1e18, left;

	if (there.n_heap > 0)
		due = there.heap[0].due;
	if (back.n_heap > 0 && back.heap[0].due < due)
		due = back.heap[0].due;
	left = due - now();
	if (left > 1)
		left = 1;
	if (left < 0)
		left = 0;
	return (struct timespec){ (time_t)left, (long)((left - (double)(time_t)left) * 1e9) };
}

static void on_term(int sig)
{
	(void)sig;
	over = 1;
}

static void run(void)
{
	struct pollfd p[2 * N_PAIRS];

	for (int i = 0; i < n_pairs; i++) {
		p[2 * i] = (struct pollfd){ .fd = there.in[i], .events = POLLIN };
		p[2 * i + 1] = (struct pollfd){ .fd = back.in[i], .events = POLLIN };
	}
	while (!over) {
		struct timespec left = next_due();

		if (ppoll(p, 2 * (nfds_t)n_pairs, &left, NULL) < 0 && errno != EINTR)
			die("poll");
		for (int i = 0; i < 2 * n_pairs; i++)
			if (p[i].revents)
				receive(i % 2 ? &back : &there, i / 2);
		deliver(&there);
		deliver(&back);
	}
}

static void open_direction(struct direction *d, uint64_t seed)
{
	d->rng = seed;
	d->slots = mmap(NULL, (size_t)N_HELD * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	if (d->slots == MAP_FAILED)
		die("memory");
	for (d->n_free = 0; d->n_free < N_HELD; d->n_free++)
		d->free[d->n_free] = N_HELD - 1 - d->n_free;
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

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 32 << 20;

	if (fd < 0)
		die("socket");
	/* The queue is this program's; the sockets' own must never be the one that drops. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

static bool read_pair(const char *text, double *a, double *b)
{
	return sscanf(text, "%lf,%lf", a, b) == 2;
}

static bool read_option(const char *name, const char *value)
{
	if (strcmp(name, "--seed") == 0)
		opt.seed = strtoull(value, NULL, 0);
	else if (strcmp(name, "--delay") == 0)
		opt.delay = atof(value) / 1e3;
	else if (strcmp(name, "--rate") == 0)
		opt.rate = atof(value) * 1e6;
	else if (strcmp(name, "--queue") == 0)
		opt.queue = (uint32_t)atoi(value) < N_HELD ? (uint32_t)atoi(value) : N_HELD - 1;
	else if (strcmp(name, "--loss") == 0)
		opt.loss = atof(value);
	else if (strcmp(name, "--burst") == 0)
		return read_pair(value, &opt.burst, &opt.burst_length) && opt.burst_length >= 1;
	else if (strcmp(name, "--reorder") == 0 && read_pair(value, &opt.reorder, &opt.reorder_by))
		opt.reorder_by /= 1e3;
	else
		return false;
	return true;
}

static void print_direction(const char *name, const struct direction *d)
{
	printf("\"%s\":{\"delivered\":%llu,\"lost\":%llu,\"dropped\":%llu,\"reordered\":%llu,\"full\":%llu}", name,
	       (unsigned long long)d->delivered, (unsigned long long)d->lost, (unsigned long long)d->dropped,
	       (unsigned long long)d->reordered, (unsigned long long)d->full);
}

static int usage(void)
{
	fprintf(stderr, "usage: path LISTEN-IP:PORT TO-IP:PORT [--also LISTEN-IP:PORT TO-IP:PORT] [--seed N] [--delay MS] [--rate MBPS] [--queue PACKETS] "
			"[--loss P] [--burst P,LENGTH] [--reorder P,MS]\n");
	return 2;
}

static void open_pair(int i, const struct sockaddr_in *listen_on, const struct sockaddr_in *to)
{
	int a = open_socket(), b = open_socket();

	if (bind(a, (const struct sockaddr *)listen_on, sizeof(*listen_on)) != 0)
		die("bind");
	if (connect(b, (const struct sockaddr *)to, sizeof(*to)) != 0)
		die("connect");
	there.in[i] = back.out[i] = a;
	there.out[i] = back.in[i] = b;
}

int main(int argc, char **argv)
{
	struct sockaddr_in listen_on[N_PAIRS], to[N_PAIRS];
	int at = 3;

	if (argc < 3 || !read_address(argv[1], &listen_on[0]) || !read_address(argv[2], &to[0]))
		return usage();
	if (argc >= 6 && strcmp(argv[3], "--also") == 0) {
		if (!read_address(argv[4], &listen_on[1]) || !read_address(argv[5], &to[1]))
			return usage();
		n_pairs = 2;
		at = 6;
	}
	for (; at < argc; at += 2)
		if (at + 1 == argc || !read_option(argv[at], argv[at + 1]))
			return usage();
	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	for (int i = 0; i < n_pairs; i++)
		open_pair(i, &listen_on[i], &to[i]);
	open_direction(&there, opt.seed);
	open_direction(&back, ~opt.seed);
	run();
	printf("{");
	print_direction("there", &there);
	printf(",");
	print_direction("back", &back);
	printf("}\n");
	return 0;
}
