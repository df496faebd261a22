/* ssh/cpu_watch.c - see cpu_watch.h. */
#include "ssh/cpu_watch.h"

#include <sys/time.h>

/* Most turns are short: the timer is set anew once in so long, a grace that a turn may have. */
#define SET_EVERY (200 * NSEC_PER_MSEC)

void cpu_watch_turn(struct cpu_watch *w, nsec_t now)
{
	struct itimerval it = { .it_value = { w->seconds, 0 } };

	if (w->set != 0 && now < w->set + SET_EVERY)
		return;
	w->set = now;
	setitimer(ITIMER_PROF, &it, NULL);
}

void cpu_watch_grant(struct cpu_watch *w, unsigned seconds)
{
	struct itimerval it = { .it_value = { seconds, 0 } };

	w->set = 0;
	setitimer(ITIMER_PROF, &it, NULL);
}
