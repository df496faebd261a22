/*
 * netstack/stock/lwipopts.h - lwIP as shipped: our options, without those that only serve what we changed.
 *
 * Its sources are not edited and its TCP is its own: sender, timers, lists, ports. Window and send queue are far beyond lwIP's
 * defaults (four and two segments, with which nothing moves on a long path): 4 MiB, what a path of 1 Gb/s holds at 33 ms.
 * More would cost more: its sender walks all that is not acknowledged at each call.
 */
#ifndef NETSTACK_STOCK_LWIP_OPTS_H
#define NETSTACK_STOCK_LWIP_OPTS_H

#include "netstack/lwip/lwipopts.h"

/* Plain malloc. */
#undef MEM_CUSTOM_ALLOCATOR
#undef MEM_CUSTOM_MALLOC
#undef MEM_CUSTOM_CALLOC
#undef MEM_CUSTOM_FREE
#define MEM_LIBC_MALLOC 1

/* Its own ticks of 250 and 500 ms, and its first timeout of 3 s. */
#undef LWIP_TIMERS
#define LWIP_TIMERS 1
#undef TCP_TMR_INTERVAL
#undef LWIP_TCP_RTO_TIME

#undef TCP_RCV_SCALE
#define TCP_RCV_SCALE 7
#undef TCP_WND
#define TCP_WND (4u << 20)
#undef TCP_SND_BUF
#define TCP_SND_BUF (4u << 20)
#undef LWIP_TCP_SACK_OUT
#define LWIP_TCP_SACK_OUT 0
#undef LWIP_TCP_PCB_NUM_EXT_ARGS
#define LWIP_TCP_PCB_NUM_EXT_ARGS 1

#undef LWIP_CHKSUM
#undef LWIP_HOOK_TCP_INPACKET_PCB

#endif
