/*
 * netstack/bbr.c - a control that measures the path instead of filling its queue (BBR).
 *
 * Two numbers describe the path: the highest delivery rate of the last rounds and the least round trip of the last seconds;
 * their product is what the path holds. Data leave paced at that rate, and no more than twice that product is in the
 * network. A loss by itself says nothing: random ones do not slow it down, which is why it exists.
 *
 *	startup     the rate doubles every round until it stops growing by a quarter for three rounds, or much is lost
 *	drain       slower, until the queue that startup made is gone
 *	probe rate  eight phases of a round trip: a quarter faster, a quarter slower (what the first has queued), six as measured
 *	probe rtt   ten seconds without a new least round trip: half of the product for 200 ms, so that a queue of our own making
 *	            does not pass for the path
 *
 * What keeps it from pushing others out: a loss that a queue explains is an overflow. Then a window beside the model bounds
 * it, cut and grown along CUBIC's curve, so that it and a CUBIC flow in one bottleneck lose and gain alike; the pace is a
 * little above the model's: the bound decides. It goes when it is beyond what the model wants. A queue explains a loss
 *
 *	when no answer of two rounds came back without waiting, and losses come late: a queue overflows when it is longest, so the
 *	round trips beside its losses are among the longest of the last rounds (0.97 of them were shorter, beside CUBIC).
 *	Random losses stand anywhere (0.5 on average). On a busy machine every answer has waited, for a processor: the
 *	first alone would take that for a queue, and did;
 *	for a queue that is too short to be seen so, when much more than usual was lost in a round in which the answers waited;
 *	when very much was lost.
 *
 * Losses that turn out not to come late take a bound away, and when it stood for longer than the model remembers, the rate is
 * found anew as at the start. Answers that come in bursts get room in the window for what a burst holds.
 *
 * Sources: draft-ietf-ccwg-bbr (sections 4 and 5), the gains of the first published version.
 */
#include "netstack/cc.h"

#define GAIN_STARTUP 2.77
#define GAIN_CWND 2.0
#define GAIN_BOUND_PACE 1.1
#define GAIN_BOUND 3.0 /* with a CUBIC flow, and its queue, beside us */
#define BW_ROUNDS 10
#define RTT_WINDOW (10 * NSEC_PER_SEC)
#define PROBE_RTT_TIME (200 * NSEC_PER_MSEC)
#define LOSS_MUCH 20000       /* of a million */
#define LOSS_SHORT_QUEUE 5000 /* beyond what is usual, while a queue is seen */
#define LOSS_FEW 6            /* segments; with so few their share says nothing */
#define RTT_SPACING 1.62      /* round trips */
#define GUILTY 0.75f          /* losses with a rank above it on average are a queue's: half way between those and random ones */
#define JUDGED_FIRST 4        /* a prejudice counts as so many losses */
#define JUDGED_MAX 16
#define N_PHASES 8
#define CWND_LEAST 4 /* segments */

enum mode { STARTUP, DRAIN, PROBE_BW, PROBE_RTT };

static const double phase_gain[N_PHASES] = { 1.25, 0.75, 1, 1, 1, 1, 1, 1 };

/* ---- the model ---- */

static uint64_t bw(const struct net_bbr *b)
{
	return b->bw[0].bw;
}

/* A windowed maximum out of three: the best, the best since that, and the best since that one. */
static void note_bw(struct net_bbr *b, uint64_t rate)
{
	struct net_bbr_max s = { rate, b->round };

	if (rate >= b->bw[0].bw || b->round - b->bw[2].round > BW_ROUNDS) {
		b->bw[0] = b->bw[1] = b->bw[2] = s;
		return;
	}
	if (rate >= b->bw[1].bw)
		b->bw[1] = b->bw[2] = s;
	else if (rate >= b->bw[2].bw)
		b->bw[2] = s;
	if (b->round - b->bw[0].round > BW_ROUNDS) {
		b->bw[0] = b->bw[1];
		b->bw[1] = b->bw[2];
		b->bw[2] = s;
	} else if (b->bw[1].round == b->bw[0].round && b->round - b->bw[1].round > BW_ROUNDS / 4) {
		b->bw[1] = b->bw[2] = s;
	} else if (b->bw[2].round == b->bw[1].round && b->round - b->bw[2].round > BW_ROUNDS / 2) {
		b->bw[2] = s;
	}
}

static uint32_t bdp(const struct net_cc *cc, double gain)
{
	const struct net_bbr *b = &cc->bbr;
	double x = gain * (double)bw(b) * (double)b->rtt_min / 1e9;

	if (bw(b) == 0 || b->rtt_min == NSEC_NEVER)
		return NET_CWND_FIRST * cc->mss;
	return (uint32_t)MIN(MAX(x, (double)CWND_LEAST * cc->mss), (double)NET_CWND_MAX);
}

static void update_model(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;

	b->round_lost += a->lost;
	if (a->rtt)
		b->rtt_round = nsec_min(b->rtt_round, a->rtt);
	b->round_over = false;
	/* What half a window brings is not the path's rate: it neither counts nor takes the place of what did. */
	if (b->mode == PROBE_RTT)
		b->held_until = a->delivered + a->in_flight;
	if (a->rate && a->prior_delivered >= b->round_end) {
		b->round_end = a->delivered;
		b->round += b->mode != PROBE_RTT;
		b->round_over = true;
	}
	if (a->rate && ((!a->app_limited && a->prior_delivered >= b->held_until) || a->rate > bw(b)))
		note_bw(b, a->rate);
	if (a->rtt && (a->rtt <= b->rtt_min || a->now - b->rtt_min_at > RTT_WINDOW)) {
		/* Too old: measured anew, in a phase of its own, unless a silence has just emptied the path. */
		if (a->rtt > b->rtt_min && b->mode != PROBE_RTT && b->full && !b->after_silence) {
			b->mode = PROBE_RTT;
			b->probe_rtt_until = 0;
			b->old_cwnd = MAX(b->old_cwnd, cc->cwnd);
		}
		b->rtt_min = a->rtt;
		b->rtt_min_at = a->now;
	}
	b->after_silence = false;
}

/* How much more was acknowledged at once than the model's rate explains: a window must hold that too. */
static void note_burst(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;
	uint64_t expected = (uint64_t)((double)bw(b) * (double)(a->now - b->burst_at) / 1e9);

	if (b->round - b->burst_round >= BW_ROUNDS / 2) {
		b->burst_round = b->round;
		b->burst_max[1] = b->burst_max[0];
		b->burst_max[0] = 0;
	}
	if (b->burst_acked <= expected) {
		b->burst_at = a->now;
		b->burst_acked = expected = 0;
	}
	b->burst_acked += a->acked;
	b->burst_max[0] = MAX(b->burst_max[0], (uint32_t)MIN(b->burst_acked - expected, (uint64_t)cc->cwnd));
}

static uint32_t burst(const struct net_bbr *b)
{
	return MAX(b->burst_max[0], b->burst_max[1]);
}

/* ---- are losses late? ---- */

static uint32_t microseconds(nsec_t t)
{
	return (uint32_t)MIN(t / NSEC_PER_USEC, (nsec_t)UINT32_MAX);
}

/* One of so many bytes, as losses meet one of so many: neither knows where in a batch or a round it is. */
static void note_rtt(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;

	if (a->rtt == 0 || a->delivered < b->next_rtt_at)
		return;
	b->next_rtt_at = a->delivered + (uint64_t)(RTT_SPACING * (double)MAX(a->in_flight, CWND_LEAST * cc->mss));
	b->rtts[b->n_rtts++ % NET_BBR_RTTS] = microseconds(a->rtt);
}

/* The place of @rtt among those of the last rounds: 0 none was shorter, 1 all were. */
static float rank_of(const struct net_bbr *b, nsec_t rtt)
{
	uint32_t us = microseconds(rtt), n = MIN(b->n_rtts, NET_BBR_RTTS), twice = 0;

	for (uint32_t i = 0; i < n; i++)
		twice += b->rtts[i] < us ? 2 : b->rtts[i] == us;
	return n > 0 ? (float)twice / (float)(2 * n) : 1;
}

/* Losses that meet short round trips as often as long ones are not a queue's. */
static void judge_loss(struct net_bbr *b, const struct net_cc_ack *a)
{
	if (a->lost == 0 || a->rtt == 0 || b->judged)
		return;
	b->judged = true;
	b->n_judged = (uint8_t)MIN(b->n_judged + 1, JUDGED_MAX);
	b->guilt += (rank_of(b, a->rtt) - b->guilt) / b->n_judged;
}

static bool is_guilty(const struct net_bbr *b)
{
	return b->guilt >= GUILTY;
}

/* ---- loss as a bound ---- */

/* @part: how much of the round trip counts. Above @part of it and some noise even the luckiest answer has waited. */
static bool has_waited(const struct net_bbr *b, nsec_t least, unsigned part)
{
	return least != NSEC_NEVER && least > b->rtt_min + b->rtt_min / part + NSEC_PER_MSEC / 2;
}

static bool queue_stands(const struct net_bbr *b)
{
	return has_waited(b, MIN(b->rtt_round, b->rtt_last), b->bound ? 16 : 8);
}

/* Parts of a million. */
static uint32_t loss_of(const struct net_bbr *b, const struct net_cc_ack *a)
{
	uint64_t sent = a->delivered - b->round_start + b->round_lost;

	return sent > 0 ? (uint32_t)(b->round_lost * 1000000 / sent) : 0;
}

static bool has_lost_much(const struct net_cc *cc, const struct net_cc_ack *a)
{
	const struct net_bbr *b = &cc->bbr;
	uint32_t loss = loss_of(b, a);

	if (b->round_lost <= 3 * cc->mss || a->delivered - b->round_start < 8 * cc->mss)
		return false;
	if (b->mode != STARTUP && has_waited(b, b->rtt_round, 16) && loss > LOSS_SHORT_QUEUE + 4 * b->loss_usual)
		return true;
	return b->round_lost > LOSS_FEW * cc->mss && loss > LOSS_MUCH + 2 * b->loss_usual;
}

static void cut(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;
	uint32_t was = b->bound ? b->bound : MAX(MIN(a->prior_in_flight, bdp(cc, GAIN_CWND)), bdp(cc, 1));

	if (!b->bound)
		b->bound_since = b->round;
	b->bound = net_cubic_cut(&b->cubic, cc->mss, MAX(was, CWND_LEAST * cc->mss));
	b->full = true;
	b->cut_in_round = 2;
}

/* The losses that it was cut for were random ones. What the model has forgotten since is found anew. */
static void acquit(struct net_bbr *b)
{
	b->bound = 0;
	if (b->round - b->bound_since <= BW_ROUNDS)
		return;
	b->full = false;
	b->full_bw = 0;
	b->n_full = 0;
	b->mode = STARTUP;
}

static void grow_bound(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;

	b->bound = net_cubic_grow(&b->cubic, cc->mss, b->bound, a);
	if (b->bound > bdp(cc, GAIN_BOUND) + 4 * cc->mss)
		b->bound = 0;
}

static void end_round(struct net_bbr *b, const struct net_cc_ack *a)
{
	if (!b->cut_in_round)
		b->loss_usual = (7 * b->loss_usual + loss_of(b, a)) / 8;
	b->cut_in_round -= b->cut_in_round > 0;
	b->judged = false;
	b->round_lost = 0;
	b->round_start = a->delivered;
	b->rtt_last = b->rtt_round;
	b->rtt_round = NSEC_NEVER;
}

static void look_at_loss(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;
	/* The queue that startup made is being drained already. */
	bool may_cut = a->lost > 0 && !b->cut_in_round && b->mode != DRAIN;

	note_rtt(cc, a);
	judge_loss(b, a);
	if (may_cut && has_lost_much(cc, a))
		cut(cc, a);
	else if (may_cut && b->mode != STARTUP && is_guilty(b) && queue_stands(b))
		cut(cc, a);
	else if (a->lost > 0 && b->bound && !b->cut_in_round && !is_guilty(b))
		acquit(b);
	else if (b->bound && a->acked > 0 && !a->in_recovery && 2 * (uint64_t)a->prior_in_flight >= b->bound)
		grow_bound(cc, a);
	if (b->round_over)
		end_round(b, a);
}

/* ---- modes ---- */

static void check_full(struct net_bbr *b, const struct net_cc_ack *a)
{
	if (b->full || !b->round_over || a->app_limited)
		return;
	if (bw(b) >= b->full_bw + b->full_bw / 4) {
		b->full_bw = bw(b);
		b->n_full = 0;
	} else if (++b->n_full >= 3) {
		b->full = true;
	}
}

static void enter_probe_bw(struct net_bbr *b, nsec_t now)
{
	b->mode = PROBE_BW;
	b->phase = 2;
	b->phase_at = now;
}

static void next_phase(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;
	bool long_enough = a->now - b->phase_at > b->rtt_min;

	if (b->phase == 0 && a->lost == 0 && a->prior_in_flight < bdp(cc, phase_gain[0]))
		long_enough = long_enough && a->now - b->phase_at > 3 * b->rtt_min;
	else if (b->phase == 1 && a->prior_in_flight <= bdp(cc, 1))
		long_enough = true;
	if (!long_enough)
		return;
	b->phase = (uint8_t)((b->phase + 1) % N_PHASES);
	b->phase_at = a->now;
}

/* What was put aside for a timeout or for PROBE_RTT; while that lasts it is kept. */
static void restore_cwnd(struct net_cc *cc)
{
	if (cc->bbr.mode == PROBE_RTT)
		return;
	cc->cwnd = MAX(cc->cwnd, cc->bbr.old_cwnd);
	cc->bbr.old_cwnd = 0;
}

static void probe_rtt(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;

	if (!b->probe_rtt_until) {
		if (a->in_flight <= MAX(bdp(cc, 0.5), CWND_LEAST * cc->mss))
			b->probe_rtt_until = a->now + MAX(PROBE_RTT_TIME, b->rtt_min);
		return;
	}
	if (a->now < b->probe_rtt_until)
		return;
	b->rtt_min_at = a->now;
	enter_probe_bw(b, a->now);
	restore_cwnd(cc);
}

static void step(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;

	switch ((enum mode)b->mode) {
	case STARTUP:
		check_full(b, a);
		if (b->full)
			b->mode = DRAIN;
		break;
	case DRAIN:
		if (a->in_flight <= bdp(cc, 1))
			enter_probe_bw(b, a->now);
		break;
	case PROBE_BW:
		next_phase(cc, a);
		break;
	case PROBE_RTT:
		probe_rtt(cc, a);
		break;
	}
}

/* ---- what goes out ---- */

static double pacing_gain(const struct net_bbr *b)
{
	switch ((enum mode)b->mode) {
	case STARTUP:
		return GAIN_STARTUP;
	case DRAIN:
		return 1 / GAIN_STARTUP;
	case PROBE_BW:
		/* With a bound it is the bound that decides, as CUBIC's window does. */
		return b->bound && b->phase > 0 ? GAIN_BOUND_PACE : phase_gain[b->phase];
	case PROBE_RTT:
		break;
	}
	return 1;
}

static void set_output(struct net_cc *cc, const struct net_cc_ack *a)
{
	struct net_bbr *b = &cc->bbr;
	uint32_t target = b->bound ? b->bound : bdp(cc, GAIN_CWND) + burst(b) + 3 * cc->mss, bound = NET_CWND_MAX;

	if (a->rate == 0 && bw(b) == 0)
		cc->pace = (uint64_t)(GAIN_STARTUP * cc->cwnd * 1e9 / (double)MAX(a->srtt, NSEC_PER_USEC));
	else
		cc->pace = (uint64_t)(pacing_gain(b) * (double)bw(b));
	cc->pace = MAX(cc->pace, (uint64_t)cc->mss);
	if (a->in_timeout || b->full)
		cc->cwnd = MIN(cc->cwnd + a->acked, target);
	else
		cc->cwnd = MIN(cc->cwnd + a->acked, MAX(target, cc->cwnd));
	if (!b->full)
		cc->cwnd = MAX(cc->cwnd, NET_CWND_FIRST * cc->mss);
	if (b->bound)
		bound = b->bound;
	if (b->mode == PROBE_RTT)
		bound = bdp(cc, 0.5);
	cc->cwnd = MAX(MIN(cc->cwnd, bound), CWND_LEAST * cc->mss);
}

static void acked(struct net_cc *cc, const struct net_cc_ack *a)
{
	update_model(cc, a);
	note_burst(cc, a);
	look_at_loss(cc, a);
	step(cc, a);
	set_output(cc, a);
}

/* ---- events ---- */

static void init(struct net_cc *cc, nsec_t now)
{
	cc->bbr.rtt_min = cc->bbr.rtt_round = cc->bbr.rtt_last = NSEC_NEVER;
	cc->bbr.rtt_min_at = cc->bbr.burst_at = now;
	cc->bbr.guilt = 1;
	cc->bbr.n_judged = JUDGED_FIRST;
}

static void lost(struct net_cc *cc, nsec_t now)
{
}

static void timeout(struct net_cc *cc, nsec_t now)
{
	cc->bbr.old_cwnd = MAX(cc->bbr.old_cwnd, cc->cwnd);
	cc->cwnd = cc->mss;
}

static void recovered(struct net_cc *cc, nsec_t now)
{
	restore_cwnd(cc);
}

static void restart(struct net_cc *cc, nsec_t idle, nsec_t now)
{
	cc->bbr.after_silence = true;
}

const struct net_cc_ops net_bbr_ops = {
	.name = "bbr",
	.init = init,
	.acked = acked,
	.lost = lost,
	.timeout = timeout,
	.undo = restore_cwnd,
	.recovered = recovered,
	.restart = restart,
};
