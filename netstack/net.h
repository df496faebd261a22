/*
 * netstack/net.h - TCP/IP in this process. No lwIP type appears here.
 *
 * lwIP keeps its state in globals, so there is one stack a process and `struct net_if` is the unit: an
 * interface with its own addresses and its own tunnel; several may carry the same address (key rotation).
 * Every connection belongs to the interface on which it was made.
 *
 * No I/O and no clock inside: packets come by net_if_input(), leave through the interface's output
 * function, time is an argument. All of this runs on one thread. Callbacks come only from within
 * net_if_input(), net_expire(), net_if_resume() and net_flush(), never from within the call that causes them.
 */
#ifndef NETSTACK_NET_H
#define NETSTACK_NET_H

#include <sys/uio.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/pktbuf.h"
#include "base/rng.h"
#include "base/types.h"

struct net_if;
struct net_tcp;
struct net_listener;
struct net_syn;
struct net_udp;

struct net_config {
	struct rng *rng;          /* ISNs, ports, ids, hash keys; lives as long as the stack */
	struct pktpool *pool;     /* the pool of received packets */
	uint32_t n_tcp_max;       /* connections of the process; 0 = 16,384 */
	uint32_t n_tcp_peer_max;  /* a remote address's share, incl. half-open; 0 = 4,096 */
	uint32_t wnd_bytes_max;   /* receive window of a connection; 0 = 32 MiB */
	uint32_t snd_bytes_max;   /* send queue of a connection; 0 = 40 MiB */
	uint64_t mem_bytes_max;   /* all queues of the process; 0 = 256 MiB */
};

/** net_init() - once a process (again after net_fini, in tests) */
MUST_CHECK enum err net_init(const struct net_config *cfg, nsec_t now);
/** net_fini() - every interface must be closed */
void net_fini(void);
/** net_rest() - freed memory that waits for the next segments goes back to the heap; when it has been quiet for a while */
void net_rest(void);

/** net_set_now() - once a turn of the loop, before other calls */
void net_set_now(nsec_t now);
nsec_t net_deadline(void);
/** net_expire() - run the timers that are due */
void net_expire(nsec_t now);
/** net_flush() - end of a batch or a turn: send the ACKs that were held back, and call the callbacks due */
void net_flush(void);

/** net_many_drain_much() - many connections of short paths bring a lot, right now: little depends on when the next piece is seen */
bool net_many_drain_much(void);

/* ---- interfaces ---- */

enum net_output {
	NET_OUTPUT_OK,      /* taken (or dropped for a reason that TCP's timers repair) */
	NET_OUTPUT_BLOCKED, /* not taken: the stack keeps it and waits for net_if_resume() */
};
/* One IP packet, gathered; the bytes are the callee's only during the call. */
typedef enum net_output (*net_output_fn)(void *ctx, const struct iovec *iov, int iovcnt, size_t len);

struct net_if_config {
	struct ip_prefix addrs[8]; /* our addresses, either family */
	size_t n_addrs;
	uint16_t mtu;              /* 0 = 1420 */
	net_output_fn output;
	void *ctx;
	bool answer_echo;          /* answer pings to our addresses, 10/s a source */
	bool reset_closed;         /* a SYN to a port without a listener gets a reset (else silence) */
	const char *congestion;    /* "cubic" (NULL too) or "bbr" */
	nsec_t rto_min;            /* floor of the retransmission timeout; 200 ms at least */
};
/** net_if_open() - ERR_INVALID: there is no congestion control of that name */
MUST_CHECK enum err net_if_open(const struct net_if_config *cfg, struct net_if **ret);
bool net_congestion_is_known(const char *name);
/** net_if_set_congestion() - of connections that begin to send from now on; ERR_INVALID: there is none of that name */
MUST_CHECK enum err net_if_set_congestion(struct net_if *nif, const char *name);
/** net_if_set_addrs() - these and no others from now on; connections on one that is gone are reset and fail with ERR_CLOSED */
void net_if_set_addrs(struct net_if *nif, const struct ip_prefix *addrs, size_t n);
/** net_if_path_changed() - what was learned of how far away the other ends are holds no longer */
void net_if_path_changed(struct net_if *nif);
/** net_if_close() - connections on it fail with ERR_CLOSED, listeners and sockets end */
void net_if_close(struct net_if *nif);
/**
 * net_if_input() - a batch of inner packets, in order
 * @pbs: the stack owns them from here on, whatever happens
 *
 * The pre-filter drops before lwIP: bad lengths, fragments, IPv4 options, IPv6 extension headers, sources
 * that are multicast, broadcast, loopback, unspecified or our own address, destinations that are not
 * ours (no forwarding between peers), ND and MLD and redirects, protocols other than TCP, UDP, ICMP echo and errors.
 */
void net_if_input(struct net_if *nif, struct pktbuf **pbs, size_t n);
/** net_if_resume() - output would take packets again: blocked connections go on, round-robin */
void net_if_resume(struct net_if *nif);
bool net_if_is_blocked(const struct net_if *nif);

/* ---- TCP ---- */

enum net_tcp_event {
	NET_TCP_CONNECTED,  /* dialled connection stands */
	NET_TCP_READABLE,   /* there are bytes to read, or the end was reached */
	NET_TCP_WRITABLE,   /* room again after a short write */
	NET_TCP_SENT_ALL,   /* everything written was acknowledged (after a write that left data queued) */
	NET_TCP_ERROR,      /* the connection is gone: net_tcp_error() says why. Only close is left to do. */
};
typedef void (*net_tcp_fn)(void *ctx, struct net_tcp *c, enum net_tcp_event ev);

/**
 * net_tcp_dial() - connect from @nif to @remote; the SYN leaves at once
 *
 * The caller waits for a WireGuard session first, and limits the time. @nif's address of the family is the
 * source; the port is drawn at random, unique for the 4-tuple.
 * Return: OK; ERR_NO_ROUTE (no address of that family); ERR_FULL; ERR_NOMEM.
 */
MUST_CHECK enum err net_tcp_dial(struct net_if *nif, const struct endpoint *remote, net_tcp_fn fn,
				 void *ctx, struct net_tcp **ret);
/** net_tcp_hurry() - a SYN that nobody has answered is repeated at the next net_expire(): the way to the peer is a new one */
void net_tcp_hurry(struct net_tcp *c);
/** net_tcp_set_fn() - change who is told */
void net_tcp_set_fn(struct net_tcp *c, net_tcp_fn fn, void *ctx);
/** net_tcp_read() - copy up to @len received bytes; 0 = none now, or the end (net_tcp_at_eof) */
size_t net_tcp_read(struct net_tcp *c, void *buf, size_t len);
/** net_tcp_peek() - views of received bytes, valid until net_tcp_consume(); return: how many iov */
int net_tcp_peek(struct net_tcp *c, struct iovec *iov, int max);
/** net_tcp_consume() - these bytes were taken: the window opens */
void net_tcp_consume(struct net_tcp *c, size_t len);
size_t net_tcp_readable(const struct net_tcp *c);
/** net_tcp_at_eof() - the other side has closed its direction and everything before was read */
bool net_tcp_at_eof(const struct net_tcp *c);
/** net_tcp_write() - queue bytes (copied); fewer than @len are taken when the queue is full: wait for WRITABLE */
size_t net_tcp_write(struct net_tcp *c, const void *buf, size_t len);
size_t net_tcp_writable(const struct net_tcp *c);

#define NET_RESERVE_MAX 192
/* Memory of the stack to read into, for readv(). */
struct net_reserve {
	struct iovec iov[NET_RESERVE_MAX];
	int n;
	size_t len; /* of all */
};
/**
 * net_tcp_reserve() - memory for up to @len of the bytes that are writable; read there, they need not be copied
 *
 * The stack's, and valid until the next call of this or of net_tcp_commit() for whatever connection. To reserve and not to
 * commit costs nothing. Return: ERR_AGAIN: nothing is writable, wait for WRITABLE; ERR_NOMEM
 */
MUST_CHECK enum err net_tcp_reserve(struct net_tcp *c, size_t len, struct net_reserve *ret);
/**
 * net_tcp_commit() - write the first @len bytes of what was reserved last
 *
 * Much of it is sent at once, by the time of net_set_now(). Return: how many were taken; fewer: no memory.
 */
size_t net_tcp_commit(struct net_tcp *c, size_t len);
/** net_tcp_shutdown() - no more will be written: FIN after what is queued; reading goes on */
void net_tcp_shutdown(struct net_tcp *c);
/** net_tcp_close() - give the handle back; what is queued is still delivered, then FIN. No event after. */
void net_tcp_close(struct net_tcp *c);
/** net_tcp_abort() - give the handle back and send a reset. No event after. */
void net_tcp_abort(struct net_tcp *c);
enum err net_tcp_error(const struct net_tcp *c);
bool net_tcp_is_connected(const struct net_tcp *c);
void net_tcp_get_addrs(const struct net_tcp *c, struct endpoint *ret_local, struct endpoint *ret_remote);

/* ---- listening: a SYN is shown before it is answered ---- */

typedef void (*net_syn_fn)(void *ctx, struct net_syn *syn, const struct endpoint *remote);

/**
 * net_tcp_listen() - hear SYNs to @port on @nif
 * @n_max: SYNs held and connections not yet closed, together; one more gets a reset at once
 *
 * Each new SYN is shown once: repeated ones are swallowed while it is held. The callee answers now or later
 * with net_syn_accept() or net_syn_refuse(); a held SYN ends by itself after 30 s (on_gone is called).
 *
 * Return: OK; ERR_IN_USE: that port has a listener; ERR_NOMEM.
 */
MUST_CHECK enum err net_tcp_listen(struct net_if *nif, uint16_t port, uint32_t n_max, net_syn_fn on_syn,
				   void *ctx, struct net_listener **ret);
void net_listener_close(struct net_listener *l);
/** net_syn_set_gone() - called when the held SYN ends without us (its interface closed, or 30 s); the handle is dead then */
void net_syn_set_gone(struct net_syn *syn, void (*on_gone)(void *ctx), void *ctx);
/** net_syn_accept() - SYN-ACK leaves; @fn hears CONNECTED. The handle is dead. ERR_FULL, ERR_NOMEM: a reset was sent. */
MUST_CHECK enum err net_syn_accept(struct net_syn *syn, net_tcp_fn fn, void *ctx, struct net_tcp **ret);
/** net_syn_refuse() - a reset leaves; the handle is dead */
void net_syn_refuse(struct net_syn *syn);

/* ---- UDP and echo ---- */

typedef void (*net_udp_fn)(void *ctx, struct net_udp *u, const struct endpoint *from, struct bytes data);
/** net_udp_open() - @port 0 = a random one */
MUST_CHECK enum err net_udp_open(struct net_if *nif, uint16_t port, net_udp_fn fn, void *ctx,
				 struct net_udp **ret);
MUST_CHECK enum err net_udp_send(struct net_udp *u, const struct endpoint *to, const void *buf, size_t len);
void net_udp_close(struct net_udp *u);

typedef void (*net_echo_fn)(void *ctx, const struct ip_addr *from, uint16_t id, uint16_t seq, struct bytes data);
/** net_echo_listen() - hear echo replies on @nif; NULL = stop */
void net_echo_listen(struct net_if *nif, net_echo_fn fn, void *ctx);
MUST_CHECK enum err net_echo_send(struct net_if *nif, const struct ip_addr *to, uint16_t id, uint16_t seq,
				  const void *data, size_t len);

struct net_stats {
	uint32_t n_tcp, n_syn_held, n_listeners, n_udp;
	uint32_t n_time_wait;      /* of connections that ended, beside n_tcp */
	uint64_t n_filtered;       /* dropped by the pre-filter */
	uint64_t n_rx, n_tx, n_tx_blocked, n_refused_full;
	uint64_t n_resent, n_recoveries, n_undone;
	uint64_t n_holes;          /* connections whose segments were made small: the path swallowed larger ones */
	uint64_t n_reneged;        /* out-of-order queues given up for want of buffers */
	uint64_t mem_bytes;
};
void net_get_stats(struct net_stats *ret);

#endif
