/* TCP 22 of the agent over a real tunnel, to servers of this process: bytes, ends, refusals, the limit. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent_internal.h"
#include "os/stream.h"
#include "test/lib/calm.h"
#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

#define N_MAX 100 /* the limit of the specification */

static struct tunpair pair;
static struct agent agent;
static struct os_listener *server;
static int accepted[256];
static size_t n_accepted;

static void on_accept(void *ctx, int fd)
{
	accepted[n_accepted++] = fd;
}

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
}

static struct net_tcp *dial(enum err *ret_e)
{
	struct net_tcp *c = tunpair_dial(&pair, "10.99.0.2:22", ret_e);

	if (c)
		net_tcp_set_fn(c, on_tcp, NULL);
	return c;
}

static struct net_tcp *must_dial(void)
{
	enum err e;
	struct net_tcp *c = dial(&e);

	if (!c)
		fail_msg("dial: %s", err_text(e));
	return c;
}

static bool all_ended(void *ctx)
{
	return agent.n_forwards == 0;
}

/* Every test ends with nothing left. */
static int tidy(void **state)
{
	for (size_t i = 0; i < n_accepted; i++)
		close(accepted[i]);
	n_accepted = 0;
	return tunpair_run(&pair, all_ended, NULL, 8 * NSEC_PER_SEC) ? 0 : -1;
}

static bool is_accepted(void *ctx)
{
	return n_accepted >= *(size_t *)ctx;
}

static bool server_can_read(void *ctx)
{
	char c;

	return recv(*(int *)ctx, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

static bool client_has(void *ctx)
{
	return net_tcp_readable(ctx) >= 3;
}

static bool client_at_end(void *ctx)
{
	return net_tcp_at_eof(ctx);
}

static void bytes_and_both_ends(void **state)
{
	struct net_tcp *c = must_dial();
	size_t one = 1;
	char buf[16];

	assert_true(tunpair_run(&pair, is_accepted, &one, NSEC_PER_SEC));
	assert_int_equal(net_tcp_write(c, "abc", 3), 3);
	net_tcp_shutdown(c);
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, server_can_read, &accepted[0], NSEC_PER_SEC));
	assert_int_equal(recv(accepted[0], buf, sizeof(buf), 0), 3);
	assert_memory_equal(buf, "abc", 3);
	/* The other direction lives on. */
	assert_true(tunpair_run(&pair, server_can_read, &accepted[0], NSEC_PER_SEC));
	assert_int_equal(recv(accepted[0], buf, sizeof(buf), 0), 0);
	assert_int_equal(send(accepted[0], "xyz", 3, 0), 3);
	assert_true(tunpair_run(&pair, client_has, c, NSEC_PER_SEC));
	assert_int_equal(net_tcp_read(c, buf, sizeof(buf)), 3);
	assert_false(net_tcp_at_eof(c));
	shutdown(accepted[0], SHUT_WR);
	assert_true(tunpair_run(&pair, client_at_end, c, NSEC_PER_SEC));
	net_tcp_close(c);
	tunnel_kick(pair.hub);
	assert_int_equal(agent.health.ssh, AGENT_SSH_REACHABLE);
}

static bool client_failed(void *ctx)
{
	return net_tcp_error(ctx) != OK;
}

static void a_reset_is_a_reset(void **state)
{
	struct linger now = { 1, 0 };
	struct net_tcp *c = must_dial();
	size_t one = 1;

	assert_true(tunpair_run(&pair, is_accepted, &one, NSEC_PER_SEC));
	assert_int_equal(setsockopt(accepted[0], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(accepted[--n_accepted]);
	assert_true(tunpair_run(&pair, client_failed, c, NSEC_PER_SEC));
	assert_int_equal(net_tcp_error(c), ERR_RESET);
	net_tcp_close(c);
}

static void a_dead_server_is_refused_at_once(void **state)
{
	char was[sizeof(agent.cfg.ssh_addr)];
	int64_t began = calm_now();
	enum err e;

	memcpy(was, agent.cfg.ssh_addr, sizeof(was));
	strcpy(agent.cfg.ssh_addr, "127.0.0.1:1");
	assert_null(dial(&e));
	assert_int_equal(e, ERR_REFUSED);
	assert_true(calm_now() - began < (int64_t)NSEC_PER_SEC);
	assert_int_equal(agent.health.ssh, AGENT_SSH_UNREACHABLE);
	strcpy(agent.cfg.ssh_addr, "unix:/nowhere/sshd.sock");
	assert_null(dial(&e));
	assert_int_equal(e, ERR_REFUSED);
	memcpy(agent.cfg.ssh_addr, was, sizeof(was));
}

static bool one_is_free(void *ctx)
{
	return agent.n_forwards < N_MAX;
}

static void number_101_is_refused(void **state)
{
	struct net_tcp *c[N_MAX];
	enum err e;

	for (size_t i = 0; i < N_MAX; i++)
		c[i] = must_dial();
	assert_int_equal(agent.n_forwards, N_MAX);
	assert_null(dial(&e));
	assert_int_equal(e, ERR_REFUSED);
	/* Nobody was put out for it, and a place that is left can be had. */
	for (size_t i = 0; i < N_MAX; i++)
		assert_int_equal(net_tcp_error(c[i]), OK);
	net_tcp_abort(c[7]);
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, one_is_free, NULL, 3 * NSEC_PER_SEC));
	c[7] = must_dial();
	for (size_t i = 0; i < N_MAX; i++)
		net_tcp_abort(c[i]);
	tunnel_kick(pair.hub);
}

/* A server whose queue is full: the kernel leaves the dial hanging. */
static int mute_server(char *ret_addr, int fillers[4])
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	for (int i = 0; i < 4; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)!connect(fillers[i], (struct sockaddr *)&sin, sizeof(sin));
	}
	sprintf(ret_addr, "127.0.0.1:%u", ntohs(sin.sin_port));
	return fd;
}

static void on_pending(void *ctx, enum err e, struct net_tcp *c)
{
	++*(size_t *)ctx;
}

static bool all_held(void *ctx)
{
	return agent.n_forwards == N_MAX;
}

/* A dial that hangs holds its SYN: unanswered, counted, and dialled once, however often the SYN is repeated. */
static void held_syns_count(void **state)
{
	struct tunnel_dial *dials[N_MAX];
	char was[sizeof(agent.cfg.ssh_addr)];
	int fillers[4], mute;
	size_t n_over = 0;
	struct endpoint ep;
	enum err e;

	memcpy(was, agent.cfg.ssh_addr, sizeof(was));
	mute = mute_server(agent.cfg.ssh_addr, fillers);
	assert_int_equal(endpoint_parse("10.99.0.2:22", &ep), OK);
	for (size_t i = 0; i < N_MAX; i++)
		assert_int_equal(tunnel_dial_start(pair.hub, &ep, os_now() + 60 * NSEC_PER_SEC, on_pending, &n_over,
						   &dials[i]), OK);
	assert_true(tunpair_run(&pair, all_held, NULL, 3 * NSEC_PER_SEC));
	assert_null(dial(&e));
	assert_int_equal(e, ERR_REFUSED);
	/* SYNs are repeated meanwhile: were one taken for new, it would be refused, or dialled again. */
	tunpair_rest(&pair, 2 * NSEC_PER_SEC);
	assert_int_equal(n_over, 0);
	assert_int_equal(agent.n_forwards, N_MAX);
	/* The deadline of 5 s refuses all. */
	assert_true(tunpair_run(&pair, all_ended, NULL, 8 * NSEC_PER_SEC));
	memcpy(agent.cfg.ssh_addr, was, sizeof(was));
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(mute);
}

static bool four_there(void *ctx)
{
	return agent.n_forwards == 4;
}

static bool three_over(void *ctx)
{
	return *(size_t *)ctx == 3;
}

/* An end with connections in every stage: nothing is left, nothing is touched twice. */
static void closing_takes_all_down(void **state)
{
	struct net_tcp *c = must_dial();
	struct tunnel_dial *dials[3];
	char was[sizeof(agent.cfg.ssh_addr)];
	int fillers[4], mute;
	size_t n_over = 0;
	struct endpoint ep;

	memcpy(was, agent.cfg.ssh_addr, sizeof(was));
	mute = mute_server(agent.cfg.ssh_addr, fillers);
	assert_int_equal(endpoint_parse("10.99.0.2:22", &ep), OK);
	for (size_t i = 0; i < ARRAY_SIZE(dials); i++)
		assert_int_equal(tunnel_dial_start(pair.hub, &ep, os_now() + 9 * NSEC_PER_SEC, on_pending, &n_over, &dials[i]),
				 OK);
	assert_true(tunpair_run(&pair, four_there, NULL, 3 * NSEC_PER_SEC));
	agent_forward_close(&agent);
	assert_int_equal(agent.n_forwards, 0);
	assert_true(tunpair_run(&pair, client_failed, c, 3 * NSEC_PER_SEC));
	assert_true(tunpair_run(&pair, three_over, &n_over, 3 * NSEC_PER_SEC));
	net_tcp_close(c);
	memcpy(agent.cfg.ssh_addr, was, sizeof(was));
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(mute);
}

struct answered {
	struct os_late late;
	uint32_t n_before;
};

/* At the end of each turn: has the agent's end of the connection been made beside the hub's? */
static void stop_when_answered(void *ctx)
{
	struct answered *a = ctx;
	struct net_stats st;

	net_get_stats(&st);
	if (st.n_tcp == a->n_before + 2)
		os_loop_stop(pair.loop);
	else
		os_late_ask(&a->late);
}

static size_t count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_taken(void *ctx, enum err e, struct net_tcp *c)
{
	assert_int_equal(e, OK);
	net_tcp_set_fn(c, on_tcp, NULL);
	*(struct net_tcp **)ctx = c;
}

static bool taken_and_reset(void *ctx)
{
	struct net_tcp *c = *(struct net_tcp **)ctx;

	return c && net_tcp_error(c) == ERR_RESET;
}

/* The agent's SYN-ACK has left and nothing has come back: neither held any more, nor a bridge yet. */
static void closing_in_the_middle_of_a_handshake(void **state)
{
	struct tunnel_dial *dial;
	struct net_stats st;
	size_t n_fds = count_descriptors(), one = 1;
	struct net_tcp *c = NULL;
	struct answered answered;
	struct endpoint ep;

	net_get_stats(&st);
	answered.n_before = st.n_tcp;
	assert_int_equal(endpoint_parse("10.99.0.2:22", &ep), OK);
	assert_int_equal(tunnel_dial_start(pair.hub, &ep, os_now() + 9 * NSEC_PER_SEC, on_taken, &c, &dial), OK);
	os_late_init(&answered.late, pair.loop, stop_when_answered, &answered);
	os_late_ask(&answered.late);
	os_loop_run(pair.loop);
	assert_int_equal(agent.n_forwards, 1);
	agent_forward_close(&agent);
	assert_true(tunpair_run(&pair, is_accepted, &one, NSEC_PER_SEC));
	close(accepted[--n_accepted]);
	assert_true(tunpair_run(&pair, taken_and_reset, &c, 3 * NSEC_PER_SEC));
	net_tcp_close(c);
	assert_int_equal(agent.n_forwards, 0);
	assert_int_equal(count_descriptors(), n_fds);
}

static int start(void **state)
{
	struct endpoint any = { .ip = ip_addr_v4(127, 0, 0, 1) };

	tunpair_open(&pair, NULL);
	agent.loop = pair.loop;
	agent.tunnel = pair.agent;
	list_init(&agent.controls);
	list_init(&agent.forwards);
	agent_monitor_init(&agent);
	if (os_listen_tcp(pair.loop, &any, on_accept, NULL, &server) != OK)
		return -1;
	snprintf(agent.cfg.ssh_addr, sizeof(agent.cfg.ssh_addr), "127.0.0.1:%u", os_listener_port(server));
	return agent_forward_open(&agent) == OK ? 0 : -1;
}

static int stop(void **state)
{
	agent_monitor_stop(&agent);
	agent_forward_close(&agent);
	os_listener_close(server);
	tunpair_close(&pair);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(bytes_and_both_ends, tidy),
		cmocka_unit_test_teardown(a_reset_is_a_reset, tidy),
		cmocka_unit_test_teardown(a_dead_server_is_refused_at_once, tidy),
		cmocka_unit_test_teardown(number_101_is_refused, tidy),
		cmocka_unit_test_teardown(held_syns_count, tidy),
		cmocka_unit_test_teardown(closing_takes_all_down, tidy),
		cmocka_unit_test_teardown(closing_in_the_middle_of_a_handshake, tidy),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
