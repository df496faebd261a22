/* tunnel/tunnel_internal.h - shared by the files of tunnel/ alone. */
#ifndef TUNNEL_TUNNEL_INTERNAL_H
#define TUNNEL_TUNNEL_INTERNAL_H

#include <stdio.h>

#include "base/list.h"
#include "base/log.h"
#include "os/udp.h"
#include "tunnel/state.h"
#include "tunnel/tunnel.h"

/* The endpoint that a peer's configuration named when it was last applied. */
struct tunnel_configured {
	struct wg_public_key key;
	struct endpoint endpoint;
};

/* cipher.c */
struct tunnel_cipher {
	size_t bytes; /* both ways: in this window while quiet, since the last look while busy */
	nsec_t since;
	struct os_timer look;
	unsigned n_quiet;
	bool busy, fast, forced;
};

struct tunnel {
	struct list link; /* of the process's tunnels */
	struct os_loop *loop;
	struct tunnel_config cfg;
	struct wg_device *dev;
	struct net_if *nif;
	struct os_udp *udp; /* NULL: a rebuild could not open one; the next tries again */
	struct os_timer timer;
	struct os_late late;
	struct list dials;
	struct tunnel_state state;
	struct tunnel_configured *configured;
	size_t n_configured;
	struct tunnel_cipher cipher;
	bool again; /* process() needs another round */
	bool tx_stuck; /* the socket said "not now" */
};

/* tunnel.c */
enum err tunnel_open_socket(struct tunnel *t, uint16_t port, struct os_udp **ret);
/** tunnel_rest() - nothing much happens: give memory back */
void tunnel_rest(struct tunnel *t);
/* cipher.c */
/** tunnel_cipher_init() - before the device is made. ERR_UNSUPPORTED: the forced one is not to be had here. */
MUST_CHECK enum err tunnel_cipher_init(struct tunnel *t);
void tunnel_cipher_fini(struct tunnel *t);
/** tunnel_cipher_turn() - at the end of a turn, after t->cipher.bytes was counted up */
void tunnel_cipher_turn(struct tunnel *t);
/* change.c */
void tunnel_announce(struct tunnel *t, wg_peer_id id);
/* peers.c */
void tunnel_forget_configured(struct tunnel *t, const struct wg_public_key *key); /* the next reload sets it again */
/** tunnel_configured_endpoint() - false: its configuration names none */
bool tunnel_configured_endpoint(struct tunnel *t, wg_peer_id id, struct endpoint *ret);
/** tunnel_go_back() - nobody answers where the peer was heard last: try where the configuration has it */
void tunnel_go_back(struct tunnel *t, wg_peer_id id);
/* uapi.c */
/** tunnel_uapi_answer() - one request, which is cut up; its answer goes to @f */
void tunnel_uapi_answer(struct tunnel *t, char *request, FILE *f);
/* dial.c */
void tunnel_dials_on_event(struct tunnel *t, const struct wg_event *ev);
void tunnel_dials_fail_all(struct tunnel *t, enum err e);

#endif
