/* What is told of the cores: how many are ours, how long they were idle, how long a thread waited for one. */
#include <sched.h>
#include <unistd.h>

#include "os/cores.h"
#include "os/loop.h"
#include "test/lib/testing.h"

static void affinity_counts(void **state)
{
	unsigned all = os_cores_allowed();
	cpu_set_t before, one;
	int first = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	assert_in_range(all, 1, CPU_COUNT(&before));
	while (!CPU_ISSET(first, &before))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(os_cores_allowed(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
	assert_int_equal(os_cores_allowed(), all);
}

/* Of our cores alone, and never more than there was time for. */
static void idle_time_is_bounded(void **state)
{
	nsec_t from, to, began = os_now(), took;
	cpu_set_t ours;

	assert_int_equal(sched_getaffinity(0, sizeof(ours), &ours), 0);
	if (!os_cores_idle(&from))
		skip();
	usleep(100000);
	assert_true(os_cores_idle(&to));
	took = os_now() - began;
	assert_true(to >= from);
	/* Two ticks at either end for each core. */
	assert_true(to - from <= (took + 40 * NSEC_PER_MSEC) * (nsec_t)CPU_COUNT(&ours));
}

static void a_delay_only_grows(void **state)
{
	nsec_t from, to, until = os_now() + 20 * NSEC_PER_MSEC;

	if (!os_thread_delay(&from))
		skip();
	while (os_now() < until)
		;
	assert_true(os_thread_delay(&to));
	assert_true(to >= from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(affinity_counts),
		cmocka_unit_test(idle_time_is_bounded),
		cmocka_unit_test(a_delay_only_grows),
	};

	return RUN_TESTS(tests);
}
