/*
 * netstack/ports.c - local ports of the connections that we dial.
 *
 * A port is drawn at random and taken if no connection, TIME_WAIT included, has it towards the same remote end: so there are
 * 64,000 of them for each service, not for the process, and the hash answers in place of lwIP's walks.
 */
#include "netstack/net_internal.h"

#define PORT_MIN 1024
#define N_PORT_TRIES 256

bool net_port_take(struct net_if *nif, struct tcp_pcb *pcb, const ip_addr_t *local, const ip_addr_t *remote, uint16_t rport)
{
	for (int i = 0; i < N_PORT_TRIES; i++) {
		uint16_t port = (uint16_t)(PORT_MIN + rng_below(net_g.cfg.rng, 65536 - PORT_MIN));

		if (net_pcb_exists(nif, local, port, remote, rport))
			continue;
		/* As tcp_bind() does, without its search. */
		ip_addr_set(&pcb->local_ip, local);
		pcb->local_port = port;
		TCP_REG(&tcp_bound_pcbs, pcb);
		return true;
	}
	return false;
}
