/*
 * lib/loop.c - the one loop thread of the process.
 *
 * The TCP/IP stack under a tunnel is one for a process and lives on one thread, so all hubs in the process share this loop,
 * however many tunnels are open. It runs while somebody holds it. Other threads post it calls and wait for their end; the loop
 * hears of them by an eventfd. Every signal is blocked in this thread: handlers run in the program's own.
 *
 * Locks: `life` is held over start and end, and never taken by the loop thread; `posts.lock` for a moment by both.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/internal.h"
#include "os/loop.h"

struct call {
	struct list link;
	void (*fn)(struct os_loop *loop, void *arg);
	void *arg;
	bool done;
};

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_holders;
static pthread_t thread;
static struct os_loop *loop;
static struct os_watch *watch;
static _Atomic pid_t owner; /* the process whose stack and loop these are; 0 = nobody's so far */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t done;
	struct list calls;
	int fd;
} posts = { .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .fd = -1 };

static void on_post(void *ctx, int events)
{
	uint64_t n;

	if (read(posts.fd, &n, sizeof(n)) < 0 && errno == EAGAIN)
		return;
	pthread_mutex_lock(&posts.lock);
	while (!list_empty(&posts.calls)) {
		struct call *c = container_of(list_first(&posts.calls), struct call, link);

		list_del(&c->link);
		pthread_mutex_unlock(&posts.lock);
		c->fn(loop, c->arg);
		pthread_mutex_lock(&posts.lock);
		c->done = true;
		pthread_cond_broadcast(&posts.done);
	}
	pthread_mutex_unlock(&posts.lock);
}

void lib_loop_call(void (*fn)(struct os_loop *loop, void *arg), void *arg)
{
	struct call c = { .fn = fn, .arg = arg };
	uint64_t one = 1;

	pthread_mutex_lock(&posts.lock);
	list_add_tail(&posts.calls, &c.link);
	/* An eventfd takes 2^64 - 2 of these. */
	ASSERT(write(posts.fd, &one, sizeof(one)) == sizeof(one));
	while (!c.done)
		pthread_cond_wait(&posts.done, &posts.lock);
	pthread_mutex_unlock(&posts.lock);
}

static void *run(void *arg)
{
	os_loop_run(loop);
	return NULL;
}

static void stop(struct os_loop *l, void *arg)
{
	os_loop_stop(l);
}

static void tear_down(void)
{
	os_watch_free(watch);
	os_loop_free(loop);
	if (posts.fd >= 0)
		close(posts.fd);
	loop = NULL;
	watch = NULL;
	posts.fd = -1;
}

static enum err start_thread(void)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r == 0 ? OK : ERR_NOMEM;
}

static enum err start(void)
{
	enum err e;

	owner = getpid();
	list_init(&posts.calls);
	loop = os_loop_new();
	posts.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e = !loop ? ERR_NOMEM : posts.fd < 0 ? err_from_errno(errno) : os_watch_new(loop, posts.fd, on_post, NULL, &watch);
	if (e == OK) {
		os_watch_set(watch, OS_READ);
		e = start_thread();
	}
	if (e != OK)
		tear_down();
	return e;
}

bool lib_loop_is_anothers(void)
{
	pid_t whose = owner; /* without the lock, which somebody may have held when we were forked */

	return whose && whose != getpid();
}

enum err lib_loop_hold(void)
{
	enum err e = OK;

	pthread_mutex_lock(&life);
	if (n_holders == 0)
		e = start();
	if (e == OK)
		n_holders++;
	pthread_mutex_unlock(&life);
	return e;
}

void lib_loop_release(void)
{
	pthread_mutex_lock(&life);
	if (--n_holders == 0) {
		lib_loop_call(stop, NULL);
		pthread_join(thread, NULL);
		tear_down();
	}
	pthread_mutex_unlock(&life);
}
