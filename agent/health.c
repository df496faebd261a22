/*
 * agent/health.c - see health.h.
 *
 * The file is for people and for monitoring that reads it: a fixed set of fields with "v", fields are only added. It is
 * replaced as a whole, at once when something in it changed, else once a minute, so that its age tells whether the agent
 * runs. A full or read-only disk costs the report and nothing else.
 */
#include "agent/health.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/proc.h"
#include "tunnel/tunnel.h"

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

/* "degraded": a session, but something is wrong; or nobody to talk to. */
static const char *status_of(const struct agent_health *h)
{
	if (!h->vpn_connected)
		return h->vpn_expected ? "unhealthy" : "degraded";
	return h->last_config_error[0] || h->ssh == AGENT_SSH_UNREACHABLE ? "degraded" : "ok";
}

/* "" = never */
static const char *rfc3339(uint64_t wall, char *buf, size_t size)
{
	time_t t = (time_t)(wall / NSEC_PER_SEC);
	struct tm tm;

	buf[0] = '\0';
	if (wall)
		strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	return buf;
}

static const char *ssh_name(enum agent_ssh ssh)
{
	static const char *const names[] = { "unknown", "reachable", "unreachable" };

	return names[ssh];
}

static json_t *gauges(const struct tunnel *t)
{
	struct tunnel_gauge g[TUNNEL_N_GAUGES];
	size_t n = tunnel_gauges(t, g, ARRAY_SIZE(g));
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, g[i].name, json_integer(g[i].value));
	return o;
}

/* A message may name a file as it is called, or end in the middle of a character: JSON is UTF-8, or there is no report. */
static json_t *text_json(const char *text)
{
	char copy[512];

	snprintf(copy, sizeof(copy), "%s", text);
	text_make_utf8(copy);
	return json_string(copy);
}

json_t *agent_health_json(const struct agent_health *h, nsec_t now)
{
	char rebuilt[32], written[32];
	json_t *o;

	o = json_pack("{s:i, s:s, s:b, s:I, s:s, s:i, s:s, s:i, s:o, s:s, s:i, s:s}", "v", 1, "status",
			 status_of(h), "vpn_connected", h->vpn_connected, "uptime_seconds",
			 (json_int_t)((now - h->started) / NSEC_PER_SEC), "version", "v" NEFIA_VERSION, "rebuild_count",
			 (int)h->rebuild_count, "last_rebuild",
			 rfc3339(h->last_rebuild_wall, rebuilt, sizeof(rebuilt)), "goroutines", (int)os_thread_count(),
			 "last_config_error", text_json(h->last_config_error), "ssh", ssh_name(h->ssh), "pid", (int)getpid(),
			 "written_at", rfc3339(os_wall_now(), written, sizeof(written)));
	if (o && h->tunnel)
		json_object_set_new(o, "udp", gauges(h->tunnel));
	return o;
}

/* FNV-1a over what the report says. */
static unsigned digest(const struct agent_health *h)
{
	unsigned d = 2166136261u;
	char text[700];
	int n = snprintf(text, sizeof(text), "%s %d %d %u %" PRIu64 " %s", status_of(h), h->vpn_connected,
			 h->ssh, h->rebuild_count, h->last_rebuild_wall, h->last_config_error);

	for (int i = 0; i < n && i < (int)sizeof(text) - 1; i++)
		d = (d ^ (uint8_t)text[i]) * 16777619u;
	return d;
}

static enum err write_json(const struct agent_health *h, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
	enum err e = text ? os_file_write_atomic(h->path, text, strlen(text), 0600) : ERR_NOMEM;

	free(text);
	json_decref(j);
	return e;
}

void agent_health_write(struct agent_health *h, nsec_t now)
{
	unsigned says = digest(h);
	enum err e;

	if (h->written && says == h->said && now - h->written < AGENT_HEALTH_EVERY)
		return;
	e = write_json(h, agent_health_json(h, now));
	if (e != OK && !h->write_failed)
		log_warn("health file not written, 'nefia-agent status' will be out of date path=%s error=%s", h->path,
			 err_text(e));
	else if (e == OK && h->write_failed)
		log_info("health file written again path=%s", h->path);
	h->write_failed = e != OK;
	h->said = says;
	h->written = MAX(now, 1ULL);
}

void agent_health_end(struct agent_health *h, nsec_t now)
{
	json_t *j;

	h->vpn_connected = false;
	j = agent_health_json(h, now);
	if (j)
		json_object_set_new(j, "running", json_false());
	if (write_json(h, j) != OK)
		log_debug("the last health report was not written path=%s", h->path);
}
