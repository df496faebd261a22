/* operator/wg_view.h - what a hub or agent answers to "get=1", and how wg prints it. */
#ifndef OPERATOR_WG_VIEW_H
#define OPERATOR_WG_VIEW_H

#include "base/addr.h"
#include "base/encode.h"

struct wg_peer_view {
	char key[KEY_STR_MAX], psk[KEY_STR_MAX]; /* base64; psk empty = none */
	char endpoint[ENDPOINT_STR_MAX];
	char *allowed; /* "a/b, c/d" */
	uint64_t handshake, rx, tx;
	unsigned keepalive;
};

struct wg_view {
	char private_key[KEY_STR_MAX], public_key[KEY_STR_MAX];
	unsigned port;
	struct wg_peer_view *peers;
	size_t n_peers;
	int error; /* an errno: 0 when it is all there */
};

/** wg_view_read() - total; @answer is cut up, and is its owner's to wipe. wg_view_free() in any case. */
void wg_view_read(char *answer, struct wg_view *ret);
void wg_view_free(struct wg_view *v);
/** wg_view_print() - as `wg show`, the peer that was heard last in front; sorts @v */
void wg_view_print(struct wg_view *v, const char *name);
/** wg_view_print_conf() - as `wg showconf` */
void wg_view_print_conf(const struct wg_view *v);

#endif
