/*
 * agent/config_later.c - fields whose feature comes later: checked now, so that a file that is accepted today is still
 * right when they take effect.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "agent/config_internal.h"
#include "agent/keyring.h"
#include "base/duration.h"

#define PROBE_INTERVAL_MIN (30 * NSEC_PER_SEC)
#define N_LIST_MAX 64

static const char *const later_fields[] = {
	"dns",		    "update_server_url", "agent_token",	 "agent_token_expires_at", "stun_servers",
	"endpoint_refresh", "cloud_api_base",	 "derp_servers", "derp_auto_select",	   "derp_probe_interval",
	"beacons",
};

/* ---- single values ---- */

/* The text of a field; NULL when it is not there or empty. Says so when it is a list or a mapping. */
static const char *text_of(struct conf_reader *r, const struct yaml_node *n)
{
	const char *s = yaml_text(n);

	if (n && !s)
		conf_wrong(r, n, "%s must be a single value", n->key ? n->key->text : "this");
	return s && *s ? s : NULL;
}

static void check_url(struct conf_reader *r, const struct yaml_node *n, const char *const *schemes)
{
	const char *s = text_of(r, n), *first = *schemes;
	size_t len = 0;

	for (; s && *schemes; schemes++)
		if (strncmp(s, *schemes, len = strlen(*schemes)) == 0)
			break;
	if (s && (!*schemes || !s[len] || strpbrk(s, " \t\r\n\"'<>")))
		conf_wrong(r, n, "%s must begin with %s and name a server", n->key->text, first);
}

static nsec_t check_duration(struct conf_reader *r, const struct yaml_node *n)
{
	const char *s = text_of(r, n);
	nsec_t t = 0;

	if (s && duration_parse(s, &t) != OK)
		conf_wrong(r, n, "%s is not a duration, as in 5m", n->key->text);
	return t;
}

static bool digits(const char *s, int n, int max)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + s[i] - '0';
	}
	return v <= max;
}

/* 2026-06-01T00:00:00Z, with a fraction or an offset instead of Z */
static bool is_rfc3339(const char *s)
{
	if (strlen(s) < 20 || !digits(s, 4, 9999) || s[4] != '-' || !digits(s + 5, 2, 12) || s[7] != '-' ||
	    !digits(s + 8, 2, 31) || (s[10] != 'T' && s[10] != 't') || !digits(s + 11, 2, 23) || s[13] != ':' ||
	    !digits(s + 14, 2, 59) || s[16] != ':' || !digits(s + 17, 2, 60))
		return false;
	s += 19;
	if (*s == '.')
		s += 1 + strspn(s + 1, "0123456789");
	if (strcmp(s, "Z") == 0 || strcmp(s, "z") == 0)
		return s[-1] != '.';
	return strlen(s) == 6 && (s[0] == '+' || s[0] == '-') && digits(s + 1, 2, 23) && s[3] == ':' && digits(s + 4, 2, 59);
}

static void check_token(struct conf_reader *r, const struct yaml_node *root)
{
	const struct yaml_node *n = yaml_get(root, "agent_token"), *until = yaml_get(root, "agent_token_expires_at");
	const char *token = text_of(r, n), *expires = text_of(r, until);

	if (token && strncmp(token, "keyring:", 8) == 0 && !agent_keyring_item(token))
		conf_wrong(r, n, "agent_token is not a keyring reference, as in keyring:agent-token");
	if (expires && !is_rfc3339(expires))
		conf_wrong(r, until, "agent_token_expires_at is not a time, as in 2026-06-01T00:00:00Z");
}

/* ---- lists ---- */

static void check_dns(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct ip_addr ip;

	if (!yaml_text(item) || ip_addr_parse(item->text, &ip) != OK)
		conf_wrong(r, item, "dns is not an IP address, as in 10.99.0.1");
}

static void check_stun(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	if (!yaml_text(item) || !agent_is_host_port(item->text))
		conf_wrong(r, item, "stun_servers expects HOST:PORT, as in stun.example.org:3478");
}

static void check_text(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	if (!text_of(r, item))
		conf_wrong(r, item, "a text is expected here");
}

static void check_derp(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	static const char *const derp_fields[] = { "url", "region", NULL };
	static const char *const schemes[] = { "wss://", "ws://" /* for development */, NULL };

	conf_known_fields(r, item, derp_fields);
	if (r->e == OK && !text_of(r, yaml_get(item, "url")))
		conf_wrong(r, item, "the relay's url is missing");
	check_url(r, yaml_get(item, "url"), schemes);
	text_of(r, yaml_get(item, "region"));
}

static void check_list(struct conf_reader *r, const struct yaml_node *n,
		       void (*fn)(struct conf_reader *r, const struct yaml_node *item, void *ctx))
{
	size_t len = 0;

	yaml_for_each(item, n && n->kind == YAML_SEQ ? n : NULL)
		len++;
	if (len > N_LIST_MAX)
		conf_wrong(r, n, "more than %d entries in %s", N_LIST_MAX, n->key->text);
	conf_each(r, n, fn, NULL);
}

/* A list of mappings: a lone scalar is wrong even when empty lists are fine. */
static void check_maps(struct conf_reader *r, const struct yaml_node *n,
		       void (*fn)(struct conf_reader *r, const struct yaml_node *item, void *ctx))
{
	if (n && n->kind != YAML_SEQ && !(n->kind == YAML_SCALAR && !n->text[0]))
		conf_wrong(r, n, "%s must be a list", n->key->text);
	else
		check_list(r, n, fn);
}

/* ---- beacons ---- */

static void check_interval(struct conf_reader *r, const struct yaml_node *n)
{
	if (n && text_of(r, n) && check_duration(r, n) == 0)
		conf_wrong(r, n, "interval must be more than 0");
}

static void check_disk_usage(struct conf_reader *r, const struct yaml_node *n)
{
	static const char *const names[] = { "enabled", "interval", "warning_percent", "critical_percent", "paths", NULL };
	unsigned long long warning = 80, critical = 90;
	bool enabled;

	conf_known_fields(r, n, names);
	conf_read_bool(r, yaml_get(n, "enabled"), &enabled);
	check_interval(r, yaml_get(n, "interval"));
	conf_read_number(r, yaml_get(n, "warning_percent"), 100, &warning);
	conf_read_number(r, yaml_get(n, "critical_percent"), 100, &critical);
	if (r->e == OK && warning > critical)
		conf_wrong(r, n, "warning_percent (%llu) is above critical_percent (%llu)", warning, critical);
	check_list(r, yaml_get(n, "paths"), check_text);
}

static void check_service(struct conf_reader *r, const struct yaml_node *n)
{
	static const char *const names[] = { "enabled", "interval", "services", NULL };
	bool enabled;

	conf_known_fields(r, n, names);
	conf_read_bool(r, yaml_get(n, "enabled"), &enabled);
	check_interval(r, yaml_get(n, "interval"));
	check_list(r, yaml_get(n, "services"), check_text);
}

static void check_script(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	static const char *const names[] = { "name", "command", "interval", NULL };

	conf_known_fields(r, item, names);
	if (r->e == OK && !text_of(r, yaml_get(item, "name")))
		conf_wrong(r, item, "the script's name is missing");
	if (r->e == OK && !text_of(r, yaml_get(item, "command")))
		conf_wrong(r, item, "the script's command is missing");
	check_interval(r, yaml_get(item, "interval"));
}

static void check_beacons(struct conf_reader *r, const struct yaml_node *n)
{
	static const char *const names[] = { "disk_usage", "service_check", "scripts", NULL };

	if (!n || (n->kind == YAML_SCALAR && !n->text[0]))
		return;
	conf_known_fields(r, n, names);
	if (yaml_get(n, "disk_usage"))
		check_disk_usage(r, yaml_get(n, "disk_usage"));
	if (yaml_get(n, "service_check"))
		check_service(r, yaml_get(n, "service_check"));
	check_maps(r, yaml_get(n, "scripts"), check_script);
}

/* ---- all of them ---- */

static void note_later(struct agent_config *c, const struct yaml_node *root)
{
	for (size_t i = 0; i < ARRAY_SIZE(later_fields); i++) {
		const struct yaml_node *n = yaml_get(root, later_fields[i]);
		size_t used = strlen(c->later);

		if (n && !(n->kind == YAML_SCALAR && !n->text[0]) && !(n->kind != YAML_SCALAR && !n->first))
			snprintf(c->later + used, sizeof(c->later) - used, "%s%s", used ? ", " : "", later_fields[i]);
	}
}

void agent_config_read_later(struct conf_reader *r, const struct yaml_node *root, struct agent_config *c)
{
	static const char *const https[] = { "https://", NULL };
	const struct yaml_node *probe = yaml_get(root, "derp_probe_interval");
	bool auto_select;

	check_list(r, yaml_get(root, "dns"), check_dns);
	check_url(r, yaml_get(root, "update_server_url"), https);
	check_token(r, root);
	check_list(r, yaml_get(root, "stun_servers"), check_stun);
	check_duration(r, yaml_get(root, "endpoint_refresh"));
	check_url(r, yaml_get(root, "cloud_api_base"), https);
	check_maps(r, yaml_get(root, "derp_servers"), check_derp);
	conf_read_bool(r, yaml_get(root, "derp_auto_select"), &auto_select);
	if (probe && text_of(r, probe) && check_duration(r, probe) < PROBE_INTERVAL_MIN)
		conf_wrong(r, probe, "derp_probe_interval must be at least 30s");
	check_beacons(r, yaml_get(root, "beacons"));
	note_later(c, root);
}
