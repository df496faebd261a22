/*
 * The worker process, sandbox and all, against servers that misbehave: the hub's side lives, the error names what happened, and
 * nothing takes longer than its deadline. All cases run at the same time.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/text.h"
#include "os/file.h"
#include "os/stream.h"
#include "ssh/frame.h"
#include "ssh/nursery.h"
#include "ssh/worker.h"
#include "test/lib/calm.h"
#include "test/lib/ssh_server.h"
#include "test/lib/testing.h"

#define GCM "aes128-gcm@openssh.com"
#define ETM "hmac-sha2-256-etm@openssh.com"
#define ALL_CIPHERS "chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr," GCM ",aes256-gcm@openssh.com"
#define ALL_MACS "umac-64-etm@openssh.com," ETM ",hmac-sha2-256"
#define RUNS_MAX 128
/* Sixty processes on few cores: what is measured is the deadline, with room for them. */
#ifdef __SANITIZE_ADDRESS__
#define SLOW 3
#else
#define SLOW 1
#endif

struct expected {
	enum server_fault fault;
	enum err error;        /* OK: the command ends with status 7 */
	const char *says;      /* part of the message */
	const char *negotiated; /* NULL: whatever */
	unsigned n_dials;      /* 0: whatever */
	bool loose;            /* not strict */
	const char *ciphers, *macs, *preamble;
	unsigned drops;        /* the first connections are closed at once */
	unsigned idle_s;       /* the worker's, which is to end by that */
	size_t n_stdin;        /* bytes for the command */
	unsigned seconds;      /* at most; 0: 12 */
};

struct run {
	const struct expected *want;
	struct ssh_worker *worker;
	struct ssh_buf in, out;
	int fd, report[2];
	struct os_watch *watch;
	pid_t servers[4];
	unsigned n_dials;
	bool over;
	enum err error;
	char message[800], ended[128], signal[32], output[256];
	int status;
	int64_t started;
	nsec_t took;
};

static struct os_loop *loop;
static struct ssh_nursery *nursery; /* of the next worker; NULL none */
static struct run runs[RUNS_MAX];
static unsigned n_running, n_known_hosts;
static char dir[] = "/tmp/nefia-worker-XXXXXX";
static struct ssh_identity identity;

/* ---- the hub's side ---- */

static void one_less(void)
{
	if (--n_running == 0)
		os_loop_stop(loop);
}

static void finish(struct run *r)
{
	if (r->over)
		return;
	r->over = true;
	r->took = (nsec_t)MAX(calm_now() - r->started, 0);
	os_watch_set(r->watch, 0);
	if (!r->want->idle_s)
		one_less();
}

static void on_dial(void *ctx, struct ssh_worker *w, uint32_t id)
{
	struct run *r = ctx;
	struct ssh_server o = { .fault = r->n_dials < r->want->drops ? SERVER_CLOSE_AT_ONCE : r->want->fault,
				.preamble = r->want->preamble,
				.strict = !r->want->loose,
				.ciphers = r->want->ciphers ? r->want->ciphers : ALL_CIPHERS,
				.macs = r->want->macs ? r->want->macs : ALL_MACS,
				.report_fd = r->report[1] };
	int pair[2];
	pid_t pid;

	if (r->n_dials >= ARRAY_SIZE(r->servers)) {
		ssh_worker_dialed(w, id, ERR_REFUSED, NULL, -1);
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		o.fd = pair[1];
		for (int fd = 3; fd < 1024; fd++)
			if (fd != o.fd && fd != o.report_fd)
				close(fd);
		ssh_server_run(&o);
	}
	r->servers[r->n_dials++] = pid;
	close(pair[1]);
	ssh_worker_dialed(w, id, OK, NULL, pair[0]);
}

static void on_end(void *ctx, struct ssh_worker *w, const char *why)
{
	struct run *r = ctx;

	snprintf(r->ended, sizeof(r->ended), "%s", why ? why : "idle");
	ssh_worker_free(w);
	r->worker = NULL;
	if (r->want->idle_s)
		one_less();
}

static void take_frame(struct run *r, uint8_t type, struct bytes body)
{
	struct ssh_reader rd = { body.p, body.len, false };
	size_t used = strlen(r->output), n = MIN(body.len, sizeof(r->output) - 1 - used);

	switch (type) {
	case SSH_F_STDOUT:
		memcpy(r->output + used, body.p, n);
		break;
	case SSH_F_EXIT:
		r->status = (int)ssh_read_u32(&rd);
		finish(r);
		break;
	case SSH_F_EXIT_SIGNAL:
		ssh_read_text(&rd, r->signal, sizeof(r->signal));
		finish(r);
		break;
	case SSH_F_ERROR:
		r->error = (enum err)ssh_read_u32(&rd);
		ssh_read_text(&rd, r->message, sizeof(r->message));
		finish(r);
		break;
	default:
		break;
	}
}

static void on_session(void *ctx, int events)
{
	struct run *r = ctx;
	uint8_t *to = ssh_buf_room(&r->in, 65536), type;
	struct bytes body;
	size_t total;
	ssize_t n;

	if (ssh_buf_used(&r->out) > 0) {
		n = send(r->fd, r->out.p + r->out.off, ssh_buf_used(&r->out), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			ssh_buf_drop(&r->out, (size_t)n);
	}
	os_watch_set(r->watch, OS_READ | (ssh_buf_used(&r->out) ? OS_WRITE : 0));
	n = recv(r->fd, to, 65536, MSG_DONTWAIT);
	if (n > 0)
		r->in.len += (size_t)n;
	while (!r->over && ssh_frame_next(&r->in, &type, &body, &total) == OK) {
		take_frame(r, type, body);
		ssh_buf_drop(&r->in, total);
	}
	if (n == 0 && !r->over) {
		r->error = ERR_CLOSED;
		snprintf(r->message, sizeof(r->message), "the worker's socket was closed");
		finish(r);
	}
}

static void ask(struct run *r)
{
	static const uint8_t zero[32768];
	struct ssh_buf b = { 0 };

	assert_int_equal(ssh_put_u32(&b, SSH_SESSION_VERSION), OK);
	assert_int_equal(ssh_put_string(&b, "true", 4), OK);
	assert_int_equal(ssh_put_u32(&b, 0), OK);
	assert_int_equal(ssh_frame_add(&r->out, SSH_F_EXEC, (struct bytes){ b.p, b.len }, (struct bytes){ NULL, 0 }), OK);
	for (size_t left = r->want->n_stdin; left > 0;) {
		size_t n = MIN(left, sizeof(zero));

		assert_int_equal(ssh_frame_add(&r->out, SSH_F_STDIN, (struct bytes){ zero, n }, (struct bytes){ NULL, 0 }), OK);
		left -= n;
	}
	assert_int_equal(ssh_frame_add(&r->out, SSH_F_STDIN_EOF, (struct bytes){ NULL, 0 }, (struct bytes){ NULL, 0 }), OK);
	ssh_buf_fini(&b);
}

static void start(struct run *r, const struct expected *want, unsigned i)
{
	char known[128], host[32];
	struct ssh_worker_config cfg = { .host = host, .user = "u", .vpn_addr = "10.99.0.2", .ids = &identity, .n_ids = 1,
					 .known_hosts = known, .idle_s = want->idle_s, .nursery = nursery, .on_dial = on_dial, .on_end = on_end,
					 .ctx = r };
	int pair[2];

	*r = (struct run){ .want = want, .status = -1, .started = calm_now() };
	snprintf(host, sizeof(host), "h%u", i);
	snprintf(known, sizeof(known), "%s/known-%u", dir, n_known_hosts++);
	assert_int_equal(pipe(r->report), 0);
	assert_int_equal(os_socketpair(pair), OK);
	assert_int_equal(ssh_worker_start(loop, &cfg, &r->worker), OK);
	assert_int_equal(ssh_worker_attach(r->worker, ssh_handed_new(pair[0])), OK);
	r->fd = pair[1];
	ask(r);
	assert_int_equal(os_watch_new(loop, r->fd, on_session, r, &r->watch), OK);
	os_watch_set(r->watch, OS_READ | OS_WRITE);
	n_running++;
}

/* What the last server negotiated; "" when it did not come so far. */
static void read_report(struct run *r, char ret[256])
{
	char all[1024] = "", *last, *end;
	ssize_t n;

	close(r->report[1]);
	n = read(r->report[0], all, sizeof(all) - 1);
	close(r->report[0]);
	all[n > 0 ? n : 0] = '\0';
	end = strrchr(all, '\n');
	if (end)
		*end = '\0';
	last = strrchr(all, '\n');
	snprintf(ret, 256, "%s", last ? last + 1 : all);
}

static void stop(struct run *r)
{
	os_watch_free(r->watch);
	close(r->fd);
	if (r->worker)
		ssh_worker_free(r->worker);
	for (unsigned i = 0; i < r->n_dials; i++) {
		kill(r->servers[i], SIGKILL);
		waitpid(r->servers[i], NULL, 0);
	}
	ssh_buf_fini(&r->in);
	ssh_buf_fini(&r->out);
}

static bool judge(struct run *r, size_t row)
{
	const struct expected *w = r->want;
	char negotiated[256];
	bool good;

	read_report(r, negotiated);
	good = r->error == w->error && (!w->says || strstr(r->message, w->says)) &&
	       (!w->negotiated || strcmp(negotiated, w->negotiated) == 0) && (!w->n_dials || w->n_dials == r->n_dials) &&
	       r->took <= (w->seconds ? w->seconds : 12) * NSEC_PER_SEC * SLOW;
	if (w->error == OK)
		good &= w->fault == SERVER_EXIT_SIGNAL ? strcmp(r->signal, "KILL") == 0 : r->status == 7;
	/* Ended by agreement, and not before the command was over. */
	if (w->idle_s)
		good &= r->over && strcmp(r->ended, "idle") == 0;
	/* For a terminal and for JSON. */
	for (const char *p = r->message; *p;)
		good &= !text_is_control(text_next(p, &p));
	if (!good || getenv("WORKER_TEST_VERBOSE"))
		print_message("%s row %zu (fault %d): %s '%s', status %d, signal '%s', negotiated '%s', dials %u, %llu ms, "
			      "worker '%s', output '%s'\n",
			      good ? "ok" : "BAD", row, w->fault, err_name(r->error), r->message, r->status, r->signal,
			      negotiated, r->n_dials, (unsigned long long)(r->took / NSEC_PER_MSEC), r->ended, r->output);
	return good;
}

static void run_all(const struct expected *rows, size_t n)
{
	struct ssh_nursery *common;
	bool good = true;

	assert_true(n <= RUNS_MAX);
	loop = os_loop_new();
	assert_non_null(loop);
	/* Every second worker is forked, the others are started by themselves. */
	common = ssh_nursery_new(loop, NULL, false);
	for (size_t i = 0; i < n; i++) {
		nursery = i & 1 ? common : NULL;
		start(&runs[i], &rows[i], (unsigned)i);
	}
	os_loop_run(loop);
	for (size_t i = 0; i < n; i++)
		stop(&runs[i]);
	ssh_nursery_free(common);
	nursery = NULL;
	os_loop_free(loop);
	for (size_t i = 0; i < n; i++)
		good &= judge(&runs[i], i);
	assert_true(good);
}

/* ---- cases ---- */

/* Without strict key exchange: AES-GCM, or CTR with the plain MAC, or nothing. What is in front of KEXINIT is not believed. */
static void terrapin(void **state)
{
	static const char fake[] = "kex-strict-s-v00@openssh.com\r\n";
	static const char fake_long[] = "SSX-2.0-curve25519-sha256,kex-strict-s-v00@openssh.com,x\r\n";
	static const struct expected rows[] = {
		{ SERVER_GOOD, OK, .negotiated = GCM " -", .n_dials = 1 },
		{ SERVER_GOOD, OK, .negotiated = "aes128-ctr " ETM, .n_dials = 1, .ciphers = "chacha20-poly1305@openssh.com,aes128-ctr" },
		{ SERVER_GOOD, OK, .negotiated = "aes256-ctr hmac-sha2-256", .n_dials = 1, .ciphers = "aes256-ctr", .macs = "hmac-sha2-256" },
		{ SERVER_GOOD, OK, .negotiated = GCM " -", .n_dials = 1, .loose = true },
		{ SERVER_GOOD, OK, .negotiated = "aes256-gcm@openssh.com -", .n_dials = 1, .loose = true,
		  .ciphers = "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-ctr" },
		{ SERVER_GOOD, OK, .negotiated = "aes128-ctr hmac-sha2-256", .n_dials = 2, .loose = true,
		  .ciphers = "chacha20-poly1305@openssh.com,aes128-ctr" },
		{ SERVER_GOOD, OK, .negotiated = "aes128-ctr hmac-sha2-256", .n_dials = 1, .loose = true, .ciphers = "aes128-ctr",
		  .macs = "hmac-sha2-256" },
		{ SERVER_GOOD, ERR_ALGORITHM, .says = "no MAC in common", .n_dials = 2, .loose = true, .ciphers = "aes128-ctr", .macs = ETM },
		{ SERVER_GOOD, ERR_ALGORITHM, .says = "the server has chacha20", .n_dials = 1, .loose = true, .ciphers = "chacha20-poly1305@openssh.com" },
		{ SERVER_GOOD, OK, .negotiated = "aes128-ctr hmac-sha2-256", .n_dials = 2, .loose = true, .ciphers = "aes128-ctr",
		  .preamble = fake },
		{ SERVER_GOOD, OK, .negotiated = "aes128-ctr hmac-sha2-256", .n_dials = 2, .loose = true, .ciphers = "aes128-ctr",
		  .preamble = fake_long },
		{ SERVER_IGNORE_FIRST, ERR_PROTOCOL, .says = "key exchange", .n_dials = 1 },
		{ SERVER_IGNORE_FIRST, OK, .negotiated = GCM " -", .loose = true },
	};

	run_all(rows, ARRAY_SIZE(rows));
}

static void hostile_servers(void **state)
{
	static const struct expected rows[] = {
		{ SERVER_SILENT, ERR_TIMEOUT, .says = "in time", .seconds = 20 },
		{ SERVER_DRIP, ERR_TIMEOUT, .says = "in time", .seconds = 20 },
		{ SERVER_ENDLESS_LINE, ERR_PROTOCOL, .says = "before the login" },
		{ SERVER_ENDLESS_LINES, ERR_PROTOCOL, .says = "before the login" },
		{ SERVER_ENDLESS_IGNORE, ERR_PROTOCOL, .says = "" },
		{ SERVER_ENDLESS_IGNORE, ERR_PROTOCOL, .says = "before the login", .loose = true },
		{ SERVER_NUL_BANNER, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_GARBAGE, ERR_PROTOCOL, .says = "" },
		{ SERVER_HUGE_PACKET, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_TINY_PACKET, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_NEWKEYS_FIRST, ERR_TIMEOUT, .says = "in time", .seconds = 20 },
		{ SERVER_SHORT_KEXINIT, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_CLOSE_AT_ONCE, ERR_RESET, .says = "closed the connection", .n_dials = 4 },
		{ SERVER_CLOSE_AT_ONCE, ERR_RESET, .says = "saying \"no ?2Jen??try\"", .n_dials = 4, .preamble = "no \x9b" "2Jen\xc3\xfftry\r\n" },
		{ SERVER_GOOD, OK, .drops = 3, .n_dials = 4 },
		{ SERVER_CLOSE_BANNER, ERR_RESET, .says = "closed the connection" },
		{ SERVER_CLOSE_KEXINIT, ERR_RESET, .says = "closed the connection" },
		{ SERVER_BAD_SIGNATURE, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_BAD_HOST_KEY, ERR_PROTOCOL, .says = "" },
		{ SERVER_EMPTY_HOST_KEY, ERR_PROTOCOL, .says = "" },
		{ SERVER_ZERO_POINT, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_CLOSE_REPLY, ERR_RESET, .says = "closed the connection" },
		{ SERVER_CLOSE_NEWKEYS, ERR_RESET, .says = "closed the connection" },
		{ SERVER_EXT_INFO_COUNT, OK, .seconds = 0 },
		{ SERVER_EXT_INFO_LENGTH, OK, .seconds = 0 },
		{ SERVER_CRYPTED_HUGE, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_CRYPTED_TINY, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_CRYPTED_HUGE, ERR_PROTOCOL, .says = "key exchange failed", .ciphers = "aes128-ctr" },
		{ SERVER_CRYPTED_TINY, ERR_PROTOCOL, .says = "key exchange failed", .ciphers = "aes128-ctr" },
		{ SERVER_CRYPTED_SHORT, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_CRYPTED_SHORT, ERR_PROTOCOL, .says = "key exchange failed", .ciphers = "aes128-ctr" },
		{ SERVER_BAD_TAG, ERR_PROTOCOL, .says = "key exchange failed" },
		{ SERVER_BAD_TAG, ERR_PROTOCOL, .says = "key exchange failed", .ciphers = "aes128-ctr" },
		{ SERVER_BAD_TAG, ERR_PROTOCOL, .says = "key exchange failed", .ciphers = "aes128-ctr", .macs = "hmac-sha2-256" },
		{ SERVER_CLOSE_SERVICE, ERR_RESET, .says = "closed the connection" },
		{ SERVER_REFUSE_LOGIN, ERR_AUTH, .says = "refused by the server" },
		{ SERVER_BANNER_ESCAPES, ERR_AUTH, .says = "refused by the server" },
		{ SERVER_CLOSE_LOGIN, ERR_RESET, .says = "closed the connection" },
		/* after the login */
		{ SERVER_SLOW_COMMAND, OK, .idle_s = 1 },
		{ SERVER_GOOD, OK, .says = "", .n_stdin = 300000 },
		{ SERVER_ZERO_WINDOW, OK, .says = "", .n_stdin = 100000 },
		{ SERVER_HUGE_WINDOW, OK, .says = "", .n_stdin = 300000 },
		{ SERVER_NO_CHANNEL_ANSWER, ERR_TIMEOUT, .says = "open a channel in time", .seconds = 20 },
		{ SERVER_REFUSE_CHANNEL, ERR_FORBIDDEN, .says = "opens no session" },
		{ SERVER_CLOSE_CHANNEL_OPEN, ERR_RESET, .says = "closed the connection", .n_dials = 2 },
		{ SERVER_REFUSE_COMMAND, ERR_FORBIDDEN, .says = "refused to start the command" },
		{ SERVER_CLOSE_EXEC, ERR_RESET, .says = "closed the connection" },
		{ SERVER_CLOSE_OUTPUT, ERR_RESET, .says = "closed the connection" },
		{ SERVER_NO_STATUS, ERR_RESET, .says = "without an exit status" },
		{ SERVER_SHORT_STATUS, ERR_RESET, .says = "without an exit status" },
		{ SERVER_EXIT_SIGNAL, OK, .seconds = 0 },
		{ SERVER_DATA_AFTER_EOF, OK, .seconds = 0 },
		{ SERVER_OTHER_CHANNEL, OK, .seconds = 0 },
		{ SERVER_DISCONNECT_TEXT, ERR_RESET, .says = "the connection was lost" },
		{ SERVER_FLOOD_WINDOW, OK, .says = "", .seconds = 20 },
		{ SERVER_FLOOD_UNKNOWN, ERR_FULL, .says = "128 MiB", .seconds = 20 },
	};

	run_all(rows, ARRAY_SIZE(rows));
}

static void on_enough(void *ctx)
{
	os_loop_stop(loop);
}

static void run_for(nsec_t time)
{
	struct os_timer t;

	os_timer_init(&t, loop, on_enough, NULL);
	os_timer_set(&t, os_now() + time);
	os_loop_run(loop);
	os_timer_cancel(&t);
}

static void on_some_end(void *ctx, struct ssh_worker *w, const char *why)
{
	snprintf(ctx, 128, "%s", why ? why : "idle");
}

static void on_no_dial(void *ctx, struct ssh_worker *w, uint32_t id)
{
}

static pid_t only_child(void)
{
	char cmd[64], text[32] = "";
	FILE *f;

	snprintf(cmd, sizeof(cmd), "pgrep -P %d -x nefia-ssh", (int)getpid());
	f = popen(cmd, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	pclose(f);
	return (pid_t)atoi(text);
}

/* A worker that takes nothing for a moment is not ended for it: answers wait, with their descriptors, and reach it in order. */
static void a_busy_worker_is_waited_for(void **state)
{
	char known[128], ended[128] = "", long_why[300];
	struct ssh_worker_config cfg = { .host = "busy", .user = "u", .vpn_addr = "10.99.0.2", .ids = &identity, .n_ids = 1,
					 .known_hosts = known, .on_dial = on_no_dial, .on_end = on_some_end, .ctx = ended };
	struct ssh_handed *s = NULL;
	struct ssh_worker *w;
	enum err e = OK;
	int pair[2], n = 0;
	pid_t pid;

	loop = os_loop_new();
	snprintf(known, sizeof(known), "%s/known-busy", dir);
	memset(long_why, 'x', sizeof(long_why) - 1);
	long_why[sizeof(long_why) - 1] = '\0';
	assert_int_equal(ssh_worker_start(loop, &cfg, &w), OK);
	run_for(300 * NSEC_PER_MSEC);
	pid = only_child();
	kill(pid, SIGSTOP);
	while (e == OK && n++ < 10000) {
		assert_int_equal(os_socketpair(pair), OK);
		s = ssh_handed_new(pair[0]);
		e = ssh_worker_attach(w, s);
		close(pair[1]);
	}
	assert_int_equal(e, ERR_AGAIN);
	ssh_handed_free(s); /* not the worker's */
	for (int i = 0; i < 60; i++)
		ssh_worker_dialed(w, 1000 + (uint32_t)i, ERR_REFUSED, long_why, -1);
	assert_int_equal(os_socketpair(pair), OK);
	ssh_worker_dialed(w, 2000, OK, NULL, pair[0]);
	ssh_worker_retire(w);
	run_for(100 * NSEC_PER_MSEC);
	assert_string_equal(ended, "");
	kill(pid, SIGCONT);
	run_for(500 * NSEC_PER_MSEC);
	assert_string_equal(ended, "");
	/* The descriptor went there, was for nobody, and was closed there; ours was closed when it left. */
	assert_int_equal(recv(pair[1], long_why, 1, MSG_DONTWAIT), 0);
	close(pair[1]);
	assert_int_equal(os_socketpair(pair), OK);
	assert_int_equal(ssh_worker_attach(w, ssh_handed_new(pair[0])), OK);
	close(pair[1]);
	ssh_worker_free(w);
	os_loop_free(loop);
}

/* One that never takes anything is given up when as much waits as it can ever have asked for. */
static void a_stuck_worker_is_given_up(void **state)
{
	char known[128], ended[128] = "", long_why[300];
	struct ssh_worker_config cfg = { .host = "stuck", .user = "u", .vpn_addr = "10.99.0.2", .ids = &identity, .n_ids = 1,
					 .known_hosts = known, .on_dial = on_no_dial, .on_end = on_some_end, .ctx = ended };
	struct ssh_worker *w;

	loop = os_loop_new();
	snprintf(known, sizeof(known), "%s/known-stuck", dir);
	memset(long_why, 'x', sizeof(long_why) - 1);
	long_why[sizeof(long_why) - 1] = '\0';
	assert_int_equal(ssh_worker_start(loop, &cfg, &w), OK);
	run_for(300 * NSEC_PER_MSEC);
	kill(only_child(), SIGSTOP);
	for (int i = 0; i < 5000; i++)
		ssh_worker_dialed(w, 1000 + (uint32_t)i, ERR_REFUSED, long_why, -1);
	run_for(100 * NSEC_PER_MSEC);
	assert_string_equal(ended, "it does not listen any more");
	ssh_worker_free(w);
	os_loop_free(loop);
}

/* A command that is killed is let go also while it is not read from, because its host takes nothing of what it sent. */
static void a_killed_command_is_noticed(void **state)
{
	static const struct expected want = { .fault = SERVER_SILENT, .idle_s = 1, .n_stdin = 4 << 20 };
	struct run *r = &runs[0];

	loop = os_loop_new();
	start(r, &want, 0);
	run_for(2 * NSEC_PER_SEC);
	assert_string_equal(r->ended, "");
	assert_true(ssh_buf_used(&r->out) > 0);
	shutdown(r->fd, SHUT_RDWR);
	if (!r->ended[0])
		run_for(6 * NSEC_PER_SEC);
	assert_string_equal(r->ended, "idle");
	close(r->report[0]);
	close(r->report[1]);
	stop(r);
	os_loop_free(loop);
}

static int set_up(void **state)
{
	char cmd[256];
	size_t len;
	char *pem;

	if (system("command -v ssh-keygen >/dev/null") != 0 || !mkdtemp(dir))
		return -1;
	snprintf(cmd, sizeof(cmd), "ssh-keygen -q -t ed25519 -N '' -f %s/id </dev/null", dir);
	if (system(cmd) != 0)
		return -1;
	snprintf(cmd, sizeof(cmd), "%s/id", dir);
	if (os_file_read(cmd, 65536, &pem, &len) != OK)
		return -1;
	identity = (struct ssh_identity){ .path = "id", .private = { (uint8_t *)pem, len } };
	return 0;
}

static int tear_down(void **state)
{
	char cmd[128];

	free((char *)identity.private.p);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(terrapin),
		cmocka_unit_test(hostile_servers),
		cmocka_unit_test(a_busy_worker_is_waited_for),
		cmocka_unit_test(a_stuck_worker_is_given_up),
		cmocka_unit_test(a_killed_command_is_noticed),
	};

	if (argc > 1 && strcmp(argv[1], "ssh-worker") == 0)
		return ssh_worker_main(3);
	if (argc > 1 && strcmp(argv[1], "ssh-nursery") == 0)
		return ssh_nursery_main(3);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
