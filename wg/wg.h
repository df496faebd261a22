/*
 * wg/wg.h - the WireGuard machine: datagrams and inner packets in, datagrams, inner packets, events out.
 *
 * One struct wg_device is one local key with its peers. It does no I/O: the caller passes the time, the
 * randomness and received datagrams, and pulls what there is to deliver, to tell and to send, in this
 * order, until each gives nothing:
 *
 *	wg_device_next_rx	decrypted inner packets, in order for each peer
 *	wg_device_next_event	what happened; WG_EVENT_TIMESTAMP must be on disk before any tx is sent
 *	wg_device_next_tx	sealed runs for the socket; wg_device_tx_done after each that was sent
 *
 * then sleeps until a datagram comes or wg_device_deadline() is reached (wg_device_expire). Nothing here
 * logs, blocks or keeps a pointer that was passed in, except where its comment says so.
 */
#ifndef WG_WG_H
#define WG_WG_H

#include <sys/uio.h>

#include "base/addr.h"
#include "base/encode.h"
#include "base/err.h"
#include "base/pktbuf.h"
#include "base/rng.h"
#include "base/types.h"

struct wg_device;

struct wg_public_key { uint8_t b[KEY_LEN]; };
struct wg_private_key { uint8_t b[KEY_LEN]; };
struct wg_psk { uint8_t b[KEY_LEN]; }; /* all zero = none */

/* Peers are named by handle: index and generation, never reused while the device lives; 0 = none. */
typedef uint64_t wg_peer_id;

#define WG_MTU_DEFAULT 1420
#define WG_MTU_MIN 576
#define WG_MTU_MAX 1800 /* a packet and its padding fit a pktbuf */

struct wg_config {
	uint16_t mtu;            /* 0 = WG_MTU_DEFAULT */
	uint32_t n_peers_max;    /* 0 = 65,536 */
	uint32_t tx_bytes_max;   /* sealed or waiting to be, all peers; 8 KiB more for packets of at most 128 bytes; 0 = 1 MiB */
	const char *aead;        /* provider's name; NULL = the reference (libsodium) */
	struct pktpool *pool;    /* received packets go here; outlives the device */
	struct rng *rng;         /* for keys, indices, jitter; outlives the device */
	/* Greatest TAI64N seconds/nanoseconds ever sent, as nanoseconds since 1970; 0 = never. */
	uint64_t timestamp_watermark;
	/* Divides every protocol timer (tests only); 0 or 1 = none. */
	uint32_t time_scale;
};

/** wg_public_from_private() - the public key of a private one (which is clamped first) */
void wg_public_from_private(const struct wg_private_key *priv, struct wg_public_key *ret);
/** wg_generate_private() - a new clamped private key */
void wg_generate_private(struct rng *rng, struct wg_private_key *ret);
/** wg_public_key_is_valid() - false for the low-order points */
bool wg_public_key_is_valid(const struct wg_public_key *k);

/** wg_device_new() - a device without a key. Return: NULL when out of memory or @cfg->aead is unknown. */
struct wg_device *wg_device_new(const struct wg_config *cfg, nsec_t now, uint64_t wall_ns);
void wg_device_free(struct wg_device *dev);

/**
 * wg_device_set_wall() - the wall clock (Unix time, ns) that belongs to @now; at start, and once a turn of the loop
 *
 * Only the TAI64N timestamps of our initiations use it: max(clock, last sent + 1).
 */
void wg_device_set_wall(struct wg_device *dev, nsec_t now, uint64_t wall_ns);
/** wg_device_raise_timestamp() - our next initiation is later than @timestamp (ns since 1970): somebody had our key meanwhile */
void wg_device_raise_timestamp(struct wg_device *dev, uint64_t timestamp);
/** wg_device_set_private() - take a key; NULL = none. Sessions end, a peer with our own key is removed. */
void wg_device_set_private(struct wg_device *dev, const struct wg_private_key *priv, nsec_t now);
const struct wg_public_key *wg_device_public(const struct wg_device *dev);
const struct wg_private_key *wg_device_private(const struct wg_device *dev);

/** wg_aead_name_is_known() - is @name a provider of this build, available on this machine or not? */
bool wg_aead_name_is_known(const char *name);
/** wg_aead_name_is_available() - can wg_config.aead be @name here? */
bool wg_aead_name_is_available(const char *name);

/** wg_aead_name_is_sound() - load @name, and does it answer as the reference does? */
bool wg_aead_name_is_sound(const char *name);
/** wg_aead_release() - unload @name, which no device may be using */
void wg_aead_release(const char *name);

/**
 * wg_aead_pick() - the fastest provider here that agrees with the reference, by a measurement of about a millisecond
 * @clock: monotonic time
 * Return: its name, for wg_config.aead; the same for the life of the process.
 */
const char *wg_aead_pick(nsec_t (*clock)(void));

/** wg_device_set_aead() - another provider from here on; NULL = the reference. false: not available, the old one stays. */
bool wg_device_set_aead(struct wg_device *dev, const char *name);
const char *wg_device_aead(const struct wg_device *dev);

/* ---- peers ---- */

/**
 * wg_peer_add() - a new peer, without allowed IPs or endpoint
 * Return: OK; ERR_EXISTS; ERR_FULL; ERR_NOMEM; ERR_INVALID (our own key).
 * A low-order key is accepted, as WireGuard does, and no packet is ever sent to it.
 */
MUST_CHECK enum err wg_peer_add(struct wg_device *dev, const struct wg_public_key *key, nsec_t now,
				wg_peer_id *ret);
void wg_peer_remove(struct wg_device *dev, wg_peer_id peer);
wg_peer_id wg_peer_find(const struct wg_device *dev, const struct wg_public_key *key);
/** wg_peer_next() - iterate: pass 0 first; 0 ends */
wg_peer_id wg_peer_next(const struct wg_device *dev, wg_peer_id after);
/** wg_peer_set_psk() - used by the next handshake; the running session stays */
void wg_peer_set_psk(struct wg_device *dev, wg_peer_id peer, const struct wg_psk *psk);
/** wg_peer_set_endpoint() - where to send; forgets the sticky source. A pending handshake goes there at once. */
void wg_peer_set_endpoint(struct wg_device *dev, wg_peer_id peer, const struct endpoint *ep, nsec_t now);
/** wg_peer_clear_src() - the sticky source was refused by the kernel */
void wg_peer_clear_src(struct wg_device *dev, wg_peer_id peer);
/** wg_peer_set_keepalive() - persistent keepalive, seconds; 0 = off */
void wg_peer_set_keepalive(struct wg_device *dev, wg_peer_id peer, uint16_t seconds, nsec_t now);
/** wg_peer_allow() - add an allowed prefix (host bits cleared); it moves here from any other peer */
MUST_CHECK enum err wg_peer_allow(struct wg_device *dev, wg_peer_id peer, const struct ip_prefix *p);
void wg_peer_clear_allowed(struct wg_device *dev, wg_peer_id peer);
/** wg_route() - whose destination is @dst? 0 = nobody's */
wg_peer_id wg_route(const struct wg_device *dev, const struct ip_addr *dst);

/** wg_peer_connect() - start a handshake now unless a usable session stands or one is under way */
void wg_peer_connect(struct wg_device *dev, wg_peer_id peer, nsec_t now);
/**
 * wg_peer_rehandshake() - start one although the session is young, unless the last initiation is less than 5 s old
 *
 * For an inner SYN that stays unanswered: the other side may have restarted. To be called again while it does.
 */
void wg_peer_rehandshake(struct wg_device *dev, wg_peer_id peer, nsec_t now);
/** wg_peer_send_keepalive() - an empty packet now if a session stands: tells the peer where we are */
void wg_peer_send_keepalive(struct wg_device *dev, wg_peer_id peer, nsec_t now);
/** wg_peer_is_up() - can data be sealed for it at @now? */
bool wg_peer_is_up(const struct wg_device *dev, wg_peer_id peer, nsec_t now);

struct wg_peer_info {
	struct wg_public_key key;
	struct wg_psk psk;
	struct endpoint endpoint;      /* unset: unknown */
	uint16_t keepalive_s;
	nsec_t last_handshake;         /* monotonic; 0 = never */
	uint64_t last_handshake_wall;  /* Unix ns; 0 = never */
	uint64_t last_timestamp;       /* of the peer's initiation that was accepted last, Unix ns by its clock; 0 = none */
	uint64_t rx_bytes, tx_bytes;   /* as `wg show transfer`: whole messages incl. handshakes, no UDP header */
	uint64_t n_bad_source;         /* inner source not allowed */
	uint64_t n_replayed, n_auth_failed;
	uint32_t n_staged;
	bool is_up;
};
/** wg_peer_get_info() - false when the peer is gone; wipe @ret->psk after use */
bool wg_peer_get_info(const struct wg_device *dev, wg_peer_id peer, nsec_t now, struct wg_peer_info *ret);
/** wg_peer_get_allowed() - up to @max prefixes, starting with the @skip-th. Return: how many were written. */
size_t wg_peer_get_allowed(const struct wg_device *dev, wg_peer_id peer, size_t skip, struct ip_prefix *ret,
			   size_t max);

/* ---- in ---- */

/* One received datagram; the bytes live until wg_device_input returns. */
struct wg_datagram {
	const uint8_t *p;
	size_t len;
	const struct path_addr *path; /* remote = source, local = the address it was sent to */
};

/** wg_device_input() - a batch as received; what it gives is pulled below */
void wg_device_input(struct wg_device *dev, nsec_t now, const struct wg_datagram *d, size_t n);

enum wg_send {
	WG_SEND_OK,       /* taken; will be in a run of wg_device_next_tx */
	WG_SEND_STAGED,   /* taken; waits for a handshake (at most 128 a peer, the oldest is dropped) */
	WG_SEND_BLOCKED,  /* not taken: too much waits for the socket. Try again when tx has drained. */
	WG_SEND_NO_ROUTE, /* dropped: no peer allows the destination, or the packet is malformed */
	WG_SEND_NO_ENDPOINT, /* dropped: the peer's endpoint is unknown */
};

/**
 * wg_device_send() - seal one inner packet, gathered from @iov
 * @len: sum of @iov; at most the MTU. The bytes are copied before return.
 */
enum wg_send wg_device_send(struct wg_device *dev, nsec_t now, const struct iovec *iov, int iovcnt,
			    size_t len);

/* ---- out ---- */

struct wg_rx {
	struct pktbuf *pb; /* the inner packet, padding cut off; the caller owns and frees it */
	wg_peer_id peer;   /* its source address was checked against this peer's allowed IPs */
};
bool wg_device_next_rx(struct wg_device *dev, struct wg_rx *ret);

/* Told in this order, the device's before those of its peers. Of a kind that came again before it was pulled the last one is told. */
enum wg_event_kind {
	WG_EVENT_TIMESTAMP,   /* @timestamp must be on disk (fsync) before the next tx is sent */
	WG_EVENT_UNDER_LOAD,  /* handshakes are limited from now on (@on), or no longer */
	WG_EVENT_ENDPOINT,    /* @peer's endpoint became @endpoint (roaming, or first contact) */
	WG_EVENT_HANDSHAKE_FAILED, /* 90 s of attempts without an answer */
	WG_EVENT_SESSION_UP,  /* data may flow to @peer: first confirmed session, or one after a gap */
	WG_EVENT_SESSION_DOWN,/* no usable session any more, and no handshake under way */
};
struct wg_event {
	enum wg_event_kind kind;
	wg_peer_id peer;
	struct endpoint endpoint;
	uint64_t timestamp; /* ns since 1970 */
	bool on;
};
bool wg_device_next_event(struct wg_device *dev, struct wg_event *ret);

/* A run of datagrams to one destination, back to back in memory: each @seg_len bytes, the last may be
 * shorter. At most 64 KiB - 40 and 63 datagrams. */
struct wg_tx {
	const uint8_t *p;
	size_t len;
	uint16_t seg_len;
	uint16_t n_segs;
	struct path_addr path; /* remote = destination, local = sticky source or none */
	wg_peer_id peer;
};
/**
 * wg_device_tx_is_full() - is the front run one of data that takes no more? It may be pulled before all else was.
 *
 * A handshake message is not: its WG_EVENT_TIMESTAMP must be told first.
 */
bool wg_device_tx_is_full(const struct wg_device *dev);
/** wg_device_next_tx() - seals and gives the front run; the same again until wg_device_tx_done() */
bool wg_device_next_tx(struct wg_device *dev, nsec_t now, struct wg_tx *ret);
/** wg_device_tx_done() - the front run left (or is given up); its bytes are gone */
void wg_device_tx_done(struct wg_device *dev);
/*
 * Long runs may be sealed by other threads: lent to one, sealed there, given back here. The queue keeps its order: while the
 * front run is lent, wg_device_next_tx() gives nothing.
 */
struct wg_run;
/**
 * wg_device_lend() - the oldest run of WG_LEND_MIN bytes and more that is not sealed, nor lent
 * @all: also one that could still grow, which it does not from here on; else those that take no more
 *
 * Nothing that happens to the device changes what the run will be: not another key, provider or source. When its peer is removed
 * it is kept until it is back, and never sent. It must be back before wg_device_free(), and before its provider is released. What
 * is lent does not count against wg_config.tx_bytes_max. Return: NULL: there is none.
 */
struct wg_run *wg_device_lend(struct wg_device *dev, bool all);
#define WG_LEND_MIN (16u << 10)
/** wg_run_seal() - in any thread, once; @lane: the thread's (wg/aead.h), opened by wg_device_open_lane() */
void wg_run_seal(struct wg_run *run, unsigned lane);
/** wg_device_give_back() - @run is sealed */
void wg_device_give_back(struct wg_device *dev, struct wg_run *run);
/** wg_device_front_lent() - the run that stops wg_device_next_tx(); NULL: none does */
struct wg_run *wg_device_front_lent(const struct wg_device *dev);
/** wg_device_open_lane() - for the provider in use, and again after wg_device_set_aead(). false: that thread cannot serve. */
bool wg_device_open_lane(struct wg_device *dev, unsigned lane);
/** wg_device_tx_bytes() - what waits for the socket */
size_t wg_device_tx_bytes(const struct wg_device *dev);

nsec_t wg_device_deadline(const struct wg_device *dev);
void wg_device_expire(struct wg_device *dev, nsec_t now);

struct wg_device_stats {
	uint64_t n_rx_unknown;     /* not a WireGuard message, or an index that is not ours */
	uint64_t n_rx_bad_mac1, n_rx_cookie_sent, n_rx_handshake_dropped, n_rx_no_buffer;
	uint64_t n_handshakes_in, n_handshakes_out;
	bool under_load;
};
void wg_device_get_stats(const struct wg_device *dev, struct wg_device_stats *ret);

#endif
