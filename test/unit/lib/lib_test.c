/*
 * libnefia.so through its one header: streams, listeners, timeouts, what ends what, and what it must leave alone.
 *
 * Two folders that are each other's peers, both open in this process; a second process for attaching. Commands on hosts need a
 * real sshd: test/e2e/library.sh.
 */
#include <limits.h>
#include <poll.h>
#include <sys/wait.h>

#include "test/unit/lib/rig.h"

#define MS INT64_C(1000000) /* of calm_now() */

static void every_error_has_words(void **state)
{
	assert_string_equal(nefia_strerror(NEFIA_OK), "success");
	for (int e = NEFIA_ERR_FORBIDDEN; e < 0; e++)
		assert_string_not_equal(nefia_strerror(e), "unknown error");
	assert_string_equal(nefia_strerror(-1000), "unknown error");
	assert_string_equal(nefia_strerror(1), "unknown error");
	assert_string_equal(nefia_strerror(NEFIA_ERR_TIMEOUT), "timed out");
	assert_int_equal(nefia_version_number(), NEFIA_VERSION_MAJOR << 16 | NEFIA_VERSION_MINOR << 8 | NEFIA_VERSION_PATCH);
}

static void options_of_other_versions(void **state)
{
	struct {
		struct nefia_options o;
		long later;
	} newer = { NEFIA_OPTIONS_INIT, 0 };
	struct nefia *n = NULL;

	newer.o.home = rig.home[ALICE];
	newer.o.size = 8;
	assert_int_equal(nefia_open(&newer.o, &n), NEFIA_ERR_VERSION);
	newer.o.size = sizeof(newer);
	newer.later = 1;
	assert_int_equal(nefia_open(&newer.o, &n), NEFIA_ERR_VERSION);
	newer.later = 0;
	assert_int_equal(nefia_open(&newer.o, &n), NEFIA_OK);
	nefia_close(n);
	newer.o.flags = 0x80000000u;
	assert_int_equal(nefia_open(&newer.o, &n), NEFIA_ERR_UNSUPPORTED);
}

static void a_wrong_configuration_is_said_at_once(void **state)
{
	static const char text[] = "version: 1\nvpn:\n  private_key: nonsense\n";
	struct nefia_options o = NEFIA_OPTIONS_INIT;
	struct nefia *n = NULL;

	o.home = rig_folder;
	assert_int_equal(nefia_open(&o, &n), NEFIA_ERR_NOT_FOUND);
	assert_non_null(strstr(nefia_error_detail(), "nefia.yaml"));
	o.config_text = text;
	o.config_text_len = strlen(text);
	assert_int_equal(nefia_open(&o, &n), NEFIA_ERR_FORMAT);
	assert_non_null(strstr(nefia_error_detail(), ":3:"));
	o.home = NULL;
	assert_int_equal(nefia_open(&o, &n), NEFIA_ERR_INVALID);
	o = (struct nefia_options)NEFIA_OPTIONS_INIT;
	o.home = rig.home[ALICE];
	o.flags = NEFIA_ATTACH_ONLY;
	assert_int_equal(nefia_open(&o, &n), NEFIA_ERR_NO_HUB);
	assert_null(n);
	nefia_close(NULL);
	assert_int_equal(nefia_is_hub(NULL), NEFIA_ERR_INVALID);
}

static void a_text_is_a_configuration_too(void **state)
{
	struct nefia_options o = NEFIA_OPTIONS_INIT;
	struct nefia *a, *b;
	char text[2048];
	FILE *f = fopen(rig_config[ALICE], "r");
	size_t len = fread(text, 1, sizeof(text), f);

	fclose(f);
	o.home = rig.home[ALICE];
	o.config_text = text;
	o.config_text_len = len;
	assert_int_equal(nefia_open(&o, &a), NEFIA_OK);
	/* Another text in the same folder is another configuration; the same is the same tunnel. */
	assert_int_equal(nefia_open(&o, &b), NEFIA_OK);
	nefia_close(b);
	text[len++] = '\n';
	o.config_text_len = len;
	assert_int_equal(nefia_open(&o, &b), NEFIA_ERR_IN_USE);
	nefia_close(a);
	assert_int_equal(nefia_open(&o, &b), NEFIA_OK);
	nefia_close(b);
}

/* ---- streams ---- */

static struct nefia *alice;
static struct echo bob;

static int open_both(void **state)
{
	alice = rig_open(ALICE);
	echo_start(&bob, rig_open(BOB), 7000);
	return 0;
}

static int close_both(void **state)
{
	nefia_close(alice);
	echo_stop(&bob);
	return 0;
}

static void bytes_go_and_come_back(void **state)
{
	struct nefia_stream *s = must_dial(alice, "bob", 7000);
	char buf[64];

	assert_int_equal(nefia_is_hub(alice), 1);
	assert_string_equal(nefia_stream_peer(s), "bob:7000");
	assert_int_equal(nefia_read(s, buf, sizeof(buf), 0), NEFIA_ERR_AGAIN);
	assert_int_equal(nefia_write(s, "hello", 5, 1000), 5);
	assert_int_equal(nefia_read(s, buf, sizeof(buf), 30000), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(nefia_shutdown(s), NEFIA_OK);
	assert_int_equal(nefia_read(s, buf, sizeof(buf), 30000), 0);
	assert_int_equal(nefia_read(s, buf, sizeof(buf), 30000), 0);
	assert_int_equal(nefia_stream_error(s), NEFIA_OK);
	nefia_stream_close(s);
	nefia_stream_close(NULL);
}

/* The descriptor is the stream: plain system calls, and poll() says when. */
static void the_descriptor_is_the_stream(void **state)
{
	struct nefia_stream *s = must_dial(alice, "bob", 7000);
	struct pollfd p = { nefia_stream_fd(s), POLLIN | POLLOUT, 0 };
	char buf[16];

	assert_int_equal(poll(&p, 1, 1000), 1);
	assert_int_equal(p.revents, POLLOUT);
	assert_int_equal(send(p.fd, "raw", 3, MSG_NOSIGNAL), 3);
	p.events = POLLIN;
	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(read(p.fd, buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "raw", 3);
	assert_int_equal(shutdown(p.fd, SHUT_WR), 0);
	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(read(p.fd, buf, sizeof(buf)), 0);
	assert_int_equal(nefia_stream_error(s), NEFIA_OK);
	nefia_stream_close(s);
}

#define BULK (64u << 20)

static void *send_bulk(void *arg)
{
	crypto_generichash_state h;
	unsigned char chunk[40000], *sum = malloc(32);
	size_t left = BULK;

	crypto_generichash_init(&h, NULL, 0, 32);
	while (left > 0) {
		size_t n = left < sizeof(chunk) ? left : sizeof(chunk);

		randombytes_buf(chunk, n);
		crypto_generichash_update(&h, chunk, n);
		if (nefia_write(arg, chunk, n, 20000) != (ssize_t)n)
			break;
		left -= n;
	}
	nefia_shutdown(arg);
	crypto_generichash_final(&h, sum, 32);
	return sum;
}

/* Two threads on one stream, and every byte arrives. */
static void megabytes_arrive_whole(void **state)
{
	struct nefia_stream *s = must_dial(alice, "bob", 7000);
	crypto_generichash_state h;
	unsigned char sum[32], *buf = malloc(100000);
	size_t total = 0;
	uint64_t from = now_ms();
	pthread_t t;
	void *sent;
	ssize_t n;

	crypto_generichash_init(&h, NULL, 0, 32);
	assert_int_equal(pthread_create(&t, NULL, send_bulk, s), 0);
	while ((n = nefia_read(s, buf, 100000, 20000)) > 0) {
		crypto_generichash_update(&h, buf, (size_t)n);
		total += (size_t)n;
	}
	pthread_join(t, &sent);
	assert_int_equal(n, 0);
	assert_int_equal(total, BULK);
	print_message("64 MiB there and back: %.0f MB/s each way, both ends in this process\n",
		      (double)BULK / 1e3 / (double)(now_ms() - from + 1));
	crypto_generichash_final(&h, sum, 32);
	assert_memory_equal(sum, sent, 32);
	free(sent);
	free(buf);
	nefia_stream_close(s);
}

#define N_COSTS 300

/* doc/library.md has these figures. */
static void what_calls_cost(void **state)
{
	struct nefia_stream *s = must_dial(alice, "bob", 7000);
	uint64_t from = now_ms(), asked, dialled;
	char byte = 'x';

	for (int i = 0; i < N_COSTS; i++)
		assert_int_equal(nefia_stream_error(s), NEFIA_OK);
	asked = now_ms() - from;
	from = now_ms();
	for (int i = 0; i < N_COSTS; i++)
		nefia_stream_close(must_dial(alice, "bob", 7000));
	dialled = now_ms() - from;
	from = now_ms();
	for (int i = 0; i < N_COSTS; i++) {
		assert_int_equal(nefia_write(s, &byte, 1, 1000), 1);
		assert_int_equal(nefia_read(s, &byte, 1, 1000), 1);
	}
	print_message("asking the hub %.3f ms, dial and close %.3f ms, a byte there and back %.3f ms\n",
		      (double)asked / N_COSTS, (double)dialled / N_COSTS, (double)(now_ms() - from) / N_COSTS);
	assert_true(asked < 10 * N_COSTS);
	nefia_stream_close(s);
}

/* Who comes while the backlog is full is answered when there is room. */
static void a_full_backlog_makes_wait(void **state)
{
	struct nefia_listener *l;
	struct nefia_stream *first, *second, *s;

	assert_int_equal(nefia_listen(bob.n, 7006, 1, 1000, &l), NEFIA_OK);
	/* One is with the listener's "accept" already, one waits, and the third is held. */
	first = must_dial(alice, "bob", 7006);
	second = must_dial(alice, "bob", 7006);
	assert_int_equal(nefia_dial(alice, "bob", 7006, 300, &s), NEFIA_ERR_TIMEOUT);
	assert_int_equal(nefia_accept(l, 1000, &s), NEFIA_OK);
	nefia_stream_close(s);
	nefia_stream_close(must_dial(alice, "bob", 7006));
	nefia_stream_close(first);
	nefia_stream_close(second);
	nefia_listener_close(l);
}

static void failures_have_their_numbers(void **state)
{
	struct nefia_stream *s = NULL;
	struct nefia_listener *l = NULL;
	uint64_t from;
	int64_t calm;

	assert_int_equal(nefia_dial(alice, "bob", 7001, 5000, &s), NEFIA_ERR_REFUSED);
	assert_non_null(strstr(nefia_error_detail(), "bob"));
	assert_int_equal(nefia_dial(alice, "nobody", 22, 5000, &s), NEFIA_ERR_NOT_FOUND);
	assert_int_equal(nefia_dial(alice, "bob", 0, 5000, &s), NEFIA_ERR_INVALID);
	assert_int_equal(nefia_dial(alice, "bob", 22, 0, &s), NEFIA_ERR_AGAIN);
	assert_int_equal(nefia_listen(bob.n, 7009, 0, 0, &l), NEFIA_ERR_AGAIN);
	from = now_ms();
	calm = calm_now();
	assert_int_equal(nefia_dial(alice, "nowhere", 22, 300, &s), NEFIA_ERR_TIMEOUT);
	assert_true(now_ms() - from >= 250);
	assert_true(calm_now() - calm <= 2000 * MS);
	assert_int_equal(nefia_listen(bob.n, 7000, 0, 1000, &l), NEFIA_ERR_IN_USE);
	assert_null(s);
	assert_null(l);
}

static void a_write_without_room_returns(void **state)
{
	struct nefia *b = bob.n;
	struct nefia_listener *l;
	struct nefia_stream *s, *there;
	char *big = calloc(1, 1 << 20);
	uint64_t from;
	int64_t calm;
	ssize_t n;

	assert_int_equal(nefia_listen(b, 0, 1, 1000, &l), NEFIA_OK);
	assert_int_equal(nefia_accept(l, 0, &there), NEFIA_ERR_AGAIN);
	assert_int_equal(nefia_accept(l, 50, &there), NEFIA_ERR_TIMEOUT);
	s = must_dial(alice, "bob", nefia_listener_port(l));
	assert_int_equal(nefia_accept(l, 30000, &there), NEFIA_OK);
	assert_non_null(strstr(nefia_stream_peer(there), "10.99.0.1:"));
	/* Nobody reads there: windows and buffers fill, then time is up, and later nothing goes at all. */
	while ((n = nefia_write(s, big, 1 << 20, 500)) > 0)
		;
	assert_int_equal(n, NEFIA_ERR_TIMEOUT);
	from = now_ms();
	calm = calm_now();
	assert_int_equal(nefia_write(s, big, 1 << 20, 100), NEFIA_ERR_TIMEOUT);
	assert_true(now_ms() - from >= 90);
	assert_true(calm_now() - calm <= 1000 * MS);
	assert_int_equal(nefia_write(s, big, 1 << 20, 0), NEFIA_ERR_AGAIN);
	free(big);
	nefia_cancel(s);
	assert_int_equal(nefia_write(s, "x", 1, 0), NEFIA_ERR_CANCELLED);
	nefia_stream_close(s);
	nefia_stream_close(there);
	nefia_listener_close(l);
}

/* An end and a reset look alike on a Unix socket; not here. */
static void a_reset_is_no_end(void **state)
{
	struct nefia *b = rig_open(BOB);
	struct nefia_listener *l;
	struct nefia_stream *s, *there;
	char buf[8];
	ssize_t n;

	assert_int_equal(nefia_listen(b, 7002, 0, 1000, &l), NEFIA_OK);
	s = must_dial(alice, "bob", 7002);
	assert_int_equal(nefia_accept(l, 30000, &there), NEFIA_OK);
	assert_int_equal(nefia_write(s, "unread", 6, 1000), 6);
	assert_int_equal(nefia_read(there, buf, 1, 30000), 1);
	/* Closed with bytes unread: TCP says reset. */
	nefia_stream_close(there);
	n = nefia_write(s, "more", 4, 1000);
	assert_true(n == 4 || n == NEFIA_ERR_RESET); /* it may be here already */
	assert_int_equal(nefia_read(s, buf, sizeof(buf), 30000), NEFIA_ERR_RESET);
	assert_non_null(strstr(nefia_error_detail(), "bob:7002"));
	assert_int_equal(nefia_read(s, buf, sizeof(buf), 30000), NEFIA_ERR_RESET);
	assert_int_equal(nefia_stream_error(s), NEFIA_ERR_RESET);
	nefia_stream_close(s);
	nefia_listener_close(l);
	nefia_close(b);
}

static void *count_to_the_end(void *arg)
{
	char *buf = malloc(65536);
	size_t total = 0;
	ssize_t n;

	while ((n = nefia_read(arg, buf, 65536, 30000)) > 0)
		total += (size_t)n;
	free(buf);
	return (void *)(n == 0 ? total : 0);
}

/* What was written before stream and tunnel were closed arrives, and its end is an end. */
static void the_last_words_arrive(void **state)
{
	struct nefia_listener *l;
	struct nefia_stream *s, *there;
	struct nefia *a;
	char *buf = calloc(1, 3000000);
	pthread_t t;
	void *total;

	nefia_close(alice);
	a = rig_open(ALICE);
	assert_int_equal(nefia_listen(bob.n, 7003, 0, 1000, &l), NEFIA_OK);
	s = must_dial(a, "bob", 7003);
	assert_int_equal(nefia_accept(l, 30000, &there), NEFIA_OK);
	assert_int_equal(pthread_create(&t, NULL, count_to_the_end, there), 0);
	assert_int_equal(nefia_write(s, buf, 3000000, 30000), 3000000);
	nefia_stream_close(s);
	nefia_close(a);
	pthread_join(t, &total);
	assert_int_equal((uintptr_t)total, 3000000);
	free(buf);
	nefia_stream_close(there);
	nefia_listener_close(l);
	alice = rig_open(ALICE);
}

/* ---- what wakes what ---- */

struct waiter {
	struct nefia_stream *s;
	struct nefia_listener *l;
	struct nefia *n;
	int kind, result;
	pthread_t thread;
};

static void *wait_in(void *arg)
{
	static char big[1 << 20];
	struct waiter *w = arg;
	struct nefia_stream *s;
	char buf[8];

	switch (w->kind) {
	case 0:
		w->result = (int)nefia_read(w->s, buf, sizeof(buf), NEFIA_FOREVER);
		break;
	case 1:
		do
			w->result = (int)nefia_write(w->s, big, sizeof(big), NEFIA_FOREVER);
		while (w->result > 0);
		break;
	case 2:
		w->result = nefia_accept(w->l, NEFIA_FOREVER, &s);
		break;
	default:
		w->result = nefia_dial(w->n, "nowhere", 22, NEFIA_FOREVER, &s);
	}
	return NULL;
}

static void closing_wakes_everybody(void **state)
{
	struct nefia_listener *sink, *l;
	struct nefia *a;
	struct waiter w[8];
	int64_t from;

	nefia_close(alice);
	a = rig_open(ALICE);
	assert_int_equal(nefia_listen(bob.n, 7004, 0, 1000, &sink), NEFIA_OK);
	assert_int_equal(nefia_listen(a, 7005, 0, 1000, &l), NEFIA_OK);
	for (int i = 0; i < 8; i++) {
		w[i] = (struct waiter){ .kind = i % 4, .l = l, .n = a };
		w[i].s = i % 4 < 2 ? must_dial(a, "bob", 7004) : NULL;
		assert_int_equal(pthread_create(&w[i].thread, NULL, wait_in, &w[i]), 0);
	}
	usleep(200000);
	from = calm_now();
	nefia_close(a);
	assert_true(calm_now() - from <= 1900 * MS);
	for (int i = 0; i < 8; i++) {
		pthread_join(w[i].thread, NULL);
		if (w[i].result != NEFIA_ERR_CLOSED)
			fail_msg("waiter %d got %d", i, w[i].result);
		if (w[i].s)
			assert_int_equal(nefia_write(w[i].s, "x", 1, 0), NEFIA_ERR_CLOSED);
		nefia_stream_close(w[i].s);
	}
	nefia_listener_close(l);
	nefia_listener_close(sink);
	alice = rig_open(ALICE);
}

static void cancelling_wakes_one_stream(void **state)
{
	struct waiter w = { .s = must_dial(alice, "bob", 7000) };
	struct nefia_stream *other = must_dial(alice, "bob", 7000);
	char buf[4];

	assert_int_equal(pthread_create(&w.thread, NULL, wait_in, &w), 0);
	usleep(50000);
	nefia_cancel(w.s);
	pthread_join(w.thread, NULL);
	assert_int_equal(w.result, NEFIA_ERR_CANCELLED);
	nefia_stream_close(w.s);
	assert_int_equal(nefia_write(other, "on", 2, 30000), 2);
	assert_int_equal(nefia_read(other, buf, 2, 30000), 2);
	nefia_stream_close(other);
}

/* ---- what is not ours ---- */

static unsigned n_lines;

static void on_line(void *ctx, int level, const char *line)
{
	assert_ptr_equal(ctx, &n_lines);
	n_lines++;
}

static void the_process_is_left_alone(void **state)
{
	struct sigaction before[NSIG], after;
	sigset_t mask_before, mask_after;
	struct nefia *n;
	struct stat st;
	int out = dup(1), err = dup(2), file;
	char path[128];
	mode_t mask = umask(022);

	snprintf(path, sizeof(path), "%s/stdio", rig_folder);
	fflush(NULL);
	nefia_close(alice);
	for (int i = 1; i < NSIG; i++)
		sigaction(i, NULL, &before[i]);
	pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	dup2(file, 1);
	dup2(file, 2);
	nefia_set_log(on_line, &n_lines, 0);
	n = rig_open(ALICE);
	nefia_stream_close(must_dial(n, "bob", 7000));
	nefia_close(n);
	nefia_set_log(NULL, NULL, 1);
	fstat(file, &st);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	close(file);
	assert_int_equal(st.st_size, 0);
	assert_true(n_lines > 0);
	for (int i = 1; i < NSIG; i++)
		if (sigaction(i, NULL, &after) == 0)
			assert_true(after.sa_handler == before[i].sa_handler && after.sa_flags == before[i].sa_flags);
	pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	for (int i = 1; i < NSIG; i++)
		assert_int_equal(sigismember(&mask_before, i), sigismember(&mask_after, i));
	assert_int_equal(umask(mask), 022);
	alice = rig_open(ALICE);
}

static void a_forked_child_has_no_tunnel(void **state)
{
	struct nefia_stream *s = must_dial(alice, "bob", 7000);
	struct nefia *n;
	int status, pid, gate[2];
	char byte;

	assert_int_equal(pipe(gate), 0);
	pid = fork();
	if (pid == 0) {
		bool ok = nefia_read(s, &byte, 1, 0) == NEFIA_ERR_FORKED && nefia_is_hub(alice) == NEFIA_ERR_FORKED &&
			  nefia_open(NULL, &n) == NEFIA_ERR_FORKED;

		nefia_stream_close(s);
		nefia_close(alice);
		close(gate[1]);
		(void)!read(gate[0], &byte, 1);
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(nefia_write(s, "x", 1, 1000), 1);
	assert_int_equal(nefia_read(s, &byte, 1, 30000), 1);
	nefia_stream_close(s);
	/* The lock is free although the child lives. */
	nefia_close(alice);
	alice = rig_open(ALICE);
	close(gate[1]);
	close(gate[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- another process's hub ---- */

/* A hub, until somebody closes our standard input. */
static int be_the_hub(const char *home)
{
	struct nefia_options o = NEFIA_OPTIONS_INIT;
	struct nefia *n;
	char byte;

	o.home = home;
	if (nefia_open(&o, &n) != NEFIA_OK)
		return 20;
	puts("ready");
	fflush(stdout);
	(void)!read(STDIN_FILENO, &byte, 1);
	nefia_close(n);
	return 0;
}

static int attach_and_echo(const char *home)
{
	struct nefia_options o = NEFIA_OPTIONS_INIT;
	struct nefia_stream *s;
	struct nefia *n;
	char buf[8];
	int r;

	o.home = home;
	if (nefia_open(&o, &n) != NEFIA_OK)
		return 10;
	if (nefia_is_hub(n) != 0)
		return 11;
	if (nefia_dial(n, "bob", 7000, 9000, &s) != NEFIA_OK)
		return 12;
	if (nefia_write(s, "abc", 3, 30000) != 3 || nefia_read(s, buf, sizeof(buf), 30000) != 3)
		return 13;
	/* From here on the first process ends its tunnel: the stream broke off, and we are the hub. */
	puts("ready");
	fflush(stdout);
	if (nefia_read(s, buf, sizeof(buf), 8000) != NEFIA_ERR_RESET)
		return 14;
	nefia_stream_close(s);
	r = nefia_dial(n, "bob", 7000, 9000, &s);
	if (r != NEFIA_OK)
		return 15;
	if (nefia_is_hub(n) != 1)
		return 16;
	if (nefia_write(s, "def", 3, 30000) != 3 || nefia_read(s, buf, sizeof(buf), 30000) != 3)
		return 17;
	nefia_stream_close(s);
	nefia_close(n);
	return 0;
}

static void a_second_process_attaches_and_takes_over(void **state)
{
	char command[PATH_MAX + 128], self[PATH_MAX] = "", line[16] = "";
	FILE *p;

	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	snprintf(command, sizeof(command), "%s attach %s", self, rig.home[ALICE]);
	p = popen(command, "r");
	assert_non_null(p);
	if (!fgets(line, sizeof(line), p))
		fail_msg("the other process ended with %d", WEXITSTATUS(pclose(p)));
	assert_string_equal(line, "ready\n");
	nefia_close(alice);
	assert_int_equal(pclose(p), 0);
	alice = rig_open(ALICE);
}

/* A number that the library has given back is the program's: nefia_close() must leave it alone. */
static void a_listener_of_a_dead_hub_shuts_nobody_down(void **state)
{
	char command[PATH_MAX + 128], self[PATH_MAX] = "", line[16] = "", byte = 0;
	int gate[2], pairs[8][2];
	struct nefia_listener *l;
	struct nefia_stream *s;
	struct nefia *a;
	struct pollfd p;
	FILE *hub;

	nefia_close(alice);
	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	snprintf(command, sizeof(command), "%s hub %s <&%d", self, rig.home[ALICE], gate[0]);
	fcntl(gate[0], F_SETFD, 0);
	hub = popen(command, "r");
	assert_non_null(hub);
	assert_non_null(fgets(line, sizeof(line), hub));
	a = rig_open(ALICE);
	assert_int_equal(nefia_is_hub(a), 0);
	assert_int_equal(nefia_listen(a, 0, 0, 1000, &l), NEFIA_OK);
	close(gate[1]);
	assert_int_equal(pclose(hub), 0);
	p = (struct pollfd){ nefia_listener_fd(l), POLLIN, 0 };
	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(nefia_accept(l, 30000, &s), NEFIA_ERR_CLOSED);
	for (int i = 0; i < 8; i++)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
	nefia_close(a);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(send(pairs[i][0], "x", 1, MSG_NOSIGNAL), 1);
		assert_int_equal(read(pairs[i][1], &byte, 1), 1);
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
	nefia_listener_close(l);
	close(gate[0]);
	alice = rig_open(ALICE);
}

/* ---- nothing is left ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_sanitized = true; /* freed memory is kept */
#else
static const bool is_sanitized;
#endif

static size_t resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long size, pages = 0;

	assert_int_equal(fscanf(f, "%lu %lu", &size, &pages), 2);
	fclose(f);
	return pages;
}

/* A peer heeds one handshake in 20 ms, and the next try would be 5 s later: opening waits for that little. */
static void opened_again_at_once_it_answers_at_once(void **state)
{
	struct nefia *b = rig_open(BOB);
	struct nefia_listener *l;
	int64_t from, worst = 0;

	assert_int_equal(nefia_listen(b, 7000, 0, 1000, &l), NEFIA_OK);
	for (int i = 0; i < 12; i++) {
		struct nefia *a = rig_open(ALICE);

		from = calm_now();
		nefia_stream_close(must_dial(a, "bob", 7000));
		worst = calm_now() - from > worst ? calm_now() - from : worst;
		nefia_close(a);
	}
	assert_true(worst <= 2000 * MS);
	nefia_listener_close(l);
	nefia_close(b);
}

static void a_hundred_times_leave_nothing(void **state)
{
	unsigned fds = 0, threads = 0;
	size_t pages = 0;

	for (int i = 0; i < 100; i++) {
		struct nefia *a = rig_open(ALICE), *b = i % 3 == 0 ? rig_open(ALICE) : NULL;
		struct nefia_listener *l = NULL;

		if (i % 5 == 0)
			assert_int_equal(nefia_listen(a, 0, 0, 1000, &l), NEFIA_OK);
		nefia_close(a);
		nefia_listener_close(l);
		nefia_close(b);
		/* Lazily made things are there after a few. */
		if (i == 20) {
			fds = count_in("/proc/self/fd");
			threads = count_in("/proc/self/task");
			pages = resident_pages();
		}
	}
	assert_int_equal(count_in("/proc/self/fd"), fds);
	assert_int_equal(count_in("/proc/self/task"), threads);
	if (!is_sanitized)
		assert_in_range(resident_pages(), 0, pages + 256); /* 1 MiB in 80 rounds */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_has_words),
		cmocka_unit_test(options_of_other_versions),
		cmocka_unit_test(a_wrong_configuration_is_said_at_once),
		cmocka_unit_test(a_text_is_a_configuration_too),
		cmocka_unit_test(opened_again_at_once_it_answers_at_once),
		cmocka_unit_test(a_hundred_times_leave_nothing),
	};
	const struct CMUnitTest with_both[] = {
		cmocka_unit_test(bytes_go_and_come_back),
		cmocka_unit_test(the_descriptor_is_the_stream),
		cmocka_unit_test(megabytes_arrive_whole),
		cmocka_unit_test(what_calls_cost),
		cmocka_unit_test(a_full_backlog_makes_wait),
		cmocka_unit_test(failures_have_their_numbers),
		cmocka_unit_test(a_write_without_room_returns),
		cmocka_unit_test(a_reset_is_no_end),
		cmocka_unit_test(the_last_words_arrive),
		cmocka_unit_test(closing_wakes_everybody),
		cmocka_unit_test(cancelling_wakes_one_stream),
		cmocka_unit_test(the_process_is_left_alone),
		cmocka_unit_test(a_forked_child_has_no_tunnel),
		cmocka_unit_test(a_second_process_attaches_and_takes_over),
		cmocka_unit_test(a_listener_of_a_dead_hub_shuts_nobody_down),
	};
	int failed;

	if (argc == 3 && strcmp(argv[1], "attach") == 0)
		return attach_and_echo(argv[2]);
	if (argc == 3 && strcmp(argv[1], "hub") == 0)
		return be_the_hub(argv[2]);
	rig_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	failed += cmocka_run_group_tests(with_both, open_both, close_both);
	rig_remove();
	return failed;
}
