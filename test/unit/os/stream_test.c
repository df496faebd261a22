#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "os/stream.h"
#include "test/lib/testing.h"

struct room {
	struct os_loop *loop;
	struct os_listener *listener;
	unsigned n_accepted;
};

static void on_accept(void *ctx, int fd)
{
	struct room *r = ctx;

	r->n_accepted++;
	close(fd);
	os_loop_stop(r->loop);
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void stop_loop(void *ctx)
{
	os_loop_stop(ctx);
}

static void run_for(struct os_loop *loop, nsec_t span)
{
	struct os_timer t;

	os_timer_init(&t, loop, stop_loop, loop);
	os_timer_set(&t, os_now() + span);
	os_loop_run(loop);
	os_timer_cancel(&t);
}

static void on_dialed(void *ctx, enum err e, int fd)
{
	assert_int_equal(e, OK);
	*(int *)ctx = fd;
}

static void room_open(struct room *r)
{
	struct endpoint ep;

	assert_int_equal(endpoint_parse("127.0.0.1:0", &ep), OK);
	*r = (struct room){ .loop = os_loop_new() };
	assert_non_null(r->loop);
	assert_int_equal(os_listen_tcp(r->loop, &ep, on_accept, r, &r->listener), OK);
}

static void room_close(struct room *r)
{
	os_listener_close(r->listener);
	os_loop_free(r->loop);
}

static struct os_dial *dial_room(struct room *r, int *ret_fd)
{
	char target[32];
	struct os_dial *d;

	snprintf(target, sizeof(target), "127.0.0.1:%u", os_listener_port(r->listener));
	*ret_fd = -1;
	assert_int_equal(os_dial_start(r->loop, target, os_now() + NSEC_PER_SEC, on_dialed, ret_fd, &d), OK);
	return d;
}

struct outcome {
	struct os_loop *loop;
	unsigned n_told;
	enum err e;
	int fd;
};

static void on_outcome(void *ctx, enum err e, int fd)
{
	struct outcome *o = ctx;

	o->n_told++;
	o->e = e;
	o->fd = fd;
	os_loop_stop(o->loop);
}

static struct os_dial *dial_for(struct outcome *o, const char *host, uint16_t port, nsec_t patience)
{
	char target[64];
	struct os_dial *d;

	o->fd = -1;
	o->n_told = 0;
	snprintf(target, sizeof(target), "%s:%u", host, port);
	assert_int_equal(os_dial_start(o->loop, target, os_now() + patience, on_outcome, o, &d), OK);
	return d;
}

/* A socket bound and not listening yet, or listening. */
static int bind_local(int family, bool listening, int backlog, uint16_t *port)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(*port) };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *sa = family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
	socklen_t len = family == AF_INET ? sizeof(in) : sizeof(in6);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, sa, len), 0);
	assert_int_equal(getsockname(fd, sa, &len), 0);
	*port = ntohs(family == AF_INET ? in.sin_port : in6.sin6_port);
	if (listening)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

/* On loopback connect() knows the outcome at once, either way; it is told from the loop all the same, once. */
static void what_is_known_at_once_is_told_from_the_loop(void **state)
{
	struct outcome o = { .loop = os_loop_new() };
	uint16_t open = 0, closed = 0;
	int server = bind_local(AF_INET, true, 5, &open), dead = bind_local(AF_INET, false, 0, &closed), peer;
	struct os_dial *d;

	dial_for(&o, "127.0.0.1", open, NSEC_PER_SEC);
	assert_int_equal(o.n_told, 0);
	os_loop_run(o.loop);
	assert_int_equal(o.e, OK);
	peer = accept(server, NULL, NULL);
	assert_int_equal(write(o.fd, "x", 1), 1);
	assert_int_equal(read(peer, &(char){ 0 }, 1), 1);
	close(peer);
	close(o.fd);

	dial_for(&o, "127.0.0.1", closed, NSEC_PER_SEC);
	assert_int_equal(o.n_told, 0);
	os_loop_run(o.loop);
	assert_int_equal(o.e, ERR_REFUSED);
	assert_int_equal(o.fd, -1);

	d = dial_for(&o, "127.0.0.1", open, NSEC_PER_SEC);
	os_dial_cancel(d);
	run_for(o.loop, 20 * NSEC_PER_MSEC);
	assert_int_equal(o.n_told, 0);
	close(dead);
	close(server);
	os_loop_free(o.loop);
}

static void localhost_is_both_families(void **state)
{
	struct outcome o = { .loop = os_loop_new() };
	uint16_t port = 0, none = 0;
	int server = bind_local(AF_INET6, true, 5, &port), four = bind_local(AF_INET, false, 0, &none);

	dial_for(&o, "localhost", port, NSEC_PER_SEC);
	os_loop_run(o.loop);
	assert_int_equal(o.e, OK);
	close(o.fd);
	/* Both refuse: one answer. */
	dial_for(&o, "localhost", none, NSEC_PER_SEC);
	os_loop_run(o.loop);
	assert_int_equal(o.e, ERR_REFUSED);
	run_for(o.loop, 20 * NSEC_PER_MSEC);
	assert_int_equal(o.n_told, 1);
	close(four);
	close(server);
	os_loop_free(o.loop);
}

/* A server whose queue is full does not answer: that is waited for, until the deadline, or until it answers after all. */
static void a_slow_connect_is_waited_for(void **state)
{
	struct outcome o = { .loop = os_loop_new() };
	uint16_t port = 0;
	int server = bind_local(AF_INET, true, 0, &port), first;

	dial_for(&o, "127.0.0.1", port, NSEC_PER_SEC);
	os_loop_run(o.loop);
	assert_int_equal(o.e, OK);
	first = o.fd;
	dial_for(&o, "127.0.0.1", port, 100 * NSEC_PER_MSEC);
	os_loop_run(o.loop);
	assert_int_equal(o.e, ERR_TIMEOUT);
	dial_for(&o, "127.0.0.1", port, 10 * NSEC_PER_SEC);
	run_for(o.loop, 50 * NSEC_PER_MSEC);
	assert_int_equal(o.n_told, 0);
	close(accept(server, NULL, NULL));
	os_loop_run(o.loop);
	assert_int_equal(o.e, OK);
	close(o.fd);
	close(first);
	close(server);
	os_loop_free(o.loop);
}

/* No descriptor may be opened below @n: @n = 3 takes the reserve's slot away as well. */
static void limit_descriptors(rlim_t n, struct rlimit *ret_old)
{
	struct rlimit now;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_old), 0);
	now = (struct rlimit){ n, ret_old->rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
}

static void listener_without_reserve_sleeps_and_recovers(void **state)
{
	struct rlimit old;
	struct room r;
	double cpu;
	int fd;

	room_open(&r);
	dial_room(&r, &fd);
	limit_descriptors(3, &old);
	cpu = cpu_seconds();
	run_for(r.loop, 350 * NSEC_PER_MSEC);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r.n_accepted, 0);
	assert_true(fd >= 0);
	assert_true(cpu_seconds() - cpu < 0.1);
	/* The one that waited is served as soon as there are descriptors again. */
	run_for(r.loop, NSEC_PER_SEC);
	assert_int_equal(r.n_accepted, 1);
	close(fd);
	room_close(&r);
}

static void listener_turns_away_with_its_reserve(void **state)
{
	struct rlimit old;
	struct room r;
	char byte;
	int fd, top;

	room_open(&r);
	dial_room(&r, &fd);
	top = dup(0);
	close(top);
	limit_descriptors((rlim_t)top, &old);
	run_for(r.loop, 100 * NSEC_PER_MSEC);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r.n_accepted, 0);
	assert_true(fd >= 0);
	fcntl(fd, F_SETFL, 0);
	assert_int_equal(read(fd, &byte, 1), 0);
	close(fd);
	dial_room(&r, &fd);
	run_for(r.loop, NSEC_PER_SEC);
	assert_int_equal(r.n_accepted, 1);
	run_for(r.loop, 20 * NSEC_PER_MSEC);
	close(fd);
	room_close(&r);
}

static void descriptors_travel_and_too_many_are_refused(void **state)
{
	int pair[2], pipe_fds[2], got[OS_FDS_MAX], many[OS_FDS_MAX + 1] = { 0 };
	size_t n, n_fds;
	char buf[8];

	assert_int_equal(os_seqpacket_pair(pair), OK);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(os_recv_fds(pair[1], buf, sizeof(buf), &n, got, &n_fds), ERR_AGAIN);
	assert_int_equal(os_send_fds(pair[0], "x", 1, many, OS_FDS_MAX + 1), ERR_INVALID);
	assert_int_equal(os_send_fds(pair[0], "fd", 2, &pipe_fds[0], 1), OK);
	assert_int_equal(os_recv_fds(pair[1], buf, sizeof(buf), &n, got, &n_fds), OK);
	assert_int_equal(n, 2);
	assert_int_equal(n_fds, 1);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(pipe_fds[1], "hello", 5), 5);
	assert_int_equal(read(got[0], buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	close(pair[0]);
	assert_int_equal(os_recv_fds(pair[1], buf, sizeof(buf), &n, got, &n_fds), OK);
	assert_int_equal(n, 0);
	close(pair[1]);
	close(got[0]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void on_events(void *ctx, struct os_stream *s, int events)
{
}

static void half_close_leaves_the_other_direction(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct iovec iov = { "ping", 4 };
	struct os_stream *a, *b;
	int pair[2];
	char buf[8];
	size_t n;

	assert_int_equal(os_socketpair(pair), OK);
	assert_int_equal(os_stream_new(loop, pair[0], on_events, NULL, &a), OK);
	assert_int_equal(os_stream_new(loop, pair[1], on_events, NULL, &b), OK);
	assert_int_equal(os_stream_read(b, buf, sizeof(buf), &n), ERR_AGAIN);
	os_stream_shutdown(a);
	assert_int_equal(os_stream_read(b, buf, sizeof(buf), &n), OK);
	assert_int_equal(n, 0);
	assert_int_equal(os_stream_writev(b, &iov, 1, &n), OK);
	assert_int_equal(n, 4);
	assert_int_equal(os_stream_read(a, buf, sizeof(buf), &n), OK);
	assert_int_equal(n, 4);
	assert_int_equal(os_stream_writev(a, &iov, 1, &n), err_from_errno(EPIPE));
	os_stream_close(a);
	os_stream_close(b);
	os_loop_free(loop);
}

struct reset_reader {
	struct os_loop *loop;
	size_t n;
	enum err end;
};

/* Reads once an event, as a reader does that shares the loop: what is left comes with the next one. */
static void on_reset_events(void *ctx, struct os_stream *s, int events)
{
	struct reset_reader *r = ctx;
	char buf[4096];
	size_t n = 0;
	enum err e = os_stream_read(s, buf, sizeof(buf), &n);

	r->n += e == OK ? n : 0;
	if (e == ERR_AGAIN || (e == OK && n > 0))
		return;
	r->end = e;
	os_stream_want(s, 0);
	os_loop_stop(r->loop);
}

/*
 * A server that says a word and closes with our bytes unread resets the connection: word and reset are there in one turn,
 * and both must be told. (sshd does so beyond MaxStartups; the end was lost, and the other side waited for ever.)
 */
static void a_reset_behind_data_is_told(void **state)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	struct reset_reader r = { .loop = os_loop_new(), .end = ERR_AGAIN };
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), server;
	struct os_stream *s;

	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	server = accept(listener, NULL, NULL);
	assert_int_equal(write(fd, "unread", 6), 6);
	assert_int_equal(write(server, "word", 4), 4);
	assert_int_equal(close(server), 0);
	assert_int_equal(os_stream_new(r.loop, fd, on_reset_events, &r, &s), OK);
	os_stream_want(s, OS_READ);
	run_for(r.loop, 2 * NSEC_PER_SEC);
	assert_int_equal(r.n, 4);
	assert_int_equal(r.end, ERR_RESET);
	os_stream_close(s);
	os_loop_free(r.loop);
	close(listener);
}

static void ignore_accept(void *ctx, int fd)
{
	close(fd);
}

/* What stands at a Unix socket's path goes only when it is a socket that nobody has: a misspelt path must cost nobody a file. */
static void a_path_in_use_stays(void **state)
{
	char dir[] = "/tmp/stream_test.XXXXXX", file[64], link[64], live[64], stale[64], buf[8];
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct os_loop *loop = os_loop_new();
	struct os_listener *first, *l;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/file", dir);
	snprintf(link, sizeof(link), "%s/link", dir);
	snprintf(live, sizeof(live), "%s/live", dir);
	snprintf(stale, sizeof(stale), "%s/stale", dir);
	fd = open(file, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "dear", 4), 4);
	close(fd);
	assert_int_equal(symlink(file, link), 0);
	assert_int_equal(os_listen_unix(loop, file, ignore_accept, NULL, &l), ERR_IN_USE);
	assert_int_equal(os_listen_unix(loop, link, ignore_accept, NULL, &l), ERR_IN_USE);
	assert_int_equal(os_listen_unix(loop, dir, ignore_accept, NULL, &l), ERR_IN_USE);
	assert_int_equal(access(link, F_OK), 0);
	fd = open(file, O_RDONLY);
	assert_int_equal(read(fd, buf, sizeof(buf)), 4);
	close(fd);

	assert_int_equal(os_listen_unix(loop, live, ignore_accept, NULL, &first), OK);
	assert_int_equal(os_listen_unix(loop, live, ignore_accept, NULL, &l), ERR_IN_USE);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(sa.sun_path, stale);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	assert_int_equal(os_listen_unix(loop, stale, ignore_accept, NULL, &l), OK);
	os_listener_close(l);
	assert_int_not_equal(access(stale, F_OK), 0);

	/* Somebody else took the place meanwhile. */
	assert_int_equal(rename(file, live), 0);
	os_listener_close(first);
	assert_int_equal(access(live, F_OK), 0);
	unlink(live);
	unlink(link);
	assert_int_equal(rmdir(dir), 0);
	os_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_known_at_once_is_told_from_the_loop),
		cmocka_unit_test(localhost_is_both_families),
		cmocka_unit_test(a_slow_connect_is_waited_for),
		cmocka_unit_test(listener_without_reserve_sleeps_and_recovers),
		cmocka_unit_test(listener_turns_away_with_its_reserve),
		cmocka_unit_test(descriptors_travel_and_too_many_are_refused),
		cmocka_unit_test(half_close_leaves_the_other_direction),
		cmocka_unit_test(a_reset_behind_data_is_told),
		cmocka_unit_test(a_path_in_use_stays),
	};

	return RUN_TESTS(tests);
}
