/* os/netmon.h - this machine's addresses and routes: that they changed, and which source a destination gets. */
#ifndef OS_NETMON_H
#define OS_NETMON_H

#include "base/addr.h"
#include "base/err.h"
#include "os/loop.h"

struct os_netmon;
/**
 * os_netmon_start() - call @fn(ctx) when an address or a route came or went
 *
 * Many changes come in one call, and not each matters to the caller, who looks for himself. Needs no privilege.
 * ERR_UNSUPPORTED, ERR_PERMISSION: there is no such thing here.
 */
MUST_CHECK enum err os_netmon_start(struct os_loop *loop, void (*fn)(void *ctx), void *ctx, struct os_netmon **ret);
void os_netmon_stop(struct os_netmon *m);

/** os_route_source() - our address on the way to @to, now; false: there is no way. No packet is sent. */
bool os_route_source(const struct endpoint *to, struct ip_addr *ret);

#endif
