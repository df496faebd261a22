/*
 * lib/server.c - the hubs inside this process: one for each Nefia folder that is open and that no other process serves.
 *
 * It is the same hub as the nefia program's (operator/hub.c), control socket included: the library's calls and other
 * processes' commands reach it the same way. It ends with the last tunnel that the process has open on that folder, or when a
 * client stops it (`nefia hub stop`); then the lock is free at once, and the next call that needs a hub takes it again.
 *
 * A hub lives on the loop thread, all of its fields too; `servers` and the counts are under `lock`. At the end it waits up to
 * DRAIN_MAX for bytes that were written and are on their way: who closes a stream and then the tunnel means both.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "lib/internal.h"
#include "os/loop.h"

#define DRAIN_MAX NSEC_PER_SEC
#define DRAIN_LOOK_MS 5

struct lib_server {
	struct list link;
	unsigned n_users;
	char home[PATH_MAX], config[PATH_MAX], worker[PATH_MAX], socket[PATH_MAX];
	char *text;
	struct hub_core_options opt;
	/* the loop thread's */
	struct hub *hub; /* NULL: stopped */
	struct os_timer end;
	bool has_timer;
	int lock_fd;     /* for a forked child; -1 = none */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list servers = { &servers, &servers };

/* ---- on the loop thread ---- */

static void close_hub(struct lib_server *s)
{
	if (s->has_timer)
		os_timer_cancel(&s->end);
	hub_close(s->hub);
	s->hub = NULL;
	s->lock_fd = -1;
}

static void on_end_timer(void *ctx)
{
	close_hub(ctx);
}

static void on_end(void *ctx)
{
	struct lib_server *s = ctx;

	os_timer_set(&s->end, 0);
}

struct opening {
	struct lib_server *s;
	struct hub_failure *why;
	enum err e;
};

static void open_on_loop(struct os_loop *loop, void *arg)
{
	struct opening *o = arg;
	struct lib_server *s = o->s;

	o->e = OK;
	if (s->hub)
		return;
	if (!s->has_timer)
		os_timer_init(&s->end, loop, on_end_timer, s);
	s->has_timer = true;
	o->e = hub_open(loop, &s->opt, &s->hub, o->why);
	if (o->e == OK)
		s->lock_fd = hub_lock_fd(s->hub);
}

static void close_on_loop(struct os_loop *loop, void *arg)
{
	close_hub(arg);
}

struct question {
	struct lib_server *s;
	bool answer;
};

static void is_behind(struct os_loop *loop, void *arg)
{
	struct question *q = arg;

	q->answer = q->s->hub && hub_is_behind(q->s->hub);
}

static void is_up(struct os_loop *loop, void *arg)
{
	struct question *q = arg;

	q->answer = q->s->hub != NULL;
}

/* ---- a child of fork() ---- */

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The lock is the parent's: a copy that lives on here would keep it after the parent's end. */
static void after_fork_in_child(void)
{
	list_for_each(it, &servers) {
		struct lib_server *s = container_of(it, struct lib_server, link);

		if (s->lock_fd >= 0)
			close(s->lock_fd);
		s->lock_fd = -1;
	}
	pthread_mutex_unlock(&lock);
}

static void guard_forks(void)
{
	ASSERT(pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0);
}

/* ---- from any thread ---- */

static struct lib_server *find(const char *socket)
{
	list_for_each(it, &servers) {
		struct lib_server *s = container_of(it, struct lib_server, link);

		if (strcmp(s->socket, socket) == 0)
			return s;
	}
	return NULL;
}

static struct lib_server *server_new(const struct nefia *n)
{
	struct lib_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (n->text)
		s->text = malloc(n->text_len + 1);
	if (n->text && !s->text) {
		free(s);
		return NULL;
	}
	if (n->text)
		memcpy(s->text, n->text, n->text_len + 1);
	strcpy(s->home, n->home);
	strcpy(s->config, n->config);
	strcpy(s->worker, n->worker);
	strcpy(s->socket, n->paths.socket);
	s->lock_fd = -1;
	s->opt = (struct hub_core_options){ .home = s->home, .config = s->config, .text = s->text, .text_len = n->text_len,
					    .transient = true, .is_guest = true, .worker = s->worker, .on_end = on_end, .ctx = s };
	return s;
}

static void server_free(struct lib_server *s)
{
	list_del(&s->link);
	if (s->text)
		explicit_bzero(s->text, s->opt.text_len);
	free(s->text);
	free(s);
}

/* @lock is held. */
static enum err get(struct nefia *n, struct lib_server **ret)
{
	struct lib_server *s = n->server ? n->server : find(n->paths.socket);
	enum err e;

	if (!s) {
		s = server_new(n);
		if (!s)
			return ERR_NOMEM;
		e = lib_loop_hold();
		if (e != OK) {
			list_init(&s->link);
			server_free(s);
			return e;
		}
		list_add_tail(&servers, &s->link);
	}
	*ret = s;
	return OK;
}

/* @lock is held. */
static void drop(struct lib_server *s)
{
	lib_loop_call(close_on_loop, s);
	server_free(s);
	lib_loop_release();
}

enum err lib_server_use(struct nefia *n, struct hub_failure *ret_why)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct lib_server *s = NULL;
	struct opening o = { .why = ret_why };
	enum err e;

	pthread_once(&once, guard_forks);
	pthread_mutex_lock(&lock);
	e = get(n, &s);
	if (e == OK) {
		o.s = s;
		lib_loop_call(open_on_loop, &o);
		e = o.e;
	} else {
		strcpy(ret_why->message, err_text(e));
	}
	if (e == OK && !n->server) {
		n->server = s;
		s->n_users++;
	} else if (s && s->n_users == 0) {
		drop(s);
	}
	pthread_mutex_unlock(&lock);
	return e == ERR_IN_USE && ret_why->ecode == HUB_ECODE_RUNNING ? ERR_EXISTS : e;
}

static void drain(struct lib_server *s)
{
	nsec_t until = os_now() + DRAIN_MAX;
	struct question q = { .s = s, .answer = true };

	while (os_now() < until) {
		lib_loop_call(is_behind, &q);
		if (!q.answer)
			return;
		usleep(DRAIN_LOOK_MS * 1000);
	}
	log_info("the tunnel ends, and not all that was written has arrived");
}

void lib_server_release(struct lib_server *s)
{
	bool last;

	if (!s)
		return;
	/* Of several that leave at once the last one drains; somebody may open the folder again meanwhile. */
	pthread_mutex_lock(&lock);
	last = s->n_users == 1;
	if (!last)
		s->n_users--;
	pthread_mutex_unlock(&lock);
	if (!last)
		return;
	drain(s);
	pthread_mutex_lock(&lock);
	if (--s->n_users == 0)
		drop(s);
	pthread_mutex_unlock(&lock);
}

bool lib_server_is_up(struct lib_server *s)
{
	struct question q = { .s = s };

	if (s)
		lib_loop_call(is_up, &q);
	return q.answer;
}
