/*
 * wg/aead.h - ChaCha20-Poly1305 in batches, by whichever library is best here.
 *
 * A table of providers with one contract; libsodium is always there and is the reference against which the tests
 * hold the others. A job is one packet: the counter is the nonce (5.4.6), and there is no associated data. The whole of
 * RFC 8439 is here all the same, so that the published vectors run through the very code that seals packets.
 */
#ifndef WG_AEAD_H
#define WG_AEAD_H

#include "base/err.h"
#include "wg/messages.h"

struct wg_aead_job {
	const uint8_t *key; /* 32 bytes */
	uint64_t counter;    /* the last 8 bytes of the nonce */
	uint32_t nonce_head; /* the 4 before them; 0 for packets */
	struct bytes ad;     /* none for packets */
	const uint8_t *src;
	uint8_t *dst; /* seal: src_len + 16 bytes, may be src; open: src_len - 16 bytes */
	size_t len;   /* of src; open: with the tag */
	bool ok;      /* open: authentic? When not, dst's bytes are undefined. */
};

/* A thread that seals or opens has a lane of its own in each provider: 0 is the loop's. */
#define WG_AEAD_LANES 9

struct wg_aead {
	const char *name;
	/* Can it be used on this machine? Loads what it needs; called before the others. */
	bool (*available)(void);
	/* One thread in a lane at a time. */
	void (*seal)(struct wg_aead_job *jobs, size_t n, unsigned lane);
	void (*open)(struct wg_aead_job *jobs, size_t n, unsigned lane);
	/* Another lane than 0, before its first use, on the loop's thread; false: no memory. NULL: nothing to do. */
	bool (*open_lane)(unsigned lane);
	/* Gives back what available() loaded; available() loads it again. NULL: nothing to give back. */
	void (*release)(void);
};

/** wg_aead_find() - by name; NULL = the reference. Return: NULL when unknown or not available. */
const struct wg_aead *wg_aead_find(const char *name);
/** wg_aead_list() - every provider in the build, available or not */
const struct wg_aead *const *wg_aead_list(size_t *ret_n);

/** wg_aead_agrees() - does @a seal and open as the reference does, over lengths around every border of its code? */
bool wg_aead_agrees(const struct wg_aead *a);

#endif
