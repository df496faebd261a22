/* netstack/lwip/arch/cc.h - lwIP's view of the compiler and of us. */
#ifndef NETSTACK_LWIP_CC_H
#define NETSTACK_LWIP_CC_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t net_lwip_rand(void);
_Noreturn void assert_failed(const char *expr, const char *file, int line);

#define LWIP_PLATFORM_DIAG(x) do { } while (0)
#define LWIP_PLATFORM_ASSERT(x) assert_failed(x, __FILE__, __LINE__)
#define LWIP_RAND() net_lwip_rand()
/* Several a packet: an instruction, not a call. */
#define LWIP_DONT_PROVIDE_BYTEORDER_FUNCTIONS 1
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define lwip_htons(x) ((uint16_t)__builtin_bswap16(x))
#define lwip_htonl(x) ((uint32_t)__builtin_bswap32(x))
#endif

#endif
