/*
 * operator/hub_client.c - a command's side of the control socket: one connection, one request at a time.
 *
 * Calls block. The socket is non-blocking underneath and every wait has the call's deadline, so that a hub that was
 * stopped (SIGSTOP) or hangs is an error after that time and not a command that never ends. A library's calls end too when
 * their wake descriptor says so.
 */
#include "operator/hub_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/version.h"
#include "operator/hub_core.h"
#include "operator/hub_wire.h"
#include "os/loop.h"
#include "os/stream.h"

#define HELLO_MAX (3 * NSEC_PER_SEC)

struct hub_client {
	int fd;      /* -1 = not connected */
	int wake_fd; /* readable: every wait ends; -1 = none */
	int pid;     /* the hub's */
	bool is_transient;
	unsigned ecode;
	char message[512];
};

enum err hub_client_fail(struct hub_client *hc, enum err e, unsigned ecode, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(hc->message, sizeof(hc->message), fmt, ap);
	va_end(ap);
	hc->ecode = ecode;
	return e;
}

/* ---- blocking input and output with a deadline ---- */

struct wait {
	int fd, wake_fd;
	nsec_t deadline;
};

static enum err wait_for(const struct wait *w, short events)
{
	struct pollfd p[2] = { { w->fd, events, 0 }, { w->wake_fd, POLLIN, 0 } };

	for (;;) {
		nsec_t now = os_now();
		int r;

		if (now >= w->deadline)
			return ERR_TIMEOUT;
		r = poll(p, 2, (int)MIN((w->deadline - now) / NSEC_PER_MSEC + 1, 60000));
		if (r > 0)
			return p[1].revents ? ERR_CANCELLED : OK;
		if (r < 0 && errno != EINTR)
			return err_from_errno(errno);
	}
}

static enum err send_all(const struct wait *w, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(w->fd, p, len, MSG_NOSIGNAL);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			enum err e = wait_for(w, POLLOUT);

			if (e != OK)
				return e;
		} else if (errno != EINTR) {
			return errno == EPIPE ? ERR_CLOSED : err_from_errno(errno);
		}
	}
	return OK;
}

/* Fills @buf; a descriptor on the way lands in *ret_fd, further ones are closed. */
static enum err read_all(const struct wait *w, char *buf, size_t len, int *ret_fd)
{
	while (len > 0) {
		int fds[OS_FDS_MAX];
		size_t n = 0, n_fds = 0;
		enum err e = os_recv_fds(w->fd, buf, len, &n, fds, &n_fds);

		for (size_t i = 0; e == OK && i < n_fds; i++) {
			if (*ret_fd < 0)
				*ret_fd = fds[i];
			else
				close(fds[i]);
		}
		if (e == ERR_AGAIN)
			e = wait_for(w, POLLIN);
		else if (e == OK && n == 0)
			e = ERR_CLOSED;
		if (e != OK)
			return e;
		buf += n;
		len -= n;
	}
	return OK;
}

static enum err read_reply(const struct wait *w, json_t **ret, int *ret_fd)
{
	char hdr[HUB_WIRE_HDR];
	char *buf = NULL;
	size_t body, used;
	enum err e = read_all(w, hdr, sizeof(hdr), ret_fd);

	if (e != OK)
		return e;
	body = (uint8_t)hdr[0] | (size_t)(uint8_t)hdr[1] << 8 | (size_t)(uint8_t)hdr[2] << 16 |
	       (size_t)(uint8_t)hdr[3] << 24;
	if (body == 0 || body > HUB_MSG_MAX)
		return ERR_PROTOCOL;
	buf = malloc(sizeof(hdr) + body);
	if (!buf)
		return ERR_NOMEM;
	memcpy(buf, hdr, sizeof(hdr));
	e = read_all(w, buf + sizeof(hdr), body, ret_fd);
	if (e == OK)
		e = hub_wire_decode(buf, sizeof(hdr) + body, ret, &used);
	free(buf);
	return e;
}

static enum err send_request(const struct wait *w, const json_t *req)
{
	char *buf;
	size_t len;
	enum err e = hub_wire_encode(req, &buf, &len);

	if (e != OK)
		return e;
	e = send_all(w, buf, len);
	free(buf);
	/* A hub that turns us away has said why, and does not hear us. */
	return e == ERR_CLOSED ? OK : e;
}

/* ---- calls ---- */

enum err hub_client_take_error(struct hub_client *hc, const json_t *reply)
{
	const char *text = hub_json_string(reply, "message");

	enum err e = hub_err_from_name(hub_json_string(reply, "error"));
	unsigned ecode = (unsigned)hub_json_int(reply, "ecode", 0);

	/* An operation that it does not know is one of another version's. */
	if (ecode == 0 && (e == ERR_VERSION || e == ERR_UNSUPPORTED))
		ecode = HUB_ECODE_VERSION;
	return hub_client_fail(hc, e, ecode, "%s", text ? text : "the hub gave no reason");
}

/* The reply may still come, and would be taken for the next request's. */
static enum err lost(struct hub_client *hc, enum err e)
{
	if (hc->fd >= 0)
		close(hc->fd);
	hc->fd = -1;
	if (e == ERR_CLOSED)
		return hub_client_fail(hc, e, 0, "the hub ended");
	return hub_client_fail(hc, e, 0, "the hub (pid %d) does not answer: %s", hc->pid, err_text(e));
}

enum err hub_client_send(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout)
{
	struct wait w = { hc->fd, hc->wake_fd, os_now() + timeout };
	json_t *req = args ? args : json_object();
	enum err e;

	json_object_set_new(req, "v", json_integer(HUB_WIRE_VERSION));
	json_object_set_new(req, "op", json_string(op));
	if (!json_object_get(req, "timeout_ms"))
		json_object_set_new(req, "timeout_ms", json_integer((json_int_t)(timeout / NSEC_PER_MSEC)));
	e = hc->fd < 0 ? ERR_CLOSED : send_request(&w, req);
	json_decref(req);
	return e == OK ? OK : lost(hc, e);
}

enum err hub_client_receive(struct hub_client *hc, nsec_t timeout, json_t **ret_reply, int *ret_fd)
{
	struct wait w = { hc->fd, hc->wake_fd, os_now() + timeout };
	json_t *reply = NULL;
	int fd = -1;
	enum err e = hc->fd < 0 ? ERR_CLOSED : read_reply(&w, &reply, &fd);

	if (e != OK)
		lost(hc, e);
	else if (!json_is_true(json_object_get(reply, "ok")))
		e = hub_client_take_error(hc, reply);
	if (fd >= 0 && (e != OK || !ret_fd)) {
		close(fd);
		fd = -1;
	}
	if (ret_fd)
		*ret_fd = fd;
	if (e == OK)
		*ret_reply = reply;
	else
		json_decref(reply);
	return e;
}

enum err hub_client_call(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout, json_t **ret_reply,
			 int *ret_fd)
{
	enum err e = hub_client_send(hc, op, args, timeout);

	if (ret_fd)
		*ret_fd = -1;
	/* The hub's own deadline comes a little before ours, so that its reason reaches the person. */
	return e == OK ? hub_client_receive(hc, timeout + NSEC_PER_SEC, ret_reply, ret_fd) : e;
}

static enum err call_for_fd(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout, int *ret_fd)
{
	json_t *reply;
	int fd;
	enum err e = hub_client_call(hc, op, args, timeout, &reply, &fd);

	if (e != OK)
		return e;
	json_decref(reply);
	if (fd < 0)
		return hub_client_fail(hc, ERR_PROTOCOL, 0, "the hub sent no descriptor");
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	*ret_fd = fd;
	return OK;
}

enum err hub_client_session(struct hub_client *hc, const char *host, nsec_t timeout, int *ret_fd)
{
	json_t *args = json_pack("{s:s}", "host", host);
	const char *agent = getenv("SSH_AUTH_SOCK");

	if (agent && *agent)
		json_object_set_new(args, "agent", json_string(agent));
	return call_for_fd(hc, "session", args, timeout, ret_fd);
}

enum err hub_client_dial(struct hub_client *hc, const char *host, unsigned port, nsec_t timeout, int *ret_fd)
{
	return call_for_fd(hc, "dial", json_pack("{s:s, s:i}", "host", host, "port", (int)port), timeout, ret_fd);
}

void hub_client_wait_end(struct hub_client *hc)
{
	struct pollfd p = { .fd = hc->fd, .events = POLLIN };

	poll(&p, 1, -1);
}

int hub_client_fd(const struct hub_client *hc)
{
	return hc->fd;
}

bool hub_client_is_connected(const struct hub_client *hc)
{
	return hc->fd >= 0;
}

int hub_client_pid(const struct hub_client *hc)
{
	return hc->pid;
}

const char *hub_client_message(const struct hub_client *hc)
{
	return hc->message;
}

unsigned hub_client_ecode(const struct hub_client *hc)
{
	return hc->ecode;
}

/* ---- connecting ---- */

static enum err connect_socket(const char *path, int *ret_fd, int *ret_pid)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	unsigned uid;
	int fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return ERR_TOO_LONG;
	strcpy(sa.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_from_errno(errno);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
		enum err e = errno == ENOENT || errno == ECONNREFUSED ? ERR_NOT_FOUND : err_from_errno(errno);

		close(fd);
		return e;
	}
	/* What we send there may be meant for our own hub only. */
	if (!os_peer_uid(fd, &uid, ret_pid) || uid != getuid()) {
		close(fd);
		return ERR_PERMISSION;
	}
	*ret_fd = fd;
	return OK;
}

struct hub_client *hub_client_new(int wake_fd)
{
	struct hub_client *hc = calloc(1, sizeof(*hc));

	if (hc)
		*hc = (struct hub_client){ .fd = -1, .wake_fd = wake_fd };
	return hc;
}

enum err hub_client_connect(struct hub_client *hc, const char *socket_path, const char *config)
{
	json_t *reply = NULL;
	enum err e = connect_socket(socket_path, &hc->fd, &hc->pid);

	if (e == ERR_TOO_LONG)
		return hub_client_fail(hc, e, 0, HUB_SOCKET_TOO_LONG);
	if (e == ERR_NOT_FOUND)
		return hub_client_fail(hc, e, 0, "No hub is running");
	if (e != OK)
		return hub_client_fail(hc, e, 0, "no hub answers at %s: %s", socket_path, err_text(e));
	e = hub_client_call(hc, "hello", json_pack("{s:s, s:s}", "version", NEFIA_VERSION, "config", config), HELLO_MAX,
			    &reply, NULL);
	if (e == OK) {
		hc->is_transient = json_is_true(json_object_get(reply, "transient"));
	} else if (hc->fd >= 0) {
		close(hc->fd);
		hc->fd = -1;
	}
	json_decref(reply);
	/* It ended while we came in: as if nobody had been there. */
	return e == ERR_CLOSED || e == ERR_RESET ? ERR_NOT_FOUND : e;
}

void hub_client_close(struct hub_client *hc)
{
	if (!hc)
		return;
	if (hc->fd >= 0)
		close(hc->fd);
	free(hc);
}
