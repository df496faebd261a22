/*
 * operator/exec_run.c - many hosts in one poll loop.
 *
 * Up to --parallel sessions stand at once. A server that closes the connection before the command was started (sshd does
 * that at random beyond MaxStartups) is tried again with growing pauses, within the host's time; what has started is never
 * run twice.
 *
 * Ctrl-C and TERM go to the remote commands; after half of the grace TERM follows for those that did not heed it, then the
 * channels are closed. A second Ctrl-C leaves at once. The time limit of a host does the same to it alone, without grace.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "operator/askpass.h"
#include "operator/exec.h"
#include "operator/hub_client.h"
#include "os/loop.h"

#define GRACE (1800 * NSEC_PER_MSEC) /* after Ctrl-C */
#define ATTACH_MAX (20 * NSEC_PER_SEC)
#define RETRY_MAX (14 * NSEC_PER_SEC) /* all tries together, without --timeout */
#define PAUSE_FIRST (80 * NSEC_PER_MSEC)
#define PAUSE_MAX (1500 * NSEC_PER_MSEC)

/* ---- signals: the handler leaves a byte in a pipe that poll() watches ---- */

static volatile sig_atomic_t interrupted_by;
static int wake[2] = { -1, -1 };

static void on_signal(int signum)
{
	int saved = errno;

	if (interrupted_by)
		_exit(EXEC_STATUS_SIGNAL + signum);
	interrupted_by = signum;
	if (write(wake[1], "", 1) < 0)
		errno = saved; /* the pipe is full: poll() wakes all the same */
	errno = saved;
}

int exec_interrupted_by(void)
{
	return interrupted_by;
}

static bool catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal }, old;

	if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
		return false;
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* nohup has set it aside */
	if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
	return true;
}

static void send_signal(struct exec_host *h, const char *name)
{
	uint8_t body[16];
	size_t len = strlen(name);

	put_le32(body, (uint32_t)len);
	memcpy(body + 4, name, len);
	if (h->s.fd < 0 || session_send(&h->s, SSH_F_SIGNAL, body, 4 + len) != OK)
		h->s.over = true;
}

/* ---- one host ---- */

static void done(struct exec_host *h)
{
	struct exec *x = h->x;

	x->n_running -= h->state == EXEC_RUNNING;
	x->n_done++;
	h->state = EXEC_DONE;
	h->ended = os_now();
	session_fini(&h->s);
	exec_output_done(h);
}

/* Ends the remote command as far as that can be done without waiting. */
static void close_session(struct exec_host *h)
{
	if (h->state != EXEC_RUNNING || h->s.over)
		return;
	send_signal(h, "TERM");
	if (session_send(&h->s, SSH_F_CLOSE, NULL, 0) == OK)
		session_pump(&h->s, exec_output_data, h);
}

static bool may_retry(const struct exec_host *h, nsec_t now)
{
	nsec_t until = h->deadline == NSEC_NEVER ? h->first_try + RETRY_MAX : h->deadline;

	/* One that never lets us in is ended by its circuit breaker before a long deadline. */
	return !h->s.ready && h->s.error == ERR_RESET && !h->x->interrupted && now < until;
}

static nsec_t pause_before(unsigned n_tries)
{
	nsec_t p = PAUSE_FIRST << MIN(n_tries, 5U);

	p = p > PAUSE_MAX ? PAUSE_MAX : p;
	/* Many that were dropped together must not come back together. */
	return p / 2 + rng_below(os_rng(), p);
}

/* Its session is over: again, or that was it. */
static void session_ended(struct exec_host *h, nsec_t now)
{
	if (!may_retry(h, now)) {
		done(h);
		return;
	}
	h->retry_at = now + pause_before(h->n_tries);
	h->state = EXEC_WAITING;
	h->x->n_running--;
	session_fini(&h->s);
}

static void attach(struct exec_host *h, nsec_t now)
{
	struct exec *x = h->x;
	int fd = -1;

	session_init(&h->s, -1);
	if (h->n_tries++ == 0) {
		h->first_try = now;
		h->deadline = x->timeout ? now + x->timeout : NSEC_NEVER;
	}
	h->state = EXEC_RUNNING;
	x->n_running++;
	if (hub_client_session(x->hc, h->host->id, ATTACH_MAX, &fd) != OK) {
		h->s.error = ERR_CLOSED;
		h->s.over = true;
		h->ecode = hub_client_ecode(x->hc);
		snprintf(h->s.message, sizeof(h->s.message), "%s", hub_client_message(x->hc));
		return;
	}
	h->s.fd = fd;
	h->s.on_ask = askpass_key;
	if (session_start(&h->s, SSH_F_EXEC, x->command, 0) != OK)
		h->s.over = true;
	h->fed = 0;
	h->fed_all = false;
	session_pump(&h->s, exec_output_data, h);
}

/* ---- input ---- */

static ssize_t next_input(const struct exec_host *h, uint8_t *buf, size_t size)
{
	const struct exec *x = h->x;
	size_t len;

	if (h->fed >= x->script_len)
		return x->input_fd < 0 ? 0 : pread(x->input_fd, buf, size, (off_t)(h->fed - x->script_len));
	len = MIN(size, x->script_len - (size_t)h->fed);
	memcpy(buf, x->script + h->fed, len);
	return (ssize_t)len;
}

/* The command must not take what it got for the whole. */
static void input_failed(struct exec_host *h, int errnum)
{
	close_session(h);
	h->s.over = true;
	h->s.error = ERR_IO;
	snprintf(h->s.message, sizeof(h->s.message), "its input could not be read: %s", strerror(errnum));
}

/* The script and the file, the same for all: each host takes them at its own pace. */
static void feed(struct exec_host *h)
{
	static uint8_t buf[64 * 1024];

	while (!h->fed_all && session_has_room(&h->s)) {
		ssize_t n = next_input(h, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			input_failed(h, errno);
			return;
		}
		h->fed += (size_t)n;
		h->fed_all = n == 0;
		if (session_send(&h->s, n > 0 ? SSH_F_STDIN : SSH_F_STDIN_EOF, buf, n > 0 ? (size_t)n : 0) != OK)
			h->s.over = true;
	}
}

/* ---- the loop ---- */

static void interrupt(struct exec *x, nsec_t now)
{
	char byte;

	while (read(wake[0], &byte, 1) > 0)
		;
	if (!interrupted_by || x->interrupted)
		return;
	x->interrupted = true;
	x->leave_at = now + GRACE;
	for (size_t i = 0; i < x->n_hosts; i++) {
		struct exec_host *h = &x->hosts[i];

		if (h->state == EXEC_RUNNING)
			send_signal(h, interrupted_by == SIGTERM ? "TERM" : interrupted_by == SIGHUP ? "HUP" : "INT");
	}
}

static void cancel(struct exec_host *h)
{
	h->cancelled = true;
	close_session(h);
	done(h);
}

static void check_host(struct exec_host *h, nsec_t now)
{
	struct exec *x = h->x;

	if (h->state == EXEC_WAITING) {
		if (x->interrupted)
			cancel(h);
		else if (x->n_running < (size_t)x->parallel && now >= h->retry_at)
			attach(h, now);
	}
	if (h->state == EXEC_DONE || h->state == EXEC_WAITING)
		return;
	if (h->s.over) {
		session_ended(h, now);
	} else if (now >= h->deadline) {
		h->timed_out = true;
		close_session(h);
		done(h);
	} else if (now >= x->leave_at) {
		cancel(h);
	} else if (x->interrupted && !h->told_to_end && now >= x->leave_at - GRACE / 2) {
		h->told_to_end = true;
		send_signal(h, "TERM");
	}
}

static void check_all(struct exec *x)
{
	nsec_t now = os_now();

	interrupt(x, now);
	for (size_t i = 0; i < x->n_hosts; i++)
		check_host(&x->hosts[i], now);
	/* Nobody takes the output: no host needs to go on. */
	for (size_t i = 0; x->output_error != OK && i < x->n_hosts; i++)
		if (x->hosts[i].state != EXEC_DONE)
			cancel(&x->hosts[i]);
}

static nsec_t next_time(const struct exec *x)
{
	nsec_t next = x->leave_at;

	if (x->interrupted)
		next = nsec_min(next, x->leave_at - GRACE / 2 > os_now() ? x->leave_at - GRACE / 2 : next);
	for (size_t i = 0; i < x->n_hosts; i++) {
		const struct exec_host *h = &x->hosts[i];

		if (h->state == EXEC_RUNNING)
			next = nsec_min(next, h->deadline);
		else if (h->state == EXEC_WAITING && x->n_running < (size_t)x->parallel)
			next = nsec_min(next, h->retry_at);
	}
	return next;
}

static int poll_timeout(nsec_t next)
{
	nsec_t now = os_now();

	if (next == NSEC_NEVER)
		return -1;
	return next <= now ? 0 : (int)MIN((next - now) / NSEC_PER_MSEC + 1, 60000ULL);
}

static void fill_poll(struct exec *x, struct pollfd *pf)
{
	bool pass = x->pass_stdin && x->hosts[0].state == EXEC_RUNNING && session_has_room(&x->hosts[0].s);

	for (size_t i = 0; i < x->n_hosts; i++) {
		struct exec_host *h = &x->hosts[i];

		pf[i] = (struct pollfd){ .fd = -1 };
		if (h->state != EXEC_RUNNING)
			continue;
		if (!x->pass_stdin)
			feed(h);
		pf[i].fd = h->s.fd;
		pf[i].events = session_poll_events(&h->s);
		if (exec_output_held(h))
			pf[i].events &= (short)~POLLIN;
		if (!pf[i].events)
			pf[i].fd = -1;
	}
	pf[x->n_hosts] = (struct pollfd){ wake[0], POLLIN, 0 };
	pf[x->n_hosts + 1] = (struct pollfd){ pass ? STDIN_FILENO : -1, POLLIN, 0 };
}

static void loop(struct exec *x, struct pollfd *pf)
{
	check_all(x);
	while (x->n_done < x->n_hosts) {
		fill_poll(x, pf);
		if (poll(pf, x->n_hosts + 2, poll_timeout(next_time(x))) < 0 && errno != EINTR)
			return;
		for (size_t i = 0; i < x->n_hosts; i++)
			if (pf[i].revents && x->hosts[i].state == EXEC_RUNNING)
				session_pump(&x->hosts[i].s, exec_output_data, &x->hosts[i]);
		if (pf[x->n_hosts + 1].revents && x->hosts[0].state == EXEC_RUNNING)
			x->pass_stdin &= session_feed(&x->hosts[0].s, STDIN_FILENO, NULL);
		check_all(x);
	}
}

/* ---- all of it ---- */

static int outcome(const struct exec *x)
{
	bool failed = false;

	if (interrupted_by)
		return EXEC_STATUS_SIGNAL + interrupted_by;
	if (x->output_error == ERR_CLOSED)
		return EXEC_STATUS_SIGNAL + SIGPIPE;
	if (x->output_error != OK)
		return cli_error(x->cli, 1041, "the output could not be written: %s", err_text(x->output_error)),
		       EXEC_STATUS_OUR_FAILURE;
	if (x->n_hosts == 1)
		return exec_exit_code(&x->hosts[0]);
	for (size_t i = 0; i < x->n_hosts; i++)
		failed |= exec_host_status(&x->hosts[i]) != 0;
	return failed ? EXIT_FAILED : EXIT_OK;
}

int exec_run(struct exec *x)
{
	struct pollfd *pf = calloc(x->n_hosts + 2, sizeof(*pf));

	if (!pf || !catch_signals()) {
		free(pf);
		return cli_error(x->cli, 1099, "out of memory"), EXEC_STATUS_OUR_FAILURE;
	}
	x->leave_at = NSEC_NEVER;
	if (hub_client_open(x->cli, true, &x->hc) != OK) {
		free(pf);
		return EXEC_STATUS_OUR_FAILURE;
	}
	loop(x, pf);
	hub_client_close(x->hc);
	free(pf);
	exec_output_summary(x);
	return outcome(x);
}
