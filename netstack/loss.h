/*
 * netstack/loss.h - what is lost, when it is sent again, and how much may be on its way. Shared within netstack/.
 *
 * struct net_pcb is our part of a control block of lwIP's, from its allocation to its end.
 */
#ifndef NETSTACK_LOSS_H
#define NETSTACK_LOSS_H

#include "base/heap.h"
#include "netstack/cc.h"
#include "netstack/net_internal.h"
#include "netstack/scoreboard.h"
#include "netstack/sent.h"

enum net_phase {
	NET_OPEN,
	NET_RECOVERY, /* something was lost; until all that was sent before is acknowledged */
	NET_TIMEOUT,  /* the retransmission timer fired; as long */
};

struct net_sender {
	struct net_sent_log log;
	struct net_scoreboard board;
	struct net_cc cc;
	uint32_t una;          /* as of the last look */
	uint32_t in_flight;    /* bytes of records in the network */
	uint32_t lost;         /* and of those to be sent again */
	uint32_t lost_unsaid;  /* found by a timer; the next acknowledgement tells the control */
	uint64_t lost_from;    /* no record before it is lost */
	uint32_t recover;      /* the phase ends when this is acknowledged */
	uint32_t episode_from; /* the hole with which it began */
	uint32_t fack;         /* one past the highest byte that arrived */
	/* round trip */
	nsec_t srtt, rttvar;
	nsec_t rtt_min, rtt_min_next, rtt_min_since; /* of the last 10 to 20 s */
	/* RACK: of the segment sent last among those that arrived */
	nsec_t rack_at, rack_rtt;
	uint32_t rack_end;
	/* timers; 0: off */
	nsec_t rto_at, probe_at, reorder_at, pace_due, idle_since;
	nsec_t reneged_at; /* SACKs were last forgotten; 0: never */
	/* pacing: when what was sent has left */
	nsec_t pace_at;
	/* delivery rate */
	uint64_t delivered, app_limited_until;
	nsec_t delivered_at, first_sent_at;
	/* window during a recovery (RFC 6937) */
	uint32_t prr_delivered, prr_out, prr_from;
	uint32_t probe_end;
	uint32_t limited_until; /* the window held us back in the round that ends here */
	uint8_t phase, backoff, reorder, n_true, n_dup;
	bool rough_rtt;         /* from the handshake, which the other side may have held */
	bool probing, limited, may_be_spurious;
	bool probe_repeats;     /* what the last probe sent again: lost or late, not known yet */
	bool requeued;          /* bytes up to @requeued_to go from the queue of new ones a second time */
	uint32_t requeued_to;
};

struct net_pcb {
	struct tcp_pcb *pcb;
	struct net_if *nif;
	struct net_pcb *hash_next;
	uint64_t hash;
	struct list turn; /* waits to send: in net_g.dirty, or its interface's waiting */
	struct heap_node timer;
	/* timer.c; 0: off */
	nsec_t since;      /* SYN sent; later, when something last came */
	nsec_t syn_at, ack_at, persist_at, end_at;
	union {
		struct {
			nsec_t srtt, rttvar; /* while there is no sender */
		};
		struct list tw; /* net_g.time_wait, where nothing is sent that would ask for them */
	};
	uint32_t tmr;      /* lwIP's ticks: of the last keepalive; in TIME_WAIT what pcb->tmr was */
	uint8_t tries;
	bool hashed, rough_rtt, in_time_wait;
	struct net_ooseq *oo; /* ooseq.c's; NULL before the first segment out of order */
	struct net_sender *snd; /* while it sends; NULL before and long after */
};

/* ---- loss.c ---- */
/** net_loss_state() - the sender of an established connection; NULL: not yet, or no memory */
struct net_sender *net_loss_state(struct net_pcb *n);
void net_loss_fini(struct net_pcb *n);
/** net_loss_input() - after a segment was processed */
void net_loss_input(struct net_pcb *n);
/** net_loss_note_sent() - records of what tcp_output() has sent. Return: bytes */
uint32_t net_loss_note_sent(struct net_pcb *n);
/** net_loss_resend() - up to @budget bytes of what is lost. Return: bytes sent */
uint32_t net_loss_resend(struct net_pcb *n, uint32_t budget);
/** net_loss_window() - how much may be in the network now */
uint32_t net_loss_window(const struct net_sender *s);
/** net_loss_expire() - its timers; false: the connection is gone */
bool net_loss_expire(struct net_pcb *n);
nsec_t net_loss_deadline(const struct net_pcb *n);
/** net_loss_rto() - the retransmission timeout without backoff */
nsec_t net_loss_rto(const struct net_pcb *n);
/** net_loss_handshake() - a round trip seen before there were data; @rough: the other side may have waited */
void net_loss_handshake(struct net_pcb *n, nsec_t rtt, bool rough);

/* ---- ooseq.c ---- */
void net_ooseq_fini(struct net_pcb *n);

/* ---- hole.c ---- */
/** net_hole_connected() - the segments of a new connection are small where that is known to be needed */
void net_hole_connected(struct net_pcb *n);
/** net_hole_suspected() - on a timeout: does the path swallow what is large? */
bool net_hole_suspected(const struct net_pcb *n);
/** net_hole_shrink() - small segments from now on, what is under way is in the queue again; false: not now */
bool net_hole_shrink(struct net_pcb *n);

/* ---- output.c ---- */
/** net_output_push() - send what may be sent, as far as one turn goes */
void net_output_push(struct net_pcb *n);
/** net_output_mark() - it has something to send: a turn with the next net_output_all() */
void net_output_mark(struct net_pcb *n);
/** net_output_probe() - one segment beyond the window: new data if there are any. Return: was there? */
bool net_output_probe(struct net_pcb *n);

/* ---- timer.c ---- */
/** net_timer_registered() - it went to the list of connections, or to that of TIME_WAIT */
void net_timer_registered(struct net_pcb *n, bool time_wait);
/** net_timer_forget() - it ends */
void net_timer_forget(struct net_pcb *n);
/** net_timer_arm() - after anything that may have set a time */
void net_timer_arm(struct net_pcb *n);

#endif
