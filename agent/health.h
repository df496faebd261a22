/* agent/health.h - agent-health.json beside the configuration, and the command that shows it. */
#ifndef AGENT_HEALTH_H
#define AGENT_HEALTH_H

#include "base/types.h"

struct agent_health {
	char path[4096];
	nsec_t started;
	bool vpn_connected;
	unsigned rebuild_count;
	char last_config_error[512];
};

/** agent_path_beside() - @name in the folder of @config */
void agent_path_beside(const char *config, const char *name, char *ret, size_t size);
void agent_health_init(struct agent_health *h, const char *config, nsec_t now);
/** agent_health_write() - atomically; a failure is logged and forgotten */
void agent_health_write(const struct agent_health *h, nsec_t now);

#endif
