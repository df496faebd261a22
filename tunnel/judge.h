/*
 * tunnel/judge.h - does a thread for the cipher pay just now?
 *
 * A machine without clock, threads or files: it is shown what was counted, and says yes or no. It says when it wants to be
 * shown the next time.
 */
#ifndef TUNNEL_JUDGE_H
#define TUNNEL_JUDGE_H

#include "base/types.h"

/* Each counted up from some moment on. */
struct tunnel_judge_counts {
	nsec_t waited;    /* the loop had nothing to do */
	nsec_t delayed;   /* the loop had something to do, and no core */
	nsec_t idle;      /* of all cores that we may use; to be counted while the state is OFF */
	bool idle_known;  /* false: it was not counted, or is not to be learned on this machine */
	uint64_t bytes;   /* of the tunnel, both ways */
	nsec_t work;      /* by the threads */
	uint64_t n_late;  /* pieces that the threads were late with */
};

enum tunnel_judge_state { JUDGE_OFF, JUDGE_TRIAL, JUDGE_ON };

struct tunnel_judge {
	enum tunnel_judge_state state;
	unsigned n_cores;
	nsec_t next;	      /* look again then */
	nsec_t window_from, look_from;
	struct tunnel_judge_counts window, look; /* as they stood when these began */
	unsigned n_windows;   /* in a row: that were good (OFF), that passed (TRIAL) */
	unsigned n_crowded;   /* looks in a row */
	nsec_t before_time, trial_time;
	uint64_t before_bytes, trial_bytes; /* in those that are compared */
	nsec_t since;	      /* of this state */
	nsec_t pause, banned_until;
	uint64_t n_trials, n_failed;
};

/** tunnel_judge_init() - @n_cores: how many the process may use */
void tunnel_judge_init(struct tunnel_judge *j, unsigned n_cores);
/** tunnel_judge_wants() - is it time to count? To be asked each turn of the loop while there is traffic */
static inline bool tunnel_judge_wants(const struct tunnel_judge *j, nsec_t now)
{
	return now >= j->next;
}
/** tunnel_judge_look() - Return: threads are to be used from now on */
bool tunnel_judge_look(struct tunnel_judge *j, nsec_t now, const struct tunnel_judge_counts *counts);
/** tunnel_judge_fail() - a thread was not to be had: not again soon */
void tunnel_judge_fail(struct tunnel_judge *j, nsec_t now);

#endif
