/* netstack/loss.h - what is lost, when it is sent again, and how much may be on its way. Shared within netstack/. */
#ifndef NETSTACK_LOSS_H
#define NETSTACK_LOSS_H

#include "base/heap.h"
#include "netstack/net_internal.h"

struct seq_range {
	uint32_t from, to; /* to: one past */
};

/* The other side's SACKs: disjoint ranges in order. */
struct net_scoreboard {
	struct seq_range *ranges;
	uint16_t n, cap;
	uint32_t bytes;
};

#define NET_SACK_RANGES_MAX 1024

/** net_scoreboard_add() - the range was received. Return: how many bytes of it are news (0 too when full). */
uint32_t net_scoreboard_add(struct net_scoreboard *b, uint32_t from, uint32_t to);
/** net_scoreboard_trim() - everything below @una was acknowledged */
void net_scoreboard_trim(struct net_scoreboard *b, uint32_t una);
/** net_scoreboard_has() - was all of [from, to) received? */
bool net_scoreboard_has(const struct net_scoreboard *b, uint32_t from, uint32_t to);
/** net_scoreboard_above() - bytes received from @seq on */
uint32_t net_scoreboard_above(const struct net_scoreboard *b, uint32_t seq);
void net_scoreboard_clear(struct net_scoreboard *b);
void net_scoreboard_fini(struct net_scoreboard *b);

/* Congestion control: a window from what happens. Units: bytes, nanoseconds. */
struct net_cc {
	uint32_t mss;
	uint32_t cwnd, ssthresh;
	/* CUBIC (RFC 9438) */
	double w_max, w_est, k;
	nsec_t epoch; /* 0: not begun */
	nsec_t rtt_min; /* for HyStart */
};
void net_cc_init(struct net_cc *cc, uint32_t mss, uint32_t cwnd);
/** net_cc_acked() - @acked bytes arrived, and the window was in use */
void net_cc_acked(struct net_cc *cc, uint32_t acked, nsec_t now, nsec_t srtt);
/** net_cc_rtt() - a sample; in slow start a growing delay ends it before the queue overflows */
void net_cc_rtt(struct net_cc *cc, nsec_t rtt, uint32_t in_flight);
void net_cc_lost(struct net_cc *cc);
/** net_cc_timeout() - the retransmission timer fired: start anew from one segment */
void net_cc_timeout(struct net_cc *cc);

/** net_loss_sent() - after tcp_output() */
void net_loss_sent(struct tcp_pcb *pcb);
/** net_loss_input() - after a segment was processed */
void net_loss_input(struct tcp_pcb *pcb);
nsec_t net_loss_deadline(void);
void net_loss_expire(void);

#endif
