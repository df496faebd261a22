/*
 * operator/hub.h - the hub: one process a user that owns the tunnel's key and serves the control socket.
 */
#ifndef OPERATOR_HUB_H
#define OPERATOR_HUB_H

#include <stdio.h>

#include "base/log.h"
#include "operator/hub_core.h"

struct hub_options {
	const char *home;     /* the Nefia folder */
	const char *config;   /* nefia.yaml */
	bool transient;       /* end with the last client; take another port when ours is in use */
	const char *uapi_dir; /* NULL = the default folders */
	enum log_level log_level;
	int report_fd;        /* tell there when ready, or why not; -1 = nobody asks */
};

/** hub_print_port_error() - E1004, and how to find who has the port; @port 0 = not known */
void hub_print_port_error(FILE *f, bool json, unsigned port);

/** hub_main() - run until stopped. Return: the exit code. */
int hub_main(const struct hub_options *opt);

#endif
