/*
 * operator/cmd_exec.c - `nefia exec`.
 *
 * One poll loop over all hosts. With one host the streams are passed on byte by byte and the remote status is ours; with several
 * the lines carry the host's name. Ctrl-C sends INT to the remote commands (TERM and HUP likewise), then closes after less than
 * 2 s; twice leaves at once. The time limit sends TERM. A reader of ours that went away ends us as SIGPIPE would.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

#include "base/duration.h"
#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/session_client.h"
#include "os/file.h"
#include "os/loop.h"

#define STATUS_OUR_FAILURE 255
#define STATUS_TIME_LIMIT 124
#define JSON_OUTPUT_MAX (16u << 20) /* collected for each host and stream */
#define STATUS_SIGNAL 128 /* and its number, as a shell has it */
#define INTERRUPT_GRACE (1500 * NSEC_PER_MSEC)

struct exec;
struct exec_host {
	struct exec *x;
	const struct host_config *host;
	struct session s;
	struct ssh_buf lines[2]; /* several hosts, or JSON: stdout, stderr */
	nsec_t started, ended;
	bool finished, timed_out;
	unsigned ecode;
};

struct exec {
	struct cli *cli;
	const char *target;
	nsec_t timeout;
	char command[65536];
	struct exec_host *hosts;
	size_t n_hosts;
	bool stdin_open, interrupted;
	nsec_t deadline, leave_at;
	int output_errnum; /* of our own output, once it failed */
};

static volatile sig_atomic_t interrupted_by;

static void on_interrupt(int signum)
{
	if (interrupted_by)
		_exit(STATUS_SIGNAL + signum);
	interrupted_by = signum;
}

/* ---- output ---- */

/* After Ctrl-C only what its reader takes at once: an end must not wait for it. */
static ssize_t write_some(int fd, const char *p, size_t len)
{
	struct pollfd pf = { fd, POLLOUT, 0 };

	if (!interrupted_by)
		return write(fd, p, len);
	if (poll(&pf, 1, 0) == 1)
		return write(fd, p, MIN(len, (size_t)PIPE_BUF));
	errno = ETIMEDOUT;
	return -1;
}

/* Blocks as long as our reader does, until Ctrl-C. A signal may cut a write short as well as end it with EINTR. */
static bool put(struct exec *x, int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write_some(fd, p, len);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, -1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0) {
			x->output_errnum = n == 0 ? ENOSPC : errno;
			return false;
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool flush_lines(struct exec_host *h, int stream, bool all)
{
	struct ssh_buf *b = &h->lines[stream];
	const uint8_t *nl;
	bool ok = true;

	while (ok && ssh_buf_used(b) > 0) {
		const uint8_t *p = b->p + b->off;

		nl = memchr(p, '\n', ssh_buf_used(b));
		if (!nl && !all)
			break;
		size_t len = nl ? (size_t)(nl - p) + 1 : ssh_buf_used(b);
		char head[HOST_ID_MAX + 8];
		int head_len = snprintf(head, sizeof(head), "%s: ", h->host->id);

		ok = put(h->x, 1 + stream, head, (size_t)head_len) && put(h->x, 1 + stream, p, len) &&
		     (nl || put(h->x, 1 + stream, "\n", 1));
		ssh_buf_drop(b, len);
	}
	return ok;
}

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	struct exec_host *h = ctx;
	int stream = type == SSH_F_STDERR;

	if (!h->x->cli->json && h->x->n_hosts == 1)
		return put(h->x, 1 + stream, data.p, data.len);
	if (h->x->cli->json && ssh_buf_used(&h->lines[stream]) + data.len > JSON_OUTPUT_MAX)
		return true; /* cut: said by the truncated flag */
	if (ssh_buf_add(&h->lines[stream], data.p, data.len) != OK)
		return false;
	return h->x->cli->json || flush_lines(h, stream, false);
}

/* Text as it is when it is UTF-8, else base64 under NAME_b64. */
static void add_output(json_t *j, const char *name, const struct ssh_buf *b)
{
	json_t *s = json_stringn(b->p ? (const char *)b->p + b->off : "", ssh_buf_used(b));
	size_t size = sodium_base64_ENCODED_LEN(ssh_buf_used(b), sodium_base64_VARIANT_ORIGINAL);
	char key[32], *b64;

	if (s) {
		json_object_set_new(j, name, s);
		return;
	}
	b64 = malloc(size);
	snprintf(key, sizeof(key), "%s_b64", name);
	if (b64)
		json_object_set_new(j, key,
				    json_string(sodium_bin2base64(b64, size, b->p + b->off, ssh_buf_used(b),
								  sodium_base64_VARIANT_ORIGINAL)));
	free(b64);
}

static int status_of(const struct exec_host *h)
{
	if (h->timed_out)
		return STATUS_TIME_LIMIT;
	if (h->s.error != OK || (h->s.exit_status < 0 && !h->s.exit_signal[0]))
		return STATUS_OUR_FAILURE;
	return h->s.exit_signal[0] ? STATUS_OUR_FAILURE : h->s.exit_status;
}

static void report_json(struct exec_host *h)
{
	json_t *j = json_pack("{s:s, s:i, s:s, s:I}", "host", h->host->id, "exit", status_of(h), "error",
			      h->timed_out ? "time limit reached" : h->s.message, "ms",
			      (json_int_t)((h->ended - h->started) / NSEC_PER_MSEC));

	add_output(j, "stdout", &h->lines[0]);
	add_output(j, "stderr", &h->lines[1]);
	if (h->s.exit_signal[0])
		json_object_set_new(j, "signal", json_string(h->s.exit_signal));
	if (json_dumpf(j, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		h->x->output_errnum = errno;
	json_decref(j);
}

/* Said once, whatever the number of hosts; a reader that went away (head) wants no word of it. */
static void report_output(const struct exec *x)
{
	if (x->output_errnum && x->output_errnum != EPIPE && !interrupted_by)
		cli_error(x->cli, 1041, "the output could not be written: %s", strerror(x->output_errnum));
}

static void report(struct exec_host *h)
{
	struct exec *x = h->x;

	if (x->cli->json) {
		report_json(h);
		return;
	}
	if (x->n_hosts > 1) {
		flush_lines(h, 0, true);
		flush_lines(h, 1, true);
	}
	if (h->timed_out)
		cli_error(x->cli, 1035, "%s: the command did not end in time", h->host->id);
	else if (interrupted_by || x->output_errnum)
		return;
	else if (h->s.error != OK)
		cli_error(x->cli, h->ecode ? h->ecode : session_ecode(&h->s), "%s: %s", h->host->id, h->s.message);
	else if (h->s.exit_signal[0])
		fprintf(stderr, "nefia: %s: the command was ended by signal %s\n", h->host->id, h->s.exit_signal);
	else if (x->n_hosts > 1 && h->s.exit_status != 0)
		fprintf(stderr, "nefia: %s: exit status %d\n", h->host->id, h->s.exit_status);
}

static void send_signal(struct exec_host *h, const char *name)
{
	struct ssh_buf b = { 0 };

	if (ssh_put_string(&b, name, strlen(name)) != OK ||
	    session_send(&h->s, SSH_F_SIGNAL, b.p, ssh_buf_used(&b)) != OK)
		h->s.over = true;
	ssh_buf_fini(&b);
	session_flush(&h->s);
}

static void finish(struct exec_host *h)
{
	if (h->timed_out && h->s.fd >= 0)
		send_signal(h, "TERM");
	h->finished = true;
	h->ended = os_now();
	report(h);
	if (h->s.fd >= 0)
		close(h->s.fd);
	h->s.fd = -1;
}

/* ---- running ---- */

static void feed_stdin(struct exec *x)
{
	if (!session_feed(&x->hosts[0].s, STDIN_FILENO, NULL))
		x->stdin_open = false;
}

static void interrupt(struct exec *x)
{
	const char *name = interrupted_by == SIGTERM ? "TERM" : interrupted_by == SIGHUP ? "HUP" : "INT";

	x->interrupted = true;
	x->leave_at = os_now() + INTERRUPT_GRACE;
	for (size_t i = 0; i < x->n_hosts; i++)
		if (!x->hosts[i].finished)
			send_signal(&x->hosts[i], name);
}

static void check_times(struct exec *x)
{
	nsec_t now = os_now();

	if (interrupted_by && !x->interrupted)
		interrupt(x);
	for (size_t i = 0; i < x->n_hosts; i++) {
		struct exec_host *h = &x->hosts[i];

		if (h->finished)
			continue;
		h->timed_out = now >= x->deadline;
		if (h->timed_out || now >= x->leave_at || h->s.over || x->output_errnum)
			finish(h);
	}
}

static bool step(struct exec *x, struct pollfd *pf)
{
	nsec_t next = nsec_min(x->deadline, x->leave_at), now = os_now();
	bool feed = x->stdin_open && session_has_room(&x->hosts[0].s);
	int timeout = next == NSEC_NEVER ? -1 : next <= now ? 0 : (int)MIN((next - now) / NSEC_PER_MSEC + 1, 60000ULL);
	size_t n_left = 0;

	for (size_t i = 0; i < x->n_hosts; i++) {
		pf[i] = (struct pollfd){ x->hosts[i].s.fd, session_poll_events(&x->hosts[i].s), 0 };
		n_left += !x->hosts[i].finished;
	}
	if (n_left == 0)
		return false;
	pf[x->n_hosts] = (struct pollfd){ feed ? STDIN_FILENO : -1, POLLIN, 0 };
	if (poll(pf, x->n_hosts + 1, timeout) < 0 && errno != EINTR)
		return false;
	for (size_t i = 0; i < x->n_hosts; i++)
		if (!x->hosts[i].finished)
			session_pump(&x->hosts[i].s, on_data, &x->hosts[i]);
	if (feed && pf[x->n_hosts].revents)
		feed_stdin(x);
	check_times(x);
	return true;
}

static void attach(struct exec *x, struct hub_client *hc, struct exec_host *h)
{
	int fd = -1;

	session_init(&h->s, -1);
	h->started = os_now();
	if (hub_client_session(hc, h->host->id, 20 * NSEC_PER_SEC, &fd) != OK) {
		h->s.error = ERR_CLOSED;
		h->ecode = hub_client_ecode(hc);
		snprintf(h->s.message, sizeof(h->s.message), "%s", hub_client_message(hc));
		finish(h);
		return;
	}
	h->s.fd = fd;
	if (session_start(&h->s, SSH_F_EXEC, x->command, 0) != OK ||
	    (!x->stdin_open && session_send(&h->s, SSH_F_STDIN_EOF, NULL, 0) != OK))
		h->s.over = true;
}

static int result(const struct exec *x)
{
	bool failed = false;

	if (interrupted_by)
		return STATUS_SIGNAL + interrupted_by;
	if (x->output_errnum == EPIPE)
		return STATUS_SIGNAL + SIGPIPE;
	if (x->output_errnum)
		return STATUS_OUR_FAILURE;
	if (x->n_hosts == 1)
		return status_of(&x->hosts[0]);
	for (size_t i = 0; i < x->n_hosts; i++)
		failed |= status_of(&x->hosts[i]) != 0;
	return failed ? EXIT_FAILED : EXIT_OK;
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt }, old;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* nohup has set it aside */
	if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
}

static int run(struct exec *x)
{
	struct pollfd *pf = calloc(x->n_hosts + 1, sizeof(*pf));
	struct hub_client *hc;
	int r;

	if (!pf)
		return STATUS_OUR_FAILURE;
	signal(SIGPIPE, SIG_IGN);
	catch_signals();
	if (hub_client_open(x->cli, true, &hc) != OK) {
		free(pf);
		return STATUS_OUR_FAILURE;
	}
	x->stdin_open = x->n_hosts == 1;
	x->deadline = x->timeout ? os_now() + x->timeout : NSEC_NEVER;
	x->leave_at = NSEC_NEVER;
	for (size_t i = 0; i < x->n_hosts; i++)
		attach(x, hc, &x->hosts[i]);
	while (step(x, pf))
		;
	report_output(x);
	r = result(x);
	hub_client_close(hc);
	free(pf);
	return r;
}

/* ---- command line ---- */

struct exec_flags {
	const char *target;
	nsec_t timeout;
	bool json;
};

const struct cli_option exec_options[] = {
	{ "target", 't', "SELECTOR", "the hosts: ids, groups, tags or 'all', joined by commas", option_text,
	  offsetof(struct exec_flags, target) },
	{ "timeout", 0, "DURATION", "end after this time, as in 30s", option_duration, offsetof(struct exec_flags, timeout) },
	{ "json", 0, NULL, "an object a host", option_flag, offsetof(struct exec_flags, json) },
	{ .name = NULL },
};

static int parse(struct exec *x, int argc, char **argv)
{
	struct exec_flags flags = { 0 };
	size_t n = 0;

	if (options_parse(x->cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	x->target = flags.target;
	x->timeout = flags.timeout;
	x->cli->json |= flags.json;
	if (!x->target)
		return cli_usage(x->cli, "--target SELECTOR is missing");
	for (int i = 1; i < argc; i++)
		n += (size_t)snprintf(x->command + MIN(n, sizeof(x->command)), sizeof(x->command) - MIN(n, sizeof(x->command)),
				      "%s%s", i > 1 ? " " : "", argv[i]);
	if (n >= sizeof(x->command))
		return cli_usage(x->cli, "the command is longer than 64 KiB");
	return 0;
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
	static struct exec x;
	const struct host_config **chosen;
	char miss[64];
	int r;

	x.cli = cli;
	r = parse(&x, argc, argv);
	if (r != 0)
		return r;
	if (cli_load(cli) != 0)
		return STATUS_OUR_FAILURE;
	chosen = calloc(cli->cfg.n_hosts + 1, sizeof(*chosen));
	x.n_hosts = chosen ? config_select(&cli->cfg, x.target, chosen, miss) : 0;
	if (x.n_hosts == 0) {
		cli_error(cli, 1021, "No host, group or tag is called '%s'", chosen ? miss : x.target);
		free(chosen);
		return STATUS_OUR_FAILURE;
	}
	x.hosts = calloc(x.n_hosts, sizeof(*x.hosts));
	for (size_t i = 0; x.hosts && i < x.n_hosts; i++) {
		x.hosts[i].x = &x;
		x.hosts[i].host = chosen[i];
	}
	r = x.hosts ? run(&x) : STATUS_OUR_FAILURE;
	for (size_t i = 0; x.hosts && i < x.n_hosts; i++) {
		session_fini(&x.hosts[i].s);
		ssh_buf_fini(&x.hosts[i].lines[0]);
		ssh_buf_fini(&x.hosts[i].lines[1]);
	}
	free(x.hosts);
	free(chosen);
	return r;
}
