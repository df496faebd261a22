/* os/task.c - see task.h. */
#include "os/task.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct os_task {
	struct os_timer timer;
	struct os_watch *watch;
	pid_t pid;
	int fd;
	os_task_fn fn;
	void *ctx;
	size_t len;
	char answer[OS_TASK_ANSWER_MAX];
};

pid_t os_fork_quiet(void)
{
	static const int ours[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD };
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
			signal(ours[i], SIG_DFL);
		/* A terminal's Ctrl-C is meant for the parent, which ends us. */
		signal(SIGINT, SIG_IGN);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

void os_task_cancel(struct os_task *t)
{
	if (!t)
		return;
	os_timer_cancel(&t->timer);
	os_watch_free(t->watch);
	if (t->pid > 0) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
	}
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

static void finish(struct os_task *t)
{
	os_task_fn fn = t->fn;
	void *ctx = t->ctx;
	char answer[OS_TASK_ANSWER_MAX];
	size_t len = t->len;

	memcpy(answer, t->answer, len);
	os_task_cancel(t);
	fn(ctx, answer, len);
}

static void on_readable(void *ctx, int events)
{
	struct os_task *t = ctx;
	ssize_t n = read(t->fd, t->answer + t->len, sizeof(t->answer) - t->len);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n > 0)
		t->len += (size_t)n;
	if (n <= 0 || t->len == sizeof(t->answer))
		finish(t);
}

static void on_deadline(void *ctx)
{
	struct os_task *t = ctx;

	t->len = 0;
	finish(t);
}

static enum err launch(struct os_task *t, os_task_work work, void *arg)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return err_from_errno(errno);
	t->pid = os_fork_quiet();
	if (t->pid == 0) {
		close(fds[0]);
		work(fds[1], arg);
		_exit(0);
	}
	close(fds[1]);
	t->fd = fds[0];
	return t->pid > 0 ? OK : ERR_NOMEM;
}

enum err os_task_start(struct os_loop *loop, os_task_work work, void *arg, nsec_t deadline, os_task_fn fn, void *ctx,
		       struct os_task **ret)
{
	struct os_task *t = calloc(1, sizeof(*t));
	enum err e;

	if (!t)
		return ERR_NOMEM;
	t->fd = -1;
	t->fn = fn;
	t->ctx = ctx;
	os_timer_init(&t->timer, loop, on_deadline, t);
	e = launch(t, work, arg);
	if (e == OK)
		e = os_watch_new(loop, t->fd, on_readable, t, &t->watch);
	if (e != OK) {
		os_task_cancel(t);
		return e;
	}
	os_watch_set(t->watch, OS_READ);
	os_timer_set(&t->timer, deadline);
	*ret = t;
	return OK;
}
