/*
 * ssh/job.c - see job.h.
 *
 * Every step is tried whenever anything happened; each knows what it waits for. Queues are bounded
 * on all sides: nothing is read from the command while @data is long, nothing from the channel
 * while @out is, nothing is written to the channel while the connection's queue is. What a server
 * has to answer before the command runs has a deadline; a running command has none of ours.
 *
 * The kinds differ in what they open (a session channel and a command, a direct TCP channel, the
 * connection's SFTP) and in how they run; the rest is common.
 */
#include "ssh/job.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "ssh/direct.h"
#include "ssh/listen.h"
#include "ssh/setup.h"
#include "ssh/shell.h"

#define QUEUE_MAX (1024 * 1024)       /* each way */
#define QUEUE_DIRECT_MAX (256 * 1024) /* of a direct connection, of which there may be a thousand */
#define CHUNK 32768
#define READ_SIZE (128 * 1024)
#define START_TIMEOUT (30 * NSEC_PER_SEC)
#define CLOSE_TIMEOUT (10 * NSEC_PER_SEC)
#define WINDOW (4u << 20)

static const struct bytes nothing;

struct ssh_job *ssh_job_new(int fd, const struct ssh_setup *setup)
{
	struct ssh_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->fd = fd;
	j->setup = setup;
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

bool ssh_job_is_file(const struct ssh_job *j)
{
	return j->kind == SSH_F_GET || j->kind == SSH_F_PUT || j->kind == SSH_F_FS;
}

static size_t queue_max(const struct ssh_job *j)
{
	return j->kind == SSH_F_DIRECT ? QUEUE_DIRECT_MAX : QUEUE_MAX;
}

/* ---- towards the command ---- */

static void say(struct ssh_job *j, enum ssh_frame type, struct bytes a, struct bytes b)
{
	if (ssh_frame_add(&j->out, type, a, b) != OK)
		j->in_eof = true; /* no memory: as if the command had gone */
}

static void say_u32(struct ssh_job *j, enum ssh_frame type, uint32_t v)
{
	uint8_t p[4];

	put_le32(p, v);
	say(j, type, (struct bytes){ p, 4 }, nothing);
}

static void say_error(struct ssh_job *j, enum err e, const char *message)
{
	uint8_t head[8];
	size_t len = strlen(message);

	if (j->state >= JOB_CLOSE)
		return;
	put_le32(head, (uint32_t)e);
	put_le32(head + 4, (uint32_t)len);
	say(j, SSH_F_ERROR, (struct bytes){ head, 8 }, (struct bytes){ (const uint8_t *)message, len });
	j->state = JOB_CLOSE;
}

PRINTF_LIKE(3, 4) static void fail(struct ssh_job *j, enum err e, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ssh_clean_text(text);
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

static void fail_by_library(struct ssh_job *j, const char *what)
{
	char *text = NULL;

	if (is_lost(j->conn)) {
		fail(j, ERR_RESET, "%s: the connection was lost", what);
		return;
	}
	if (j->conn->starved) {
		fail(j, ERR_FULL, "%s: the server sent more than %u MiB that nobody takes", what,
		     (unsigned)(CONN_MEMORY_MAX >> 20));
		return;
	}
	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	fail(j, ERR_PROTOCOL, "%s: %s", what, text && *text ? text : "unknown reason");
}

/* The answer to an open was a refusal: its reason is in the library's words, whose code is the same for all. */
static void fail_refused_channel(struct ssh_job *j)
{
	char *text = NULL;

	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	if (j->kind != SSH_F_DIRECT)
		fail(j, ERR_FORBIDDEN, "the server opens no session for us (MaxSessions)");
	else if (text && strstr(text, "prohibited"))
		fail(j, ERR_FORBIDDEN, "the server forbids this forward (AllowTcpForwarding, PermitOpen)");
	else if (j->arg[0] == '/')
		fail(j, ERR_TARGET, "the host could not connect to %s", j->arg);
	else
		fail(j, ERR_TARGET, "the host could not connect to %s port %u", j->arg, j->number);
}

/* Terminal and command are asked for one after the other; the library's words tell which was refused. */
static void fail_refused_start(struct ssh_job *j)
{
	char *text = NULL;

	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	if (libssh2_session_last_errno(j->conn->session) != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED)
		fail_by_library(j, "the server did not start the command");
	else if (text && strstr(text, "pty"))
		fail(j, ERR_FORBIDDEN, "the server gives no terminal (PermitTTY); 'nefia exec' needs none");
	else
		fail(j, ERR_FORBIDDEN, "the server refused to start the command");
}

/* ---- from the command ---- */

static void take_first(struct ssh_job *j, uint8_t type, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	uint32_t version = ssh_read_u32(&r);
	struct bytes arg = { NULL, 0 };

	j->kind = (enum ssh_frame)type;
	if (j->kind != SSH_F_FS)
		arg = ssh_read_string(&r);
	j->number = ssh_read_u32(&(struct ssh_reader){ r.p, r.len, r.bad });
	if (r.bad || (arg.len && memchr(arg.p, 0, arg.len))) {
		fail(j, ERR_PROTOCOL, "malformed request");
		return;
	}
	if (version != SSH_SESSION_VERSION) {
		fail(j, ERR_VERSION, "the hub's SSH worker has another version: restart the hub");
		return;
	}
	j->arg = arg.len ? strndup((const char *)arg.p, arg.len) : strdup("");
	if (j->kind == SSH_F_SHELL && ssh_buf_add(&j->request, r.p, r.len) != OK) {
		fail(j, ERR_NOMEM, "out of memory");
		return;
	}
	j->state = j->arg ? JOB_WAIT_CONN : JOB_DONE;
}

void ssh_job_ask(struct ssh_job *j, struct ssh_ident *id)
{
	struct ssh_buf b = { 0 };

	j->asked_for = id;
	j->answered = false;
	if (ssh_put_string(&b, id->path, strlen(id->path)) == OK && ssh_put_u32(&b, id->n_wrong) == OK)
		say(j, SSH_F_ASK, (struct bytes){ b.p, ssh_buf_used(&b) }, nothing);
	ssh_buf_fini(&b);
}

static void take_answer(struct ssh_job *j, struct ssh_reader *r)
{
	uint32_t has = ssh_read_u32(r);
	struct bytes text = ssh_read_string(r);
	uint8_t buf[SSH_PASSPHRASE_MAX + 1] = { 0 };

	if (!j->asked_for || j->answered)
		return;
	j->answered = true;
	j->has_answer = !r->bad && has == 1 && text.len <= SSH_PASSPHRASE_MAX && !(text.len && memchr(text.p, 0, text.len));
	if (!j->has_answer)
		return;
	if (text.len)
		memcpy(buf, text.p, text.len);
	j->has_answer = ssh_blob_set(&j->answer, (struct bytes){ buf, text.len + 1 }) == OK;
	explicit_bzero(buf, sizeof(buf));
}

static void take_running(struct ssh_job *j, nsec_t now, uint8_t type, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };

	switch (type) {
	case SSH_F_STDIN:
		if (ssh_buf_add(&j->data, body.p, body.len) != OK)
			fail(j, ERR_NOMEM, "out of memory");
		break;
	case SSH_F_STDIN_EOF:
		j->data_eof = true;
		break;
	case SSH_F_SIGNAL:
		ssh_read_text(&r, j->signal, sizeof(j->signal));
		break;
	case SSH_F_WINDOW:
		ssh_shell_resize(j, body);
		break;
	case SSH_F_CLOSE:
		j->want_close = true;
		break;
	case SSH_F_ANSWER:
		take_answer(j, &r);
		break;
	case SSH_F_OP:
	case SSH_F_OP_DATA:
	case SSH_F_OP_EOF:
	case SSH_F_OP_CANCEL:
		if (j->kind != SSH_F_FS || fs_session_frame(&j->fs, now, type, body) != OK)
			fail(j, ERR_PROTOCOL, "malformed request");
		break;
	default:
		break; /* a newer command's: not for us */
	}
}

static bool is_first(uint8_t type)
{
	return type == SSH_F_EXEC || type == SSH_F_GET || type == SSH_F_PUT || type == SSH_F_DIRECT || type == SSH_F_FS ||
	       type == SSH_F_SHELL || type == SSH_F_LISTEN || type == SSH_F_ACCEPT || type == SSH_F_LOGIN;
}

static void take_frame(struct ssh_job *j, nsec_t now, uint8_t type, struct bytes body)
{
	if (j->state != JOB_NEW)
		take_running(j, now, type, body);
	else if (is_first(type))
		take_first(j, type, body);
	else
		fail(j, ERR_PROTOCOL, "unknown request");
}

/* Operations on files may be sent before SFTP is there: they wait in @in. */
static bool holds_frames(const struct ssh_job *j)
{
	return j->kind == SSH_F_FS && j->state > JOB_NEW && j->state < JOB_RUN;
}

bool ssh_job_wants_read(const struct ssh_job *j)
{
	return !j->in_eof && j->state < JOB_CLOSE && ssh_buf_used(&j->data) < queue_max(j) &&
	       (!holds_frames(j) || ssh_buf_used(&j->in) < queue_max(j));
}

static void take_frames(struct ssh_job *j, nsec_t now)
{
	struct bytes body;
	size_t total;
	uint8_t type;
	enum err e = ERR_AGAIN;

	while (j->state < JOB_CLOSE && !holds_frames(j) && (e = ssh_frame_next(&j->in, &type, &body, &total)) == OK) {
		take_frame(j, now, type, body);
		if (type == SSH_F_ANSWER)
			explicit_bzero(j->in.p + j->in.off, total);
		ssh_buf_drop(&j->in, total);
	}
	if (e == ERR_PROTOCOL)
		fail(j, ERR_PROTOCOL, "malformed frame");
}

static void pump_in(struct ssh_job *j, nsec_t now)
{
	take_frames(j, now);
	while (ssh_job_wants_read(j)) {
		uint8_t *to = ssh_buf_room(&j->in, READ_SIZE);
		ssize_t n = to ? recv(j->fd, to, READ_SIZE, MSG_DONTWAIT) : 0;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			j->in_eof = true;
			return;
		}
		j->in.len += (size_t)n;
		take_frames(j, now);
	}
}

void ssh_job_pump(struct ssh_job *j)
{
	while (ssh_buf_used(&j->out) > 0 && !j->in_eof) {
		ssize_t n = send(j->fd, j->out.p + j->out.off, ssh_buf_used(&j->out), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			j->in_eof = true;
		else
			ssh_buf_drop(&j->out, (size_t)n);
		j->moved = true;
	}
}

/* ---- opening ---- */

/* On another connection. */
static void look_again(struct ssh_job *j)
{
	leave_conn(j);
	j->state = JOB_WAIT_CONN;
	j->deadline = NSEC_NEVER;
}

/* A kept connection that died unnoticed (the agent was restarted) is replaced, once: nothing ran yet. */
static bool retry(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;

	if (j->retried)
		return false;
	j->retried = true;
	look_again(j);
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
			     libssh2_channel_open_ex(c->session, "session", 7, WINDOW, CHUNK, NULL, 0);
	if (!j->channel && libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_EAGAIN && !c->eof)
		return;
	ssh_conn_end_open(c, j);
	if (j->channel) {
		j->state = j->kind == SSH_F_DIRECT ? JOB_RUN : JOB_START;
		if (j->state == JOB_RUN)
			say(j, SSH_F_READY, nothing, nothing);
	} else if (libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_CHANNEL_FAILURE && (j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL) &&
		   ssh_conn_sessions(c) > 1) {
		/* As sshd does beyond its MaxSessions: there are other connections. */
		ssh_conn_refused_open(c);
		look_again(j);
	} else if (libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_CHANNEL_FAILURE) {
		fail_refused_channel(j);
	} else if (!retry(j)) {
		fail(j, ERR_RESET, "the server closed the connection");
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
		say(j, SSH_F_READY, (struct bytes){ body, sizeof(body) }, nothing);
		j->state = JOB_RUN;
	} else if (e == ERR_UNSUPPORTED) {
		fail(j, e, "the SSH library cannot ask for a Unix socket to listen on: choose a port");
	} else if (!c->eof) {
		if (j->number)
			fail(j, e, "the server refused to listen on port %u (in use, or forbidden there)", j->number);
		else
			fail(j, e, "the server does not listen for others (AllowTcpForwarding, PermitListen)");
	} else if (!retry(j)) {
		fail(j, ERR_RESET, "the server closed the connection");
	}
}

/* From then on it is a direct connection as any other. */
static void accept_channel(struct ssh_job *j)
{
	enum err e = ssh_listen_accept(j);

	if (e == ERR_AGAIN && !j->conn->eof)
		return;
	if (e != OK) {
		fail(j, ERR_CLOSED, "nobody listens there any more");
		return;
	}
	j->kind = SSH_F_DIRECT;
	j->state = JOB_RUN;
	say(j, SSH_F_READY, nothing, nothing);
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
			fail(j, ERR_RESET, "the server closed the connection");
		return;
	}
	if (e == ERR_FULL && ssh_conn_sessions(c) > 1) {
		ssh_conn_refused_open(c);
		look_again(j);
		return;
	}
	if (e != OK) {
		fail(j, e == ERR_FULL ? ERR_FORBIDDEN : e, "%s", why);
		return;
	}
	fs_session_init(&j->fs, ssh_fs_client(c->fs), &j->out, j->setup->file_size_max);
	j->fs.lanes = ssh_fs_lanes(c->fs);
	j->fs.list_max = j->setup->list_max;
	j->fs.root = j->setup->root[0] ? j->setup->root : NULL;
	j->state = JOB_RUN;
	if (j->kind == SSH_F_FS)
		say(j, SSH_F_READY, nothing, nothing);
	else if (fs_session_stream(&j->fs, now, j->kind, j->arg, j->number) != OK)
		fail(j, ERR_NOMEM, "out of memory");
}

static void start_exec(struct ssh_job *j)
{
	int r = j->kind == SSH_F_SHELL ? ssh_shell_start(j) :
		libssh2_channel_process_startup(j->channel, "exec", 4, j->arg, (unsigned)strlen(j->arg));

	if (r == LIBSSH2_ERROR_EAGAIN && !j->conn->eof)
		return;
	if (r != 0 && j->conn->eof) {
		fail(j, ERR_RESET, "the server closed the connection before it started the command");
		return;
	}
	if (r != 0) {
		fail_refused_start(j);
		return;
	}
	j->state = JOB_RUN;
	say(j, SSH_F_READY, nothing, nothing);
}

/* ---- a running channel ---- */

static void channel_write(struct ssh_job *j)
{
	while (ssh_buf_used(&j->data) > 0 && ssh_buf_used(&j->conn->out) < CONN_OUT_MAX) {
		size_t len = MIN(ssh_buf_used(&j->data), (size_t)CHUNK);
		ssize_t n = libssh2_channel_write_ex(j->channel, 0, (char *)j->data.p + j->data.off, len);

		if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
			return;
		if (n < 0) {
			/* The command closed its input: the rest has no reader. */
			ssh_buf_drop(&j->data, ssh_buf_used(&j->data));
			return;
		}
		ssh_buf_drop(&j->data, (size_t)n);
	}
	if (j->data_eof && !j->data_eof_sent && ssh_buf_used(&j->data) == 0 &&
	    libssh2_channel_send_eof(j->channel) != LIBSSH2_ERROR_EAGAIN)
		j->data_eof_sent = true;
}

static bool channel_read(struct ssh_job *j, int stream, enum ssh_frame type)
{
	char buf[CHUNK];
	ssize_t n;

	while (ssh_buf_used(&j->out) < queue_max(j)) {
		n = libssh2_channel_read_ex(j->channel, stream, buf, sizeof(buf));
		if (n <= 0)
			return n == LIBSSH2_ERROR_EAGAIN || n == 0;
		say(j, type, (struct bytes){ (uint8_t *)buf, (size_t)n }, nothing);
	}
	return true;
}

static void send_signal(struct ssh_job *j)
{
	if (j->signal[0] &&
	    libssh2_channel_signal_ex(j->channel, j->signal, strlen(j->signal)) != LIBSSH2_ERROR_EAGAIN)
		j->signal[0] = '\0';
}

static void run_channel(struct ssh_job *j)
{
	if (!channel_read(j, 0, SSH_F_STDOUT) || !channel_read(j, 1, SSH_F_STDERR)) {
		fail_by_library(j, "reading from the server failed");
		return;
	}
	send_signal(j);
	channel_write(j);
	if (ssh_buf_used(&j->out) >= queue_max(j))
		return;
	if (libssh2_channel_eof(j->channel) != 1) {
		if (j->conn->eof)
			fail(j, ERR_RESET, "the server closed the connection");
		return;
	}
	if (!j->out_eof_told) {
		j->out_eof_told = true;
		say(j, SSH_F_STDOUT_EOF, nothing, nothing);
	}
	/* A direct connection may still carry bytes the other way. */
	if (j->kind != SSH_F_DIRECT || j->data_eof_sent || j->conn->eof)
		j->state = JOB_FINISH;
}

static void say_signal(struct ssh_job *j, const char *name)
{
	uint8_t len[4];
	char text[32];

	snprintf(text, sizeof(text), "%s", name);
	ssh_clean_text(text);
	put_le32(len, (uint32_t)strlen(text));
	say(j, SSH_F_EXIT_SIGNAL, (struct bytes){ len, 4 }, (struct bytes){ (uint8_t *)text, strlen(text) });
}

static void finish_channel(struct ssh_job *j)
{
	bool has_status = j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL;
	char *signal_name = NULL;
	int status = 0;

	/* The exit status may come after the end of the output: wait for the close. */
	if (has_status && !j->conn->eof &&
	    libssh2_channel_wait_closed(j->channel) == LIBSSH2_ERROR_EAGAIN) {
		j->conn->hungry = true;
		return;
	}
	if (has_status) {
		status = libssh2_channel_get_exit_status(j->channel);
		libssh2_channel_get_exit_signal(j->channel, &signal_name, NULL, NULL, NULL, NULL, NULL);
	}
	if (signal_name) {
		say_signal(j, signal_name);
		libssh2_free(j->conn->session, signal_name);
	} else if (status < 0) {
		/* See third_party/libssh2-edit.sh: none came. */
		fail(j, ERR_RESET, "the server closed the channel without an exit status: how the command ended is unknown");
	} else {
		say_u32(j, SSH_F_EXIT, (uint32_t)status);
	}
	j->state = JOB_CLOSE;
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
		fail(j, ERR_NOMEM, "out of memory");
	else if (j->fs.client->error != OK && j->kind == SSH_F_FS)
		fail(j, j->fs.client->error, "%s", j->fs.client->message);
}

/* ---- the end ---- */

/* Who asked for the command has vanished (kill -9) while it runs: as at a terminal's end, or it would run on for nobody. */
static void hang_up(struct ssh_job *j)
{
	if (j->kind == SSH_F_EXEC && j->in_eof && !j->want_close && !j->signal[0] && libssh2_channel_eof(j->channel) != 1)
		snprintf(j->signal, sizeof(j->signal), "HUP");
}

/* The job ends while things are open: tidy up at the host as far as that goes without blocking others. */
static void abandon(struct ssh_job *j, nsec_t now)
{
	if (!j->closing) {
		j->closing = true;
		j->deadline = now + CLOSE_TIMEOUT;
		if (j->channel && j->conn && j->conn->state == SSH_READY) {
			hang_up(j);
			send_signal(j); /* came together with the end */
		}
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

/* A step of the server's that did not come in time. */
static void check_deadline(struct ssh_job *j, nsec_t now)
{
	struct ssh_conn *c = j->conn;

	if (now < j->deadline || (j->state != JOB_OPEN && j->state != JOB_START))
		return;
	/* A direct connection waits for a third party, and says nothing about the server; but the library is held by it. */
	if (j->kind == SSH_F_DIRECT) {
		c->retired = true;
		fail(j, ERR_TIMEOUT, "%s port %u did not answer the server in time", j->arg, j->number);
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

/* A connection is all that was asked for. */
static void logged_in(struct ssh_job *j)
{
	say(j, SSH_F_READY, nothing, nothing);
	say_u32(j, SSH_F_EXIT, 0);
	j->state = JOB_CLOSE;
}

static void open_any(struct ssh_job *j, nsec_t now)
{
	if (j->kind == SSH_F_LOGIN)
		logged_in(j);
	else if (j->kind == SSH_F_LISTEN)
		open_listener(j, now);
	else if (j->kind == SSH_F_ACCEPT)
		accept_channel(j);
	else if (ssh_job_is_file(j))
		open_files(j, now);
	else
		open_channel(j, now);
}

static void run_any(struct ssh_job *j, nsec_t now)
{
	if (ssh_job_is_file(j))
		run_files(j, now);
	else if (j->kind != SSH_F_LISTEN)
		run_channel(j);
	else if (j->conn->eof)
		fail(j, ERR_RESET, "the server closed the connection");
}

static void step_ready(struct ssh_job *j, nsec_t now)
{
	/* A kept connection that does not answer: nothing ran there yet. */
	if (j->state == JOB_OPEN && j->kind != SSH_F_ACCEPT && ssh_conn_is_silent(j->conn, now)) {
		look_again(j);
		return;
	}
	if (j->state == JOB_OPEN && j->kind != SSH_F_ACCEPT && j->conn->opening != (ssh_job_is_file(j) ? (void *)j->conn->fs : j) &&
	    ssh_conn_is_stuck(j->conn, now)) {
		look_again(j);
		return;
	}
	if (j->state == JOB_OPEN)
		open_any(j, now);
	if (j->state == JOB_START)
		start_exec(j);
	if (j->state == JOB_RUN)
		run_any(j, now);
	if (j->state == JOB_FINISH)
		finish_channel(j);
}

void ssh_job_step(struct ssh_job *j, nsec_t now)
{
	enum ssh_job_state before = j->state;

	pump_in(j, now);
	if ((j->in_eof || j->want_close) && j->state < JOB_CLOSE)
		j->state = j->state < JOB_OPEN ? JOB_DONE : JOB_CLOSE;
	if (j->conn && j->conn->state == SSH_READY) {
		step_ready(j, now);
		if (j->conn && j->state < JOB_CLOSE && ssh_buf_used(&j->out) < queue_max(j))
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
