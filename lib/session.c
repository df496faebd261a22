/*
 * lib/session.c - a session with a host's SSH worker, in the calling thread.
 *
 * The frames are operator/session_client.c's. What they bring is kept in two queues until it is read; while these hold more
 * than QUEUE_MAX nothing is received, and the worker's, the server's and the command's own buffers fill: a reader who stops
 * stops the command. One lock for all of it, which nobody holds while waiting. Of those who wait one polls and pumps for all,
 * the others wait for its word; `kick` tells it of what it does not poll for yet.
 *
 * What was taken to be written and did not go yet goes with a later call. So who polls must hear of room too, although he
 * asks for nothing but bytes: the descriptor given out is an epoll's, which waits for whatever the session waits for.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "lib/internal.h"
#include "operator/session_client.h"

#define QUEUE_MAX (1u << 20)
#define SESSION_MAX (20 * NSEC_PER_SEC)

struct lib_session {
	struct lib_object o; /* its descriptor is the session's */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	int kick;     /* eventfd */
	int epoll;    /* for the user to poll */
	short armed;  /* what it waits for */
	bool polling; /* somebody does, for `polled` */
	short polled;
	struct session s;
	struct ssh_buf out, err; /* received, not read yet */
	bool is_exec, input_ended;
};

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	struct lib_session *ls = ctx;

	if (type == SSH_F_STDOUT)
		return ssh_buf_add(&ls->out, data.p, data.len) == OK;
	if (type == SSH_F_STDERR)
		return ssh_buf_add(&ls->err, data.p, data.len) == OK;
	return true;
}

static void on_note(void *ctx, struct bytes text)
{
	log_info("%.*s", (int)text.len, (const char *)text.p);
}

static bool is_full(const struct lib_session *ls)
{
	return ssh_buf_used(&ls->out) + ssh_buf_used(&ls->err) >= QUEUE_MAX;
}

/* What goes without waiting. */
static void pump(struct lib_session *ls)
{
	if (is_full(ls))
		session_flush(&ls->s);
	else
		session_pump(&ls->s, on_data, ls);
}

static short events_of(const struct lib_session *ls)
{
	short events = session_poll_events(&ls->s);

	return is_full(ls) ? (short)(events & ~POLLIN) : events;
}

static void arm(struct lib_session *ls)
{
	struct epoll_event ev = { .events = (uint32_t)(uint16_t)events_of(ls) }; /* POLL* and EPOLL* are the same bits */

	if (ls->armed == events_of(ls))
		return;
	ls->armed = events_of(ls);
	ASSERT(epoll_ctl(ls->epoll, EPOLL_CTL_MOD, ls->s.fd, &ev) == 0);
}

/* At the end of whatever may have changed what the session waits for. */
static void unlock(struct lib_session *ls)
{
	arm(ls);
	pthread_mutex_unlock(&ls->lock);
}

static int failure(const struct lib_session *ls)
{
	const struct session *s = &ls->s;
	enum err e = s->error == OK ? ERR_RESET : s->error == ERR_CLOSED ? ERR_RESET : s->error;

	return lib_fail(e, "%s", s->message[0] ? s->message : "the session broke off");
}

static bool has_failed(const struct lib_session *ls)
{
	return ls->s.over && ls->s.exit_status < 0 && !ls->s.exit_signal[0];
}

/* ---- open ---- */

/* The worker is another program, which we must have when we are the hub. */
static int check_worker(struct nefia *n)
{
	bool is_hub;

	if (n->worker[0] && access(n->worker, X_OK) == 0)
		return NEFIA_OK;
	pthread_mutex_lock(&n->serving);
	is_hub = lib_server_is_up(n->server);
	pthread_mutex_unlock(&n->serving);
	if (!is_hub)
		return NEFIA_OK;
	if (n->worker[0])
		return lib_fail_as(NEFIA_ERR_NO_WORKER, "%s: %s; it should be the nefia program", n->worker, strerror(errno));
	return lib_fail_as(NEFIA_ERR_NO_WORKER, "no nefia program is beside the library or in $PATH: name it in "
			   "nefia_options.worker or $NEFIA_WORKER");
}

static void close_waiting(struct lib_session *ls)
{
	if (ls->kick >= 0)
		close(ls->kick);
	if (ls->epoll >= 0)
		close(ls->epoll);
}

static struct lib_session *session_new(int fd)
{
	struct lib_session *ls = calloc(1, sizeof(*ls));

	if (!ls)
		return NULL;
	ls->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ls->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (ls->kick < 0 || ls->epoll < 0 || epoll_ctl(ls->epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){ 0 }) != 0) {
		close_waiting(ls);
		free(ls);
		return NULL;
	}
	pthread_mutex_init(&ls->lock, NULL);
	lib_cond_init(&ls->moved);
	session_init(&ls->s, fd);
	ls->s.on_note = on_note;
	return ls;
}

static void session_delete(struct lib_session *ls)
{
	session_fini(&ls->s);
	ssh_buf_fini(&ls->out);
	ssh_buf_fini(&ls->err);
	close_waiting(ls);
	pthread_mutex_destroy(&ls->lock);
	pthread_cond_destroy(&ls->moved);
	free(ls);
}

static int start(struct nefia *n, int fd, const struct lib_session_options *opt, struct lib_session **ret)
{
	struct lib_session *ls = session_new(fd);
	int r;

	if (!ls) {
		close(fd);
		return lib_fail(ERR_NOMEM, "out of memory, or of descriptors");
	}
	ls->is_exec = opt->kind == SSH_F_EXEC;
	r = lib_object_add(n, &ls->o, fd);
	if (r != NEFIA_OK) {
		session_delete(ls);
		return r;
	}
	if (session_start(&ls->s, (enum ssh_frame)opt->kind, opt->arg, opt->number) != OK) {
		lib_session_free(ls);
		return lib_fail(ERR_TOO_LONG, "the command is too long");
	}
	pump(ls);
	arm(ls);
	*ret = ls;
	return NEFIA_OK;
}

int lib_session_open(struct nefia *n, const char *host, const struct lib_session_options *opt, nsec_t deadline,
		     struct lib_session **ret)
{
	int fd = -1, r = check_worker(n);

	if (r == NEFIA_OK)
		r = lib_ask(n, "session", json_pack("{s:s}", "host", host), deadline, SESSION_MAX, NULL, &fd, NULL);
	if (r == NEFIA_OK && fd < 0)
		r = lib_fail(ERR_PROTOCOL, "the hub sent no descriptor");
	return r == NEFIA_OK ? start(n, fd, opt, ret) : r;
}

void lib_session_free(struct lib_session *ls)
{
	if (!ls)
		return;
	lib_object_del(&ls->o);
	session_delete(ls);
}

/* ---- waiting; the lock is held ---- */

static void kick(struct lib_session *ls)
{
	(void)!eventfd_write(ls->kick, 1); /* fails only when it was kicked 2^64 times */
}

static void poll_for_all(struct lib_session *ls, nsec_t left)
{
	struct pollfd p[2] = { { ls->o.fd, events_of(ls), 0 }, { ls->kick, POLLIN, 0 } };
	eventfd_t n;

	ls->polling = true;
	ls->polled = p[0].events;
	pthread_mutex_unlock(&ls->lock);
	poll(p, 2, (int)(left / NSEC_PER_MSEC + 1));
	pthread_mutex_lock(&ls->lock);
	ls->polling = false;
	if (p[1].revents)
		(void)!eventfd_read(ls->kick, &n);
	pump(ls);
	pthread_cond_broadcast(&ls->moved);
}

/* Until something moved; not longer than a minute, so that the caller looks again. */
static int wait_for(struct lib_session *ls, nsec_t deadline)
{
	nsec_t left = lib_left(deadline, 60 * NSEC_PER_SEC);
	int r = lib_object_check(&ls->o);

	if (r != NEFIA_OK)
		return r;
	if (deadline == 0)
		return lib_fail(ERR_AGAIN, "not without waiting");
	if (left == 0)
		return lib_fail(ERR_TIMEOUT, "nothing moved in time");
	if (!ls->polling) {
		poll_for_all(ls, left);
		return NEFIA_OK;
	}
	if (events_of(ls) & ~ls->polled)
		kick(ls);
	lib_cond_wait(&ls->moved, &ls->lock, left);
	return NEFIA_OK;
}

/* As lib_object_check(), and what comes without waiting is taken first. */
static int look(struct lib_session *ls)
{
	int r = lib_object_check(&ls->o);

	if (r == NEFIA_OK && !ls->polling)
		pump(ls);
	return r;
}

int lib_session_wait_ready(struct lib_session *ls, nsec_t deadline)
{
	int r;

	pthread_mutex_lock(&ls->lock);
	r = look(ls);
	while (r == NEFIA_OK && !ls->s.ready && !ls->s.over)
		r = wait_for(ls, deadline);
	if (r == NEFIA_OK && has_failed(ls))
		r = failure(ls);
	unlock(ls);
	return r;
}

/* ---- bytes ---- */

static ssize_t take(struct ssh_buf *b, void *buf, size_t len)
{
	size_t n = MIN(ssh_buf_used(b), len);

	if (n > 0) /* of an empty buffer there is no pointer */
		memcpy(buf, b->p + b->off, n);
	ssh_buf_drop(b, n);
	ssh_buf_release(b);
	return (ssize_t)n;
}

/* OK: there are bytes, or all is over. */
static int wait_for_bytes(struct lib_session *ls, nsec_t deadline)
{
	int r = look(ls);

	/* A stream is at its end with its output; a process when it has ended. */
	while (r == NEFIA_OK && ssh_buf_used(&ls->out) + ssh_buf_used(&ls->err) == 0 && !ls->s.over &&
	       (ls->is_exec || !ls->s.stdout_eof))
		r = wait_for(ls, deadline);
	return r;
}

ssize_t lib_session_read(struct lib_session *ls, int *ret_which, void *buf, size_t len, nsec_t deadline)
{
	bool was_full;
	ssize_t n;
	int r, which = 1;

	pthread_mutex_lock(&ls->lock);
	r = wait_for_bytes(ls, deadline);
	was_full = is_full(ls);
	if (ssh_buf_used(&ls->out) == 0 && ssh_buf_used(&ls->err) > 0)
		which = 2;
	n = r == NEFIA_OK ? take(which == 1 ? &ls->out : &ls->err, buf, len) : r;
	if (n == 0 && len > 0 && has_failed(ls))
		n = failure(ls);
	/* More may be received: who polls must hear of it. */
	if (was_full && !is_full(ls) && ls->polling)
		kick(ls);
	unlock(ls);
	if (ret_which)
		*ret_which = which;
	return n;
}

ssize_t lib_session_write(struct lib_session *ls, const void *buf, size_t len, nsec_t deadline)
{
	const uint8_t *p = buf;
	size_t done = 0;
	int r;

	pthread_mutex_lock(&ls->lock);
	r = look(ls);
	while (r == NEFIA_OK && done < len) {
		size_t n = MIN(len - done, (size_t)SSH_DATA_MAX);

		if (ls->s.over || ls->input_ended) {
			r = has_failed(ls) ? failure(ls) : lib_fail(ERR_CLOSED, "it takes no more");
		} else if (!session_has_room(&ls->s)) {
			r = wait_for(ls, deadline);
		} else if (session_send(&ls->s, SSH_F_STDIN, p + done, n) != OK) {
			r = lib_fail(ERR_NOMEM, "out of memory");
		} else {
			done += n;
			session_flush(&ls->s);
		}
	}
	unlock(ls);
	return r == NEFIA_OK || (done > 0 && (r == NEFIA_ERR_TIMEOUT || r == NEFIA_ERR_AGAIN)) ? (ssize_t)done : r;
}

/* ---- the rest ---- */

static int send_frame(struct lib_session *ls, enum ssh_frame type, const void *p, size_t len)
{
	int r;

	pthread_mutex_lock(&ls->lock);
	if (type == SSH_F_STDIN_EOF && ls->input_ended) {
		unlock(ls);
		return NEFIA_OK;
	}
	r = lib_object_check(&ls->o);
	if (r == NEFIA_OK && ls->s.over)
		r = lib_fail(ERR_CLOSED, "it has ended");
	else if (r == NEFIA_OK && session_send(&ls->s, type, p, len) != OK)
		r = lib_fail(ERR_NOMEM, "out of memory");
	if (r == NEFIA_OK && type == SSH_F_STDIN_EOF)
		ls->input_ended = true;
	if (r == NEFIA_OK)
		session_flush(&ls->s);
	/* What did not go is for whoever polls. */
	if (r == NEFIA_OK && ls->polling)
		kick(ls);
	unlock(ls);
	return r;
}

int lib_session_end_input(struct lib_session *ls)
{
	return send_frame(ls, SSH_F_STDIN_EOF, NULL, 0);
}

int lib_session_signal(struct lib_session *ls, const char *name)
{
	struct ssh_buf b = { 0 };
	int r = ssh_put_string(&b, name, strlen(name)) == OK ? NEFIA_OK : lib_fail(ERR_NOMEM, "out of memory");

	if (r == NEFIA_OK)
		r = send_frame(ls, SSH_F_SIGNAL, b.p, ssh_buf_used(&b));
	ssh_buf_fini(&b);
	return r;
}

int lib_session_status(struct lib_session *ls, int *ret_status, char *ret_signal)
{
	int r = NEFIA_OK;

	pthread_mutex_lock(&ls->lock);
	if (!ls->s.over)
		r = lib_fail(ERR_AGAIN, "it runs");
	else if (has_failed(ls))
		r = failure(ls);
	if (r == NEFIA_OK)
		*ret_status = ls->s.exit_signal[0] ? -1 : ls->s.exit_status;
	if (r == NEFIA_OK && ret_signal)
		memcpy(ret_signal, ls->s.exit_signal, sizeof(ls->s.exit_signal));
	unlock(ls);
	return r;
}

int lib_session_error(struct lib_session *ls)
{
	int r;

	pthread_mutex_lock(&ls->lock);
	r = has_failed(ls) ? failure(ls) : NEFIA_OK;
	unlock(ls);
	return r;
}

struct lib_object *lib_session_object(struct lib_session *ls)
{
	return &ls->o;
}

int lib_session_poll_fd(const struct lib_session *ls)
{
	return ls->epoll;
}

int lib_session_wait(struct lib_session *ls, nsec_t deadline)
{
	int r;

	pthread_mutex_lock(&ls->lock);
	r = wait_for(ls, deadline);
	unlock(ls);
	return r;
}
