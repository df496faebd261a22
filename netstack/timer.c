/*
 * netstack/timer.c - what lwIP's two ticks did, each connection at its own time.
 *
 * lwIP looks at every connection ten and twenty times a second. Here each has one place in a heap, with the earliest of
 * what it waits for; one that waits for nothing is in none. A place is only moved forward: when a timer is pushed back,
 * as the retransmission timer is by every ACK, the old time comes, finds nothing due and arms itself anew.
 *
 *	SYN, SYN-ACK   sent again after 1, 2, 4 ... 60 s (RFC 6298 section 5.5): 8 times, that is three minutes (RFC 1122
 *	               4.2.3.5), and 6 times, a minute. Who dials has limits of its own, mostly shorter.
 *	delayed ACK    40 ms
 *	persist        probes of a closed window, from one retransmission timeout on, doubled up to 15 s.
 *	FIN-WAIT-2     60 s of silence, when nobody reads any more.
 *	TIME-WAIT      15 retransmission timeouts, 3 s at least and 60 s at most. That is the time in which the other side's FIN is
 *	               sent four times, should our last ACK be lost (0.2 + 0.4 + 0.8 + 1.6 s), and each of them starts it
 *	               anew. It need not outlast old packets of the network: WireGuard's counters let none pass. At 5,000
 *	               dials a second 15,000 wait, of 64,000 ports for each service. Where it ends too early all the
 *	               same, tcp.c knows a reset that comes after both ends of a connection for what it is.
 *	keepalive      a silent connection asks after its other end every 15 s. One that has restarted answers with a reset, so
 *	               neither a command that waits nor the agent's place for it is held for ever; one that does not
 *	               answer twenty times, five minutes, has ended. Less would give up before the other end does, whose
 *	               retransmissions of what we wait for take as long (loss.c) and may be a minute apart by then. Each
 *	               question has its 15 s: a machine that slept asks one, not all that it missed.
 *	orphans        connections that nobody holds any more and whose other side keeps its window closed: 5 minutes, anew
 *	               whenever that opened.
 */
#include "netstack/loss.h"

#define SYN_FIRST NSEC_PER_SEC
#define SYN_MAX (60 * NSEC_PER_SEC)
#define N_SYN 7
#define N_SYN_ACK 5
#define ACK_LATE (40 * NSEC_PER_MSEC)
#define RETRY (50 * NSEC_PER_MSEC)
#define PERSIST_MAX (15 * NSEC_PER_SEC)
#define N_PERSIST 12 /* without an answer */
#define FIN_WAIT_2_MAX (60 * NSEC_PER_SEC)
#define TIME_WAIT_MIN (3 * NSEC_PER_SEC)
#define TIME_WAIT_MAX (60 * NSEC_PER_SEC)
#define N_TIME_WAIT_RTO 15
#define ORPHAN_MAX (300 * NSEC_PER_SEC)
#define KEEPALIVE_EVERY (15 * NSEC_PER_SEC)
#define N_KEEPALIVE 20

err_t tcp_close_shutdown_fin(struct tcp_pcb *pcb);

static struct heap timers;

static nsec_t time_wait_of(const struct net_pcb *n)
{
	nsec_t rto = n->srtt || n->snd ? net_loss_rto(n) : 0;

	return MIN(MAX(N_TIME_WAIT_RTO * rto, TIME_WAIT_MIN), TIME_WAIT_MAX);
}

/* The oldest goes when there are too many: what it waits for is unlikely. */
static void start_time_wait(struct net_pcb *n)
{
	n->since = net_g.now;
	n->tmr = n->pcb->tmr;
	n->end_at = time_wait_of(n);
	net_loss_fini(n);
	list_del(&n->turn);
	list_add_tail(&net_g.time_wait, &n->tw);
	n->in_time_wait = true;
	if (++net_g.n_time_wait > net_g.cfg.n_tcp_max)
		tcp_abandon(container_of(list_first(&net_g.time_wait), struct net_pcb, tw)->pcb, 0);
}

void net_timer_registered(struct net_pcb *n, bool time_wait)
{
	if (time_wait) {
		n->pcb->tmr = tcp_ticks;
		start_time_wait(n);
	} else {
		n->since = net_g.now;
		n->syn_at = net_g.now + SYN_FIRST;
		/* lwIP sends its SYN, or the answer to one, by itself: refused then, it leaves with the next turn. */
		net_output_mark(n);
	}
	net_timer_arm(n);
}

void net_timer_forget(struct net_pcb *n)
{
	heap_remove(&timers, &n->timer);
	if (n->in_time_wait) {
		list_del(&n->tw);
		net_g.n_time_wait--;
	}
}

/* ---- when ---- */

static nsec_t at_tick(uint32_t tick)
{
	return (nsec_t)tick * TCP_SLOW_INTERVAL * NSEC_PER_MSEC;
}

/* When something last came in; lwIP notes it in its ticks. */
static nsec_t last_heard(const struct tcp_pcb *pcb)
{
	return at_tick(pcb->tmr);
}

/* With data under way the retransmission timer asks. */
static nsec_t keepalive_deadline(const struct net_pcb *n)
{
	const struct tcp_pcb *pcb = n->pcb;
	bool open = pcb->state == ESTABLISHED || pcb->state == CLOSE_WAIT || pcb->state == FIN_WAIT_2;

	if (!open || !pcb->callback_arg || pcb->unsent || pcb->unacked)
		return NSEC_NEVER;
	return MAX(last_heard(pcb), at_tick(n->tmr)) + KEEPALIVE_EVERY;
}

/* What follows from the state alone. */
static nsec_t state_deadline(const struct net_pcb *n)
{
	const struct tcp_pcb *pcb = n->pcb;

	switch (pcb->state) {
	case SYN_SENT:
	case SYN_RCVD:
		return n->syn_at;
	case FIN_WAIT_2:
		return pcb->flags & TF_RXCLOSED ? n->since + FIN_WAIT_2_MAX : NSEC_NEVER;
	case TIME_WAIT:
		return n->since + n->end_at;
	default:
		return pcb->callback_arg ? NSEC_NEVER : n->end_at ? n->end_at : NSEC_NEVER;
	}
}

static bool is_closed_out(const struct tcp_pcb *pcb)
{
	return pcb->persist_backoff > 0 && pcb->unsent && !pcb->unacked && pcb->state >= ESTABLISHED;
}

/* Something is to arrive, and neither an ACK nor a timer will come for it: there was no memory to send it, or to note that it left. */
static bool is_starved(const struct net_pcb *n)
{
	const struct tcp_pcb *pcb = n->pcb;

	if (!pcb->unsent && !pcb->unacked)
		return false;
	if (pcb->state < ESTABLISHED || pcb->state == TIME_WAIT || (n->snd && (n->snd->rto_at || n->snd->pace_due)))
		return false;
	return n->nif && !n->nif->blocked && list_empty(&n->turn) && !is_closed_out(pcb);
}

static bool has_to_retry(const struct net_pcb *n)
{
	return n->pcb->refused_data || n->pcb->flags & TF_CLOSEPEND || is_starved(n);
}

static void note_times(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;
	bool retries = has_to_retry(n);

	if (!(pcb->flags & TF_ACK_DELAY) && !retries)
		n->ack_at = 0;
	else if (!n->ack_at)
		n->ack_at = net_g.now + (retries ? RETRY : ACK_LATE);
	if (!is_closed_out(pcb))
		n->persist_at = 0;
	else if (!n->persist_at)
		n->persist_at = net_g.now + MIN(net_loss_rto(n) << (pcb->persist_backoff - 1), PERSIST_MAX);
	if (!pcb->callback_arg && pcb->state >= ESTABLISHED && pcb->state != TIME_WAIT)
		n->end_at = !is_closed_out(pcb) ? 0 : n->end_at ? n->end_at : net_g.now + ORPHAN_MAX;
}

void net_timer_arm(struct net_pcb *n)
{
	nsec_t at;

	note_times(n);
	at = nsec_min(state_deadline(n), net_loss_deadline(n));
	at = nsec_min(at, n->ack_at ? n->ack_at : NSEC_NEVER);
	at = nsec_min(at, n->persist_at ? n->persist_at : NSEC_NEVER);
	at = nsec_min(at, keepalive_deadline(n));
	if (at != NSEC_NEVER && (!heap_node_is_in(&n->timer) || n->timer.key > at))
		heap_set(&timers, &n->timer, at);
}

/* ---- what is due ---- */

/* Return: is the connection still there? */
static bool expire_syn(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;

	if (n->tries >= (pcb->state == SYN_SENT ? N_SYN : N_SYN_ACK)) {
		tcp_abandon(pcb, 0);
		return false;
	}
	n->tries++;
	n->syn_at = net_g.now + MIN(SYN_FIRST << n->tries, SYN_MAX);
	if (pcb->unacked)
		tcp_rexmit_rto(pcb);
	else
		tcp_output(pcb);
	return true;
}

static void expire_ack(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;

	n->ack_at = 0;
	if (pcb->flags & TF_CLOSEPEND) {
		tcp_clear_flags(pcb, TF_CLOSEPEND);
		tcp_close_shutdown_fin(pcb);
	}
	if (pcb->flags & TF_ACK_DELAY)
		tcp_ack_now(pcb);
	net_output_mark(n);
}

static bool expire_persist(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;

	n->persist_at = 0;
	if (pcb->persist_probe >= N_PERSIST) {
		tcp_abandon(pcb, 0);
		return false;
	}
	if (pcb->persist_backoff < 16)
		pcb->persist_backoff++;
	if (pcb->snd_wnd == 0)
		tcp_zero_window_probe(pcb);
	else if (tcp_split_unsent_seg(pcb, (u16_t)MIN(pcb->snd_wnd, (tcpwnd_size_t)0xffff)) == ERR_OK)
		net_output_mark(n);
	return true;
}

static bool expire_keepalive(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;

	if (pcb->keep_cnt_sent >= N_KEEPALIVE) {
		tcp_abandon(pcb, 1);
		return false;
	}
	/* When there is no memory for it, it counts all the same. */
	(void)tcp_keepalive(pcb);
	pcb->keep_cnt_sent++;
	n->tmr = tcp_ticks;
	return true;
}

static bool expire_state(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;

	if (pcb->state == SYN_SENT || pcb->state == SYN_RCVD)
		return expire_syn(n);
	/* A FIN sent again starts it anew. */
	if (pcb->state == TIME_WAIT && pcb->tmr != n->tmr) {
		n->tmr = pcb->tmr;
		n->since = last_heard(pcb);
		if (n->since + n->end_at > net_g.now)
			return true;
	}
	tcp_abandon(pcb, 0);
	return false;
}

static void expire(struct net_pcb *n)
{
	if (state_deadline(n) <= net_g.now && !expire_state(n))
		return;
	if (n->persist_at && n->persist_at <= net_g.now && !expire_persist(n))
		return;
	if (keepalive_deadline(n) <= net_g.now && !expire_keepalive(n))
		return;
	if (!net_loss_expire(n))
		return;
	if (n->ack_at && n->ack_at <= net_g.now) {
		struct tcp_pcb *pcb = n->pcb;

		expire_ack(n);
		/* Its reader may end it; nothing is looked at after that. */
		if (pcb->refused_data && tcp_process_refused_data(pcb) == ERR_ABRT)
			return;
	}
	net_timer_arm(n);
}

void net_pcb_hurry(struct tcp_pcb *pcb)
{
	pcb->net->syn_at = net_g.now;
	net_timer_arm(pcb->net);
}

void net_timer_start(void)
{
	/* There is nothing yet to wait for. */
}

void net_timer_set_now(void)
{
	tcp_ticks = (u32_t)(net_g.now / (TCP_SLOW_INTERVAL * NSEC_PER_MSEC));
}

nsec_t net_timer_deadline(void)
{
	struct heap_node *first = heap_first(&timers);

	return first ? first->key : NSEC_NEVER;
}

void net_timer_expire(void)
{
	struct heap_node *first;

	while ((first = heap_first(&timers)) && first->key <= net_g.now) {
		heap_remove(&timers, first);
		expire(container_of(first, struct net_pcb, timer));
	}
}
