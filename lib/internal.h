/* lib/internal.h - what the library's own files share. */
#ifndef LIB_INTERNAL_H
#define LIB_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/list.h"
#include "lib/nefia.h"
#include "operator/hub_client.h"
#include "operator/hub_core.h"

#define LIB_CLIENTS_MAX 24 /* control connections of one tunnel at once, of the hub's 64 */
#define LIB_IDLE_MAX 4     /* kept for the next call */

struct lib_server;

/* What calls may be woken by: an object with a descriptor that belongs to a tunnel. */
struct lib_object {
	struct list link; /* in nefia.objects */
	struct nefia *n;  /* holds a reference */
	int fd;
	atomic_bool cancelled;
};

struct nefia {
	pthread_mutex_t lock;
	pthread_cond_t moved; /* a call ended, a client came back, it is closing */
	pid_t pid;            /* whose it is */
	unsigned n_refs;      /* the user's, and one for each object */
	unsigned n_calls;     /* under way */
	bool closing;
	int wake_fd;          /* readable once it is closing */
	unsigned flags;
	char home[PATH_MAX], config[PATH_MAX], worker[PATH_MAX];
	char *text;           /* the configuration, when it is no file */
	size_t text_len;
	struct hub_paths paths;
	struct hub_client *idle[LIB_IDLE_MAX];
	size_t n_idle, n_clients; /* n_clients: idle ones too */
	struct list objects;
	pthread_mutex_t serving; /* one thread at a time finds or becomes the hub */
	struct lib_server *server; /* NULL: another process's hub, so far */
};

/* ---- error.c ---- */
/** lib_fail() - keep the words for nefia_error_detail(). Return: nefia.h's number of @e. */
int lib_fail(enum err e, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** lib_fail_as() - the same with a number of nefia.h */
int lib_fail_as(int error, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** lib_fail_client() - what the hub said */
int lib_fail_client(enum err e, const struct hub_client *hc);

/** lib_deadline() - NSEC_NEVER for NEFIA_FOREVER */
nsec_t lib_deadline(int timeout_ms);
/** lib_left() - until @deadline, at most @max */
nsec_t lib_left(nsec_t deadline, nsec_t max);

void lib_cond_init(pthread_cond_t *cond);
/** lib_cond_wait() - at most @left; false: nobody called meanwhile */
bool lib_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, nsec_t left);

/* ---- loop.c: the one loop thread of the process ---- */
/** lib_loop_hold() - it runs until as many lib_loop_release() */
MUST_CHECK enum err lib_loop_hold(void);
void lib_loop_release(void);
/** lib_loop_is_anothers() - this is a forked child of a process that had the loop: what that left cannot be used */
bool lib_loop_is_anothers(void);
/** lib_loop_call() - run @fn on it and wait for that; held by the caller */
void lib_loop_call(void (*fn)(struct os_loop *loop, void *arg), void *arg);

/* ---- server.c: the hubs inside the process ---- */
/** lib_server_use() - be the hub of @n's folder, with whoever else in the process has it open. ERR_EXISTS: one runs elsewhere. */
MUST_CHECK enum err lib_server_use(struct nefia *n, struct hub_failure *ret_why);
void lib_server_release(struct lib_server *s);
/** lib_server_is_up() - the hub inside the process has not been stopped */
bool lib_server_is_up(struct lib_server *s);

/* ---- worker.c ---- */
/** lib_worker_find() - the program; @ret is empty when there is none */
void lib_worker_find(const char *named, char ret[PATH_MAX]);

/* ---- tunnel.c ---- */
/** lib_enter() - a call begins: NEFIA_OK, CLOSED or FORKED; then lib_leave() ends it */
MUST_CHECK int lib_enter(struct nefia *n);
void lib_leave(struct nefia *n);
/**
 * lib_ask() - one request to the hub, which is found, or made, first
 * @args: stolen; @ret_reply, @ret_fd: may be NULL
 * @ret_hc: NULL, or gets the connection itself, for what belongs to it; hub_client_close() it
 * Return: NEFIA_OK, or the error, with its words kept.
 */
MUST_CHECK int lib_ask(struct nefia *n, const char *op, json_t *args, nsec_t deadline, nsec_t max, json_t **ret_reply,
		       int *ret_fd, struct hub_client **ret_hc);
/** lib_sized() - a struct of the user's, whose first field is its size, as ours; ERR_VERSION: it asks for what we do not know */
MUST_CHECK int lib_sized(const void *from, size_t from_size, void *to, size_t size);
/** lib_object_add() - from here on nefia_close() shuts @fd down. CLOSED: too late, @fd stays the caller's */
MUST_CHECK int lib_object_add(struct nefia *n, struct lib_object *o, int fd);
/** lib_object_del() - and the reference; the caller closes the descriptor after it */
void lib_object_del(struct lib_object *o);
/** lib_object_check() - may a call use it? NEFIA_OK, CLOSED, CANCELLED, FORKED */
MUST_CHECK int lib_object_check(const struct lib_object *o);
/** lib_object_wait() - until its descriptor is ready: NEFIA_OK, TIMEOUT (AGAIN when @deadline is 0), CLOSED, CANCELLED */
MUST_CHECK int lib_object_wait(const struct lib_object *o, short events, nsec_t deadline);
void lib_object_cancel(struct lib_object *o);

/* ---- stream.c ---- */
/** lib_stream_new() - over a descriptor of the hub's, given away in any case; @number: how the hub knows it */
MUST_CHECK int lib_stream_new(struct nefia *n, int fd, uint64_t number, const char *peer, struct nefia_stream **ret);

/* ---- session.c: frames of the SSH worker, for streams and processes ---- */
struct lib_session;
struct lib_session_options {
	int kind;            /* enum ssh_frame: SSH_F_EXEC or SSH_F_DIRECT */
	const char *arg;
	uint32_t number;
};
MUST_CHECK int lib_session_open(struct nefia *n, const char *host, const struct lib_session_options *opt, nsec_t deadline,
				struct lib_session **ret);
/** lib_session_wait_ready() - until the far side has begun: NEFIA_OK or why not */
MUST_CHECK int lib_session_wait_ready(struct lib_session *s, nsec_t deadline);
/** lib_session_wait() - until something moved, or the deadline */
MUST_CHECK int lib_session_wait(struct lib_session *s, nsec_t deadline);
ssize_t lib_session_read(struct lib_session *s, int *ret_which, void *buf, size_t len, nsec_t deadline);
ssize_t lib_session_write(struct lib_session *s, const void *buf, size_t len, nsec_t deadline);
int lib_session_end_input(struct lib_session *s);
int lib_session_signal(struct lib_session *s, const char *name);
/** lib_session_status() - OK with the status (-1: @ret_signal, 32 bytes); AGAIN: it runs */
int lib_session_status(struct lib_session *s, int *ret_status, char *ret_signal);
/** lib_session_error() - OK unless it broke off */
int lib_session_error(struct lib_session *s);
struct lib_object *lib_session_object(struct lib_session *s);
/** lib_session_poll_fd() - readable when reading, or writing that had no room, may go on */
int lib_session_poll_fd(const struct lib_session *s);
void lib_session_free(struct lib_session *s);

#endif
