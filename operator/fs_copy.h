/*
 * operator/fs_copy.h - `nefia fs get` and `put`: jobs over one session, so many at once as are worth it.
 *
 * A job is one file, folder, link or question. Jobs run in the order in which they were added, up to c->parallel at once, and
 * large files one after the other (together they would only be slower). When the session is lost, jobs that ran are begun
 * again on another one, where --resume was given; else they fail.
 */
#ifndef OPERATOR_FS_COPY_H
#define OPERATOR_FS_COPY_H

#include "base/list.h"
#include "operator/fs_progress.h"
#include "operator/fs_run.h"

#define FS_DEPTH_MAX 256 /* folders in folders */

struct copy_flags {
	bool recursive, resume, no_preserve, preserve, quiet, json, no_glob, follow, no_replace;
	int parallel;
};

struct fs_job;

struct fs_job_type {
	void (*start)(struct fs_job *j);                          /* by fs_job_ask(), or fs_job_end() at once */
	void (*event)(struct fs_job *j, const struct fs_event *ev); /* of what it asked */
	bool (*feed)(struct fs_job *j);                           /* bytes of a put; false: nothing to send now. Or NULL */
	void (*stop)(struct fs_job *j, bool keep);                /* undo; @keep what a later attempt can use. Or NULL */
	void (*free)(struct fs_job *j);
};

struct fs_job {
	struct list link;
	struct fs_copy *c;
	const struct fs_job_type *type;
	int id;          /* of what it asked; -1: nothing */
	uint64_t weight; /* bytes that it moves */
};

struct fs_copy {
	struct fs_run run;
	struct copy_flags flags;
	struct fs_progress progress;
	struct list waiting, active;
	unsigned n_active, retries;
	uint64_t weight_active, done_at_loss;
	bool fatal;      /* what ails it ails all: no more is begun */
};

/** fs_copy_init() - Return: 0, or an exit status after a message */
MUST_CHECK int fs_copy_init(struct fs_copy *c, struct cli *cli);
/** fs_copy_run() - until no job is left. Return: exit status; a signal that came ends the process by itself in the end. */
int fs_copy_run(struct fs_copy *c);
/** fs_copy_finish() - the last line, the session, what is left of jobs. Return: exit status */
int fs_copy_finish(struct fs_copy *c, int r);

void fs_job_init(struct fs_job *j, struct fs_copy *c, const struct fs_job_type *type, uint64_t weight);
/** fs_job_add() - to the end of those that wait */
void fs_job_add(struct fs_job *j);
/** fs_job_ask() - one operation of the job; its event() hears of it. false: not now, the job waits again */
bool fs_job_ask(struct fs_job *j, const struct fs_request *rq);
/** fs_job_end() - it is done, well or not; freed */
void fs_job_end(struct fs_job *j);
/** fs_job_again() - from the beginning, before those that wait */
void fs_job_again(struct fs_job *j);
/** fs_job_fail(), fs_job_fail_local() - say why, and end */
void fs_job_fail(struct fs_job *j, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
void fs_job_fail_local(struct fs_job *j, const char *path, int errnum);

/** fs_copy_report() - one file's end, where --json wants it; @e OK or why not */
void fs_copy_report(struct fs_copy *c, const char *remote, const char *local, uint64_t bytes, enum err e, const char *why);
/** fs_copy_source() - what identifies a file, for its partial copy: a number from its place, size and time */
uint64_t fs_copy_source(const char *place, uint64_t size, uint64_t time, uint64_t more);

#endif
