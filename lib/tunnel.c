/*
 * lib/tunnel.c - struct nefia: reaching the hub, asking it, and ending all of that.
 *
 * The library is a client of a hub as every command is: calls go over its control socket, from the calling thread, on one
 * of a few connections that are kept for the next. The hub is another process's, or the one inside this process (server.c)
 * that is made when nobody answers. So there is one way for both, and when the hub ends the next call finds or makes another.
 *
 * nefia_stop() sets `closing`, which refuses new calls, makes wake_fd readable, which ends all that wait for the hub, and shuts
 * the objects' descriptors down, which ends all that wait for bytes. When the last call has left, the connections and the hub
 * go; the memory stays until the last object was given back.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "lib/internal.h"
#include "operator/hub_wire.h"
#include "os/loop.h"

#define OPEN_MAX_MS 10000
#define REACH_MAX (10 * NSEC_PER_SEC) /* a hub that is just starting or ending */
#define REACH_PAUSE_MS 10

/* ---- the log ---- */

static struct {
	pthread_mutex_t lock;
	void (*fn)(void *ctx, int level, const char *line);
	void *ctx;
} listener = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void sink(enum log_level level, const char *line)
{
	pthread_mutex_lock(&listener.lock);
	if (listener.fn)
		listener.fn(listener.ctx, (int)level, line);
	pthread_mutex_unlock(&listener.lock);
}

static void be_silent(void)
{
	log_set(LOG_INFO, sink);
}

/* Before anything that might have something to say: nothing goes to standard error. */
static void init_log(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, be_silent);
}

void nefia_set_log(void (*fn)(void *ctx, int level, const char *line), void *ctx, int level)
{
	init_log();
	pthread_mutex_lock(&listener.lock);
	listener.fn = fn;
	listener.ctx = ctx;
	log_set(level < LOG_DEBUG ? LOG_DEBUG : level > LOG_ERROR ? LOG_ERROR : (enum log_level)level, sink);
	pthread_mutex_unlock(&listener.lock);
}

/* ---- calls come and go ---- */

int lib_enter(struct nefia *n)
{
	bool closing;

	if (!n)
		return lib_fail(ERR_INVALID, "no tunnel is given");
	if (n->pid != getpid())
		return lib_fail_as(NEFIA_ERR_FORKED, "the tunnel was opened by process %d", (int)n->pid);
	pthread_mutex_lock(&n->lock);
	closing = n->closing;
	n->n_calls += !closing;
	pthread_mutex_unlock(&n->lock);
	return closing ? lib_fail(ERR_CLOSED, "the tunnel was closed") : NEFIA_OK;
}

void lib_leave(struct nefia *n)
{
	pthread_mutex_lock(&n->lock);
	n->n_calls--;
	pthread_cond_broadcast(&n->moved);
	pthread_mutex_unlock(&n->lock);
}

static void unref(struct nefia *n)
{
	bool last;

	pthread_mutex_lock(&n->lock);
	last = --n->n_refs == 0;
	pthread_mutex_unlock(&n->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&n->lock);
	pthread_mutex_destroy(&n->serving);
	pthread_cond_destroy(&n->moved);
	if (n->wake_fd >= 0)
		close(n->wake_fd);
	if (n->text)
		explicit_bzero(n->text, n->text_len);
	free(n->text);
	free(n);
}

/* ---- connections to the hub ---- */

/* Waits for a place; OK with a connection kept from before, or NULL: make one. */
static enum err take_place(struct nefia *n, nsec_t deadline, struct hub_client **ret)
{
	nsec_t give_up = os_now() + lib_left(deadline, REACH_MAX);
	enum err e = OK;

	*ret = NULL;
	pthread_mutex_lock(&n->lock);
	while (e == OK && !n->closing && n->n_idle == 0 && n->n_clients >= LIB_CLIENTS_MAX)
		if (!lib_cond_wait(&n->moved, &n->lock, lib_left(give_up, REACH_MAX)))
			e = ERR_TIMEOUT;
	if (n->closing)
		e = ERR_CLOSED;
	else if (e == OK && n->n_idle > 0)
		*ret = n->idle[--n->n_idle];
	else if (e == OK)
		n->n_clients++;
	pthread_mutex_unlock(&n->lock);
	return e;
}

static void give_place(struct nefia *n, struct hub_client *hc)
{
	pthread_mutex_lock(&n->lock);
	if (hc && hub_client_is_connected(hc) && !n->closing && n->n_idle < LIB_IDLE_MAX) {
		n->idle[n->n_idle++] = hc;
		hc = NULL;
	} else {
		n->n_clients--;
	}
	pthread_cond_broadcast(&n->moved);
	pthread_mutex_unlock(&n->lock);
	hub_client_close(hc);
}

/* The kept ones are of a hub that has ended. */
static void drop_idle(struct nefia *n)
{
	struct hub_client *gone[LIB_IDLE_MAX];
	size_t n_gone;

	pthread_mutex_lock(&n->lock);
	n_gone = n->n_idle;
	memcpy(gone, n->idle, sizeof(gone));
	n->n_idle = 0;
	n->n_clients -= n_gone;
	pthread_cond_broadcast(&n->moved);
	pthread_mutex_unlock(&n->lock);
	for (size_t i = 0; i < n_gone; i++)
		hub_client_close(gone[i]);
}

/* Nobody answers: be the hub. ERR_EXISTS: somebody was faster, or is just ending. */
static int become_hub(struct nefia *n)
{
	struct hub_failure why = { .message = "" };
	enum err e;

	pthread_mutex_lock(&n->serving);
	e = lib_server_use(n, &why);
	pthread_mutex_unlock(&n->serving);
	return e == OK ? NEFIA_OK : lib_fail(e, "%s", why.message);
}

static bool is_closing(const struct nefia *n)
{
	struct pollfd p = { n->wake_fd, POLLIN, 0 };

	return poll(&p, 1, 0) > 0;
}

static int fail_of(struct nefia *n, enum err e, const struct hub_client *hc)
{
	/* The wake descriptor ended it. */
	if (e == ERR_CANCELLED && is_closing(n))
		return lib_fail(ERR_CLOSED, "the tunnel was closed");
	return lib_fail_client(e, hc);
}

static int connect_client(struct nefia *n, struct hub_client *hc, nsec_t deadline)
{
	nsec_t give_up = os_now() + lib_left(deadline, REACH_MAX);
	struct pollfd wake = { n->wake_fd, POLLIN, 0 };

	for (;;) {
		enum err e = hub_client_connect(hc, n->paths.socket, n->config);
		char other[PATH_MAX];
		int r;

		if (e == ERR_NOT_FOUND && hub_other_socket(&n->paths, other))
			e = hub_client_connect(hc, other, n->config);
		if (e != ERR_NOT_FOUND)
			return e == OK ? NEFIA_OK : fail_of(n, e, hc);
		if (n->flags & NEFIA_ATTACH_ONLY)
			return lib_fail_as(NEFIA_ERR_NO_HUB, "no hub of %s is running: start 'nefia hub'", n->home);
		r = become_hub(n);
		if (r == NEFIA_OK)
			continue;
		if (r != NEFIA_ERR_EXISTS)
			return r;
		if (os_now() >= give_up)
			return lib_fail(ERR_TIMEOUT, "a hub holds the lock but does not answer at %s", n->paths.socket);
		if (poll(&wake, 1, REACH_PAUSE_MS) > 0)
			return lib_fail(ERR_CLOSED, "the tunnel was closed");
	}
}

/* A connected one, and whether it may be of a hub that ended meanwhile. */
static int take_client(struct nefia *n, nsec_t deadline, struct hub_client **ret, bool *ret_is_kept)
{
	struct hub_client *hc;
	enum err e = take_place(n, deadline, &hc);
	int r;

	if (e != OK)
		return lib_fail(e, e == ERR_CLOSED ? "the tunnel was closed" : "as many calls as are allowed are under way");
	*ret_is_kept = hc != NULL;
	if (hc) {
		*ret = hc;
		return NEFIA_OK;
	}
	hc = hub_client_new(n->wake_fd);
	r = hc ? connect_client(n, hc, deadline) : lib_fail(ERR_NOMEM, "out of memory");
	if (r == NEFIA_OK) {
		*ret = hc;
		return NEFIA_OK;
	}
	hub_client_close(hc);
	give_place(n, NULL);
	return r;
}

static int ask_once(struct nefia *n, const char *op, json_t *args, nsec_t deadline, nsec_t max, json_t **ret_reply,
		    int *ret_fd, struct hub_client **ret_hc, bool *ret_again)
{
	struct hub_client *hc = NULL;
	bool is_kept = false;
	int r = take_client(n, deadline, &hc, &is_kept);
	enum err e;

	*ret_again = false;
	if (r != NEFIA_OK)
		return r;
	e = hub_client_call(hc, op, json_incref(args), MAX(lib_left(deadline, max), NSEC_PER_MSEC), ret_reply, ret_fd);
	*ret_again = is_kept && (e == ERR_CLOSED || e == ERR_RESET) && !hub_client_is_connected(hc);
	if (e != OK)
		r = fail_of(n, e, hc);
	if (r == NEFIA_OK && ret_hc) {
		*ret_hc = hc;
		hc = NULL;
	}
	give_place(n, hc);
	return r;
}

int lib_ask(struct nefia *n, const char *op, json_t *args, nsec_t deadline, nsec_t max, json_t **ret_reply, int *ret_fd,
	    struct hub_client **ret_hc)
{
	json_t *reply = NULL, *own = args ? args : json_object();
	bool again = false;
	int r = own ? ask_once(n, op, own, deadline, max, &reply, ret_fd, ret_hc, &again) :
		      lib_fail(ERR_NOMEM, "out of memory");

	if (again) {
		drop_idle(n);
		r = ask_once(n, op, own, deadline, max, &reply, ret_fd, ret_hc, &again);
	}
	json_decref(own);
	if (r == NEFIA_OK && ret_reply)
		*ret_reply = reply;
	else
		json_decref(reply);
	return r;
}

/* ---- objects ---- */

int lib_object_add(struct nefia *n, struct lib_object *o, int fd)
{
	bool closing;

	o->n = n;
	o->fd = fd;
	atomic_init(&o->cancelled, false);
	pthread_mutex_lock(&n->lock);
	closing = n->closing;
	if (!closing) {
		list_add_tail(&n->objects, &o->link);
		n->n_refs++;
	}
	pthread_mutex_unlock(&n->lock);
	return closing ? lib_fail(ERR_CLOSED, "the tunnel was closed") : NEFIA_OK;
}

void lib_object_del(struct lib_object *o)
{
	struct nefia *n = o->n;

	if (n->pid != getpid())
		return; /* the lock may be somebody's who is not here */
	pthread_mutex_lock(&n->lock);
	list_del(&o->link);
	pthread_mutex_unlock(&n->lock);
	unref(n);
}

int lib_object_check(const struct lib_object *o)
{
	if (o->n->pid != getpid())
		return lib_fail_as(NEFIA_ERR_FORKED, "the tunnel was opened by process %d", (int)o->n->pid);
	if (is_closing(o->n))
		return lib_fail(ERR_CLOSED, "the tunnel was closed");
	if (atomic_load(&o->cancelled))
		return lib_fail(ERR_CANCELLED, "it was cancelled");
	return NEFIA_OK;
}

int lib_object_wait(const struct lib_object *o, short events, nsec_t deadline)
{
	struct pollfd p = { o->fd, events, 0 };

	if (deadline == 0)
		return lib_fail(ERR_AGAIN, "not without waiting");
	for (;;) {
		nsec_t left = lib_left(deadline, 60 * NSEC_PER_SEC);
		int r, n;

		if (left == 0)
			return lib_fail(ERR_TIMEOUT, "nothing moved in time");
		n = poll(&p, 1, (int)(left / NSEC_PER_MSEC + 1));
		r = lib_object_check(o);
		if (r != NEFIA_OK || n > 0)
			return r;
	}
}

void lib_object_cancel(struct lib_object *o)
{
	atomic_store(&o->cancelled, true);
	shutdown(o->fd, SHUT_RDWR);
}

/* ---- open and close ---- */

int lib_sized(const void *from, size_t from_size, void *to, size_t size)
{
	const uint8_t *extra = (const uint8_t *)from + size;

	if (from_size < size)
		return lib_fail(ERR_VERSION, "a struct's size is %zu, and %zu is the least: use its _INIT", from_size, size);
	/* Of a newer header: what we do not know must not be asked for. */
	for (size_t i = size; i < from_size; i++)
		if (*extra++)
			return lib_fail(ERR_VERSION, "a struct is of a newer nefia.h, and asks for what this library (%s) does "
					"not know", nefia_version());
	memcpy(to, from, size);
	return NEFIA_OK;
}

static int check_options(const struct nefia_options *opt)
{
	if (opt->flags & ~NEFIA_ATTACH_ONLY)
		return lib_fail(ERR_UNSUPPORTED, "nefia_options.flags has bits that this library (%s) does not know",
				nefia_version());
	if (opt->config_text && (!opt->home || opt->config))
		return lib_fail(ERR_INVALID, "config_text needs home, and no config: its state must be somewhere");
	return NEFIA_OK;
}

/* A text has a name too, which is another one for other contents: clients of one hub must mean the same. */
static void name_text(struct nefia *n)
{
	uint64_t h = 14695981039346656037ULL;

	for (size_t i = 0; i < n->text_len; i++)
		h = (h ^ (uint8_t)n->text[i]) * 1099511628211ULL;
	snprintf(n->config, sizeof(n->config), "text:%016llx", (unsigned long long)h);
}

static int take_options(struct nefia *n, const struct nefia_options *opt)
{
	enum err e;

	n->flags = opt->flags;
	hub_folder_init(opt->config, n->home, n->config);
	if (!opt->home && !n->home[0])
		return lib_fail(ERR_NOT_FOUND, "neither NEFIA_HOME nor HOME is set: name a folder in the options' home");
	if (opt->home) {
		if (strlen(opt->home) + sizeof("/nefia.yaml") > sizeof(n->home))
			return lib_fail(ERR_TOO_LONG, "home is too long");
		strcpy(n->home, opt->home);
		if (!opt->config)
			snprintf(n->config, sizeof(n->config), "%.*s/nefia.yaml", PATH_MAX - 12, n->home);
	}
	if (opt->config_text) {
		n->text = malloc(opt->config_text_len + 1);
		if (!n->text)
			return lib_fail(ERR_NOMEM, "out of memory");
		memcpy(n->text, opt->config_text, opt->config_text_len);
		n->text[opt->config_text_len] = '\0';
		n->text_len = opt->config_text_len;
		name_text(n);
	}
	lib_worker_find(opt->worker, n->worker);
	e = hub_paths_init(n->home, &n->paths);
	return e == OK ? NEFIA_OK : lib_fail(e, "the path of the control socket is too long: choose a shorter home");
}

static struct nefia *nefia_new(void)
{
	struct nefia *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	pthread_mutex_init(&n->lock, NULL);
	pthread_mutex_init(&n->serving, NULL);
	lib_cond_init(&n->moved);
	list_init(&n->objects);
	n->pid = getpid();
	n->n_refs = 1;
	n->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return n;
}

int nefia_open(const struct nefia_options *opt, struct nefia **ret)
{
	struct nefia_options o = NEFIA_OPTIONS_INIT;
	struct nefia *n;
	int r;

	init_log();
	if (!ret)
		return lib_fail(ERR_INVALID, "no place for the result is given");
	if (lib_loop_is_anothers())
		return lib_fail_as(NEFIA_ERR_FORKED, "a process that was forked from one with a tunnel must exec first");
	r = opt ? lib_sized(opt, opt->size, &o, sizeof(o)) : NEFIA_OK;
	if (r == NEFIA_OK)
		r = check_options(&o);
	if (r != NEFIA_OK)
		return r;
	n = nefia_new();
	if (!n || n->wake_fd < 0) {
		if (n)
			unref(n);
		return lib_fail(n ? ERR_FULL : ERR_NOMEM, n ? "no descriptors are left" : "out of memory");
	}
	r = take_options(n, &o);
	/* So that what is wrong with the configuration is said now. */
	if (r == NEFIA_OK)
		r = lib_ask(n, "hello", NULL, lib_deadline(o.timeout_ms ? o.timeout_ms : OPEN_MAX_MS), REACH_MAX, NULL, NULL,
			    NULL);
	if (r != NEFIA_OK) {
		nefia_close(n);
		return r;
	}
	*ret = n;
	return NEFIA_OK;
}

void nefia_stop(struct nefia *n)
{
	uint64_t one = 1;
	struct lib_server *s;

	if (!n || n->pid != getpid())
		return;
	pthread_mutex_lock(&n->lock);
	n->closing = true;
	ASSERT(write(n->wake_fd, &one, sizeof(one)) == sizeof(one));
	list_for_each(it, &n->objects)
		shutdown(container_of(it, struct lib_object, link)->fd, SHUT_RDWR);
	pthread_cond_broadcast(&n->moved);
	while (n->n_calls > 0)
		pthread_cond_wait(&n->moved, &n->lock);
	s = n->server;
	n->server = NULL;
	pthread_mutex_unlock(&n->lock);
	drop_idle(n);
	lib_server_release(s);
}

void nefia_close(struct nefia *n)
{
	if (!n)
		return;
	if (n->pid != getpid()) {
		close(n->wake_fd);
		return;
	}
	nefia_stop(n);
	unref(n);
}

int nefia_is_hub(struct nefia *n)
{
	bool up;
	int r = lib_enter(n);

	if (r != NEFIA_OK)
		return r;
	pthread_mutex_lock(&n->serving);
	up = lib_server_is_up(n->server);
	pthread_mutex_unlock(&n->serving);
	lib_leave(n);
	return up;
}
