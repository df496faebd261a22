/*
 * ssh/job_open.c - what a session opens at the host: a channel, a listener, a connection that came in, the connection's SFTP.
 *
 * One job of a connection opens at a time (ssh_conn_begin_open()), because the library has one place for it. A refusal has
 * its reason in the library's words. Where the connection is the reason (it died unnoticed, the server lets us have no more
 * sessions on it) the job looks for another: nothing ran yet.
 *
 * The session is taken from the hub (ssh_job_begin()) as late as may be: a session channel and SFTP change nothing at the host,
 * what is asked for behind them does.
 */
#include <string.h>

#include "base/endian.h"
#include "ssh/direct.h"
#include "ssh/job_internal.h"
#include "ssh/listen.h"
#include "ssh/setup.h"
#include "ssh/shell.h"

#define WINDOW (4u << 20)

/* The answer to an open was a refusal: its reason is in the library's words, whose code is the same for all. */
static void fail_refused_channel(struct ssh_job *j)
{
	char *text = NULL;

	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	if (j->kind != SSH_F_DIRECT)
		ssh_job_fail(j, ERR_FORBIDDEN, "the server opens no session for us (MaxSessions)");
	else if (text && strstr(text, "prohibited"))
		ssh_job_fail(j, ERR_FORBIDDEN, "the server forbids this forward (AllowTcpForwarding, PermitOpen)");
	else if (j->arg[0] == '/')
		ssh_job_fail(j, ERR_TARGET, "the host could not connect to %s", j->arg);
	else
		ssh_job_fail(j, ERR_TARGET, "the host could not connect to %s port %u", j->arg, j->number);
}

/* Terminal and command are asked for one after the other; the library's words tell which was refused. */
static void fail_refused_start(struct ssh_job *j)
{
	char *text = NULL;

	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	if (libssh2_session_last_errno(j->conn->session) != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED)
		ssh_job_fail_by_library(j, "the server did not start the command");
	else if (text && strstr(text, "pty"))
		ssh_job_fail(j, ERR_FORBIDDEN, "the server gives no terminal (PermitTTY); 'nefia exec' needs none");
	else
		ssh_job_fail(j, ERR_FORBIDDEN, "the server refused to start the command");
}

/* A kept connection that died unnoticed (the agent was restarted) is replaced, once: nothing ran yet. */
static bool retry(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;

	if (j->retried)
		return false;
	j->retried = true;
	ssh_job_look_again(j);
	ssh_conn_fail(c, ERR_RESET, "the connection was lost");
	return true;
}

static void open_channel(struct ssh_job *j, nsec_t now)
{
	struct ssh_conn *c = j->conn;

	if (!ssh_conn_begin_open(c, j, now))
		return;
	j->channel = j->kind == SSH_F_DIRECT ?
			     ssh_direct_open(c, j->arg, j->number) :
			     libssh2_channel_open_ex(c->session, "session", 7, WINDOW, JOB_CHUNK, NULL, 0);
	if (!j->channel && libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_EAGAIN && !c->eof)
		return;
	ssh_conn_end_open(c, j);
	if (j->channel) {
		j->state = j->kind == SSH_F_DIRECT ? JOB_RUN : JOB_START;
		if (j->state == JOB_RUN)
			ssh_job_say(j, SSH_F_READY, job_nothing, job_nothing);
	} else if (libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_CHANNEL_FAILURE && (j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL) &&
		   ssh_conn_sessions(c) > 1) {
		/* As sshd does beyond its MaxSessions: there are other connections. */
		ssh_conn_refused_open(c);
		ssh_job_look_again(j);
	} else if (libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_CHANNEL_FAILURE) {
		fail_refused_channel(j);
	} else if (!retry(j)) {
		ssh_job_fail(j, ERR_RESET, "the server closed the connection");
	}
}

static void open_listener(struct ssh_job *j, nsec_t now)
{
	struct ssh_conn *c = j->conn;
	uint32_t id, port;
	uint8_t body[8];
	enum err e;

	if (!ssh_conn_begin_open(c, j, now))
		return;
	e = ssh_listen_open(j, &id, &port);
	if (e == ERR_AGAIN && !c->eof)
		return;
	ssh_conn_end_open(c, j);
	if (e == OK) {
		put_le32(body, id);
		put_le32(body + 4, port);
		ssh_job_say(j, SSH_F_READY, (struct bytes){ body, sizeof(body) }, job_nothing);
		j->state = JOB_RUN;
	} else if (e == ERR_UNSUPPORTED) {
		ssh_job_fail(j, e, "the SSH library cannot ask for a Unix socket to listen on: choose a port");
	} else if (!c->eof) {
		if (j->number)
			ssh_job_fail(j, e, "the server refused to listen on port %u (in use, or forbidden there)", j->number);
		else
			ssh_job_fail(j, e, "the server does not listen for others (AllowTcpForwarding, PermitListen)");
	} else if (!retry(j)) {
		ssh_job_fail(j, ERR_RESET, "the server closed the connection");
	}
}

/* From then on it is a direct connection as any other. */
static void accept_channel(struct ssh_job *j)
{
	enum err e = ssh_listen_accept(j);

	if (e == ERR_AGAIN && !j->conn->eof)
		return;
	if (e != OK) {
		ssh_job_fail(j, ERR_CLOSED, "nobody listens there any more");
		return;
	}
	j->kind = SSH_F_DIRECT;
	j->state = JOB_RUN;
	ssh_job_say(j, SSH_F_READY, job_nothing, job_nothing);
}

static void open_files(struct ssh_job *j, nsec_t now)
{
	struct ssh_conn *c = j->conn;
	const char *why;
	enum err e = ssh_fs_open(c, now, &why);

	if (e == ERR_AGAIN && !c->eof)
		return;
	if (e == ERR_AGAIN || (e != OK && c->eof)) {
		if (!retry(j))
			ssh_job_fail(j, ERR_RESET, "the server closed the connection");
		return;
	}
	if (e == ERR_FULL && ssh_conn_sessions(c) > 1) {
		ssh_conn_refused_open(c);
		ssh_job_look_again(j);
		return;
	}
	if (e != OK) {
		ssh_job_fail(j, e == ERR_FULL ? ERR_FORBIDDEN : e, "%s", why);
		return;
	}
	if (!ssh_job_begin(j, now))
		return;
	fs_session_init(&j->fs, ssh_fs_client(c->fs), &j->out, j->setup->file_size_max);
	j->fs.lanes = ssh_fs_lanes(c->fs);
	j->fs.list_max = j->setup->list_max;
	j->fs.root = j->setup->root[0] ? j->setup->root : NULL;
	j->state = JOB_RUN;
	if (j->kind == SSH_F_FS)
		ssh_job_say(j, SSH_F_READY, job_nothing, job_nothing);
	else if (fs_session_stream(&j->fs, now, j->kind, j->arg, j->number) != OK)
		ssh_job_fail(j, ERR_NOMEM, "out of memory");
}

/* A connection is all that was asked for. */
static void logged_in(struct ssh_job *j)
{
	ssh_job_say(j, SSH_F_READY, job_nothing, job_nothing);
	ssh_job_say_u32(j, SSH_F_EXIT, 0);
	j->state = JOB_CLOSE;
}

void ssh_job_open(struct ssh_job *j, nsec_t now)
{
	if (ssh_job_is_file(j))
		open_files(j, now);
	else if (j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL)
		open_channel(j, now);
	else if (!ssh_job_begin(j, now))
		return;
	else if (j->kind == SSH_F_DIRECT)
		open_channel(j, now);
	else if (j->kind == SSH_F_LISTEN)
		open_listener(j, now);
	else if (j->kind == SSH_F_ACCEPT)
		accept_channel(j);
	else
		logged_in(j);
}

void ssh_job_start(struct ssh_job *j, nsec_t now)
{
	int r;

	if (!ssh_job_begin(j, now))
		return;
	r = j->kind == SSH_F_SHELL ? ssh_shell_start(j) :
	    libssh2_channel_process_startup(j->channel, "exec", 4, j->arg, (unsigned)strlen(j->arg));
	if (r == LIBSSH2_ERROR_EAGAIN && !j->conn->eof)
		return;
	if (r != 0 && j->conn->eof) {
		ssh_job_fail(j, ERR_RESET, "the server closed the connection before it started the command");
		return;
	}
	if (r != 0) {
		fail_refused_start(j);
		return;
	}
	j->state = JOB_RUN;
	ssh_job_say(j, SSH_F_READY, job_nothing, job_nothing);
}
