/* agent/agent.h - the agent's commands; each gives an exit code. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "base/log.h"

struct agent_options {
	const char *config; /* path */
	enum log_level log_level;
};

int agent_cmd_run(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_status(const struct agent_options *opt, int argc, char **argv);
int agent_cmd_keygen(const struct agent_options *opt, int argc, char **argv);

#endif
