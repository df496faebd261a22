/* What may stand between TCP and a socket that takes nothing, and how it goes on when the socket does again. */
#include "os/udp_internal.h"
#include "test/lib/testing.h"
#include "test/lib/tunflows.h"

#define EACH (4u << 20)
#define QUEUE_MAX ((128u << 10) + 1500) /* the packet that reaches the limit is taken */

static struct tunflows t;
static size_t most_queued;

static bool never(void *ctx)
{
	most_queued = MAX(most_queued, wg_device_tx_bytes(tunnel_device(t.pair.hub)));
	return false;
}

static void the_queue_below_tcp_is_short(void **state)
{
	tunflows_begin(&t, EACH);
	assert_true(tunflows_arrive(&t, 12, 5 * NSEC_PER_SEC));

	os_udp_sendmsg = tunflows_sendmsg;
	tunflows_stuck = true;
	tunpair_run(&t.pair, never, NULL, 100 * NSEC_PER_MSEC);
	printf("%zu bytes stand below TCP\n", most_queued);
	assert_true(tunflows_refused > 0);
	assert_true(most_queued > 0 && most_queued <= QUEUE_MAX);

	tunflows_stuck = false;
	assert_true(tunflows_arrive(&t, 100, 10 * NSEC_PER_SEC));
	os_udp_sendmsg = sendmsg;
	tunflows_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_queue_below_tcp_is_short) };

	return RUN_TESTS(tests);
}
