/* netstack/checksum.h - the Internet checksum (RFC 1071). */
#ifndef NETSTACK_CHECKSUM_H
#define NETSTACK_CHECKSUM_H

#include <stdint.h>

/** net_checksum() - one's complement sum of @len bytes, folded to 16 bits, not inverted, in memory order */
uint16_t net_checksum(const void *p, int len);

#endif
