/* os/udp_internal.h - what the tests of os/udp.c need beside its contract. */
#ifndef OS_UDP_INTERNAL_H
#define OS_UDP_INTERNAL_H

#include <sys/socket.h>

#include "os/udp.h"

/* sendmsg, replaced by tests to inject the kernel's refusals */
extern ssize_t (*os_udp_sendmsg)(int fd, const struct msghdr *m, int flags);

/* ENOPROTOOPT was met: no socket of this process tries segmentation any more. Tests set it back. */
extern bool os_udp_gso_unsupported;

/** os_udp_split() - cut what GRO joined; @seg 0 = one datagram. Return: how many, at most @max. */
size_t os_udp_split(const uint8_t *p, size_t len, size_t seg, const struct path_addr *path,
		    struct os_udp_dgram *ret, size_t max);

#endif
