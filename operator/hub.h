/*
 * operator/hub.h - the hub: one process a user that owns the tunnel's key and serves the control socket.
 */
#ifndef OPERATOR_HUB_H
#define OPERATOR_HUB_H

#include <limits.h>
#include <stdio.h>

#include "base/err.h"
#include "base/types.h"

struct cli;

/* Where the hub's files are; all derived from the Nefia folder. */
struct hub_paths {
	char run[PATH_MAX];    /* folder of socket and lock, 0700 */
	char socket[PATH_MAX];
	char lock[PATH_MAX];
	char home_lock[PATH_MAX]; /* of the folder, whatever the environment: process id and socket of its hub */
	char log[PATH_MAX];
	char state[PATH_MAX];  /* the tunnel's: watermark, endpoints */
	char seen[PATH_MAX];   /* last handshakes, for `vpn status` without a hub */
	char known_hosts[PATH_MAX];
};

struct hub_options {
	const char *home;     /* the Nefia folder */
	const char *config;   /* nefia.yaml */
	bool transient;       /* end with the last client; take another port when ours is in use */
	const char *uapi_dir; /* NULL = the default folders */
	const char *log_level; /* NULL = info */
	int report_fd;        /* tell there when ready, or why not; -1 = nobody asks */
};

/**
 * hub_paths_init() - derive the paths
 *
 * The default folder's socket is in $XDG_RUNTIME_DIR/nefia when there is one, else in <home>/run; another
 * folder (--config, $NEFIA_HOME) is another hub, whose socket is always in <home>/run.
 * Return: OK; ERR_TOO_LONG: a socket's path cannot be so long.
 */
MUST_CHECK enum err hub_paths_init(const char *home, struct hub_paths *ret);

/* Codes of the hub's own errors; their texts and hints are in the table of base/ecode. */
#define HUB_ECODE_CONFIG 1002
#define HUB_ECODE_PORT 1004
#define HUB_ECODE_START 1011
#define HUB_ECODE_RUNNING 1012
#define HUB_ECODE_VERSION 1014
#define HUB_ECODE_RIVAL 1056

/** hub_print_port_error() - E1004, and how to find who has the port; @port 0 = not known */
void hub_print_port_error(FILE *f, bool json, unsigned port);

/** hub_main() - run until stopped. Return: the exit code. */
int hub_main(const struct hub_options *opt);

#endif
