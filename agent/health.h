/* agent/health.h - agent-health.json beside the configuration: what is written, and the command that shows it. */
#ifndef AGENT_HEALTH_H
#define AGENT_HEALTH_H

#include <jansson.h>

#include "base/types.h"

#define AGENT_HEALTH_EVERY (60 * NSEC_PER_SEC) /* written at least so often; a report of three times that is stale */

enum agent_ssh { AGENT_SSH_UNKNOWN, AGENT_SSH_REACHABLE, AGENT_SSH_UNREACHABLE };

struct tunnel;

struct agent_health {
	char path[4096];
	const struct tunnel *tunnel; /* whose gauges are told; NULL: none */
	nsec_t started;
	bool vpn_connected;
	bool vpn_expected;         /* somebody should answer us */
	enum agent_ssh ssh;        /* as of the last connection */
	unsigned rebuild_count;
	uint64_t last_rebuild_wall; /* Unix ns; 0 = never */
	char last_config_error[512];
	/* of the file */
	nsec_t written;
	unsigned said;             /* a digest of what it says, times left out */
	bool write_failed;         /* told once */
};

/** agent_path_beside() - @name in the folder of @config */
void agent_path_beside(const char *config, const char *name, char *ret, size_t size);
void agent_health_init(struct agent_health *h, const char *config, nsec_t now);
/** agent_health_json() - the report as an object; NULL: out of memory */
json_t *agent_health_json(const struct agent_health *h, nsec_t now);
/** agent_health_write() - atomically, when it says something new or is old; a failure is logged once and tried again */
void agent_health_write(struct agent_health *h, nsec_t now);
/** agent_health_end() - the last report: not connected, and not running */
void agent_health_end(struct agent_health *h, nsec_t now);

#endif
