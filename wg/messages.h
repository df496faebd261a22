/*
 * wg/messages.h - the wire formats and every number of the WireGuard protocol.
 *
 * Sections are those of the WireGuard paper (Donenfeld, 2017; revision of 2020).
 */
#ifndef WG_MESSAGES_H
#define WG_MESSAGES_H

#include "base/encode.h"
#include "base/types.h"

#define WG_TAG_LEN 16
#define WG_HASH_LEN 32
#define WG_TIMESTAMP_LEN 12
#define WG_COOKIE_LEN 16
#define WG_COOKIE_NONCE_LEN 24
#define WG_MAC_LEN 16

/* 5.4: message types; the three bytes after the type are zero. */
enum wg_message_type {
	WG_MSG_INITIATION = 1,
	WG_MSG_RESPONSE = 2,
	WG_MSG_COOKIE = 3,
	WG_MSG_DATA = 4,
};

struct wg_macs {
	uint8_t mac1[WG_MAC_LEN];
	uint8_t mac2[WG_MAC_LEN];
};

/* 5.4.2 */
struct wg_msg_initiation {
	uint8_t type[4];
	uint8_t sender[4];
	uint8_t ephemeral[KEY_LEN];
	uint8_t static_key[KEY_LEN + WG_TAG_LEN];
	uint8_t timestamp[WG_TIMESTAMP_LEN + WG_TAG_LEN];
	struct wg_macs macs;
};
_Static_assert(sizeof(struct wg_msg_initiation) == 148, "5.4.2");

/* 5.4.3 */
struct wg_msg_response {
	uint8_t type[4];
	uint8_t sender[4];
	uint8_t receiver[4];
	uint8_t ephemeral[KEY_LEN];
	uint8_t empty[WG_TAG_LEN];
	struct wg_macs macs;
};
_Static_assert(sizeof(struct wg_msg_response) == 92, "5.4.3");

/* 5.4.7 */
struct wg_msg_cookie {
	uint8_t type[4];
	uint8_t receiver[4];
	uint8_t nonce[WG_COOKIE_NONCE_LEN];
	uint8_t cookie[WG_COOKIE_LEN + WG_TAG_LEN];
};
_Static_assert(sizeof(struct wg_msg_cookie) == 64, "5.4.7");

/* 5.4.6 */
struct wg_msg_data {
	uint8_t type[4];
	uint8_t receiver[4];
	uint8_t counter[8];
};
_Static_assert(sizeof(struct wg_msg_data) == 16, "5.4.6");

#define WG_DATA_OVERHEAD (sizeof(struct wg_msg_data) + WG_TAG_LEN)
#define WG_PADDING 16 /* 5.4.6: inner packets are padded to a multiple, never beyond the MTU */

/* 6.1: timers and limits. */
#define WG_REKEY_AFTER_MESSAGES (1ULL << 60)
#define WG_REJECT_AFTER_MESSAGES (UINT64_MAX - WG_REPLAY_BITS - 1)
#define WG_REKEY_AFTER (120 * NSEC_PER_SEC)
#define WG_REJECT_AFTER (180 * NSEC_PER_SEC)
#define WG_REKEY_ATTEMPT (90 * NSEC_PER_SEC)
#define WG_REKEY_TIMEOUT (5 * NSEC_PER_SEC)
#define WG_REKEY_JITTER_MAX (334 * NSEC_PER_MSEC)
#define WG_KEEPALIVE (10 * NSEC_PER_SEC)
#define WG_COOKIE_SECRET_MAX_AGE (120 * NSEC_PER_SEC)
#define WG_COOKIE_SECRET_LATENCY (5 * NSEC_PER_SEC)
/* 6.3: an initiator rekeys while receiving only when the session would end before the next keepalive. */
#define WG_REKEY_AFTER_RECV (WG_REJECT_AFTER - WG_KEEPALIVE - WG_REKEY_TIMEOUT)
/* As Linux does it: one initiation from a peer each 20 ms (50 a second). */
#define WG_INITIATION_MIN_INTERVAL (NSEC_PER_SEC / 50)

/* Ours. */
#define WG_REPLAY_BITS 8192 /* usable: minus one 64-bit word */
#define WG_STAGED_MAX 128   /* packets a peer that wait for a handshake; the oldest leaves first */
#define WG_RUN_BYTES 65000  /* one UDP_SEGMENT send: below 65,535 less IP and UDP headers */
#define WG_RUN_SEGS 63      /* 64 on kernels before 6.9, less one because some count the UDP header */

static inline bool wg_type_is(const uint8_t *p, enum wg_message_type type)
{
	return p[0] == type && p[1] == 0 && p[2] == 0 && p[3] == 0;
}

#endif
