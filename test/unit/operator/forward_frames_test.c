/* A forwarded connection whose worker has become a stranger's: what it may send is bounded, and what is no frame ends it. */
#include <sys/socket.h>
#include <unistd.h>

#include "operator/forward.h"
#include "test/lib/testing.h"

static struct forward_run run;
static struct forward *fw = &run.forwards[0];
static int worker; /* the far end of the session */
static int client;

/* In place of the hub's. */
enum err forward_session(struct forward_run *r, int *ret_fd)
{
	int pair[2];
	enum err e = os_socketpair(pair);

	if (e != OK)
		return e;
	*ret_fd = pair[0];
	worker = pair[1];
	return OK;
}

static void on_time(void *ctx)
{
	os_loop_stop(run.loop);
}

static void turn(nsec_t time)
{
	struct os_timer t;

	os_timer_init(&t, run.loop, on_time, NULL);
	os_timer_set(&t, os_now() + time);
	os_loop_run(run.loop);
	os_timer_cancel(&t);
}

static void send_frame(enum ssh_frame type, const char *text)
{
	struct ssh_buf b = { 0 };

	assert_int_equal(ssh_frame_add(&b, type, (struct bytes){ (const uint8_t *)text, strlen(text) }, (struct bytes){ NULL, 0 }), OK);
	assert_int_equal(write(worker, b.p, ssh_buf_used(&b)), ssh_buf_used(&b));
	ssh_buf_fini(&b);
}

static int set_up(void **state)
{
	int pair[2];

	run = (struct forward_run){ .host = "web", .loop = os_loop_new(), .n_forwards = 1, .sweep_at = NSEC_NEVER };
	list_init(&run.conns);
	*fw = (struct forward){ .run = &run, .kind = FORWARD_LOCAL, .spec.target = { .host = "localhost", .port = 80 } };
	if (!run.loop || os_socketpair(pair) != OK)
		return -1;
	client = pair[1];
	forward_conn_accept(fw, pair[0]);
	return run.n_conns == 1 ? 0 : -1;
}

static int tear_down(void **state)
{
	forward_conns_close(&run);
	os_loop_free(run.loop);
	close(worker);
	close(client);
	return 0;
}

static void bytes_go_both_ways(void **state)
{
	char buf[256];

	send_frame(SSH_F_READY, "");
	send_frame(SSH_F_STDOUT, "hello");
	assert_int_equal(write(client, "to there", 8), 8);
	turn(50 * NSEC_PER_MSEC);
	assert_int_equal(read(client, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_true(read(worker, buf, sizeof(buf)) > 8);
	send_frame(SSH_F_EXIT, "\1\1\1\1");
	turn(50 * NSEC_PER_MSEC);
	assert_int_equal(run.n_conns, 0);
}

/* It ends at once, and is not collected in the hope of more. */
static void ends_at(const uint8_t bad[5])
{
	char buf[16];

	send_frame(SSH_F_READY, "");
	assert_int_equal(write(worker, bad, 5), 5);
	turn(50 * NSEC_PER_MSEC);
	assert_int_equal(run.n_conns, 0);
	assert_true(read(client, buf, sizeof(buf)) <= 0);
}

static void a_frame_of_4_gib_ends_it(void **state)
{
	ends_at((const uint8_t[]){ 255, 255, 255, 255, SSH_F_STDOUT });
}

static void a_frame_of_nothing_ends_it(void **state)
{
	ends_at((const uint8_t[]){ 0, 0, 0, 0, SSH_F_STDOUT });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(bytes_go_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_frame_of_4_gib_ends_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_frame_of_nothing_ends_it, set_up, tear_down),
	};

	alarm(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
