/*
 * agent/status.c - `nefia-agent status`: the last health report, for people, and as JSON with an exit code for scripts.
 *
 * The report is a file, so this works without the agent; how old it is tells whether the agent still runs.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "agent/health.h"
#include "base/duration.h"
#include "os/file.h"
#include "os/loop.h"

#define REPORT_BYTES_MAX 65536

static const char *get_text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static json_t *load(const char *path, enum err *ret_e)
{
	json_t *j;
	char *text;
	size_t len;

	*ret_e = os_file_read(path, REPORT_BYTES_MAX, &text, &len);
	if (*ret_e != OK)
		return NULL;
	j = json_loadb(text, len, 0, NULL);
	free(text);
	if (!json_is_object(j)) {
		json_decref(j);
		j = NULL;
		*ret_e = ERR_FORMAT;
	}
	return j;
}

/* Seconds since the report was written; -1 when it does not say, or when the clock was set back. */
static long long age_of(const json_t *j)
{
	struct tm tm = { 0 };
	long long now = (long long)(os_wall_now() / NSEC_PER_SEC), then;

	if (!strptime(get_text(j, "written_at"), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return -1;
	then = (long long)timegm(&tm);
	return now >= then ? now - then : -1;
}

static bool is_running(const json_t *j, long long age)
{
	return !json_is_false(json_object_get(j, "running")) && age <= (long long)(3 * AGENT_HEALTH_EVERY / NSEC_PER_SEC);
}

static double a_call(const json_t *udp, const char *datagrams, const char *calls)
{
	json_int_t n = json_integer_value(json_object_get(udp, calls));

	return n > 0 ? (double)json_integer_value(json_object_get(udp, datagrams)) / (double)n : 0;
}

static void print_udp(const json_t *udp)
{
	if (!json_is_object(udp))
		return;
	printf("UDP: segmentation %s, joining %s, %.1f datagrams a call out, %.1f in, %" JSON_INTEGER_FORMAT " dropped\n",
	       json_integer_value(json_object_get(udp, "gso")) ? "on" : "off",
	       json_integer_value(json_object_get(udp, "gro")) ? "on" : "off", a_call(udp, "tx_datagrams", "tx_calls"),
	       a_call(udp, "rx_datagrams", "rx_calls"), json_integer_value(json_object_get(udp, "rx_dropped")));
}

static void print_human(const json_t *j, long long since)
{
	char uptime[DURATION_STR_MAX];
	json_int_t seconds = json_integer_value(json_object_get(j, "uptime_seconds")) + since;
	nsec_t up = (nsec_t)MAX(MIN(seconds, (json_int_t)1000000000), (json_int_t)0) * NSEC_PER_SEC;

	printf("Health Status: %s\n", get_text(j, "status"));
	printf("VPN Connected: %s\n", json_is_true(json_object_get(j, "vpn_connected")) ? "true" : "false");
	printf("Uptime: %s\n", duration_format(up, uptime));
	printf("Version: %s\n", get_text(j, "version"));
	printf("Rebuild Count: %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(j, "rebuild_count")));
	printf("Last Rebuild: %s\n", get_text(j, "last_rebuild")[0] ? get_text(j, "last_rebuild") : "never");
	printf("Goroutines: %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(j, "goroutines")));
	print_udp(json_object_get(j, "udp"));
	if (get_text(j, "last_config_error")[0])
		printf("Config Error: %s\n", get_text(j, "last_config_error"));
}

static void print_json(json_t *j, bool running, long long age)
{
	char *text;

	json_object_set_new(j, "running", json_boolean(running));
	json_object_set_new(j, "age_seconds", age >= 0 ? json_integer(age) : json_null());
	text = json_dumps(j, JSON_INDENT(2));
	puts(text ? text : "{}");
	free(text);
}

static int exit_code_of(const json_t *j, bool running)
{
	const char *status = get_text(j, "status");

	if (!running)
		return AGENT_EXIT_FAILURE;
	if (strcmp(status, "ok") == 0)
		return 0;
	return strcmp(status, "degraded") == 0 ? AGENT_EXIT_DEGRADED : AGENT_EXIT_UNHEALTHY;
}

static void print_missing(const char *path, enum err e, bool as_json)
{
	static const char question[] = "Is the agent running with this configuration?";
	const char *why = e == ERR_NOT_FOUND ? "no health report there" : err_text(e);
	json_t *j;

	if (!as_json) {
		fprintf(stderr, "nefia-agent: %s: %s. %s\n", path, why, question);
		return;
	}
	j = json_pack("{s:{s:s, s:s, s:s}}", "error", "file", path, "message", why, "try", question);
	json_dumpf(j, stderr, JSON_COMPACT);
	fputc('\n', stderr);
	json_decref(j);
}

int agent_cmd_status(const struct agent_options *opt, int argc, char **argv)
{
	bool as_json = argc == 2 && strcmp(argv[1], "--json") == 0, running;
	char path[4096];
	long long age;
	enum err e;
	json_t *j;
	int code;

	if (argc > 1 && !as_json) {
		fprintf(stderr, "nefia-agent: 'status' does not know '%s'; see 'nefia-agent status --help'\n", argv[1]);
		return AGENT_EXIT_USAGE;
	}
	agent_path_beside(opt->config, "agent-health.json", path, sizeof(path));
	j = load(path, &e);
	if (!j) {
		print_missing(path, e, as_json);
		return AGENT_EXIT_FAILURE;
	}
	age = age_of(j);
	running = is_running(j, age);
	if (as_json)
		print_json(j, running, age);
	else
		print_human(j, running ? MAX(age, 0LL) : 0); /* it ran on since it wrote the report */
	if (!running && age >= 0)
		fprintf(stderr, "nefia-agent: the agent does not run: this report is %lld s old\n", age);
	code = exit_code_of(j, running);
	json_decref(j);
	return code;
}
