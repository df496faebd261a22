/*
 * ssh/job.c - see job.h.
 *
 * Every step is tried whenever anything happened; each knows what it waits for. Queues are bounded
 * on all sides: nothing is read from the command while @data is long, nothing from the channel
 * while @out is, nothing is written to the channel while the connection's queue is. What a server
 * has to answer before the command runs has a deadline; a running command has none of ours.
 *
 * The kinds differ in what they open (job_open.c: a session channel and a command, a direct TCP channel, the
 * connection's SFTP) and in how they run (job_channel.c, fs_session.c); frames from and to the command (job_frame.c), life,
 * steps and deadlines are common.
 */
#include "ssh/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/text.h"
#include "ssh/job_internal.h"
#include "ssh/listen.h"

#define START_TIMEOUT (30 * NSEC_PER_SEC)
#define CLOSE_TIMEOUT (10 * NSEC_PER_SEC)

struct ssh_job *ssh_job_new(int fd, uint32_t number, const struct ssh_setup *setup, const struct ssh_taker *taker)
{
	struct ssh_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->fd = fd;
	j->session = number;
	j->setup = setup;
	j->taker = taker;
	j->deadline = NSEC_NEVER;
	fs_session_init(&j->fs, NULL, &j->out, 0);
	list_init(&j->link);
	return j;
}

static void leave_conn(struct ssh_job *j)
{
	/* Without us nothing keeps the connection's SFTP: no answer may look for us any more. */
	fs_session_fini(&j->fs);
	if (j->conn)
		ssh_conn_abandon_open(j->conn, j);
	if (j->channel && j->conn)
		ssh_conn_close_channel(j->conn, j->channel);
	j->channel = NULL;
	j->conn = NULL;
}

void ssh_job_free(struct ssh_job *j)
{
	(void)!ssh_job_take(j);
	ssh_listen_close(j);
	leave_conn(j);
	ssh_buf_fini(&j->in);
	ssh_buf_fini(&j->out);
	ssh_buf_fini(&j->data);
	ssh_buf_fini(&j->request);
	ssh_blob_fini(&j->answer);
	list_del(&j->link);
	close(j->fd);
	free(j->arg);
	free(j);
}

bool ssh_job_take(struct ssh_job *j)
{
	j->taken = j->taken || j->taker->take(j->taker->ctx, j->session);
	return j->taken;
}

bool ssh_job_begin(struct ssh_job *j, nsec_t now)
{
	if (!j->taken) {
		if (!ssh_job_take(j))
			return false;
		ssh_job_read(j, now);
		j->moved = true; /* another step, for whatever has come behind the first frame */
	}
	return j->arg && !j->in_eof && !j->want_close && j->state < JOB_CLOSE;
}

bool ssh_job_is_file(const struct ssh_job *j)
{
	return j->kind == SSH_F_GET || j->kind == SSH_F_PUT || j->kind == SSH_F_FS;
}

/* On another connection. */
void ssh_job_look_again(struct ssh_job *j)
{
	leave_conn(j);
	j->state = JOB_WAIT_CONN;
	j->deadline = NSEC_NEVER;
}

/* ---- how it fails ---- */

static void say_error(struct ssh_job *j, enum err e, const char *message)
{
	uint8_t head[8];
	size_t len = strlen(message);

	if (j->state >= JOB_CLOSE)
		return;
	put_le32(head, (uint32_t)e);
	put_le32(head + 4, (uint32_t)len);
	ssh_job_say(j, SSH_F_ERROR, (struct bytes){ head, 8 }, (struct bytes){ (const uint8_t *)message, len });
	j->state = JOB_CLOSE;
}

void ssh_job_fail(struct ssh_job *j, enum err e, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_clean(text);
	say_error(j, e, text);
}

void ssh_job_conn_dead(struct ssh_job *j, enum err e, const char *message)
{
	/* The channel goes with the connection, and so do the answers to operations on files. */
	fs_session_fini(&j->fs);
	j->channel = NULL;
	j->conn = NULL;
	say_error(j, e, message);
	j->state = JOB_DONE;
}

/* What the library says of it is then the consequence, not the reason. */
static bool is_lost(const struct ssh_conn *c)
{
	int e = libssh2_session_last_errno(c->session);

	return c->eof || e == LIBSSH2_ERROR_SOCKET_RECV || e == LIBSSH2_ERROR_SOCKET_SEND ||
	       e == LIBSSH2_ERROR_SOCKET_DISCONNECT;
}

void ssh_job_fail_by_library(struct ssh_job *j, const char *what)
{
	char *text = NULL;

	if (is_lost(j->conn)) {
		ssh_job_fail(j, ERR_RESET, "%s: the connection was lost", what);
		return;
	}
	if (j->conn->starved) {
		ssh_job_fail(j, ERR_FULL, "%s: the server sent more than %u MiB that nobody takes", what,
		     (unsigned)(CONN_MEMORY_MAX >> 20));
		return;
	}
	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	ssh_job_fail(j, ERR_PROTOCOL, "%s: %s", what, text && *text ? text : "unknown reason");
}

/* ---- files ---- */

static void run_files(struct ssh_job *j, nsec_t now)
{
	if (j->kind == SSH_F_PUT)
		fs_session_stream_data(&j->fs, now, &j->data, j->data_eof);
	fs_session_step(&j->fs, now);
	/* The one operation of an older kind was the last word. */
	if (j->kind != SSH_F_FS && j->fs.n_ops == j->fs.n_over)
		j->state = JOB_CLOSE;
	if (j->fs.broken)
		ssh_job_fail(j, ERR_NOMEM, "out of memory");
	else if (j->fs.client->error != OK && j->kind == SSH_F_FS)
		ssh_job_fail(j, j->fs.client->error, "%s", j->fs.client->message);
}

/* ---- the end ---- */

/* The job ends while things are open: tidy up at the host as far as that goes without blocking others. */
static void abandon(struct ssh_job *j, nsec_t now)
{
	if (!j->closing) {
		j->closing = true;
		j->deadline = now + CLOSE_TIMEOUT;
		if (j->channel && j->conn && j->conn->state == SSH_READY)
			ssh_job_hang_up(j);
		if (j->fs.client && j->fs.n_ops > 0)
			fs_session_abandon(&j->fs, now);
	}
	if (j->fs.client)
		fs_session_step(&j->fs, now);
	if (j->conn && !fs_session_idle(&j->fs) && now < j->deadline)
		return;
	leave_conn(j);
	j->state = JOB_DONE;
}

/* ---- steps ---- */

/* A step of the server's that did not come in time. */
static void check_deadline(struct ssh_job *j, nsec_t now)
{
	struct ssh_conn *c = j->conn;

	if (now < j->deadline || (j->state != JOB_OPEN && j->state != JOB_START))
		return;
	/* A direct connection waits for a third party, and says nothing about the server; but the library is held by it. */
	if (j->kind == SSH_F_DIRECT) {
		c->retired = true;
		ssh_job_fail(j, ERR_TIMEOUT, "%s port %u did not answer the server in time", j->arg, j->number);
		return;
	}
	ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server did not %s in time",
		      j->state == JOB_OPEN ? "open a channel" : "start the command");
}

static void set_deadline(struct ssh_job *j, enum ssh_job_state before, nsec_t now)
{
	if (j->kind == SSH_F_ACCEPT)
		j->deadline = NSEC_NEVER; /* it waits for somebody to come */
	else if (j->state == JOB_OPEN && j->conn->state == SSH_READY && j->deadline == NSEC_NEVER)
		j->deadline = now + CONN_OPEN_TIMEOUT;
	else if (j->state == JOB_START && before != JOB_START)
		j->deadline = now + START_TIMEOUT;
	else if (j->state != before && j->state != JOB_CLOSE)
		j->deadline = NSEC_NEVER;
}

nsec_t ssh_job_next(const struct ssh_job *j)
{
	return j->state == JOB_OPEN || j->state == JOB_START || j->state == JOB_CLOSE ? j->deadline : NSEC_NEVER;
}

static void run_any(struct ssh_job *j, nsec_t now)
{
	if (ssh_job_is_file(j))
		run_files(j, now);
	else if (j->kind != SSH_F_LISTEN)
		ssh_job_run_channel(j);
	else if (j->conn->eof)
		ssh_job_fail(j, ERR_RESET, "the server closed the connection");
}

static void step_ready(struct ssh_job *j, nsec_t now)
{
	/* A kept connection that does not answer: nothing ran there yet. */
	if (j->state == JOB_OPEN && j->kind != SSH_F_ACCEPT && ssh_conn_is_silent(j->conn, now)) {
		ssh_job_look_again(j);
		return;
	}
	if (j->state == JOB_OPEN && j->kind != SSH_F_ACCEPT && j->conn->opening != (ssh_job_is_file(j) ? (void *)j->conn->fs : j) &&
	    ssh_conn_is_stuck(j->conn, now)) {
		ssh_job_look_again(j);
		return;
	}
	if (j->state == JOB_OPEN)
		ssh_job_open(j, now);
	if (j->state == JOB_START)
		ssh_job_start(j, now);
	if (j->state == JOB_RUN)
		run_any(j, now);
	if (j->state == JOB_FINISH)
		ssh_job_finish_channel(j);
}

void ssh_job_step(struct ssh_job *j, nsec_t now)
{
	enum ssh_job_state before = j->state;

	ssh_job_read(j, now);
	if ((j->in_eof || j->want_close) && j->state < JOB_CLOSE)
		j->state = j->state < JOB_OPEN ? JOB_DONE : JOB_CLOSE;
	if (j->conn && j->conn->state == SSH_READY) {
		step_ready(j, now);
		if (j->conn && j->state < JOB_CLOSE && ssh_buf_used(&j->out) < ssh_job_queue_max(j))
			j->conn->hungry = true;
		if (j->conn && j->state < JOB_CLOSE)
			set_deadline(j, before, now);
		if (j->conn)
			check_deadline(j, now);
	}
	if (j->state == JOB_CLOSE)
		abandon(j, now);
	ssh_job_pump(j);
}
