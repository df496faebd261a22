/*
 * operator/hub_notice.c - what agents tell the hub without being asked: that they are going down.
 *
 * A datagram to the control port's number at our own address in the tunnel; WireGuard has proved whose it is. The worker of
 * that host then closes the connections that nobody uses, so that the agent need not wait for them; commands that run go on.
 */
#include "agent/control_wire.h"
#include "base/log.h"
#include "operator/hub_internal.h"

static struct hub_host *host_by_ip(struct hub *h, const struct ip_addr *ip)
{
	for (size_t i = 0; i < h->n_hosts; i++)
		if (h->hosts[i]->has_key && !h->hosts[i]->gone && ip_addr_equal(&h->hosts[i]->ip, ip))
			return h->hosts[i];
	return NULL;
}

static void on_notice(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data)
{
	struct hub_host *hh = host_by_ip(ctx, &from->ip);

	if (!hh || !hh->worker || !agent_control_is_draining((const char *)data.p, data.len))
		return;
	log_debug("host goes down host=%s", hh->peer.name);
	ssh_worker_retire(hh->worker);
}

enum err hub_notice_open(struct hub *h)
{
	return net_udp_open(tunnel_if(h->tunnel), AGENT_CONTROL_PORT, on_notice, h, &h->notices);
}

void hub_notice_close(struct hub *h)
{
	net_udp_close(h->notices);
	h->notices = NULL;
}
