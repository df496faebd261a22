/* ssh/cpu_watch.h - ends the process when one turn of its loop computes for too long. */
#ifndef SSH_CPU_WATCH_H
#define SSH_CPU_WATCH_H

#include "base/types.h"

struct cpu_watch {
	unsigned seconds; /* of CPU that a turn may take */
	nsec_t set;
};

/** cpu_watch_turn() - a turn begins; SIGPROF, which nobody catches, ends one that computes for too long */
void cpu_watch_turn(struct cpu_watch *w, nsec_t now);
/** cpu_watch_grant() - this turn may take so much from now on */
void cpu_watch_grant(struct cpu_watch *w, unsigned seconds);

#endif
