/*
 * tunnel/judge.c - see judge.h.
 *
 *	OFF	windows of 100 ms. Two in a row in which our thread was busy to 85 % and a core was idle: TRIAL
 *	TRIAL	one window to settle, two to compare: hardly faster than before: OFF; else ON
 *	ON	loop and threads together would fit on one core again: OFF
 *
 * In TRIAL and in ON two looks in a row, 10 ms each, end it that were no faster than before and in which the loop waited
 * for a core for a fifth of the time, or threads were late with two runs: somebody else wants the cores. (Once alone is a
 * program that ran for a moment; and with some other work on the machine a thread may pay all the same.) An end that was a
 * failure bans the next trial for a while, four times as long each time up to a minute, so that a machine on which a thread
 * never pays loses less than a hundredth by trying.
 *
 * A thread costs more processor time for each byte, and takes a quarter of the speed where no core is idle
 * (doc/datapath.md): so what is not known counts as no. Where idle time cannot be learned, four cores are taken to be
 * enough for a trial, and the trial decides.
 */
#include "tunnel/judge.h"

#define WINDOW (100 * NSEC_PER_MSEC)
#define LOOK (10 * NSEC_PER_MSEC)
#define WINDOW_MAX (3 * WINDOW) /* beyond, it is a flow with gaps */
#define N_GOOD 2
#define N_SETTLE 1
#define N_COMPARE 2
#define BUSY_PCT 85
#define IDLE_PCT 60 /* of one core; what a thread leaves of it goes to those who send and receive more then */
#define FASTER_PCT 103
#define NEEDED_PCT 75
#define DELAY_PCT 20
#define N_LATE 2
#define N_CROWDED 2
#define N_CORES_UNKNOWN 4
#define PAUSE_MIN (500 * NSEC_PER_MSEC)
#define PAUSE_MAX (60 * NSEC_PER_SEC)
#define PROVEN NSEC_PER_SEC /* it paid for so long: the next failure is the first again */

static uint64_t pct(uint64_t part, uint64_t whole)
{
	return part * 100 / MAX(whole, 1ULL);
}

static nsec_t busy(nsec_t time, nsec_t waited)
{
	return time > waited ? time - waited : 0;
}

static void begin_look(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *c)
{
	j->look = *c;
	j->look_from = now;
	j->next = now + LOOK;
}

static void begin_window(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *c)
{
	begin_look(j, now, c);
	j->window = *c;
	j->window_from = now;
	if (j->state == JUDGE_OFF)
		j->next = now + WINDOW;
}

static void become(struct tunnel_judge *j, enum tunnel_judge_state state, nsec_t now)
{
	j->state = state;
	j->since = now;
	j->n_windows = 0;
	j->n_crowded = 0;
	if (state == JUDGE_TRIAL) {
		j->n_trials++;
		j->trial_bytes = 0;
		j->trial_time = 0;
	} else if (state == JUDGE_OFF) {
		j->before_bytes = 0;
		j->before_time = 0;
	}
}

void tunnel_judge_fail(struct tunnel_judge *j, nsec_t now)
{
	if (j->state == JUDGE_ON && now - j->since > PROVEN)
		j->pause = PAUSE_MIN;
	j->banned_until = now + j->pause;
	j->pause = MIN(j->pause * 4, PAUSE_MAX);
	j->n_failed++;
	become(j, JUDGE_OFF, now);
}

/* ---- off ---- */

/* Our thread is what there is too little of, and a core stands idle beside it. */
static bool would_pay(const struct tunnel_judge *j, nsec_t time, const struct tunnel_judge_counts *c)
{
	if (pct(busy(time, c->waited - j->window.waited), time) < BUSY_PCT)
		return false;
	if (c->idle_known != j->window.idle_known)
		return false;
	if (!c->idle_known)
		return j->n_cores >= N_CORES_UNKNOWN;
	return pct(c->idle - j->window.idle, time) >= IDLE_PCT;
}

static void look_while_off(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *c)
{
	nsec_t time = now - j->window_from;

	if (j->window_from == 0 || time > WINDOW_MAX || now < j->banned_until || !would_pay(j, time, c)) {
		become(j, JUDGE_OFF, now);
	} else {
		j->before_bytes += c->bytes - j->window.bytes;
		j->before_time += time;
		if (++j->n_windows == N_GOOD)
			become(j, JUDGE_TRIAL, now);
	}
	begin_window(j, now, c);
}

/* ---- on ---- */

static bool is_faster(const struct tunnel_judge *j, uint64_t bytes, nsec_t time)
{
	double before = (double)j->before_bytes / (double)MAX(j->before_time, 1ULL);

	return (double)bytes / (double)MAX(time, 1ULL) * 100 >= before * FASTER_PCT;
}

/* Somebody else wants the cores; it may still be faster than before, when nobody did. */
static bool is_crowded(const struct tunnel_judge *j, nsec_t time, const struct tunnel_judge_counts *c)
{
	return pct(c->delayed - j->look.delayed, time) >= DELAY_PCT || c->n_late - j->look.n_late >= N_LATE;
}

static void compare(struct tunnel_judge *j, nsec_t now)
{
	if (is_faster(j, j->trial_bytes, j->trial_time))
		become(j, JUDGE_ON, now);
	else
		tunnel_judge_fail(j, now);
}

static void end_window(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *c)
{
	nsec_t time = now - j->window_from;
	nsec_t work = busy(time, c->waited - j->window.waited) + c->work - j->window.work;

	if (time > WINDOW_MAX || pct(work, time) < NEEDED_PCT) {
		become(j, JUDGE_OFF, now);
	} else if (j->state == JUDGE_TRIAL && ++j->n_windows > N_SETTLE) {
		j->trial_bytes += c->bytes - j->window.bytes;
		j->trial_time += time;
		if (j->n_windows == N_SETTLE + N_COMPARE)
			compare(j, now);
	}
	begin_window(j, now, c);
}

static void look_while_on(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *c)
{
	nsec_t time = now - j->look_from;
	bool bad = is_crowded(j, time, c) && !is_faster(j, c->bytes - j->look.bytes, time);

	j->n_crowded = bad ? j->n_crowded + 1 : 0;
	if (j->n_crowded == N_CROWDED) {
		tunnel_judge_fail(j, now);
		begin_window(j, now, c);
	} else if (now - j->window_from >= WINDOW) {
		end_window(j, now, c);
	} else {
		begin_look(j, now, c);
	}
}

bool tunnel_judge_look(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *c)
{
	if (j->state == JUDGE_OFF)
		look_while_off(j, now, c);
	else
		look_while_on(j, now, c);
	return j->state != JUDGE_OFF;
}

void tunnel_judge_init(struct tunnel_judge *j, unsigned n_cores)
{
	*j = (struct tunnel_judge){ .n_cores = n_cores, .pause = PAUSE_MIN };
	/* One core, or a quota that our own thread can use up: never. */
	if (n_cores < 2)
		j->next = NSEC_NEVER;
}
