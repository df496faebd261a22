/*
 * netstack/ports.c - local ports of the connections that we dial.
 *
 * A map of bits in place of lwIP's walks over all connections, which at some thousand dials a second cost half of a core. A port is
 * drawn at random and is not drawn again while a connection has it, TIME_WAIT included: the PCB's own end gives it back.
 */
#include <string.h>

#include "netstack/net_internal.h"

#define PORT_MIN 1024
#define N_PORT_TRIES 256

static uint64_t used[65536 / 64];

static bool is_used(uint16_t port)
{
	return used[port / 64] >> (port % 64) & 1;
}

static void on_destroyed(u8_t id, void *arg)
{
	uint16_t port = (uint16_t)(uintptr_t)arg;

	used[port / 64] &= ~(1ULL << (port % 64));
}

static const struct tcp_ext_arg_callbacks callbacks = { .destroy = on_destroyed };

bool net_port_take(struct tcp_pcb *pcb, const ip_addr_t *local)
{
	for (int i = 0; i < N_PORT_TRIES; i++) {
		uint16_t port = (uint16_t)(PORT_MIN + rng_below(net_g.cfg.rng, 65536 - PORT_MIN));

		if (is_used(port))
			continue;
		used[port / 64] |= 1ULL << (port % 64);
		tcp_ext_arg_set_callbacks(pcb, net_g.port_arg, &callbacks);
		tcp_ext_arg_set(pcb, net_g.port_arg, (void *)(uintptr_t)port);
		/* As tcp_bind() does, without its search. */
		ip_addr_set(&pcb->local_ip, local);
		pcb->local_port = port;
		TCP_REG(&tcp_bound_pcbs, pcb);
		return true;
	}
	return false;
}
