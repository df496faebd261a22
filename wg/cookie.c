/* wg/cookie.c - see cookie.h. The cookie covers address and port: one host's cookie serves no other socket. */
#include "wg/cookie.h"

#include <sodium.h>
#include <string.h>

#include "base/endian.h"
#include "wg/hash.h"

static void labelled_key(uint8_t out[WG_HASH_LEN], const char *label, const uint8_t pub[KEY_LEN])
{
	wg_hash(out, wg_bytes(label, 8), wg_bytes(pub, KEY_LEN), wg_bytes(NULL, 0));
}

void wg_cookie_checker_init(struct wg_cookie_checker *c, const uint8_t our_pub[KEY_LEN])
{
	memset(c, 0, sizeof(*c));
	labelled_key(c->mac1_key, "mac1----", our_pub);
	labelled_key(c->cookie_key, "cookie--", our_pub);
}

void wg_cookie_maker_init(struct wg_cookie_maker *m, const uint8_t peer_pub[KEY_LEN])
{
	memset(m, 0, sizeof(*m));
	labelled_key(m->mac1_key, "mac1----", peer_pub);
	labelled_key(m->cookie_key, "cookie--", peer_pub);
}

static void make_cookie(struct wg_cookie_checker *c, nsec_t now, struct rng *rng, const struct endpoint *from,
			uint8_t ret[WG_COOKIE_LEN])
{
	uint8_t source[17 + 2];

	if (c->secret_born == 0 || now - c->secret_born >= WG_COOKIE_SECRET_MAX_AGE) {
		rng_bytes(rng, c->secret, sizeof(c->secret));
		c->secret_born = MAX(now, 1ULL);
	}
	source[0] = from->ip.family;
	memcpy(source + 1, from->ip.b, 16);
	put_be16(source + 17, from->port);
	wg_mac(ret, c->secret, sizeof(c->secret), wg_bytes(source, sizeof(source)));
}

static const struct wg_macs *macs_of(const uint8_t *msg, size_t len)
{
	return (const struct wg_macs *)(msg + len - sizeof(struct wg_macs));
}

enum wg_mac_state wg_cookie_check(struct wg_cookie_checker *c, nsec_t now, struct rng *rng, const uint8_t *msg,
				  size_t len, const struct endpoint *from)
{
	const struct wg_macs *macs = macs_of(msg, len);
	uint8_t mac[WG_MAC_LEN], cookie[WG_COOKIE_LEN];
	bool proven;

	wg_mac(mac, c->mac1_key, WG_HASH_LEN, wg_bytes(msg, len - sizeof(*macs)));
	if (sodium_memcmp(mac, macs->mac1, WG_MAC_LEN) != 0)
		return WG_MAC_INVALID;
	if (c->secret_born == 0 || now - c->secret_born >= WG_COOKIE_SECRET_MAX_AGE)
		return WG_MAC_VALID;
	make_cookie(c, now, rng, from, cookie);
	wg_mac(mac, cookie, sizeof(cookie), wg_bytes(msg, len - WG_MAC_LEN));
	proven = sodium_memcmp(mac, macs->mac2, WG_MAC_LEN) == 0;
	sodium_memzero(cookie, sizeof(cookie));
	return proven ? WG_MAC_PROVEN : WG_MAC_VALID;
}

void wg_cookie_reply(struct wg_cookie_checker *c, nsec_t now, struct rng *rng, const uint8_t *msg, size_t len,
		     const uint8_t receiver[4], const struct endpoint *from, struct wg_msg_cookie *ret)
{
	uint8_t cookie[WG_COOKIE_LEN];

	memset(ret, 0, sizeof(*ret));
	ret->type[0] = WG_MSG_COOKIE;
	memcpy(ret->receiver, receiver, 4);
	rng_bytes(rng, ret->nonce, sizeof(ret->nonce));
	make_cookie(c, now, rng, from, cookie);
	crypto_aead_xchacha20poly1305_ietf_encrypt(ret->cookie, NULL, cookie, sizeof(cookie),
						   macs_of(msg, len)->mac1, WG_MAC_LEN, NULL, ret->nonce,
						   c->cookie_key);
	sodium_memzero(cookie, sizeof(cookie));
}

void wg_cookie_sign(struct wg_cookie_maker *m, nsec_t now, uint8_t *msg, size_t len)
{
	struct wg_macs *macs = (struct wg_macs *)macs_of(msg, len);

	wg_mac(macs->mac1, m->mac1_key, WG_HASH_LEN, wg_bytes(msg, len - sizeof(*macs)));
	memcpy(m->last_mac1, macs->mac1, WG_MAC_LEN);
	m->has_last_mac1 = true;
	/* A cookie is renewed a little before its secret ends at the other side. */
	if (m->cookie_born != 0 && now - m->cookie_born < WG_COOKIE_SECRET_MAX_AGE - WG_COOKIE_SECRET_LATENCY)
		wg_mac(macs->mac2, m->cookie, sizeof(m->cookie), wg_bytes(msg, len - WG_MAC_LEN));
	else
		memset(macs->mac2, 0, WG_MAC_LEN);
}

bool wg_cookie_consume(struct wg_cookie_maker *m, nsec_t now, const struct wg_msg_cookie *msg)
{
	uint8_t cookie[WG_COOKIE_LEN];

	if (!m->has_last_mac1 ||
	    crypto_aead_xchacha20poly1305_ietf_decrypt(cookie, NULL, NULL, msg->cookie, sizeof(msg->cookie),
						       m->last_mac1, WG_MAC_LEN, msg->nonce,
						       m->cookie_key) != 0)
		return false;
	memcpy(m->cookie, cookie, sizeof(cookie));
	m->cookie_born = MAX(now, 1ULL);
	m->has_last_mac1 = false;
	sodium_memzero(cookie, sizeof(cookie));
	return true;
}
