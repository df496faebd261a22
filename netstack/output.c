/*
 * netstack/output.c - who may send, how much, and when.
 *
 * Connections with something to send stand in a queue and get a turn each: at most TURN_BYTES (TURN_SHORT), then the next. When the
 * interface answers "not now", those of it wait with it and come back in the same order, so none starves. lwIP's
 * tcp_output() sends new data; how much it may is said through its cwnd for the time of the call, and outside of it lwIP
 * has no room at all: whatever calls it on the way can only send ACKs.
 *
 * Pacing: what was sent takes its time at the rate of the congestion control, and a connection may be ahead of that
 * by PACE_AHEAD: so a timer wakes it once for a batch, not for a packet. Above PACE_RATE_MAX there is none, and none on a
 * short path for a control that lives by its window. What leaves into silence may be ten segments at once.
 */
#include "netstack/loss.h"

#define TURN_BYTES (64u << 10)
#define TURN_SHORT (256u << 10) /* on a short path a writer's whole turn (room.c), so that it arrives in one piece */
#define SND_LEAST (128u << 10) /* the send queue of a connection that is still slow */
#define SND_AHEAD (256u << 10) /* of what may be in flight, on a short path: the next ACK is never far */
#define PACE_AHEAD (500 * NSEC_PER_USEC)
#define PACE_LATE (1 * NSEC_PER_MSEC) /* a timer that comes late is made up for */
#define PACE_RATE_MAX (500u * 1000 * 1000) /* 4 Gb/s */

err_t tcp_output_segment(struct tcp_seg *seg, struct tcp_pcb *pcb, struct netif *netif);

/* ---- pacing ---- */

/* Where nothing stands between us and the other side but our own queues (window.c). */
static bool is_short(const struct net_pcb *n)
{
	const struct net_tcp *c = n->pcb->callback_arg;

	return c && net_window_is_short(c);
}

/* Of a control that lives by its window alone, the pace would only cut what was given at once into pieces there. */
static uint64_t pace_of(const struct net_pcb *n)
{
	const struct net_cc *cc = &n->snd->cc;

	return cc->pace < PACE_RATE_MAX && !(cc->ops->reduces && is_short(n)) ? cc->pace : 0;
}

static nsec_t pace_time(uint64_t rate, uint64_t bytes)
{
	return bytes * NSEC_PER_SEC / rate;
}

/* Bytes that may leave now. */
static uint32_t pace_budget(struct net_pcb *n)
{
	struct net_sender *s = n->snd;
	uint64_t rate = pace_of(n);
	nsec_t ahead, late = s->pace_due ? PACE_LATE : 0;

	s->pace_due = 0;
	if (!rate)
		return UINT32_MAX;
	ahead = MAX(PACE_AHEAD, pace_time(rate, 2 * s->cc.mss));
	s->pace_at = MAX(s->pace_at, net_g.now - late);
	if (s->in_flight == 0)
		return NET_CWND_FIRST * s->cc.mss;
	if (s->pace_at >= net_g.now + ahead)
		return 0;
	return (uint32_t)MAX((net_g.now + ahead - s->pace_at) * rate / NSEC_PER_SEC, (uint64_t)s->cc.mss);
}

static void pace_sent(struct net_pcb *n, uint32_t bytes)
{
	uint64_t rate = pace_of(n);

	if (rate && bytes > 0)
		n->snd->pace_at += pace_time(rate, bytes);
}

/* ---- a turn ---- */

static bool wants_output(const struct tcp_pcb *pcb)
{
	return pcb->unsent || pcb->flags & (TF_ACK_NOW | TF_NAGLEMEMERR);
}

/* Does the first unsent segment fit in the other side's window? */
static bool has_room(const struct tcp_pcb *pcb)
{
	return pcb->unsent &&
	       lwip_ntohl(pcb->unsent->tcphdr->seqno) - pcb->lastack + pcb->unsent->len <= pcb->snd_wnd;
}

/* Behind those that have not had their turn: all of them go to wait with the interface, in this order. */
static void to_the_end(struct net_pcb *n)
{
	list_del(&n->turn);
	list_add_tail(&net_g.dirty, &n->turn);
}

/* How far the queue of new data was sent. Behind what was sent before when that was put back (hole.c). */
static uint32_t sent_so_far(const struct tcp_pcb *pcb)
{
	return (pcb->unsent ? lwip_ntohl(pcb->unsent->tcphdr->seqno) : pcb->snd_nxt) - pcb->lastack;
}

static uint32_t send_new(struct net_pcb *n, uint32_t budget)
{
	struct tcp_pcb *pcb = n->pcb;
	uint32_t sent;

	pcb->cwnd = sent_so_far(pcb) + budget;
	tcp_output(pcb);
	sent = net_loss_note_sent(n);
	pcb->cwnd = sent_so_far(pcb);
	return sent;
}

/* Why did it stop, and what makes it go on? */
static void after_turn(struct net_pcb *n, uint32_t by_window, uint32_t by_pace, uint32_t sent)
{
	struct net_sender *s = n->snd;
	bool more = s->lost > 0 || has_room(n->pcb);
	uint32_t mss = s->cc.mss;

	if (n->nif->blocked && (more || wants_output(n->pcb))) {
		to_the_end(n);
		return;
	}
	if (!more) {
		/* What is sampled until these have arrived says nothing about the path. */
		if (!n->pcb->unsent && s->in_flight < s->cc.cwnd)
			s->app_limited_until = MAX(s->delivered + s->in_flight, (uint64_t)1);
		return;
	}
	if (by_window < sent + mss) {
		s->limited = true;
		s->limited_until = n->pcb->snd_nxt;
	} else if (by_pace < sent + mss) {
		s->pace_due = MAX(s->pace_at, net_g.now + PACE_AHEAD / 2);
	} else if (sent > 0) {
		to_the_end(n);
	}
}

void net_output_push(struct net_pcb *n)
{
	struct net_sender *s = net_loss_state(n);
	uint32_t window, by_window, by_pace, budget, sent;

	if (!s) {
		/* A handshake, or what is left of a connection: SYN, FIN and ACKs. */
		tcp_output(n->pcb);
		if (n->nif && n->nif->blocked && wants_output(n->pcb))
			to_the_end(n);
		net_timer_arm(n);
		return;
	}
	window = net_loss_window(s);
	by_window = window > s->in_flight ? window - s->in_flight : 0;
	by_pace = pace_budget(n);
	budget = MIN(MIN(by_window, by_pace), is_short(n) ? TURN_SHORT : TURN_BYTES);
	sent = s->lost > 0 ? net_loss_resend(n, budget) : 0;
	sent += send_new(n, s->lost > 0 || sent >= budget ? 0 : budget - sent);
	pace_sent(n, sent);
	s->prr_out += sent;
	after_turn(n, by_window, by_pace, sent);
	net_timer_arm(n);
}

bool net_output_probe(struct net_pcb *n)
{
	if (!has_room(n->pcb))
		return false;
	return send_new(n, n->snd->cc.mss) > 0;
}

/* ---- turns ---- */

void net_output_mark(struct net_pcb *n)
{
	if (list_empty(&n->turn))
		list_add_tail(&net_g.dirty, &n->turn);
}

void net_output_all(void)
{
	struct list *first;

	while ((first = list_first(&net_g.dirty))) {
		struct net_pcb *n = container_of(first, struct net_pcb, turn);

		list_del(first);
		if (n->nif && n->nif->blocked)
			list_add_tail(&n->nif->waiting, first);
		else
			net_output_push(n);
	}
}

void net_pcb_send(struct tcp_pcb *pcb)
{
	struct net_pcb *n = pcb->net;

	if (!n->nif || n->nif->blocked) {
		net_output_mark(n);
		return;
	}
	list_del(&n->turn);
	net_output_push(n);
}

void net_pcb_wake(struct tcp_pcb *pcb)
{
	net_output_mark(pcb->net);
}

void net_lwip_input_done(void *arg)
{
	struct tcp_pcb *pcb = arg;

	if (pcb->state >= ESTABLISHED && pcb->state != TIME_WAIT)
		pcb->net->since = net_g.now;
	net_loss_input(pcb->net);
	net_output_mark(pcb->net);
}

/* ---- the queue behind it ---- */

/* What may be in flight, to be acknowledged, and as much again, ready to follow. */
size_t net_pcb_queue_limit(const struct net_tcp *c)
{
	const struct net_sender *s = c->pcb->net->snd;
	size_t flying = s ? MIN(s->cc.cwnd, c->pcb->snd_wnd) : 0;

	return MAX((size_t)SND_LEAST, flying + (net_window_is_short(c) ? MIN(flying, (size_t)SND_AHEAD) : flying));
}
