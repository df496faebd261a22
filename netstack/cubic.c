/*
 * netstack/cubic.c - CUBIC (RFC 9438) with HyStart.
 *
 * Slow start doubles a round trip's bytes with every round trip and ends when the delay has grown by an eighth (4 to 16 ms)
 * over the least one seen: the queue in front of the bottleneck is filling (RFC 9406's signal). After a loss the window is 0.7 of what it was and grows along a cubic of time that is flat
 * around the place of the loss, never slower than Reno would.
 */
#include <math.h>

#include "netstack/loss.h"

#define BETA 0.7
#define CUBIC_C 0.4 /* segments a second cubed */
#define RENO_ALPHA (3 * (1 - BETA) / (1 + BETA))
#define HYSTART_SEGMENTS 32
#define CWND_MAX (32u << 20)

void net_cc_init(struct net_cc *cc, uint32_t mss, uint32_t cwnd)
{
	*cc = (struct net_cc){ .mss = mss, .cwnd = cwnd, .ssthresh = CWND_MAX,
			       .rtt_min = NSEC_NEVER };
}

static void begin_epoch(struct net_cc *cc, nsec_t now)
{
	cc->epoch = now;
	cc->w_est = cc->cwnd;
	if (cc->w_max > cc->cwnd) {
		cc->k = cbrt((cc->w_max - cc->cwnd) / (CUBIC_C * cc->mss));
	} else {
		cc->k = 0;
		cc->w_max = cc->cwnd;
	}
}

static void avoid_congestion(struct net_cc *cc, uint32_t acked, nsec_t now, nsec_t srtt)
{
	double t, target, cwnd = cc->cwnd;

	if (!cc->epoch)
		begin_epoch(cc, now);
	t = (double)(now + srtt - cc->epoch) / 1e9 - cc->k;
	target = MIN(CUBIC_C * cc->mss * t * t * t + cc->w_max, 1.5 * cwnd);
	cc->w_est += RENO_ALPHA * cc->mss * acked / cwnd;
	if (target > cwnd)
		cwnd += (target - cwnd) * acked / cwnd;
	cwnd = MAX(cwnd, cc->w_est);
	cc->cwnd = (uint32_t)MIN(cwnd, (double)CWND_MAX);
}

void net_cc_acked(struct net_cc *cc, uint32_t acked, nsec_t now, nsec_t srtt)
{
	if (cc->cwnd < cc->ssthresh)
		cc->cwnd = MIN(cc->cwnd + acked, MIN(cc->ssthresh, CWND_MAX));
	else
		avoid_congestion(cc, acked, now, srtt);
}

void net_cc_rtt(struct net_cc *cc, nsec_t rtt, uint32_t in_flight)
{
	nsec_t slack;

	cc->rtt_min = nsec_min(cc->rtt_min, rtt);
	slack = MIN(MAX(cc->rtt_min / 8, 4 * NSEC_PER_MSEC), 16 * NSEC_PER_MSEC);
	/* A few segments fill no queue: their delay is the other side's, which holds an ACK back for a while. */
	if (in_flight >= HYSTART_SEGMENTS * cc->mss && cc->cwnd < cc->ssthresh && rtt > cc->rtt_min + slack)
		cc->ssthresh = cc->cwnd;
}

void net_cc_lost(struct net_cc *cc)
{
	/* Fast convergence: who is losing share gives up a little more (4.7). */
	cc->w_max = cc->cwnd < cc->w_max ? cc->cwnd * (1 + BETA) / 2 : cc->cwnd;
	cc->ssthresh = MAX((uint32_t)(cc->cwnd * BETA), 2 * cc->mss);
	cc->cwnd = cc->ssthresh;
	cc->epoch = 0;
}

void net_cc_timeout(struct net_cc *cc)
{
	net_cc_lost(cc);
	cc->cwnd = cc->mss;
}
