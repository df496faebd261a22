/*
 * netstack/net_internal.h - shared by the files of netstack/ alone.
 *
 * lwIP's callbacks only set flags and queue a connection; user callbacks run from net_flush(), outside of lwIP. So
 * nobody enters lwIP from within lwIP, and a callback may close or abort whatever it wants.
 */
#ifndef NETSTACK_NET_INTERNAL_H
#define NETSTACK_NET_INTERNAL_H

#include "base/list.h"
/* lwIP names an error and a struct as we name ours. */
#define ERR_TIMEOUT LWIP_ERR_TIMEOUT
#define ip_addr lwip_ip_addr
#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"
#undef ip_addr
#undef ERR_TIMEOUT
#include "netstack/filter.h"
#include "netstack/net.h"

#define NET_SYN_HOLD (30 * NSEC_PER_SEC)
#define NET_ECHO_RATE 10 /* answered a second, each source */
#define NET_N_SHARES 256
#define NET_N_SYNS 256

struct net_cc_ops;

/* A remote address: what is counted against it, and how far away it is. */
struct net_share {
	struct net_share *next;
	struct ip_addr ip;
	uint32_t n;     /* connections and held SYNs */
	uint16_t path;  /* on which @rtt_min was seen */
	nsec_t rtt_min; /* of all connections; NSEC_NEVER: not known */
	struct list idle; /* in its interface's list while @n is 0 */
	nsec_t idle_since;
};

/* How many connections drain much, on short paths: they share a budget (window.c). */
struct net_busy {
	nsec_t since;
	uint32_t span;      /* its number */
	uint32_t n, n_last; /* in this span, in the one before */
	size_t bytes, bytes_last;
};

/* Turns to queue what is sent, on short paths (room.c). */
struct net_line {
	struct list waiting, holders;
	struct list starved; /* they found no memory, and are told to try again at @again_at */
	nsec_t again_at;
	size_t bytes; /* under way of all holders */
	size_t given; /* of turns, not yet used */
};

struct net_state {
	struct net_config cfg;
	nsec_t now;
	bool running;
	uint8_t isn_key[16];
	struct list ifs;
	struct list held;  /* those whose reader is told a little later, the longest held first (held.c) */
	struct list ready; /* connections with events to tell */
	struct list dirty; /* control blocks with something to send (output.c) */
	struct list hoards; /* of connections that may hold units out of order (ooseq.c) */
	struct list time_wait;
	uint32_t n_time_wait;
	uint64_t hash_key[4];
	struct net_tcp *telling; /* whose callback runs; NULL once it closed itself */
	uint64_t n_refused_seen, n_empty_seen; /* of the pool's refusals */
	size_t spilled_bytes;    /* received, on the heap (spill.c) */
	unsigned n_busy;         /* depth of calls that hold an interface */
	struct net_busy busy;
	struct net_line line;
	struct net_stats stats;
};
extern struct net_state net_g;

struct echo_bucket {
	nsec_t window;
	unsigned n;
};

/* A remote address to which large packets do not get (hole.c). */
struct net_hole {
	struct ip_addr ip;
	nsec_t until;
};

struct net_if {
	struct list link;
	struct netif lw;
	struct net_if_config cfg;
	struct list tcps, listeners, udps;
	struct echo_bucket echo[64];
	net_echo_fn echo_fn;
	void *echo_ctx;
	struct list waiting;          /* control blocks: output was blocked at their turn */
	struct net_share *shares[NET_N_SHARES];
	struct list idle_shares;      /* remembered, longest idle first */
	uint32_t n_idle_shares;
	const struct net_cc_ops *cc;
	nsec_t rto_min;
	uint16_t path;                /* its number, one more with each change */
	struct net_hole holes[16];
	unsigned next_hole;
	bool blocked, closing;
};

struct net_tcp {
	struct list link;  /* of its interface */
	struct list ready; /* net_g.ready, or net_g.held */
	struct net_if *nif;
	struct net_share *share;       /* never NULL */
	struct net_listener *listener; /* counted there, or NULL */
	struct tcp_pcb *pcb;           /* NULL: gone */
	net_tcp_fn fn;
	void *ctx;
	struct endpoint local, remote;
	/* received, in order; a ring that grows */
	struct pbuf **rx;
	uint32_t rx_head, rx_n, rx_cap;
	uint32_t rx_off;   /* consumed of the first */
	uint32_t rx_bytes; /* not yet consumed */
	uint32_t wnd_held; /* of lwIP's compile-time window, not yet offered */
	uint32_t held_us;  /* since when it is held; the lower bits */
	uint32_t tx_bytes; /* written, not yet acknowledged */
	/* window.c's measurements */
	uint32_t rtt_edge;
	uint32_t busy_span, busy_bytes; /* taken in which span of net_g.busy */
	uint32_t drained;               /* taken by the reader since drain_since */
	nsec_t drain_since, rtt_since, rtt_min;
	struct list in_line, holds; /* net_g.line's: waits for a turn; has something under way */
	nsec_t moved_at;            /* since it holds, or was last acknowledged */
	uint32_t turn_bytes;        /* what is left of its turn */
	uint32_t line_bytes;        /* of tx_bytes, what counts */
	enum err error;
	uint16_t path;  /* on which window.c measured */
	uint8_t events; /* bits of enum net_tcp_event to tell */
	bool connected : 1, held : 1, eof : 1, want_write : 1, want_sent : 1, shut : 1, failed : 1;
};

struct net_listener {
	struct list link;
	struct net_if *nif;
	struct tcp_pcb *pcb;
	struct list syns;                      /* the longest held first */
	struct net_syn *by_ends[NET_N_SYNS];
	uint16_t port;
	uint32_t n_max, n_used; /* held and open */
	net_syn_fn on_syn;
	void *ctx;
};

struct net_syn {
	struct list link;
	struct net_syn *next, **at; /* in its place of by_ends; what points to it there */
	struct net_listener *listener;
	struct net_share *share; /* of the other side */
	struct pktbuf *pb; /* the SYN itself */
	struct endpoint local, remote;
	uint32_t seq;
	nsec_t until;
	void (*on_gone)(void *ctx);
	void *gone_ctx;
};

struct net_udp {
	struct list link;
	struct net_if *nif;
	struct udp_pcb *pcb;
	net_udp_fn fn;
	void *ctx;
};

/* convert.c */
void net_to_lwip(const struct ip_addr *a, ip_addr_t *ret);
void net_from_lwip(const ip_addr_t *a, struct ip_addr *ret);
enum err net_from_lwip_err(err_t e);
/** net_if_addr() - our address of that family; NULL when there is none */
const struct ip_addr *net_if_addr(const struct net_if *nif, uint8_t family);

/* netif.c */
/** net_enter(), net_leave() - around calls of user callbacks: interfaces closed there are freed at the end */
void net_enter(void);
void net_leave(void);
/** net_if_inject() - hand a packet to lwIP, which owns it then */
void net_if_inject(struct net_if *nif, struct pktbuf *pb);
/** net_unit_of() - the unit of the pool that @p is; NULL: it is another kind of buffer */
struct pktbuf *net_unit_of(struct pbuf *p);

/* tcp.c */
/** net_tcp_append() - queue bytes that there is room for; @more: others follow at once. Return: how many were taken */
size_t net_tcp_append(struct net_tcp *c, const void *buf, size_t len, bool more);
/** net_tcp_wrote() - of @len bytes, with room for @room, @done were queued: what is to follow from that */
void net_tcp_wrote(struct net_tcp *c, size_t len, size_t room, size_t done);
/** net_seg_size() - payload of a full segment: not more than half of the largest window that the other side had */
static inline uint16_t net_seg_size(const struct tcp_pcb *pcb)
{
	uint16_t half = (uint16_t)MIN(pcb->snd_wnd_max / 2, (tcpwnd_size_t)UINT16_MAX);

	return half > 0 ? MIN(pcb->mss, half) : pcb->mss;
}
void net_tcp_raise(struct net_tcp *c, enum net_tcp_event ev);
void net_tcp_fail(struct net_tcp *c, enum err e);
/**
 * net_tcp_new() - a handle that has no control block yet
 * @share: taken for it (NULL: there was no memory); the handle's from here on, and given back when there is none
 *
 * Return: NULL: no memory.
 */
struct net_tcp *net_tcp_new(struct net_if *nif, struct net_share *share, const struct endpoint *remote, net_tcp_fn fn, void *ctx);
/** net_tcp_adopt() - @pcb is @c's: lwIP's callbacks are set */
void net_tcp_adopt(struct net_tcp *c, struct tcp_pcb *pcb);
void net_tcp_free(struct net_tcp *c);
void net_tcp_tell_all(void);
err_t net_tcp_on_accept(void *arg, struct tcp_pcb *pcb, err_t err);

/*
 * The engine under the handles of tcp.c and listen.c: what follows up to ports.c, windows and spilling below. demux.c, timer.c,
 * output.c and those they call are ours, on lwIP as third_party/lwip-edit.sh leaves it; stock/engine.c is lwIP as shipped.
 */
/** net_pcb_own() - @pcb is @c's, which hears when it is freed; NULL: nobody's any more */
void net_pcb_own(struct tcp_pcb *pcb, struct net_tcp *c);
/** net_pcb_connected() - the handshake of @c is over */
void net_pcb_connected(struct net_tcp *c);
/** net_pcb_wake() - it may have something to send: data, a FIN, a window that opened */
void net_pcb_wake(struct tcp_pcb *pcb);
/** net_pcb_send() - it has something to send, and does so now, if it may */
void net_pcb_send(struct tcp_pcb *pcb);
/** net_pcb_hurry() - its SYN is sent again with the next timers */
void net_pcb_hurry(struct tcp_pcb *pcb);
/** net_pcb_queue_limit() - how many bytes may be written and not yet acknowledged */
size_t net_pcb_queue_limit(const struct net_tcp *c);
/** net_output_all() - send what net_pcb_wake() and the end of a blocked interface left to be sent */
void net_output_all(void);
/** net_timer_start() - time may have gone back since the stack ended */
void net_timer_start(void);
/** net_timer_set_now() - net_g.now has changed */
void net_timer_set_now(void);
nsec_t net_timer_deadline(void);
void net_timer_expire(void);

/* demux.c */
/** net_pcb_find() - the connection between these ends on @nif, TIME_WAIT included; or NULL */
struct tcp_pcb *net_pcb_find(const struct net_if *nif, const struct endpoint *local, const struct endpoint *remote);
bool net_pcb_exists(const struct net_if *nif, const ip_addr_t *local, uint16_t lport, const ip_addr_t *remote, uint16_t rport);

/* ports.c */
/** net_port_take() - bind @pcb to @local and a port that is free towards the remote end; false: none was found */
bool net_port_take(struct net_if *nif, struct tcp_pcb *pcb, const ip_addr_t *local, const ip_addr_t *remote, uint16_t rport);

/* share.c */
/** net_share_take() - @ip has one connection or held SYN more; NULL: no memory. Valid until it is given back. */
struct net_share *net_share_take(struct net_if *nif, const struct ip_addr *ip);
/** net_share_give() - one that was taken on @nif goes; NULL is ignored */
void net_share_give(struct net_if *nif, struct net_share *s);
/** net_share_forget() - those that nobody has any more */
void net_share_forget(struct net_if *nif);

/* window.c */
/** net_window_hold() - before anything but a SYN is acknowledged: what was offered cannot be taken back */
void net_window_hold(struct net_tcp *c);
void net_window_start(struct net_tcp *c);
void net_window_note(struct net_tcp *c);
/** net_window_drained() - the reader took @len bytes. Return: by how much the window opens */
size_t net_window_drained(struct net_tcp *c, size_t len);
/** net_window_is_short() - is the other side so near that only our own queues delay anything? */
bool net_window_is_short(const struct net_tcp *c);

/* room.c */
/** net_room_take() - @n bytes were queued */
void net_room_take(struct net_tcp *c, size_t n);
/** net_room_ask() - it has more than was writable: it is told when there is room */
void net_room_ask(struct net_tcp *c);
/** net_room_starve() - it had room, and found no memory: it is told to try again a little later */
void net_room_starve(struct net_tcp *c);
/** net_room_give_back() - @n bytes are acknowledged; raises events, its own and those of others */
void net_room_give_back(struct net_tcp *c, size_t n);
/** net_room_end_turn() - its callback has written what it had */
void net_room_end_turn(struct net_tcp *c);
/** net_room_leave() - it sends no more */
void net_room_leave(struct net_tcp *c);
nsec_t net_room_deadline(void);
void net_room_expire(void);

/* held.c */
/** net_held_wait() - @p was received: does @c's reader hear of it later? Then it is in net_g.held until anything is raised. */
bool net_held_wait(struct net_tcp *c, const struct pbuf *p);
nsec_t net_held_deadline(void);
/** net_held_expire() - raise READABLE for those that were held long enough */
void net_held_expire(void);

/* spill.c */
/** net_spill_wanted() - units of the pool run short, and the heap has room for @len bytes */
bool net_spill_wanted(size_t len);
/** net_spill_alloc() - a buffer of the heap that counts as spilled; NULL: no memory, or too much of it is spilled already */
struct pbuf *net_spill_alloc(uint16_t len);
/** net_spill() - a copy of @p on the heap when that is wanted, else NULL; @p stays its holder's */
struct pbuf *net_spill(struct pbuf *p);

/* ooseq.c */
/** net_ooseq_relieve() - if the pool refused units, give back some of those that lie out of order */
void net_ooseq_relieve(void);

/* udp.c */
/** net_udp_input() - to the socket of that port, if there is one */
void net_udp_input(struct net_if *nif, const struct net_packet *pkt);

/* listen.c */
/** net_listen_input() - a SYN: true when it was kept, swallowed or answered here, and @pb with it */
bool net_listen_input(struct net_if *nif, struct pktbuf *pb, const struct net_packet *pkt);
void net_listen_expire(struct net_if *nif);
nsec_t net_listen_deadline(const struct net_if *nif);
void net_listen_close_if(struct net_if *nif);

/* echo.c */
bool net_echo_admit(struct net_if *nif, const struct ip_addr *src);
void net_echo_reply(struct net_if *nif, const struct net_packet *pkt);

#endif
