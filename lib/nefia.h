/*
 * nefia.h - libnefia: a Nefia tunnel in your own program: dial, listen, run commands.
 *
 *	struct nefia_options opt = NEFIA_OPTIONS_INIT;
 *	struct nefia *n;
 *	struct nefia_stream *s;
 *
 *	if (nefia_open(&opt, &n) == NEFIA_OK && nefia_dial(n, "web1", 22, 5000, &s) == NEFIA_OK) ...
 *
 * Rules, for all functions; doc/library.md and libnefia(3) say more:
 *
 * - Errors are negative numbers of enum nefia_error. What happened this time, in words, is in nefia_error_detail(), which
 *   belongs to the calling thread.
 * - Timeouts are in milliseconds: 0 never waits (NEFIA_ERR_AGAIN), NEFIA_FOREVER has no limit. A function that waits is
 *   ended early by nefia_stop() or nefia_close() of its tunnel (NEFIA_ERR_CLOSED) and by nefia_cancel() of its stream (NEFIA_ERR_CANCELLED).
 * - Every function may be called from every thread, several at once on the same object too, but none with an object that another
 *   thread is giving back (nefia_close(), the functions named _close and _free).
 * - Who gets an object gives it back. Streams, listeners and processes outlive nefia_close() as dead objects and are
 *   still to be given back.
 * - The library changes no signal handler, blocks no signal of yours, never raises SIGPIPE or SIGCHLD, and writes nothing to
 *   standard output or standard error. Its descriptors are closed on exec.
 * - After fork() without exec the child may only give objects back; all else is NEFIA_ERR_FORKED there.
 */
#ifndef NEFIA_H
#define NEFIA_H

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEFIA_VERSION_MAJOR 0
#define NEFIA_VERSION_MINOR 1
#define NEFIA_VERSION_PATCH 0

#if defined(__GNUC__)
#define NEFIA_API __attribute__((visibility("default")))
#else
#define NEFIA_API
#endif

#define NEFIA_FOREVER (-1)

/* Numbers are never given another meaning; new ones are added at the end. */
enum nefia_error {
	NEFIA_OK = 0,
	NEFIA_ERR_NOMEM = -1,
	NEFIA_ERR_INVALID = -2,      /* an argument makes no sense */
	NEFIA_ERR_FORMAT = -3,       /* the configuration: nefia_error_detail() names the line */
	NEFIA_ERR_RANGE = -4,
	NEFIA_ERR_TOO_LONG = -5,
	NEFIA_ERR_FULL = -6,         /* a limit is reached: of the hub, of descriptors, of output_max */
	NEFIA_ERR_AGAIN = -7,        /* not without waiting */
	NEFIA_ERR_TIMEOUT = -8,
	NEFIA_ERR_CLOSED = -9,       /* by nefia_close(); or the other side does not take any more */
	NEFIA_ERR_RESET = -10,       /* broken off: what was read may not be all */
	NEFIA_ERR_REFUSED = -11,     /* nobody listens there */
	NEFIA_ERR_UNREACHABLE = -12,
	NEFIA_ERR_NO_ROUTE = -13,    /* the host has no known endpoint and has not called yet */
	NEFIA_ERR_NOT_FOUND = -14,   /* no such host, or file */
	NEFIA_ERR_EXISTS = -15,
	NEFIA_ERR_IN_USE = -16,      /* a port; or a hub runs with another configuration */
	NEFIA_ERR_PERMISSION = -17,  /* of a file; others may read nefia.yaml */
	NEFIA_ERR_AUTH = -18,        /* the host's SSH server takes none of the keys */
	NEFIA_ERR_HOST_KEY = -19,    /* the host's SSH key is not the known one */
	NEFIA_ERR_PROTOCOL = -20,
	NEFIA_ERR_VERSION = -21,     /* the hub or the SSH worker is of another version */
	NEFIA_ERR_NO_SPACE = -22,
	NEFIA_ERR_IO = -23,
	NEFIA_ERR_UNSUPPORTED = -24,
	NEFIA_ERR_CANCELLED = -25,   /* by nefia_cancel() */
	NEFIA_ERR_INTERNAL = -26,
	NEFIA_ERR_FORKED = -27,      /* the tunnel is the parent's */
	NEFIA_ERR_NO_WORKER = -28,   /* the program that is the SSH worker is not there: nefia_options.worker */
	NEFIA_ERR_NO_HUB = -29,      /* NEFIA_ATTACH_ONLY, and no hub runs */
	NEFIA_ERR_PAUSED = -30,      /* the host rests after failed logins: nefia_error_detail() says until when */
	NEFIA_ERR_ALGORITHM = -31,   /* its SSH server has none of our algorithms */
	NEFIA_ERR_FORBIDDEN = -32    /* its SSH server does not allow this */
};

/** nefia_version() - of the library that runs, "0.1.0" */
NEFIA_API const char *nefia_version(void);
/** nefia_version_number() - the same as 0xMMmmpp, to compare with NEFIA_VERSION_* */
NEFIA_API int nefia_version_number(void);
/** nefia_strerror() - "timed out"; a constant, for every number */
NEFIA_API const char *nefia_strerror(int error);
/**
 * nefia_error_detail() - what happened this time, in words for people: which host, which file, what to do
 *
 * Of the last function that failed in this thread; until the next one fails there. Never NULL.
 */
NEFIA_API const char *nefia_error_detail(void);

/**
 * nefia_set_log() - hear what the hub inside the process has to say; nobody does before
 * @fn:    gets one line without its end; runs on the library's thread and must not call the library. NULL = nobody
 * @level: the least; 0 debug, 1 info, 2 warning, 3 error
 */
NEFIA_API void nefia_set_log(void (*fn)(void *ctx, int level, const char *line), void *ctx, int level);

/* ---- a tunnel ---- */

struct nefia;

#define NEFIA_ATTACH_ONLY 1u /* use a hub that runs; never be the hub */

struct nefia_options {
	size_t size;             /* of this struct, as your compiler saw it: NEFIA_OPTIONS_INIT */
	const char *config;      /* path of nefia.yaml; NULL: nefia.yaml in the folder below */
	const char *config_text; /* the configuration itself, in place of a file; needs @home */
	size_t config_text_len;
	const char *home;        /* the Nefia folder (known_hosts, state, lock); NULL: as the nefia command does: $NEFIA_HOME,
				  * else the folder of @config, else ~/.nefia */
	const char *worker;      /* the nefia program, which is the SSH worker too; NULL: $NEFIA_WORKER, else beside the library
				  * (../bin, ../libexec), else the one in $PATH. Asked for by the first exec. */
	unsigned flags;          /* NEFIA_ATTACH_ONLY */
	int timeout_ms;          /* for opening; 0 = 10,000 */
};
#define NEFIA_OPTIONS_INIT { sizeof(struct nefia_options), NULL, NULL, 0, NULL, NULL, 0, 0 }

/**
 * nefia_open() - a tunnel with the operator's key
 * @opt: NULL = all defaults; copied
 *
 * One key is used by one process at a time. When a hub of this folder runs, its tunnel is used, as the commands do; else
 * this process is the hub until nefia_close(), and commands use its tunnel. Should the hub end, the next call finds or becomes
 * another. Opening a folder again in one process shares the tunnel.
 * Return: NEFIA_OK; NOT_FOUND, FORMAT, PERMISSION: the configuration; IN_USE: the running hub has another one.
 */
NEFIA_API int nefia_open(const struct nefia_options *opt, struct nefia **ret);
/**
 * nefia_stop() - every call that waits in another thread ends with NEFIA_ERR_CLOSED, as later ones do; streams are broken off
 *
 * Returns when no call is under way any more; bytes that were written to streams that are closed already have got a second to
 * arrive. For ending what other threads still use: they find out, and nefia_close() follows when they are done.
 */
NEFIA_API void nefia_stop(struct nefia *n);
/** nefia_close() - nefia_stop(), and give it back. NULL is allowed */
NEFIA_API void nefia_close(struct nefia *n);
/** nefia_is_hub() - 1: this process has the tunnel; 0: another one's hub */
NEFIA_API int nefia_is_hub(struct nefia *n);

/* ---- streams ---- */

struct nefia_stream;

/**
 * nefia_dial() - through the tunnel to @host (an id of nefia.yaml), @port of its VPN address
 *
 * An agent answers at port 22 alone, with its ssh_addr; other WireGuard peers as they like. Waits for the tunnel first.
 * At most 10 s, whatever @timeout_ms says.
 * Return: NEFIA_OK; TIMEOUT; REFUSED; NO_ROUTE; NOT_FOUND: there is no such host.
 */
NEFIA_API int nefia_dial(struct nefia *n, const char *host, unsigned port, int timeout_ms, struct nefia_stream **ret);
/**
 * nefia_dial_ssh() - by the host's SSH server, as `ssh -L` does: to @target as @host sees it
 * @target: a name, an address, or the path of a Unix socket (then @port is 0)
 */
NEFIA_API int nefia_dial_ssh(struct nefia *n, const char *host, const char *target, unsigned port, int timeout_ms,
			     struct nefia_stream **ret);
/**
 * nefia_stream_fd() - to poll; POLLIN: read, POLLOUT: write. Yours to poll, the library's to close
 *
 * After nefia_dial() and nefia_accept() it is the stream itself (a Unix socket, non-blocking): read(2), send(2) and shutdown(2)
 * work, sendfile() too; write(2) may raise SIGPIPE, send(MSG_NOSIGNAL) does not. After nefia_dial_ssh() it is for poll()
 * alone, and for POLLIN alone: that comes for room as well. nefia_read() until NEFIA_ERR_AGAIN as the last thing before you
 * poll (that is also what sends on what had no room), and it may wake for nothing.
 */
NEFIA_API int nefia_stream_fd(const struct nefia_stream *s);
/** nefia_stream_peer() - "10.99.0.2:40112" of an accepted stream, "web1:22" of a dialled one; lives as long as it */
NEFIA_API const char *nefia_stream_peer(const struct nefia_stream *s);
/**
 * nefia_read() - wait for bytes, take up to @len
 * Return: how many; 0: the other side has ended in order; RESET: it broke off, or the tunnel's hub ended; TIMEOUT; AGAIN.
 */
NEFIA_API ssize_t nefia_read(struct nefia_stream *s, void *buf, size_t len, int timeout_ms);
/**
 * nefia_write() - give away all of @len bytes, waiting while there is no room
 * Return: how many were taken, fewer than @len only when the time was over; TIMEOUT, AGAIN: none; CLOSED; RESET.
 */
NEFIA_API ssize_t nefia_write(struct nefia_stream *s, const void *buf, size_t len, int timeout_ms);
/** nefia_shutdown() - nothing more will be written: the other side reads its end; reading goes on */
NEFIA_API int nefia_shutdown(struct nefia_stream *s);
/** nefia_stream_error() - for those who read(2) an end themselves: NEFIA_OK: it was in order; RESET, TIMEOUT ...: it was not */
NEFIA_API int nefia_stream_error(struct nefia_stream *s);
/** nefia_cancel() - break it off: calls that wait end with CANCELLED, as later ones do. Allowed in a signal handler */
NEFIA_API void nefia_cancel(struct nefia_stream *s);
/** nefia_stream_close() - in order when its both directions ended, or what was written is still on its way; NULL is allowed */
NEFIA_API void nefia_stream_close(struct nefia_stream *s);

/* ---- listening ---- */

struct nefia_listener;

/**
 * nefia_listen() - inside the tunnel, on the operator's address: every peer may connect
 * @port:    0 = any, see nefia_listener_port()
 * @backlog: connections that wait to be accepted; who comes then waits for an answer. 0 = 128, which is the most
 * Return: NEFIA_OK; IN_USE. Should the hub end, nefia_accept() says CLOSED, and it is to be opened anew.
 */
NEFIA_API int nefia_listen(struct nefia *n, unsigned port, int backlog, int timeout_ms, struct nefia_listener **ret);
NEFIA_API unsigned nefia_listener_port(const struct nefia_listener *l);
/** nefia_listener_fd() - to poll: POLLIN: nefia_accept() has something to say */
NEFIA_API int nefia_listener_fd(const struct nefia_listener *l);
/** nefia_accept() - the next connection. NEFIA_OK; TIMEOUT; AGAIN; CLOSED */
NEFIA_API int nefia_accept(struct nefia_listener *l, int timeout_ms, struct nefia_stream **ret);
/** nefia_listener_close() - accepted streams stay; NULL is allowed */
NEFIA_API void nefia_listener_close(struct nefia_listener *l);

/* ---- commands on a host, by its SSH server ---- */

struct nefia_exec_options {
	size_t size;          /* NEFIA_EXEC_OPTIONS_INIT */
	const char *command;  /* given to the login shell there */
	const void *input;    /* its standard input, nefia_exec() only */
	size_t input_len;
	size_t output_max;    /* nefia_exec(): of both outputs together; more is FULL. 0 = 64 MiB */
	int timeout_ms;       /* of the whole; 0 = NEFIA_FOREVER */
};
#define NEFIA_EXEC_OPTIONS_INIT { sizeof(struct nefia_exec_options), NULL, NULL, 0, 0, 0 }

struct nefia_exec_result {
	size_t size;          /* NEFIA_EXEC_RESULT_INIT */
	int exit_status;      /* 0 to 255; -1: a signal ended it */
	char exit_signal[32]; /* "TERM"; empty: none */
	char *out, *err;      /* what it wrote, with a NUL after it; nefia_exec_free() */
	size_t out_len, err_len;
};
#define NEFIA_EXEC_RESULT_INIT { sizeof(struct nefia_exec_result), -1, "", NULL, NULL, 0, 0 }

/**
 * nefia_exec() - run a command to its end
 * Return: NEFIA_OK when it ran, whatever its status; TIMEOUT (it is ended there); AUTH; HOST_KEY; REFUSED; NO_WORKER; RESET ...
 * @ret is filled then only.
 */
NEFIA_API int nefia_exec(struct nefia *n, const char *host, const struct nefia_exec_options *opt,
			 struct nefia_exec_result *ret);
/** nefia_exec_free() - what nefia_exec() put into @r */
NEFIA_API void nefia_exec_free(struct nefia_exec_result *r);

struct nefia_process;

/** nefia_exec_start() - the same as a process to read from and write to */
NEFIA_API int nefia_exec_start(struct nefia *n, const char *host, const struct nefia_exec_options *opt,
			       struct nefia_process **ret);
/**
 * nefia_process_fd() - for poll() alone, and for POLLIN alone: that comes for room as well
 *
 * nefia_process_read() until NEFIA_ERR_AGAIN as the last thing before you poll (that is also what sends on what had no room),
 * and it may wake for nothing.
 */
NEFIA_API int nefia_process_fd(const struct nefia_process *p);
/**
 * nefia_process_read() - bytes of whichever output has some
 * @ret_which: 1 standard output, 2 standard error
 * Return: how many; 0: both ended and so did the process: nefia_process_status(); TIMEOUT; AGAIN; what broke it off.
 */
NEFIA_API ssize_t nefia_process_read(struct nefia_process *p, int *ret_which, void *buf, size_t len, int timeout_ms);
/** nefia_process_write() - to its standard input, as nefia_write(). While its outputs wait unread, it may not go on. */
NEFIA_API ssize_t nefia_process_write(struct nefia_process *p, const void *buf, size_t len, int timeout_ms);
/** nefia_process_end_input() - its standard input is at its end */
NEFIA_API int nefia_process_end_input(struct nefia_process *p);
/** nefia_process_signal() - "INT", "TERM", "KILL"; as far as the server passes it on */
NEFIA_API int nefia_process_signal(struct nefia_process *p, const char *name);
/**
 * nefia_process_status() - after nefia_process_read() said 0
 * @ret_status: 0 to 255; -1: a signal ended it
 * @ret_signal: 32 bytes, or NULL: that signal, "TERM"; empty: none
 * Return: NEFIA_OK; AGAIN: it still runs; what broke it off.
 */
NEFIA_API int nefia_process_status(struct nefia_process *p, int *ret_status, char *ret_signal);
/** nefia_process_free() - it is ended there when it still runs; NULL is allowed */
NEFIA_API void nefia_process_free(struct nefia_process *p);

#ifdef __cplusplus
}
#endif

#endif
