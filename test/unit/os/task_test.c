/* Work in a child: its answer, its silence, its death, its slowness; and that it neither hears nor repeats signals. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/task.h"
#include "test/lib/testing.h"

static struct os_loop *loop;
static struct os_task *task;
static char got[OS_TASK_ANSWER_MAX + 1];
static size_t n_got;
static int n_done, n_signals;

static void on_done(void *ctx, const char *answer, size_t len)
{
	memcpy(got, answer, len);
	got[len] = '\0';
	n_got = len;
	n_done++;
	os_loop_stop(loop);
}

static void put(int fd, const char *s)
{
	if (write(fd, s, strlen(s)) < 0)
		_exit(1);
}

static void say(int fd, void *arg)
{
	put(fd, arg);
}

static void say_nothing(int fd, void *arg)
{
}

static void die(int fd, void *arg)
{
	put(fd, "half");
	raise(SIGKILL);
}

static void sleep_long(int fd, void *arg)
{
	put(fd, "half");
	sleep(100);
}

static void say_too_much(int fd, void *arg)
{
	static char text[3 * OS_TASK_ANSWER_MAX];

	memset(text, 'x', sizeof(text) - 1);
	put(fd, text);
}

static void run(os_task_work work, void *arg, nsec_t limit)
{
	n_done = 0;
	assert_int_equal(os_task_start(loop, work, arg, os_now() + limit, on_done, NULL, &task), OK);
	os_loop_run(loop);
	assert_int_equal(n_done, 1);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left */
}

static void answers(void **state)
{
	run(say, "hello", NSEC_PER_SEC);
	assert_string_equal(got, "hello");
	run(say_nothing, NULL, NSEC_PER_SEC);
	assert_int_equal(n_got, 0);
	run(die, NULL, NSEC_PER_SEC);
	assert_string_equal(got, "half");
	run(say_too_much, NULL, NSEC_PER_SEC);
	assert_int_equal(n_got, OS_TASK_ANSWER_MAX);
}

static void a_slow_one_is_killed(void **state)
{
	nsec_t began = os_now();

	run(sleep_long, NULL, 50 * NSEC_PER_MSEC);
	assert_int_equal(n_got, 0);
	assert_true(os_now() - began < 5 * NSEC_PER_SEC);
}

static void cancelled(void **state)
{
	assert_int_equal(os_task_start(loop, sleep_long, NULL, NSEC_NEVER, on_done, NULL, &task), OK);
	os_task_cancel(task);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void on_signal(void *ctx, int signum)
{
	n_signals++;
}

/* The whole group, as a terminal does it. */
static void interrupt_group(int fd, void *arg)
{
	kill(getppid(), SIGINT);
	raise(SIGINT);
	put(fd, "alive");
}

static void a_signal_is_heard_once(void **state)
{
	assert_int_equal(os_signal_on(loop, SIGINT, on_signal, NULL), OK);
	run(interrupt_group, NULL, NSEC_PER_SEC);
	assert_string_equal(got, "alive");
	run(say, "one more turn", NSEC_PER_SEC);
	assert_int_equal(n_signals, 1);
}

static int start(void **state)
{
	loop = os_loop_new();
	return loop ? 0 : -1;
}

static int stop(void **state)
{
	os_loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(a_slow_one_is_killed),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(a_signal_is_heard_once),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
