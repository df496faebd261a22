/* os/cores.h - what the cores are doing that this process may use: is there one to spare? */
#ifndef OS_CORES_H
#define OS_CORES_H

#include "base/types.h"

/** os_cores_allowed() - how many we may use at once, by affinity and by the quotas of our control groups; at least 1 */
unsigned os_cores_allowed(void);
/** os_cores_idle() - how long those of our affinity have been idle, all together, since boot. false: not to be learned here. */
bool os_cores_idle(nsec_t *ret);
/** os_thread_delay() - how long the calling thread has been ready and waited for a core. false: not to be learned here. */
bool os_thread_delay(nsec_t *ret);

#endif
