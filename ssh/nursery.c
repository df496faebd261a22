/*
 * ssh/nursery.c - the hub's side of the nursery, see nursery.h; its own is nursery_main.c.
 *
 * Messages on a SEQPACKET socket: to the nursery u32 number and a descriptor, back u32 number, u32 process id (0: no process),
 * u32 enum err (why there is none) and the process's own descriptor, made in the same call, so that it is never another's who got the number later.
 * What comes back is believed: the nursery read nothing but our own messages. A worker cannot reach this socket.
 *
 * Workers of one nursery have the same addresses of code and data. Who took one over knows them of the others; what
 * keeps him is the sandbox, which is each process's own.
 */
#include "ssh/nursery.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/list.h"
#include "base/log.h"
#include "os/proc.h"
#include "os/stream.h"
#include "ssh/frame.h"
#include "ssh/worker_internal.h"

struct ssh_birth {
	struct list link;
	uint32_t number;
	ssh_birth_fn fn; /* NULL: dropped */
	void *ctx;
};

struct ssh_nursery {
	struct os_loop *loop;
	struct ssh_program from;
	struct os_child *child;
	struct os_watch *watch;
	struct os_timer end_timer;
	int ctl; /* -1: no process */
	enum err ended; /* what those are told that waited for it when it ended */
	uint32_t last_number;
	struct list births;
};

/* ---- the hub's side ---- */

static void born(struct ssh_nursery *n, struct ssh_birth *b, enum err e, pid_t pid, int pidfd)
{
	ssh_birth_fn fn = b->fn;
	void *ctx = b->ctx;

	list_del(&b->link);
	free(b);
	if (fn)
		fn(ctx, e, pid, pidfd);
	else if (pid > 0)
		os_child_end(pid, pidfd, n->from.is_guest);
}

/* The process ended; the next worker starts another. */
static void stop(struct ssh_nursery *n)
{
	struct list *it;

	if (n->ctl >= 0)
		close(n->ctl);
	n->ctl = -1;
	os_watch_free(n->watch);
	os_child_free(n->child);
	n->watch = NULL;
	n->child = NULL;
	while ((it = list_first(&n->births)))
		born(n, container_of(it, struct ssh_birth, link), n->ended, 0, -1);
}

static void say_end(void)
{
	log_warn("the process that workers come from ended; another is started when it is needed");
}

static void on_end_timer(void *ctx)
{
	say_end();
	stop(ctx);
}

static void on_exit_child(void *ctx, int exit_code, int term_signal)
{
	struct ssh_nursery *n = ctx;

	if (exit_code == SSH_WORKER_NO_SANDBOX) {
		log_warn("SSH workers cannot be started: their sandbox is refused here; prctl and seccomp must be allowed");
		n->ended = ERR_PERMISSION;
	}
	/* Not here: the caller still holds what is freed. */
	os_timer_set(&n->end_timer, 0);
}

static void take_answer(struct ssh_nursery *n, struct ssh_birth *b, const uint8_t msg[12], int pidfd)
{
	pid_t pid = (pid_t)get_le32(msg + 4);
	enum err e = (enum err)get_le32(msg + 8);

	/* It is there, and we had no number free for it: nobody could ever end it. */
	if (pid > 0 && pidfd < 0) {
		os_child_end(pid, -1, n->from.is_guest);
		pid = 0;
		e = ERR_FULL;
	}
	born(n, b, e, pid, pidfd);
}

static void on_readable(void *ctx, int events)
{
	struct ssh_nursery *n = ctx;
	int fds[OS_FDS_MAX];
	uint8_t msg[12];
	size_t len = 0, n_fds = 0;
	enum err e = os_recv_fds(n->ctl, msg, sizeof(msg), &len, fds, &n_fds);

	if (e != ERR_AGAIN && (e != OK || len == 0))
		os_watch_set(n->watch, 0); /* on_exit_child() comes */
	if (e != OK || len != sizeof(msg))
		return;
	list_for_each(it, &n->births) {
		struct ssh_birth *b = container_of(it, struct ssh_birth, link);

		if (b->number != get_le32(msg))
			continue;
		take_answer(n, b, msg, n_fds ? fds[0] : -1);
		return;
	}
}

static enum err start(struct ssh_nursery *n)
{
	int pair[2];
	enum err e = os_seqpacket_pair(pair);

	if (e != OK)
		return e;
	n->ctl = pair[0];
	n->ended = ERR_CLOSED;
	e = ssh_worker_spawn(n->loop, &n->from, "ssh-nursery", pair[1], on_exit_child, n, &n->child);
	close(pair[1]);
	if (e == OK)
		e = os_watch_new(n->loop, n->ctl, on_readable, n, &n->watch);
	if (e == OK)
		os_watch_set(n->watch, OS_READ);
	else
		stop(n);
	return e;
}

struct ssh_nursery *ssh_nursery_new(struct os_loop *loop, const char *program, bool is_guest)
{
	struct ssh_nursery *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->loop = loop;
	n->from = (struct ssh_program){ program, is_guest };
	n->ctl = -1;
	list_init(&n->births);
	os_timer_init(&n->end_timer, loop, on_end_timer, n);
	return n;
}

void ssh_nursery_free(struct ssh_nursery *n)
{
	if (!n)
		return;
	os_timer_cancel(&n->end_timer);
	stop(n);
	free(n);
}

static enum err send_order(struct ssh_nursery *n, int fd)
{
	uint8_t msg[4];
	enum err e = n->ctl < 0 ? start(n) : OK;

	put_le32(msg, n->last_number + 1);
	return e == OK ? os_send_fds(n->ctl, msg, sizeof(msg), &fd, 1) : e;
}

/* One that has gone, and we have not heard of it, or do nothing yet: its place is free. */
static enum err order(struct ssh_nursery *n, int fd)
{
	bool was_there = n->ctl >= 0;
	enum err e = send_order(n, fd);

	if (!was_there || (e != ERR_CLOSED && e != ERR_RESET))
		return e;
	say_end();
	os_timer_cancel(&n->end_timer);
	stop(n);
	return send_order(n, fd);
}

enum err ssh_nursery_fork(struct ssh_nursery *n, int fd, ssh_birth_fn fn, void *ctx, struct ssh_birth **ret)
{
	struct ssh_birth *b = calloc(1, sizeof(*b));
	enum err e = b ? order(n, fd) : ERR_NOMEM;

	if (e != OK) {
		free(b);
		return e;
	}
	*b = (struct ssh_birth){ .number = ++n->last_number, .fn = fn, .ctx = ctx };
	list_add_tail(&n->births, &b->link);
	*ret = b;
	return OK;
}

void ssh_birth_drop(struct ssh_birth *b)
{
	if (b)
		b->fn = NULL;
}
