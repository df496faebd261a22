/*
 * test/unit/netstack/bbr_model_test.c - what the control that measures the path thinks of it, acknowledgement by acknowledgement,
 * over a bottleneck of one rate with an endless queue: while it looks for the least round trip, and after a silence. Whole transfers: bbr_test.c.
 */
#include "netstack/cc.h"
#include "test/lib/testing.h"

#define MSS 1380
#define N_FLYING 32768
#define RATE 12500000 /* 100 Mb/s */

/* A segment under way, and what stood when it left. */
struct flying {
	nsec_t sent, arrives, delivered_at;
	uint64_t delivered;
	bool app_limited;
};

static struct sender {
	struct net_cc cc;
	nsec_t now, rtt, srtt, may_send, link_free, delivered_at, idle_since;
	struct flying flying[N_FLYING];
	size_t head, tail;
	uint64_t delivered, app_limited_until, to_send;
} s;

static uint32_t in_flight(void)
{
	return (uint32_t)((s.tail - s.head) * MSS);
}

static void begin(nsec_t rtt)
{
	memset(&s, 0, sizeof(s));
	s.now = s.delivered_at = NSEC_PER_SEC;
	s.rtt = rtt;
	net_cc_init(&s.cc, &net_bbr_ops, MSS, s.now);
}

static void send_one(void)
{
	if (s.head == s.tail) {
		s.delivered_at = s.now;
		if (s.idle_since)
			s.cc.ops->restart(&s.cc, s.now - s.idle_since, s.now);
	}
	s.link_free = MAX(s.link_free, s.now) + MSS * NSEC_PER_SEC / RATE;
	assert_true(s.tail - s.head < N_FLYING);
	s.flying[s.tail++ % N_FLYING] = (struct flying){ s.now, s.link_free + s.rtt, s.delivered_at, s.delivered, s.app_limited_until > 0 };
	s.may_send = MAX(s.may_send, s.now - NSEC_PER_MSEC) + (s.cc.pace ? MSS * NSEC_PER_SEC / s.cc.pace : 0);
	if (--s.to_send == 0)
		s.app_limited_until = s.delivered + in_flight();
}

static void hear_one(void)
{
	const struct flying *f = &s.flying[s.head % N_FLYING];
	struct net_cc_ack a = { .now = s.now, .rtt = s.now - f->sent, .acked = MSS, .prior_in_flight = in_flight(),
				.prior_delivered = f->delivered, .app_limited = f->app_limited };

	s.head++;
	s.delivered += MSS;
	s.delivered_at = s.now;
	s.srtt = s.srtt ? (7 * s.srtt + a.rtt) / 8 : a.rtt;
	a.srtt = s.srtt;
	a.in_flight = in_flight();
	a.delivered = s.delivered;
	a.rate = (s.delivered - f->delivered) * NSEC_PER_SEC / (s.now - f->delivered_at);
	if (s.app_limited_until && s.delivered > s.app_limited_until)
		s.app_limited_until = 0;
	s.cc.ops->acked(&s.cc, &a);
	s.idle_since = s.head == s.tail ? s.now : 0;
}

/* Until nothing is left to do or @until has come. @ret_least: the least that the model took the rate for. */
static void run(nsec_t until, uint64_t *ret_least)
{
	*ret_least = UINT64_MAX;
	while (s.now < until) {
		bool may = s.to_send > 0 && in_flight() + MSS <= s.cc.cwnd;
		nsec_t next = may ? MAX(s.may_send, s.now) : until;

		if (s.head < s.tail && s.flying[s.head % N_FLYING].arrives <= next) {
			s.now = MAX(s.now, s.flying[s.head % N_FLYING].arrives);
			hear_one();
			*ret_least = MIN(*ret_least, s.cc.bbr.bw[0].bw);
		} else {
			s.now = next;
			if (may && next < until)
				send_one();
		}
	}
}

static void the_rate_is_found(void **state)
{
	uint64_t least;

	begin(20 * NSEC_PER_MSEC);
	s.to_send = UINT64_MAX;
	run(s.now + NSEC_PER_SEC, &least);
	assert_in_range(s.cc.bbr.bw[0].bw, RATE * 95 / 100, RATE * 105 / 100);
	assert_int_equal(s.cc.bbr.rtt_min / NSEC_PER_MSEC, 20);
}

/* The half of the window that looks for the least round trip brings half the rate, which is not the path's. */
static void looking_for_the_least_round_trip_keeps_the_rate(void **state)
{
	uint64_t least;

	begin(10 * NSEC_PER_MSEC);
	s.to_send = UINT64_MAX;
	run(s.now + NSEC_PER_SEC, &least);
	s.rtt = 12 * NSEC_PER_MSEC;
	run(s.now + 15 * NSEC_PER_SEC, &least);
	assert_int_equal(s.cc.bbr.rtt_min / NSEC_PER_MSEC, 12);
	assert_true(least > RATE * 95 / 100);
}

/* A silence has emptied whatever queue there was: the first answer after it is as good a measure as any. */
static void after_a_silence_it_goes_on_as_before(void **state)
{
	uint64_t least, before;

	begin(20 * NSEC_PER_MSEC);
	s.to_send = 2000;
	run(s.now + 12 * NSEC_PER_SEC, &least);
	assert_true(s.head == s.tail);
	s.rtt = 22 * NSEC_PER_MSEC;
	before = s.delivered;
	s.to_send = UINT64_MAX;
	run(s.now + 222 * NSEC_PER_MSEC, &least);
	assert_int_equal(s.cc.bbr.rtt_min / NSEC_PER_MSEC, 22);
	assert_true(s.delivered - before > RATE / 5 * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rate_is_found),
		cmocka_unit_test(looking_for_the_least_round_trip_keeps_the_rate),
		cmocka_unit_test(after_a_silence_it_goes_on_as_before),
	};
	return RUN_TESTS(tests);
}
