/* A change of addresses is heard, and the source for a destination is told; in a network namespace of our own. */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/netmon.h"
#include "test/lib/testing.h"

static struct os_loop *loop;
static struct os_netmon *mon;
static struct os_timer timer;
static int n_changes;

static void on_change(void *ctx)
{
	n_changes++;
	os_loop_stop(loop);
}

static void on_timer(void *ctx)
{
	os_loop_stop(loop);
}

/* False: there is no `ip` here, or it may not. */
static bool ip(const char *args)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "ip %s 2>/dev/null", args);
	return system(cmd) == 0;
}

static void wait_for_change(void)
{
	os_timer_set(&timer, os_now() + 3 * NSEC_PER_SEC);
	os_loop_run(loop);
	os_timer_cancel(&timer);
}

static struct endpoint endpoint(const char *text)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse(text, &ep), OK);
	return ep;
}

static void a_new_address_is_heard_and_used(void **state)
{
	struct endpoint there = endpoint("192.0.2.7:9"), here = endpoint("127.0.0.1:9");
	char text[IP_ADDR_STR_MAX];
	struct ip_addr src;

	assert_false(os_route_source(&there, &src));
	if (!ip("link set lo up")) {
		print_message("no ip here\n");
		skip();
	}
	assert_true(os_route_source(&here, &src));
	assert_string_equal(ip_addr_format(&src, text), "127.0.0.1");
	wait_for_change();
	n_changes = 0;
	assert_true(ip("addr add 192.0.2.1/24 dev lo"));
	wait_for_change();
	assert_true(n_changes > 0);
	assert_true(os_route_source(&there, &src));
	assert_string_equal(ip_addr_format(&src, text), "192.0.2.1");
	n_changes = 0;
	assert_true(ip("addr del 192.0.2.1/24 dev lo"));
	wait_for_change();
	assert_true(n_changes > 0);
	assert_false(os_route_source(&there, &src));
}

static int start(void **state)
{
	loop = os_loop_new();
	os_timer_init(&timer, loop, on_timer, NULL);
	return os_netmon_start(loop, on_change, NULL, &mon) == OK ? 0 : -1;
}

static int stop(void **state)
{
	os_netmon_stop(mon);
	os_loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_new_address_is_heard_and_used) };

	if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
		puts("no network namespace for this user here");
		return 77;
	}
	return cmocka_run_group_tests(tests, start, stop);
}
