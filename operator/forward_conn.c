/*
 * operator/forward_conn.c - one forwarded connection: a local stream on one side, a session's frames on the other.
 *
 *	WAITING   at a port of the host's, for a connection to come
 *	DIALING   it came; the target here is dialled
 *	SOCKS     the client says where it wants to go
 *	OPENING   the worker opens the channel; what the client sends already waits
 *	OPEN      bytes both ways; the end of one direction is passed on, the other goes on
 *
 * Neither side is read while much of what it sent waits for the other. It is over when both directions ended, or at the first
 * error, which the client sees as a reset (after a SOCKS answer, where it asked that way).
 *
 * Whoever reaches a SOCKS port can open connections and say nothing, or a byte now and then: a greeting has its time, which
 * begins with the connection, and of those under way there are only so many.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/text.h"
#include "operator/forward.h"
#include "operator/socks.h"
#include "ssh/frame.h"

#define WAITING_MAX (512u << 10)  /* bytes of one direction */
#define EARLY_MAX (64u << 10)     /* before the channel stands */
#define READ_MAX (64u << 10)
#define DIAL_MAX (10 * NSEC_PER_SEC)
#define SWEEP_MIN (250 * NSEC_PER_MSEC)

enum phase { WAITING, DIALING, SOCKS, OPENING, OPEN };

struct conn {
	struct list link;
	struct forward_run *run;
	struct forward *forward;
	struct os_stream *local, *session; /* NULL: not yet */
	struct os_dial *dial;
	enum phase phase;
	struct socks socks;
	bool is_socks;
	struct ssh_buf up, rx, down; /* frames to the session; from it; bytes to the client */
	bool up_eof, down_eof, down_shut, over;
	nsec_t began, last; /* it came; something moved */
	enum err result;
	char why[200];
};

static void settle(struct conn *c);

static void fail(struct conn *c, enum err e, const char *why)
{
	if (c->over)
		return;
	c->over = true;
	c->result = e;
	snprintf(c->why, sizeof(c->why), "%s", why);
}

/* ---- towards the host ---- */

static void queue(struct conn *c, enum ssh_frame type, struct bytes a)
{
	if (ssh_frame_add(&c->up, type, a, (struct bytes){ NULL, 0 }) != OK)
		fail(c, ERR_NOMEM, err_text(ERR_NOMEM));
}

static void on_session(void *ctx, struct os_stream *s, int events);

static void open_session(struct conn *c, enum ssh_frame kind, const char *text, uint32_t number)
{
	int fd = -1;
	enum err e = forward_session(c->run, &fd);

	if (e == OK && (e = os_stream_new(c->run->loop, fd, on_session, c, &c->session)) != OK)
		close(fd);
	if (e == OK)
		e = forward_frame(&c->up, kind, text, number);
	if (e != OK)
		fail(c, e, "no session with the host");
}

static void set_phase(struct conn *c, enum phase to)
{
	c->run->n_greetings += (to == SOCKS) - (c->phase == SOCKS);
	c->phase = to;
}

static void open_channel(struct conn *c, const char *host, uint16_t port)
{
	set_phase(c, OPENING);
	open_session(c, SSH_F_DIRECT, host, port);
}

/* ---- from the client ---- */

static void answer(struct conn *c, const uint8_t *p, size_t len)
{
	if (ssh_buf_add(&c->down, p, len) != OK)
		fail(c, ERR_NOMEM, err_text(ERR_NOMEM));
}

static size_t take_socks(struct conn *c, const uint8_t *p, size_t len)
{
	uint8_t out[SOCKS_OUT_MAX];
	size_t used, n;
	enum socks_state st = socks_input(&c->socks, p, len, &used, out, &n);

	answer(c, out, n);
	if (st == SOCKS_DONE)
		open_channel(c, c->socks.host, c->socks.port);
	else if (st == SOCKS_REFUSED)
		fail(c, ERR_PROTOCOL, "the SOCKS request was refused");
	return used;
}

static void read_local(struct conn *c)
{
	static uint8_t buf[READ_MAX];
	size_t n = 0, used = 0;
	enum err e = os_stream_read(c->local, buf, sizeof(buf), &n);

	if (e == ERR_AGAIN)
		return;
	if (e != OK) {
		fail(c, e, "the local connection was reset");
		return;
	}
	c->last = os_loop_now(c->run->loop);
	if (n == 0) {
		c->up_eof = true;
		if (c->phase == SOCKS)
			fail(c, ERR_CLOSED, "the client left");
		else
			queue(c, SSH_F_STDIN_EOF, (struct bytes){ NULL, 0 });
		return;
	}
	if (c->phase == SOCKS)
		used = take_socks(c, buf, n);
	if (!c->over && n > used)
		queue(c, SSH_F_STDIN, (struct bytes){ buf + used, n - used });
}

/* ---- from the host ---- */

/* When it is closed, should nothing happen before. */
static nsec_t deadline_of(const struct conn *c)
{
	nsec_t idle = c->run->idle && c->phase != WAITING ? c->last + c->run->idle : NSEC_NEVER;

	return c->phase == SOCKS ? nsec_min(idle, c->began + FORWARD_GREETING_MAX) : idle;
}

static void sweep_by(const struct conn *c)
{
	struct forward_run *r = c->run;
	nsec_t at = deadline_of(c);

	if (at >= r->sweep_at)
		return;
	r->sweep_at = at;
	os_timer_set(&r->sweep, at);
}

static void on_dialed(void *ctx, enum err e, int fd);

/* A connection came in there: it is carried to the target here, and another session waits for the next. */
static void take_accepted(struct conn *c)
{
	const struct forward_end *to = &c->forward->spec.target;
	char target[FORWARD_END_STR_MAX + 5];

	c->phase = DIALING;
	c->forward->n_waiting--;
	sweep_by(c);
	forward_remote_refill(c->forward);
	if (forward_end_is_path(to))
		snprintf(target, sizeof(target), "unix:%s", to->host);
	else
		forward_end_format(to, target);
	if (os_dial_start(c->run->loop, target, os_loop_now(c->run->loop) + DIAL_MAX, on_dialed, c, &c->dial) != OK)
		fail(c, ERR_REFUSED, "the target cannot be dialled");
}

static void take_ready(struct conn *c)
{
	uint8_t out[SOCKS_OUT_MAX];

	if (c->phase == WAITING) {
		take_accepted(c);
		return;
	}
	c->phase = OPEN;
	if (c->is_socks)
		answer(c, out, socks_reply(SOCKS_REPLY_OK, out));
}

static void take_error(struct conn *c, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	enum err e = ssh_read_err(&r);
	struct bytes text = ssh_read_string(&r);
	uint8_t out[SOCKS_OUT_MAX];
	char why[200];

	snprintf(why, sizeof(why), "%.*s", r.bad ? 0 : (int)MIN(text.len, sizeof(why) - 1), (const char *)text.p);
	text_clean(why);
	if (c->is_socks && c->phase == OPENING)
		answer(c, out,
		       socks_reply(e == ERR_TIMEOUT || e == ERR_UNREACHABLE ? SOCKS_REPLY_UNREACHABLE :
				   e == ERR_FORBIDDEN ? SOCKS_REPLY_FORBIDDEN : SOCKS_REPLY_CONNECTION_REFUSED, out));
	fail(c, e == OK ? ERR_PROTOCOL : e, why);
}

static void take_frame(struct conn *c, uint8_t type, struct bytes body)
{
	switch (type) {
	case SSH_F_READY:
		take_ready(c);
		break;
	case SSH_F_STDOUT:
		answer(c, body.p, body.len);
		break;
	case SSH_F_STDOUT_EOF:
		c->down_eof = true;
		break;
	case SSH_F_EXIT:
		c->down_eof = true;
		c->over = true;
		break;
	case SSH_F_ERROR:
		take_error(c, body);
		break;
	default:
		break; /* a newer worker's */
	}
}

static void read_session(struct conn *c)
{
	uint8_t type, *to = ssh_buf_room(&c->rx, READ_MAX);
	struct bytes body;
	size_t total, n = 0;
	enum err e = to ? os_stream_read(c->session, to, READ_MAX, &n) : ERR_NOMEM, frame = OK;

	if (e == ERR_AGAIN)
		return;
	c->rx.len += e == OK ? n : 0;
	c->last = os_loop_now(c->run->loop);
	while (!c->over && (frame = ssh_frame_next(&c->rx, &type, &body, &total)) == OK) {
		take_frame(c, type, body);
		ssh_buf_drop(&c->rx, total);
	}
	if (frame == ERR_PROTOCOL)
		fail(c, ERR_PROTOCOL, "the SSH worker sent a malformed frame");
	else if (!c->over && (e != OK || n == 0))
		fail(c, ERR_RESET, "the SSH worker or the hub ended");
}

/* ---- both ---- */

static enum err drain(struct os_stream *s, struct ssh_buf *b)
{
	enum err e = OK;

	while (e == OK && ssh_buf_used(b) > 0) {
		struct iovec iov = { b->p + b->off, ssh_buf_used(b) };
		size_t n = 0;

		e = os_stream_writev(s, &iov, 1, &n);
		if (e == OK)
			ssh_buf_drop(b, n);
	}
	return e == ERR_AGAIN ? OK : e;
}

static void conn_free(struct conn *c)
{
	struct forward_run *r = c->run;

	if (c->result != OK && c->why[0] && c->result != ERR_CLOSED && c->phase != WAITING)
		fprintf(stderr, "nefia: %s: a forwarded connection ended: %s\n", r->host, c->why);
	if (c->phase == WAITING)
		c->forward->n_waiting--;
	r->n_greetings -= c->phase == SOCKS;
	if (c->dial)
		os_dial_cancel(c->dial);
	if (c->local && (c->result == OK || c->is_socks))
		os_stream_close(c->local);
	else if (c->local)
		os_stream_reset(c->local);
	if (c->session)
		os_stream_close(c->session);
	ssh_buf_fini(&c->up);
	ssh_buf_fini(&c->rx);
	ssh_buf_fini(&c->down);
	list_del(&c->link);
	r->n_conns--;
	free(c);
}

static void want(struct conn *c)
{
	size_t room = c->phase == OPEN ? WAITING_MAX : EARLY_MAX;
	int local = ssh_buf_used(&c->down) > 0 ? OS_WRITE : 0, session = 0;

	/* Once it is over there is only what the client has not taken yet: nothing else is read, so nothing else may wake us. */
	if (!c->over && !c->up_eof && ssh_buf_used(&c->up) < room)
		local |= OS_READ;
	if (!c->over && ssh_buf_used(&c->down) < WAITING_MAX)
		session |= OS_READ;
	if (!c->over && ssh_buf_used(&c->up) > 0)
		session |= OS_WRITE;
	/* No OS_HANGUP: the end of one direction is one already. What has gone for good is found when it is read or written. */
	if (c->local)
		os_stream_want(c->local, local);
	if (c->session)
		os_stream_want(c->session, session);
}

/* After each event: send what goes, pass on an end, free it when it is over. */
static void settle(struct conn *c)
{
	if (c->session && !c->over && drain(c->session, &c->up) != OK)
		ssh_buf_drop(&c->up, ssh_buf_used(&c->up)); /* its last words are still to be read */
	if (c->local && drain(c->local, &c->down) != OK) {
		ssh_buf_drop(&c->down, ssh_buf_used(&c->down));
		fail(c, ERR_CLOSED, "the local connection was closed");
		c->over = true;
	}
	if (c->local && c->down_eof && !c->down_shut && ssh_buf_used(&c->down) == 0) {
		c->down_shut = true;
		os_stream_shutdown(c->local);
	}
	if (c->over && (ssh_buf_used(&c->down) == 0 || !c->local))
		conn_free(c);
	else
		want(c);
}

static void on_session(void *ctx, struct os_stream *s, int events)
{
	struct conn *c = ctx;

	if ((events & OS_READ) && !c->over)
		read_session(c);
	settle(c);
}

static void on_local(void *ctx, struct os_stream *s, int events)
{
	struct conn *c = ctx;

	if ((events & OS_READ) && !c->up_eof && !c->over)
		read_local(c);
	settle(c);
}

/* ---- coming and going ---- */

static void on_dialed(void *ctx, enum err e, int fd)
{
	struct conn *c = ctx;

	c->dial = NULL;
	c->phase = OPEN;
	if (e == OK && (e = os_stream_new(c->run->loop, fd, on_local, c, &c->local)) != OK)
		close(fd);
	if (e != OK)
		fail(c, e, err_text(e));
	settle(c);
}

static struct conn *conn_new(struct forward *f)
{
	struct forward_run *r = f->run;
	struct conn *c = r->n_conns < FORWARD_CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		return NULL;
	c->run = r;
	c->forward = f;
	c->began = c->last = os_loop_now(r->loop);
	c->is_socks = f->kind == FORWARD_DYNAMIC;
	socks_init(&c->socks, r->login);
	c->phase = OPENING;
	list_add_tail(&r->conns, &c->link);
	r->n_conns++;
	return c;
}

void forward_conn_await(struct forward *f)
{
	struct conn *c = conn_new(f);

	if (!c)
		return;
	c->phase = WAITING;
	f->n_waiting++;
	open_session(c, SSH_F_ACCEPT, "", f->id);
	settle(c);
}

void forward_conns_drop_waiting(struct forward *f)
{
	list_for_each_safe(it, &f->run->conns) {
		struct conn *c = container_of(it, struct conn, link);

		if (c->forward == f && c->phase == WAITING)
			conn_free(c);
	}
}

/* A client whose machine vanished is noticed after some minutes, though it never sends anything. */
static void keep_alive(int fd)
{
	int on = 1, idle = 60, interval = 20, count = 4;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* Those that came first are first in the list. */
static void drop_oldest_greeting(struct forward_run *r)
{
	list_for_each_safe(it, &r->conns) {
		struct conn *c = container_of(it, struct conn, link);

		if (c->phase == SOCKS) {
			conn_free(c);
			return;
		}
	}
}

void forward_conn_accept(struct forward *f, int fd)
{
	struct forward_run *r = f->run;
	struct conn *c;

	if (f->kind == FORWARD_DYNAMIC && r->n_greetings >= FORWARD_GREETINGS_MAX)
		drop_oldest_greeting(r);
	c = conn_new(f);
	keep_alive(fd);
	if (!c || os_stream_new(f->run->loop, fd, on_local, c, &c->local) != OK) {
		close(fd);
		if (c)
			conn_free(c);
		return;
	}
	if (c->is_socks)
		set_phase(c, SOCKS);
	else
		open_channel(c, f->spec.target.host, f->spec.target.port);
	sweep_by(c);
	settle(c);
}

nsec_t forward_conns_sweep(struct forward_run *r, nsec_t now)
{
	nsec_t next = NSEC_NEVER;

	list_for_each_safe(it, &r->conns) {
		struct conn *c = container_of(it, struct conn, link);
		nsec_t at = deadline_of(c);

		if (now >= at) {
			c->result = ERR_TIMEOUT;
			conn_free(c);
		} else {
			next = nsec_min(next, at);
		}
	}
	return next == NSEC_NEVER ? next : MAX(next, now + SWEEP_MIN);
}

void forward_conns_close(struct forward_run *r)
{
	list_for_each_safe(it, &r->conns)
		conn_free(container_of(it, struct conn, link));
}
