/*
 * The UDP port: the ladder of what the kernel may refuse about segmentation, by a sendmsg of our own, in which no datagram
 * may be lost, doubled or moved; and bytes through the real kernel on loopback, both families, in batches.
 */
#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/log.h"
#include "os/udp_internal.h"
#include "test/lib/testing.h"

#define UDP_SEGMENT_TYPE 103
#define SEG 100
#define N_SENT_MAX 4096

/* ---- a kernel that refuses as it is told ---- */

static struct {
	int gso_error;             /* for every send with a segment size */
	uint8_t bad_last_octet;    /* gso_error only towards this address; 0 = all */
	int plain_error;           /* for every send without one */
	int source_error;          /* for every send with a source address */
	unsigned again_after, n_calls, n_gso_tries;
} kernel;

static struct { uint8_t id, to; size_t len; } sent[N_SENT_MAX];
static size_t n_sent;
static struct os_loop *loop;
static struct os_udp *udp;
static unsigned n_lines;
static char last_line[512];

static void parse_control(const struct msghdr *m, size_t *seg, bool *source)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
		uint16_t v;

		if (c->cmsg_type == UDP_SEGMENT_TYPE && c->cmsg_level == IPPROTO_UDP) {
			memcpy(&v, CMSG_DATA(c), sizeof(v));
			*seg = v;
		}
		*source |= c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO;
	}
}

static ssize_t refuse(int errnum)
{
	errno = errnum;
	return -1;
}

static ssize_t fake_sendmsg(int fd, const struct msghdr *m, int flags)
{
	const struct sockaddr_in *to = m->msg_name;
	uint8_t octet = (uint8_t)(ntohl(to->sin_addr.s_addr) & 0xff);
	const uint8_t *p = m->msg_iov->iov_base;
	size_t len = m->msg_iov->iov_len, seg = 0;
	bool source = false;

	parse_control(m, &seg, &source);
	kernel.n_calls++;
	kernel.n_gso_tries += seg != 0;
	if (kernel.again_after && kernel.n_calls > kernel.again_after)
		return refuse(EAGAIN);
	if (source && kernel.source_error)
		return refuse(kernel.source_error);
	if (seg && kernel.gso_error && (!kernel.bad_last_octet || kernel.bad_last_octet == octet))
		return refuse(kernel.gso_error);
	if (!seg && kernel.plain_error)
		return refuse(kernel.plain_error);
	assert_true(seg || len <= SEG);
	for (size_t off = 0; off < len; off += seg ? seg : len) {
		assert_true(n_sent < N_SENT_MAX);
		sent[n_sent].id = p[off];
		sent[n_sent].to = octet;
		sent[n_sent++].len = MIN(seg ? seg : len, len - off);
	}
	return (ssize_t)len;
}

static void nobody_receives(void *ctx, const struct os_udp_dgram *d, size_t n)
{
}

static void nobody_waits(void *ctx)
{
}

static const struct os_udp_handler silent = { nobody_receives, nobody_waits, NULL };

static void count_line(enum log_level level, const char *line)
{
	n_lines++;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static int start(void **state)
{
	memset(&kernel, 0, sizeof(kernel));
	n_sent = n_lines = 0;
	os_udp_gso_unsupported = false;
	os_udp_sendmsg = fake_sendmsg;
	log_set(LOG_INFO, count_line);
	loop = os_loop_new();
	return loop && os_udp_open(loop, 0, &silent, &udp) == OK ? 0 : -1;
}

static int stop(void **state)
{
	os_udp_close(udp);
	os_loop_free(loop);
	os_udp_sendmsg = sendmsg;
	os_udp_gso_unsupported = false;
	log_set(LOG_INFO, NULL);
	return 0;
}

static struct path_addr path_to(uint8_t last)
{
	return (struct path_addr){ .remote = { ip_addr_v4(192, 0, 2, last), 51820, 0 } };
}

/* A run of 20 datagrams, the last one short; each begins with its number. */
static enum err send_run(const struct path_addr *path)
{
	static uint8_t run[20 * SEG - 30];

	for (size_t i = 0; i * SEG < sizeof(run); i++)
		run[i * SEG] = (uint8_t)i;
	return os_udp_send(udp, path, run, sizeof(run), SEG);
}

static void assert_whole_run(size_t from)
{
	assert_int_equal(n_sent, from + 20);
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(sent[from + i].id, i);
		assert_int_equal(sent[from + i].len, i == 19 ? SEG - 30 : SEG);
	}
}

static struct os_udp_stats stats(void)
{
	struct os_udp_stats s;

	os_udp_get_stats(udp, &s);
	return s;
}

/* ---- the ladder ---- */

static void a_run_is_one_call(void **state)
{
	struct path_addr a = path_to(1);

	assert_int_equal(send_run(&a), OK);
	assert_whole_run(0);
	assert_int_equal(kernel.n_calls, 1);
	assert_true(stats().gso);
	assert_int_equal(stats().n_tx_dgrams, 20);
}

static void a_refused_run_goes_one_by_one(void **state)
{
	static const int errors[] = { EIO, EINVAL, EMSGSIZE };

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct path_addr a = path_to((uint8_t)(10 + i)), b = path_to((uint8_t)(20 + i));

		kernel.gso_error = errors[i];
		kernel.bad_last_octet = (uint8_t)(10 + i);
		kernel.n_gso_tries = 0;
		n_sent = 0;
		assert_int_equal(send_run(&a), OK);
		assert_whole_run(0);
		assert_int_equal(send_run(&a), OK); /* not tried a second time */
		assert_whole_run(20);
		assert_int_equal(kernel.n_gso_tries, 1);
		assert_int_equal(send_run(&b), OK); /* others keep it */
		assert_whole_run(40);
		assert_int_equal(kernel.n_gso_tries, 2);
		assert_int_equal(stats().n_no_gso, i + 1);
		assert_int_equal(stats().n_gso_refused, i + 1);
		assert_true(stats().gso);
	}
	assert_int_equal(n_lines, 1); /* and the others are counted, not written */
	assert_non_null(strstr(last_line, "192.0.2.10:51820"));
	assert_non_null(strstr(last_line, "no checksum offload"));
}

/* What a destination refuses says nothing about the next one; an interface without checksums refuses all of them. */
static void a_route_without_checksums_is_asked_once(void **state)
{
	static const int errors[] = { EINVAL, EMSGSIZE, EIO };
	struct path_addr first = path_to(1), next = path_to(2), elsewhere = path_to(3);

	first.local = next.local = elsewhere.local = ip_addr_v4(198, 51, 100, 1);
	first.ifindex = next.ifindex = 3;
	elsewhere.ifindex = 4;
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		bool whole = errors[i] == EIO;

		kernel.gso_error = errors[i];
		kernel.n_gso_tries = 0;
		n_sent = 0;
		assert_int_equal(send_run(&first), OK);
		assert_int_equal(send_run(&next), OK);
		assert_int_equal(kernel.n_gso_tries, whole ? 1 : 2);
		assert_int_equal(stats().n_no_gso, whole ? 1 : 2);
		assert_int_equal(send_run(&elsewhere), OK);
		assert_int_equal(kernel.n_gso_tries, whole ? 2 : 3);
		assert_whole_run(40);
		os_udp_path_changed(udp, &first.remote);
		os_udp_path_changed(udp, &next.remote);
		os_udp_path_changed(udp, &elsewhere.remote);
		assert_int_equal(stats().n_no_gso, 0);
	}
}

static void a_kernel_without_it_is_asked_once(void **state)
{
	struct path_addr a = path_to(1), b = path_to(2);
	struct os_udp *first = udp, *second;

	kernel.gso_error = ENOPROTOOPT;
	assert_int_equal(send_run(&a), OK);
	assert_whole_run(0);
	assert_int_equal(send_run(&b), OK);
	assert_whole_run(20);
	assert_int_equal(os_udp_open(loop, 0, &silent, &second), OK);
	udp = second;
	assert_int_equal(send_run(&a), OK);
	assert_whole_run(40);
	assert_false(stats().gso);
	os_udp_close(second);
	udp = first;
	assert_int_equal(kernel.n_gso_tries, 1);
	assert_int_equal(n_lines, 1);
	assert_false(stats().gso);
}

static void another_path_is_tried_again(void **state)
{
	struct path_addr a = path_to(1), other_source = a;

	other_source.local = ip_addr_v4(198, 51, 100, 1);
	kernel.gso_error = EMSGSIZE;
	assert_int_equal(send_run(&a), OK);
	kernel.gso_error = 0;
	assert_int_equal(send_run(&a), OK);
	assert_int_equal(kernel.n_gso_tries, 1);
	assert_int_equal(send_run(&other_source), OK);
	assert_int_equal(kernel.n_gso_tries, 2);
	os_udp_path_changed(udp, &(struct endpoint){ ip_addr_v4(192, 0, 2, 9), 51820, 0 }); /* somebody else's */
	assert_int_equal(send_run(&a), OK);
	assert_int_equal(kernel.n_gso_tries, 2);
	os_udp_path_changed(udp, &a.remote);
	assert_int_equal(stats().n_no_gso, 0);
	assert_int_equal(send_run(&a), OK);
	assert_int_equal(kernel.n_gso_tries, 3);
	assert_whole_run(80);
}

/* The kernel answers EINVAL for a source address that is gone, too: that peer keeps segmentation. */
static void what_was_not_segmentation_does_not_switch_it_off(void **state)
{
	static const int errors[] = { EINVAL, EADDRNOTAVAIL, ENODEV, ENETUNREACH, EHOSTUNREACH };
	struct path_addr stale = path_to(1), fresh = stale;

	stale.local = ip_addr_v4(198, 51, 100, 1);
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		kernel.source_error = errors[i];
		assert_int_equal(send_run(&stale), ERR_INVALID);
		assert_int_equal(n_sent, i * 20);
		assert_int_equal(stats().n_no_gso, 0);
		assert_int_equal(send_run(&fresh), OK);
		assert_whole_run(i * 20);
		assert_int_equal(kernel.n_gso_tries, 2 * (i + 1));
	}
	assert_int_equal(n_lines, 0);
	/* And a refusal of segmentation does not cost the source address. */
	kernel.source_error = 0;
	kernel.gso_error = EINVAL;
	assert_int_equal(send_run(&stale), OK);
	assert_int_equal(stats().n_no_gso, 1);
	assert_int_equal(n_lines, 1);
}

static void the_table_is_bounded(void **state)
{
	struct path_addr p = path_to(1);

	kernel.gso_error = EIO;
	for (int i = 0; i < 200; i++) {
		p.remote.port = (uint16_t)(1000 + i);
		n_sent = 0;
		assert_int_equal(send_run(&p), OK);
		assert_whole_run(0);
	}
	assert_int_equal(stats().n_no_gso, 64);
	assert_int_equal(n_lines, 1);
	for (int i = 199; i >= 0; i--) {
		p.remote.port = (uint16_t)(1000 + i);
		os_udp_path_changed(udp, &p.remote);
	}
	assert_int_equal(stats().n_no_gso, 0);
}

static void a_full_socket_continues_where_it_stood(void **state)
{
	struct path_addr a = path_to(1);

	kernel.gso_error = EIO;
	for (unsigned room = 1; room <= 21; room++) {
		n_sent = kernel.n_calls = 0;
		kernel.again_after = room;
		os_udp_path_changed(udp, &a.remote);
		while (send_run(&a) == ERR_AGAIN)
			kernel.n_calls = 0;
		assert_whole_run(0);
	}
	assert_true(stats().n_tx_again > 0);
}

/* The run that met EAGAIN was dropped (its peer is gone): the next one is not cut by what had left of it. */
static void another_run_begins_at_its_beginning(void **state)
{
	static uint8_t other[3 * SEG] = { [0] = 0, [1] = 70, [SEG] = 71, [2 * SEG] = 72 };
	struct path_addr a = path_to(1);

	kernel.gso_error = EIO;
	kernel.again_after = 8;
	assert_int_equal(send_run(&a), ERR_AGAIN);
	assert_int_equal(n_sent, 7);
	kernel.again_after = 0;
	assert_int_equal(os_udp_send(udp, &a, other, sizeof(other), SEG), OK);
	assert_int_equal(n_sent, 10);
	assert_int_equal(sent[7].id, 0);
	assert_int_equal(sent[8].id, 71);
}

static void other_errors_are_told(void **state)
{
	static const struct { int errnum; enum err want; } rows[] = {
		{ EPERM, ERR_PERMISSION }, { EACCES, ERR_PERMISSION }, { ENETUNREACH, ERR_NO_ROUTE },
		{ EHOSTUNREACH, ERR_UNREACHABLE }, { EADDRNOTAVAIL, ERR_UNREACHABLE }, { ENOMEM, ERR_UNREACHABLE },
	};
	struct path_addr a = path_to(1);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		kernel.gso_error = kernel.plain_error = rows[i].errnum;
		assert_int_equal(send_run(&a), rows[i].want);
		assert_int_equal(stats().n_no_gso, 0);
	}
	assert_int_equal(stats().n_tx_errors, ARRAY_SIZE(rows));
	kernel.gso_error = kernel.plain_error = 0;
	n_sent = 0;
	assert_int_equal(send_run(&a), OK);
	assert_whole_run(0);
}

static void the_switch_turns_it_off(void **state)
{
	struct path_addr a = path_to(1);

	os_udp_close(udp);
	setenv("NEFIA_GSO", "off", 1);
	assert_int_equal(os_udp_open(loop, 0, &silent, &udp), OK);
	unsetenv("NEFIA_GSO");
	assert_int_equal(send_run(&a), OK);
	assert_whole_run(0);
	assert_int_equal(kernel.n_gso_tries, 0);
	assert_int_equal(kernel.n_calls, 20);
	assert_false(stats().gso);
}

/* ---- the real kernel ---- */

struct receiver {
	struct os_udp *udp;
	uint8_t next;
	size_t n, n_short;
	struct path_addr last;
};

static void on_recv(void *ctx, const struct os_udp_dgram *d, size_t n)
{
	struct receiver *r = ctx;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(d[i].p[0], r->next);
		r->next = (uint8_t)((r->next + 1) % 20);
		r->n_short += d[i].len == SEG - 30;
		r->last = d[i].path;
	}
	r->n += n;
	if (r->n >= 200)
		os_loop_stop(loop);
}

static void on_timeout(void *ctx)
{
	os_loop_stop(loop);
}

static void through_loopback(const struct ip_addr *to)
{
	struct receiver r = { 0 };
	struct os_udp_handler h = { on_recv, nobody_waits, &r };
	struct path_addr path = { .remote = { .ip = *to } };
	struct os_timer limit;

	os_udp_sendmsg = sendmsg;
	assert_int_equal(os_udp_open(loop, 0, &h, &r.udp), OK);
	path.remote.port = os_udp_port(r.udp);
	os_timer_init(&limit, loop, on_timeout, NULL);
	os_timer_set(&limit, os_now() + 5 * NSEC_PER_SEC);
	for (int i = 0; i < 10; i++)
		assert_int_equal(send_run(&path), OK);
	os_loop_run(loop);
	os_timer_cancel(&limit);
	assert_int_equal(r.n, 200);
	assert_int_equal(r.n_short, 10);
	assert_int_equal(r.last.remote.port, os_udp_port(udp));
	assert_true(ip_addr_equal(&r.last.local, to)); /* what sticky sources need */
	os_udp_close(r.udp);
}

static void datagrams_arrive_whole_and_in_order(void **state)
{
	struct ip_addr v4 = ip_addr_v4(127, 0, 0, 1), v6 = { IP_V6, { [15] = 1 } };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool has_v6 = fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0;

	if (fd >= 0)
		close(fd);
	through_loopback(&v4);
	if (has_v6)
		through_loopback(&v6);
}

#define N_LONG 128 /* datagrams in a run of a kernel since 6.9 */

static void on_long(void *ctx, const struct os_udp_dgram *d, size_t n)
{
	struct receiver *r = ctx;

	r->n += n;
	if (r->n >= N_LONG * 8)
		os_loop_stop(loop);
}

/* Others may put more into a run than we do, and eight of these stand there at once. */
static void the_longest_runs_of_others_arrive_whole(void **state)
{
	static const uint8_t bytes[N_LONG * 8];
	struct receiver r = { 0 };
	struct os_udp_handler h = { on_long, nobody_waits, &r };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), seg = 8;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct os_timer limit;
	ssize_t took = 0;

	assert_int_equal(os_udp_open(loop, 0, &h, &r.udp), OK);
	to.sin_port = htons(os_udp_port(r.udp));
	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT_TYPE, &seg, sizeof(seg)) == 0)
		for (int i = 0; i < 8 && took >= 0; i++)
			took = sendto(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&to, sizeof(to));
	close(fd);
	if (took == (ssize_t)sizeof(bytes)) {
		os_timer_init(&limit, loop, on_timeout, NULL);
		os_timer_set(&limit, os_now() + 5 * NSEC_PER_SEC);
		os_loop_run(loop);
		os_timer_cancel(&limit);
		assert_int_equal(r.n, N_LONG * 8);
	}
	os_udp_close(r.udp);
	if (took != (ssize_t)sizeof(bytes))
		skip(); /* this kernel does not send them */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_run_is_one_call),
		TEST(a_refused_run_goes_one_by_one),
		TEST(a_route_without_checksums_is_asked_once),
		TEST(a_kernel_without_it_is_asked_once),
		TEST(another_path_is_tried_again),
		TEST(what_was_not_segmentation_does_not_switch_it_off),
		TEST(the_table_is_bounded),
		TEST(a_full_socket_continues_where_it_stood),
		TEST(another_run_begins_at_its_beginning),
		TEST(other_errors_are_told),
		TEST(the_switch_turns_it_off),
		TEST(datagrams_arrive_whole_and_in_order),
		TEST(the_longest_runs_of_others_arrive_whole),
	};

	return RUN_TESTS(tests);
}
