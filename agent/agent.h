/* agent/agent.h - the agent's commands; each gives an exit code. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/log.h"

/* Exit codes. A report is asked for by scripts: each state has its own. */
#define AGENT_EXIT_FAILURE 1   /* also: no report, or the agent does not run */
#define AGENT_EXIT_USAGE 2
#define AGENT_EXIT_DEGRADED 3
#define AGENT_EXIT_UNHEALTHY 4

struct agent_options {
	const char *config; /* path */
	enum log_level log_level;
};

int agent_cmd_run(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_enroll(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_status(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_install_service(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_uninstall_service(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_keygen(const struct agent_options *opt, int argc, char **argv);

#endif
