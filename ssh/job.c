/*
 * ssh/job.c - see job.h.
 *
 * Every step is tried whenever anything happened; each knows what it waits for. Queues are bounded on all sides: nothing is read
 * from the command while @data is long, nothing from the channel while @out is, nothing is written to the channel
 * while the connection's queue is.
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
#include "ssh/shell.h"

#define DATA_MAX (1024 * 1024)
#define OUT_MAX (1024 * 1024)
#define CHUNK 32768
#define FILE_CHUNK (256 * 1024)
#define WINDOW (4u << 20)

static const struct bytes nothing;

struct ssh_job *ssh_job_new(int fd)
{
	struct ssh_job *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->fd = fd;
	list_init(&j->link);
	return j;
}

void ssh_job_free(struct ssh_job *j)
{
	ssh_listen_close(j);
	if (j->conn && j->conn->opening == j)
		j->conn->opening = NULL;
	if (j->conn && j->conn->file_job == j)
		j->conn->file_job = NULL;
	if (j->channel && j->conn && j->conn->state == SSH_READY) {
		libssh2_channel_free(j->channel);
		j->conn->n_channels--;
	}
	ssh_buf_fini(&j->in);
	ssh_buf_fini(&j->out);
	ssh_buf_fini(&j->data);
	ssh_buf_fini(&j->request);
	list_del(&j->link);
	close(j->fd);
	free(j->arg);
	free(j->temp);
	free(j);
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

	if (j->state == JOB_DONE || j->failed)
		return;
	put_le32(head, (uint32_t)e);
	put_le32(head + 4, (uint32_t)len);
	say(j, SSH_F_ERROR, (struct bytes){ head, 8 }, (struct bytes){ (const uint8_t *)message, len });
	j->failed = true;
	j->state = j->conn && (j->file || j->temp) ? JOB_CLOSE : JOB_DONE;
}

PRINTF_LIKE(3, 4) static void fail(struct ssh_job *j, enum err e, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say_error(j, e, text);
}

void ssh_job_conn_dead(struct ssh_job *j, enum err e, const char *message)
{
	j->channel = NULL;
	j->file = NULL;
	j->conn = NULL;
	say_error(j, e, message);
}

/* What the library says of it is then the consequence, not the reason. */
static bool fail_by_loss(struct ssh_job *j, const char *what)
{
	int e = libssh2_session_last_errno(j->conn->session);

	if (!j->conn->eof && e != LIBSSH2_ERROR_SOCKET_RECV && e != LIBSSH2_ERROR_SOCKET_SEND &&
	    e != LIBSSH2_ERROR_SOCKET_DISCONNECT)
		return false;
	fail(j, ERR_RESET, "%s: the connection was lost", what);
	return true;
}

static void fail_by_library(struct ssh_job *j, const char *what)
{
	char *text = NULL;

	if (fail_by_loss(j, what))
		return;
	libssh2_session_last_error(j->conn->session, &text, NULL, 0);
	fail(j, ERR_PROTOCOL, "%s: %s", what, text && *text ? text : "unknown reason");
}

static void fail_by_sftp(struct ssh_job *j, const char *what)
{
	static const struct {
		unsigned long code;
		enum err e;
		const char *text;
	} reasons[] = {
		{ LIBSSH2_FX_NO_SUCH_FILE, ERR_NOT_FOUND, "no such file or folder" },
		{ LIBSSH2_FX_PERMISSION_DENIED, ERR_PERMISSION, "permission denied" },
		{ LIBSSH2_FX_FAILURE, ERR_IO, "the server refused it (disk full, or not possible there)" },
		{ LIBSSH2_FX_NO_SPACE_ON_FILESYSTEM, ERR_NO_SPACE, "no space left there" },
	};
	unsigned long code = libssh2_sftp_last_error(j->conn->sftp);

	if (fail_by_loss(j, what))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].code == code) {
			fail(j, reasons[i].e, "%s %s: %s", what, j->arg, reasons[i].text);
			return;
		}
	fail(j, ERR_IO, "%s %s: SFTP error %lu", what, j->arg, code);
}

/* ---- from the command ---- */

static void take_first(struct ssh_job *j, uint8_t type, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	uint32_t version = ssh_read_u32(&r);
	struct bytes arg = ssh_read_string(&r);

	j->kind = (enum ssh_frame)type;
	j->number = ssh_read_u32(&(struct ssh_reader){ r.p, r.len, r.bad });
	if (r.bad || (arg.len && memchr(arg.p, 0, arg.len))) {
		fail(j, ERR_PROTOCOL, "malformed request");
		return;
	}
	if (version != SSH_SESSION_VERSION) {
		fail(j, ERR_VERSION, "the hub's SSH worker has another version: restart the hub");
		return;
	}
	j->arg = strndup((const char *)arg.p, arg.len);
	if (j->kind == SSH_F_SHELL && ssh_buf_add(&j->request, r.p, r.len) != OK) {
		fail(j, ERR_NOMEM, "out of memory");
		return;
	}
	j->state = j->arg ? JOB_WAIT_CONN : JOB_DONE;
}

static void take_frame(struct ssh_job *j, uint8_t type, struct bytes body)
{
	char name[32];

	if (j->state == JOB_NEW) {
		if (type == SSH_F_EXEC || type == SSH_F_GET || type == SSH_F_PUT || type == SSH_F_DIRECT ||
		    type == SSH_F_SHELL || type == SSH_F_LISTEN || type == SSH_F_ACCEPT)
			take_first(j, type, body);
		else
			fail(j, ERR_PROTOCOL, "unknown request");
		return;
	}
	switch (type) {
	case SSH_F_STDIN:
		if (ssh_buf_add(&j->data, body.p, body.len) != OK)
			fail(j, ERR_NOMEM, "out of memory");
		break;
	case SSH_F_STDIN_EOF:
		j->data_eof = true;
		break;
	case SSH_F_SIGNAL: {
		struct ssh_reader r = { body.p, body.len, false };

		ssh_read_text(&r, name, sizeof(name));
		if (!r.bad && j->channel)
			libssh2_channel_signal_ex(j->channel, name, strlen(name));
		break;
	}
	case SSH_F_WINDOW:
		ssh_shell_resize(j, body);
		break;
	case SSH_F_CLOSE:
		j->want_close = true;
		break;
	default:
		break; /* a newer command's: not for us */
	}
}

bool ssh_job_wants_read(const struct ssh_job *j)
{
	return !j->in_eof && j->state != JOB_DONE && ssh_buf_used(&j->data) < DATA_MAX;
}

static void pump_in(struct ssh_job *j)
{
	uint8_t type;
	struct bytes body;
	size_t total;
	enum err e;

	while (ssh_job_wants_read(j)) {
		uint8_t *to = ssh_buf_room(&j->in, 65536);
		ssize_t n = to ? recv(j->fd, to, 65536, MSG_DONTWAIT) : 0;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			j->in_eof = true;
			return;
		}
		j->in.len += (size_t)n;
		while ((e = ssh_frame_next(&j->in, &type, &body, &total)) == OK) {
			take_frame(j, type, body);
			ssh_buf_drop(&j->in, total);
		}
		if (e == ERR_PROTOCOL) {
			fail(j, ERR_PROTOCOL, "malformed frame");
			return;
		}
	}
}

static void pump_out(struct ssh_job *j)
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

static bool is_file(const struct ssh_job *j)
{
	return j->kind == SSH_F_GET || j->kind == SSH_F_PUT;
}

static void open_listener(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;
	uint32_t id, port;
	uint8_t body[8];
	enum err e = ERR_AGAIN;

	if (!c->opening || c->opening == j)
		e = ssh_listen_open(j, &id, &port);
	if (e == ERR_AGAIN) {
		c->opening = c->opening ? c->opening : j;
		return;
	}
	c->opening = NULL;
	if (e == OK) {
		put_le32(body, id);
		put_le32(body + 4, port);
		say(j, SSH_F_READY, (struct bytes){ body, sizeof(body) }, nothing);
		j->state = JOB_RUN;
	} else if (e == ERR_UNSUPPORTED) {
		fail(j, e, "the SSH library cannot ask for a Unix socket to listen on: choose a port");
	} else {
		fail(j, e, "the server refused to listen on port %u (in use, or forbidden there)", j->number);
	}
}

/* From then on it is a direct connection as any other. */
static void accept_channel(struct ssh_job *j)
{
	enum err e = ssh_listen_accept(j);

	if (e == ERR_AGAIN)
		return;
	if (e != OK) {
		fail(j, e, "nobody listens there any more");
		return;
	}
	j->kind = SSH_F_DIRECT;
	j->conn->n_channels++;
	j->state = JOB_RUN;
	say(j, SSH_F_READY, nothing, nothing);
}

static void open_channel(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;

	if (c->opening && c->opening != j)
		return;
	c->opening = j;
	j->channel = j->kind == SSH_F_DIRECT ?
			     ssh_direct_open(c, j->arg, j->number) :
			     libssh2_channel_open_ex(c->session, "session", 7, WINDOW, CHUNK, NULL, 0);
	if (!j->channel && libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_EAGAIN)
		return;
	c->opening = NULL;
	/* A kept connection that died unnoticed (the agent was restarted) is replaced, once: nothing ran yet. */
	if (!j->channel && !j->retried &&
	    libssh2_session_last_errno(c->session) != LIBSSH2_ERROR_CHANNEL_FAILURE) {
		j->retried = true;
		j->conn = NULL;
		j->state = JOB_WAIT_CONN;
		ssh_conn_fail(c, ERR_RESET, "the connection was lost");
		return;
	}
	if (!j->channel) {
		fail_by_library(j, "the server opened no channel");
		return;
	}
	c->n_channels++;
	j->state = j->kind == SSH_F_DIRECT ? JOB_RUN : JOB_START;
	if (j->state == JOB_RUN)
		say(j, SSH_F_READY, nothing, nothing);
}

static void start_exec(struct ssh_job *j)
{
	int r = j->kind == SSH_F_SHELL ? ssh_shell_start(j) :
		libssh2_channel_process_startup(j->channel, "exec", 4, j->arg, (unsigned)strlen(j->arg));

	if (r == LIBSSH2_ERROR_EAGAIN)
		return;
	if (r != 0) {
		fail_by_library(j, "the server did not start the command");
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

	while (ssh_buf_used(&j->out) < OUT_MAX) {
		n = libssh2_channel_read_ex(j->channel, stream, buf, sizeof(buf));
		if (n <= 0)
			return n == LIBSSH2_ERROR_EAGAIN || n == 0;
		say(j, type, (struct bytes){ (uint8_t *)buf, (size_t)n }, nothing);
	}
	return true;
}

static void run_channel(struct ssh_job *j)
{
	if (!channel_read(j, 0, SSH_F_STDOUT) || !channel_read(j, 1, SSH_F_STDERR)) {
		fail_by_library(j, "reading from the server failed");
		return;
	}
	channel_write(j);
	if (libssh2_channel_eof(j->channel) != 1 || ssh_buf_used(&j->out) >= OUT_MAX)
		return;
	if (!j->out_eof_told) {
		j->out_eof_told = true;
		say(j, SSH_F_STDOUT_EOF, nothing, nothing);
	}
	/* A direct connection may still carry bytes the other way. */
	if (j->kind != SSH_F_DIRECT || j->data_eof_sent)
		j->state = JOB_FINISH;
}

static void finish_exec(struct ssh_job *j)
{
	bool has_status = j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL;
	char *signal_name = NULL;

	/* The exit status may come after the end of the output: wait for the close. */
	if (has_status && libssh2_channel_wait_closed(j->channel) == LIBSSH2_ERROR_EAGAIN)
		return;
	if (has_status)
		libssh2_channel_get_exit_signal(j->channel, &signal_name, NULL, NULL, NULL, NULL, NULL);
	if (signal_name) {
		uint8_t len[4];

		put_le32(len, (uint32_t)strlen(signal_name));
		say(j, SSH_F_EXIT_SIGNAL, (struct bytes){ len, 4 },
		    (struct bytes){ (uint8_t *)signal_name, strlen(signal_name) });
		libssh2_free(j->conn->session, signal_name);
	} else {
		say_u32(j, SSH_F_EXIT,
			has_status ? (uint32_t)libssh2_channel_get_exit_status(j->channel) : 0);
	}
	j->state = JOB_DONE;
}

/* ---- files ---- */

static bool open_sftp(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;

	if (c->sftp)
		return true;
	c->sftp = libssh2_sftp_init(c->session);
	if (c->sftp)
		c->n_channels++;
	else if (libssh2_session_last_errno(c->session) != LIBSSH2_ERROR_EAGAIN)
		fail_by_library(j, "the server offers no file transfer (SFTP)");
	return c->sftp != NULL;
}

static const char *remote_name(struct ssh_job *j)
{
	if (j->kind == SSH_F_GET)
		return j->arg;
	if (!j->temp && asprintf(&j->temp, "%s.nefia-%ld.part", j->arg, (long)getpid()) < 0)
		j->temp = NULL;
	return j->temp ? j->temp : j->arg;
}

static void open_file(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;
	const char *name = remote_name(j);
	unsigned long flags = j->kind == SSH_F_GET ? LIBSSH2_FXF_READ :
						     LIBSSH2_FXF_WRITE | LIBSSH2_FXF_CREAT | LIBSSH2_FXF_TRUNC;

	if (c->opening && c->opening != j)
		return;
	c->opening = j;
	if (!open_sftp(j)) {
		if (j->state == JOB_DONE)
			c->opening = NULL;
		return;
	}
	c->opening = NULL;
	if (c->file_job && c->file_job != j)
		return;
	c->file_job = j;
	j->file = libssh2_sftp_open_ex(c->sftp, name, (unsigned)strlen(name), flags, (long)(j->number & 07777),
				       LIBSSH2_SFTP_OPENFILE);
	if (j->file)
		j->state = JOB_START;
	else if (libssh2_session_last_errno(c->session) != LIBSSH2_ERROR_EAGAIN)
		fail_by_sftp(j, j->kind == SSH_F_GET ? "reading" : "writing");
}

static void start_file(struct ssh_job *j)
{
	LIBSSH2_SFTP_ATTRIBUTES a = { 0 };
	uint8_t body[12];
	int r = libssh2_sftp_fstat_ex(j->file, &a, 0);

	if (r == LIBSSH2_ERROR_EAGAIN)
		return;
	if (r == 0 && j->kind == SSH_F_GET && (a.flags & LIBSSH2_SFTP_ATTR_PERMISSIONS) &&
	    LIBSSH2_SFTP_S_ISDIR(a.permissions)) {
		fail(j, ERR_INVALID, "reading %s: it is a folder", j->arg);
		return;
	}
	put_le64(body, r == 0 && (a.flags & LIBSSH2_SFTP_ATTR_SIZE) ? a.filesize : UINT64_MAX);
	put_le32(body + 8, r == 0 && (a.flags & LIBSSH2_SFTP_ATTR_PERMISSIONS) ? a.permissions & 07777 : 0644);
	say(j, SSH_F_READY, (struct bytes){ body, sizeof(body) }, nothing);
	j->state = JOB_RUN;
}

static void run_get(struct ssh_job *j)
{
	static char buf[FILE_CHUNK];

	while (ssh_buf_used(&j->out) < OUT_MAX) {
		ssize_t n = libssh2_sftp_read(j->file, buf, sizeof(buf));

		if (n == LIBSSH2_ERROR_EAGAIN)
			return;
		if (n < 0) {
			fail_by_sftp(j, "reading");
			return;
		}
		if (n == 0) {
			j->state = JOB_FINISH;
			return;
		}
		say(j, SSH_F_STDOUT, (struct bytes){ (uint8_t *)buf, (size_t)n }, nothing);
	}
}

static void run_put(struct ssh_job *j)
{
	/* The library sends ahead of the acknowledgements of what it was given, so give it all there is. */
	while (ssh_buf_used(&j->data) > 0) {
		ssize_t n = libssh2_sftp_write(j->file, (char *)j->data.p + j->data.off, ssh_buf_used(&j->data));

		if (n == LIBSSH2_ERROR_EAGAIN)
			return;
		if (n < 0) {
			fail_by_sftp(j, "writing");
			return;
		}
		ssh_buf_drop(&j->data, (size_t)n);
	}
	if (j->data_eof)
		j->state = JOB_FINISH;
}

static int rename_into_place(struct ssh_job *j)
{
	int r = libssh2_sftp_posix_rename_ex(j->conn->sftp, j->temp, strlen(j->temp), j->arg, strlen(j->arg));

	if (r == LIBSSH2_ERROR_EAGAIN || r == 0)
		return r;
	/* A server without the extension: its rename may refuse to replace. */
	return libssh2_sftp_rename_ex(j->conn->sftp, j->temp, (unsigned)strlen(j->temp), j->arg,
				      (unsigned)strlen(j->arg), LIBSSH2_SFTP_RENAME_OVERWRITE);
}

static void finish_file(struct ssh_job *j)
{
	int r;

	if (j->file) {
		r = libssh2_sftp_close_handle(j->file);
		if (r == LIBSSH2_ERROR_EAGAIN)
			return;
		j->file = NULL;
		if (r != 0) {
			fail_by_sftp(j, "closing");
			return;
		}
	}
	if (j->kind == SSH_F_PUT) {
		r = rename_into_place(j);
		if (r == LIBSSH2_ERROR_EAGAIN)
			return;
		if (r != 0) {
			fail_by_sftp(j, "writing");
			return;
		}
	}
	j->conn->file_job = NULL;
	say_u32(j, SSH_F_EXIT, 0);
	j->state = JOB_DONE;
}

/* The job ends while things are open, or failed: tidy up at the host as far as that goes without blocking others. */
static void abandon(struct ssh_job *j)
{
	struct ssh_conn *c = j->conn;

	if (c && c->state == SSH_READY && j->file) {
		if (libssh2_sftp_close_handle(j->file) == LIBSSH2_ERROR_EAGAIN)
			return;
		j->file = NULL;
	}
	if (c && c->state == SSH_READY && j->kind == SSH_F_PUT && j->temp && c->file_job == j) {
		if (libssh2_sftp_unlink_ex(c->sftp, j->temp, (unsigned)strlen(j->temp)) == LIBSSH2_ERROR_EAGAIN)
			return;
		free(j->temp);
		j->temp = NULL;
	}
	if (c && c->state == SSH_READY && j->channel && libssh2_channel_close(j->channel) == LIBSSH2_ERROR_EAGAIN)
		return;
	j->state = JOB_DONE;
	/* Who asked to close hears no more; who is told of a failure hears that. */
	j->in_eof |= !j->failed;
}

static void open_any(struct ssh_job *j)
{
	if (j->kind == SSH_F_LISTEN)
		open_listener(j);
	else if (j->kind == SSH_F_ACCEPT)
		accept_channel(j);
	else if (is_file(j))
		open_file(j);
	else
		open_channel(j);
}

void ssh_job_step(struct ssh_job *j, nsec_t now)
{
	pump_in(j);
	if ((j->in_eof || j->want_close) && j->state != JOB_DONE)
		j->state = j->state < JOB_OPEN ? JOB_DONE : JOB_CLOSE;
	if (j->state == JOB_OPEN && j->conn->state == SSH_READY)
		open_any(j);
	if (j->state == JOB_START)
		is_file(j) ? start_file(j) : start_exec(j);
	if (j->state == JOB_RUN && j->kind != SSH_F_LISTEN) {
		if (is_file(j))
			j->kind == SSH_F_GET ? run_get(j) : run_put(j);
		else
			run_channel(j);
	}
	if (j->state == JOB_FINISH)
		is_file(j) ? finish_file(j) : finish_exec(j);
	if (j->state == JOB_CLOSE)
		abandon(j);
	pump_out(j);
}
