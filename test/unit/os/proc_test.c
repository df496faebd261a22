/*
 * Child processes and the worker's sandbox: what it forbids kills that process alone, at once, with SIGSYS; what it allows
 * works; its limits hold; and a worker that ends so is told to people in words.
 *
 * The program starts itself again with an argument for what to do in the sandbox.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/proc.h"
#include "os/stream.h"
#include "ssh/worker.h"
#include "test/lib/testing.h"

#ifdef __SANITIZE_ADDRESS__
#define NEEDS_FILTER() skip() /* os/proc.c leaves it out: the sanitizers' runtime needs more */
#else
#define NEEDS_FILTER() (void)0
#endif

/* ---- in the child ---- */

static void do_socket(void) { socket(AF_INET, SOCK_STREAM, 0); }
static void do_connect(void) { connect(0, NULL, 0); }
static void do_open(void) { open("/etc/passwd", O_RDONLY); }
static void do_unlink(void) { unlink("/nonexistent"); }
static void do_fork(void) { fork(); }
static void do_exec(void) { execl("/bin/true", "true", (char *)NULL); }
static void do_kill(void) { kill(getppid(), 0); }
static void do_ptrace(void) { ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static void do_wx(void) { mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
static void do_dup(void) { fcntl(0, F_DUPFD, 10); }
static void do_memfd(void) { memfd_create("x", 0); }
static void do_prctl(void) { prctl(PR_SET_DUMPABLE, 1); }

static const struct {
	const char *name;
	void (*fn)(void);
} forbidden[] = {
	{ "socket", do_socket }, { "connect", do_connect }, { "open", do_open },   { "unlink", do_unlink },
	{ "fork", do_fork },	 { "exec", do_exec },	    { "kill", do_kill },   { "ptrace", do_ptrace },
	{ "wx", do_wx },	 { "dup", do_dup },	    { "memfd", do_memfd }, { "prctl", do_prctl },
};

/* What a worker lives on: memory, time, its descriptors. */
static int do_allowed(void)
{
	struct iovec iov = { "out", 3 };
	struct timespec t = { 0, 1000 }, now;
	char *p = malloc(8 << 20), byte;

	if (!p || clock_gettime(CLOCK_MONOTONIC, &now) != 0 || nanosleep(&t, NULL) != 0)
		return 10;
	memset(p, 1, 8 << 20);
	free(p);
	if (read(3, &byte, 1) != 1 || byte != 'i' || writev(3, &iov, 1) != 3 || shutdown(3, SHUT_WR) != 0)
		return 11;
	if (fcntl(3, F_SETFL, O_NONBLOCK) != 0 || read(3, &byte, 1) != -1 || errno != EAGAIN)
		return 12;
	return close(3) == 0 ? 42 : 13;
}

static void burn(void)
{
	for (volatile unsigned i = 0;; i++)
		;
}

static int too_much_memory(void)
{
	void *p = mmap(NULL, (size_t)3 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED && errno == ENOMEM ? 42 : 14;
}

static int in_the_sandbox(const char *what)
{
	struct os_sandbox sb = { .cpu_seconds_max = 1, .mem_bytes_max = (size_t)1 << 30 };

	if (os_sandbox_worker(&sb) != OK)
		return 9;
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
		if (strcmp(what, forbidden[i].name) == 0) {
			forbidden[i].fn();
			return 8;
		}
	if (strcmp(what, "burn") == 0)
		burn();
	if (strcmp(what, "memory") == 0)
		return too_much_memory();
	return do_allowed();
}

/* ---- in the parent ---- */

static struct os_loop *loop;
static struct { int exit_code, term_signal; unsigned n; } ended;

static void on_exit_child(void *ctx, int exit_code, int term_signal)
{
	ended.exit_code = exit_code;
	ended.term_signal = term_signal;
	ended.n++;
	os_loop_stop(loop);
}

static void run_in_sandbox(const char *what, int fd)
{
	const char *argv[] = { os_self_path(), "sandbox", what, NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, 1, 2, fd }, .n_fds = fd >= 0 ? 4 : 3 };
	struct os_child *c;

	memset(&ended, 0, sizeof(ended));
	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), OK);
	os_loop_run(loop);
	assert_int_equal(ended.n, 1);
	os_child_free(c);
	os_loop_free(loop);
}

/* ---- orphans: children that our own process must not notice ---- */

static volatile sig_atomic_t n_sigchld;

static void on_sigchld(int signum)
{
	n_sigchld++;
}

static struct os_child *run_shell(const char *script, bool orphan, bool wait)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, 1, 2 }, .n_fds = 3, .orphan = orphan };
	struct os_child *c;

	memset(&ended, 0, sizeof(ended));
	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), OK);
	if (wait)
		os_loop_run(loop);
	return c;
}

static void an_orphan_is_nobodys_child(void **state)
{
	struct sigaction sa = { .sa_handler = on_sigchld }, old;
	struct os_child *c;
	char path[64];

	n_sigchld = 0;
	assert_int_equal(sigaction(SIGCHLD, &sa, &old), 0);
	c = run_shell("exit 3", true, true);
	assert_int_equal(ended.n, 1);
	assert_int_equal(ended.exit_code, -1);
	assert_int_equal(ended.term_signal, 0);
	os_child_free(c);
	os_loop_free(loop);
	/* One that still runs: nothing to wait for either, and it can be killed. */
	c = run_shell("exec sleep 100", true, false);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)os_child_pid(c));
	assert_int_equal(access(path, F_OK), 0);
	os_child_kill(c, SIGKILL);
	os_loop_run(loop);
	assert_int_equal(ended.n, 1);
	os_child_free(c);
	os_loop_free(loop);
	assert_int_equal(n_sigchld, 0);
	assert_int_equal(sigaction(SIGCHLD, &old, NULL), 0);
}

static void an_orphan_that_cannot_start_says_why(void **state)
{
	const char *argv[] = { "/nonexistent/program", NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, 1, 2 }, .n_fds = 3, .orphan = true };
	struct os_child *c;

	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), ERR_NOT_FOUND);
	os_loop_free(loop);
}

/* Then its end is told all the same, once, and not how. */
static void do_nothing(int signum)
{
}

/* Where we are a guest, handlers of that program may interrupt what we wait in. */
static void a_signal_does_not_hide_why_it_cannot_start(void **state)
{
	const char *argv[] = { "/nowhere/at/all", NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, 1, 2 }, .n_fds = 3 };
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { 0 };
	struct sigaction act = { .sa_handler = do_nothing }, before;
	struct os_child *c = NULL;
	int n_wrong = 0;

	loop = os_loop_new();
	sigaction(SIGALRM, &act, &before);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 200; i++) {
		sp.orphan = i % 2;
		n_wrong += os_child_spawn(loop, &sp, on_exit_child, NULL, &c) != ERR_NOT_FOUND;
		os_child_free(c);
		c = NULL;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	os_loop_free(loop);
	assert_int_equal(n_wrong, 0);
}

static void a_child_that_somebody_else_waited_for(void **state)
{
	struct os_child *c = run_shell("exit 3", false, false);

	assert_int_equal(waitpid(-1, NULL, 0), os_child_pid(c));
	os_loop_run(loop);
	assert_int_equal(ended.n, 1);
	assert_int_equal(ended.exit_code, -1);
	os_child_free(c);
	os_loop_free(loop);
}

static void what_is_forbidden_kills_that_process_alone(void **state)
{
	NEEDS_FILTER();
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		run_in_sandbox(forbidden[i].name, -1);
		if (ended.term_signal != SIGSYS)
			fail_msg("%s: exit code %d, signal %d", forbidden[i].name, ended.exit_code, ended.term_signal);
	}
}

static void what_a_worker_needs_is_allowed(void **state)
{
	int fds[2];
	char buf[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(write(fds[0], "i", 1), 1);
	run_in_sandbox("allowed", fds[1]);
	close(fds[1]);
	assert_int_equal(ended.term_signal, 0);
	assert_int_equal(ended.exit_code, 42);
	assert_int_equal(read(fds[0], buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "out", 3);
	close(fds[0]);
}

static void processor_time_is_bounded(void **state)
{
	run_in_sandbox("burn", -1);
	assert_int_equal(ended.term_signal, SIGXCPU); /* not SIGKILL, which does not say why */
}

static void memory_is_bounded(void **state)
{
	NEEDS_FILTER();
	run_in_sandbox("memory", -1);
	assert_int_equal(ended.exit_code, 42);
}

/* ---- children ---- */

static void what_cannot_be_started_says_why(void **state)
{
	const char *missing[] = { "/nonexistent/program", NULL }, *folder[] = { "/", NULL };
	struct os_spawn sp = { .argv = missing, .fds = { -1, -1, -1 }, .n_fds = 3 };
	struct os_child *c;

	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), ERR_NOT_FOUND);
	assert_int_equal(os_spawn_detached(&sp), ERR_NOT_FOUND);
	sp.argv = folder;
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), ERR_PERMISSION);
	os_loop_free(loop);
}

/* Descriptor 5 becomes 3 and 3 becomes 5, although each is in the other's way; nothing else is left open. */
static void descriptors_are_placed_exactly(void **state)
{
	const char *argv[] = { "/bin/sh", "-c",
			       "cat <&3; cat <&4; for i in 6 7 8 9; do if true <&$i; then exit 9; fi; done 2>/dev/null; exit 5",
			       NULL };
	int a[2], b[2], out[2];
	char buf[8] = "";
	struct os_child *c;
	struct os_spawn sp = { .argv = argv };

	memset(&ended, 0, sizeof(ended));
	assert_true(pipe2(a, O_CLOEXEC) == 0 && pipe2(b, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	assert_true(write(a[1], "a", 1) == 1 && write(b[1], "b", 1) == 1);
	close(a[1]);
	close(b[1]);
	assert_int_equal(dup2(a[0], 4), 4);
	assert_int_equal(dup2(b[0], 3), 3);
	sp.n_fds = 5;
	memcpy(sp.fds, (int[]){ -1, out[1], 2, 4, 3 }, 5 * sizeof(int));
	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), OK);
	os_loop_run(loop);
	assert_int_equal(ended.exit_code, 5);
	assert_int_equal(read(out[0], buf, sizeof(buf)), 2);
	assert_string_equal(buf, "ab");
	os_child_free(c);
	os_loop_free(loop);
}

/* Out of descriptors: said, and neither started with other ones nor waited for. */
static void what_gets_no_descriptors_is_not_started(void **state)
{
	const char *argv[] = { "/bin/sleep", "100", NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, -1, -1 }, .n_fds = 3 };
	struct rlimit was, few;
	int first, filled[64];
	size_t n_filled = 0;
	struct os_child *c;
	pid_t pid;

	loop = os_loop_new();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	first = fcntl(0, F_DUPFD_CLOEXEC, 8);
	for (int i = first; i > 2; i--)
		if (fcntl(i, F_GETFD) < 0)
			filled[n_filled++] = dup(0);
	close(first);
	alarm(20);
	/* With each one more the start gets a step further. */
	for (rlim_t more = 0; more < 5; more++) {
		few.rlim_cur = (rlim_t)first + more;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		sp.orphan = false;
		assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), ERR_FULL);
		sp.orphan = true;
		assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), ERR_FULL);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	while (n_filled > 0)
		close(filled[--n_filled]);
	/* It runs, but nobody could open its pidfd. */
	pid = fork();
	if (pid == 0)
		_exit(sleep(100) > 0);
	assert_int_equal(os_child_adopt(loop, pid, -1, false, on_exit_child, NULL, &c), ERR_UNSUPPORTED);
	assert_int_equal(kill(pid, 0), -1);
	pid = fork();
	if (pid == 0)
		_exit(sleep(100) > 0);
	os_child_end(pid, -1, false);
	assert_int_equal(kill(pid, 0), -1);
	alarm(0);
	os_loop_free(loop);
}

static void a_freed_child_is_killed(void **state)
{
	const char *argv[] = { "/bin/sleep", "100", NULL };
	struct os_spawn sp = { .argv = argv, .fds = { -1, -1, -1 }, .n_fds = 3 };
	struct os_child *c;
	pid_t pid;

	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &sp, on_exit_child, NULL, &c), OK);
	pid = os_child_pid(c);
	os_child_free(c);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
	os_loop_free(loop);
}

/* ---- what people read when a worker ends so ---- */

/* ---- processes that somebody else forked for us ---- */

/* A child of ours that forks a sibling of itself: ours to wait for. It sends the number and the descriptor over 3. */
static int as_nursery(void)
{
	int pidfd = -1;
	pid_t pid = os_fork_sibling(&pidfd);
	uint64_t drawn;

	rng_bytes(os_rng(), &drawn, sizeof(drawn));
	if (pid == 0) {
		os_set_name("a-sibling");
		if (write(3, &drawn, sizeof(drawn)) != sizeof(drawn) || !os_wait_readable(3))
			_exit(1);
		_exit(44);
	}
	return pid > 0 && os_send_fds(3, &pid, sizeof(pid), &pidfd, 1) == OK ? 0 : 1;
}

/* Messages may come in either order. */
static void receive_sibling(int fd, pid_t *ret_pid, int *ret_pidfd)
{
	struct pollfd pf = { fd, POLLIN, 0 };

	*ret_pidfd = -1;
	for (int i = 0; i < 2; i++) {
		uint8_t buf[16];
		size_t len, n_fds = 0;
		int fds[OS_FDS_MAX];

		assert_int_equal(poll(&pf, 1, 5000), 1);
		assert_int_equal(os_recv_fds(fd, buf, sizeof(buf), &len, fds, &n_fds), OK);
		if (n_fds == 1) {
			memcpy(ret_pid, buf, sizeof(*ret_pid));
			*ret_pidfd = fds[0];
		}
	}
	assert_true(*ret_pidfd >= 0);
}

static void a_sibling_is_ours(void **state)
{
	const char *argv[] = { os_self_path(), "nursery", NULL };
	int pair[2], pidfd;
	struct os_child *nursery, *c;
	pid_t pid = 0;

	assert_int_equal(os_seqpacket_pair(pair), OK);
	memset(&ended, 0, sizeof(ended));
	loop = os_loop_new();
	assert_int_equal(os_child_spawn(loop, &(struct os_spawn){ .argv = argv, .fds = { -1, 1, 2, pair[1] }, .n_fds = 4 },
					on_exit_child, NULL, &nursery), OK);
	receive_sibling(pair[0], &pid, &pidfd);
	os_loop_run(loop); /* the nursery ends, the sibling stays */
	assert_int_equal(ended.exit_code, 0);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(os_child_adopt(loop, pid, pidfd, false, on_exit_child, NULL, &c), OK);
	assert_int_equal(write(pair[0], "x", 1), 1);
	os_loop_run(loop);
	assert_int_equal(ended.n, 2);
	assert_int_equal(ended.exit_code, 44);
	os_child_free(c);
	os_child_free(nursery);
	os_loop_free(loop);
	close(pair[0]);
	close(pair[1]);
}

static char why[256];

static void on_dial(void *ctx, struct ssh_worker *w, uint32_t id)
{
}

static void on_worker_end(void *ctx, struct ssh_worker *w, const char *reason)
{
	snprintf(why, sizeof(why), "%s", reason ? reason : "(idle)");
	os_loop_stop(loop);
}

/* The worker starts this program with "ssh-worker", which breaks the sandbox in a way that its user name says. */
static void a_worker_that_breaks_out_ends_with_a_reason(void **state)
{
	static const struct { const char *user, *why; } rows[] = {
		{ "socket", "it tried what its sandbox forbids" },
		{ "burn", "the server made it compute without end" },
		{ "other", "ended with status 3" },
	};
	struct ssh_worker_config cfg = { .host = "web1", .vpn_addr = "10.99.0.2", .known_hosts = "/nonexistent/known_hosts",
					 .on_dial = on_dial, .on_end = on_worker_end };
	struct ssh_worker *w;

	NEEDS_FILTER();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		why[0] = '\0';
		cfg.user = rows[i].user;
		loop = os_loop_new();
		assert_int_equal(ssh_worker_start(loop, &cfg, &w), OK);
		os_loop_run(loop);
		assert_string_equal(why, rows[i].why);
		ssh_worker_free(w);
		os_loop_free(loop);
	}
}

static int as_worker(void)
{
	struct os_sandbox sb = { .cpu_seconds_max = 1 };
	struct pollfd pf = { 3, POLLIN, 0 };
	char buf[512];
	ssize_t n = poll(&pf, 1, -1) == 1 ? read(3, buf, sizeof(buf)) : -1;

	if (n <= 0 || os_sandbox_worker(&sb) != OK)
		return 1;
	if (memmem(buf, (size_t)n, "socket", 6))
		do_socket();
	if (memmem(buf, (size_t)n, "burn", 4))
		burn();
	return 3;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_orphan_is_nobodys_child),
		cmocka_unit_test(an_orphan_that_cannot_start_says_why),
		cmocka_unit_test(a_signal_does_not_hide_why_it_cannot_start),
		cmocka_unit_test(a_child_that_somebody_else_waited_for),
		cmocka_unit_test(what_is_forbidden_kills_that_process_alone),
		cmocka_unit_test(what_a_worker_needs_is_allowed),
		cmocka_unit_test(processor_time_is_bounded),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(what_cannot_be_started_says_why),
		cmocka_unit_test(descriptors_are_placed_exactly),
		cmocka_unit_test(what_gets_no_descriptors_is_not_started),
		cmocka_unit_test(a_freed_child_is_killed),
		cmocka_unit_test(a_sibling_is_ours),
		cmocka_unit_test(a_worker_that_breaks_out_ends_with_a_reason),
	};

	if (argc == 3)
		_exit(in_the_sandbox(argv[2]));
	if (argc == 2)
		_exit(strcmp(argv[1], "nursery") == 0 ? as_nursery() : as_worker());
	return RUN_TESTS(tests);
}
