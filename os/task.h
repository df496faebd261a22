/*
 * os/task.h - a piece of work in a child process of its own, whose answer the loop waits for.
 *
 * For what would leave something behind in this process: libraries that cannot be unloaded, memory that is not given back.
 */
#ifndef OS_TASK_H
#define OS_TASK_H

#include <sys/types.h>

#include "base/err.h"
#include "os/loop.h"

#define OS_TASK_ANSWER_MAX 1024

/**
 * os_fork_quiet() - fork() whose child is deaf to our signals
 *
 * The loop's handlers write into a pipe that parent and child share: without this a Ctrl-C would reach the parent twice.
 * We have one thread, so the child may do as it likes; it must end with _exit().
 */
pid_t os_fork_quiet(void);

struct os_task;
/* Runs in the child: writes its answer to @fd, at most OS_TASK_ANSWER_MAX bytes, and returns. */
typedef void (*os_task_work)(int fd, void *arg);
/* @len = 0: it gave no answer, or not in time. The task frees itself after. */
typedef void (*os_task_fn)(void *ctx, const char *answer, size_t len);

/** os_task_start() - ends with exactly one call of @fn unless cancelled; a child that is not done by @deadline is killed */
MUST_CHECK enum err os_task_start(struct os_loop *loop, os_task_work work, void *arg, nsec_t deadline, os_task_fn fn,
				  void *ctx, struct os_task **ret);
void os_task_cancel(struct os_task *t);

#endif
