/*
 * ssh/job_frame.c - a session's frames: what its command sends, and what it is told.
 *
 * The first frame says what is wanted and makes the job (EXEC, FS, DIRECT, ...). It is looked at while it stays in the socket,
 * whole for another worker (handover.h), and is taken out when all is ready for it, or when something has to be said. The others
 * steer the job while it runs. One that is not known then is a newer command's and is passed over. Nothing is read while the queue
 * towards the host is long, so the command waits where the server does. An answer to a passphrase's question is wiped where it stood.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/endian.h"
#include "ssh/job_internal.h"
#include "ssh/shell.h"

#define QUEUE_MAX (1024 * 1024)       /* each way */
#define QUEUE_DIRECT_MAX (256 * 1024) /* of a direct connection, of which there may be a thousand */
#define READ_SIZE (128 * 1024)

size_t ssh_job_queue_max(const struct ssh_job *j)
{
	return j->kind == SSH_F_DIRECT ? QUEUE_DIRECT_MAX : QUEUE_MAX;
}

/* ---- towards the command ---- */

void ssh_job_say(struct ssh_job *j, enum ssh_frame type, struct bytes a, struct bytes b)
{
	if (ssh_frame_add(&j->out, type, a, b) != OK)
		j->in_eof = true; /* no memory: as if the command had gone */
}

void ssh_job_say_u32(struct ssh_job *j, enum ssh_frame type, uint32_t v)
{
	uint8_t p[4];

	put_le32(p, v);
	ssh_job_say(j, type, (struct bytes){ p, 4 }, job_nothing);
}

void ssh_job_ask(struct ssh_job *j, struct ssh_ident *id)
{
	struct ssh_buf b = { 0 };

	j->asked_for = id;
	j->answered = false;
	if (ssh_put_string(&b, id->path, strlen(id->path)) == OK && ssh_put_u32(&b, id->n_wrong) == OK)
		ssh_job_say(j, SSH_F_ASK, (struct bytes){ b.p, ssh_buf_used(&b) }, job_nothing);
	ssh_buf_fini(&b);
}

void ssh_job_pump(struct ssh_job *j)
{
	if (ssh_buf_used(&j->out) == 0 || j->in_eof || !ssh_job_take(j))
		return;
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
		ssh_job_fail(j, ERR_PROTOCOL, "malformed request");
		return;
	}
	if (version != SSH_SESSION_VERSION) {
		ssh_job_fail(j, ERR_VERSION, "the hub's SSH worker has another version: restart the hub");
		return;
	}
	j->arg = arg.len ? strndup((const char *)arg.p, arg.len) : strdup("");
	if (j->kind == SSH_F_SHELL && ssh_buf_add(&j->request, r.p, r.len) != OK) {
		ssh_job_fail(j, ERR_NOMEM, "out of memory");
		return;
	}
	if (!j->arg)
		j->state = JOB_DONE;
	else if (j->state == JOB_NEW)
		j->state = JOB_WAIT_CONN;
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
			ssh_job_fail(j, ERR_NOMEM, "out of memory");
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
			ssh_job_fail(j, ERR_PROTOCOL, "malformed request");
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
	if (j->arg)
		take_running(j, now, type, body);
	else if (is_first(type))
		take_first(j, type, body);
	else
		ssh_job_fail(j, ERR_PROTOCOL, "unknown request");
}

/* Operations on files may be sent before SFTP is there: they wait in @in. */
static bool holds_frames(const struct ssh_job *j)
{
	return j->kind == SSH_F_FS && j->arg && j->state < JOB_RUN;
}

bool ssh_job_wants_read(const struct ssh_job *j)
{
	if (!j->taken)
		return !j->in_eof && j->state == JOB_NEW;
	return !j->in_eof && j->state < JOB_CLOSE && ssh_buf_used(&j->data) < ssh_job_queue_max(j) &&
	       (!holds_frames(j) || ssh_buf_used(&j->in) < ssh_job_queue_max(j));
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
		ssh_job_fail(j, ERR_PROTOCOL, "malformed frame");
}

/* A first frame that is there in one piece, and of our version. What waits for a listener that this worker has is of no use to others. */
static bool can_wait(struct bytes in, enum ssh_frame *ret_kind)
{
	struct ssh_buf b = { .p = (uint8_t *)in.p, .len = in.len };
	struct bytes body;
	size_t total;
	uint8_t type;

	if (ssh_frame_next(&b, &type, &body, &total) != OK || !is_first(type) || type == SSH_F_ACCEPT)
		return false;
	*ret_kind = (enum ssh_frame)type;
	return ssh_read_u32(&(struct ssh_reader){ body.p, body.len, false }) == SSH_SESSION_VERSION;
}

/* What is wanted, when it can be told; anything else is taken at once and is answered as it deserves. */
static void look(struct ssh_job *j)
{
	static uint8_t in[READ_SIZE];
	ssize_t n = recv(j->fd, in, sizeof(in), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		j->in_eof = true;
	else if (can_wait((struct bytes){ in, (size_t)n }, &j->kind))
		j->state = JOB_WAIT_CONN;
	else
		(void)!ssh_job_take(j);
	explicit_bzero(in, n > 0 ? (size_t)n : 0);
}

void ssh_job_read(struct ssh_job *j, nsec_t now)
{
	if (!j->taken && j->state == JOB_NEW)
		look(j);
	if (!j->taken)
		return;
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
