/*
 * operator/hub_core.h - the hub without its process: what owns the tunnel's key and serves the control socket.
 *
 * It runs on a loop of its owner's: the hub process, or the loop thread of libnefia.
 */
#ifndef OPERATOR_HUB_CORE_H
#define OPERATOR_HUB_CORE_H

#include <limits.h>

#include "base/err.h"
#include "base/types.h"
#include "os/loop.h"

#define HUB_SOCKET_TOO_LONG "the path of the control socket is too long: choose a shorter NEFIA_HOME"

/* Where the hub's files are; all derived from the Nefia folder. */
struct hub_paths {
	char run[PATH_MAX];    /* folder of the socket, 0700 */
	char socket[PATH_MAX];
	char lock[PATH_MAX];   /* in the Nefia folder, whatever the environment: process id and socket of its hub */
	char log[PATH_MAX];
	char state[PATH_MAX];  /* the tunnel's: watermark, endpoints */
	char seen[PATH_MAX];   /* last handshakes, for `vpn status` without a hub */
	char kept[PATH_MAX];   /* forwards in the background */
	char known_hosts[PATH_MAX];
};

/**
 * hub_folder_init() - which Nefia folder and nefia.yaml are meant
 * @config: named by the person, NULL = none
 *
 * The folder is $NEFIA_HOME, else that of @config, else ~/.nefia; "" when there is no home either. Both results have room for PATH_MAX bytes.
 */
void hub_folder_init(const char *config, char home[PATH_MAX], char ret_config[PATH_MAX]);
/**
 * hub_paths_init() - derive the paths
 *
 * The default folder's socket is in $XDG_RUNTIME_DIR/nefia when there is one, else in <home>/run; another
 * folder (--config, $NEFIA_HOME) is another hub, whose socket is always in <home>/run.
 * Return: OK; ERR_TOO_LONG: a socket's path cannot be so long.
 */
MUST_CHECK enum err hub_paths_init(const char *home, struct hub_paths *ret);

/**
 * hub_other_socket() - where the hub of this folder says that it is, when that is not p->socket
 * One that was started with another runtime folder has its socket there.
 */
bool hub_other_socket(const struct hub_paths *p, char ret[PATH_MAX]);

/* Codes of the hub's own errors; their texts and hints are in the table of base/ecode. */
#define HUB_ECODE_CONFIG 1002
#define HUB_ECODE_PORT 1004
#define HUB_ECODE_START 1011
#define HUB_ECODE_RUNNING 1012
#define HUB_ECODE_VERSION 1014
#define HUB_ECODE_STATE 1053
#define HUB_ECODE_RIVAL 1056

struct hub_core_options {
	const char *home;       /* the Nefia folder */
	const char *config;     /* nefia.yaml; with @text only its name, which clients must give */
	const char *text;       /* the configuration itself, in place of the file; NULL = none */
	size_t text_len;
	bool transient;         /* end with the last client; take another port when ours is in use */
	bool is_guest;          /* the process is another program's, and has more threads */
	const char *uapi_dir;   /* NULL = the default folders */
	const char *worker;     /* the program that is the SSH worker; NULL = this one */
	void (*on_end)(void *ctx); /* nobody uses it any more, or a client stopped it: close it, not from within this call */
	void *ctx;
};

/* Why a hub could not be opened, for people. */
struct hub_failure {
	unsigned ecode;
	uint16_t port; /* HUB_ECODE_PORT: the one that was wanted */
	char message[512];
};

struct hub;
/** hub_open() - @opt's texts stay the caller's and must outlive the hub. ERR_IN_USE: a hub runs, or the port is taken. */
MUST_CHECK enum err hub_open(struct os_loop *loop, const struct hub_core_options *opt, struct hub **ret,
			     struct hub_failure *ret_why);
/** hub_is_behind() - are there bytes of clients that the peers have not acknowledged yet? */
bool hub_is_behind(const struct hub *h);
/** hub_close() - every connection ends, then the lock is given back */
void hub_close(struct hub *h);
/** hub_reload() - read nefia.yaml again and tell the tunnel; on an error all stays, *ret_why is to be freed */
MUST_CHECK enum err hub_reload(struct hub *h, char **ret_why);
/** hub_rival_take_back() - a person wants the key here; to be followed by hub_reload() */
void hub_rival_take_back(struct hub *h);
/** hub_lock_fd() - of the lock, for a forked child to close */
int hub_lock_fd(const struct hub *h);

#endif
