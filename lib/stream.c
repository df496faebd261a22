/*
 * lib/stream.c - streams: one end of a socket pair, whose other end the hub joins to a virtual connection.
 *
 * So a stream's descriptor is the stream, and poll(), read() and sendfile() work on it; the price is one copy through the kernel
 * and a wake-up in each direction. Those by way of the host's SSH server carry frames (session.c), so that their descriptor is
 * for poll() alone.
 *
 * A Unix stream's end cannot be told from its reset, so at an end, once for each stream, the hub is asked what it was.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/internal.h"
#include "operator/hub_wire.h"
#include "ssh/session.h"

#define DIAL_MAX (10 * NSEC_PER_SEC)
#define ASK_MAX (3 * NSEC_PER_SEC)

struct nefia_stream {
	struct lib_object o;
	uint64_t number;
	atomic_int end;              /* NOT_KNOWN, or what the hub said */
	struct lib_session *session; /* by way of SSH; NULL = the descriptor is the stream */
	char peer[128];
};

#define NOT_KNOWN 1

static const struct lib_object *object_of(const struct nefia_stream *s)
{
	return s->session ? lib_session_object(s->session) : &s->o;
}

int lib_stream_new(struct nefia *n, int fd, uint64_t number, const char *peer, struct nefia_stream **ret)
{
	struct nefia_stream *s = calloc(1, sizeof(*s));
	int r = s ? lib_object_add(n, &s->o, fd) : lib_fail(ERR_NOMEM, "out of memory");

	if (r != NEFIA_OK) {
		close(fd);
		free(s);
		return r;
	}
	s->number = number;
	atomic_init(&s->end, NOT_KNOWN);
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	*ret = s;
	return NEFIA_OK;
}

static int dial(struct nefia *n, const char *host, unsigned port, nsec_t deadline, struct nefia_stream **ret)
{
	json_t *reply = NULL;
	char peer[128];
	int fd = -1;
	int r = lib_ask(n, "dial", json_pack("{s:s, s:i}", "host", host, "port", (int)port), deadline, DIAL_MAX, &reply, &fd, NULL);

	if (r == NEFIA_OK && fd < 0)
		r = lib_fail(ERR_PROTOCOL, "the hub sent no descriptor");
	snprintf(peer, sizeof(peer), "%s:%u", host, port);
	if (r == NEFIA_OK)
		r = lib_stream_new(n, fd, (uint64_t)hub_json_int(reply, "stream", 0), peer, ret);
	json_decref(reply);
	return r;
}

int nefia_dial(struct nefia *n, const char *host, unsigned port, int timeout_ms, struct nefia_stream **ret)
{
	int r;

	if (!host || !ret || port < 1 || port > 65535)
		return lib_fail(ERR_INVALID, "a host and a port of 1 to 65535 are needed");
	if (timeout_ms == 0)
		return lib_fail(ERR_AGAIN, "a connection needs time");
	r = lib_enter(n);
	if (r != NEFIA_OK)
		return r;
	r = dial(n, host, port, lib_deadline(timeout_ms), ret);
	lib_leave(n);
	return r;
}

static int dial_ssh(struct nefia *n, const char *host, const struct lib_session_options *opt, nsec_t deadline,
		    struct nefia_stream **ret)
{
	struct nefia_stream *s = calloc(1, sizeof(*s));
	int r = s ? lib_session_open(n, host, opt, deadline, &s->session) : lib_fail(ERR_NOMEM, "out of memory");

	if (r == NEFIA_OK)
		r = lib_session_wait_ready(s->session, deadline);
	if (r != NEFIA_OK) {
		if (s)
			lib_session_free(s->session);
		free(s);
		return r;
	}
	snprintf(s->peer, sizeof(s->peer), opt->number ? "%s:%u" : "%s", opt->arg, (unsigned)opt->number);
	*ret = s;
	return NEFIA_OK;
}

int nefia_dial_ssh(struct nefia *n, const char *host, const char *target, unsigned port, int timeout_ms,
		   struct nefia_stream **ret)
{
	struct lib_session_options opt = { .kind = SSH_F_DIRECT, .arg = target, .number = port };
	int r;

	if (!host || !target || !ret || port > 65535 || (port == 0) != (target[0] == '/'))
		return lib_fail(ERR_INVALID, "a host, and a target with a port or the path of a socket are needed");
	if (timeout_ms == 0)
		return lib_fail(ERR_AGAIN, "a connection needs time");
	r = lib_enter(n);
	if (r != NEFIA_OK)
		return r;
	r = dial_ssh(n, host, &opt, lib_deadline(timeout_ms), ret);
	lib_leave(n);
	return r;
}

/* ---- what an end was ---- */

static int ask_end(struct nefia_stream *s)
{
	struct nefia *n = s->o.n;
	json_t *reply = NULL;
	const char *how;
	int r = lib_enter(n);

	if (r != NEFIA_OK)
		return r;
	r = lib_ask(n, "ended", json_pack("{s:I}", "stream", (json_int_t)s->number), os_now() + ASK_MAX, ASK_MAX, &reply, NULL,
		    NULL);
	lib_leave(n);
	if (r != NEFIA_OK) /* no hub, and none can be had: what carried it is gone */
		return lib_fail(ERR_RESET, "the hub ended");
	how = hub_json_string(reply, "how");
	if (how)
		r = lib_fail(hub_err_from_name(how), "the connection to %s broke off: %s", s->peer, err_text(hub_err_from_name(how)));
	json_decref(reply);
	return r;
}

int nefia_stream_error(struct nefia_stream *s)
{
	int end, r = lib_object_check(object_of(s));

	if (r != NEFIA_OK)
		return r;
	if (s->session)
		return lib_session_error(s->session);
	end = atomic_load(&s->end);
	if (end == NOT_KNOWN) {
		end = ask_end(s);
		/* In order so far: it may still break off in our direction. */
		if (end != NEFIA_OK)
			atomic_store(&s->end, end);
	} else {
		lib_fail_as(end, "the connection to %s broke off: %s", s->peer, nefia_strerror(end));
	}
	return end;
}

/* ---- bytes ---- */

static bool is_transient(int errnum)
{
	return errnum == EAGAIN || errnum == EINTR;
}

ssize_t nefia_read(struct nefia_stream *s, void *buf, size_t len, int timeout_ms)
{
	nsec_t deadline = lib_deadline(timeout_ms);

	if (s->session)
		return lib_session_read(s->session, NULL, buf, len, deadline);
	for (;;) {
		int r = lib_object_check(&s->o);
		ssize_t n;

		if (r != NEFIA_OK)
			return r;
		n = recv(s->o.fd, buf, len, MSG_DONTWAIT);
		if (n > 0 || (n == 0 && len == 0))
			return n;
		if (n == 0 || !is_transient(errno))
			return nefia_stream_error(s);
		r = lib_object_wait(&s->o, POLLIN, deadline);
		if (r != NEFIA_OK)
			return r;
	}
}

static ssize_t write_error(struct nefia_stream *s)
{
	int r = nefia_stream_error(s);

	return r != NEFIA_OK ? r : lib_fail(ERR_CLOSED, "%s takes no more", s->peer);
}

ssize_t nefia_write(struct nefia_stream *s, const void *buf, size_t len, int timeout_ms)
{
	nsec_t deadline = lib_deadline(timeout_ms);
	const char *p = buf;
	size_t done = 0;

	if (s->session)
		return lib_session_write(s->session, buf, len, deadline);
	while (done < len) {
		int r = lib_object_check(&s->o);
		ssize_t n;

		if (r != NEFIA_OK)
			return r;
		n = send(s->o.fd, p + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && !is_transient(errno))
			return write_error(s);
		r = lib_object_wait(&s->o, POLLOUT, deadline);
		if (r == NEFIA_ERR_AGAIN || r == NEFIA_ERR_TIMEOUT)
			return done > 0 ? (ssize_t)done : r;
		if (r != NEFIA_OK)
			return r;
	}
	return (ssize_t)done;
}

int nefia_shutdown(struct nefia_stream *s)
{
	int r = lib_object_check(object_of(s));

	if (r != NEFIA_OK)
		return r;
	if (s->session)
		return lib_session_end_input(s->session);
	shutdown(s->o.fd, SHUT_WR);
	return NEFIA_OK;
}

/* ---- the rest ---- */

int nefia_stream_fd(const struct nefia_stream *s)
{
	return s->session ? lib_session_poll_fd(s->session) : s->o.fd;
}

const char *nefia_stream_peer(const struct nefia_stream *s)
{
	return s->peer;
}

void nefia_cancel(struct nefia_stream *s)
{
	lib_object_cancel(s->session ? lib_session_object(s->session) : &s->o);
}

void nefia_stream_close(struct nefia_stream *s)
{
	if (!s)
		return;
	if (s->session) {
		lib_session_free(s->session);
	} else {
		lib_object_del(&s->o);
		close(s->o.fd);
	}
	free(s);
}
