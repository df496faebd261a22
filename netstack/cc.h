/*
 * netstack/cc.h - congestion control as a table: what happened goes in, a window and a rate come out.
 *
 * Units: bytes, nanoseconds, bytes a second. A control does no I/O and keeps no time of its own.
 */
#ifndef NETSTACK_CC_H
#define NETSTACK_CC_H

#include "base/types.h"

#define NET_CWND_MAX (64u << 20)
#define NET_CWND_FIRST 10 /* segments, RFC 6928 */

struct net_cc;

/* One acknowledgement and what it said. */
struct net_cc_ack {
	nsec_t now;
	nsec_t rtt;               /* of the newest segment that arrived; 0: none was timed */
	nsec_t srtt;
	uint32_t acked;           /* bytes that are known to have arrived since the last one */
	uint32_t lost;            /* bytes that count as lost since then */
	uint32_t prior_in_flight; /* before it */
	uint32_t in_flight;
	uint32_t una, nxt;        /* sequence numbers: first not acknowledged, next to be sent */
	uint64_t delivered;       /* bytes arrived since the beginning */
	uint64_t prior_delivered; /* the same when the newest of these segments was sent; with @rate */
	uint64_t rate;            /* delivery rate sample; 0: none */
	bool app_limited;         /* the sample was taken while there was nothing more to send */
	bool cwnd_limited;        /* the window is what holds the sender back */
	bool in_recovery, in_timeout;
};

struct net_cc_ops {
	const char *name;
	bool reduces; /* a loss shrinks the window, along RFC 6937; else the control decides alone */
	void (*init)(struct net_cc *cc, nsec_t now);
	void (*acked)(struct net_cc *cc, const struct net_cc_ack *ack);
	/* Recovery begins: @cc->cwnd and @cc->ssthresh are what to go down to. */
	void (*lost)(struct net_cc *cc, nsec_t now);
	void (*timeout)(struct net_cc *cc, nsec_t now);
	/* The last lost() or timeout() was a mistake. */
	void (*undo)(struct net_cc *cc);
	void (*recovered)(struct net_cc *cc, nsec_t now);
	/* Data leave after a silence of @idle. */
	void (*restart)(struct net_cc *cc, nsec_t idle, nsec_t now);
};

/* CUBIC (RFC 9438) with HyStart++ (RFC 9406) */
struct net_cubic {
	float w_max, k; /* bytes, seconds */
	double w_est;   /* bytes; an ACK gains hundredths of one, of a large window */
	uint32_t old_cwnd, old_ssthresh;
	float old_w_max;
	nsec_t epoch; /* 0: not begun */
	/* HyStart++ */
	nsec_t rtt_last, rtt_round, rtt_now; /* least of the last round, of this one, of this spell */
	nsec_t rtt_base, spell_at;           /* below the first no queue stands */
	uint32_t round_end;
	uint8_t n_samples, n_css;
	bool in_css, by_delay, round_begun; /* by_delay: it was left because of the delay */
};

/* BBR (draft-ietf-ccwg-bbr) */
#define NET_BBR_RTTS 64

struct net_bbr_max {
	uint64_t bw;
	uint32_t round;
};

struct net_bbr {
	struct net_bbr_max bw[3]; /* best, second and third best of the last rounds */
	nsec_t rtt_min, rtt_min_at, probe_rtt_until, phase_at;
	uint64_t round_end;   /* delivered */
	uint64_t held_until;  /* delivered: what was sent before that was held back to find the round trip */
	uint64_t full_bw;
	uint64_t round_start, round_lost; /* delivered when the round began; lost since */
	uint32_t round;
	nsec_t rtt_round, rtt_last; /* least of this round and of the last */
	uint32_t bound;       /* a window beside the model, after losses that a queue explains; 0: none */
	struct net_cubic cubic; /* its growth */
	uint32_t loss_usual;  /* parts of a million */
	uint32_t rtts[NET_BBR_RTTS]; /* microseconds */
	uint32_t n_rtts;
	uint32_t bound_since; /* round */
	uint64_t next_rtt_at; /* delivered */
	float guilt;          /* the place of losses among them, on average */
	nsec_t burst_at;      /* acknowledged since then, and most beyond what the rate explains, of two spans of rounds */
	uint64_t burst_acked;
	uint32_t burst_max[2], burst_round;
	uint32_t old_cwnd;
	uint8_t mode, phase, n_full, cut_in_round, n_judged;
	bool full, round_over, judged, after_silence;
};

struct net_cc {
	const struct net_cc_ops *ops;
	uint32_t mss;
	uint32_t cwnd, ssthresh;
	uint64_t pace; /* 0: as fast as the window lets */
	union {
		struct net_cubic cubic;
		struct net_bbr bbr;
	};
};

extern const struct net_cc_ops net_cubic_ops, net_bbr_ops;

/** net_cubic_cut() - the window after a loss */
uint32_t net_cubic_cut(struct net_cubic *c, uint32_t mss, uint32_t window);
/** net_cubic_grow() - the window after an acknowledgement in congestion avoidance */
uint32_t net_cubic_grow(struct net_cubic *c, uint32_t mss, uint32_t window, const struct net_cc_ack *a);

/** net_cc_init() - a new connection */
void net_cc_init(struct net_cc *cc, const struct net_cc_ops *ops, uint32_t mss, nsec_t now);
/** net_cc_find() - by the name that the configuration uses; NULL: there is none of that name */
const struct net_cc_ops *net_cc_find(const char *name);

#endif
