/*
 * netstack/stock/engine.c - lwIP's TCP as shipped under the handles of tcp.c and listen.c.
 *
 * In place of everything that is ours below them (net_internal.h names the seam): a baseline for bench/ and an oracle for
 * tests. It is plain on purpose. lwIP's own timers tick, its NewReno sends, its lists are walked, its window is the compiled
 * one from the first byte; nothing is paced, shared out or kept back.
 *
 * lwIP ends TIME_WAIT without a word. That a control block was freed is heard through an extended argument, which is
 * the handle.
 */
#include <string.h>

#include "netstack/cc.h"
#include "netstack/slot.h"

/* Refusals of interfaces that net_output_all() has made good. */
static uint64_t n_blocked_seen;

/* ---- control blocks ---- */

static void on_freed(u8_t id, void *data)
{
	struct net_tcp *c = data;

	if (c)
		c->pcb = NULL;
}

void net_pcb_own(struct tcp_pcb *pcb, struct net_tcp *c)
{
	static const struct tcp_ext_arg_callbacks callbacks = { .destroy = on_freed };

	tcp_arg(pcb, c);
	tcp_ext_arg_set_callbacks(pcb, 0, &callbacks);
	tcp_ext_arg_set(pcb, 0, c);
}

void net_pcb_connected(struct net_tcp *c)
{
	/* lwIP knows all that it wants to know. */
}

void net_pcb_wake(struct tcp_pcb *pcb)
{
	/* What cannot be sent stays in its queue. */
	(void)tcp_output(pcb);
}

void net_pcb_send(struct tcp_pcb *pcb)
{
	(void)tcp_output(pcb);
}

void net_pcb_hurry(struct tcp_pcb *pcb)
{
	tcp_rexmit_rto(pcb);
}

size_t net_slots_link(struct net_tcp *c, struct net_slot *const *slots, size_t len)
{
	return 0; /* it frees nothing but what it allocated itself */
}

bool net_many_drain_much(void)
{
	return false; /* nobody counts */
}

size_t net_pcb_queue_limit(const struct net_tcp *c)
{
	return TCP_SND_BUF;
}

static bool is_it(const struct tcp_pcb *pcb, const struct net_if *nif, const ip_addr_t *local, uint16_t lport,
		  const ip_addr_t *remote, uint16_t rport)
{
	return pcb->netif_idx == netif_get_index(&nif->lw) && pcb->local_port == lport && pcb->remote_port == rport &&
	       ip_addr_eq(&pcb->local_ip, local) && ip_addr_eq(&pcb->remote_ip, remote);
}

struct tcp_pcb *net_pcb_find(const struct net_if *nif, const struct endpoint *local, const struct endpoint *remote)
{
	struct tcp_pcb *lists[] = { tcp_active_pcbs, tcp_tw_pcbs };
	ip_addr_t lip, rip;

	net_to_lwip(&local->ip, &lip);
	net_to_lwip(&remote->ip, &rip);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		for (struct tcp_pcb *pcb = lists[i]; pcb; pcb = pcb->next)
			if (is_it(pcb, nif, &lip, local->port, &rip, remote->port))
				return pcb;
	return NULL;
}

bool net_port_take(struct net_if *nif, struct tcp_pcb *pcb, const ip_addr_t *local, const ip_addr_t *remote, uint16_t rport)
{
	return tcp_bind(pcb, local, 0) == ERR_OK;
}

/* ---- output ---- */

static bool any_blocked(void)
{
	list_for_each(it, &net_g.ifs)
		if (container_of(it, struct net_if, link)->blocked)
			return true;
	return false;
}

/* lwIP has sent what it could when it could; what an interface refused goes when it takes packets again. */
void net_output_all(void)
{
	uint64_t n_blocked = net_g.stats.n_tx_blocked;

	if (n_blocked == n_blocked_seen || any_blocked())
		return;
	for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb; pcb = pcb->next)
		(void)tcp_output(pcb);
	n_blocked_seen = n_blocked;
}

/* ---- time ---- */

void net_timer_start(void)
{
	n_blocked_seen = 0;
	sys_restart_timeouts();
}

void net_timer_set_now(void)
{
	/* lwIP counts its ticks. */
}

nsec_t net_timer_deadline(void)
{
	u32_t ms = sys_timeouts_sleeptime();

	return ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? NSEC_NEVER : (net_g.now / NSEC_PER_MSEC + ms) * NSEC_PER_MSEC;
}

void net_timer_expire(void)
{
	sys_check_timeouts();
}

/* ---- what lwIP as shipped has not ---- */

/* Its one congestion control goes by the name of the default. */
const struct net_cc_ops *net_cc_find(const char *name)
{
	static const struct net_cc_ops newreno = { .name = "cubic" };

	return strcmp(name, newreno.name) == 0 ? &newreno : NULL;
}

void net_window_hold(struct net_tcp *c)
{
	/* The window is the compiled one. */
}

bool net_window_is_short(const struct net_tcp *c)
{
	return false;
}

void net_window_start(struct net_tcp *c)
{
}

void net_window_note(struct net_tcp *c)
{
}

size_t net_window_drained(struct net_tcp *c, size_t len)
{
	return len;
}

void net_ooseq_relieve(void)
{
	/* What lies out of order stays there. */
}

void net_if_path_changed(struct net_if *nif)
{
}

struct pbuf *net_spill(struct pbuf *p)
{
	return NULL;
}

void net_rest(void)
{
	/* Nothing that was freed is kept. */
}
