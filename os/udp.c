/*
 * os/udp.c - the UDP port.
 *
 * Two sockets share one port number, one for each family, because a dual-stack socket reports IPv4 addresses in a mapped
 * form and loses IP_PKTINFO on some kernels. Receive slots (8 of 64 KiB) are shared by both: a slot is free again
 * when the batch was handed on.
 *
 * Segmentation state: off for the process (ENOPROTOOPT, or NEFIA_GSO=off), or for one path: destination, our address and
 * interface (a small table, the oldest leaves first). EIO says that the interface sums no checksums: where that is known, it is
 * off for whatever leaves by our address there. A refused run goes on as single datagrams from where it stood. When
 * the first of these is refused with the same error, it was not segmentation: the path is taken out of the table again,
 * so that a source address that is gone (EINVAL) does not cost a peer its speed.
 */
#include "os/udp.h"
#include "os/udp_internal.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define N_SLOTS 8
#define SLOT_BYTES 65536
#define N_DGRAMS_MAX (N_SLOTS * 128) /* GRO joins 64; a run of a local sender comes as it is, of up to 128 since Linux 6.9 */
#define DRAIN_ROUNDS 8 /* batches a wake, so that timers and other descriptors get their turn */
#define SOCKET_BUFFER (7 << 20)
#define N_NO_GSO 64

/* A path on which segmentation is off; .remote.port 0 = free. */
struct no_gso {
	struct path_addr path;
	bool all; /* for every destination behind the same address and interface of ours */
};

struct control_space {
	_Alignas(struct cmsghdr) char buf[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) +
					 CMSG_SPACE(sizeof(uint32_t))];
};

struct family_socket {
	struct os_udp *udp;
	struct os_watch *watch;
	int fd; /* -1: the machine does not have this family */
	int family;
	uint32_t overflow; /* SO_RXQ_OVFL's running count */
};

struct os_udp {
	struct family_socket v4, v6;
	struct os_udp_handler h;
	uint16_t port;
	bool gso, gro;
	struct no_gso no_gso[N_NO_GSO];
	unsigned n_no_gso, next_no_gso;
	struct log_limit gso_limit;
	size_t sent;        /* of the run that met EAGAIN */
	uint8_t run_id[16]; /* its first bytes */
	struct os_udp_stats stats;
	struct os_udp_dgram dgrams[N_DGRAMS_MAX];
	uint8_t *slots;
};

ssize_t (*os_udp_sendmsg)(int fd, const struct msghdr *m, int flags) = sendmsg;
bool os_udp_gso_unsupported;

/* ---- receiving ---- */

static void read_remote(const struct sockaddr_storage *ss, struct endpoint *ep)
{
	memset(ep, 0, sizeof(*ep));
	if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;

		ep->ip.family = IP_V6;
		memcpy(ep->ip.b, &in6->sin6_addr, 16);
		ep->port = ntohs(in6->sin6_port);
		ep->scope_id = IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ? in6->sin6_scope_id : 0;
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

		ep->ip.family = IP_V4;
		memcpy(ep->ip.b, &in->sin_addr, 4);
		ep->port = ntohs(in->sin_port);
	}
}

static void read_local4(const struct cmsghdr *c, struct path_addr *path)
{
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	path->local.family = IP_V4;
	memcpy(path->local.b, &info.ipi_spec_dst, 4);
	path->ifindex = (uint32_t)info.ipi_ifindex;
}

static void read_local6(const struct cmsghdr *c, struct path_addr *path)
{
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(c), sizeof(info));
	path->local.family = IP_V6;
	memcpy(path->local.b, &info.ipi6_addr, 16);
	path->ifindex = info.ipi6_ifindex;
}

/* Return: the size of the datagrams that GRO joined, 0 when it did not. */
static int read_control(struct family_socket *s, struct msghdr *m, struct path_addr *path)
{
	int gro = 0;
	uint32_t overflow;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			memcpy(&gro, CMSG_DATA(c), sizeof(gro));
		} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			read_local4(c, path);
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			read_local6(c, path);
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
			memcpy(&overflow, CMSG_DATA(c), sizeof(overflow));
			s->udp->stats.n_rx_overflow += overflow - s->overflow;
			s->overflow = overflow;
		}
	}
	return gro;
}

size_t os_udp_split(const uint8_t *p, size_t len, size_t seg, const struct path_addr *path,
		    struct os_udp_dgram *ret, size_t max)
{
	size_t n = 0;

	if (seg == 0 || seg > len)
		seg = len;
	do {
		size_t take = MIN(seg, len);

		if (n == max)
			break;
		ret[n++] = (struct os_udp_dgram){ p, take, *path };
		p += take;
		len -= take;
	} while (len > 0);
	return n;
}

/* One recvmmsg. Return: how many datagrams, 0 when the socket is empty. */
static size_t receive_batch(struct family_socket *s)
{
	struct os_udp *u = s->udp;
	struct mmsghdr mm[N_SLOTS];
	struct iovec iov[N_SLOTS];
	struct sockaddr_storage from[N_SLOTS];
	struct control_space control[N_SLOTS];
	size_t n = 0;
	int got;

	for (int i = 0; i < N_SLOTS; i++) {
		iov[i] = (struct iovec){ u->slots + (size_t)i * SLOT_BYTES, SLOT_BYTES };
		mm[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
						 .msg_namelen = sizeof(from[i]),
						 .msg_iov = &iov[i],
						 .msg_iovlen = 1,
						 .msg_control = control[i].buf,
						 .msg_controllen = sizeof(control[i].buf) };
	}
	got = recvmmsg(s->fd, mm, N_SLOTS, MSG_DONTWAIT, NULL);
	if (got <= 0)
		return 0;
	u->stats.n_rx_calls++;
	for (int i = 0; i < got; i++) {
		struct path_addr path = { 0 };
		int seg = read_control(s, &mm[i].msg_hdr, &path);

		read_remote(&from[i], &path.remote);
		/* A datagram cut short cannot be authentic. */
		if (mm[i].msg_hdr.msg_flags & MSG_TRUNC || seg < 0)
			continue;
		n += os_udp_split(iov[i].iov_base, mm[i].msg_len, (size_t)seg, &path, u->dgrams + n,
				  N_DGRAMS_MAX - n);
	}
	u->stats.n_rx_dgrams += n;
	if (n > 0)
		u->h.on_recv(u->h.ctx, u->dgrams, n);
	return (size_t)got;
}

static void on_socket_ready(void *ctx, int events)
{
	struct family_socket *s = ctx;

	if (events & OS_WRITE) {
		os_watch_set(s->watch, OS_READ);
		s->udp->h.on_writable(s->udp->h.ctx);
	}
	for (int i = 0; i < DRAIN_ROUNDS && s->fd >= 0; i++)
		if (receive_batch(s) < N_SLOTS)
			break;
}

/* ---- sending ---- */

static socklen_t write_remote(const struct endpoint *ep, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (ep->ip.family == IP_V6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(ep->port);
		in6->sin6_scope_id = ep->scope_id;
		memcpy(&in6->sin6_addr, ep->ip.b, 16);
		return sizeof(*in6);
	}
	((struct sockaddr_in *)ss)->sin_family = AF_INET;
	((struct sockaddr_in *)ss)->sin_port = htons(ep->port);
	memcpy(&((struct sockaddr_in *)ss)->sin_addr, ep->ip.b, 4);
	return sizeof(struct sockaddr_in);
}

static struct cmsghdr *add_control(struct msghdr *m, struct control_space *space, int level, int type,
				   const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(space->buf + m->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	m->msg_controllen += CMSG_SPACE(len);
	return c;
}

static void add_source(struct msghdr *m, struct control_space *space, const struct path_addr *path)
{
	if (path->local.family == IP_V4) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, path->local.b, 4);
		add_control(m, space, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else if (path->local.family == IP_V6) {
		struct in6_pktinfo info = { 0 };

		memcpy(&info.ipi6_addr, path->local.b, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
			info.ipi6_ifindex = path->ifindex;
		add_control(m, space, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	}
}

/* Return: 0 or an errno value. */
static int send_one(struct os_udp *u, int fd, const struct path_addr *path, const uint8_t *p, size_t len,
		    uint16_t seg_len)
{
	struct sockaddr_storage to;
	struct control_space space;
	struct iovec iov = { (void *)p, len };
	struct msghdr m = { .msg_name = &to, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space.buf };
	ssize_t n;

	memset(&space, 0, sizeof(space));
	m.msg_namelen = write_remote(&path->remote, &to);
	add_source(&m, &space, path);
	if (len > seg_len)
		add_control(&m, &space, SOL_UDP, UDP_SEGMENT, &seg_len, sizeof(seg_len));
	if (m.msg_controllen == 0)
		m.msg_control = NULL;
	do
		n = os_udp_sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	u->stats.n_tx_calls++;
	return n < 0 ? errno : 0;
}

/* ---- segmentation refused ---- */

static bool is_behind(const struct no_gso *g, const struct path_addr *path)
{
	return (g->all || endpoint_equal(&g->path.remote, &path->remote)) && ip_addr_equal(&g->path.local, &path->local) &&
	       g->path.ifindex == path->ifindex;
}

static struct no_gso *find_refused(struct os_udp *u, const struct path_addr *path)
{
	for (unsigned i = 0; u->n_no_gso > 0 && i < N_NO_GSO; i++)
		if (u->no_gso[i].path.remote.port && is_behind(&u->no_gso[i], path))
			return &u->no_gso[i];
	return NULL;
}

static bool gso_allowed(struct os_udp *u, const struct path_addr *path)
{
	return u->gso && !os_udp_gso_unsupported && !find_refused(u, path);
}

/* The ladder: which kind of refusal switches segmentation off where. Return: was it such a refusal? */
static bool gso_refused(struct os_udp *u, const struct path_addr *path, int errnum)
{
	if (errnum != ENOPROTOOPT && errnum != EIO && errnum != EINVAL && errnum != EMSGSIZE)
		return false;
	if (errnum == ENOPROTOOPT) {
		os_udp_gso_unsupported = true;
		return true;
	}
	u->n_no_gso += u->no_gso[u->next_no_gso].path.remote.port == 0;
	u->no_gso[u->next_no_gso] = (struct no_gso){ *path, errnum == EIO && path->ifindex };
	u->next_no_gso = (u->next_no_gso + 1) % N_NO_GSO;
	return true;
}

/* One by one it goes: it was segmentation. */
static void tell_refusal(struct os_udp *u, const struct path_addr *path, int errnum)
{
	char text[ENDPOINT_STR_MAX];
	uint32_t held;

	u->stats.n_gso_refused++;
	if (errnum == ENOPROTOOPT)
		log_info("UDP segmentation switched off reason=unsupported");
	else if (log_limit_ok(&u->gso_limit, os_now(), &held))
		log_info("UDP segmentation switched off for %s reason=%s held=%u", endpoint_format(&path->remote, text),
			 errnum == EIO ? "no checksum offload" : errnum == EINVAL ? "refused" : "path MTU", held);
}

static void allow_again(struct os_udp *u, struct no_gso *g)
{
	*g = (struct no_gso){ 0 };
	u->n_no_gso--;
}

void os_udp_path_changed(struct os_udp *u, const struct endpoint *remote)
{
	for (unsigned i = 0; i < N_NO_GSO; i++)
		if (u->no_gso[i].path.remote.port && endpoint_equal(&u->no_gso[i].path.remote, remote))
			allow_again(u, &u->no_gso[i]);
}

/* Which of these errors a source address gives that is not ours any more depends on the kernel. */
static bool source_may_be_stale(const struct path_addr *path, int errnum)
{
	return path->local.family != IP_NONE && (errnum == EINVAL || errnum == EADDRNOTAVAIL || errnum == ENODEV ||
						 errnum == ENETUNREACH || errnum == EHOSTUNREACH);
}

static enum err send_failed(struct os_udp *u, struct family_socket *s, int errnum)
{
	if (errnum == EAGAIN || errnum == ENOBUFS) {
		u->stats.n_tx_again++;
		os_watch_set(s->watch, OS_READ | OS_WRITE);
		return ERR_AGAIN;
	}
	u->stats.n_tx_errors++;
	u->sent = 0;
	switch (errnum) {
	case ENETUNREACH:
		return ERR_NO_ROUTE;
	case EACCES:
	case EPERM:
		return ERR_PERMISSION;
	case EMSGSIZE:
		return ERR_TOO_LONG;
	default:
		return ERR_UNREACHABLE;
	}
}

/* One call of the kernel's for what is left of a run. Return: 0 with @u->sent moved on, or an errno value. */
static int send_some(struct os_udp *u, int fd, const struct path_addr *path, const uint8_t *p, size_t len,
		     uint16_t seg_len, bool gso)
{
	size_t n = gso ? len - u->sent : MIN(len - u->sent, (size_t)seg_len);
	int errnum = send_one(u, fd, path, p + u->sent, n, seg_len);

	/* An asynchronous ICMP error of an earlier datagram: this one was not tried yet. */
	if (errnum == ECONNREFUSED)
		errnum = send_one(u, fd, path, p + u->sent, n, seg_len);
	if (errnum == 0) {
		u->sent += n;
		u->stats.n_tx_dgrams += (n + seg_len - 1) / seg_len;
	}
	return errnum;
}

enum err os_udp_send(struct os_udp *u, const struct path_addr *path, const uint8_t *p, size_t len,
		     uint16_t seg_len)
{
	struct family_socket *s = path->remote.ip.family == IP_V6 ? &u->v6 : &u->v4;
	int refusal = 0;

	/* Another run than the one that met EAGAIN, perhaps in its old buffer, begins at its beginning. */
	if (memcmp(u->run_id, p, MIN(len, sizeof(u->run_id))) != 0 || u->sent >= len || s->fd < 0)
		u->sent = 0;
	memcpy(u->run_id, p, MIN(len, sizeof(u->run_id)));
	if (s->fd < 0)
		return ERR_NO_ROUTE;
	while (u->sent < len) {
		bool gso = len - u->sent > seg_len && gso_allowed(u, path);
		int errnum = send_some(u, s->fd, path, p, len, seg_len, gso);

		if (errnum != 0 && gso && gso_refused(u, path, errnum)) {
			refusal = errnum;
			continue;
		}
		if (errnum != 0 && errnum == refusal && find_refused(u, path))
			allow_again(u, find_refused(u, path));
		else if (refusal)
			tell_refusal(u, path, refusal);
		refusal = 0;
		if (source_may_be_stale(path, errnum)) {
			u->sent = 0;
			return ERR_INVALID;
		}
		if (errnum != 0)
			return send_failed(u, s, errnum);
	}
	u->sent = 0;
	return OK;
}

/* ---- opening ---- */

static void raise_buffer(int fd, int force, int plain, int *ret)
{
	int want = SOCKET_BUFFER, got = 0;
	socklen_t len = sizeof(got);

	if (setsockopt(fd, SOL_SOCKET, force, &want, sizeof(want)) != 0)
		setsockopt(fd, SOL_SOCKET, plain, &want, sizeof(want));
	if (getsockopt(fd, SOL_SOCKET, plain, &got, &len) == 0)
		*ret = got;
}

static void set_options(struct os_udp *u, int fd, int family)
{
	int one = 1, probe = 0, dont = IP_PMTUDISC_DONT;

	setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof(one));
	raise_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, &u->stats.rcvbuf_bytes);
	raise_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, &u->stats.sndbuf_bytes);
	if (family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
		/* Routers may cut: with DF a path whose MTU is smaller than ours, and which does not say so, would carry nothing. */
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont));
	}
	u->gro = setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof(one)) == 0;
	u->gso = u->gso && setsockopt(fd, SOL_UDP, UDP_SEGMENT, &probe, sizeof(probe)) == 0;
}

static enum err open_family(struct os_udp *u, struct os_loop *loop, struct family_socket *s, int family,
			    uint16_t port)
{
	struct endpoint any = { .ip.family = family == AF_INET6 ? IP_V6 : IP_V4, .port = port };
	struct sockaddr_storage ss;
	socklen_t len = write_remote(&any, &ss);
	enum err e;

	s->udp = u;
	s->family = family;
	s->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return err_from_errno(errno);
	set_options(u, s->fd, family);
	e = bind(s->fd, (struct sockaddr *)&ss, len) == 0 ? OK : err_from_errno(errno);
	len = sizeof(ss);
	if (e == OK && getsockname(s->fd, (struct sockaddr *)&ss, &len) == 0) {
		struct endpoint got;

		read_remote(&ss, &got);
		u->port = got.port;
		e = os_watch_new(loop, s->fd, on_socket_ready, s, &s->watch);
	}
	if (e != OK) {
		close(s->fd);
		s->fd = -1;
		return e;
	}
	os_watch_set(s->watch, OS_READ);
	return OK;
}

static void close_family(struct family_socket *s)
{
	if (s->fd < 0)
		return;
	os_watch_free(s->watch);
	close(s->fd);
	s->fd = -1;
}

/* The same port on both families; with port 0 the first one's is tried on the second, a few times. */
static enum err open_both(struct os_udp *u, struct os_loop *loop, uint16_t port)
{
	enum err e = ERR_IN_USE;

	for (int tries = port ? 1 : 16; tries > 0; tries--) {
		e = open_family(u, loop, &u->v4, AF_INET, port);
		if (e != OK && e != ERR_UNSUPPORTED)
			return e;
		e = open_family(u, loop, &u->v6, AF_INET6, u->v4.fd >= 0 ? u->port : port);
		if (e == OK)
			return OK;
		/* No IPv6 on this machine is fine; no memory or descriptor for it, or its port being somebody's, is not. */
		if (e == ERR_NOMEM || e == ERR_FULL)
			return e;
		if (e != ERR_IN_USE)
			return u->v4.fd >= 0 ? OK : e;
		close_family(&u->v4);
	}
	return e;
}

enum err os_udp_open(struct os_loop *loop, uint16_t port, const struct os_udp_handler *h, struct os_udp **ret)
{
	struct os_udp *u = calloc(1, sizeof(*u));
	const char *gso = getenv("NEFIA_GSO");
	enum err e = ERR_NOMEM;

	if (!u)
		return ERR_NOMEM;
	u->h = *h;
	u->v4.fd = u->v6.fd = -1;
	u->gso = !(gso && strcmp(gso, "off") == 0);
	u->slots = malloc((size_t)N_SLOTS * SLOT_BYTES);
	if (u->slots)
		e = open_both(u, loop, port);
	if (e != OK) {
		os_udp_close(u);
		return e;
	}
	*ret = u;
	return OK;
}

void os_udp_close(struct os_udp *u)
{
	if (!u)
		return;
	close_family(&u->v4);
	close_family(&u->v6);
	free(u->slots);
	free(u);
}

void os_udp_rest(struct os_udp *u)
{
	uintptr_t from = ((uintptr_t)u->slots + 4095) & ~(uintptr_t)4095;
	uintptr_t to = ((uintptr_t)u->slots + (size_t)N_SLOTS * SLOT_BYTES) & ~(uintptr_t)4095;

	/* Pages of another size: nothing is given back, nothing is lost. */
	if (to > from && madvise((void *)from, to - from, MADV_DONTNEED) != 0)
		log_debug("receive slots stay in memory");
}

bool os_udp_has(const struct os_udp *u, uint8_t family)
{
	return (family == IP_V6 ? &u->v6 : &u->v4)->fd >= 0;
}

uint16_t os_udp_port(const struct os_udp *u)
{
	return u->port;
}

void os_udp_get_stats(const struct os_udp *u, struct os_udp_stats *ret)
{
	*ret = u->stats;
	ret->gso = u->gso && !os_udp_gso_unsupported;
	ret->n_no_gso = u->n_no_gso;
	ret->gro = u->gro;
}
