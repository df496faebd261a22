/*
 * netstack/cubic.c - CUBIC (RFC 9438) with HyStart++ (RFC 9406).
 *
 * Slow start doubles a round trip's bytes with every round trip, paced at twice the rate of the window, so that a
 * short queue in front of the bottleneck does not overflow at half of what the path holds. It ends at a loss, or when
 * the least delay of a spell, an eighth of a round, has grown by an eighth over that of the round before: then five rounds of a
 * quarter of the growth show whether that was chance. (RFC 9406 looks at whole rounds. On a long fat path the queue grows from
 * nothing to overflow within one.) As long as nothing was lost a short delay shows it later too, and
 * slow start goes on: on a busy machine whole rounds are late. After a loss the window is 0.7 of what it was and grows along a cubic
 * of time that is flat around the place of the loss, never slower than Reno would. Congestion avoidance is paced a little
 * faster than the window, so that it is the window which decides.
 */
#include <math.h>

#include "netstack/cc.h"
#include "netstack/seq.h"

#define BETA 0.7f
#define CUBIC_C 0.4f /* segments a second cubed */
#define RENO_ALPHA (3 * (1 - BETA) / (1 + BETA))
#define RTT_SAMPLES 8
#define SPELLS 8 /* in a round trip */
#define CSS_ROUNDS 5
#define CSS_DIVISOR 4
#define THRESH_MIN (4 * NSEC_PER_MSEC)
#define THRESH_MAX (16 * NSEC_PER_MSEC)
#define PACE_FROM_RTT (2 * NSEC_PER_MSEC) /* on shorter paths the ACKs clock finely enough */

static void init(struct net_cc *cc, nsec_t now)
{
	cc->cubic.rtt_now = cc->cubic.rtt_round = cc->cubic.rtt_last = NSEC_NEVER;
}

/* ---- slow start ---- */

static void next_round(struct net_cubic *c, uint32_t nxt)
{
	c->round_begun = true;
	c->round_end = nxt;
	c->rtt_last = c->rtt_round;
	c->rtt_round = NSEC_NEVER;
}

static void next_spell(struct net_cubic *c, nsec_t now)
{
	c->rtt_now = NSEC_NEVER;
	c->spell_at = now;
	c->n_samples = 0;
}

/* Is a spell over, and has even its least delay grown over that of the last round? */
static bool delay_has_grown(struct net_cubic *c, const struct net_cc_ack *a)
{
	nsec_t thresh, now;

	if (c->n_samples < RTT_SAMPLES || a->now - c->spell_at < a->srtt / SPELLS)
		return false;
	now = c->rtt_now;
	next_spell(c, a->now);
	if (c->by_delay || c->rtt_last == NSEC_NEVER)
		return false;
	thresh = MIN(MAX(c->rtt_last / 8, THRESH_MIN), THRESH_MAX);
	if (now < c->rtt_last + thresh)
		return false;
	c->rtt_base = c->rtt_last + thresh / 2;
	return true;
}

static void look_at_delay(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_cubic *c = &cc->cubic;

	if (!c->round_begun || SEQ_GEQ(a->una, c->round_end)) {
		if (c->in_css && ++c->n_css >= CSS_ROUNDS) {
			cc->ssthresh = cc->cwnd;
			c->in_css = false;
		}
		next_round(c, a->nxt);
	}
	if (!a->rtt)
		return;
	c->rtt_round = nsec_min(c->rtt_round, a->rtt);
	c->rtt_now = nsec_min(c->rtt_now, a->rtt);
	if (c->n_samples < RTT_SAMPLES)
		c->n_samples++;
	/* It was chance after all: no queue stands, or this one would have waited too. */
	if (c->by_delay && a->rtt < c->rtt_base) {
		c->in_css = c->by_delay = false;
		cc->ssthresh = NET_CWND_MAX;
	}
	if (delay_has_grown(c, a)) {
		c->in_css = c->by_delay = true;
		c->n_css = 0;
	}
}

static void slow_start(struct net_cc *cc, const struct net_cc_ack *a)
{
	uint32_t grow = cc->cubic.in_css ? a->acked / CSS_DIVISOR : a->acked;

	cc->cwnd = MIN(MIN(cc->cwnd + grow, NET_CWND_MAX), MAX(cc->ssthresh, cc->cwnd));
}

/* ---- congestion avoidance ---- */

static void begin_epoch(struct net_cubic *c, float mss, float cwnd, nsec_t now)
{
	c->epoch = now;
	c->w_est = cwnd;
	if (c->w_max > cwnd) {
		c->k = cbrtf((c->w_max - cwnd) / (CUBIC_C * mss));
	} else {
		c->k = 0;
		c->w_max = cwnd;
	}
}

uint32_t net_cubic_grow(struct net_cubic *c, uint32_t mss, uint32_t window, const struct net_cc_ack *a)
{
	double t, target, cwnd = window;

	if (!c->epoch)
		begin_epoch(c, (float)mss, (float)window, a->now);
	t = (double)(a->now + a->srtt - c->epoch) / 1e9 - c->k;
	target = MIN((double)CUBIC_C * mss * t * t * t + c->w_max, 1.5 * cwnd);
	/* As Reno with this BETA would grow, and as fast as Reno itself beyond the place of the loss (4.3). */
	c->w_est += (c->w_est < c->old_cwnd ? (double)RENO_ALPHA : 1) * mss * a->acked / cwnd;
	if (target > cwnd)
		cwnd += (target - cwnd) * a->acked / cwnd;
	cwnd = MAX(cwnd, c->w_est);
	return (uint32_t)MIN(cwnd, (double)NET_CWND_MAX);
}

uint32_t net_cubic_cut(struct net_cubic *c, uint32_t mss, uint32_t window)
{
	float cwnd = (float)window;

	c->old_cwnd = window;
	c->old_w_max = c->w_max;
	/* Fast convergence: who is losing share gives up a little more (4.7). */
	c->w_max = cwnd < c->w_max ? cwnd * (1 + BETA) / 2 : cwnd;
	c->epoch = 0;
	return MAX((uint32_t)(cwnd * BETA), 2 * mss);
}

static void set_pace(struct net_cc *cc, nsec_t srtt)
{
	double rate = (double)cc->cwnd * 1e9 / (double)MAX(srtt, (nsec_t)1);

	cc->pace = srtt < PACE_FROM_RTT ? 0 : (uint64_t)(rate * (cc->cwnd < cc->ssthresh / 2 ? 2.0 : 1.2));
}

static void acked(struct net_cc *cc, const struct net_cc_ack *a)
{
	bool slow = cc->cwnd < cc->ssthresh;

	if ((slow || cc->cubic.by_delay) && !a->in_recovery)
		look_at_delay(cc, a);
	/* A window that was not used proves nothing (RFC 7661). */
	if (a->in_recovery || a->acked == 0)
		;
	else if (slow && (a->cwnd_limited || cc->cwnd < 2 * (uint64_t)a->prior_in_flight))
		slow_start(cc, a);
	else if (!slow && a->cwnd_limited)
		cc->cwnd = net_cubic_grow(&cc->cubic, cc->mss, cc->cwnd, a);
	set_pace(cc, a->srtt);
}

/* ---- events ---- */

static void lost(struct net_cc *cc, nsec_t now)
{
	struct net_cubic *c = &cc->cubic;

	c->old_ssthresh = cc->ssthresh;
	cc->ssthresh = cc->cwnd = net_cubic_cut(c, cc->mss, cc->cwnd);
	c->in_css = c->by_delay = false;
}

static void timeout(struct net_cc *cc, nsec_t now)
{
	lost(cc, now);
	cc->cwnd = cc->mss;
}

static void undo(struct net_cc *cc)
{
	struct net_cubic *c = &cc->cubic;

	cc->cwnd = MAX(cc->cwnd, c->old_cwnd);
	cc->ssthresh = MAX(cc->ssthresh, c->old_ssthresh);
	c->w_max = c->old_w_max;
	c->epoch = 0;
}

static void recovered(struct net_cc *cc, nsec_t now)
{
	cc->cwnd = MAX(cc->cwnd, 2 * cc->mss);
}

/* What was learned fades with silence (RFC 7661): half of the window for each second, ten segments stay. */
static void restart(struct net_cc *cc, nsec_t idle, nsec_t now)
{
	uint32_t least = NET_CWND_FIRST * cc->mss;

	cc->cubic.epoch = 0;
	if (cc->cwnd > least)
		cc->ssthresh = MAX(cc->ssthresh, cc->cwnd / 4 * 3);
	for (nsec_t s = NSEC_PER_SEC; s <= idle && cc->cwnd > least; s += NSEC_PER_SEC)
		cc->cwnd = MAX(cc->cwnd / 2, least);
}

const struct net_cc_ops net_cubic_ops = {
	.name = "cubic",
	.reduces = true,
	.init = init,
	.acked = acked,
	.lost = lost,
	.timeout = timeout,
	.undo = undo,
	.recovered = recovered,
	.restart = restart,
};
