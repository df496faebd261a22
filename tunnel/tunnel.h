/*
 * tunnel/tunnel.h - one WireGuard key with its peers, a UDP port and a virtual interface, wired together.
 *
 * Shared by agent and hub: transport's datagrams go to wg/, what it decrypts goes to netstack/, what that
 * sends goes back. It keeps the timestamp watermark and the peers' last endpoints on disk, starts handshakes
 * at start, and makes a dial wait for a session.
 */
#ifndef TUNNEL_TUNNEL_H
#define TUNNEL_TUNNEL_H

#include "netstack/net.h"
#include "os/loop.h"
#include "wg/wg.h"

struct tunnel;

struct tunnel_peer {
	struct wg_public_key key;
	struct wg_psk psk;               /* zero = none */
	struct endpoint endpoint;        /* unset = incoming only */
	struct ip_prefix allowed[16];    /* its VPN addresses, /32 or /128, or more */
	size_t n_allowed;
	uint16_t keepalive_s;
	char name[64];                   /* for logs: host id, or empty */
};

#define TUNNEL_WORKERS_AUTO 0 /* while a core is idle and they make it faster */
#define TUNNEL_WORKERS_OFF (-1)
#define TUNNEL_WORKERS_MAX 8
/** tunnel_workers_parse() - "auto", "off" or a number, as the configuration has it. false: it is none of them. */
bool tunnel_workers_parse(const char *text, int *ret);
#define TUNNEL_WORKERS_FORMS "auto, off or a number from 1 to 8"

struct tunnel_config {
	struct wg_private_key private_key;
	struct ip_prefix addrs[8];
	size_t n_addrs;
	uint16_t listen_port;    /* 0 = any */
	bool port_fallback;      /* take another port when it is in use (transient dial-outs) */
	uint16_t mtu;            /* 0 = 1420 */
	const char *congestion;  /* control of connections in the tunnel: "cubic" (NULL too), "bbr" */
	const char *aead;        /* provider by name, loaded at once; NULL = the fastest, while there is traffic */
	int aead_workers;        /* threads for the cipher: TUNNEL_WORKERS_*, or 1 to TUNNEL_WORKERS_MAX, whether they pay or not */
	const char *state_file;  /* watermark and last endpoints, versioned text, 0600; NULL = none */
	bool is_guest;           /* the process is another program's: no fork(), as its other threads may hold locks; no thread more */
	bool is_silent;          /* a SYN is not refused: the sender repeats it, and somebody else will answer */
	bool initiate;           /* handshake with every peer that has an endpoint, at start */
	/* A peer's session came up or went down, or its endpoint changed; may be NULL. */
	void (*on_event)(void *ctx, const struct wg_event *ev);
	void *ctx;
};

/**
 * tunnel_open() - net_init() is done here for the first tunnel of the process
 * Return: OK; ERR_IN_USE (the port); ERR_UNSUPPORTED (the forced provider is not to be had here); ERR_VERSION (the state
 * file is newer than we know) ...
 */
MUST_CHECK enum err tunnel_open(struct os_loop *loop, const struct tunnel_config *cfg, struct tunnel **ret);
void tunnel_close(struct tunnel *t);
uint16_t tunnel_port(const struct tunnel *t);
/** tunnel_aead() - the provider in use now */
const char *tunnel_aead(const struct tunnel *t);

#define TUNNEL_N_GAUGES 23
struct tunnel_gauge {
	const char *name;
	int64_t value; /* flags are 0 and 1 */
};
/** tunnel_gauges() - counters of the socket, and of TCP in the whole process. Return: how many */
size_t tunnel_gauges(const struct tunnel *t, struct tunnel_gauge *ret, size_t max);
struct wg_device *tunnel_device(struct tunnel *t);
struct net_if *tunnel_if(struct tunnel *t);

MUST_CHECK enum err tunnel_add_peer(struct tunnel *t, const struct tunnel_peer *p);
/** tunnel_set_peers() - exactly these from now on: adds, removes, changes; sessions of the others stay (reload) */
MUST_CHECK enum err tunnel_set_peers(struct tunnel *t, const struct tunnel_peer *p, size_t n);
/** tunnel_set_private() - another key, on reload */
void tunnel_set_private(struct tunnel *t, const struct wg_private_key *key);
/** tunnel_set_port() - another UDP port, sessions stay; ERR_IN_USE, ERR_PERMISSION: the old one stays. Not in a callback
 * of the tunnel. */
MUST_CHECK enum err tunnel_set_port(struct tunnel *t, uint16_t port);
/** tunnel_set_addrs() - other addresses inside; connections on one that is gone fail with ERR_CLOSED. ERR_RANGE: none, too many. */
MUST_CHECK enum err tunnel_set_addrs(struct tunnel *t, const struct ip_prefix *addrs, size_t n);
/**
 * tunnel_rebuild() - build everything below the interface anew: sockets, sessions, endpoints, handshakes
 *
 * The interface and its connections stay. Peers whose configuration names an endpoint go back to it. Not in a
 * callback of the tunnel. Return: OK; else why there is no UDP port now: the tunnel is silent until it succeeds.
 */
MUST_CHECK enum err tunnel_rebuild(struct tunnel *t);
/** tunnel_kick() - after calls into tunnel_device() or tunnel_if() from outside: what they left is processed at the end of the turn */
void tunnel_kick(struct tunnel *t);

/* A dial through the tunnel; ends with exactly one call of @fn unless cancelled. */
struct tunnel_dial;
typedef void (*tunnel_dial_fn)(void *ctx, enum err e, struct net_tcp *c);
/**
 * tunnel_dial_start() - connect to @remote by @deadline
 *
 * Waits for a session first: the SYN leaves, and its timer starts, when the session stands. A SYN unanswered
 * for 1 s starts a handshake although the session is young; a session that is newer than the SYN gets it again.
 * @fn's error: ERR_TIMEOUT (no session or no answer), ERR_REFUSED, ERR_NO_ROUTE (no peer has that address,
 * or its endpoint is unknown), ERR_CLOSED.
 */
MUST_CHECK enum err tunnel_dial_start(struct tunnel *t, const struct endpoint *remote, nsec_t deadline,
				      tunnel_dial_fn fn, void *ctx, struct tunnel_dial **ret);
void tunnel_dial_cancel(struct tunnel_dial *d);

/* A bridge between a stream of this machine and a virtual connection: bytes both ways, half-close both ways,
 * backpressure both ways, a reset as a reset. Owns both from here on. */
struct tunnel_bridge;
/* Over; it frees itself after. @e: OK when all that the far side sent was passed on, to its end. */
typedef void (*tunnel_bridge_fn)(void *ctx, struct tunnel_bridge *b, enum err e);
MUST_CHECK enum err tunnel_bridge_start(struct os_loop *loop, struct tunnel *t, int fd, struct net_tcp *c,
					tunnel_bridge_fn fn, void *ctx, struct tunnel_bridge **ret);
/** tunnel_bridge_is_behind() - has the local side given bytes that are not in the tunnel yet? */
bool tunnel_bridge_is_behind(const struct tunnel_bridge *b);
/** tunnel_bridge_abort() - reset both ends now; @fn is not called */
void tunnel_bridge_abort(struct tunnel_bridge *b);

/* WireGuard's cross-platform userspace API (get=1, set=1) on a Unix socket NAME.sock, mode 0600, own uid only. */
struct tunnel_uapi;
/**
 * tunnel_uapi_open() - serve @t at @dir/@name.sock
 * @dir: NULL = /var/run/wireguard where that may be written, else $XDG_RUNTIME_DIR/nefia/wireguard, else
 *       @fallback_dir
 */
MUST_CHECK enum err tunnel_uapi_open(struct os_loop *loop, struct tunnel *t, const char *dir, const char *fallback_dir,
				     const char *name, struct tunnel_uapi **ret);
void tunnel_uapi_close(struct tunnel_uapi *u);
const char *tunnel_uapi_path(const struct tunnel_uapi *u);

#endif
