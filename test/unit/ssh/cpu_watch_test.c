/* alone: processor time is watched */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/loop.h"
#include "ssh/cpu_watch.h"
#include "test/lib/testing.h"

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void burn(double seconds)
{
	for (double end = cpu_seconds() + seconds; cpu_seconds() < end;)
		;
}

/* A child that computes @total seconds of CPU in turns of @turn. Return: how it ended. */
static pid_t child(double turn, double total)
{
	struct cpu_watch w = { .seconds = 1 };
	pid_t pid = fork();

	if (pid == 0) {
		for (double done = 0; done < total; done += turn) {
			cpu_watch_turn(&w, os_now());
			burn(turn);
		}
		_exit(0);
	}
	return pid;
}

static void only_a_turn_without_end_is_ended(void **state)
{
	pid_t busy = child(0.1, 2.5), stuck = child(20, 20);
	int status;

	assert_int_equal(waitpid(stuck, &status, 0), stuck);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF);
	assert_int_equal(waitpid(busy, &status, 0), busy);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_turn_without_end_is_ended),
	};

	return RUN_TESTS(tests);
}
