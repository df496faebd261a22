/* agent/control_client.h - the operator's side of the agent's control port. */
#ifndef AGENT_CONTROL_CLIENT_H
#define AGENT_CONTROL_CLIENT_H

#include "tunnel/tunnel.h"

struct agent_ping;
/* OK: the agent answered this very ping. ERR_REFUSED: somebody is there, but no control port. ERR_AUTH: it answered another
 * one. ERR_TIMEOUT, ERR_NO_ROUTE, ERR_PROTOCOL, ERR_RESET ... */
typedef void (*agent_ping_fn)(void *ctx, enum err e);
/**
 * agent_ping_start() - ask the agent at @ip through @t, with a nonce that it must echo
 * Ends by @deadline with exactly one call of @fn, from the loop, unless cancelled.
 */
MUST_CHECK enum err agent_ping_start(struct os_loop *loop, struct tunnel *t, const struct ip_addr *ip, nsec_t deadline,
				     agent_ping_fn fn, void *ctx, struct agent_ping **ret);
void agent_ping_cancel(struct agent_ping *p);

#endif
