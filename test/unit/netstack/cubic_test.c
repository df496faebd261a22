/*
 * test/unit/netstack/cubic_test.c - growth of CUBIC's window after a loss, acknowledgement by acknowledgement, against what RFC 9438
 * says of a whole second of them.
 */
#include <math.h>

#include "netstack/cc.h"
#include "test/lib/testing.h"

#define MSS 1380
#define ALPHA (3 * (1 - 0.7) / (1 + 0.7)) /* segments a round trip that Reno would gain, with CUBIC's cut */

/* A loss at @window, then @time of full windows, each segment acknowledged by itself. Return: the window. */
static uint32_t after(uint32_t window, nsec_t rtt, nsec_t time)
{
	struct net_cubic c = { 0 };
	struct net_cc_ack a = { .now = NSEC_PER_SEC, .srtt = rtt, .acked = MSS };
	double now = (double)a.now, end = now + (double)time;

	for (window = net_cubic_cut(&c, MSS, window); now < end; now += (double)rtt * MSS / window) {
		a.now = (nsec_t)now;
		window = net_cubic_grow(&c, MSS, window, &a);
	}
	return window;
}

/* The cubic after @time, seen a round trip ahead. */
static double cubic(double w_max, double rtt_s, double time_s)
{
	double k = cbrt(w_max * 0.3 / MSS / 0.4);

	return w_max + 0.4 * MSS * pow(time_s + rtt_s - k, 3);
}

/* Where round trips are short, Reno is ahead of the cubic, however large the window: each ACK gains a hundredth of a byte there. */
static void a_large_window_grows_at_least_as_reno_would(void **state)
{
	static const uint32_t windows[] = { 200 << 10, 2 << 20, 8 << 20, 32 << 20 };
	const nsec_t rtt = 500 * NSEC_PER_USEC;

	for (size_t i = 0; i < ARRAY_SIZE(windows); i++) {
		double from = windows[i] * 0.7, reno = from + ALPHA * MSS * (NSEC_PER_SEC / 5 / rtt), got;

		got = after(windows[i], rtt, NSEC_PER_SEC / 5);
		print_message("from %.0f: %.0f more, Reno's %.0f\n", from, got - from, reno - from);
		assert_true(got >= MIN(from + (reno - from) * 0.95, (double)windows[i]));
	}
}

/* On a long path it is the cubic that counts. */
static void on_a_long_path_the_window_follows_the_cubic(void **state)
{
	static const double times[] = { 1, 4, 8, 12 };
	const double w_max = 4 << 20, rtt_s = 0.1;

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		double want = cubic(w_max, rtt_s, times[i]), got;

		got = after(4 << 20, (nsec_t)(rtt_s * 1e9), (nsec_t)(times[i] * 1e9));
		print_message("after %.0f s: %.0f, the cubic %.0f\n", times[i], got, want);
		assert_true(fabs(got - want) < 0.02 * want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_window_grows_at_least_as_reno_would),
		cmocka_unit_test(on_a_long_path_the_window_follows_the_cubic),
	};

	return RUN_TESTS(tests);
}
