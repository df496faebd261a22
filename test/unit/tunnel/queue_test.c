/* What may stand between TCP and a socket that takes nothing, and how it goes on when the socket does again. */
#include <errno.h>
#include <sys/socket.h>

#include "os/udp_internal.h"
#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

#define N_FLOWS 4
#define EACH (4u << 20)
#define QUEUE_MAX ((128u << 10) + 1500) /* the packet that reaches the limit is taken */

static struct tunpair pair;
static struct net_tcp *from[N_FLOWS], *to[N_FLOWS];
static uint64_t written[N_FLOWS], got[N_FLOWS];
static size_t n_served, most_queued;
static bool stuck;
static unsigned n_refused;
static uint8_t block[65536];

static ssize_t refuse(int fd, const struct msghdr *m, int flags)
{
	/* Acknowledgements still pass: TCP would send on. */
	if (!stuck || m->msg_iov[0].iov_len < 1000)
		return sendmsg(fd, m, flags);
	n_refused++;
	errno = EAGAIN;
	return -1;
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	uint64_t *sum = ctx;
	size_t n = net_tcp_readable(c);

	net_tcp_consume(c, n);
	*sum += n;
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

	assert_true(ev != NET_TCP_ERROR);
	do {
		want = MIN(sizeof(block), (size_t)(EACH - *sum));
		n = want > 0 ? net_tcp_write(c, block, want) : 0;
		*sum += n;
	} while (n > 0 && n == want);
}

static bool some_arrived(void *ctx)
{
	return got[0] > EACH / 8;
}

static bool never(void *ctx)
{
	most_queued = MAX(most_queued, wg_device_tx_bytes(tunnel_device(pair.hub)));
	return false;
}

static bool all_arrived(void *ctx)
{
	for (size_t i = 0; i < N_FLOWS; i++)
		if (got[i] < EACH)
			return false;
	return true;
}

static void the_queue_below_tcp_is_short(void **state)
{
	struct net_listener *l;
	enum err e;

	tunpair_open(&pair, NULL);
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 22, N_FLOWS, on_syn, NULL, &l), OK);
	for (size_t i = 0; i < N_FLOWS; i++) {
		from[i] = tunpair_dial(&pair, "10.99.0.2:22", &e);
		assert_non_null(from[i]);
		net_tcp_set_fn(from[i], on_from, &written[i]);
		on_from(&written[i], from[i], NET_TCP_WRITABLE);
	}
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, some_arrived, NULL, 5 * NSEC_PER_SEC));

	os_udp_sendmsg = refuse;
	stuck = true;
	tunpair_run(&pair, never, NULL, 100 * NSEC_PER_MSEC);
	printf("%zu bytes stand below TCP\n", most_queued);
	assert_true(n_refused > 0);
	assert_true(most_queued > 0 && most_queued <= QUEUE_MAX);

	stuck = false;
	assert_true(tunpair_run(&pair, all_arrived, NULL, 10 * NSEC_PER_SEC));
	os_udp_sendmsg = sendmsg;
	for (size_t i = 0; i < N_FLOWS; i++) {
		net_tcp_abort(from[i]);
		net_tcp_abort(to[i]);
	}
	net_listener_close(l);
	tunpair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_queue_below_tcp_is_short) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
