/* Connections of `nefia forward` (operator/forward_conn.c): greetings that never end, and clients that are slow to read. */
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "operator/forward.h"
#include "test/lib/testing.h"

#define MUCH 400000 /* more than sockets hold, less than where reading stops */

static struct forward_run run;
static int worker = -1; /* its end of the session of the last connection */

/* In place of the hub's: this is the worker. */
enum err forward_session(struct forward_run *r, int *ret_fd)
{
	int v[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, v), 0);
	worker = v[0];
	*ret_fd = v[1];
	return OK;
}

static void on_nothing(void *ctx)
{
}

static struct forward *open_run(enum forward_kind kind)
{
	run = (struct forward_run){ .host = "web", .sweep_at = NSEC_NEVER, .n_forwards = 1 };
	list_init(&run.conns);
	run.loop = os_loop_new();
	assert_non_null(run.loop);
	os_timer_init(&run.sweep, run.loop, on_nothing, &run);
	run.forwards[0] = (struct forward){ .run = &run, .kind = kind };
	return &run.forwards[0];
}

static void close_run(void)
{
	forward_conns_close(&run);
	os_timer_cancel(&run.sweep);
	os_loop_free(run.loop);
}

/* Return: the client's end. */
static int connect_to(struct forward *f)
{
	int v[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, v), 0);
	forward_conn_accept(f, v[0]);
	return v[1];
}

static bool is_closed(int fd)
{
	char c[64];

	return read(fd, c, sizeof(c)) == 0;
}

static void on_time(void *ctx)
{
	os_loop_stop(run.loop);
}

static void turn_for(nsec_t time)
{
	struct os_timer t;

	os_timer_init(&t, run.loop, on_time, NULL);
	os_timer_set(&t, os_now() + time);
	os_loop_run(run.loop);
	os_timer_cancel(&t);
}

static void a_greeting_has_its_time(void **state)
{
	struct forward *f = open_run(FORWARD_DYNAMIC);
	nsec_t began = os_loop_now(run.loop);
	int silent = connect_to(f), slow = connect_to(f);

	assert_int_equal(run.n_greetings, 2);
	assert_true(run.sweep_at >= began + FORWARD_GREETING_MAX && run.sweep_at < began + FORWARD_GREETING_MAX + NSEC_PER_SEC);
	/* The first byte of a greeting is none, whenever it comes. */
	turn_for(50 * NSEC_PER_MSEC);
	assert_int_equal(write(slow, "\5", 1), 1);
	turn_for(10 * NSEC_PER_MSEC);
	assert_true(forward_conns_sweep(&run, began + FORWARD_GREETING_MAX - 1) > began);
	assert_false(is_closed(silent) || is_closed(slow));
	assert_true(forward_conns_sweep(&run, began + FORWARD_GREETING_MAX + 5 * NSEC_PER_MSEC) == NSEC_NEVER);
	assert_true(is_closed(silent) && is_closed(slow));
	assert_true(run.n_conns == 0 && run.n_greetings == 0);
	close(silent);
	close(slow);
	close_run();
}

/* They give way to new ones, so that nobody shuts the port for others. */
static void greetings_have_a_bound(void **state)
{
	struct forward *f = open_run(FORWARD_DYNAMIC);
	int fd[FORWARD_GREETINGS_MAX + 10];

	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = connect_to(f);
	assert_int_equal(run.n_greetings, FORWARD_GREETINGS_MAX);
	assert_int_equal(run.n_conns, FORWARD_GREETINGS_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		assert_int_equal(is_closed(fd[i]), i < 10);
		close(fd[i]);
	}
	close_run();
}

/* What the worker says, as far as it is taken. */
static void say(struct ssh_buf *b)
{
	for (int i = 0; i < 1000 && ssh_buf_used(b) > 0; i++) {
		ssize_t n = write(worker, b->p + b->off, ssh_buf_used(b));

		if (n > 0)
			ssh_buf_drop(b, (size_t)n);
		turn_for(NSEC_PER_MSEC);
	}
	assert_int_equal(ssh_buf_used(b), 0);
}

static nsec_t cpu_time(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

/* The command there has ended, the client has not read all, and goes on talking: nothing happens until it reads. */
static void what_is_over_waits_in_peace(void **state)
{
	static uint8_t data[MUCH / 20];
	struct forward *f = open_run(FORWARD_LOCAL);
	int client = connect_to(f);
	struct ssh_buf b = { 0 };
	size_t got = 0;
	nsec_t before;

	assert_int_equal(ssh_frame_add(&b, SSH_F_READY, (struct bytes){ 0 }, (struct bytes){ 0 }), OK);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ssh_frame_add(&b, SSH_F_STDOUT, (struct bytes){ data, sizeof(data) }, (struct bytes){ 0 }), OK);
	assert_int_equal(ssh_frame_add(&b, SSH_F_EXIT, (struct bytes){ data, 4 }, (struct bytes){ 0 }), OK);
	say(&b);
	close(worker);
	assert_int_equal(write(client, data, 1000), 1000);
	turn_for(10 * NSEC_PER_MSEC);
	assert_int_equal(run.n_conns, 1);
	before = cpu_time();
	turn_for(300 * NSEC_PER_MSEC);
	assert_true(cpu_time() - before < 60 * NSEC_PER_MSEC);
	for (int i = 0; i < 1000 && run.n_conns > 0; i++) {
		uint8_t in[8192];
		ssize_t n = read(client, in, sizeof(in));

		got += n > 0 ? (size_t)n : 0;
		turn_for(NSEC_PER_MSEC / 10);
	}
	for (ssize_t n; (n = read(client, data, sizeof(data))) > 0;)
		got += (size_t)n;
	assert_int_equal(got, MUCH);
	assert_int_equal(run.n_conns, 0);
	close(client);
	ssh_buf_fini(&b);
	close_run();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_greeting_has_its_time),
		cmocka_unit_test(greetings_have_a_bound),
		cmocka_unit_test(what_is_over_waits_in_peace),
	};

	return RUN_TESTS(tests);
}
