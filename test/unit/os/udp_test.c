/* What the kernel refuses to send, and what becomes of it: sources that are stale, segmentation, full queues. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "os/udp_internal.h"
#include "test/lib/testing.h"

#define SEG 1000
#define N_SEGS 8
#define UDP_SEGMENT 103

/* What left, and what the kernel is to say. */
static struct {
	int errnum[64]; /* by call; 0 = take it */
	unsigned n_calls;
	size_t len[64];
	bool segmented[64], with_source[64];
	uint8_t bytes[64 * 1024];
	size_t n_bytes;
} kernel;

static ssize_t fake_sendmsg(int fd, const struct msghdr *m, int flags)
{
	unsigned call = kernel.n_calls++;

	assert_true(call < ARRAY_SIZE(kernel.errnum));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
		kernel.segmented[call] |= c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT;
		kernel.with_source[call] |= c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO;
	}
	kernel.len[call] = m->msg_iov->iov_len;
	if (kernel.errnum[call]) {
		errno = kernel.errnum[call];
		return -1;
	}
	memcpy(kernel.bytes + kernel.n_bytes, m->msg_iov->iov_base, m->msg_iov->iov_len);
	kernel.n_bytes += m->msg_iov->iov_len;
	return (ssize_t)m->msg_iov->iov_len;
}

static void on_recv(void *ctx, const struct os_udp_dgram *d, size_t n)
{
}

static unsigned n_writable;

static void on_writable(void *ctx)
{
	n_writable++;
	os_loop_stop(ctx);
}

struct port {
	struct os_loop *loop;
	struct os_udp *u;
	struct path_addr path;
	uint8_t run[SEG * N_SEGS - 300];
};

static int set_up(void **state)
{
	static struct port p;
	struct os_udp_handler h = { on_recv, on_writable, NULL };
	struct os_udp_stats stats;

	p = (struct port){ .loop = os_loop_new() };
	h.ctx = p.loop;
	assert_int_equal(os_udp_open(p.loop, 0, &h, &p.u), OK);
	os_udp_get_stats(p.u, &stats);
	p.path.remote = (struct endpoint){ ip_addr_v4(127, 0, 0, 1), 9, 0 };
	p.path.local = ip_addr_v4(127, 0, 0, 5);
	for (size_t i = 0; i < sizeof(p.run); i++)
		p.run[i] = (uint8_t)(i * 7 + i / SEG);
	memset(&kernel, 0, sizeof(kernel));
	os_udp_sendmsg = fake_sendmsg;
	*state = &p;
	return stats.gso ? 0 : -1;
}

static int tear_down(void **state)
{
	struct port *p = *state;

	os_udp_sendmsg = sendmsg;
	os_udp_close(p->u);
	os_loop_free(p->loop);
	return 0;
}

static enum err send_run(struct port *p)
{
	return os_udp_send(p->u, &p->path, p->run, sizeof(p->run), SEG);
}

static void forget(void)
{
	memset(&kernel, 0, sizeof(kernel));
}

static void assert_all_left(const struct port *p)
{
	assert_int_equal(kernel.n_bytes, sizeof(p->run));
	assert_memory_equal(kernel.bytes, p->run, sizeof(p->run));
}

static void a_run_leaves_at_once(void **state)
{
	struct port *p = *state;

	assert_int_equal(send_run(p), OK);
	assert_int_equal(kernel.n_calls, 1);
	assert_true(kernel.segmented[0] && kernel.with_source[0]);
	assert_all_left(p);
}

/* Kernels differ in how they say it. Segmentation is not to blame, and stays. */
static void a_stale_source_is_told_whatever_the_kernel_calls_it(void **state)
{
	static const int errnums[] = { EINVAL, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV };
	struct port *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(errnums); i++) {
		forget();
		kernel.errnum[0] = errnums[i];
		p->path.local = ip_addr_v4(127, 0, 0, 5);
		assert_int_equal(send_run(p), ERR_INVALID);
		assert_int_equal(kernel.n_calls, 1);
		p->path.local = (struct ip_addr){ 0 };
		assert_int_equal(send_run(p), OK);
		assert_int_equal(kernel.n_calls, 2);
		assert_true(kernel.segmented[1] && !kernel.with_source[1]);
		assert_all_left(p);
	}
}

/* Without a source to blame: one by one, none lost; other destinations, and this one by another path, keep it. */
static void refused_segmentation_is_off_for_that_path_alone(void **state)
{
	static const int errnums[] = { EIO, EINVAL, EMSGSIZE };
	struct port *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(errnums); i++) {
		p->path.local = (struct ip_addr){ 0 };
		p->path.remote.port = (uint16_t)(100 + i);
		for (int round = 0; round < 2; round++) {
			forget();
			kernel.errnum[0] = round == 0 ? errnums[i] : 0;
			assert_int_equal(send_run(p), OK);
			assert_int_equal(kernel.n_calls, N_SEGS + (round == 0));
			for (unsigned k = round == 0; k < kernel.n_calls; k++)
				assert_true(!kernel.segmented[k] && kernel.len[k] <= SEG);
			assert_all_left(p);
		}
		forget();
		p->path.local = ip_addr_v4(127, 0, 0, 6);
		assert_int_equal(send_run(p), OK);
		assert_int_equal(kernel.n_calls, 1);
		forget();
		p->path.local = (struct ip_addr){ 0 };
		p->path.remote.port = 99;
		assert_int_equal(send_run(p), OK);
		assert_int_equal(kernel.n_calls, 1);
	}
}

static void a_kernel_without_segmentation_is_not_asked_again(void **state)
{
	struct port *p = *state;

	kernel.errnum[0] = ENOPROTOOPT;
	assert_int_equal(send_run(p), OK);
	assert_int_equal(kernel.n_calls, N_SEGS + 1);
	assert_all_left(p);
	forget();
	p->path.remote.port = 99;
	assert_int_equal(send_run(p), OK);
	assert_int_equal(kernel.n_calls, N_SEGS);
}

/* A part has left when the queue fills: the same call goes on behind it, and nothing leaves twice. */
static void a_full_queue_is_waited_for_and_nothing_leaves_twice(void **state)
{
	static const int errnums[] = { EAGAIN, ENOBUFS };
	struct port *p = *state;

	p->path.local = (struct ip_addr){ 0 };
	kernel.errnum[0] = EIO; /* one by one from here */
	assert_int_equal(send_run(p), OK);
	for (size_t i = 0; i < ARRAY_SIZE(errnums); i++) {
		forget();
		kernel.errnum[3] = errnums[i];
		assert_int_equal(send_run(p), ERR_AGAIN);
		assert_int_equal(kernel.n_bytes, 3 * SEG);
		n_writable = 0;
		os_loop_run(p->loop);
		assert_int_equal(n_writable, 1);
		assert_int_equal(send_run(p), OK);
		assert_int_equal(kernel.n_calls, N_SEGS + 1);
		assert_all_left(p);
	}
}

/* An ICMP error of an earlier datagram is told at the next one, which was not tried yet. */
static void an_old_refusal_costs_nothing(void **state)
{
	struct port *p = *state;

	kernel.errnum[0] = ECONNREFUSED;
	assert_int_equal(send_run(p), OK);
	assert_int_equal(kernel.n_calls, 2);
	assert_all_left(p);
}

static void other_refusals_are_told_and_end_the_run(void **state)
{
	static const struct {
		int errnum;
		enum err e;
	} cases[] = { { ENETUNREACH, ERR_NO_ROUTE }, { EPERM, ERR_PERMISSION }, { EACCES, ERR_PERMISSION },
		      { EHOSTUNREACH, ERR_UNREACHABLE }, { ENETDOWN, ERR_UNREACHABLE } };
	struct port *p = *state;

	p->path.local = (struct ip_addr){ 0 };
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		forget();
		kernel.errnum[0] = cases[i].errnum;
		assert_int_equal(send_run(p), cases[i].e);
		assert_int_equal(send_run(p), OK);
		assert_all_left(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_run_leaves_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stale_source_is_told_whatever_the_kernel_calls_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refused_segmentation_is_off_for_that_path_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_kernel_without_segmentation_is_not_asked_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_queue_is_waited_for_and_nothing_leaves_twice, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_old_refusal_costs_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(other_refusals_are_told_and_end_the_run, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
