/* ssh/job_internal.h - what the parts of a job share: job.c, job_frame.c, job_open.c, job_channel.c. */
#ifndef SSH_JOB_INTERNAL_H
#define SSH_JOB_INTERNAL_H

#include "ssh/job.h"

#define JOB_CHUNK 32768 /* bytes of a channel at once */

/* The body of a frame without one. */
static const struct bytes job_nothing;

/* ---- job.c ---- */
/** ssh_job_take() - from here on it is ours alone; false: that cannot be said, nothing of it may be done */
MUST_CHECK bool ssh_job_take(struct ssh_job *j);
/** ssh_job_begin() - take it, and with it what is asked for; false: nothing is to be asked of the host */
MUST_CHECK bool ssh_job_begin(struct ssh_job *j, nsec_t now);
/** ssh_job_fail() - tell the command why, and end; @fmt may contain a server's words, which are cleaned */
void ssh_job_fail(struct ssh_job *j, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** ssh_job_fail_by_library() - with the reason that libssh2 has, or the one that is behind it */
void ssh_job_fail_by_library(struct ssh_job *j, const char *what);
/** ssh_job_look_again() - on another connection */
void ssh_job_look_again(struct ssh_job *j);

/* ---- job_frame.c ---- */
/** ssh_job_say() - a frame for the command, its body of two parts; without memory it is as if the command had gone */
void ssh_job_say(struct ssh_job *j, enum ssh_frame type, struct bytes a, struct bytes b);
void ssh_job_say_u32(struct ssh_job *j, enum ssh_frame type, uint32_t v);
/** ssh_job_queue_max() - bytes that wait at most in one direction */
size_t ssh_job_queue_max(const struct ssh_job *j);
/** ssh_job_read() - what the command sent, as far as there is room, and do it; of what is not taken, look at what is wanted */
void ssh_job_read(struct ssh_job *j, nsec_t now);

/* ---- job_open.c ---- */
/** ssh_job_open() - JOB_OPEN: go on with it; afterwards START, RUN, CLOSE, or WAIT_CONN for another connection */
void ssh_job_open(struct ssh_job *j, nsec_t now);
/** ssh_job_start() - JOB_START: the command of a session channel */
void ssh_job_start(struct ssh_job *j, nsec_t now);

/* ---- job_channel.c ---- */
void ssh_job_run_channel(struct ssh_job *j);
/** ssh_job_finish_channel() - JOB_FINISH: the output is over; how did it end? */
void ssh_job_finish_channel(struct ssh_job *j);
/** ssh_job_hang_up() - the session ends: a signal that waits is sent, HUP where who asked has gone; without waiting */
void ssh_job_hang_up(struct ssh_job *j);

#endif
