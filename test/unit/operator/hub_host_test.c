/*
 * A worker that takes no more sessions for a moment, and one that died unnoticed: each descriptor is closed once. A second close of
 * a number would close another thread's where the hub is a guest in somebody's program. And sessions whose worker, or the
 * process that it was to come from, dies before they begin: another serves them, or the command is told why none does.
 * Worker and nursery are this program; started as "no-fork" the nursery may make no process.
 */
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operator/hub_internal.h"
#include "os/proc.h"
#include "ssh/nursery.h"
#include "ssh/session.h"
#include "ssh/worker_process.h"
#include "test/lib/testing.h"

static char folder[TEST_FOLDER_MAX];
static unsigned n_closed_twice;
static bool no_fork;

/* These in place of the library's. */
pid_t fork(void)
{
	errno = EAGAIN;
	return no_fork ? -1 : ((pid_t(*)(void))dlsym(RTLD_NEXT, "fork"))();
}

long syscall(long number, ...)
{
	static long (*next)(long, ...);
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (no_fork && number == SYS_clone) {
		errno = EAGAIN;
		return -1;
	}
	if (!next)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int close(int fd)
{
	int r = (int)syscall(SYS_close, fd);

	n_closed_twice += r != 0 && errno == EBADF;
	return r;
}

static pid_t only_child(void)
{
	char text[64] = "";
	FILE *f;

	snprintf(text, sizeof(text), "pgrep -o -P %d", (int)getpid());
	f = popen(text, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	pclose(f);
	return (pid_t)atoi(text);
}

static void each_descriptor_is_closed_once(void **state)
{
	static struct hub h;
	static struct hub_host hh = { .hub = &h, .user = (char *)"u", .addr = "10.99.0.2" };
	char why[HUB_WHY_MAX] = "", known[TEST_FOLDER_MAX + 16];
	enum err e;
	int fd, n = 0;
	pid_t pid;

	h.loop = os_loop_new();
	list_init(&hh.dials);
	list_init(&hh.left);
	list_init(&hh.asks);
	snprintf(hh.peer.name, sizeof(hh.peer.name), "busy");
	hh.ids[hh.n_ids++] = strdup(HUB_AGENT);
	hh.agent = strdup("/nonexistent");
	snprintf(known, sizeof(known), "%s/known_hosts", folder);
	strcpy(h.paths.known_hosts, known);
	do {
		e = hub_host_attach(&hh, &fd, why);
		if (n++ == 0)
			assert_int_equal(e, OK);
		pid = n == 1 ? only_child() : pid;
		kill(pid, SIGSTOP);
		if (e == OK)
			close(fd);
	} while (e == OK && n < 10000);
	assert_int_equal(e, ERR_AGAIN);
	assert_int_equal(n_closed_twice, 0);
	kill(pid, SIGKILL);
	do
		e = hub_host_attach(&hh, &fd, why);
	while (e == ERR_AGAIN);
	assert_int_equal(e, OK);
	close(fd);
	assert_int_equal(n_closed_twice, 0);
	hub_host_stop(&hh);
	free(hh.ids[0]);
	free(hh.agent);
	os_loop_free(h.loop);
}

/* ---- sessions outlive workers ---- */

static struct hub hub;
static struct hub_host host = { .hub = &hub, .user = (char *)"u", .addr = "10.99.0.2", .gone = true };
static char program[TEST_FOLDER_MAX + 16];

static int set_up_host(void **state)
{
	hub.loop = os_loop_new();
	hub.opt.worker = NULL;
	list_init(&host.dials);
	list_init(&host.asks);
	list_init(&host.left);
	snprintf(host.peer.name, sizeof(host.peer.name), "mortal");
	host.n_ids = 0;
	host.ids[host.n_ids++] = strdup(HUB_AGENT);
	host.agent = strdup("/nonexistent");
	host.breaker = (struct breaker){ 0 };
	snprintf(hub.paths.known_hosts, sizeof(hub.paths.known_hosts), "%s/known_hosts", folder);
	hub.nursery = *state ? NULL : ssh_nursery_new(hub.loop, NULL, false);
	no_fork = false;
	return 0;
}

static int tear_down_host(void **state)
{
	no_fork = false;
	hub_host_stop(&host);
	ssh_nursery_free(hub.nursery);
	free(host.ids[0]);
	free(host.agent);
	os_loop_free(hub.loop);
	return 0;
}

/* The nursery is begun first, its workers are younger. (The brackets keep the shell between from being found.) */
static pid_t child(bool youngest)
{
	char text[64];
	FILE *f;

	snprintf(text, sizeof(text), "pgrep -%c -P %d -f s[s]h-", youngest ? 'n' : 'o', (int)getpid());
	f = popen(text, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	pclose(f);
	return (pid_t)atoi(text);
}

/* Dead, and the loop has not seen it. */
static void kill_unnoticed(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void stop_loop(void *ctx)
{
	os_loop_stop(hub.loop);
}

static void turn(nsec_t time)
{
	struct os_timer t;

	os_timer_init(&t, hub.loop, stop_loop, NULL);
	os_timer_set(&t, os_loop_now(hub.loop) + time);
	os_loop_run(hub.loop);
	os_timer_cancel(&t);
}

static int begin_session(uint32_t version)
{
	char why[HUB_WHY_MAX] = "";
	struct ssh_buf body = { 0 }, b = { 0 };
	enum err e;
	int fd;

	while ((e = hub_host_attach(&host, &fd, why)) == ERR_AGAIN)
		turn(2 * NSEC_PER_MSEC);
	if (e != OK)
		fail_msg("%s: %s", err_name(e), why);
	assert_true(ssh_put_u32(&body, version) == OK && ssh_put_string(&body, "true", 4) == OK &&
		    ssh_put_u32(&body, 0) == OK);
	assert_int_equal(ssh_frame_add(&b, SSH_F_EXEC, (struct bytes){ body.p, body.len }, (struct bytes){ NULL, 0 }), OK);
	assert_int_equal(write(fd, b.p, b.len), b.len);
	ssh_buf_fini(&body);
	ssh_buf_fini(&b);
	return fd;
}

static int begin_command(void)
{
	return begin_session(SSH_SESSION_VERSION);
}

/* Bytes, 0 at the end, -1 when nothing comes. */
static ssize_t hear(int fd, uint8_t *to, size_t size)
{
	ssize_t n = -1;

	for (int i = 0; i < 1000 && n < 0; i++) {
		turn(10 * NSEC_PER_MSEC);
		n = recv(fd, to, size, 0);
		n = n < 0 && errno != EAGAIN ? 0 : n;
	}
	return n;
}

/* The error that the session ends with; it is the only one, and nobody has the session any more. */
static enum err last_words(int fd, char ret_text[SSH_ERROR_TEXT_MAX])
{
	uint8_t frame[1500], type = 0;
	struct ssh_buf b = { 0 };
	struct ssh_reader r;
	struct bytes body;
	size_t total;
	ssize_t n = hear(fd, frame, sizeof(frame));
	enum err e;

	snprintf(ret_text, SSH_ERROR_TEXT_MAX, "nothing was said");
	if (n <= 0) {
		close(fd);
		return n ? ERR_TIMEOUT : ERR_RESET;
	}
	assert_int_equal(ssh_buf_add(&b, frame, (size_t)n), OK);
	assert_int_equal(hear(fd, frame, sizeof(frame)), 0);
	close(fd);
	assert_int_equal(ssh_frame_next(&b, &type, &body, &total), OK);
	assert_int_equal(total, n);
	assert_int_equal(type, SSH_F_ERROR);
	r = (struct ssh_reader){ body.p, body.len, false };
	e = ssh_read_err(&r);
	ssh_read_text(&r, ret_text, SSH_ERROR_TEXT_MAX);
	ssh_buf_fini(&b);
	return e;
}

/* A worker has taken it and told its command how it went. (The breaker may rest by then.) */
static void assert_served(int fd)
{
	char text[SSH_ERROR_TEXT_MAX];
	enum err e = last_words(fd, text);

	if (e != ERR_NO_ROUTE && e != ERR_PAUSED)
		fail_msg("%s: %s", err_name(e), text);
}

static void assert_refused(int fd, const char *says)
{
	char text[SSH_ERROR_TEXT_MAX];
	enum err e = last_words(fd, text);

	if (e != ERR_CLOSED || !strstr(text, says))
		fail_msg("%s: %s", err_name(e), text);
}

static void have_a_worker(void)
{
	assert_served(begin_command());
}

static void both_die_unnoticed(void **state)
{
	have_a_worker();
	kill_unnoticed(child(true));
	kill_unnoticed(child(false));
	have_a_worker();
}

/* Between the death of the worker and that of the nursery. */
static void the_worker_is_missed_and_the_nursery_is_not(void **state)
{
	have_a_worker();
	kill_unnoticed(child(true));
	turn(50 * NSEC_PER_MSEC);
	assert_null(host.worker);
	kill_unnoticed(child(false));
	have_a_worker();
}

static void the_nursery_dies_while_a_worker_is_being_born(void **state)
{
	int fds[3];

	have_a_worker();
	kill_unnoticed(child(true));
	turn(50 * NSEC_PER_MSEC);
	kill(child(false), SIGSTOP);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = begin_command();
	kill_unnoticed(child(false));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		assert_served(fds[i]);
}

static void the_worker_dies_with_sessions_on_their_way(void **state)
{
	int fds[300]; /* more than wait for a worker beside its socket */
	pid_t pid;

	have_a_worker();
	pid = child(true);
	kill(pid, SIGSTOP);
	for (size_t i = 0; i < 200; i++)
		fds[i] = begin_command();
	kill_unnoticed(pid);
	/* Noticed here, by the first that it is given to, or later, by the loop. */
	for (size_t i = 200; i < ARRAY_SIZE(fds); i++)
		fds[i] = begin_command();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		assert_served(fds[i]);
}

/* Of an older program: it is taken at once, to be told so. */
static void assert_told_version(int fd)
{
	char text[SSH_ERROR_TEXT_MAX];

	if (last_words(fd, text) != ERR_VERSION)
		fail_msg("%s", text);
}

/* The worker has looked at it, and waits for us to dial; the hub is given no time for that. */
static void the_worker_dies_while_it_logs_in(void **state)
{
	int fds[3];

	have_a_worker();
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = begin_command();
	usleep(200000);
	kill_unnoticed(child(true));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		assert_served(fds[i]);
}

/* A worker died that had taken the first, which the hub has not read yet, and could not take the second. */
static void die_between(int *ret_taken, int *ret_left)
{
	pid_t pid;

	have_a_worker();
	pid = child(true);
	*ret_taken = begin_session(SSH_SESSION_VERSION + 1);
	usleep(200000);
	kill(pid, SIGSTOP);
	*ret_left = begin_command();
	kill_unnoticed(pid);
}

/* Another worker might do it a second time. */
static void what_was_taken_is_not_given_again(void **state)
{
	int taken, left;

	die_between(&taken, &left);
	assert_served(left);
	assert_told_version(taken);
}

static void no_process_for_the_nursery(void **state)
{
	char why[HUB_WHY_MAX] = "";
	int fd;

	no_fork = true;
	assert_int_equal(hub_host_attach(&host, &fd, why), ERR_CLOSED);
	assert_non_null(strstr(why, "cannot start the SSH worker: no more processes or descriptors are allowed (ulimit -u"));
	no_fork = false;
	have_a_worker();
}

static void no_process_for_the_worker(void **state)
{
	ssh_nursery_free(hub.nursery);
	hub.nursery = ssh_nursery_new(hub.loop, program, false);
	assert_refused(begin_command(), "none of 3 SSH workers came so far as to begin, the last one: it could not be started: no more processes");
}

/* What is told is of the last try, not of the workers before. */
static void no_key_for_the_next_worker(void **state)
{
	char text[SSH_ERROR_TEXT_MAX];
	pid_t pid;
	int fd;

	have_a_worker();
	pid = child(true);
	kill(pid, SIGSTOP);
	fd = begin_command();
	free(host.ids[0]);
	host.ids[0] = strdup("/nonexistent/key");
	kill_unnoticed(pid);
	assert_int_equal(last_words(fd, text), ERR_AUTH);
	if (!strstr(text, "/nonexistent/key"))
		fail_msg("%s", text);
}

static void workers_that_always_die(void **state)
{
	hub.opt.worker = "/bin/true";
	assert_refused(begin_command(), "none of 3 SSH workers came so far as to begin, the last one: ended with status 0");
}

/* What it is told of a session that was taken, and the hub did not know yet, must not be that nothing was done. */
static void a_host_that_is_taken_away(void **state)
{
	int taken, left;

	die_between(&taken, &left);
	hub_host_stop(&host);
	assert_refused(left, "nothing was done");
	assert_told_version(taken);
}

/* When we are started as one of the two. */
static void play_a_part(const char *name, const char *part)
{
	const char *slash = strrchr(name, '/');

	no_fork = slash && strcmp(slash, "/no-fork") == 0;
	if (part && strcmp(part, "ssh-worker") == 0)
		exit(ssh_worker_main(3));
	if (part && strcmp(part, "ssh-nursery") == 0)
		exit(ssh_nursery_main(3));
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up_host, tear_down_host)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_descriptor_is_closed_once),
		T(both_die_unnoticed),
		T(the_worker_is_missed_and_the_nursery_is_not),
		T(the_nursery_dies_while_a_worker_is_being_born),
		T(the_worker_dies_with_sessions_on_their_way),
		T(the_worker_dies_while_it_logs_in),
		T(what_was_taken_is_not_given_again),
		T(no_process_for_the_nursery),
		T(no_process_for_the_worker),
		T(no_key_for_the_next_worker),
		{ "workers_that_always_die", workers_that_always_die, set_up_host, tear_down_host, (void *)1 },
		T(a_host_that_is_taken_away),
	};
	int failed;

	play_a_part(argv[0], argc > 1 ? argv[1] : NULL);
	test_folder_make(folder, "hub_host");
	snprintf(program, sizeof(program), "%s/no-fork", folder);
	if (symlink(os_self_path(), program) != 0)
		return 1;
	failed = RUN_TESTS(tests);
	return failed + test_folder_remove(folder);
}
