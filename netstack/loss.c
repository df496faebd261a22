/*
 * netstack/loss.c - loss recovery for lwIP's sender.
 *
 * lwIP's own sender retransmits one segment a round trip and halves its window by the book of 1990; here it only keeps the
 * queues. Build-time edits take its congestion control and its timers out. Beside its queue of unacknowledged segments stands
 * a log with the time at which each was sent (sent.c); SACKs are read by a hook before lwIP sees a segment, and after it
 * was processed net_loss_input() decides:
 *
 *	open       a segment is lost when one that was sent later has arrived and as much time has passed as that one took,
 *	           and a little for reordering (RACK, RFC 8985 section 6.2). The little is nothing until reordering was
 *	           seen and three segments are missing one; a timer waits it out.
 *	recovery   from the first loss until everything sent before it is acknowledged. The window shrinks once, at the
 *	           pace at which segments arrive (RFC 6937). What is sent again can be lost again and is found so.
 *	timeout    nothing came for a retransmission timeout: all that was not SACKed is lost, the window is one segment. The
 *	           second time in a row SACKs are forgotten too, as RFC 2018 wants.
 *	           A large segment that timed out twice makes all of them small (hole.c).
 *	probe      what was sent last is two round trips old, and nothing came for one: one segment more, new or the last one
 *	           again, so that its answer shows what is missing instead of the timeout (RFC 8985 section 7). An ACK beyond what was sent again means that it
 *	           had been lost, unless the other side says that it came twice (a duplicate SACK, RFC 2883). When the ACK came says
 *	           nothing: on a short path a receiver that did not run for a while answers both at once.
 *
 *	late       an answer to a segment sent again, sooner than any round trip takes, is the answer to its first sending:
 *	           the path reorders, or it only paused. The same is shown after a timeout by an answer to what was not sent
 *	           again (RFC 5682). The window is given back, and reordering gets a quarter of a round trip
 *	           more; sixteen true losses in a row end that.
 *
 * Without SACK each duplicate ACK counts as one segment that arrived, and the first hole is sent again (RFC 6582).
 *
 * State hangs at the PCB, not at the handle: a connection whose handle was given back still has bytes to deliver. It is
 * allocated with the first data and given up when nothing was sent for a while.
 */
#include "netstack/loss.h"

#include <stdlib.h>
#include <string.h>

#define DUP_THRESH 3
#define ACK_DELAY (60 * NSEC_PER_MSEC) /* the other side may hold the answer to a single segment back */
#define PROBE_SLACK (2 * NSEC_PER_MSEC)
#define PROBE_FIRST (300 * NSEC_PER_MSEC) /* before there is a round trip time */
#define RTO_FIRST NSEC_PER_SEC
#define RTO_MIN (200 * NSEC_PER_MSEC)
#define RTO_MAX (60 * NSEC_PER_SEC)
#define N_TIMEOUTS 12 /* about five minutes */
#define RTT_WINDOW (10 * NSEC_PER_SEC)
#define IDLE (15 * NSEC_PER_SEC)
#define REORDER_MAX 8
#define N_TRUE 16
#define RENEGED_EVERY (100 * NSEC_PER_MSEC)

err_t tcp_output_segment(struct tcp_seg *seg, struct tcp_pcb *pcb, struct netif *netif);

/* What one acknowledgement says, while it is read. */
struct reading {
	struct net_cc_ack ack;
	nsec_t oldest, newest;   /* when those were sent that arrived and were sent once */
	uint64_t prior_delivered;
	nsec_t prior_at, send_elapsed;
	bool sampled, app_limited;
	bool late;               /* proof that something sent again was not lost */
	bool progress;           /* the first byte that is missing has moved */
};

/* Of the segment in hand; lwIP works on one at a time. */
static struct seq_range blocks[4];
static unsigned n_blocks;
static bool came_twice; /* its first SACK block is of bytes that it acknowledges */

/* ---- life ---- */

struct net_sender *net_loss_state(struct net_pcb *n)
{
	struct tcp_pcb *pcb = n->pcb;
	struct net_sender *s = n->snd;

	if (pcb->state < ESTABLISHED || pcb->state == TIME_WAIT)
		return NULL;
	if (s || (!pcb->unsent && !pcb->unacked))
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	n->snd = s;
	net_sent_init(&s->log);
	s->una = s->recover = s->fack = pcb->lastack;
	s->rtt_min = s->rtt_min_next = NSEC_NEVER;
	s->rtt_min_since = net_g.now;
	s->delivered_at = s->first_sent_at = net_g.now;
	s->srtt = n->srtt;
	s->rttvar = n->rttvar;
	s->rough_rtt = n->rough_rtt;
	net_cc_init(&s->cc, n->nif->cc, pcb->mss, net_g.now);
	return s;
}

void net_loss_fini(struct net_pcb *n)
{
	if (!n->snd)
		return;
	net_sent_fini(&n->snd->log);
	net_scoreboard_fini(&n->snd->board);
	free(n->snd);
	n->snd = NULL;
}

void net_loss_handshake(struct net_pcb *n, nsec_t rtt, bool rough)
{
	n->srtt = MAX(rtt, NSEC_PER_USEC);
	n->rttvar = n->srtt / 2;
	n->rough_rtt = rough;
}

/* ---- SACK in ---- */

static void take_blocks(const struct tcp_pcb *pcb, uint32_t ack, const uint8_t *opt, size_t len)
{
	for (size_t at = 2; at + 8 <= len && n_blocks < ARRAY_SIZE(blocks); at += 8) {
		struct seq_range r;

		memcpy(&r.from, opt + at, 4);
		memcpy(&r.to, opt + at + 4, 4);
		r.from = lwip_ntohl(r.from);
		r.to = lwip_ntohl(r.to);
		came_twice |= at == 2 && SEQ_LT(r.from, r.to) && SEQ_LEQ(r.to, ack);
		if (SEQ_LT(r.from, r.to) && SEQ_GT(r.to, pcb->lastack) && SEQ_LEQ(r.to, pcb->snd_nxt))
			blocks[n_blocks++] = r;
	}
}

int net_lwip_tcp_options(void *arg, const void *hdr, uint16_t len, uint16_t len1, const void *rest)
{
	struct tcp_pcb *pcb = arg;
	uint8_t opts[40];

	n_blocks = 0;
	came_twice = false;
	/* Once everything is acknowledged, a probe may still be told to have come twice. */
	if (len == 0 || len > sizeof(opts) || pcb->state < ESTABLISHED || !(pcb->unacked || pcb->net->snd))
		return ERR_OK;
	/* The options may continue in a second buffer. */
	len1 = MIN(len1, len);
	memcpy(opts, (const uint8_t *)hdr + sizeof(struct tcp_hdr), rest ? len1 : len);
	if (rest)
		memcpy(opts + len1, rest, len - len1);
	for (size_t i = 0; i < len && opts[i] != 0;) {
		size_t n = opts[i] == 1 ? 1 : i + 1 < len ? opts[i + 1] : 0;

		if (n == 0 || i + n > len || (opts[i] != 1 && n < 2))
			break;
		if (opts[i] == 5)
			take_blocks(pcb, ((const struct tcp_hdr *)hdr)->ackno, opts + i, n);
		i += n;
	}
	return ERR_OK;
}

/* ---- round trip ---- */

static nsec_t rtt_min(const struct net_sender *s)
{
	return nsec_min(s->rtt_min, s->rtt_min_next);
}

nsec_t net_loss_rto(const struct net_pcb *n)
{
	nsec_t srtt = n->snd ? n->snd->srtt : n->srtt, var = n->snd ? n->snd->rttvar : n->rttvar;

	if (!srtt)
		return RTO_FIRST;
	return MIN(MAX(srtt + 4 * var, MAX(n->nif->rto_min, RTO_MIN)), RTO_MAX);
}

static nsec_t rto(const struct net_pcb *n)
{
	return MIN(net_loss_rto(n) << n->snd->backoff, RTO_MAX);
}

static void take_rtt(struct net_sender *s, const struct reading *r)
{
	nsec_t rtt, off;

	if (!r->newest)
		return;
	rtt = MAX(net_g.now - r->oldest, NSEC_PER_USEC);
	if (!s->srtt || s->rough_rtt) {
		s->srtt = rtt;
		s->rttvar = rtt / 2;
		s->rough_rtt = false;
	} else {
		off = rtt > s->srtt ? rtt - s->srtt : s->srtt - rtt;
		s->rttvar = (3 * s->rttvar + off) / 4;
		s->srtt = (7 * s->srtt + rtt) / 8;
	}
	s->backoff = 0;
	if (net_g.now - s->rtt_min_since > RTT_WINDOW) {
		s->rtt_min = s->rtt_min_next;
		s->rtt_min_next = NSEC_NEVER;
		s->rtt_min_since = net_g.now;
	}
	s->rtt_min_next = nsec_min(s->rtt_min_next, MAX(net_g.now - r->newest, NSEC_PER_USEC));
}

/* ---- what arrived ---- */

static uint32_t size_of(const struct net_sent *e)
{
	return e->to - e->from;
}

static void sample_rate(struct net_sender *s, const struct net_sent *e, struct reading *r)
{
	s->delivered += size_of(e);
	s->delivered_at = net_g.now;
	if (r->sampled && e->delivered < r->prior_delivered)
		return;
	r->sampled = true;
	r->prior_delivered = e->delivered;
	r->prior_at = e->delivered_at;
	r->send_elapsed = e->at - e->first_at;
	r->app_limited = e->app_limited;
	s->first_sent_at = e->at;
}

static void on_arrived(struct net_sender *s, const struct net_sent *e, struct reading *r)
{
	nsec_t took = net_g.now - e->at;
	bool too_soon = e->resent && rtt_min(s) != NSEC_NEVER && took < rtt_min(s) * 3 / 4;

	r->ack.acked += size_of(e);
	sample_rate(s, e, r);
	if (!e->resent) {
		r->oldest = r->oldest ? nsec_min(r->oldest, e->at) : e->at;
		r->newest = MAX(r->newest, e->at);
		if (SEQ_LT(e->to, s->fack))
			s->reorder = MAX(s->reorder, 1);
		/* After a timeout all of these counted as lost (RFC 5682). */
		r->late |= s->may_be_spurious && SEQ_LEQ(e->to, s->recover);
	} else if (too_soon) {
		r->late |= e->from == s->episode_from || s->phase == NET_TIMEOUT;
		return;
	}
	if (SEQ_GT(e->to, s->fack))
		s->fack = e->to;
	if (e->at > s->rack_at || (e->at == s->rack_at && SEQ_GT(e->to, s->rack_end))) {
		s->rack_at = e->at;
		s->rack_end = e->to;
		s->rack_rtt = took;
	}
}

static void leave_state(struct net_sender *s, const struct net_sent *e)
{
	if (e->state == NET_SENT_FLIGHT)
		s->in_flight -= size_of(e);
	else if (e->state == NET_SENT_LOST)
		s->lost -= size_of(e);
}

static void take_cumulative(struct net_pcb *n, struct reading *r)
{
	struct net_sender *s = n->snd;
	uint32_t una = n->pcb->lastack;

	r->progress = una != s->una;
	s->una = una;
	s->requeued = s->requeued && SEQ_LT(una, s->requeued_to);
	while (net_sent_count(&s->log) > 0 && SEQ_LEQ(net_sent_at(&s->log, s->log.head)->to, una)) {
		struct net_sent *e = net_sent_at(&s->log, s->log.head);

		if (e->state != NET_SENT_SACKED)
			on_arrived(s, e, r);
		leave_state(s, e);
		net_sent_pop(&s->log);
	}
	s->lost_from = MAX(s->lost_from, s->log.head);
	if (net_sent_count(&s->log) == 0)
		s->lost_from = 0;
	net_scoreboard_trim(&s->board, una);
}

static void take_gap(struct net_sender *s, const struct seq_range *block, const struct seq_range *gap, struct reading *r)
{
	for (uint64_t i = net_sent_find(&s->log, gap->from); i != s->log.tail; i++) {
		struct net_sent *e = net_sent_at(&s->log, i);

		if (SEQ_GEQ(e->from, gap->to))
			break;
		if (e->state == NET_SENT_SACKED || SEQ_LT(e->from, block->from) || SEQ_GT(e->to, block->to))
			continue;
		on_arrived(s, e, r);
		leave_state(s, e);
		net_sent_set(&s->log, i, NET_SENT_SACKED);
	}
}

static void take_sacks(struct net_sender *s, struct reading *r)
{
	for (unsigned i = 0; i < n_blocks && net_sent_count(&s->log) > 0; i++) {
		struct seq_range b = blocks[i], gap;
		uint32_t from = b.from;

		/* That the first missing byte is there contradicts itself. */
		if (SEQ_LEQ(b.from, s->una))
			continue;
		while (net_scoreboard_gap(&s->board, from, b.to, &gap)) {
			take_gap(s, &b, &gap, r);
			from = gap.to;
		}
		net_scoreboard_add(&s->board, b.from, b.to);
	}
}

/* ---- what is lost ---- */

static void mark_lost(struct net_sender *s, uint64_t i)
{
	struct net_sent *e = net_sent_at(&s->log, i);

	leave_state(s, e);
	net_sent_set(&s->log, i, NET_SENT_LOST);
	if (s->lost == 0 || i < s->lost_from)
		s->lost_from = i;
	s->lost += size_of(e);
}

/* The first byte that is missing was told to be there: then all that was told is in doubt. */
static bool has_reneged(const struct net_sender *s)
{
	return net_sent_count(&s->log) > 0 && net_sent_at(&s->log, s->log.head)->state == NET_SENT_SACKED;
}

static void forget_sacks(struct net_sender *s)
{
	for (uint64_t i = s->log.head; i != s->log.tail; i++)
		if (net_sent_at(&s->log, i)->state == NET_SENT_SACKED)
			mark_lost(s, i);
	net_scoreboard_clear(&s->board);
	s->reneged_at = net_g.now;
}

static nsec_t reorder_window(const struct net_sender *s)
{
	nsec_t min = rtt_min(s), quarter = min == NSEC_NEVER ? s->srtt / 4 : min / 4;

	if (s->reorder == 0)
		return s->phase != NET_OPEN || s->board.bytes >= DUP_THRESH * s->cc.mss ? 0 : quarter;
	return MIN(s->reorder * quarter, s->srtt);
}

/* Return: bytes that count as lost from now on */
static uint32_t detect(struct net_sender *s)
{
	nsec_t wait = s->rack_rtt + reorder_window(s);
	uint32_t before = s->lost;
	uint64_t i, next;

	s->reorder_at = 0;
	for (i = s->log.oldest; s->rack_at && i != NET_SENT_NONE; i = next) {
		struct net_sent *e = net_sent_at(&s->log, i);

		next = e->newer;
		/* What left in the same instant left in this order, hundreds of segments sometimes: no look at each of them. */
		if (e->at > s->rack_at || (e->at == s->rack_at && SEQ_GEQ(e->to, s->rack_end)))
			break;
		if (e->at + wait > net_g.now) {
			s->reorder_at = e->at + wait;
			break;
		}
		mark_lost(s, i);
	}
	return s->lost - before;
}

/* Without SACK (RFC 6582). */
static uint32_t detect_by_duplicates(struct net_sender *s, const struct reading *r, const struct tcp_pcb *pcb)
{
	struct net_sent *first = net_sent_at(&s->log, s->log.head);
	bool partial = s->phase == NET_RECOVERY && r->progress;

	if (first->state != NET_SENT_FLIGHT || (!partial && (s->phase != NET_OPEN || pcb->dupacks < DUP_THRESH)))
		return 0;
	mark_lost(s, s->log.head);
	return size_of(first);
}

/* ---- phases ---- */

static void enter_recovery(struct net_pcb *n, uint32_t prior_in_flight)
{
	struct net_sender *s = n->snd;

	if (s->reorder && ++s->n_true >= N_TRUE)
		s->reorder = 0;
	s->phase = NET_RECOVERY;
	s->recover = n->pcb->snd_nxt;
	s->episode_from = net_sent_at(&s->log, s->lost_from)->from;
	s->probing = s->probe_repeats = false;
	s->prr_from = MAX(prior_in_flight, s->cc.mss);
	s->prr_delivered = s->prr_out = 0;
	s->cc.ops->lost(&s->cc, net_g.now);
	net_g.stats.n_recoveries++;
}

static void leave_phase(struct net_sender *s)
{
	s->cc.ops->recovered(&s->cc, net_g.now);
	s->phase = NET_OPEN;
	s->may_be_spurious = false;
}

static void undo(struct net_sender *s)
{
	uint32_t back;

	s->cc.ops->undo(&s->cc);
	s->n_true = 0;
	if (s->phase == NET_RECOVERY)
		s->reorder = (uint8_t)MIN(s->reorder + 1, REORDER_MAX);
	s->phase = NET_OPEN;
	s->may_be_spurious = false;
	s->backoff = 0;
	back = net_sent_revive(&s->log, s->lost_from, s->lost);
	s->lost -= back;
	s->in_flight += back;
	net_g.stats.n_undone++;
}

/* Nothing is in the network any more, as far as we know; all of it is queued to be sent. */
static void forget_sent(struct net_pcb *n)
{
	struct net_sender *s = n->snd;

	net_sent_fini(&s->log);
	net_scoreboard_clear(&s->board);
	s->in_flight = s->lost = 0;
	s->lost_from = 0;
	s->rack_at = 0;
	s->requeued = true;
	s->requeued_to = n->pcb->snd_nxt;
	s->cc.mss = n->pcb->mss;
	/* Nobody's queue was too long; but whether the path carries anything is not known either. */
	s->cc.ops->undo(&s->cc);
	s->cc.cwnd = MIN(s->cc.cwnd, NET_CWND_FIRST * s->cc.mss);
}

static void on_timeout(struct net_pcb *n)
{
	struct net_sender *s = n->snd;
	bool first = s->phase != NET_TIMEOUT;

	s->rto_at = s->probe_at = s->reorder_at = 0;
	if (has_reneged(s))
		forget_sacks(s);
	if (first || s->backoff == 0) {
		s->may_be_spurious = first;
		s->episode_from = n->pcb->lastack;
		s->cc.ops->timeout(&s->cc, net_g.now);
	} else {
		s->may_be_spurious = false;
		forget_sacks(s);
	}
	if (net_hole_suspected(n) && net_hole_shrink(n))
		forget_sent(n);
	while (s->log.oldest != NET_SENT_NONE)
		mark_lost(s, s->log.oldest);
	s->phase = NET_TIMEOUT;
	s->recover = n->pcb->snd_nxt;
	s->probing = s->probe_repeats = false;
	s->backoff = (uint8_t)MIN(s->backoff + 1, 16);
	s->pace_at = 0;
}

uint32_t net_loss_window(const struct net_sender *s)
{
	uint64_t send;

	if (s->phase != NET_RECOVERY || !s->cc.ops->reduces)
		return s->cc.cwnd;
	if (s->in_flight > s->cc.ssthresh) {
		send = (uint64_t)s->prr_delivered * s->cc.ssthresh / s->prr_from;
		send = send > s->prr_out ? send - s->prr_out : 0;
	} else {
		send = s->prr_delivered > s->prr_out ? s->prr_delivered - s->prr_out : 0;
		send = MIN(MAX(send, (uint64_t)s->cc.mss) + s->cc.mss, (uint64_t)(s->cc.ssthresh - s->in_flight));
	}
	/* The first hole does not wait. */
	if (s->prr_out == 0)
		send = MAX(send, (uint64_t)s->cc.mss);
	return s->in_flight + (uint32_t)send;
}

/* ---- an acknowledgement ---- */

/* Was what a probe repeated lost (7.4)? Who does not know SACK cannot say that it was not. */
static bool probe_found_loss(struct net_sender *s, bool sack)
{
	if (s->probing && SEQ_GEQ(s->una, s->probe_end))
		s->probing = false;
	/* The word that it came twice may be in the ACK behind the first that covers it. */
	if (!s->probe_repeats || SEQ_LEQ(s->una, s->probe_end))
		return false;
	s->probe_repeats = false;
	return sack;
}

static void fill_ack(struct net_pcb *n, struct reading *r)
{
	struct net_sender *s = n->snd;
	nsec_t elapsed = MAX(r->send_elapsed, net_g.now - r->prior_at);

	r->ack.now = net_g.now;
	r->ack.rtt = r->newest ? MAX(net_g.now - r->newest, NSEC_PER_USEC) : 0;
	r->ack.srtt = s->srtt;
	r->ack.in_flight = s->in_flight;
	r->ack.una = s->una;
	r->ack.nxt = n->pcb->snd_nxt;
	r->ack.delivered = s->delivered;
	r->ack.in_recovery = s->phase == NET_RECOVERY;
	r->ack.in_timeout = s->phase == NET_TIMEOUT;
	if (s->limited && SEQ_GT(s->una, s->limited_until))
		s->limited = false;
	r->ack.cwnd_limited = s->limited;
	r->ack.prior_delivered = r->prior_delivered;
	r->ack.app_limited = r->app_limited;
	/* Shorter than a round trip it would be the spacing of ACKs. */
	if (r->sampled && elapsed >= rtt_min(s) / 4 * 3 && elapsed > 0)
		r->ack.rate = (s->delivered - r->prior_delivered) * NSEC_PER_SEC / elapsed;
	if (s->app_limited_until && s->delivered > s->app_limited_until)
		s->app_limited_until = 0;
}

/*
 * When the answer to what was sent last is overdue. RFC 8985 (7.2) counts from the last ACK, as if what follows it had just left; what
 * left a round trip before that ACK has waited as long already, and what came after it in order would have been answered with it.
 */
static nsec_t probe_time(const struct net_sender *s)
{
	nsec_t sent = s->log.newest != NET_SENT_NONE ? net_sent_at(&s->log, s->log.newest)->at : net_g.now;

	return sent + 2 * s->srtt + PROBE_SLACK + (net_sent_count(&s->log) == 1 ? ACK_DELAY : 0);
}

static void set_probe(struct net_sender *s, nsec_t at)
{
	s->probe_at = at < s->rto_at ? at : 0;
}

static void set_timers(struct net_pcb *n, bool news)
{
	struct net_sender *s = n->snd;

	if (net_sent_count(&s->log) == 0) {
		s->rto_at = s->probe_at = s->reorder_at = 0;
		s->probing = false;
		s->idle_since = net_g.now;
		return;
	}
	if (news || !s->rto_at)
		s->rto_at = net_g.now + rto(n);
	s->probe_at = 0;
	if (s->phase != NET_OPEN || s->probing || s->lost > 0)
		return;
	set_probe(s, s->srtt ? MAX(probe_time(s), net_g.now + s->srtt + PROBE_SLACK) : net_g.now + PROBE_FIRST);
}

void net_loss_input(struct net_pcb *n)
{
	struct net_sender *s = net_loss_state(n);
	struct reading r = { 0 };
	bool sack = n->pcb->flags & TF_SACK;

	if (!s)
		return;
	r.ack.prior_in_flight = s->in_flight;
	take_cumulative(n, &r);
	take_sacks(s, &r);
	n_blocks = 0;
	s->probe_repeats = s->probe_repeats && !came_twice;
	if (r.ack.acked == 0 && !r.progress && (sack || n->pcb->dupacks == s->n_dup))
		return;
	s->n_dup = n->pcb->dupacks;
	take_rtt(s, &r);
	if (s->phase != NET_OPEN && r.late)
		undo(s);
	if (s->phase != NET_OPEN && SEQ_GEQ(s->una, s->recover))
		leave_phase(s);
	if (net_sent_count(&s->log) > 0) {
		/* All records are looked at, so not with every ACK that says so: the timeout comes too. */
		if (has_reneged(s) && (!s->reneged_at || net_g.now - s->reneged_at >= RENEGED_EVERY))
			forget_sacks(s);
		r.ack.lost = s->lost_unsaid + (sack ? detect(s) : detect_by_duplicates(s, &r, n->pcb));
		s->lost_unsaid = 0;
	}
	if (s->lost > 0 && s->phase == NET_OPEN)
		enter_recovery(n, r.ack.prior_in_flight);
	else if (probe_found_loss(s, sack))
		s->cc.ops->lost(&s->cc, net_g.now);
	s->prr_delivered += sack ? r.ack.acked : MAX(r.ack.acked, (uint32_t)s->cc.mss);
	fill_ack(n, &r);
	s->cc.ops->acked(&s->cc, &r.ack);
	set_timers(n, r.progress || r.ack.acked > 0);
}

/* ---- sending ---- */

uint32_t net_loss_note_sent(struct net_pcb *n)
{
	struct net_sender *s = n->snd;
	struct net_sent_log *l = &s->log;
	struct tcp_seg *seg = n->pcb->unacked;
	uint32_t bytes = 0;

	if (net_sent_count(l) > 0)
		seg = ((struct tcp_seg *)net_sent_at(l, l->tail - 1)->seg)->next;
	else if (seg && s->idle_since)
		s->cc.ops->restart(&s->cc, net_g.now - s->idle_since, net_g.now);
	for (; seg; seg = seg->next) {
		uint32_t from = lwip_ntohl(seg->tcphdr->seqno);
		struct net_sent *e;

		if (s->in_flight == 0)
			s->first_sent_at = s->delivered_at = net_g.now;
		e = net_sent_push(l, from, from + TCP_TCPLEN(seg), net_g.now);
		if (!e)
			break;
		e->seg = seg;
		e->resent = s->requeued && SEQ_LT(from, s->requeued_to);
		e->first_at = s->first_sent_at;
		e->delivered = s->delivered;
		e->delivered_at = s->delivered_at;
		e->app_limited = s->app_limited_until > 0;
		s->in_flight += size_of(e);
		bytes += size_of(e);
	}
	if (bytes > 0) {
		s->idle_since = 0;
		if (!s->rto_at || !s->probe_at)
			set_timers(n, !s->rto_at);
	}
	return bytes;
}

static bool send_again(struct net_pcb *n, uint64_t i)
{
	struct net_sender *s = n->snd;
	struct net_sent *e = net_sent_at(&s->log, i);

	if (tcp_output_segment(e->seg, n->pcb, &n->nif->lw) != ERR_OK)
		return false;
	if (s->in_flight == 0)
		s->first_sent_at = s->delivered_at = net_g.now;
	e->at = net_g.now;
	e->resent = true;
	e->first_at = s->first_sent_at;
	e->delivered = s->delivered;
	e->delivered_at = s->delivered_at;
	e->app_limited = s->app_limited_until > 0;
	leave_state(s, e);
	net_sent_set(&s->log, i, NET_SENT_FLIGHT);
	s->in_flight += size_of(e);
	net_g.stats.n_resent++;
	return true;
}

uint32_t net_loss_resend(struct net_pcb *n, uint32_t budget)
{
	struct net_sender *s = n->snd;
	uint32_t bytes = 0, cost;

	for (; s->lost > 0 && s->lost_from != s->log.tail; s->lost_from++) {
		struct net_sent *e = net_sent_at(&s->log, s->lost_from);

		if (e->state != NET_SENT_LOST)
			continue;
		/* A FIN takes no room: after a timeout the window is one segment, and its last may be a full one. */
		cost = MIN(size_of(e), s->cc.mss);
		if (bytes + cost > budget || !send_again(n, s->lost_from))
			break;
		bytes += cost;
	}
	if (bytes > 0 && !s->rto_at)
		s->rto_at = net_g.now + rto(n);
	return bytes;
}

/* ---- time ---- */

static void probe(struct net_pcb *n)
{
	struct net_sender *s = n->snd;

	s->probe_at = 0;
	if (n->nif->blocked)
		return;
	s->probing = true;
	s->probe_repeats = !net_output_probe(n);
	for (uint64_t i = s->log.tail; s->probe_repeats && i-- != s->log.head;)
		if (net_sent_at(&s->log, i)->state == NET_SENT_FLIGHT) {
			mark_lost(s, i);
			send_again(n, i);
			break;
		}
	s->probe_end = n->pcb->snd_nxt;
	s->rto_at = net_g.now + rto(n);
}

static bool is_idle(const struct net_pcb *n)
{
	return n->snd->idle_since && net_sent_count(&n->snd->log) == 0 && !n->pcb->unsent;
}

nsec_t net_loss_deadline(const struct net_pcb *n)
{
	const struct net_sender *s = n->snd;
	nsec_t at = NSEC_NEVER;

	if (!s)
		return at;
	if (is_idle(n))
		at = s->idle_since + IDLE;
	at = nsec_min(at, s->rto_at ? s->rto_at : NSEC_NEVER);
	at = nsec_min(at, s->probe_at ? s->probe_at : NSEC_NEVER);
	at = nsec_min(at, s->reorder_at ? s->reorder_at : NSEC_NEVER);
	return nsec_min(at, s->pace_due ? s->pace_due : NSEC_NEVER);
}

static bool is_due(nsec_t at)
{
	return at && at <= net_g.now;
}

/* The round trip outlives the rest. */
static void fall_asleep(struct net_pcb *n)
{
	n->srtt = n->snd->srtt;
	n->rttvar = n->snd->rttvar;
	n->rough_rtt = n->snd->rough_rtt;
	net_loss_fini(n);
}

static bool expire_rto(struct net_pcb *n)
{
	struct net_sender *s = n->snd;

	/* What did not leave was not lost. */
	if (n->nif->blocked) {
		s->rto_at = net_g.now + rto(n);
		return true;
	}
	if (s->backoff >= N_TIMEOUTS) {
		tcp_abandon(n->pcb, 0);
		return false;
	}
	on_timeout(n);
	net_output_push(n);
	return true;
}

bool net_loss_expire(struct net_pcb *n)
{
	struct net_sender *s = n->snd;

	if (!s)
		return true;
	if (is_idle(n) && net_g.now >= s->idle_since + IDLE) {
		fall_asleep(n);
		return true;
	}
	if (is_due(s->rto_at))
		return expire_rto(n);
	if (is_due(s->reorder_at)) {
		uint32_t prior = s->in_flight;

		s->lost_unsaid += detect(s);
		if (s->lost > 0 && s->phase == NET_OPEN)
			enter_recovery(n, prior);
		net_output_push(n);
	}
	if (is_due(s->probe_at) && s->srtt && probe_time(s) > net_g.now)
		set_probe(s, probe_time(s));
	else if (is_due(s->probe_at))
		probe(n);
	if (is_due(s->pace_due))
		net_output_push(n);
	return true;
}
