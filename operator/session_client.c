/*
 * operator/session_client.c - one session, pumped by poll().
 *
 * Input is read only while little of it waits to be sent. A session that ends without its last frame lost its worker or hub.
 */
#include "operator/session_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/text.h"
#include "operator/askpass.h"

#define QUEUE_MAX (1u << 20) /* not sent yet; more is not read */
#define LOGIN_MAX (20 * NSEC_PER_SEC)

void session_init(struct session *s, int fd)
{
	*s = (struct session){ .fd = fd, .size = UINT64_MAX, .mode = 0644, .exit_status = -1 };
}

void session_fini(struct session *s)
{
	if (s->fd >= 0)
		close(s->fd);
	ssh_buf_fini(&s->in);
	ssh_buf_fini(&s->out);
	s->fd = -1;
}

enum err session_start(struct session *s, enum ssh_frame kind, const char *arg, uint32_t number)
{
	struct ssh_buf b = { 0 };
	enum err e = ssh_put_u32(&b, SSH_SESSION_VERSION);

	if (e == OK)
		e = ssh_put_string(&b, arg, strlen(arg));
	if (e == OK)
		e = ssh_put_u32(&b, number);
	s->is_file = kind == SSH_F_GET || kind == SSH_F_PUT;
	if (e == OK)
		e = session_send(s, kind, b.p, ssh_buf_used(&b));
	ssh_buf_fini(&b);
	return e;
}

enum err session_send(struct session *s, enum ssh_frame type, const void *p, size_t len)
{
	return ssh_frame_add(&s->out, type, (struct bytes){ p, len }, (struct bytes){ NULL, 0 });
}

static void end(struct session *s, enum err e, const char *message)
{
	if (s->over)
		return;
	s->over = true;
	s->error = e;
	snprintf(s->message, sizeof(s->message), "%s", message);
}

static void take_error(struct session *s, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	enum err e = ssh_read_err(&r);
	char text[SSH_ERROR_TEXT_MAX];

	ssh_read_text(&r, text, sizeof(text));
	text_clean(text); /* the worker did so too, unless a server has taken it over */
	end(s, e == OK || r.bad ? ERR_PROTOCOL : e, r.bad ? "the SSH worker sent a malformed error" : text);
}

/* A key is locked: its passphrase, when a person is there to tell it. */
static void answer(struct session *s, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	struct ssh_buf b = { 0 };
	const char *text = NULL;
	char path[SSH_IDENT_PATH_MAX + 1];
	uint32_t n_wrong;

	ssh_read_text(&r, path, sizeof(path));
	n_wrong = ssh_read_u32(&r);
	if (!r.bad && s->on_ask)
		text = s->on_ask(path, n_wrong);
	if (r.bad || ssh_put_u32(&b, text != NULL) != OK || ssh_put_string(&b, text ? text : "", text ? strlen(text) : 0) != OK ||
	    session_send(s, SSH_F_ANSWER, b.p, ssh_buf_used(&b)) != OK)
		end(s, ERR_PROTOCOL, "the SSH worker asked something malformed");
	ssh_buf_fini(&b);
}

static void take_frame(struct session *s, uint8_t type, struct bytes body, session_data_fn fn, void *ctx)
{
	struct ssh_reader r = { body.p, body.len, false };

	switch (type) {
	case SSH_F_READY:
		s->ready = true;
		if (body.len >= 12) {
			s->size = get_le64(body.p);
			s->mode = get_le32(body.p + 8);
		}
		break;
	case SSH_F_STDOUT:
	case SSH_F_STDERR:
		if (!fn(ctx, (enum ssh_frame)type, body))
			end(s, ERR_CLOSED, "the output could not be written");
		break;
	case SSH_F_STDOUT_EOF:
		s->stdout_eof = true;
		if (!fn(ctx, SSH_F_STDOUT_EOF, (struct bytes){ NULL, 0 }))
			end(s, ERR_CLOSED, "the output could not be written");
		break;
	case SSH_F_EXIT:
		s->exit_status = (int)ssh_read_u32(&r);
		s->over = true;
		break;
	case SSH_F_EXIT_SIGNAL:
		ssh_read_text(&r, s->exit_signal, sizeof(s->exit_signal));
		text_clean(s->exit_signal);
		s->over = true;
		break;
	case SSH_F_ERROR:
		take_error(s, body);
		break;
	case SSH_F_ASK:
		answer(s, body);
		break;
	case SSH_F_NOTE:
		if (s->on_note)
			s->on_note(s->note_ctx, body);
		break;
	default: /* of file operations, or a newer worker's */
		if (s->on_frame)
			s->on_frame(ctx, type, body);
		break;
	}
}

static void receive(struct session *s, session_data_fn fn, void *ctx)
{
	uint8_t type, *to = ssh_buf_room(&s->in, 256 * 1024);
	struct bytes body;
	size_t total;
	ssize_t n = to ? recv(s->fd, to, 256 * 1024, MSG_DONTWAIT) : 0;
	enum err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		s->in.len += (size_t)n;
	while (!s->over && (e = ssh_frame_next(&s->in, &type, &body, &total)) != ERR_AGAIN) {
		if (e != OK) {
			end(s, ERR_PROTOCOL, "the SSH worker sent a malformed frame");
			return;
		}
		take_frame(s, type, body, fn, ctx);
		ssh_buf_drop(&s->in, total);
	}
	if (n <= 0)
		end(s, ERR_CLOSED, "the SSH worker ended while it had this; what was begun may have been done");
}

void session_flush(struct session *s)
{
	while (s->fd >= 0 && ssh_buf_used(&s->out) > 0) {
		ssize_t n = send(s->fd, s->out.p + s->out.off, ssh_buf_used(&s->out), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0)
			break; /* receive() reads the last words and finds the end */
		ssh_buf_drop(&s->out, (size_t)n);
	}
}

void session_pump(struct session *s, session_data_fn fn, void *ctx)
{
	if (!s->over)
		session_flush(s);
	if (!s->over)
		receive(s, fn, ctx);
}

short session_poll_events(const struct session *s)
{
	return (short)(POLLIN | (ssh_buf_used(&s->out) ? POLLOUT : 0));
}

bool session_has_room(const struct session *s)
{
	return s->ready && !s->over && ssh_buf_used(&s->out) < QUEUE_MAX;
}

bool session_feed(struct session *s, int fd, size_t *ret_n)
{
	static uint8_t buf[128 * 1024];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (ret_n)
		*ret_n = n > 0 ? (size_t)n : 0;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n < 0 && errno != EIO) { /* a terminal that hung up is at its end */
		s->input_failed = true;
		end(s, ERR_IO, strerror(errno));
		return false;
	}
	if (session_send(s, n > 0 ? SSH_F_STDIN : SSH_F_STDIN_EOF, buf, n > 0 ? (size_t)n : 0) != OK)
		end(s, ERR_NOMEM, err_text(ERR_NOMEM));
	return n > 0;
}

void session_run(struct session *s, int in_fd, session_data_fn fn, void (*fed)(void *ctx, size_t n), void *ctx)
{
	while (!s->over) {
		bool feed = in_fd >= 0 && session_has_room(s);
		struct pollfd pf[2] = { { s->fd, session_poll_events(s), 0 }, { feed ? in_fd : -1, POLLIN, 0 } };

		if (poll(pf, 2, -1) < 0 && errno != EINTR)
			end(s, ERR_IO, strerror(errno));
		if (pf[1].revents) {
			size_t n;

			if (!session_feed(s, in_fd, &n))
				in_fd = -1;
			if (fed)
				fed(ctx, n);
		}
		session_pump(s, fn, ctx);
	}
}

unsigned session_ecode_of(enum err e, bool is_file)
{
	switch (e) {
	case ERR_TIMEOUT:
	case ERR_NO_ROUTE:
	case ERR_UNREACHABLE:
		return 1031;
	case ERR_REFUSED:
		return 1032;
	case ERR_VERSION:
		return 1014;
	case ERR_HOST_KEY:
		return 1033;
	case ERR_AUTH:
		return 1034;
	case ERR_RESET:
		return 1036;
	case ERR_CLOSED:
		return 1037;
	case ERR_PAUSED:
		return 1038;
	case ERR_TARGET:
		return 1018;
	case ERR_ALGORITHM:
		return 1039;
	case ERR_FORBIDDEN:
		return 1040;
	case ERR_NOT_FOUND:
	case ERR_PERMISSION:
	case ERR_IO:
	case ERR_NO_SPACE:
	case ERR_INVALID:
		return is_file ? 1042 : 1041; /* the host key's file here */
	case ERR_LIST_LIMIT:
		return 1045;
	case ERR_TOO_LONG:
	case ERR_EXISTS:
	case ERR_UNSUPPORTED:
		return is_file ? 1042 : 1036;
	default:
		return 1036;
	}
}

unsigned session_ecode(const struct session *s)
{
	return session_ecode_of(s->error, s->is_file);
}

static bool on_nothing(void *ctx, enum ssh_frame type, struct bytes data)
{
	return true;
}

enum err session_login(struct hub_client *hc, const char *host, char ret_why[SSH_ERROR_TEXT_MAX], unsigned *ret_ecode)
{
	struct session s;
	int fd = -1;
	enum err e;

	if (!askpass_possible())
		return OK;
	e = hub_client_session(hc, host, LOGIN_MAX, &fd);
	if (e != OK) {
		snprintf(ret_why, SSH_ERROR_TEXT_MAX, "%s", hub_client_message(hc));
		*ret_ecode = hub_client_ecode(hc);
		return e;
	}
	session_init(&s, fd);
	s.on_ask = askpass_key;
	s.over = session_start(&s, SSH_F_LOGIN, "", 0) != OK;
	session_run(&s, -1, on_nothing, NULL, NULL);
	e = s.exit_status == 0 ? OK : s.error == OK ? ERR_INTERNAL : s.error;
	snprintf(ret_why, SSH_ERROR_TEXT_MAX, "%s", s.message);
	*ret_ecode = session_ecode(&s);
	session_fini(&s);
	return e;
}
