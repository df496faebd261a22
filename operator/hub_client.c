/*
 * operator/hub_client.c - a command's side of the control socket.
 *
 * Attaching is a loop with a deadline: connect and say hello; when nobody is there, start a hub in the background
 * and hear from it, over a pipe, that it is ready or why it is not. "Another one was faster" and "it ended just as
 * we came" both lead back to connecting, so any number of first commands end up at one hub.
 *
 * Calls block. The socket is non-blocking underneath and every wait has the call's deadline, so that a hub that was
 * stopped (SIGSTOP) or hangs is an error after that time and not a command that never ends.
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
#include <time.h>
#include <unistd.h>

#include "base/version.h"
#include "operator/hub.h"
#include "operator/hub_attach.h"
#include "operator/hub_wire.h"
#include "os/loop.h"
#include "os/proc.h"
#include "os/stream.h"

#define ATTACH_MAX (10 * NSEC_PER_SEC)
#define HELLO_MAX (3 * NSEC_PER_SEC)

struct hub_client {
	int fd; /* -1 = not connected */
	bool is_transient;
	unsigned ecode;
	char message[512];
};

static enum err fail(struct hub_client *hc, enum err e, unsigned ecode, const char *fmt, ...) PRINTF_LIKE(4, 5);
static enum err fail(struct hub_client *hc, enum err e, unsigned ecode, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(hc->message, sizeof(hc->message), fmt, ap);
	va_end(ap);
	hc->ecode = ecode;
	return e;
}

/* ---- blocking input and output with a deadline ---- */

static enum err wait_for(int fd, short events, nsec_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		nsec_t now = os_now();
		int r;

		if (now >= deadline)
			return ERR_TIMEOUT;
		r = poll(&p, 1, (int)MIN((deadline - now) / NSEC_PER_MSEC + 1, 60000));
		if (r > 0)
			return OK;
		if (r < 0 && errno != EINTR)
			return err_from_errno(errno);
	}
}

static enum err send_all(int fd, const char *p, size_t len, nsec_t deadline)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			enum err e = wait_for(fd, POLLOUT, deadline);

			if (e != OK)
				return e;
		} else if (errno != EINTR) {
			return errno == EPIPE ? ERR_CLOSED : err_from_errno(errno);
		}
	}
	return OK;
}

/* Fills @buf; a descriptor on the way lands in *ret_fd, further ones are closed. */
static enum err read_all(int fd, char *buf, size_t len, nsec_t deadline, int *ret_fd)
{
	while (len > 0) {
		int fds[OS_FDS_MAX];
		size_t n = 0, n_fds = 0;
		enum err e = os_recv_fds(fd, buf, len, &n, fds, &n_fds);

		for (size_t i = 0; e == OK && i < n_fds; i++) {
			if (*ret_fd < 0)
				*ret_fd = fds[i];
			else
				close(fds[i]);
		}
		if (e == ERR_AGAIN)
			e = wait_for(fd, POLLIN, deadline);
		else if (e == OK && n == 0)
			e = ERR_CLOSED;
		if (e != OK)
			return e;
		buf += n;
		len -= n;
	}
	return OK;
}

static enum err read_reply(int fd, nsec_t deadline, json_t **ret, int *ret_fd)
{
	char hdr[HUB_WIRE_HDR];
	char *buf = NULL;
	size_t body, used;
	enum err e = read_all(fd, hdr, sizeof(hdr), deadline, ret_fd);

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
	e = read_all(fd, buf + sizeof(hdr), body, deadline, ret_fd);
	if (e == OK)
		e = hub_wire_decode(buf, sizeof(hdr) + body, ret, &used);
	free(buf);
	return e;
}

static enum err exchange(int fd, const json_t *req, nsec_t deadline, json_t **ret, int *ret_fd)
{
	char *buf;
	size_t len;
	enum err e = hub_wire_encode(req, &buf, &len);

	if (e != OK)
		return e;
	e = send_all(fd, buf, len, deadline);
	free(buf);
	/* A hub that turns us away has said why, and does not hear us. */
	if (e == OK || e == ERR_CLOSED)
		e = read_reply(fd, deadline, ret, ret_fd);
	return e;
}

/* ---- calls ---- */

static enum err take_error(struct hub_client *hc, const json_t *reply)
{
	const char *text = hub_json_string(reply, "message");

	enum err e = hub_err_from_name(hub_json_string(reply, "error"));
	unsigned ecode = (unsigned)hub_json_int(reply, "ecode", 0);

	/* An operation that it does not know is one of another version's. */
	if (ecode == 0 && (e == ERR_VERSION || e == ERR_UNSUPPORTED))
		ecode = HUB_ECODE_VERSION;
	return fail(hc, e, ecode, "%s", text ? text : "the hub gave no reason");
}

enum err hub_client_call(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout, json_t **ret_reply,
			 int *ret_fd)
{
	json_t *req = args ? args : json_object(), *reply = NULL;
	int fd = -1;
	enum err e;

	json_object_set_new(req, "v", json_integer(HUB_WIRE_VERSION));
	json_object_set_new(req, "op", json_string(op));
	/* The hub's own deadline comes a little before ours, so that its reason reaches the person. */
	if (!json_object_get(req, "timeout_ms"))
		json_object_set_new(req, "timeout_ms", json_integer((json_int_t)(timeout / NSEC_PER_MSEC)));
	e = hc->fd < 0 ? ERR_CLOSED : exchange(hc->fd, req, os_now() + timeout + NSEC_PER_SEC, &reply, &fd);
	json_decref(req);
	if (e != OK) {
		/* The reply may still come, and would be taken for the next request's. */
		if (hc->fd >= 0)
			close(hc->fd);
		hc->fd = -1;
		fail(hc, e, 0, e == ERR_CLOSED ? "the hub ended" : "the hub does not answer: %s", err_text(e));
		goto out;
	}
	if (!json_is_true(json_object_get(reply, "ok")))
		e = take_error(hc, reply);
out:
	if (e != OK || !ret_fd) {
		if (fd >= 0)
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

static enum err call_for_fd(struct hub_client *hc, const char *op, json_t *args, nsec_t timeout, int *ret_fd)
{
	json_t *reply;
	int fd;
	enum err e = hub_client_call(hc, op, args, timeout, &reply, &fd);

	if (e != OK)
		return e;
	json_decref(reply);
	if (fd < 0)
		return fail(hc, ERR_PROTOCOL, 0, "the hub sent no descriptor");
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

bool hub_client_is_connected(const struct hub_client *hc)
{
	return hc->fd >= 0;
}

const char *hub_client_message(const struct hub_client *hc)
{
	return hc->message;
}

unsigned hub_client_ecode(const struct hub_client *hc)
{
	return hc->ecode;
}

/* ---- attaching ---- */

static enum err connect_socket(const char *path, int *ret_fd)
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
	if (!os_peer_uid(fd, &uid, NULL) || uid != getuid()) {
		close(fd);
		return ERR_PERMISSION;
	}
	*ret_fd = fd;
	return OK;
}

static enum err try_attach(struct hub_client *hc, const char *socket_path, const char *config)
{
	json_t *reply = NULL;
	enum err e = connect_socket(socket_path, &hc->fd);

	if (e == ERR_TOO_LONG)
		return fail(hc, e, 0, "the path of the control socket is too long: choose a shorter NEFIA_HOME");
	if (e == ERR_NOT_FOUND)
		return fail(hc, e, 0, "no hub is running");
	if (e != OK)
		return fail(hc, e, 0, "no hub answers at %s: %s", socket_path, err_text(e));
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

/* What the hub that we started says of itself; ERR_EXISTS: another one was faster. */
static enum err read_report(struct hub_client *hc, int fd, nsec_t deadline)
{
	char buf[2048];
	size_t len = 0;
	json_error_t why;
	json_t *report;
	ssize_t n = 1;
	enum err e;

	while (n > 0 && len < sizeof(buf)) {
		e = wait_for(fd, POLLIN, deadline);
		if (e != OK)
			return fail(hc, e, HUB_ECODE_START, "the hub did not start in time");
		n = read(fd, buf + len, sizeof(buf) - len);
		len += n > 0 ? (size_t)n : 0;
	}
	report = json_loadb(buf, len, 0, &why);
	if (!report)
		return fail(hc, ERR_INTERNAL, HUB_ECODE_START, "the hub ended while starting; its log says why");
	e = json_is_true(json_object_get(report, "ok")) ? OK : take_error(hc, report);
	if (e != OK && hc->ecode == HUB_ECODE_RUNNING)
		e = ERR_EXISTS;
	json_decref(report);
	return e;
}

static enum err start_hub(struct hub_client *hc, const char *home, const char *config, nsec_t deadline)
{
	const char *argv[] = { os_self_path(), "hub", "--transient", "--report-fd", "3", "--config", config, NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, -1, -1, -1 }, .n_fds = 4, .new_session = true };
	int report[2];
	enum err e;

	if (setenv("NEFIA_HOME", home, 1) != 0 || pipe2(report, O_CLOEXEC) != 0)
		return fail(hc, err_from_errno(errno), HUB_ECODE_START, "cannot start a hub");
	sp.fds[3] = report[1];
	e = os_spawn_detached(&sp);
	close(report[1]);
	if (e == OK)
		e = read_report(hc, report[0], deadline);
	else
		fail(hc, e, HUB_ECODE_START, "cannot start %s: %s", argv[0], err_text(e));
	close(report[0]);
	return e;
}

enum err hub_attach(const char *home, const char *config, bool may_start, struct hub_client **ret)
{
	struct hub_client *hc = calloc(1, sizeof(*hc));
	nsec_t deadline = os_now() + ATTACH_MAX;
	struct timespec pause = { 0, 20 * (long)NSEC_PER_MSEC };
	struct hub_paths paths;
	enum err e;

	if (!hc)
		return ERR_NOMEM;
	*ret = hc;
	hc->fd = -1;
	e = hub_paths_init(home, &paths);
	if (e != OK)
		return fail(hc, e, HUB_ECODE_START,
			    "the path of the control socket is too long: choose a shorter NEFIA_HOME");
	for (;;) {
		e = try_attach(hc, paths.socket, config);
		if (e != ERR_NOT_FOUND || !may_start)
			return e;
		if (os_now() >= deadline)
			return fail(hc, ERR_TIMEOUT, HUB_ECODE_START, "a hub holds the lock but does not answer at %s",
				    paths.socket);
		e = start_hub(hc, home, config, deadline);
		if (e == ERR_EXISTS)
			nanosleep(&pause, NULL);
		else if (e != OK)
			return e;
	}
}

void hub_client_close(struct hub_client *hc)
{
	if (!hc)
		return;
	if (hc->fd >= 0)
		close(hc->fd);
	free(hc);
}
