/*
 * operator/job.c - sessions, pumped by one poll loop.
 *
 * Output is written with blocking writes, so a slow reader of ours holds the worker by the session's own buffer. Input
 * is read only while little of it waits to be sent. A session that ends without its last frame lost its worker or hub.
 */
#include "operator/job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/loop.h"

#define TX_HIGH (512 * 1024)
#define CANCEL_MAX (1500 * NSEC_PER_MSEC)

static volatile sig_atomic_t caught;

static void on_signal(int signum)
{
	caught = signum;
}

void job_init(struct job *j, const char *host, int fd)
{
	memset(j, 0, sizeof(*j));
	j->host = host;
	j->fd = fd;
	j->in_fd = j->out_fd = j->err_fd = -1;
	j->exit_status = -1;
	j->started = os_now();
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void job_fini(struct job *j)
{
	if (j->fd >= 0)
		close(j->fd);
	ssh_buf_fini(&j->out);
	ssh_buf_fini(&j->err);
	ssh_buf_fini(&j->rx);
	ssh_buf_fini(&j->tx);
}

static void finish(struct job *j, enum err e, const char *message)
{
	if (j->done)
		return;
	j->done = true;
	j->ended = os_now();
	j->error = e;
	if (message)
		snprintf(j->message, sizeof(j->message), "%s", message);
}

static enum err add_frame(struct job *j, enum ssh_frame type, const void *p, size_t len)
{
	struct bytes body = { p, len }, none = { NULL, 0 };

	return ssh_frame_add(&j->tx, type, body, none);
}

/* u32 version, string, and perhaps one more number */
static enum err start(struct job *j, enum ssh_frame type, const char *text, bool has_number, uint32_t number)
{
	struct ssh_buf b = { 0 };
	enum err e = ssh_put_u32(&b, SSH_SESSION_VERSION);

	if (e == OK)
		e = ssh_put_string(&b, text, strlen(text));
	if (e == OK && has_number)
		e = ssh_put_u32(&b, number);
	if (e == OK)
		e = add_frame(j, type, b.p + b.off, ssh_buf_used(&b));
	ssh_buf_fini(&b);
	return e;
}

enum err job_exec(struct job *j, const char *command, unsigned deadline_ms)
{
	return start(j, SSH_F_EXEC, command, true, deadline_ms);
}

enum err job_get(struct job *j, const char *path)
{
	return start(j, SSH_F_GET, path, false, 0);
}

enum err job_put(struct job *j, const char *path, unsigned mode)
{
	return start(j, SSH_F_PUT, path, true, mode);
}

enum err job_direct(struct job *j, const char *host, unsigned port)
{
	return start(j, SSH_F_DIRECT, host, true, port);
}

/* ---- what comes from the worker ---- */

static bool write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd w = { .fd = fd, .events = POLLOUT };

			poll(&w, 1, 1000);
		} else if (n < 0 && errno != EINTR) {
			return false;
		}
	}
	return true;
}

static void deliver(struct job *j, int fd, struct ssh_buf *keep, struct bytes b)
{
	if (fd < 0) {
		if (ssh_buf_add(keep, b.p, b.len) != OK)
			finish(j, ERR_NOMEM, "out of memory");
	} else if (!write_all(fd, b.p, b.len)) {
		finish(j, errno == ENOSPC ? ERR_NO_SPACE : ERR_IO, strerror(errno));
	}
}

static void take_error(struct job *j, struct bytes b)
{
	struct ssh_reader r = { .p = b.p, .len = b.len };
	uint32_t code = ssh_read_u32(&r);
	struct bytes text = ssh_read_string(&r);

	snprintf(j->message, sizeof(j->message), "%.*s", r.bad ? 0 : (int)MIN(text.len, sizeof(j->message) - 1),
		 (const char *)text.p);
	finish(j, code > OK && code < ERR_N ? (enum err)code : ERR_INTERNAL, NULL);
}

static void take_frame(struct job *j, uint8_t type, struct bytes b)
{
	struct ssh_reader r = { .p = b.p, .len = b.len };
	struct bytes text;

	switch (type) {
	case SSH_F_READY:
		j->ready = true;
		break;
	case SSH_F_STDOUT:
		deliver(j, j->out_fd, &j->out, b);
		break;
	case SSH_F_STDERR:
		deliver(j, j->err_fd, &j->err, b);
		break;
	case SSH_F_EXIT:
		j->exit_status = (int)ssh_read_u32(&r);
		finish(j, r.bad ? ERR_PROTOCOL : OK, NULL);
		break;
	case SSH_F_EXIT_SIGNAL:
		ssh_read_text(&r, j->signal, sizeof(j->signal));
		finish(j, r.bad ? ERR_PROTOCOL : OK, NULL);
		break;
	case SSH_F_ERROR:
		take_error(j, b);
		break;
	case SSH_F_NOTE:
		text = ssh_read_string(&r);
		if (!r.bad)
			fprintf(stderr, "%.*s\n", (int)text.len, (const char *)text.p);
		break;
	default:
		break; /* of a later version */
	}
}

static void read_session(struct job *j)
{
	uint8_t *room = ssh_buf_room(&j->rx, SSH_DATA_MAX);
	struct bytes body;
	uint8_t type;
	size_t total;
	ssize_t n = room ? recv(j->fd, room, SSH_DATA_MAX, 0) : -1;
	enum err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		j->rx.len += (size_t)n;
	while (!j->done && (e = ssh_frame_next(&j->rx, &type, &body, &total)) != ERR_AGAIN) {
		if (e != OK) {
			finish(j, e, "the SSH worker sent nonsense");
			return;
		}
		take_frame(j, type, body);
		ssh_buf_drop(&j->rx, total);
	}
	if (n <= 0)
		finish(j, ERR_CLOSED, "the SSH worker or the hub ended");
}

/* ---- what goes there ---- */

static void send_session(struct job *j)
{
	while (!j->done && ssh_buf_used(&j->tx) > 0) {
		ssize_t n = send(j->fd, j->tx.p + j->tx.off, ssh_buf_used(&j->tx), MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			/* Its last words may still be there to read. */
			ssh_buf_drop(&j->tx, ssh_buf_used(&j->tx));
			j->in_ended = true;
			return;
		}
		ssh_buf_drop(&j->tx, (size_t)n);
	}
}

static void read_input(struct job *j)
{
	static uint8_t buf[SSH_DATA_MAX];
	ssize_t n = read(j->in_fd, buf, sizeof(buf));
	enum err e;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 && errno != EIO) {
		finish(j, ERR_IO, strerror(errno));
		return;
	}
	j->in_ended = n <= 0;
	e = n > 0 ? add_frame(j, SSH_F_STDIN, buf, (size_t)n) : add_frame(j, SSH_F_STDIN_EOF, NULL, 0);
	if (e != OK)
		finish(j, e, "out of memory");
}

/* ---- the loop ---- */

static bool wants_input(const struct job *j)
{
	return !j->done && !j->in_ended && j->in_fd >= 0 && ssh_buf_used(&j->tx) < TX_HIGH;
}

static size_t fill_poll(struct job *jobs, size_t n, struct pollfd *p)
{
	size_t n_running = 0;

	for (size_t i = 0; i < n; i++) {
		struct job *j = &jobs[i];

		p[2 * i] = (struct pollfd){ .fd = j->done ? -1 : j->fd,
					    .events = (short)(POLLIN | (ssh_buf_used(&j->tx) ? POLLOUT : 0)) };
		p[2 * i + 1] = (struct pollfd){ .fd = wants_input(j) ? j->in_fd : -1, .events = POLLIN };
		n_running += !j->done;
	}
	return n_running;
}

static void run_ready(struct job *jobs, size_t n, const struct pollfd *p)
{
	for (size_t i = 0; i < n; i++) {
		struct job *j = &jobs[i];

		if (!j->done && p[2 * i + 1].revents)
			read_input(j);
		if (!j->done)
			send_session(j);
		if (!j->done && (p[2 * i].revents & (POLLIN | POLLHUP | POLLERR)))
			read_session(j);
	}
}

static void tell_all(struct job *jobs, size_t n, bool with_signal)
{
	struct ssh_buf name = { 0 };

	if (ssh_put_string(&name, "INT", 3) != OK)
		return;
	for (size_t i = 0; i < n; i++) {
		if (jobs[i].done)
			continue;
		if ((with_signal && add_frame(&jobs[i], SSH_F_SIGNAL, name.p, ssh_buf_used(&name)) != OK) ||
		    (!with_signal && add_frame(&jobs[i], SSH_F_CLOSE, NULL, 0) != OK))
			finish(&jobs[i], ERR_NOMEM, "out of memory");
		send_session(&jobs[i]);
	}
	ssh_buf_fini(&name);
}

static enum err pump(struct job *jobs, size_t n, nsec_t deadline, struct pollfd *p)
{
	enum err outcome = OK;

	while (fill_poll(jobs, n, p) > 0) {
		nsec_t now = os_now();

		if (caught && outcome == OK) {
			outcome = ERR_CANCELLED;
			tell_all(jobs, n, true);
			deadline = now + CANCEL_MAX;
		}
		if (now >= deadline) {
			tell_all(jobs, n, false);
			for (size_t i = 0; i < n; i++)
				finish(&jobs[i], outcome == OK ? ERR_TIMEOUT : outcome, "the time limit was reached");
			return outcome == OK ? ERR_TIMEOUT : outcome;
		}
		if (poll(p, 2 * n, (int)MIN((deadline - now) / NSEC_PER_MSEC + 1, 1000)) >= 0)
			run_ready(jobs, n, p);
	}
	return outcome;
}

enum err job_run(struct job *jobs, size_t n, nsec_t deadline)
{
	struct sigaction sa = { .sa_handler = on_signal }, old_int, old_term;
	struct pollfd *p = calloc(2 * n + 1, sizeof(*p));
	enum err e;

	if (!p)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		if (jobs[i].in_fd < 0 && !jobs[i].done) {
			jobs[i].in_ended = true;
			if (add_frame(&jobs[i], SSH_F_STDIN_EOF, NULL, 0) != OK)
				finish(&jobs[i], ERR_NOMEM, "out of memory");
		}
	}
	caught = 0;
	sigaction(SIGINT, &sa, &old_int);
	sigaction(SIGTERM, &sa, &old_term);
	e = pump(jobs, n, deadline, p);
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	free(p);
	return e;
}

static int signal_number(const char *name)
{
	static const struct {
		const char *name;
		int number;
	} names[] = { { "HUP", SIGHUP },   { "INT", SIGINT },	{ "QUIT", SIGQUIT }, { "ILL", SIGILL },
		      { "ABRT", SIGABRT }, { "FPE", SIGFPE },	{ "KILL", SIGKILL }, { "SEGV", SIGSEGV },
		      { "PIPE", SIGPIPE }, { "ALRM", SIGALRM }, { "TERM", SIGTERM }, { "USR1", SIGUSR1 },
		      { "USR2", SIGUSR2 } };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i].name, name) == 0)
			return names[i].number;
	return 0;
}

int job_exit_code(const struct job *j, enum err run)
{
	if (run == ERR_CANCELLED)
		return 130;
	if (j->error == ERR_TIMEOUT && run == ERR_TIMEOUT)
		return 124;
	if (j->error != OK)
		return 255;
	if (j->signal[0])
		return signal_number(j->signal) ? 128 + signal_number(j->signal) : 255;
	return j->exit_status & 0xff;
}

unsigned job_ecode(const struct job *j)
{
	switch (j->error) {
	case ERR_TIMEOUT:
		return j->ready ? 1035 : 1031;
	case ERR_NO_ROUTE:
	case ERR_UNREACHABLE:
		return 1031;
	case ERR_REFUSED:
		return 1032;
	case ERR_HOST_KEY:
		return 1033;
	case ERR_AUTH:
		return 1034;
	case ERR_CLOSED:
	case ERR_RESET:
		return 1036;
	default:
		return 1037;
	}
}
