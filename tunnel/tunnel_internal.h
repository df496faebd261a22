/* tunnel/tunnel_internal.h - shared by the files of tunnel/ alone. */
#ifndef TUNNEL_TUNNEL_INTERNAL_H
#define TUNNEL_TUNNEL_INTERNAL_H

#include "base/list.h"
#include "base/log.h"
#include "os/udp.h"
#include "tunnel/state.h"
#include "tunnel/tunnel.h"

struct tunnel {
	struct list link; /* of the process's tunnels */
	struct os_loop *loop;
	struct tunnel_config cfg;
	struct wg_device *dev;
	struct net_if *nif;
	struct os_udp *udp;
	struct os_timer timer;
	struct list dials;
	struct tunnel_state state;
	bool processing, again;
	bool tx_stuck; /* the socket said "not now" */
};

/* dial.c */
void tunnel_dials_on_event(struct tunnel *t, const struct wg_event *ev);
void tunnel_dials_fail_all(struct tunnel *t, enum err e);

#endif
