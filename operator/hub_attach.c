/*
 * operator/hub_attach.c - reaching a hub, or starting one in the background.
 *
 * Attaching is a loop with a deadline: connect and say hello; when nobody is there, start a hub in the background
 * and hear from it, over a pipe, that it is ready or why it is not. "Another one was faster" and "it ended just as
 * we came" both lead back to connecting, so any number of first commands end up at one hub.
 */
#include "operator/hub_attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "operator/hub_core.h"
#include "operator/hub_wire.h"
#include "os/loop.h"
#include "os/proc.h"

#define ATTACH_MAX (10 * NSEC_PER_SEC)

static bool wait_for(int fd, nsec_t deadline)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	nsec_t now;
	int r = 0;

	while (r <= 0 && (now = os_now()) < deadline)
		r = poll(&p, 1, (int)((deadline - now) / NSEC_PER_MSEC + 1));
	return r > 0;
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
		if (!wait_for(fd, deadline))
			return hub_client_fail(hc, ERR_TIMEOUT, HUB_ECODE_START, "the hub did not start in time");
		n = read(fd, buf + len, sizeof(buf) - len);
		len += n > 0 ? (size_t)n : 0;
	}
	report = json_loadb(buf, len, 0, &why);
	if (!report)
		return hub_client_fail(hc, ERR_INTERNAL, HUB_ECODE_START, "the hub ended while starting; its log says why");
	e = json_is_true(json_object_get(report, "ok")) ? OK : hub_client_take_error(hc, report);
	if (e != OK && hub_client_ecode(hc) == HUB_ECODE_RUNNING)
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
		return hub_client_fail(hc, err_from_errno(errno), HUB_ECODE_START, "cannot start a hub");
	sp.fds[3] = report[1];
	e = os_spawn_detached(&sp);
	close(report[1]);
	if (e == OK)
		e = read_report(hc, report[0], deadline);
	else
		hub_client_fail(hc, e, HUB_ECODE_START, "cannot start %s: %s", argv[0],
				e == ERR_AGAIN || e == ERR_FULL ? "no more processes or descriptors are allowed (ulimit -u, ulimit -n)" :
				err_text(e));
	close(report[0]);
	return e;
}

enum err hub_attach(const char *home, const char *config, bool may_start, struct hub_client **ret)
{
	struct hub_client *hc = hub_client_new(-1);
	nsec_t deadline = os_now() + ATTACH_MAX;
	struct timespec pause = { 0, 20 * (long)NSEC_PER_MSEC };
	struct hub_paths paths;
	char other[PATH_MAX];
	enum err e;

	if (!hc)
		return ERR_NOMEM;
	*ret = hc;
	e = hub_paths_init(home, &paths);
	if (e != OK)
		return hub_client_fail(hc, e, HUB_ECODE_START,
			    HUB_SOCKET_TOO_LONG);
	for (;;) {
		e = hub_client_connect(hc, paths.socket, config);
		if (e == ERR_NOT_FOUND && hub_other_socket(&paths, other))
			e = hub_client_connect(hc, other, config);
		if (e != ERR_NOT_FOUND || !may_start)
			return e;
		if (os_now() >= deadline)
			return hub_client_fail(hc, ERR_TIMEOUT, HUB_ECODE_START, "a hub holds the lock but does not answer at %s",
				    paths.socket);
		e = start_hub(hc, home, config, deadline);
		if (e == ERR_EXISTS)
			nanosleep(&pause, NULL);
		else if (e != OK)
			return e;
	}
}
