/*
 * netstack/loss.c - loss recovery for lwIP's sender.
 *
 * lwIP's own sender retransmits one segment a round trip and halves its window by the book of 1990; here it only keeps the
 * queues. A build-time edit takes its congestion control out; SACKs are read from each segment by a hook before lwIP
 * sees it (net_lwip_tcp_options); after it was processed net_loss_input() decides:
 *
 *	open       bytes below the highest SACKed one that are three segments away from it are lost (RFC 6675). Then the
 *	           window shrinks once, and recovery lasts until everything sent before is acknowledged.
 *	recovery   holes are sent again in order, as long as less than the window is in the network: what was sent, less
 *	           what arrived, less what is lost. A hole sent again whose answer does not come within a round trip
 *	           and a quarter was lost again, and all is open to be sent once more.
 *	probe      nothing came back for two round trips and a bit: the last segment is sent again, so that its SACK shows
 *	           what else is missing, instead of waiting for the retransmission timer (RFC 8985 section 7).
 *	timeout    lwIP's timer, as it was; the scoreboard is forgotten, as RFC 2018 wants.
 *
 *	late       the answer to a hole came sooner after it was sent again than any round trip takes: nothing was lost,
 *	           the path reorders. The window is given back, and from then on a hole has to last a while (a quarter of the round
 *	           trip, then more) before it counts as lost; 16 true losses in a row end that (RFC 8985 section 6.2).
 *
 * lwIP's cwnd is set to ours plus the bytes that are not in the network, because lwIP counts from the first
 * unacknowledged byte. Without SACK each duplicate ACK counts as one segment that arrived (NewReno).
 *
 * State hangs at the PCB, not at the handle: a connection whose handle was given back still has bytes to deliver.
 */
#include "netstack/loss.h"

#include <stdlib.h>
#include <string.h>

#define DUP_THRESH 3
#define ACK_DELAY (60 * NSEC_PER_MSEC) /* lwIP's, for a single segment */
#define PROBE_SLACK (5 * NSEC_PER_MSEC)
#define PROBE_FIRST (300 * NSEC_PER_MSEC) /* before there is a round trip time */
#define N_BURST 64
#define REORDER_MAX 8
#define N_TRUE 16

struct net_loss {
	struct tcp_pcb *pcb;
	struct heap_node timer;
	struct net_scoreboard board;
	struct net_cc cc;
	uint32_t una, nxt;    /* as of the last look */
	uint32_t recover;     /* recovery ends when this is acknowledged */
	uint32_t high_rxt;    /* holes below were sent again */
	uint32_t timed_seq;
	nsec_t timed_at;      /* 0: no segment is timed */
	nsec_t srtt, rttvar;
	nsec_t head_at;       /* when the first hole was sent again, or the last progress */
	nsec_t due;           /* of the probe or of the head; 0: none */
	nsec_t hole_at;       /* when a hole was first seen; 0: there is none */
	struct net_cc before; /* the window as it was when recovery began */
	uint8_t reorder;      /* quarters of the round trip that a hole must last */
	uint8_t n_true;       /* recoveries since it was found not to have been one */
	bool in_recovery, in_timeout, probed, news;
	nsec_t first_at;      /* when the hole that began this recovery was sent again; 0: not, or answered */
	uint32_t first_una;
};

static struct heap timers;

static void on_destroyed(u8_t id, void *arg)
{
	struct net_loss *l = arg;

	if (!l)
		return;
	heap_remove(&timers, &l->timer);
	net_scoreboard_fini(&l->board);
	free(l);
}

static const struct tcp_ext_arg_callbacks callbacks = { .destroy = on_destroyed };

static struct net_loss *state_of(struct tcp_pcb *pcb)
{
	struct net_loss *l;

	if (pcb->state < ESTABLISHED || pcb->state == TIME_WAIT)
		return NULL;
	l = tcp_ext_arg_get(pcb, net_g.loss_arg);
	if (l)
		return l;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->pcb = pcb;
	heap_node_init(&l->timer);
	l->una = l->nxt = l->recover = l->high_rxt = pcb->lastack;
	/* RFC 6928; lwIP starts with three. */
	net_cc_init(&l->cc, pcb->mss, 10u * pcb->mss);
	pcb->cwnd = MAX(pcb->cwnd, (tcpwnd_size_t)l->cc.cwnd);
	tcp_ext_arg_set_callbacks(pcb, net_g.loss_arg, &callbacks);
	tcp_ext_arg_set(pcb, net_g.loss_arg, l);
	return l;
}

/* ---- SACK in ---- */

static void take_blocks(struct net_loss *l, const uint8_t *opt, size_t len)
{
	for (size_t at = 2; at + 8 <= len; at += 8) {
		uint32_t from, to;

		memcpy(&from, opt + at, 4);
		memcpy(&to, opt + at + 4, 4);
		from = lwip_ntohl(from);
		to = lwip_ntohl(to);
		if (TCP_SEQ_LT(from, to) && TCP_SEQ_GT(from, l->pcb->lastack) && TCP_SEQ_LEQ(to, l->pcb->snd_nxt) &&
		    net_scoreboard_add(&l->board, from, to) > 0)
			l->news = true;
	}
}

static void read_options(struct net_loss *l, const uint8_t *opt, size_t len)
{
	for (size_t i = 0; i < len && opt[i] != 0;) {
		size_t n = opt[i] == 1 ? 1 : i + 1 < len ? opt[i + 1] : 0;

		if (n == 0 || i + n > len || (opt[i] != 1 && n < 2))
			return;
		if (opt[i] == 5)
			take_blocks(l, opt + i, n);
		i += n;
	}
}

int net_lwip_tcp_options(void *arg, const void *hdr, uint16_t len, uint16_t len1, const void *rest)
{
	struct tcp_pcb *pcb = arg;
	struct net_loss *l;
	uint8_t opts[40];

	if (len == 0 || len > sizeof(opts) || pcb->state < ESTABLISHED || !pcb->unacked)
		return ERR_OK;
	l = state_of(pcb);
	if (!l)
		return ERR_OK;
	/* The options may continue in a second buffer. */
	len1 = MIN(len1, len);
	memcpy(opts, (const uint8_t *)hdr + sizeof(struct tcp_hdr), rest ? len1 : len);
	if (rest)
		memcpy(opts + len1, rest, len - len1);
	read_options(l, opts, len);
	return ERR_OK;
}

/* ---- sending again ---- */

static uint32_t seg_from(const struct tcp_seg *seg)
{
	return lwip_ntohl(seg->tcphdr->seqno);
}

static uint32_t flight(const struct net_loss *l)
{
	return l->pcb->snd_nxt - l->pcb->lastack;
}

/* Takes *@at out of the queue of unacknowledged segments; @before: the one in front, or NULL */
static struct tcp_seg *take_out(struct tcp_pcb *pcb, struct tcp_seg **at, struct tcp_seg *before)
{
	struct tcp_seg *seg = *at;

	*at = seg->next;
	if (!seg->next)
		pcb->unacked_tail = before;
	seg->next = NULL;
	return seg;
}

/* Sends @list at once, whatever the window says; what the interface refused stays in front of the unsent. */
static void send_again(struct net_loss *l, struct tcp_seg *list)
{
	struct tcp_pcb *pcb = l->pcb;
	struct tcp_seg *rest = pcb->unsent, *last;
	u16_t oversize = pcb->unsent_oversize;
	tcpwnd_size_t cwnd = pcb->cwnd;

	if (!list)
		return;
	pcb->unsent = list;
	pcb->cwnd = TCP_SND_BUF * 2;
	pcb->rttest = 0;
	l->timed_at = 0; /* Karn: its answer says nothing of the round trip */
	tcp_output(pcb);
	pcb->cwnd = cwnd;
	for (last = pcb->unsent; last && last->next;)
		last = last->next;
	if (last)
		last->next = rest;
	else
		pcb->unsent = rest;
	pcb->unsent_oversize = oversize;
	pcb->rtime = 0;
}

static uint32_t highest(const struct net_loss *l)
{
	return l->board.n ? l->board.ranges[l->board.n - 1].to : l->pcb->lastack;
}

/* Up to @n holes, from high_rxt on. Without SACK there is one: the first segment. */
static void resend_holes(struct net_loss *l, unsigned n)
{
	struct tcp_seg *list = NULL, **tail = &list, *before = NULL, **at = &l->pcb->unacked;
	uint32_t limit = l->board.n ? highest(l) : l->pcb->lastack + 1;

	while (*at && n > 0 && TCP_SEQ_LT(seg_from(*at), limit)) {
		uint32_t from = seg_from(*at), to = from + TCP_TCPLEN(*at);

		if (TCP_SEQ_LT(from, l->high_rxt) || net_scoreboard_has(&l->board, from, to) || (*at)->p->ref != 1) {
			before = *at;
			at = &before->next;
			continue;
		}
		*tail = take_out(l->pcb, at, before);
		tail = &(*tail)->next;
		if (from == l->pcb->lastack) {
			l->head_at = net_g.now;
			if (from == l->first_una && !l->first_at)
				l->first_at = net_g.now;
		}
		l->high_rxt = to;
		n--;
		net_g.stats.n_resent++;
	}
	send_again(l, list);
}

static void resend_last(struct net_loss *l)
{
	struct tcp_seg **at = &l->pcb->unacked, *before = NULL;

	while (*at && (*at)->next) {
		before = *at;
		at = &before->next;
	}
	if (!*at || (*at)->p->ref != 1)
		return;
	net_g.stats.n_resent++;
	send_again(l, take_out(l->pcb, at, before));
}

/* ---- what is in the network ---- */

/* Bytes that arrived beyond the acknowledged ones, as far as we are told. */
static uint32_t arrived(const struct net_loss *l)
{
	uint32_t all = flight(l), guess = l->pcb->dupacks * (uint32_t)l->pcb->mss;

	if (l->board.n > 0)
		return l->board.bytes;
	return all > l->pcb->mss ? MIN(guess, all - l->pcb->mss) : 0;
}

/* Holes below the highest SACK that were not sent again. */
static uint32_t lost(const struct net_loss *l)
{
	uint32_t top = highest(l), from = l->high_rxt;

	if (!l->in_recovery || l->board.n == 0)
		return 0;
	if (TCP_SEQ_LT(from, l->pcb->lastack))
		from = l->pcb->lastack;
	return TCP_SEQ_GT(top, from) ? top - from - net_scoreboard_above(&l->board, from) : 0;
}

static void set_window(struct net_loss *l)
{
	uint32_t outside = arrived(l) + lost(l);

	l->pcb->cwnd = l->cc.cwnd + outside;
	l->pcb->ssthresh = l->cc.ssthresh;
}

/* ---- the machine ---- */

static bool is_loss(const struct net_loss *l)
{
	uint32_t above;

	if (l->board.n == 0)
		return l->pcb->dupacks >= DUP_THRESH;
	above = highest(l) - l->pcb->lastack;
	/* Our probe was answered: whatever is missing below it is lost. */
	return l->probed || (above > DUP_THRESH * (uint32_t)l->pcb->mss && l->board.bytes >= DUP_THRESH * (uint32_t)l->pcb->mss);
}

/* A hole that looks like a loss must last as long as this path's packets may be late. */
static bool has_lasted(struct net_loss *l)
{
	if (!l->hole_at)
		l->hole_at = net_g.now;
	return l->probed || net_g.now - l->hole_at >= MIN(l->reorder * l->cc.rtt_min / 4, l->srtt);
}

static void enter_recovery(struct net_loss *l)
{
	l->before = l->cc;
	l->hole_at = 0;
	if (l->reorder && ++l->n_true >= N_TRUE)
		l->reorder = 0;
	l->in_recovery = true;
	l->first_at = 0;
	l->first_una = l->pcb->lastack;
	l->recover = l->pcb->snd_nxt;
	l->high_rxt = l->pcb->lastack;
	l->head_at = net_g.now;
	net_cc_lost(&l->cc);
	net_g.stats.n_recoveries++;
}

static void go_on(struct net_loss *l, bool progress)
{
	uint32_t out = arrived(l) + lost(l), all = flight(l);
	uint32_t pipe = all > out ? all - out : 0;
	unsigned n = pipe < l->cc.cwnd ? (l->cc.cwnd - pipe) / l->pcb->mss : 0;
	nsec_t patience = l->srtt + l->srtt / 4 + 4 * NSEC_PER_MSEC;

	if (TCP_SEQ_LT(l->high_rxt, l->pcb->lastack))
		l->high_rxt = l->pcb->lastack;
	if (TCP_SEQ_GT(l->high_rxt, l->pcb->lastack) && l->srtt && net_g.now - l->head_at > patience) {
		/* What was sent again was lost again. */
		l->high_rxt = l->pcb->lastack;
		n = MAX(n, 1u);
	}
	/* Every answer that brings news lets at least one go. */
	if (n == 0 && progress)
		n = 1;
	resend_holes(l, MIN(n, (unsigned)N_BURST));
}

/* Acknowledged sooner than the segment that was sent again can have been: the first one was only late. */
static void check_late(struct net_loss *l, uint32_t una_before)
{
	nsec_t since = l->first_at;

	if (!since || una_before != l->first_una)
		return;
	l->first_at = 0;
	if (l->cc.rtt_min == NSEC_NEVER || net_g.now - since >= l->cc.rtt_min * 3 / 4)
		return;
	l->n_true = 0;
	l->reorder = (uint8_t)MIN(l->reorder + 1, REORDER_MAX);
	l->before.rtt_min = l->cc.rtt_min;
	l->cc = l->before;
	l->in_recovery = false;
	l->pcb->dupacks = 0;
	net_g.stats.n_undone++;
}

static void take_rtt(struct net_loss *l, uint32_t in_flight)
{
	nsec_t rtt, off;

	if (!l->timed_at || !TCP_SEQ_GT(l->pcb->lastack, l->timed_seq))
		return;
	rtt = MAX(net_g.now - l->timed_at, NSEC_PER_USEC);
	l->timed_at = 0;
	if (!l->srtt) {
		l->srtt = rtt;
		l->rttvar = rtt / 2;
	} else {
		off = rtt > l->srtt ? rtt - l->srtt : l->srtt - rtt;
		l->rttvar = (3 * l->rttvar + off) / 4;
		l->srtt = (7 * l->srtt + rtt) / 8;
	}
	net_cc_rtt(&l->cc, rtt, in_flight);
}

static void set_due(struct net_loss *l)
{
	nsec_t wait;

	if (!l->pcb->unacked || l->in_timeout || l->probed) {
		l->due = 0;
		return;
	}
	if (l->in_recovery)
		wait = l->srtt + l->srtt / 4 + 5 * NSEC_PER_MSEC;
	else if (!l->srtt)
		wait = PROBE_FIRST;
	else
		wait = 2 * l->srtt + 2 * l->rttvar + (l->pcb->unacked->next ? PROBE_SLACK : ACK_DELAY);
	l->due = net_g.now + wait;
	/* An armed earlier time is left: it looks at due when it comes. */
	if (l->timer.index == HEAP_NONE || l->timer.key > l->due)
		ASSERT(heap_set(&timers, &l->timer, l->due) == OK);
}

static void after_timeout(struct net_loss *l)
{
	if (!l->in_timeout) {
		l->in_timeout = true;
		l->in_recovery = false;
		net_scoreboard_clear(&l->board);
		l->timed_at = 0;
		net_cc_timeout(&l->cc);
	}
}

void net_loss_input(struct tcp_pcb *pcb)
{
	struct net_loss *l = state_of(pcb);
	uint32_t acked, window_used;
	bool news;

	if (!l)
		return;
	acked = pcb->lastack - l->una;
	window_used = l->nxt - l->una;
	news = l->news || acked > 0;
	l->news = false;
	l->una = pcb->lastack;
	if (pcb->flags & TF_RTO)
		after_timeout(l);
	else
		l->in_timeout = false;
	if (!news && pcb->dupacks == 0)
		return;
	if (acked > 0) {
		if (l->in_recovery)
			check_late(l, pcb->lastack - acked);
		net_scoreboard_trim(&l->board, pcb->lastack);
		take_rtt(l, window_used);
		l->hole_at = 0;
		l->head_at = net_g.now;
	}
	if (l->in_recovery && TCP_SEQ_GEQ(pcb->lastack, l->recover)) {
		l->in_recovery = false;
		pcb->dupacks = 0;
	}
	if (!l->in_recovery && !l->in_timeout && pcb->unacked && is_loss(l) && has_lasted(l))
		enter_recovery(l);
	if (acked > 0) {
		l->probed = false;
		/* A window that was not used proves nothing (RFC 7661). */
		if (!l->in_recovery && 2 * (uint64_t)window_used >= l->cc.cwnd)
			net_cc_acked(&l->cc, acked, net_g.now, l->srtt);
	}
	if (l->in_recovery)
		go_on(l, news);
	set_window(l);
	set_due(l);
}

void net_loss_sent(struct tcp_pcb *pcb)
{
	struct net_loss *l = pcb->unacked ? state_of(pcb) : NULL;

	if (!l)
		return;
	if (!l->timed_at && TCP_SEQ_GT(pcb->snd_nxt, l->nxt) && !l->in_recovery && !l->in_timeout) {
		l->timed_at = net_g.now;
		l->timed_seq = l->nxt;
	}
	l->nxt = pcb->snd_nxt;
	if (!l->due)
		set_due(l);
}

/* ---- time ---- */

nsec_t net_loss_deadline(void)
{
	struct heap_node *first = heap_first(&timers);

	return first ? first->key : NSEC_NEVER;
}

static void on_due(struct net_loss *l)
{
	struct tcp_pcb *pcb = l->pcb;

	l->due = 0;
	if (!pcb->unacked || (pcb->flags & TF_RTO))
		return;
	if (l->in_recovery) {
		go_on(l, false);
		set_window(l);
		set_due(l);
		return;
	}
	/* New data would do as well, if the window has room for it. */
	l->probed = true;
	resend_last(l);
}

void net_loss_expire(void)
{
	struct heap_node *first;

	while ((first = heap_first(&timers)) && first->key <= net_g.now) {
		struct net_loss *l = container_of(first, struct net_loss, timer);

		heap_remove(&timers, first);
		if (l->due && l->due > net_g.now)
			ASSERT(heap_set(&timers, &l->timer, l->due) == OK);
		else if (l->due)
			on_due(l);
	}
}
