/*
 * test/unit/os/torture_test.c - every allocation of what os/ makes fails, one after the other (test/lib/shortage.h).
 *
 * A call that says no leaves nothing behind: no block, no descriptor, no child; called again it succeeds. Timers, which cannot say
 * no, come all the same: late at worst, each once.
 */
#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/crew.h"
#include "os/file.h"
#include "os/netmon.h"
#include "os/stream.h"
#include "os/task.h"
#include "os/udp.h"
#include "test/lib/shortage.h"

#define N_TIMERS 300 /* the heap grows some times */
#define FASTER 50    /* two seconds of shortage are 40 ms */

static struct os_loop *loop;
static char folder[TEST_FOLDER_MAX], path[TEST_FOLDER_MAX + 16];

static nsec_t faster_clock(void)
{
	return os_now() * FASTER;
}

static unsigned n_fds(void)
{
	DIR *d;
	unsigned n = 0;

	shortage.exempt = true;
	d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	closedir(d);
	shortage.exempt = false;
	return n;
}

/* ---- timers ---- */

static struct late_one {
	struct os_timer t;
	nsec_t at;
	unsigned n_fired;
} timers[N_TIMERS];
static unsigned n_left;

static void on_time(void *ctx)
{
	struct late_one *one = ctx;

	assert_true(os_loop_now(loop) >= one->at);
	one->n_fired++;
	if (--n_left == 0)
		os_loop_stop(loop);
}

/* Some are set twice, some taken back, some set again after that. */
static unsigned set_timers(unsigned fail, bool lasts)
{
	long before = shortage.n_live;
	nsec_t now;

	loop = os_loop_new();
	assert_non_null(loop);
	now = os_loop_now(loop);
	n_left = 0;
	shortage_begin(0, fail, lasts);
	for (unsigned i = 0; i < N_TIMERS; i++) {
		struct late_one *one = &timers[i];

		*one = (struct late_one){ .at = now + (i * 7919 % 20) * NSEC_PER_MSEC };
		os_timer_init(&one->t, loop, on_time, one);
		os_timer_set(&one->t, one->at + (i % 5 == 0 ? NSEC_PER_SEC : 0));
		if (i % 3 == 0)
			os_timer_cancel(&one->t);
		if (i % 3 == 0 ? i % 2 == 0 : i % 5 == 0)
			os_timer_set(&one->t, one->at);
		n_left += i % 3 != 0 || i % 2 == 0;
	}
	os_loop_run(loop);
	shortage_end();
	for (unsigned i = 0; i < N_TIMERS; i++) {
		assert_int_equal(timers[i].n_fired, i % 3 != 0 || i % 2 == 0);
		os_timer_cancel(&timers[i].t);
	}
	assert_true(os_now() - now < 5 * NSEC_PER_SEC);
	os_loop_free(loop);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void timers_come_all_the_same(void **state)
{
	shortage_torture("timers", set_timers, 2);
}

/* ---- what is made ---- */

static void on_fd(void *ctx, int fd)
{
}

static void on_stream(void *ctx, struct os_stream *s, int events)
{
}

static void on_recv(void *ctx, const struct os_udp_dgram *d, size_t n)
{
}

static void on_dial(void *ctx, enum err e, int fd)
{
	*(int *)ctx = fd;
	os_loop_stop(loop);
}

static void on_change(void *ctx)
{
}

static void say(int fd, void *arg)
{
	assert_int_equal(write(fd, "done", 4), 4);
}

static void on_answer(void *ctx, const char *answer, size_t len)
{
	assert_int_equal(len, 4);
	os_loop_stop(loop);
}

static void compute(void *arg, unsigned thread)
{
}

/* Each makes one thing and takes it away. */
static enum err make_udp(void)
{
	struct os_udp_handler h = { on_recv, NULL, NULL };
	struct os_udp *u;
	enum err e = os_udp_open(loop, 0, &h, &u);

	if (e == OK)
		os_udp_close(u);
	return e;
}

static enum err make_stream(void)
{
	struct os_stream *s;
	int fds[2];
	enum err e = os_socketpair(fds);

	if (e != OK)
		return e;
	e = os_stream_new(loop, fds[0], on_stream, NULL, &s);
	/* Until it is a stream it is the caller's. */
	if (e == OK)
		os_stream_close(s);
	else
		close(fds[0]);
	close(fds[1]);
	return e;
}

static enum err make_dial(void)
{
	struct endpoint any = { ip_addr_v4(127, 0, 0, 1), 0, 0 };
	struct os_listener *l;
	struct os_dial *d;
	char target[32];
	int fd = -1;
	enum err e = os_listen_tcp(loop, &any, on_fd, NULL, &l);

	if (e != OK)
		return e;
	/* Accepted ones would be the test's to close: the listener is never told. */
	snprintf(target, sizeof(target), "localhost:%u", os_listener_port(l));
	e = os_dial_start(loop, target, os_now() + 5 * NSEC_PER_SEC, on_dial, &fd, &d);
	if (e == OK)
		os_dial_cancel(d);
	os_listener_close(l);
	return e;
}

static enum err make_unix(void)
{
	struct os_listener *l;
	enum err e = os_listen_unix(loop, path, on_fd, NULL, &l);

	if (e == OK)
		os_listener_close(l);
	assert_int_not_equal(access(path, F_OK), 0);
	return e;
}

static enum err make_netmon(void)
{
	struct os_netmon *m;
	enum err e = os_netmon_start(loop, on_change, NULL, &m);

	if (e == OK)
		os_netmon_stop(m);
	return e;
}

static enum err make_task(void)
{
	struct os_task *t;
	enum err e = os_task_start(loop, say, NULL, os_now() + 10 * NSEC_PER_SEC, on_answer, NULL, &t);

	if (e == OK)
		os_loop_run(loop);
	return e;
}

static enum err make_crew(void)
{
	struct os_crew_config cfg = { .n_threads = 1, .work = compute, .on_done = on_change };
	struct os_crew *crew;
	enum err e = os_crew_new(loop, &cfg, &crew);

	if (e == OK)
		os_crew_free(crew);
	return e;
}

static enum err make_lock(void)
{
	struct os_lock *l;
	enum err e = os_lock_take(path, 1, &l);

	if (e == OK)
		os_lock_free(l);
	unlink(path);
	return e;
}

static enum err make_file(void)
{
	char *text;
	size_t len;
	enum err e = os_file_write_atomic(path, "old", 3, 0600);

	if (e == OK)
		e = os_file_read(path, 100, &text, &len);
	if (e == OK) {
		assert_string_equal(text, "old");
		free(text);
	}
	unlink(path);
	return e;
}

static enum err make_loop(void)
{
	struct os_loop *another = os_loop_new();

	os_loop_free(another);
	return another ? OK : ERR_NOMEM;
}

static const struct made {
	const char *name;
	enum err (*make)(void);
} *made;

static unsigned make_twice(unsigned fail, bool lasts)
{
	long before;
	unsigned fds;
	enum err e;

	loop = os_loop_new();
	assert_non_null(loop);
	before = shortage.n_live;
	fds = n_fds();
	shortage_begin(0, fail, lasts);
	e = made->make();
	assert_true(e == OK || (e == ERR_NOMEM && shortage.n_failed > 0));
	shortage_end();
	assert_int_equal(n_fds(), fds);
	assert_int_equal(made->make(), OK);
	assert_int_equal(n_fds(), fds);
	/* The loop keeps what its heap has grown to. */
	assert_true(shortage.n_live - before <= 1);
	os_loop_free(loop);
	return shortage.n;
}

static void what_is_made_is_whole_or_not_there(void **state)
{
	static const struct made all[] = {
		{ "loop", make_loop },	   { "udp", make_udp },	  { "stream", make_stream }, { "dial", make_dial }, { "unix", make_unix },
		{ "netmon", make_netmon }, { "task", make_task }, { "crew", make_crew },     { "lock", make_lock }, { "file", make_file },
	};

	for (made = all; made < all + ARRAY_SIZE(all); made++)
		shortage_torture(made->name, make_twice, 1);
}

static int warm(void **state)
{
	shortage.clock = faster_clock;
	test_folder_make(folder, "torture");
	snprintf(path, sizeof(path), "%s/it", folder);
	return 0;
}

static int clean(void **state)
{
	return test_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHORTAGE_TEST(timers_come_all_the_same),
		SHORTAGE_TEST(what_is_made_is_whole_or_not_there),
	};

	return cmocka_run_group_tests(tests, warm, clean);
}
