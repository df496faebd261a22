/*
 * wg/dh.h - X25519 (RFC 7748), several at once.
 *
 * A handshake asks for two or three that do not depend on each other. Where the processor has the instructions they are computed
 * side by side, in little more time than one takes; else one after the other by libsodium, which is the reference.
 */
#ifndef WG_DH_H
#define WG_DH_H

#include "wg/messages.h"

struct wg_dh_job {
	const uint8_t *priv; /* 32 bytes; clamped here */
	const uint8_t *pub;  /* 32 bytes; NULL: the base point */
	uint8_t out[KEY_LEN]; /* secret: the caller wipes it */
	bool ok; /* false: all zero, as a low-order point gives; such a secret must not be used */
};

/** wg_dh() - constant time. Return: all are ok */
bool wg_dh(struct wg_dh_job *jobs, size_t n);
/** wg_dh_name() - who computes batches in this process */
const char *wg_dh_name(void);

struct wg_dh_provider {
	const char *name;
	bool (*available)(void);
	/* Sets out and ok of each */
	void (*multiply)(struct wg_dh_job *jobs, size_t n);
};
/** wg_dh_list() - every provider in the build, available or not; the first is the reference */
const struct wg_dh_provider *const *wg_dh_list(size_t *ret_n);
/** wg_dh_agrees() - does @p answer as the reference does, on the RFC's vectors, low-order points and arbitrary ones? */
bool wg_dh_agrees(const struct wg_dh_provider *p);

#endif
