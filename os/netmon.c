/* os/netmon.c - see netmon.h. The kernel's messages are only taken as "something changed". */
#include "os/netmon.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct os_netmon {
	struct os_watch *watch;
	int fd;
	void (*fn)(void *ctx);
	void *ctx;
};

static void on_message(void *ctx, int events)
{
	struct os_netmon *m = ctx;
	char buf[8192];
	bool any = false;
	ssize_t n;

	/* ENOBUFS: messages were lost, which is a change too. */
	while ((n = recv(m->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0 || (n < 0 && errno == ENOBUFS))
		any = true;
	if (any)
		m->fn(m->ctx);
}

static int open_netlink(void)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK,
				  .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR |
					       RTMGRP_IPV6_ROUTE };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
		int errnum = errno;

		close(fd);
		errno = errnum;
		fd = -1;
	}
	return fd;
}

enum err os_netmon_start(struct os_loop *loop, void (*fn)(void *ctx), void *ctx, struct os_netmon **ret)
{
	struct os_netmon *m = calloc(1, sizeof(*m));
	enum err e;

	if (!m)
		return ERR_NOMEM;
	m->fn = fn;
	m->ctx = ctx;
	m->fd = open_netlink();
	e = m->fd >= 0 ? os_watch_new(loop, m->fd, on_message, m, &m->watch) : err_from_errno(errno);
	if (e != OK) {
		os_netmon_stop(m);
		return e;
	}
	os_watch_set(m->watch, OS_READ);
	*ret = m;
	return OK;
}

void os_netmon_stop(struct os_netmon *m)
{
	if (!m)
		return;
	os_watch_free(m->watch);
	if (m->fd >= 0)
		close(m->fd);
	free(m);
}

/* ---- routes ---- */

static bool source4(const struct endpoint *to, struct ip_addr *ret)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(to->port) };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found;

	memcpy(&sin.sin_addr, to->ip.b, 4);
	found = fd >= 0 && connect(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 &&
		getsockname(fd, (struct sockaddr *)&sin, &len) == 0;
	if (fd >= 0)
		close(fd);
	*ret = (struct ip_addr){ .family = IP_V4 };
	memcpy(ret->b, &sin.sin_addr, 4);
	return found;
}

static bool source6(const struct endpoint *to, struct ip_addr *ret)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(to->port), .sin6_scope_id = to->scope_id };
	socklen_t len = sizeof(sin6);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool found;

	memcpy(&sin6.sin6_addr, to->ip.b, 16);
	found = fd >= 0 && connect(fd, (struct sockaddr *)&sin6, sizeof(sin6)) == 0 &&
		getsockname(fd, (struct sockaddr *)&sin6, &len) == 0;
	if (fd >= 0)
		close(fd);
	*ret = (struct ip_addr){ .family = IP_V6 };
	memcpy(ret->b, &sin6.sin6_addr, 16);
	return found;
}

bool os_route_source(const struct endpoint *to, struct ip_addr *ret)
{
	return to->ip.family == IP_V6 ? source6(to, ret) : source4(to, ret);
}
