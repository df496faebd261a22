/* test/lib/netwrite.h - bytes into a connection by each of the ways that there are. */
#ifndef TEST_LIB_NETWRITE_H
#define TEST_LIB_NETWRITE_H

#include <string.h>

#include "netstack/net.h"
#include "test/lib/testing.h"

/** net_write_read() - as a bridge does: read into reserved memory, and commit that. Return: bytes taken */
static inline size_t net_write_read(struct net_tcp *c, const void *buf, size_t len)
{
	struct net_reserve r;
	const uint8_t *p = buf;
	size_t done = 0;

	if (net_tcp_reserve(c, len, &r) != OK)
		return 0;
	assert_true(r.n > 0 && r.n <= NET_RESERVE_MAX && r.len > 0 && r.len <= len);
	for (int i = 0; i < r.n; done += r.iov[i++].iov_len)
		memcpy(r.iov[i].iov_base, p + done, r.iov[i].iov_len);
	assert_int_equal(done, r.len);
	assert_int_equal(net_tcp_commit(c, done), done);
	return done;
}

/** net_write_mixed() - now this way, now that. Return: as net_tcp_write(); who has less than all taken is told of room */
static inline size_t net_write_mixed(struct net_tcp *c, const void *buf, size_t len)
{
	static unsigned turn;
	const uint8_t *p = buf;
	size_t done = turn++ % 3 > 0 ? net_write_read(c, buf, len) : 0;

	return done < len ? done + net_tcp_write(c, p + done, len - done) : done;
}

#endif
