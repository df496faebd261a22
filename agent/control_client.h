/* agent/control_client.h - the operator's side of the agent's control port. */
#ifndef AGENT_CONTROL_CLIENT_H
#define AGENT_CONTROL_CLIENT_H

#include "agent/control_wire.h"
#include "tunnel/tunnel.h"

struct agent_ask;
/*
 * OK: @reply is the agent's answer, borrowed. ERR_REFUSED: somebody is there, but no control port. ERR_UNSUPPORTED: an
 * agent that does not know the question. ERR_AUTH: it answered another ping. ERR_TIMEOUT, ERR_NO_ROUTE, ERR_PROTOCOL, ERR_RESET ...
 */
typedef void (*agent_ask_fn)(void *ctx, enum err e, const json_t *reply);
/**
 * agent_ask_start() - ask the agent at @ip through @t; a ping gets a nonce here, which must be echoed
 * Ends by @deadline with exactly one call of @fn, from the loop, unless cancelled.
 */
MUST_CHECK enum err agent_ask_start(struct os_loop *loop, struct tunnel *t, const struct ip_addr *ip,
				    const struct agent_control_request *req, nsec_t deadline, agent_ask_fn fn, void *ctx,
				    struct agent_ask **ret);
void agent_ask_cancel(struct agent_ask *p);

#endif
