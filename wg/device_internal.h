/*
 * wg/device_internal.h - the device's parts, shared by the files of wg/ alone.
 *
 * Ownership: the device owns its peers, a peer its keypairs and staged packets. Keypairs that end are kept on the dead list
 * until the end of the call, because a receive batch may still point at them.
 */
#ifndef WG_DEVICE_INTERNAL_H
#define WG_DEVICE_INTERNAL_H

#include "base/heap.h"
#include "base/list.h"
#include "wg/aead.h"
#include "wg/allowedips.h"
#include "wg/cookie.h"
#include "wg/load.h"
#include "wg/noise.h"
#include "wg/replay.h"
#include "wg/wg.h"

struct wg_peer;

struct wg_keypair {
	struct wg_peer *peer;
	struct wg_keypair *dead_next;
	uint32_t local_index, remote_index;
	struct noise_keys keys;
	uint64_t send_counter;
	nsec_t born;
	bool initiator;
	bool dead;
	struct wg_replay replay;
};

/* What a receiver index of ours stands for. */
struct wg_index_entry {
	uint32_t index; /* 0 = free slot */
	struct wg_peer *peer;
	struct wg_keypair *keypair; /* NULL: the peer's handshake under way */
};

struct wg_index_table {
	struct wg_index_entry *slots;
	size_t n, cap; /* cap: power of two */
};

/* An inner packet that waits for a session. */
struct wg_staged {
	struct list link;
	size_t len;
	uint8_t data[];
};

enum wg_timer {
	WG_TIMER_RETRANSMIT,    /* the initiation got no response */
	WG_TIMER_KEEPALIVE,     /* we received and said nothing since */
	WG_TIMER_NEW_HANDSHAKE, /* we sent and heard nothing since */
	WG_TIMER_ZERO,          /* no new session for long: forget the keys */
	WG_TIMER_PERSISTENT,
	WG_N_TIMERS,
};

/* What is to be told, without memory of its own: an event that could not be told would be a watermark that is not kept. */
struct wg_news {
	struct list link; /* a peer's: in the device's list while there are some */
	unsigned kinds;   /* bits of enum wg_event_kind */
};

struct wg_peer {
	struct wg_device *dev;
	wg_peer_id id;
	struct wg_peer *chain; /* the next with a key of the same hash */
	struct wg_public_key key;
	struct wg_psk psk;
	struct noise_shared shared; /* of its key and ours */
	bool low_order; /* its key gives a zero secret: nothing is ever sent */
	struct path_addr path;
	struct path_addr heard_at; /* of an initiation whose timestamp was refused, until one is accepted; or unset */
	struct pktowner owner;

	struct wg_keypair *current, *previous, *next;

	/* Our own initiation, while it is unanswered. */
	struct noise handshake;
	uint32_t handshake_index; /* 0 = none */
	struct wg_cookie_maker cookie;
	nsec_t last_initiation_sent; /* 0 = never */
	nsec_t initiations_paid; /* accepted ones are paid for up to then, at INITIATION_EVERY each */
	uint64_t latest_timestamp[2]; /* TAI64N: seconds, nanoseconds */
	unsigned n_attempts;

	nsec_t timer_at[WG_N_TIMERS]; /* NSEC_NEVER = not set */
	struct heap_node timer_node;  /* under the earliest of them */
	bool need_another_keepalive;
	bool sent_lastminute;
	uint16_t keepalive_s;

	struct list staged;
	uint32_t n_staged;
	struct wg_run *open_run; /* takes more packets of this peer */

	nsec_t last_handshake;
	uint64_t last_handshake_wall;
	uint64_t rx_bytes, tx_bytes, n_bad_source, n_replayed, n_auth_failed;
	bool told_up;
	bool after_gap; /* the present session did not follow a usable one: it is told, whatever was told before */
	struct wg_news news;
};

/* Datagrams to one destination, back to back; sealed when they are pulled. */
struct wg_run {
	struct list link;
	struct list to_lend; /* in the device's list while it is one that another thread may seal */
	struct wg_peer *peer; /* NULL: a cookie reply, or its peer is gone */
	wg_peer_id peer_id;
	struct path_addr path;
	uint8_t key[KEY_LEN];
	uint64_t first_counter;
	uint32_t remote_index;
	size_t len, cap;
	uint16_t seg_len, n_segs;
	bool is_data, sealed, lent;
	const struct wg_aead *aead; /* while lent: the device may change its own meanwhile */
	uint8_t *buf;
};

struct wg_device {
	struct wg_config cfg;
	const struct wg_aead *aead;
	uint64_t wall_offset; /* wall time = now + offset (mod 2^64) */
	bool has_key;
	struct noise_static self;
	struct wg_cookie_checker checker;
	struct wg_load load;

	struct wg_peer **peers; /* by slot; NULL = free */
	uint32_t *generations;
	struct wg_peer **chains; /* by key (peers.c) */
	size_t n_slots, n_peers, n_chains;
	size_t first_free; /* no slot below it is */
	struct wg_allowedips allowed;
	struct wg_index_table indices;
	struct heap timers;
	struct wg_keypair *dead;

	struct pktbuf *rx_first, **rx_last;
	struct list runs, free_runs;
	struct wg_news news;     /* its own, and the list of peers that have some */
	struct list to_lend; /* runs that take no more, long enough for another thread */
	size_t tx_bytes, lent_bytes, n_control, n_free_runs, n_lent;
	uint64_t last_timestamp; /* greatest sent, ns since 1970 */
	nsec_t clock;            /* the latest time that was passed in */
	struct wg_device_stats stats;
};

/* A protocol time, divided by the tests' scale. */
static inline nsec_t wg_scaled(const struct wg_device *dev, nsec_t t)
{
	return t / dev->cfg.time_scale;
}

/* index.c */
enum err wg_index_new(struct wg_device *dev, struct wg_peer *peer, struct wg_keypair *kp, uint32_t *ret);
struct wg_index_entry *wg_index_find(struct wg_device *dev, uint32_t index);
void wg_index_drop(struct wg_device *dev, uint32_t index);

/* session.c */
struct wg_keypair *wg_session_new(struct wg_peer *peer, struct noise *n, uint32_t local_index,
				  uint32_t remote_index, bool initiator, nsec_t now);
bool wg_session_confirm(struct wg_peer *peer, struct wg_keypair *kp, nsec_t now);
bool wg_session_usable(const struct wg_keypair *kp, nsec_t now);
void wg_session_drop_all(struct wg_peer *peer);
void wg_session_bury(struct wg_device *dev);

/* handshake.c */
void wg_handshake_initiate(struct wg_peer *peer, nsec_t now, bool is_retry);
void wg_handshake_forget(struct wg_peer *peer);
/** wg_peer_last_timestamp() - of the initiation accepted last, Unix ns; 0 = none, or nonsense */
uint64_t wg_peer_last_timestamp(const struct wg_peer *peer);
void wg_handshake_input(struct wg_device *dev, nsec_t now, const struct wg_datagram *d);

/* send.c */
void wg_send_message(struct wg_device *dev, struct wg_peer *peer, const struct path_addr *path,
		     const void *msg, size_t len);
void wg_send_staged(struct wg_peer *peer, nsec_t now);
void wg_send_keepalive(struct wg_peer *peer, nsec_t now);
void wg_send_purge_staged(struct wg_peer *peer);
void wg_send_forget_peer(struct wg_peer *peer);
void wg_send_fini(struct wg_device *dev);

/* timers.c: events, named after what happened */
void wg_timers_init(struct wg_peer *peer);
void wg_timers_fini(struct wg_peer *peer);
/* data: not a keepalive */
void wg_timers_data_sent(struct wg_peer *peer, nsec_t now);
void wg_timers_data_received(struct wg_peer *peer, nsec_t now);
void wg_timers_authenticated_sent(struct wg_peer *peer, nsec_t now);
void wg_timers_authenticated_received(struct wg_peer *peer, nsec_t now);
void wg_timers_handshake_initiated(struct wg_peer *peer, nsec_t now);
void wg_timers_handshake_complete(struct wg_peer *peer, nsec_t now);
void wg_timers_session_derived(struct wg_peer *peer, nsec_t now);
void wg_timers_keepalive_changed(struct wg_peer *peer, nsec_t now);
void wg_timers_run(struct wg_peer *peer, nsec_t now);
bool wg_timers_is_set(const struct wg_peer *peer, enum wg_timer t);
void wg_timers_stop(struct wg_peer *peer, enum wg_timer t);

/* peers.c */
struct wg_peer *wg_peer_get(const struct wg_device *dev, wg_peer_id id);
struct wg_peer *wg_peer_by_key(const struct wg_device *dev, const uint8_t key[KEY_LEN]);
/* A slot for it, whose handle is its id from now on. Its key is nobody else's. */
enum err wg_peers_take(struct wg_device *dev, struct wg_peer *peer);
void wg_peers_drop(struct wg_device *dev, struct wg_peer *peer);
void wg_peers_fini(struct wg_device *dev);

/* device.c */
void wg_device_tell(struct wg_device *dev, enum wg_event_kind kind);
void wg_peer_tell(struct wg_peer *peer, enum wg_event_kind kind);
/* An authenticated packet came by @path: follow it. */
void wg_peer_roam(struct wg_peer *peer, const struct path_addr *path);
/* Tell SESSION_UP or SESSION_DOWN when that changed. */
void wg_peer_tell_state(struct wg_peer *peer, nsec_t now);

#endif
