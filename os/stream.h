/*
 * os/stream.h - non-blocking byte streams: TCP to and from local programs, Unix sockets, pipes.
 *
 * Readiness style: the owner reads and writes when told; nothing is queued here, so backpressure is the
 * kernel's. A Unix stream can carry descriptors beside the bytes.
 */
#ifndef OS_STREAM_H
#define OS_STREAM_H

#include <sys/uio.h>

#include "base/addr.h"
#include "base/err.h"
#include "os/loop.h"

struct os_stream;
typedef void (*os_stream_fn)(void *ctx, struct os_stream *s, int events); /* OS_READ | OS_WRITE | OS_HANGUP */

/** os_stream_new() - take over @fd (made non-blocking, closed on exec; closed with the stream) */
MUST_CHECK enum err os_stream_new(struct os_loop *loop, int fd, os_stream_fn fn, void *ctx,
				  struct os_stream **ret);
/** os_stream_want() - which events to tell of from now on */
void os_stream_want(struct os_stream *s, int events);
/** os_stream_read() - OK with *ret_n = 0 is the end; ERR_AGAIN: nothing now; ERR_RESET, ERR_IO */
MUST_CHECK enum err os_stream_read(struct os_stream *s, void *buf, size_t len, size_t *ret_n);
/** os_stream_readv() - the same into several pieces of memory */
MUST_CHECK enum err os_stream_readv(struct os_stream *s, const struct iovec *iov, int iovcnt, size_t *ret_n);
/** os_stream_writev() - OK with *ret_n bytes taken; ERR_AGAIN: none; ERR_CLOSED, ERR_RESET (never SIGPIPE) */
MUST_CHECK enum err os_stream_writev(struct os_stream *s, const struct iovec *iov, int iovcnt, size_t *ret_n);
/** os_stream_unread() - bytes that have come and were not read */
size_t os_stream_unread(const struct os_stream *s);
/**
 * os_stream_limit_unread() - let about @bytes stand in the kernel before the program at the other end must wait; 0: as it likes
 *
 * For programs of this machine alone: over a network, where the kernel knows better, and on errors it does nothing. With a limit
 * the kernel drops what was sent in many small pieces and does not fit: who stops to read for long lifts it, or the other end
 * waits for its timeout. (To lift it is Linux 5.14's.)
 */
void os_stream_limit_unread(struct os_stream *s, int bytes);
/** os_stream_low_water() - tell of OS_READ when @bytes stand there, or the end; a read takes what there is. Only TCP keeps to it. */
void os_stream_low_water(struct os_stream *s, int bytes);
/** os_stream_shutdown() - end our direction */
void os_stream_shutdown(struct os_stream *s);
/** os_stream_reset() - close such that a TCP peer sees a reset */
void os_stream_reset(struct os_stream *s);
void os_stream_close(struct os_stream *s);
/** os_stream_detach() - give the descriptor back (still non-blocking) and free the stream */
int os_stream_detach(struct os_stream *s);
int os_stream_fd(const struct os_stream *s);

/* A dial under way; ends with exactly one call of @fn unless cancelled. */
struct os_dial;
typedef void (*os_dial_fn)(void *ctx, enum err e, int fd); /* OK: @fd is the callee's */
/**
 * os_dial_start() - connect to "host:port" or "unix:/path" by @deadline (loop time)
 * @target: numeric address and port, "localhost:port" (both families tried), or "unix:" and a path
 */
MUST_CHECK enum err os_dial_start(struct os_loop *loop, const char *target, nsec_t deadline, os_dial_fn fn,
				  void *ctx, struct os_dial **ret);
void os_dial_cancel(struct os_dial *d);

struct os_listener;
/**
 * os_listen_unix() - @path is replaced when it is a socket that nobody has any more; mode 0600
 * Return: OK; ERR_IN_USE: somebody listens there, or it is a file of another kind, which stays as it is.
 */
MUST_CHECK enum err os_listen_unix(struct os_loop *loop, const char *path, void (*on_accept)(void *ctx, int fd),
				   void *ctx, struct os_listener **ret);
MUST_CHECK enum err os_listen_tcp(struct os_loop *loop, const struct endpoint *ep,
				  void (*on_accept)(void *ctx, int fd), void *ctx, struct os_listener **ret);
/** os_listener_port() - the TCP port that it listens on; 0 = none */
uint16_t os_listener_port(const struct os_listener *l);
/** os_listener_close() - a Unix socket's path is removed */
void os_listener_close(struct os_listener *l);

/** os_peer_uid() - who is at the other end of a Unix socket; false when unknown */
bool os_peer_uid(int fd, unsigned *ret_uid, int *ret_pid);
/** os_socketpair() - two ends of a Unix stream pair, close-on-exec, both non-blocking */
MUST_CHECK enum err os_socketpair(int ret_fds[2]);

/* Messages with descriptors over a Unix SOCK_SEQPACKET or SOCK_STREAM socket, blocking or not as the fd is. */
#define OS_FDS_MAX 4
/** os_send_fds() - one sendmsg of @len > 0 bytes with @n_fds descriptors; OK only when all was taken */
MUST_CHECK enum err os_send_fds(int fd, const void *buf, size_t len, const int *fds, size_t n_fds);
/** os_recv_fds() - one recvmsg; *ret_n 0 = end. Descriptors beyond @fds are closed. */
MUST_CHECK enum err os_recv_fds(int fd, void *buf, size_t len, size_t *ret_n, int fds[OS_FDS_MAX],
				size_t *ret_n_fds);
/** os_recv_stop() - what the peer sends from now on fails there; what it has sent can be read, and then comes the end */
void os_recv_stop(int fd);
/** os_seqpacket_pair() - two ends that keep message borders */
MUST_CHECK enum err os_seqpacket_pair(int ret_fds[2]);

#endif
