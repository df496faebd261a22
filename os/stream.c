/*
 * os/stream.c - streams, dials and listeners on descriptors, told of readiness by the loop.
 *
 * A listener keeps one descriptor in reserve: when the process has none left, it gives that one up to accept
 * and close the waiting connection, instead of spinning on a descriptor that stays readable. When even that
 * frees no slot (somebody else took it, or the kernel is out of memory), it looks away for ACCEPT_PAUSE.
 */
#include "os/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* headers before Linux 5.14 */
#endif

struct os_stream {
	struct os_watch *watch;
	int fd;
	os_stream_fn fn;
	void *ctx;
};

static void on_stream_ready(void *ctx, int events)
{
	struct os_stream *s = ctx;

	s->fn(s->ctx, s, events);
}

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	/* What we opened is so from the first. */
	if (!(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

enum err os_stream_new(struct os_loop *loop, int fd, os_stream_fn fn, void *ctx, struct os_stream **ret)
{
	struct os_stream *s = calloc(1, sizeof(*s));
	int one = 1;
	enum err e;

	if (!s)
		return ERR_NOMEM;
	set_nonblocking(fd);
	/* Fails on anything but TCP, which is fine. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->fd = fd;
	s->fn = fn;
	s->ctx = ctx;
	e = os_watch_new(loop, fd, on_stream_ready, s, &s->watch);
	if (e != OK) {
		free(s);
		return e;
	}
	*ret = s;
	return OK;
}

void os_stream_want(struct os_stream *s, int events)
{
	os_watch_set(s->watch, events);
}

enum err os_stream_read(struct os_stream *s, void *buf, size_t len, size_t *ret_n)
{
	struct iovec iov = { buf, len };

	return os_stream_readv(s, &iov, 1, ret_n);
}

enum err os_stream_readv(struct os_stream *s, const struct iovec *iov, int iovcnt, size_t *ret_n)
{
	ssize_t n;

	do
		n = readv(s->fd, iov, iovcnt);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_from_errno(errno);
	*ret_n = (size_t)n;
	return OK;
}

enum err os_stream_writev(struct os_stream *s, const struct iovec *iov, int iovcnt, size_t *ret_n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt };
	ssize_t n;

	do {
		n = sendmsg(s->fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == ENOTSOCK)
			n = writev(s->fd, iov, iovcnt);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_from_errno(errno);
	*ret_n = (size_t)n;
	return OK;
}

size_t os_stream_unread(const struct os_stream *s)
{
	int n = 0;

	return ioctl(s->fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

static bool peer_is_local(int fd)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (getpeername(fd, (struct sockaddr *)&ss, &len) != 0)
		return false;
	if (ss.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&ss)->sin6_addr);
	return ss.ss_family == AF_INET && ntohl(((struct sockaddr_in *)&ss)->sin_addr.s_addr) >> 24 == 127;
}

void os_stream_limit_unread(struct os_stream *s, int bytes)
{
	static const int none;

	if (!peer_is_local(s->fd))
		return;
	if (bytes > 0)
		setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	else
		setsockopt(s->fd, SOL_SOCKET, SO_BUF_LOCK, &none, sizeof(none));
}

void os_stream_low_water(struct os_stream *s, int bytes)
{
	setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

void os_stream_shutdown(struct os_stream *s)
{
	shutdown(s->fd, SHUT_WR);
}

void os_stream_reset(struct os_stream *s)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	os_stream_close(s);
}

int os_stream_detach(struct os_stream *s)
{
	int fd = s->fd;

	os_watch_set(s->watch, 0);
	os_watch_free(s->watch);
	free(s);
	return fd;
}

void os_stream_close(struct os_stream *s)
{
	if (s)
		close(os_stream_detach(s));
}

int os_stream_fd(const struct os_stream *s)
{
	return s->fd;
}

/* ---- addresses ---- */

union sock_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static socklen_t from_endpoint(const struct endpoint *ep, union sock_addr *sa)
{
	memset(sa, 0, sizeof(*sa));
	if (ep->ip.family == IP_V6) {
		sa->in6.sin6_family = AF_INET6;
		sa->in6.sin6_port = htons(ep->port);
		sa->in6.sin6_scope_id = ep->scope_id;
		memcpy(&sa->in6.sin6_addr, ep->ip.b, 16);
		return sizeof(sa->in6);
	}
	sa->in.sin_family = AF_INET;
	sa->in.sin_port = htons(ep->port);
	memcpy(&sa->in.sin_addr, ep->ip.b, 4);
	return sizeof(sa->in);
}

static enum err from_path(const char *path, union sock_addr *sa, socklen_t *ret_len)
{
	memset(sa, 0, sizeof(*sa));
	if (strlen(path) >= sizeof(sa->un.sun_path))
		return ERR_TOO_LONG;
	sa->un.sun_family = AF_UNIX;
	strcpy(sa->un.sun_path, path);
	*ret_len = sizeof(sa->un);
	return OK;
}

/* ---- dialling ---- */

struct os_dial {
	struct os_loop *loop;
	struct os_watch *watch;
	struct os_timer timer; /* the deadline, or "now" for an outcome that is known already */
	int fd;
	enum err outcome; /* when the timer comes */
	char second[64]; /* "localhost": what to try when the first family fails */
	os_dial_fn fn;
	void *ctx;
};

static void dial_drop_socket(struct os_dial *d)
{
	os_watch_free(d->watch);
	d->watch = NULL;
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

void os_dial_cancel(struct os_dial *d)
{
	if (!d)
		return;
	os_timer_cancel(&d->timer);
	dial_drop_socket(d);
	free(d);
}

static void dial_finish(struct os_dial *d, enum err e)
{
	os_dial_fn fn = d->fn;
	void *ctx = d->ctx;
	int fd = -1;

	if (e == OK) {
		fd = d->fd;
		d->fd = -1;
	}
	os_dial_cancel(d);
	fn(ctx, e, fd);
}

static enum err dial_try(struct os_dial *d, const char *target);

/* After a failure: the other family, if there is one. Return: as dial_try(), @e when there is none. */
static enum err dial_second(struct os_dial *d, enum err e)
{
	char second[sizeof(d->second)];

	if (!d->second[0])
		return e;
	memcpy(second, d->second, sizeof(second));
	d->second[0] = '\0';
	dial_drop_socket(d);
	return dial_try(d, second) == OK ? OK : e;
}

static void on_dial_ready(void *ctx, int events)
{
	struct os_dial *d = ctx;
	int errnum = 0;
	socklen_t len = sizeof(errnum);

	getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
	if (errnum == 0 || dial_second(d, ERR_IO) != OK)
		dial_finish(d, errnum == 0 ? OK : err_from_errno(errnum));
}

static void on_dial_timer(void *ctx)
{
	struct os_dial *d = ctx;

	dial_finish(d, d->outcome);
}

/* An outcome that is known at once is told from the loop, never from within the call that asked for it. */
static void dial_over(struct os_dial *d, enum err outcome)
{
	d->outcome = outcome;
	os_timer_set(&d->timer, 0);
}

/*
 * The kernel's own peers answer while connect() runs, but it says EINPROGRESS, for it looked before. Asked again it tells
 * how that ended, which saves waiting for a socket that is ready.
 */
static int connect_now(int fd, const union sock_addr *sa, socklen_t len)
{
	int r = connect(fd, &sa->sa, len);

	return r != 0 && errno == EINPROGRESS ? connect(fd, &sa->sa, len) : r;
}

static enum err dial_connect(struct os_dial *d, int family, const union sock_addr *sa, socklen_t len)
{
	enum err e = OK;

	d->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		return err_from_errno(errno);
	if (connect_now(d->fd, sa, len) == 0) {
		dial_over(d, OK);
		return OK;
	}
	if (errno != EALREADY)
		e = err_from_errno(errno);
	else if (os_watch_new(d->loop, d->fd, on_dial_ready, d, &d->watch) != OK)
		e = ERR_NOMEM;
	if (e != OK)
		dial_drop_socket(d);
	else
		os_watch_set(d->watch, OS_WRITE);
	return e;
}

static enum err dial_try(struct os_dial *d, const char *target)
{
	union sock_addr sa;
	struct endpoint ep;
	socklen_t len;
	enum err e;

	if (strncmp(target, "unix:", 5) == 0) {
		e = from_path(target + 5, &sa, &len);
		return e == OK ? dial_connect(d, AF_UNIX, &sa, len) : e;
	}
	e = endpoint_parse(target, &ep);
	if (e != OK)
		return e;
	len = from_endpoint(&ep, &sa);
	return dial_connect(d, sa.sa.sa_family, &sa, len);
}

enum err os_dial_start(struct os_loop *loop, const char *target, nsec_t deadline, os_dial_fn fn, void *ctx,
		       struct os_dial **ret)
{
	struct os_dial *d = calloc(1, sizeof(*d));
	char first[64];
	enum err e;

	if (!d)
		return ERR_NOMEM;
	*d = (struct os_dial){ .loop = loop, .fd = -1, .fn = fn, .ctx = ctx, .outcome = ERR_TIMEOUT };
	os_timer_init(&d->timer, loop, on_dial_timer, d);
	if (strncmp(target, "localhost:", 10) == 0) {
		snprintf(first, sizeof(first), "127.0.0.1%s", target + 9);
		snprintf(d->second, sizeof(d->second), "[::1]%s", target + 9);
		target = first;
	}
	os_timer_set(&d->timer, deadline);
	e = dial_try(d, target);
	if (e == ERR_FORMAT || e == ERR_RANGE || e == ERR_TOO_LONG) {
		os_dial_cancel(d);
		return e;
	}
	if (e != OK)
		e = dial_second(d, e);
	if (e != OK)
		dial_over(d, e);
	*ret = d;
	return OK;
}

/* ---- listening ---- */

#define ACCEPT_PAUSE (100 * NSEC_PER_MSEC)

struct os_listener {
	struct os_watch *watch;
	struct os_timer pause;
	int fd, reserve_fd; /* reserve_fd is -1 while there is none */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of a Unix socket */
	struct stat made; /* the file that we made there */
	void (*on_accept)(void *ctx, int fd);
	void *ctx;
};

static void listener_reserve(struct os_listener *l)
{
	if (l->reserve_fd < 0)
		l->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Out of descriptors: turn the waiting connection away with the reserve's slot. False: it still waits. */
static bool turn_away(struct os_listener *l)
{
	int fd;

	if (l->reserve_fd < 0)
		return false;
	close(l->reserve_fd);
	l->reserve_fd = -1;
	fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	listener_reserve(l);
	return fd >= 0;
}

static void on_listen_ready(void *ctx, int events)
{
	struct os_listener *l = ctx;
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	bool full = fd < 0 && (errno == EMFILE || errno == ENFILE);
	bool starved = fd < 0 && (errno == ENOMEM || errno == ENOBUFS);

	if (fd >= 0) {
		l->on_accept(l->ctx, fd);
	} else if (starved || (full && !turn_away(l))) {
		os_watch_set(l->watch, 0);
		os_timer_set(&l->pause, os_now() + ACCEPT_PAUSE);
	}
}

static void on_pause_over(void *ctx)
{
	struct os_listener *l = ctx;

	listener_reserve(l);
	os_watch_set(l->watch, OS_READ);
}

static enum err listener_new(struct os_loop *loop, int fd, void (*on_accept)(void *ctx, int fd), void *ctx,
			     struct os_listener **ret)
{
	struct os_listener *l = calloc(1, sizeof(*l));
	enum err e = ERR_NOMEM;

	if (l) {
		l->fd = fd;
		l->on_accept = on_accept;
		l->ctx = ctx;
		e = os_watch_new(loop, fd, on_listen_ready, l, &l->watch);
	}
	if (e != OK) {
		close(fd);
		free(l);
		return e;
	}
	l->reserve_fd = -1;
	listener_reserve(l);
	os_timer_init(&l->pause, loop, on_pause_over, l);
	os_watch_set(l->watch, OS_READ);
	*ret = l;
	return OK;
}

/* A socket that nobody has any more. Whatever else stands at that path is a person's, who misspelt it. */
static bool is_stale(const union sock_addr *sa, socklen_t len)
{
	struct stat st;
	bool yes;
	int fd;

	if (lstat(sa->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	yes = fd >= 0 && connect(fd, &sa->sa, len) != 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return yes;
}

static enum err bind_unix(int fd, const char *path)
{
	union sock_addr sa;
	socklen_t len;
	enum err e = from_path(path, &sa, &len);
	int r;

	if (e != OK)
		return e;
	/* The file gets the socket's mode (less the umask, which belongs to all threads of the process). */
	if (fchmod(fd, 0600) != 0)
		return err_from_errno(errno);
	r = bind(fd, &sa.sa, len);
	if (r != 0 && errno == EADDRINUSE && is_stale(&sa, len) && unlink(path) == 0)
		r = bind(fd, &sa.sa, len);
	e = r == 0 ? OK : err_from_errno(errno);
	if (e == OK && (chmod(path, 0600) != 0 || listen(fd, 128) != 0))
		e = err_from_errno(errno);
	return e;
}

enum err os_listen_unix(struct os_loop *loop, const char *path, void (*on_accept)(void *ctx, int fd),
			void *ctx, struct os_listener **ret)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	enum err e;

	if (fd < 0)
		return err_from_errno(errno);
	e = bind_unix(fd, path);
	if (e != OK) {
		close(fd);
		return e;
	}
	e = listener_new(loop, fd, on_accept, ctx, ret);
	if (e != OK)
		unlink(path);
	else if (lstat(path, &(*ret)->made) == 0)
		strcpy((*ret)->path, path);
	return e;
}

enum err os_listen_tcp(struct os_loop *loop, const struct endpoint *ep, void (*on_accept)(void *ctx, int fd),
		       void *ctx, struct os_listener **ret)
{
	union sock_addr sa;
	socklen_t len = from_endpoint(ep, &sa);
	int fd = socket(sa.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		return err_from_errno(errno);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* One family a listener: else [::] takes IPv4's port too, or cannot be had beside 0.0.0.0. */
	if (sa.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, &sa.sa, len) != 0 || listen(fd, SOMAXCONN) != 0) {
		enum err e = err_from_errno(errno);

		close(fd);
		return e;
	}
	return listener_new(loop, fd, on_accept, ctx, ret);
}

uint16_t os_listener_port(const struct os_listener *l)
{
	union sock_addr sa = { 0 };
	socklen_t len = sizeof(sa);

	if (getsockname(l->fd, &sa.sa, &len) != 0)
		return 0;
	return sa.sa.sa_family == AF_INET   ? ntohs(sa.in.sin_port) :
	       sa.sa.sa_family == AF_INET6  ? ntohs(sa.in6.sin6_port) : 0;
}

void os_listener_close(struct os_listener *l)
{
	struct stat st;

	if (!l)
		return;
	os_timer_cancel(&l->pause);
	os_watch_free(l->watch);
	close(l->fd);
	if (l->reserve_fd >= 0)
		close(l->reserve_fd);
	/* Another may have taken our place. */
	if (l->path[0] && lstat(l->path, &st) == 0 && st.st_ino == l->made.st_ino && st.st_dev == l->made.st_dev)
		unlink(l->path);
	free(l);
}

/* ---- Unix sockets: who, pairs, descriptors ---- */

bool os_peer_uid(int fd, unsigned *ret_uid, int *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return false;
	*ret_uid = cred.uid;
	if (ret_pid)
		*ret_pid = cred.pid;
	return true;
}

enum err os_socketpair(int ret_fds[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) == 0 ?
		       OK :
		       err_from_errno(errno);
}

enum err os_seqpacket_pair(int ret_fds[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret_fds) == 0 ?
		       OK :
		       err_from_errno(errno);
}

void os_recv_stop(int fd)
{
	shutdown(fd, SHUT_RD);
}

union fd_control {
	char buf[CMSG_SPACE(OS_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

enum err os_send_fds(int fd, const void *buf, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = { (void *)buf, len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_control control = { 0 };
	ssize_t n;

	if (n_fds > OS_FDS_MAX || len == 0)
		return ERR_INVALID;
	if (n_fds > 0) {
		struct cmsghdr *c;

		m.msg_control = control.buf;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_from_errno(errno);
	return (size_t)n == len ? OK : ERR_TOO_LONG;
}

/* Keep the first OS_FDS_MAX descriptors of a message, close the others. */
static void collect_fds(struct msghdr *m, int fds[OS_FDS_MAX], size_t *ret_n_fds)
{
	size_t kept = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (kept < OS_FDS_MAX)
				fds[kept++] = got;
			else
				close(got);
		}
	}
	*ret_n_fds = kept;
}

enum err os_recv_fds(int fd, void *buf, size_t len, size_t *ret_n, int fds[OS_FDS_MAX], size_t *ret_n_fds)
{
	struct iovec iov = { buf, len };
	union fd_control control;
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = sizeof(control.buf) };
	ssize_t n;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_from_errno(errno);
	collect_fds(&m, fds, ret_n_fds);
	*ret_n = (size_t)n;
	return OK;
}
