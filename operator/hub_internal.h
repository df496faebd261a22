/* operator/hub_internal.h - what the hub's own files share. */
#ifndef OPERATOR_HUB_INTERNAL_H
#define OPERATOR_HUB_INTERNAL_H

#include <limits.h>
#include <jansson.h>
#include <sys/stat.h>

#include "base/list.h"
#include "operator/hub_core.h"
#include "operator/hub_wire.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/stream.h"
#include "ssh/breaker.h"
#include "ssh/nursery.h"
#include "ssh/worker.h"
#include "tunnel/tunnel.h"

#define HUB_CLIENTS_MAX 64
#define HUB_PEERS_MAX 4096
#define HUB_LINGER (200 * NSEC_PER_MSEC)
#define HUB_FIRST_CLIENT (5 * NSEC_PER_SEC) /* a transient hub that nobody reaches ends after this */
#define HUB_SETTLE (25 * NSEC_PER_MSEC) /* after the last handshake of the hub before: peers heed one in 20 ms */
#define HUB_DIAL_MAX (10 * NSEC_PER_SEC)
#define HUB_PING_MAX (3 * NSEC_PER_SEC)
#define HUB_PERSIST_EVERY (10 * NSEC_PER_SEC)
#define HUB_IDENTITIES_MAX 18
#define HUB_AGENT "agent" /* among the identities: all keys of ssh-agent */
#define HUB_SSH_PORT 22
#define N_ENDS_KEPT 256 /* ends of streams that were no orderly ones */
#define HUB_WHY_MAX 512 /* a reason for people */

/* Another hub with our key, as an agent has met it. */
struct hub_rival_seen {
	uint64_t since_ms; /* when it began, Unix time; 0 = none */
	uint64_t latest;   /* timestamp of the last initiation under our key that the agent took, Unix ns */
	bool brief;        /* it serves one command */
	char from[ENDPOINT_STR_MAX];
};

/* One host of nefia.yaml, as far as the hub needs it. */
struct hub_host {
	struct tunnel_peer peer;
	char addr[IP_ADDR_STR_MAX]; /* its first VPN address */
	struct ip_addr ip;
	char *user;
	char *ids[HUB_IDENTITIES_MAX];
	size_t n_ids;
	char session_root[1024]; /* of file operations; empty = none */
	uint64_t file_size_max; /* ssh.max_file_size_bytes; 0 = no limit */
	uint64_t list_max;      /* ssh.max_list_entries; 0 = no limit */
	bool has_key;       /* it can be a peer of the tunnel */
	bool gone;          /* not in the file any more; kept while its worker runs */
	uint64_t seen_wall; /* last handshake, Unix ns, from this run or an earlier one; 0 = never */
	/* runtime */
	struct hub *hub;
	struct list dials;  /* struct worker_dial */
	struct agent_ask *ask;   /* hub_rival.c: under way */
	nsec_t asked_handshake;  /* of the session in which it was asked last */
	uint64_t looked_rx, looked_tx;
	bool strange; /* it is silent, while somebody sends what is not for us */
	struct hub_rival_seen rival; /* as its agent told it last */
	bool stand_back_now, stands_back; /* the other has it */
	struct list asks;   /* struct hub_ask: what ssh-agent is asked for its worker */
	size_t n_asks;
	char *agent;        /* the socket of ssh-agent that the last command had; NULL = none */
	struct breaker breaker;
	struct ssh_worker *worker;
	struct list left;    /* struct ssh_handed: sessions that wait for the next worker */
	char last_end[160];  /* why the last worker ended; "" = it was idle */
	uint64_t files_ended; /* file sessions of workers that are gone */
};

struct hub_rival {
	struct os_timer timer;
	uint64_t since_ms; /* when we began, or took the key back */
	nsec_t since;
	unsigned n_asking;
	uint64_t n_unknown; /* datagrams for no session of ours, at the last look */
	struct hub_rival_seen seen; /* last, by whichever host */
	char host[64]; /* where it was seen */
	nsec_t seen_at, suspected_at;
};

struct hub_bridge;
struct hub_conn;
struct hub_enroll;

struct hub {
	struct hub_core_options opt;
	struct hub_paths paths;
	struct os_loop *loop;
	struct os_lock *lock;
	struct os_listener *listener;
	struct tunnel *tunnel;
	struct tunnel_uapi *uapi;
	struct net_udp *notices; /* hub_notice.c */
	struct ssh_nursery *nursery; /* of the SSH workers */
	struct hub_host **hosts;
	size_t n_hosts;
	struct stat config_stat; /* of the file that is loaded */
	struct wg_private_key private_key;
	struct ip_prefix addrs[8];
	size_t n_addrs;
	uint16_t listen_port, mtu;
	char aead[32]; /* forced; empty: choose */
	int aead_workers;
	char congestion[16];
	struct list conns;
	size_t n_conns;
	struct list keeps; /* struct hub_keep */
	size_t n_keeps;
	unsigned last_keep;
	struct list bridges; /* of dials that a client asked for */
	struct list secrets; /* struct hub_secret: passphrases of keys */
	size_t n_secrets;
	uint64_t last_bridge; /* its number; the upper half is this hub's, so that another one's are known as such */
	struct {
		uint64_t id;
		enum err error;
	} ends[N_ENDS_KEPT];
	size_t n_ends; /* ever */
	struct hub_enroll *enroll;
	struct hub_rival rival;
	struct os_timer linger, persist;
	nsec_t started;
	bool stopping;
	bool seen_dirty; /* a handshake that the file does not know yet */
};

/* ---- hub.c ---- */
/** hub_stop() - tell the owner that it is over */
void hub_stop(struct hub *h);
/** hub_client_gone() - a client or a bridge ended; a transient hub may end too */
void hub_user_gone(struct hub *h);
struct hub_host *hub_find(struct hub *h, const char *name);
/** hub_config_ecode() - the code of an error of nefia.yaml */
unsigned hub_config_ecode(enum err e);

/* ---- hub_setup.c: nefia.yaml as the hub sees it ---- */
/** hub_setup_load() - read the file; on an error the running configuration stays, *ret_why says which line */
MUST_CHECK enum err hub_setup_load(struct hub *h, char **ret_why);
/** hub_setup_changed() - was the file written since it was loaded? */
bool hub_setup_changed(const struct hub *h);
/** hub_setup_apply() - give the tunnel the peers that the configuration has */
MUST_CHECK enum err hub_setup_apply(struct hub *h);
void hub_host_free(struct hub_host *hh);

/* ---- hub_enroll.c: the enrollment listener ---- */
struct config;
MUST_CHECK enum err hub_enroll_open(struct hub *h);
void hub_enroll_close(struct hub *h);
/** hub_enroll_take_config() - the invites that nefia.yaml has now; a long-running hub listens for them */
void hub_enroll_take_config(struct hub *h, const struct config *c);
void hub_op_enroll_listen(struct hub_conn *c, const json_t *req);
void hub_op_enroll_events(struct hub_conn *c, const json_t *req);

/* ---- hub_rival.c: another hub that lives with our key ---- */
void hub_rival_open(struct hub *h);
/** hub_rival_close() - before the tunnel goes */
void hub_rival_close(struct hub *h);
/** hub_rival_forget() - @hh goes away */
void hub_rival_forget(struct hub_host *hh);
/** hub_rival_has_host() - do we stand back from it? Then it is no peer, and commands to it are refused. */
bool hub_rival_has_host(const struct hub_host *hh);
/** hub_rival_json() - what is known of one, for status; null = nothing */
json_t *hub_rival_json(const struct hub *h);
/** hub_rival_judge() - in an agent's answer: the hub that began last, of those that called in our time, @age_ms. Total. */
bool hub_rival_judge(const json_t *reply, uint64_t age_ms, struct hub_rival_seen *ret);

/* ---- hub_host.c: workers and dials ---- */
/**
 * hub_host_attach() - start @hh's worker when none runs, and give it one end of a session; *ret_fd the other
 * Return: OK; ERR_AGAIN: the worker has as many before it as its socket holds, try soon; else @why.
 */
MUST_CHECK enum err hub_host_attach(struct hub_host *hh, int *ret_fd, char why[HUB_WHY_MAX]);
/** hub_host_retry() - the next attempt may begin at once. Return: did it rest? */
bool hub_host_retry(struct hub_host *hh);
/** hub_hosts_heard() - the session with this peer came up (again) */
void hub_hosts_heard(struct hub *h, wg_peer_id peer);
/** hub_host_stop() - end the worker and its dials */
void hub_host_stop(struct hub_host *hh);

/* ---- hub_bridge.c: virtual connections joined with local sockets ---- */
/** hub_bridge_add() - join a virtual connection and one end of a new pair. *ret_fd: the client's end. */
MUST_CHECK enum err hub_bridge_add(struct hub *h, struct net_tcp *c, bool counts, int *ret_fd);
/** hub_bridge_join() - join a virtual connection and @fd, which is given away only on OK; @c is, in any case */
MUST_CHECK enum err hub_bridge_join(struct hub *h, struct net_tcp *c, bool counts, int fd);
/** hub_bridges_in_use() - does a client still use one? */
bool hub_bridges_in_use(const struct hub *h);
void hub_bridges_abort(struct hub *h);

/* ---- hub_key.c: what workers need to log in ---- */
/**
 * hub_identities_read() - the files of @hh's identities, n_ids of them; wipe them after use
 * Return: how many can be used; @why: what is wrong with the others.
 */
size_t hub_identities_read(const struct hub_host *hh, struct ssh_identity ids[HUB_IDENTITIES_MAX], char why[HUB_WHY_MAX]);
void hub_identities_wipe(struct ssh_identity *ids, size_t n);
/** hub_secret_of() - the passphrase of the key at @path, when one was found right before; NULL */
const char *hub_secret_of(struct hub *h, const char *path);
void hub_secret_keep(struct hub *h, const char *path, struct bytes passphrase);
void hub_secrets_wipe(struct hub *h);
/** hub_agent_path() - ssh-agent's socket for @hh; NULL: there is none */
const char *hub_agent_path(const struct hub_host *hh);
/** hub_agent_set() - the socket that a command has; not an absolute path: nothing changes */
void hub_agent_set(struct hub_host *hh, const char *path);
/** hub_agent_ask() - carry @request there; the answer goes to @hh's worker */
void hub_agent_ask(struct hub_host *hh, uint32_t dial_id, struct bytes request);
void hub_agent_cancel(struct hub_host *hh);

/* ---- hub_notice.c: what agents tell unasked ---- */
MUST_CHECK enum err hub_notice_open(struct hub *h);
void hub_notice_close(struct hub *h);

/* ---- hub_conn.c: clients of the control socket ---- */
struct hub_conn;
MUST_CHECK enum err hub_conns_listen(struct hub *h);
void hub_conns_close(struct hub *h);
/** hub_conn_reply() - the answer to the request under way; steals @reply; @fd is given away (-1 = none) */
void hub_conn_reply(struct hub_conn *c, json_t *reply, int fd);
void hub_conn_fail(struct hub_conn *c, enum err e, unsigned ecode, const char *fmt, ...) PRINTF_LIKE(4, 5);
struct hub *hub_conn_hub(struct hub_conn *c);
/** hub_conn_set_job() - what is under way for this client, and how to cancel it when the client goes away */
void hub_conn_set_job(struct hub_conn *c, void *job, void (*cancel)(void *job));

/** hub_conn_own() - @thing lives as long as the client's connection, then @end is called; false = one is owned already */
bool hub_conn_own(struct hub_conn *c, void *thing, void (*end)(void *thing));

/** hub_conn_owned() - what hub_conn_own() was given with @end; NULL = nothing, or of another kind */
void *hub_conn_owned(const struct hub_conn *c, void (*end)(void *thing));

/* ---- hub_listen.c: ports inside the tunnel, and how streams ended ---- */
void hub_op_listen(struct hub_conn *c, const json_t *req);
void hub_op_accept(struct hub_conn *c, const json_t *req);
void hub_op_ended(struct hub_conn *c, const json_t *req);
/** hub_stream_reply() - to a client that gets the bridge which was made last */
json_t *hub_stream_reply(const struct hub *h);
/** hub_stream_ended() - a bridge is over */
void hub_stream_ended(struct hub *h, uint64_t id, enum err e);

/* ---- hub_ops.c ---- */
/** hub_op_run() - start one request; it ends with one hub_conn_reply() or hub_conn_fail(), now or later */
void hub_op_run(struct hub_conn *c, const json_t *req);
/** hub_need_host() - the host that @req names; NULL: there is none that can be reached, and the client was told so */
struct hub_host *hub_need_host(struct hub_conn *c, const json_t *req);
/** hub_deadline_of() - "timeout_ms" of @req from now, at most @max */
nsec_t hub_deadline_of(const json_t *req, nsec_t max);

/* ---- hub_open.c, hub_ping.c, hub_status.c ---- */
void hub_op_dial(struct hub_conn *c, const json_t *req);
void hub_op_session(struct hub_conn *c, const json_t *req);
void hub_op_ping(struct hub_conn *c, const json_t *req);
void hub_op_status(struct hub_conn *c, const json_t *req);

/* ---- hub_forward.c: local ports ---- */
struct hub_forward;
/**
 * hub_forward_open() - listen on @bind; each connection goes to @host's port @port through the tunnel
 * Return: OK with the port that was bound; ERR_IN_USE; ERR_PERMISSION; ERR_NOMEM.
 */
MUST_CHECK enum err hub_forward_open(struct hub *h, const char *host, uint16_t port, const struct endpoint *bind,
				     struct hub_forward **ret, uint16_t *ret_port);
/** hub_forward_close() - stop listening; connections that stand go on. @forward: a struct hub_forward */
void hub_forward_close(void *forward);

/* ---- hub_keep.c: forwards in the background ---- */
void hub_op_keep(struct hub_conn *c, const json_t *req);
void hub_op_keeps(struct hub_conn *c, const json_t *req);
void hub_op_unkeep(struct hub_conn *c, const json_t *req);
/** hub_keeps_resume() - start those that stand in the file */
void hub_keeps_resume(struct hub *h);
/** hub_keeps_close() - end them; they stay in the file */
void hub_keeps_close(struct hub *h);

/* ---- hub_seen.c: last handshakes across runs ---- */
void hub_seen_load(struct hub *h);
/** hub_seen_update() - ask the device */
void hub_seen_update(struct hub *h);
/** hub_seen_save() - write the file when something changed since the last time */
void hub_seen_save(struct hub *h);
/** hub_seen_read() - the file, or NULL when there is none that we understand */
json_t *hub_seen_read(const char *path);
/** hub_seen_of() - Unix time in ns at which @host with @key was last heard; 0 = never */
uint64_t hub_seen_of(const json_t *file, const char *host, const char *key);

#endif
