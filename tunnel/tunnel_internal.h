/* tunnel/tunnel_internal.h - shared by the files of tunnel/ alone. */
#ifndef TUNNEL_TUNNEL_INTERNAL_H
#define TUNNEL_TUNNEL_INTERNAL_H

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

struct tunnel {
	struct list link; /* of the process's tunnels */
	struct os_loop *loop;
	struct tunnel_config cfg;
	struct wg_device *dev;
	struct net_if *nif;
	struct os_udp *udp; /* NULL: a rebuild could not open one; the next tries again */
	struct os_timer timer;
	struct list dials;
	struct tunnel_state state;
	struct tunnel_configured *configured;
	size_t n_configured;
	bool processing, again;
	bool tx_stuck; /* the socket said "not now" */
};

/* tunnel.c */
enum err tunnel_open_socket(struct tunnel *t, uint16_t port, struct os_udp **ret);
/* change.c */
void tunnel_announce(struct tunnel *t, wg_peer_id id);
/* peers.c */
void tunnel_forget_configured(struct tunnel *t, const struct wg_public_key *key); /* the next reload sets it again */
/** tunnel_configured_endpoint() - false: its configuration names none */
bool tunnel_configured_endpoint(struct tunnel *t, wg_peer_id id, struct endpoint *ret);
/* dial.c */
void tunnel_dials_on_event(struct tunnel *t, const struct wg_event *ev);
void tunnel_dials_fail_all(struct tunnel *t, enum err e);

#endif
