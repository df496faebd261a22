/*
 * operator/forward_remote.c - ports at the host that lead to this machine.
 *
 * One session holds the port: the server listens as long as it stands. Some more sessions wait, each for one connection; when one
 * got its connection, another takes its place, so that connections which come together need not queue. Should the
 * connection to the host be lost, the port is asked for again until it is there, the same one.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "operator/forward.h"
#include "operator/session_client.h"

#define N_WAITING 4
#define AGAIN_AFTER (1 * NSEC_PER_SEC)

enum err forward_frame(struct ssh_buf *to, enum ssh_frame type, const char *text, uint32_t number)
{
	struct ssh_buf b = { 0 };
	enum err e = ssh_put_u32(&b, SSH_SESSION_VERSION);

	if (e == OK)
		e = ssh_put_string(&b, text, strlen(text));
	if (e == OK)
		e = ssh_put_u32(&b, number);
	if (e == OK)
		e = ssh_frame_add(to, type, (struct bytes){ b.p + b.off, ssh_buf_used(&b) }, (struct bytes){ NULL, 0 });
	ssh_buf_fini(&b);
	return e;
}

void forward_remote_refill(struct forward *f)
{
	while (f->id && f->n_waiting < N_WAITING) {
		unsigned before = f->n_waiting;

		forward_conn_await(f);
		if (f->n_waiting == before)
			return; /* no session to be had now; the next connection tries again */
	}
}

static void drop(struct forward *f)
{
	f->id = 0;
	if (f->session)
		os_stream_close(f->session);
	f->session = NULL;
	ssh_buf_fini(&f->up);
	ssh_buf_fini(&f->rx);
	forward_conns_drop_waiting(f);
}

/* At the start that is the end of us; later it is tried again. */
static void lost(struct forward *f, enum err e, const char *why)
{
	struct forward_run *r = f->run;
	char at[FORWARD_END_STR_MAX];

	forward_end_format(&f->spec.listen, at);
	drop(f);
	if (f->was_ready) {
		fprintf(stderr, "nefia: %s: %s: %s; trying again\n", r->host, at, why);
		os_timer_set(&f->again, os_loop_now(r->loop) + AGAIN_AFTER);
		return;
	}
	r->code = cli_error(r->cli, e == ERR_IN_USE || e == ERR_UNSUPPORTED ? 1016 : session_ecode_of(e, false), "%s: %s: %s", r->host,
			    at, why);
	os_loop_stop(r->loop);
}

static void take_ready(struct forward *f, struct bytes body)
{
	struct ssh_reader rd = { body.p, body.len, false };
	char at[FORWARD_END_STR_MAX], to[FORWARD_END_STR_MAX];
	uint32_t id = ssh_read_u32(&rd), port = ssh_read_u32(&rd);

	if (rd.bad || port == 0 || port > 65535 || id == 0) {
		lost(f, ERR_PROTOCOL, "the SSH worker sent a malformed answer");
		return;
	}
	f->id = id;
	f->spec.listen.port = (uint16_t)port;
	if (!f->was_ready) {
		forward_end_format(&f->spec.listen, at);
		printf("Forwarding %s at %s to %s here\n", at, f->run->host, forward_end_format(&f->spec.target, to));
		fflush(stdout);
	}
	f->was_ready = true;
	forward_remote_refill(f);
}

static void take_error(struct forward *f, struct bytes body)
{
	struct ssh_reader rd = { body.p, body.len, false };
	enum err e = (enum err)ssh_read_u32(&rd);
	struct bytes text = ssh_read_string(&rd);
	char why[300];

	snprintf(why, sizeof(why), "%.*s", rd.bad ? 0 : (int)MIN(text.len, sizeof(why) - 1), (const char *)text.p);
	text_clean(why);
	lost(f, e, why);
}

static void flush(struct forward *f)
{
	while (ssh_buf_used(&f->up) > 0) {
		struct iovec iov = { f->up.p + f->up.off, ssh_buf_used(&f->up) };
		size_t n = 0;

		if (os_stream_writev(f->session, &iov, 1, &n) != OK)
			break; /* the end is found when it is read */
		ssh_buf_drop(&f->up, n);
	}
	os_stream_want(f->session, OS_READ | (ssh_buf_used(&f->up) ? OS_WRITE : 0));
}

static void on_session(void *ctx, struct os_stream *s, int events)
{
	struct forward *f = ctx;
	uint8_t type, *to = ssh_buf_room(&f->rx, 4096);
	struct bytes body;
	size_t total, n = 0;
	enum err e = to ? os_stream_read(s, to, 4096, &n) : ERR_NOMEM, frame = OK;

	f->rx.len += e == OK ? n : 0;
	while (f->session == s && (frame = ssh_frame_next(&f->rx, &type, &body, &total)) == OK) {
		if (type == SSH_F_ERROR) {
			take_error(f, body);
			return;
		}
		if (type == SSH_F_READY)
			take_ready(f, body);
		if (f->session == s)
			ssh_buf_drop(&f->rx, total);
	}
	if (f->session != s)
		return;
	if (frame == ERR_PROTOCOL)
		lost(f, ERR_PROTOCOL, "the SSH worker sent a malformed frame");
	else if ((e != OK && e != ERR_AGAIN) || (e == OK && n == 0))
		lost(f, ERR_RESET, "the SSH worker or the hub ended");
	else
		flush(f);
}

static void start(void *ctx)
{
	struct forward *f = ctx;
	int fd = -1;
	enum err e = forward_session(f->run, &fd);

	if (e == OK && (e = os_stream_new(f->run->loop, fd, on_session, f, &f->session)) != OK)
		close(fd);
	if (e == OK)
		e = forward_frame(&f->up, SSH_F_LISTEN, f->spec.listen.host, f->spec.listen.port);
	if (e == OK)
		flush(f);
	else
		lost(f, e, "no session with the host");
}

void forward_remote_start(struct forward *f)
{
	os_timer_init(&f->again, f->run->loop, start, f);
	/* From the loop, so that what goes wrong can stop it. */
	os_timer_set(&f->again, os_loop_now(f->run->loop));
}

void forward_remote_stop(struct forward *f)
{
	os_timer_cancel(&f->again);
	drop(f);
}
