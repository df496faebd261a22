/* Bytes of a local program through the bridge: small writes in a row are gathered, none stays behind. */
#include <arpa/inet.h>
#include <linux/socket.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/lib/testing.h"
#include "test/lib/tunpair.h"
#include "tunnel/gather.h"

#define N_WRITES 20000u
#define EACH 64u
#define AHEAD 1500u /* what is written and not there: reads stay small, whatever the machine does */

static struct tunpair pair;
static struct net_tcp *to;
static _Atomic uint64_t got;
static uint64_t wanted;
static bool in_order = true, gathered;
static int inner;
static _Atomic bool asleep; /* the reader at the other end */

static nsec_t reads(struct tunnel_gather *g, nsec_t now, unsigned n, size_t bytes, nsec_t apart, bool *ret)
{
	*ret = false;
	for (unsigned i = 0; i < n; i++, now += apart)
		*ret |= tunnel_gather_read(g, now, bytes);
	return now;
}

static void gathering_begins_with_fast_small_reads_alone(void **state)
{
	struct tunnel_gather g = { 0 };
	nsec_t now = 7 * NSEC_PER_SEC;
	bool began;

	now = reads(&g, now, 1000, 64, 100 * NSEC_PER_USEC, &began); /* an exchange, say */
	assert_false(began);
	now = reads(&g, now, 1000, 64 << 10, NSEC_PER_USEC, &began);
	assert_false(began);
	now = reads(&g, now, GATHER_READS - 1, 64, NSEC_PER_USEC, &began);
	assert_false(began);
	now = reads(&g, now, 1, GATHER_SMALL, NSEC_PER_USEC, &began); /* a large one: from the beginning */
	assert_false(began || g.n_small);
	now = reads(&g, now, GATHER_READS, 64, NSEC_PER_USEC, &began);
	assert_true(began && g.on);
	now = reads(&g, now, 1000, 64, NSEC_PER_USEC, &began);
	assert_false(began);

	assert_false(tunnel_gather_waited(&g, GATHER_LEAST));
	assert_true(g.on);
	assert_true(tunnel_gather_waited(&g, GATHER_LEAST - 1));
	assert_false(g.on || g.n_small);
	assert_false(tunnel_gather_waited(&g, 0));
	reads(&g, now, GATHER_READS, 64, NSEC_PER_USEC, &began);
	assert_true(began);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct iovec iov[16];
	int n;

	while (!asleep && (n = net_tcp_peek(c, iov, 16)) > 0) {
		size_t sum = 0;

		for (int i = 0; i < n; i++) {
			const uint8_t *p = iov[i].iov_base;

			for (size_t k = 0; k < iov[i].iov_len; k++)
				in_order &= p[k] == (uint8_t)((got + sum + k) / EACH % N_WRITES * 7);
			sum += iov[i].iov_len;
		}
		got += sum;
		net_tcp_consume(c, sum);
	}
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_to, NULL, &to), OK);
}

/* Two ends of a TCP connection over loopback: it has a low-water mark, a Unix socket has none. */
static void tcp_pair(int fds[2])
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(l, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&sa, len), 0);
	fds[1] = accept(l, NULL, NULL);
	assert_true(fds[1] >= 0);
	close(l);
}

static void *write_small(void *arg)
{
	uint64_t base = got;
	uint8_t piece[EACH];

	for (unsigned i = 0; i < N_WRITES; i++) {
		while (base + i * EACH > got + AHEAD)
			;
		memset(piece, (int)(i * 7), sizeof(piece));
		if (send(*(int *)arg, piece, sizeof(piece), MSG_NOSIGNAL) != (ssize_t)sizeof(piece))
			return "write";
	}
	return NULL;
}

static bool is_gathering(void *ctx)
{
	int low = 0;
	socklen_t len = sizeof(low);

	getsockopt(inner, SOL_SOCKET, SO_RCVLOWAT, &low, &len);
	return low > 1;
}

static bool all_here(void *ctx)
{
	gathered |= is_gathering(NULL);
	return got >= wanted;
}

static struct tunnel_bridge *bridge;
static struct net_listener *listener;

/* Return: the program's end. */
static int open_bridge(void)
{
	struct net_tcp *from;
	int fds[2];
	enum err e;

	got = wanted = 0;
	asleep = false;
	tunpair_open(&pair, NULL);
	tcp_pair(fds);
	inner = fds[1];
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 22, 1, on_syn, NULL, &listener), OK);
	from = tunpair_dial(&pair, "10.99.0.2:22", &e);
	assert_non_null(from);
	assert_int_equal(tunnel_bridge_start(pair.loop, pair.hub, fds[1], from, NULL, NULL, &bridge), OK);
	return fds[0];
}

static void close_bridge(int fd)
{
	tunnel_bridge_abort(bridge);
	net_tcp_abort(to);
	net_listener_close(listener);
	tunpair_close(&pair);
	close(fd);
}

/* The program writes, and says nothing more: no end, no byte, that would push out what stands there. */
static void no_byte_of_small_writes_stays_behind(void **state)
{
	int fd = open_bridge();
	pthread_t writer;
	void *wrong;

	for (int round = 0; round < 3; round++) {
		wanted += (uint64_t)N_WRITES * EACH;
		assert_int_equal(pthread_create(&writer, NULL, write_small, &fd), 0);
		assert_true(tunpair_run(&pair, all_here, NULL, 30 * NSEC_PER_SEC));
		pthread_join(writer, &wrong);
		assert_null(wrong);
		assert_int_equal(got, wanted);
		assert_true(in_order);
	}
	printf("small writes were %sgathered\n", gathered ? "" : "not ");
	close_bridge(fd);
}

static _Atomic bool enough;
static _Atomic uint64_t sent;

/* Small pieces until the reader sleeps, then as much as goes. */
static void *write_until_it_is_full(void *arg)
{
	static const uint8_t block[65536];
	int fd = *(int *)arg;

	while (!asleep)
		if (sent < got + AHEAD)
			sent += send(fd, block, EACH, MSG_NOSIGNAL) > 0 ? EACH : 0;
	while (!enough) {
		ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			sent += (uint64_t)n;
		else
			usleep(1000);
	}
	return NULL;
}

static void stop(void *ctx)
{
	os_loop_stop(pair.loop);
}

/* Return: how often the loop went to sleep in half a second. */
static long n_sleeps(void)
{
	struct rusage before, after;
	struct os_timer timer;

	os_timer_init(&timer, pair.loop, stop, NULL);
	os_timer_set(&timer, os_now() + 500 * NSEC_PER_MSEC);
	getrusage(RUSAGE_THREAD, &before);
	os_loop_run(pair.loop);
	getrusage(RUSAGE_THREAD, &after);
	return after.ru_nvcsw - before.ru_nvcsw;
}

/* Gathering went on when the other end stopped to read: nothing moves, so nobody need wake. */
static void a_stream_that_stands_wakes_nobody(void **state)
{
	int fd = open_bridge();
	pthread_t writer;
	bool began;
	long n;

	enough = false;
	sent = 0;
	assert_int_equal(pthread_create(&writer, NULL, write_until_it_is_full, &fd), 0);
	began = tunpair_run(&pair, is_gathering, NULL, 10 * NSEC_PER_SEC);
	asleep = true;
	tunpair_rest(&pair, 500 * NSEC_PER_MSEC);
	enough = true;
	pthread_join(writer, NULL);
	n = n_sleeps();
	printf("%ld sleeps in half a second, %sgathering\n", n, is_gathering(NULL) ? "" : "not ");
	assert_true(n < 300);
	/* It goes on where it stood, to the last byte. */
	asleep = false;
	on_to(NULL, to, NET_TCP_READABLE);
	wanted = sent;
	assert_true(tunpair_run(&pair, all_here, NULL, 20 * NSEC_PER_SEC));
	assert_int_equal(got, sent);
	close_bridge(fd);
	if (!began)
		skip();
}

static bool is_limited(void)
{
	int lock = 0;
	socklen_t len = sizeof(lock);

	return getsockopt(inner, SOL_SOCKET, SO_BUF_LOCK, &lock, &len) == 0 && lock & SOCK_RCVBUF_LOCK;
}

static bool limit_is(void *ctx)
{
	return is_limited() == *(bool *)ctx;
}

/*
 * With a limit the kernel drops small pieces that do not fit, and drops them again when they are repeated: after a second of
 * standing still the program at the other end then waits for its timeout.
 */
static void a_stream_that_stands_has_no_limit(void **state)
{
	int fd = open_bridge();
	bool yes = true, no = false;
	pthread_t writer;

	if (!is_limited()) {
		close_bridge(fd);
		skip(); /* before Linux 5.14 */
	}
	enough = false;
	sent = 0;
	asleep = true;
	assert_int_equal(pthread_create(&writer, NULL, write_until_it_is_full, &fd), 0);
	assert_true(tunpair_run(&pair, limit_is, &no, 10 * NSEC_PER_SEC));
	enough = true;
	pthread_join(writer, NULL);
	asleep = false;
	on_to(NULL, to, NET_TCP_READABLE);
	wanted = sent;
	assert_true(tunpair_run(&pair, all_here, NULL, 20 * NSEC_PER_SEC));
	assert_true(tunpair_run(&pair, limit_is, &yes, NSEC_PER_SEC));
	close_bridge(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gathering_begins_with_fast_small_reads_alone),
		cmocka_unit_test(no_byte_of_small_writes_stays_behind),
		cmocka_unit_test(a_stream_that_stands_wakes_nobody),
		cmocka_unit_test(a_stream_that_stands_has_no_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
