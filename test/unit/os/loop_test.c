/* alone: how late a timer is, and what asking costs */
#include <signal.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/loop.h"
#include "test/lib/testing.h"

struct shot {
	struct os_timer timer;
	struct os_timer *victim; /* cancelled when this one fires */
	nsec_t fired_at;
	unsigned n_fired, order;
	bool last;
};

static unsigned n_shots;

static void on_shot(void *ctx)
{
	struct shot *s = ctx;

	s->fired_at = os_now();
	s->n_fired++;
	s->order = n_shots++;
	if (s->victim)
		os_timer_cancel(s->victim);
	if (s->last)
		os_loop_stop(s->timer.loop);
}

static void timers_fire_in_order_of_time(void **state)
{
	static const unsigned ms[] = { 9, 3, 12, 1, 6, 30 };
	static const unsigned order[] = { 3, 1, 4, 0, 2, 5 };
	struct shot s[ARRAY_SIZE(ms)] = { 0 };
	struct os_loop *loop = os_loop_new();
	nsec_t start = os_now();

	n_shots = 0;
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		os_timer_init(&s[i].timer, loop, on_shot, &s[i]);
		os_timer_set(&s[i].timer, start + ms[i] * NSEC_PER_MSEC);
	}
	s[5].last = true;
	os_loop_run(loop);
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		assert_int_equal(s[order[i]].order, i);
		assert_int_equal(s[i].n_fired, 1);
		assert_true(s[i].fired_at >= start + ms[i] * NSEC_PER_MSEC);
	}
	os_loop_free(loop);
}

/* Memory that ran out between two timers would be a timer that never fires, or the end of the program. */
static void timers_are_set_without_memory(void **state)
{
	enum { N = 200000 };
	struct os_loop *loop;
	struct rlimit was, none = { 0 };
	struct shot *s;

#ifdef __SANITIZE_ADDRESS__
	skip(); /* what it keeps beside the memory is beyond the limit already */
#endif
	loop = os_loop_new();
	s = calloc(N, sizeof(*s));
	assert_non_null(s);
	for (size_t i = 0; i < N; i++)
		os_timer_init(&s[i].timer, loop, on_shot, &s[i]);
	assert_int_equal(getrlimit(RLIMIT_AS, &was), 0);
	none.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
	for (size_t i = 0; i < N; i++)
		os_timer_set(&s[i].timer, 1 + i);
	assert_int_equal(setrlimit(RLIMIT_AS, &was), 0);
	s[N - 1].last = true;
	n_shots = 0;
	os_loop_run(loop);
	assert_int_equal(n_shots, N);
	assert_int_equal(s[N / 2].order, N / 2);
	os_loop_free(loop);
	free(s);
}

static void cancelled_timers_stay_silent(void **state)
{
	struct shot s[4] = { 0 };
	struct os_loop *loop = os_loop_new();
	nsec_t at = os_now() + 5 * NSEC_PER_MSEC;

	n_shots = 0;
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		os_timer_init(&s[i].timer, loop, on_shot, &s[i]);
	os_timer_set(&s[0].timer, at);
	os_timer_set(&s[1].timer, at);
	os_timer_set(&s[2].timer, at + 1);
	os_timer_set(&s[3].timer, at + 10 * NSEC_PER_MSEC);
	os_timer_set(&s[1].timer, NSEC_NEVER);
	s[0].victim = &s[2].timer; /* due in the same turn */
	s[3].last = true;
	os_loop_run(loop);
	assert_int_equal(s[0].n_fired, 1);
	assert_int_equal(s[1].n_fired, 0);
	assert_int_equal(s[2].n_fired, 0);
	assert_int_equal(s[3].n_fired, 1);
	os_loop_free(loop);
}

static void a_later_set_replaces_the_earlier(void **state)
{
	struct shot s = { .last = true };
	struct os_loop *loop = os_loop_new();
	nsec_t start = os_now();

	os_timer_init(&s.timer, loop, on_shot, &s);
	os_timer_set(&s.timer, start + NSEC_PER_MSEC);
	os_timer_set(&s.timer, start + 20 * NSEC_PER_MSEC);
	os_loop_run(loop);
	assert_int_equal(s.n_fired, 1);
	assert_true(s.fired_at >= start + 20 * NSEC_PER_MSEC);
	os_loop_free(loop);
}

static void on_greedy(void *ctx)
{
	struct shot *s = ctx;

	on_shot(s);
	/* As one does whose deadline has long passed. */
	os_timer_set(&s->timer, 0);
	if (s->n_fired == 100)
		os_loop_stop(s->timer.loop);
}

/* Whatever time it names: what is due already comes first. */
static void a_timer_that_sets_itself_to_the_past_starves_nobody(void **state)
{
	struct shot greedy = { 0 }, other = { 0 };
	struct os_loop *loop = os_loop_new();

	n_shots = 0;
	os_timer_init(&greedy.timer, loop, on_greedy, &greedy);
	os_timer_init(&other.timer, loop, on_shot, &other);
	os_timer_set(&greedy.timer, 0);
	os_timer_set(&other.timer, os_now());
	os_loop_run(loop);
	assert_int_equal(greedy.n_fired, 100);
	assert_int_equal(other.n_fired, 1);
	assert_in_range(other.order, 1, 2);
	os_timer_cancel(&greedy.timer);
	os_loop_free(loop);
}

/* Below a millisecond; the best of many, as the machine is shared. */
static void short_timers_are_exact(void **state)
{
	struct os_loop *loop = os_loop_new();
	nsec_t best = NSEC_NEVER;

	for (int i = 0; i < 50; i++) {
		struct shot s = { .last = true };
		nsec_t at = os_now() + 300 * NSEC_PER_USEC;

		os_timer_init(&s.timer, loop, on_shot, &s);
		os_timer_set(&s.timer, at);
		os_loop_run(loop);
		assert_true(s.fired_at >= at);
		if (s.fired_at - at < best)
			best = s.fired_at - at;
	}
	assert_true(best < NSEC_PER_MSEC / 2);
	os_loop_free(loop);
}

/* ---- asking before sleeping ---- */

struct drops {
	struct os_loop *loop;
	int fd, left;
};

static void on_drop(void *ctx, int events)
{
	struct drops *d = ctx;
	char c;

	assert_int_equal(read(d->fd, &c, 1), 1);
	if (--d->left == 0)
		os_loop_stop(d->loop);
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A byte every @every nanoseconds from a child, @n of them. Return: processor seconds that the loop took. */
static double take_drops(int n, long every)
{
	struct drops d = { .loop = os_loop_new(), .left = n };
	struct timespec pause = { 0, every };
	struct os_watch *w;
	int p[2], status;
	double before;
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	assert_true(pid >= 0);
	for (int i = 0; pid == 0; i++) {
		nanosleep(&pause, NULL);
		if (i == n)
			_exit(0);
		if (write(p[1], "x", 1) != 1)
			_exit(1);
	}
	d.fd = p[0];
	assert_int_equal(os_watch_new(d.loop, p[0], on_drop, &d, &w), OK);
	os_watch_set(w, OS_READ);
	before = cpu_seconds();
	os_loop_run(d.loop);
	before = cpu_seconds() - before;
	assert_int_equal(d.left, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	os_watch_free(w);
	os_loop_free(d.loop);
	close(p[0]);
	close(p[1]);
	return before;
}

/* What comes now and then is slept for: less than a twentieth of the time. */
static void rare_events_cost_no_asking(void **state)
{
	assert_true(take_drops(150, 2 * 1000 * 1000) < 0.015);
}

/* What comes a little too late to be worth it: bounded. */
static void asking_in_vain_ends(void **state)
{
	nsec_t start = os_now();
	double cpu = take_drops(2000, 60 * 1000);

	assert_true(cpu < 0.7 * (double)(os_now() - start) / 1e9);
}

/* ---- what may wait to be told together ---- */

#define COMES_AFTER (2 * NSEC_PER_MSEC)
#define SPAN (60 * NSEC_PER_MSEC)

struct waits {
	struct os_loop *loop;
	struct os_timer begin, due;
	struct os_watch *watch;
	int fd;
	bool is_there;
	nsec_t span, due_after, begun_at, told_at, due_at;
};

static void on_begin(void *ctx)
{
	struct waits *w = ctx;
	struct itimerspec comes = { .it_value.tv_nsec = w->is_there ? 1 : (long)COMES_AFTER };

	w->begun_at = os_now();
	assert_int_equal(timerfd_settime(w->fd, 0, &comes, NULL), 0);
	if (w->is_there)
		usleep(100);
	if (w->due_after)
		os_timer_set(&w->due, w->begun_at + w->due_after);
	os_loop_coalesce(w->loop, w->span);
}

static void on_due(void *ctx)
{
	struct waits *w = ctx;

	w->due_at = os_now();
	os_loop_stop(w->loop);
}

static void on_told(void *ctx, int events)
{
	struct waits *w = ctx;

	w->told_at = os_now();
	os_watch_set(w->watch, 0);
	if (!w->due_after)
		os_loop_stop(w->loop);
}

/*
 * A descriptor becomes readable COMES_AFTER a turn that said @span, or in it; a timer is due @due after it, unless that is 0.
 * Return: when, after that turn, the descriptor was told.
 */
static nsec_t told_after(nsec_t span, bool is_there, nsec_t due, nsec_t *ret_due)
{
	struct waits w = { .loop = os_loop_new(), .span = span, .is_there = is_there, .due_after = due };

	w.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	os_timer_init(&w.begin, w.loop, on_begin, &w);
	os_timer_init(&w.due, w.loop, on_due, &w);
	assert_int_equal(os_watch_new(w.loop, w.fd, on_told, &w, &w.watch), OK);
	os_watch_set(w.watch, OS_READ);
	/* A little later: the first turn of a loop is another one. */
	os_timer_set(&w.begin, os_now() + 3 * NSEC_PER_MSEC);
	os_loop_run(w.loop);
	os_watch_free(w.watch);
	os_loop_free(w.loop);
	close(w.fd);
	if (ret_due)
		*ret_due = w.due_at - w.begun_at;
	return w.told_at - w.begun_at;
}

static void what_comes_in_a_span_is_told_at_its_end(void **state)
{
	assert_true(told_after(SPAN, false, 0, NULL) >= SPAN);
	assert_true(told_after(0, false, 0, NULL) < SPAN);
}

static void what_is_there_already_does_not_wait(void **state)
{
	assert_true(told_after(SPAN, true, 0, NULL) < SPAN);
}

/* And ends the span: it is for one turn. */
static void a_timer_in_a_span_is_on_time(void **state)
{
	nsec_t due, told = told_after(SPAN, false, SPAN / 4, &due);

	assert_in_range(due, SPAN / 4, SPAN - 1);
	assert_in_range(told, SPAN / 4, SPAN - 1);
}

static nsec_t late_by;

static void on_byte(void *ctx, int events)
{
	late_by = os_now() - os_loop_now(ctx);
	os_loop_stop(ctx);
}

static void on_hup(void *ctx, int signum)
{
	on_byte(ctx, 0);
}

/* Turns @loop until a child that sleeps first has written to @fd, or sent SIGHUP when that is -1. */
static void sleep_until_called(struct os_loop *loop, int fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		usleep(300 * 1000);
		if (fd < 0)
			kill(getppid(), SIGHUP);
		else if (write(fd, "", 1) < 0)
			_exit(1);
		_exit(0);
	}
	os_loop_run(loop);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/*
 * Who is called after a sleep finds the time of now, not of before it: a deadline counted from there would be over. The
 * time of before is late each time; when another program was let run in between, only that once.
 */
static void callbacks_find_the_time_of_now(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct os_watch *w;
	char byte;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(os_watch_new(loop, fds[0], on_byte, loop, &w), OK);
	os_watch_set(w, OS_READ);
	assert_int_equal(os_signal_on(loop, SIGHUP, on_hup, loop), OK);
	for (int by_signal = 0; by_signal < 2; by_signal++) {
		late_by = NSEC_NEVER;
		for (int i = 0; i < 5 && late_by >= 100 * NSEC_PER_MSEC; i++) {
			sleep_until_called(loop, by_signal ? -1 : fds[1]);
			if (!by_signal)
				assert_int_equal(read(fds[0], &byte, 1), 1);
		}
		assert_true(late_by < 100 * NSEC_PER_MSEC);
		os_watch_set(w, 0);
	}
	os_watch_free(w);
	close(fds[0]);
	close(fds[1]);
	os_loop_free(loop);
}

static void a_stop_before_the_run_counts(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct shot s = { .last = true };

	os_timer_init(&s.timer, loop, on_shot, &s);
	os_timer_set(&s.timer, os_now() + 20 * NSEC_PER_SEC);
	os_loop_stop(loop);
	os_loop_run(loop);
	assert_int_equal(s.n_fired, 0);
	os_timer_cancel(&s.timer);
	os_loop_free(loop);
}

/* ---- the end of a turn ---- */

struct order {
	struct os_late late;
	struct os_timer timer;
	char seen[16];
	unsigned n_late;
};

static void saw(struct order *o, const char *what)
{
	strcat(o->seen, what);
}

static void on_late(void *ctx)
{
	struct order *o = ctx;

	saw(o, "l");
	/* Asked for from within: the next turn, and that does not wait for anything. */
	if (++o->n_late == 1)
		os_late_ask(&o->late);
	else if (o->n_late == 2)
		os_loop_stop(o->timer.loop);
}

static void on_order_timer(void *ctx)
{
	struct order *o = ctx;

	saw(o, "t");
	os_late_ask(&o->late);
	os_late_ask(&o->late);
}

static void a_late_call_comes_once_after_the_timers(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct order o = { .n_late = 0 };

	os_late_init(&o.late, loop, on_late, &o);
	os_timer_init(&o.timer, loop, on_order_timer, &o);
	os_late_ask(&o.late);
	os_timer_set(&o.timer, 0);
	os_loop_run(loop);
	assert_string_equal(o.seen, "tll");
	/* Whoever stops the loop may have asked before. */
	os_late_ask(&o.late);
	os_loop_stop(loop);
	os_loop_run(loop);
	assert_string_equal(o.seen, "tlll");
	os_late_ask(&o.late);
	os_late_cancel(&o.late);
	os_loop_stop(loop);
	os_loop_run(loop);
	assert_string_equal(o.seen, "tlll");
	os_loop_free(loop);
}

/* ---- watches ---- */

struct pair_watch {
	struct os_loop *loop;
	struct os_watch *w, **other;
	int fd, events;
	unsigned n;
};

static void on_first(void *ctx, int events)
{
	struct pair_watch *p = ctx;

	p->n++;
	p->events = events;
	if (p->other && *p->other) {
		os_watch_free(*p->other);
		*p->other = NULL;
	}
	os_loop_stop(p->loop);
}

static void watch_end(struct os_loop *loop, struct pair_watch *p, int fd)
{
	*p = (struct pair_watch){ .loop = loop, .fd = fd };
	assert_int_equal(os_watch_new(loop, fd, on_first, p, &p->w), OK);
}

static void on_always(void *ctx, int events)
{
}

/* Both are ready in one turn, and whoever is called first frees the other. */
static void a_watch_freed_in_its_turn_stays_silent(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct pair_watch a, b;
	int fds[2][2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
	}
	watch_end(loop, &a, fds[0][0]);
	watch_end(loop, &b, fds[1][0]);
	a.other = &b.w;
	b.other = &a.w;
	os_watch_set(a.w, OS_READ);
	os_watch_set(b.w, OS_READ);
	os_loop_run(loop);
	assert_int_equal(a.n + b.n, 1);
	os_watch_free(a.w);
	os_watch_free(b.w);
	for (int i = 0; i < 2; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	os_loop_free(loop);
}

/* Not wanted, wanted, not wanted: what is told is what is wanted then. */
static void only_what_is_wanted_is_told(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct pair_watch a;
	struct shot s = { .last = true };
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	watch_end(loop, &a, fds[0]);
	os_timer_init(&s.timer, loop, on_shot, &s);
	for (int round = 0; round < 3; round++) {
		bool wanted = round == 1;

		if (round == 1)
			assert_int_equal(write(fds[1], "x", 1), 1);
		os_watch_set(a.w, OS_READ);
		os_watch_set(a.w, 0);
		os_watch_set(a.w, wanted ? OS_READ : 0);
		os_timer_set(&s.timer, os_now() + 20 * NSEC_PER_MSEC);
		os_loop_run(loop);
		assert_int_equal(a.n, round >= 1);
	}
	/* The other side is gone: who wants anything hears of it. */
	assert_int_equal(read(fds[0], &(char){ 0 }, 1), 1);
	close(fds[1]);
	os_watch_set(a.w, OS_READ);
	os_loop_run(loop);
	assert_int_equal(a.n, 2);
	assert_int_equal(a.events, OS_READ);
	os_timer_cancel(&s.timer);
	os_watch_free(a.w);
	close(fds[0]);
	os_loop_free(loop);
}

/* Descriptors that always have something to say do not keep a signal out. */
static void a_busy_loop_hears_signals(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct os_watch *w;
	pid_t pid;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(os_watch_new(loop, fds[0], on_always, NULL, &w), OK);
	os_watch_set(w, OS_READ);
	assert_int_equal(os_signal_on(loop, SIGHUP, on_hup, loop), OK);
	pid = fork();
	if (pid == 0) {
		usleep(50 * 1000);
		kill(getppid(), SIGHUP);
		_exit(0);
	}
	os_loop_run(loop);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	os_watch_free(w);
	close(fds[0]);
	close(fds[1]);
	os_loop_free(loop);
}

/* A regular file cannot be watched; that is told, not found out later. */
static void a_file_cannot_be_watched(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct os_watch *w;
	FILE *f = tmpfile();

	assert_non_null(f);
	assert_int_equal(os_watch_new(loop, fileno(f), on_always, NULL, &w), ERR_INVALID);
	fclose(f);
	os_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_of_time),
		cmocka_unit_test(timers_are_set_without_memory),
		cmocka_unit_test(cancelled_timers_stay_silent),
		cmocka_unit_test(a_later_set_replaces_the_earlier),
		cmocka_unit_test(a_timer_that_sets_itself_to_the_past_starves_nobody),
		cmocka_unit_test(short_timers_are_exact),
		cmocka_unit_test(rare_events_cost_no_asking),
		cmocka_unit_test(asking_in_vain_ends),
		cmocka_unit_test(what_comes_in_a_span_is_told_at_its_end),
		cmocka_unit_test(what_is_there_already_does_not_wait),
		cmocka_unit_test(a_timer_in_a_span_is_on_time),
		cmocka_unit_test(callbacks_find_the_time_of_now),
		cmocka_unit_test(a_stop_before_the_run_counts),
		cmocka_unit_test(a_late_call_comes_once_after_the_timers),
		cmocka_unit_test(a_watch_freed_in_its_turn_stays_silent),
		cmocka_unit_test(only_what_is_wanted_is_told),
		cmocka_unit_test(a_busy_loop_hears_signals),
		cmocka_unit_test(a_file_cannot_be_watched),
	};

	return RUN_TESTS(tests);
}
