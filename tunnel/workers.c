/*
 * tunnel/workers.c - long runs are sealed by threads beside the loop, while that pays.
 *
 * Whenever a run takes no more packets it is lent by wg/ and handed to the crew (os/crew.h), which only ever calls
 * wg_run_seal() on it; at the end of a turn so is one that is long enough although it could grow. Runs come back in any order
 * and leave in the device's: while the front one is away nothing is sent, and the crew wakes the loop when it is there.
 * A packet alone, and what is less than a quarter of a full run, is sealed here as ever, so nothing that is small waits
 * for a thread, but for what was before it in the queue.
 *
 * A thread that has no core cannot hold a run up that it has not begun: after TAKE_BACK the loop takes it back and seals it. The
 * judge then hears of the delay and ends the use of threads (judge.c). Threads are started when the judge says yes for the
 * first time, and end when the tunnel is quiet or the judge has said no for a minute. One tunnel of the process has
 * them: a thread's lane in the providers (wg/aead.h) is its number.
 *
 * Before the device goes, a provider is released or the queue is thrown away, all runs are called back (tunnel_workers_recall).
 */
#include <sched.h>
#include <string.h>

#include "os/cores.h"
#include "os/crew.h"
#include "tunnel/tunnel_internal.h"

#define TAKE_BACK (150 * NSEC_PER_USEC)
#define KEEP_FOR (60 * NSEC_PER_SEC)
#define AGAIN_AFTER (10 * NSEC_PER_SEC) /* a machine that had no thread to give */
#define N_AUTO 1 /* one thread seals as fast as the loop does all the rest */

static struct tunnel *owner;

static bool is_auto(const struct tunnel *t)
{
	return t->cfg.aead_workers == TUNNEL_WORKERS_AUTO;
}

bool tunnel_workers_parse(const char *text, int *ret)
{
	if (strcmp(text, "auto") == 0)
		*ret = TUNNEL_WORKERS_AUTO;
	else if (strcmp(text, "off") == 0)
		*ret = TUNNEL_WORKERS_OFF;
	else if (text[0] >= '1' && text[0] <= '0' + TUNNEL_WORKERS_MAX && text[1] == '\0')
		*ret = text[0] - '0';
	else
		return false;
	return true;
}

/* ---- out and back ---- */

static void settle(struct tunnel *t, unsigned i)
{
	struct tunnel_workers *w = &t->workers;

	wg_device_give_back(t->dev, w->lent[i].run);
	w->lent[i] = w->lent[--w->n_lent];
}

static void seal_here(struct tunnel *t, unsigned i)
{
	wg_run_seal(t->workers.lent[i].run, 0);
	settle(t, i);
}

static void lend(struct tunnel *t, bool all)
{
	struct tunnel_workers *w = &t->workers;
	struct wg_run *run;

	while (w->n_lent < TUNNEL_LENT_MAX && (run = wg_device_lend(t->dev, all))) {
		struct os_crew_piece *p = os_crew_hand(w->crew, run);

		w->lent[w->n_lent++] = (struct tunnel_lent){ run, p };
		if (!p)
			seal_here(t, w->n_lent - 1);
	}
}

static void collect(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;

	for (unsigned i = w->n_lent; i-- > 0;)
		if (os_crew_is_done(w->crew, w->lent[i].piece))
			settle(t, i);
}

static void take_back_late(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;
	nsec_t now = os_now();

	for (unsigned i = w->n_lent; i-- > 0;)
		if (now - os_crew_handed(w->lent[i].piece) > TAKE_BACK && os_crew_take_back(w->crew, w->lent[i].piece))
			seal_here(t, i);
}

void tunnel_workers_turn(struct tunnel *t, bool all)
{
	struct tunnel_workers *w = &t->workers;

	if (w->in_use)
		lend(t, all);
	if (w->n_lent == 0)
		return;
	collect(t);
	if (!all || !wg_device_front_lent(t->dev))
		return;
	take_back_late(t);
	/* What became done before the crew was asked to tell would not be told. */
	os_crew_call(w->crew);
	collect(t);
}

nsec_t tunnel_workers_deadline(const struct tunnel *t)
{
	return t->workers.n_lent > 0 ? os_loop_now(t->loop) + TAKE_BACK : NSEC_NEVER;
}

void tunnel_workers_recall(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;

	while (w->n_lent > 0) {
		unsigned i = w->n_lent - 1;

		if (os_crew_take_back(w->crew, w->lent[i].piece))
			seal_here(t, i);
		else if (os_crew_is_done(w->crew, w->lent[i].piece))
			settle(t, i);
		else
			sched_yield();
	}
}

/* ---- the threads ---- */

static void work(void *run, unsigned thread)
{
	wg_run_seal(run, thread);
}

static void on_done(void *ctx)
{
	tunnel_kick(ctx);
}

static bool open_lanes(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;

	for (unsigned i = 1; i <= w->n_threads && !w->lanes_open; i++)
		if (!wg_device_open_lane(t->dev, i))
			return false;
	w->lanes_open = true;
	return true;
}

static bool start(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;
	struct os_crew_config cfg = { .n_threads = is_auto(t) ? N_AUTO : (unsigned)t->cfg.aead_workers,
				      .work = work,
				      .on_done = on_done,
				      .ctx = t };

	if (!w->crew) {
		if (owner || os_crew_new(t->loop, &cfg, &w->crew) != OK)
			return false;
		owner = t;
		w->n_threads = cfg.n_threads;
		log_debug("threads for the cipher started n=%u", w->n_threads);
	}
	return open_lanes(t);
}

void tunnel_workers_new_cipher(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;

	w->lanes_open = false;
	w->in_use = w->in_use && open_lanes(t);
}

/* The present crew's, or those of nobody. */
static struct os_crew_stats crew_stats(const struct tunnel *t)
{
	struct os_crew_stats s = { 0 };

	if (t->workers.crew)
		os_crew_get_stats(t->workers.crew, &s);
	return s;
}

static void add_up(struct os_crew_stats *sum, struct os_crew_stats s)
{
	sum->n_handed += s.n_handed;
	sum->n_taken_back += s.n_taken_back;
	sum->n_late += s.n_late;
}

void tunnel_workers_stop(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;

	w->in_use = false;
	if (!w->crew)
		return;
	tunnel_workers_recall(t);
	add_up(&w->past, crew_stats(t));
	os_crew_free(w->crew);
	w->crew = NULL;
	w->n_threads = 0;
	w->lanes_open = false;
	owner = NULL;
	log_debug("threads for the cipher ended");
}

/* ---- when ---- */

void tunnel_workers_stats(const struct tunnel *t, struct tunnel_workers_stats *ret)
{
	const struct tunnel_workers *w = &t->workers;
	struct os_crew_stats now = crew_stats(t);

	*ret = (struct tunnel_workers_stats){ .n_threads = w->in_use ? w->n_threads : 0,
					      .state = w->judge.state,
					      .n_handed = w->past.n_handed + now.n_handed,
					      .n_taken_back = w->past.n_taken_back + now.n_taken_back,
					      .n_late = w->past.n_late + now.n_late,
					      .n_trials = w->judge.n_trials,
					      .n_failed = w->judge.n_failed };
}

static void count(struct tunnel *t, struct tunnel_judge_counts *ret)
{
	struct tunnel_workers *w = &t->workers;
	struct os_crew_stats s = crew_stats(t);

	*ret = (struct tunnel_judge_counts){ .waited = os_loop_waited(t->loop),
					     .bytes = w->n_bytes,
					     .work = s.work,
					     .n_late = s.n_late };
	/* A kernel that does not tell leaves it 0: then the pieces that are late are the only sign. */
	(void)os_thread_delay(&ret->delayed);
	if (w->judge.state == JUDGE_OFF)
		ret->idle_known = os_cores_idle(&ret->idle);
}

static bool try_start(struct tunnel *t)
{
	nsec_t now = os_loop_now(t->loop);

	if (now < t->workers.start_at)
		return false;
	if (start(t))
		return true;
	t->workers.start_at = now + AGAIN_AFTER;
	return false;
}

static void use(struct tunnel *t, bool yes)
{
	struct tunnel_workers *w = &t->workers;

	if (yes && !w->lanes_open)
		yes = try_start(t);
	if (yes == w->in_use)
		return;
	w->in_use = yes;
	w->used_until = os_loop_now(t->loop);
	log_debug("cipher on threads use=%d trials=%llu failed=%llu", yes, (unsigned long long)w->judge.n_trials,
		  (unsigned long long)w->judge.n_failed);
}

void tunnel_workers_init(struct tunnel *t)
{
	tunnel_judge_init(&t->workers.judge, os_cores_allowed());
}

void tunnel_workers_judge(struct tunnel *t)
{
	struct tunnel_workers *w = &t->workers;
	nsec_t now = os_loop_now(t->loop);
	struct tunnel_judge_counts c;

	if (!t->cipher.busy || t->cfg.aead_workers == TUNNEL_WORKERS_OFF || t->cfg.is_guest)
		return;
	if (!is_auto(t)) {
		use(t, true);
		return;
	}
	if (!tunnel_judge_wants(&w->judge, now))
		return;
	count(t, &c);
	use(t, tunnel_judge_look(&w->judge, now, &c));
	if (w->judge.state != JUDGE_OFF && !w->in_use)
		tunnel_judge_fail(&w->judge, now);
	if (!w->in_use && w->crew && now - w->used_until > KEEP_FOR)
		tunnel_workers_stop(t);
}
