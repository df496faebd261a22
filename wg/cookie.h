/* wg/cookie.h - MAC1, MAC2 and cookies: proof of address before work, under load (5.3, 5.4.4, 5.4.7). */
#ifndef WG_COOKIE_H
#define WG_COOKIE_H

#include "base/addr.h"
#include "base/rng.h"
#include "wg/messages.h"

/* The side that receives handshakes. */
struct wg_cookie_checker {
	uint8_t mac1_key[WG_HASH_LEN];   /* of our own public key */
	uint8_t cookie_key[WG_HASH_LEN];
	uint8_t secret[WG_HASH_LEN];     /* renewed every two minutes */
	nsec_t secret_born;              /* 0 = none yet */
};

/* The side that sends handshakes to one peer. */
struct wg_cookie_maker {
	uint8_t mac1_key[WG_HASH_LEN];   /* of the peer's public key */
	uint8_t cookie_key[WG_HASH_LEN];
	uint8_t cookie[WG_COOKIE_LEN];
	nsec_t cookie_born;              /* 0 = none */
	uint8_t last_mac1[WG_MAC_LEN];
	bool has_last_mac1;              /* a handshake message of ours may be answered by a cookie */
};

enum wg_mac_state {
	WG_MAC_INVALID,  /* MAC1 wrong: not for us; silence */
	WG_MAC_VALID,    /* MAC1 right */
	WG_MAC_PROVEN,   /* MAC2 too: the source address and port are its own */
};

void wg_cookie_checker_init(struct wg_cookie_checker *c, const uint8_t our_pub[KEY_LEN]);
void wg_cookie_maker_init(struct wg_cookie_maker *m, const uint8_t peer_pub[KEY_LEN]);

/** wg_cookie_check() - @msg: a whole handshake message of @len bytes, its macs at the end */
enum wg_mac_state wg_cookie_check(struct wg_cookie_checker *c, nsec_t now, struct rng *rng, const uint8_t *msg,
				  size_t len, const struct endpoint *from);
/** wg_cookie_reply() - a cookie for the sender of @msg, bound to its address and port */
void wg_cookie_reply(struct wg_cookie_checker *c, nsec_t now, struct rng *rng, const uint8_t *msg, size_t len,
		     const uint8_t receiver[4], const struct endpoint *from, struct wg_msg_cookie *ret);
/** wg_cookie_sign() - fill in both MACs of @msg */
void wg_cookie_sign(struct wg_cookie_maker *m, nsec_t now, uint8_t *msg, size_t len);
/** wg_cookie_consume() - take a cookie that answers our last message; false = not authentic */
bool wg_cookie_consume(struct wg_cookie_maker *m, nsec_t now, const struct wg_msg_cookie *msg);

#endif
