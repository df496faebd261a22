/* tunnel/tunnel_internal.h - shared by the files of tunnel/ alone. */
#ifndef TUNNEL_TUNNEL_INTERNAL_H
#define TUNNEL_TUNNEL_INTERNAL_H

#include <stdio.h>

#include "base/list.h"
#include "base/log.h"
#include "os/crew.h"
#include "os/udp.h"
#include "tunnel/judge.h"
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

/* workers.c */
#define TUNNEL_LENT_MAX 6 /* runs on their way to a thread or back: what a thread could do while the loop does something else */

struct tunnel_lent {
	struct wg_run *run;
	struct os_crew_piece *piece;
};

struct tunnel_workers {
	struct os_crew *crew; /* NULL: no threads */
	unsigned n_threads, n_lent;
	struct tunnel_lent lent[TUNNEL_LENT_MAX];
	struct tunnel_judge judge;
	bool in_use, lanes_open; /* for the provider that the device has now */
	nsec_t used_until, start_at; /* was in use; may be started */
	uint64_t n_bytes;
	struct os_crew_stats past; /* of crews that have ended */
};

struct tunnel_workers_stats {
	unsigned n_threads; /* in use now */
	enum tunnel_judge_state state;
	uint64_t n_handed, n_taken_back, n_late, n_trials, n_failed;
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
	struct tunnel_workers workers;
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
/* workers.c */
void tunnel_workers_init(struct tunnel *t);
/** tunnel_workers_turn() - lend what is long enough, take what is sealed; @all: the turn ends */
void tunnel_workers_turn(struct tunnel *t, bool all);
/** tunnel_workers_deadline() - when to look again though nobody called */
nsec_t tunnel_workers_deadline(const struct tunnel *t);
/** tunnel_workers_judge() - once a turn: are threads to be used? */
void tunnel_workers_judge(struct tunnel *t);
/** tunnel_workers_new_cipher() - the device has another provider now */
void tunnel_workers_new_cipher(struct tunnel *t);
/** tunnel_workers_recall() - all that is lent is back, and sealed */
void tunnel_workers_recall(struct tunnel *t);
void tunnel_workers_stats(const struct tunnel *t, struct tunnel_workers_stats *ret);
/** tunnel_workers_stop() - no threads any more, until the judge wants them again */
void tunnel_workers_stop(struct tunnel *t);
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
