/*
 * agent/drain.c - telling those who hold connections that this agent is going down.
 *
 * Draining waits for what runs. A hub keeps SSH connections that carry nothing, for the next command, and would keep us
 * waiting for the whole 30 s with them. We cannot see which ones those are (a command may be silent for an hour), the hub can: it
 * is told, with a datagram to each address that holds a connection, again every second, since datagrams get lost. Who does not
 * listen there (an older hub, another WireGuard client) is waited for as ever.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_internal.h"
#include "agent/control_wire.h"
#include "base/log.h"

#define TELL_EVERY (1 * NSEC_PER_SEC)

static void on_datagram(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
	/* Nothing is expected here. */
}

static void tell(struct agent *a, const struct ip_addr *who, const char *text)
{
	struct endpoint to = { .ip = *who, .port = AGENT_CONTROL_PORT };

	if (net_udp_send(a->notices, &to, text, strlen(text)) != OK)
		log_debug("an operator could not be told of the end"); /* in a second again */
}

static void on_tell(void *ctx)
{
	struct agent *a = ctx;
	char *text = agent_control_draining();
	const struct ip_addr *last = NULL;

	/* Most have one operator, whose connections stand next to each other: told once or twice, never wrong. */
	for (size_t i = 0; text && i < a->n_forwards; i++) {
		const struct ip_addr *who = agent_forward_remote(a, i);

		if (!last || !ip_addr_equal(last, who))
			tell(a, who, text);
		last = who;
	}
	free(text);
	tunnel_kick(a->tunnel);
	os_timer_set(&a->notice_timer, os_loop_now(a->loop) + TELL_EVERY);
}

void agent_drain_start(struct agent *a)
{
	os_timer_init(&a->notice_timer, a->loop, on_tell, a);
	if (net_udp_open(tunnel_if(a->tunnel), 0, on_datagram, a, &a->notices) == OK)
		on_tell(a);
}

void agent_drain_stop(struct agent *a)
{
	if (a->notice_timer.loop)
		os_timer_cancel(&a->notice_timer);
	net_udp_close(a->notices);
	a->notices = NULL;
}
