/* operator/job.h - the command's end of sessions with SSH workers: run one job on each of several hosts. */
#ifndef OPERATOR_JOB_H
#define OPERATOR_JOB_H

#include "base/err.h"
#include "ssh/frame.h"

struct job {
	const char *host;
	int fd;          /* the session; owned */
	int in_fd;       /* what is read goes there as STDIN; -1 = nothing (its end is told at once) */
	int out_fd, err_fd; /* where STDOUT and STDERR go; -1 = kept in @out, @err */
	struct ssh_buf out, err;
	/* result */
	bool done, ready;
	int exit_status; /* -1 = none */
	char signal[16]; /* it died of this one */
	enum err error;  /* our own failure */
	char message[512];
	nsec_t started, ended;
	/* inside */
	struct ssh_buf rx, tx;
	bool in_ended;
};

/** job_init() - take over @fd; nothing is sent yet */
void job_init(struct job *j, const char *host, int fd);
void job_fini(struct job *j);
/** job_exec(), job_get(), job_put(), job_direct() - the first frame */
MUST_CHECK enum err job_exec(struct job *j, const char *command, unsigned deadline_ms);
MUST_CHECK enum err job_get(struct job *j, const char *path);
MUST_CHECK enum err job_put(struct job *j, const char *path, unsigned mode);
MUST_CHECK enum err job_direct(struct job *j, const char *host, unsigned port);
/**
 * job_run() - until all ended or @deadline; SIGINT and SIGTERM are sent on, then the jobs are closed within 2 s
 * Return: OK; ERR_TIMEOUT: the deadline (jobs that still ran are closed); ERR_CANCELLED: a signal.
 */
enum err job_run(struct job *jobs, size_t n, nsec_t deadline);
/** job_exit_code() - as ssh has it: the remote status, 128 + signal, 255 for our own failure, 124 for the time limit */
int job_exit_code(const struct job *j, enum err run);
/** job_ecode() - the number of its error in the table of errors */
unsigned job_ecode(const struct job *j);

#endif
