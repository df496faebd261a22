/* Bytes of a local program through the bridge: small writes in a row are gathered, none stays behind. */
#include <arpa/inet.h>
#include <pthread.h>
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

	while ((n = net_tcp_peek(c, iov, 16)) > 0) {
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

static bool all_here(void *ctx)
{
	int low = 0;
	socklen_t len = sizeof(low);

	getsockopt(inner, SOL_SOCKET, SO_RCVLOWAT, &low, &len);
	gathered |= low > 1;
	return got >= wanted;
}

/* The program writes, and says nothing more: no end, no byte, that would push out what stands there. */
static void no_byte_of_small_writes_stays_behind(void **state)
{
	struct tunnel_bridge *b;
	struct net_listener *l;
	struct net_tcp *from;
	void *wrong;
	pthread_t writer;
	int fds[2];
	enum err e;

	tunpair_open(&pair, NULL);
	tcp_pair(fds);
	inner = fds[1];
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 22, 1, on_syn, NULL, &l), OK);
	from = tunpair_dial(&pair, "10.99.0.2:22", &e);
	assert_non_null(from);
	assert_int_equal(tunnel_bridge_start(pair.loop, pair.hub, fds[1], from, NULL, NULL, &b), OK);
	for (int round = 0; round < 3; round++) {
		wanted += (uint64_t)N_WRITES * EACH;
		assert_int_equal(pthread_create(&writer, NULL, write_small, &fds[0]), 0);
		assert_true(tunpair_run(&pair, all_here, NULL, 30 * NSEC_PER_SEC));
		pthread_join(writer, &wrong);
		assert_null(wrong);
		assert_int_equal(got, wanted);
		assert_true(in_order);
	}
	printf("small writes were %sgathered\n", gathered ? "" : "not ");
	tunnel_bridge_abort(b);
	net_tcp_abort(to);
	net_listener_close(l);
	tunpair_close(&pair);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gathering_begins_with_fast_small_reads_alone),
		cmocka_unit_test(no_byte_of_small_writes_stays_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
