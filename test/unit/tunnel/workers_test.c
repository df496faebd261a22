/*
 * Threads seal what the hub sends: every byte arrives in its place, whatever happens to keys, peers, sockets and the tunnel while
 * runs are with the threads. To be run under ASan and TSan as well (SAN=thread make unit-tunnel).
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/rng.h"
#include "os/udp_internal.h"
#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

#define N_FLOWS 4
#define EACH (3u << 20)
#define N_SEEDS 3

static struct tunpair pair;
static struct net_listener *listener;
static struct net_tcp *from[N_FLOWS], *to[N_FLOWS];
static uint64_t written[N_FLOWS], got[N_FLOWS];
static size_t n_served;
static uint8_t block[1 << 16];
static struct rng_seeded dice;
static bool stuck;

static uint8_t byte_at(uint64_t flow, uint64_t off)
{
	return (uint8_t)((off * 0x9e3779b97f4a7c15ULL >> 32) + flow);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint64_t *sum = ctx;
	struct iovec iov[64];
	int n;

	while ((n = net_tcp_peek(c, iov, 64)) > 0) {
		size_t len = 0;

		for (int i = 0; i < n; i++) {
			const uint8_t *p = iov[i].iov_base;

			/* The first byte of a stream says whose it is. */
			for (size_t k = 0; k < iov[i].iov_len; k += 97)
				assert_int_equal((uint8_t)(p[k] - byte_at(0, *sum + len + k)), (uint64_t)(sum - got));
			len += iov[i].iov_len;
		}
		net_tcp_consume(c, len);
		*sum += len;
	}
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_to, &got[n_served], &to[n_served]), OK);
	n_served++;
}

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint64_t *sum = ctx;
	size_t n, want;

	if (ev == NET_TCP_ERROR)
		return;
	do {
		want = MIN(sizeof(block), (size_t)(EACH - *sum));
		for (size_t i = 0; i < want; i++)
			block[i] = byte_at((uint64_t)(sum - written), *sum + i);
		n = want > 0 ? net_tcp_write(c, block, want) : 0;
		*sum += n;
	} while (n > 0 && n == want);
}

static uint64_t sum_got(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < N_FLOWS; i++)
		sum += got[i];
	return sum;
}

static bool all_arrived(void *ctx)
{
	return sum_got() == N_FLOWS * EACH;
}

static bool a_part_arrived(void *ctx)
{
	return sum_got() >= *(uint64_t *)ctx;
}

static int64_t gauge(const char *name)
{
	struct tunnel_gauge g[TUNNEL_N_GAUGES + 1];
	size_t n = tunnel_gauges(pair.hub, g, ARRAY_SIZE(g));

	assert_true(n <= TUNNEL_N_GAUGES);
	for (size_t i = 0; i < n; i++)
		if (strcmp(g[i].name, name) == 0)
			return g[i].value;
	fail_msg("no gauge %s", name);
	return 0;
}

static void begin(int workers)
{
	enum err e;

	tunpair_workers = workers;
	memset(got, 0, sizeof(got));
	memset(written, 0, sizeof(written));
	n_served = 0;
	tunpair_open(&pair, NULL);
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 22, N_FLOWS, on_syn, NULL, &listener), OK);
	for (size_t i = 0; i < N_FLOWS; i++) {
		from[i] = tunpair_dial(&pair, "10.99.0.2:22", &e);
		assert_non_null(from[i]);
		net_tcp_set_fn(from[i], on_from, &written[i]);
	}
	for (size_t i = 0; i < N_FLOWS; i++)
		on_from(&written[i], from[i], NET_TCP_WRITABLE);
	tunnel_kick(pair.hub);
}

static void end(void)
{
	for (size_t i = 0; i < N_FLOWS; i++) {
		net_tcp_abort(from[i]);
		net_tcp_abort(to[i]);
	}
	net_listener_close(listener);
	tunpair_close(&pair);
}

static void arrive(uint64_t share)
{
	uint64_t part = N_FLOWS * (uint64_t)EACH * share / 100;

	assert_true(tunpair_run(&pair, a_part_arrived, &part, 20 * NSEC_PER_SEC));
}

static void all_arrive_in_order(void **state)
{
	for (int workers = 1; workers <= TUNNEL_WORKERS_MAX; workers *= 2) {
		begin(workers);
		assert_true(tunpair_run(&pair, all_arrived, NULL, 30 * NSEC_PER_SEC));
		assert_int_equal(gauge("aead_workers"), workers);
		printf("%d threads: %lld runs handed over, %lld taken back, %lld late\n", workers, (long long)gauge("aead_handed"),
		       (long long)gauge("aead_taken_back"), (long long)gauge("aead_late"));
		assert_true(gauge("aead_handed") > 20);
		end();
	}
}

static void off_is_off(void **state)
{
	begin(TUNNEL_WORKERS_OFF);
	assert_true(tunpair_run(&pair, all_arrived, NULL, 30 * NSEC_PER_SEC));
	assert_int_equal(gauge("aead_workers"), 0);
	assert_int_equal(gauge("aead_handed"), 0);
	end();
}

/* ---- while runs are with the threads ---- */

static ssize_t refuse(int fd, const struct msghdr *m, int flags)
{
	if (!stuck || m->msg_iov[0].iov_len < 1000)
		return sendmsg(fd, m, flags);
	errno = EAGAIN;
	return -1;
}

static bool never(void *ctx)
{
	return false;
}

static void jam(void)
{
	stuck = true;
	tunpair_run(&pair, never, NULL, 3 * NSEC_PER_MSEC);
	stuck = false;
}

static void disturb(void)
{
	struct wg_device *dev = tunnel_device(pair.hub);
	wg_peer_id peer = wg_peer_next(dev, 0);

	switch (rng_below(&dice.rng, 6)) {
	case 0:
		wg_peer_rehandshake(dev, peer, os_loop_now(pair.loop));
		break;
	case 1:
		assert_int_equal(tunnel_rebuild(pair.hub), OK);
		break;
	case 2:
		jam();
		break;
	case 3:
		assert_int_equal(tunnel_set_peers(pair.hub, NULL, 0), OK);
		assert_int_equal(tunnel_set_peers(pair.hub, &pair.to_agent, 1), OK);
		break;
	case 4:
		wg_peer_clear_src(dev, peer);
		break;
	case 5:
		assert_true(wg_device_set_aead(dev, NULL)); /* as the quiet tunnel does; every lane has it */
		break;
	}
	tunnel_kick(pair.hub);
}

static void nothing_is_lost_by_what_happens(void **state)
{
	const char *s = getenv("TEST_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : 1, last = s ? seed : seed + N_SEEDS - 1;

	os_udp_sendmsg = refuse;
	for (; seed <= last; seed++) {
		printf("TEST_SEED=%llu\n", (unsigned long long)seed);
		rng_seeded_init(&dice, seed);
		begin(1 + (int)rng_below(&dice.rng, 4));
		for (uint64_t share = 10; share <= 70; share += 20) {
			arrive(share);
			disturb();
		}
		assert_true(tunpair_run(&pair, all_arrived, NULL, 40 * NSEC_PER_SEC));
		end();
	}
	os_udp_sendmsg = sendmsg;
}

/* The tunnel goes while its runs are out: they are waited for, and leave or are freed. */
static void closing_waits_for_the_threads(void **state)
{
	for (int i = 0; i < 8; i++) {
		begin(2);
		arrive(10 + 3 * (uint64_t)i);
		tunnel_close(pair.hub); /* its connections are told, and still ours to give back */
		pair.hub = NULL;
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_arrive_in_order),
		cmocka_unit_test(off_is_off),
		cmocka_unit_test(nothing_is_lost_by_what_happens),
		cmocka_unit_test(closing_waits_for_the_threads),
	};

	return RUN_TESTS(tests);
}
