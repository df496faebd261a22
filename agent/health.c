/* agent/health.c - see health.h. */
#include "agent/health.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "agent/agent.h"
#include "base/duration.h"
#include "base/log.h"
#include "base/version.h"
#include "os/file.h"
#include "os/proc.h"

void agent_path_beside(const char *config, const char *name, char *ret, size_t size)
{
	const char *slash = strrchr(config, '/');

	snprintf(ret, size, "%.*s%s", slash ? (int)(slash - config + 1) : 0, config, name);
}

void agent_health_init(struct agent_health *h, const char *config, nsec_t now)
{
	*h = (struct agent_health){ .started = now };
	agent_path_beside(config, "agent-health.json", h->path, sizeof(h->path));
}

void agent_health_write(const struct agent_health *h, nsec_t now)
{
	json_t *j = json_pack("{s:i, s:s, s:b, s:I, s:s, s:i, s:s, s:i, s:s}", "v", 1, "status",
			      !h->vpn_connected ? "unhealthy" : h->last_config_error[0] ? "degraded" : "ok", "vpn_connected",
			      h->vpn_connected, "uptime_seconds", (json_int_t)((now - h->started) / NSEC_PER_SEC),
			      "version", "v" NEFIA_VERSION, "rebuild_count", (int)h->rebuild_count, "last_rebuild", "",
			      "goroutines", (int)os_thread_count(), "last_config_error", h->last_config_error);
	char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
	enum err e = text ? os_file_write_atomic(h->path, text, strlen(text), 0600) : ERR_NOMEM;

	if (e != OK)
		log_warn("health file not written path=%s error=%s", h->path, err_text(e));
	free(text);
	json_decref(j);
}

static const char *get_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

int agent_cmd_status(const struct agent_options *opt, int argc, char **argv)
{
	char path[4096], uptime[DURATION_STR_MAX];
	json_error_t error;
	json_t *j;
	nsec_t up;

	if (argc > 1) {
		fprintf(stderr, "nefia-agent: 'status' takes no arguments\n");
		return 2;
	}
	agent_path_beside(opt->config, "agent-health.json", path, sizeof(path));
	j = json_load_file(path, 0, &error);
	if (!json_is_object(j)) {
		fprintf(stderr, "nefia-agent: %s: no health report there. Is the agent running with this configuration?\n",
			path);
		json_decref(j);
		return 1;
	}
	up = (nsec_t)json_integer_value(json_object_get(j, "uptime_seconds")) * NSEC_PER_SEC;
	printf("Health Status: %s\n", get_text(j, "status"));
	printf("VPN Connected: %s\n", json_is_true(json_object_get(j, "vpn_connected")) ? "true" : "false");
	printf("Uptime: %s\n", duration_format(up, uptime));
	printf("Version: %s\n", get_text(j, "version"));
	printf("Rebuild Count: %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(j, "rebuild_count")));
	printf("Last Rebuild: %s\n", get_text(j, "last_rebuild")[0] ? get_text(j, "last_rebuild") : "never");
	printf("Goroutines: %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(j, "goroutines")));
	if (get_text(j, "last_config_error")[0])
		printf("Config Error: %s\n", get_text(j, "last_config_error"));
	json_decref(j);
	return 0;
}
