/*
 * operator/cmd_vpn.c - `nefia vpn status [--live] [--ping] [--json]`.
 *
 * Without a flag nothing is started: a hub that runs is asked, else the times that the last hub left on disk are
 * shown. --live and --ping attach to the hub or start one; --live waits a moment for the first handshakes, so that a
 * tunnel that was just started does not look dead.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operator/cmd.h"
#include "operator/hub.h"
#include "operator/hub_attach.h"
#include "operator/hub_internal.h"
#include "operator/json_text.h"
#include "operator/status.h"

#define STATUS_CALL_MAX (3 * NSEC_PER_SEC)
#define LIVE_WAIT_MAX (2 * NSEC_PER_SEC)

struct status_flags {
	bool live, ping, json;
};

struct status_view {
	struct status s;
	struct status_peer *peers;
	char (*addrs)[IP_ADDR_STR_MAX];
	char operator_addr[IP_ADDR_STR_MAX];
	json_t *status, *pings; /* replies of the hub, whose texts the peers show */
};

static uint64_t age_from_wall(uint64_t seen)
{
	uint64_t now = os_wall_now();

	if (seen == 0)
		return STATUS_NEVER;
	return now > seen ? (now - seen) / NSEC_PER_SEC : 0;
}

/* ---- from nefia.yaml and the last hub's file ---- */

static void view_hosts(struct status_view *v, const struct cli *cli)
{
	const struct config *c = &cli->cfg;
	struct hub_paths paths;
	json_t *seen = hub_paths_init(cli->home, &paths) == OK ? hub_seen_read(paths.seen) : NULL;
	char key[KEY_STR_MAX];

	for (size_t i = 0; i < c->n_hosts; i++) {
		const struct host_config *hc = &c->hosts[i];
		struct status_peer *p = &v->peers[i];

		p->host = hc->id;
		p->addr = hc->n_addrs ? ip_addr_format(&hc->addrs[0], v->addrs[i]) : "-";
		p->pending = !hc->has_key;
		p->age_s = age_from_wall(hub_seen_of(seen, hc->id, key_to_base64(hc->public_key.b, key)));
	}
	json_decref(seen);
	v->s.peers = v->peers;
	v->s.n_peers = c->n_hosts;
	v->s.magic_dns = c->magic_dns;
	v->s.domain = c->magic_dns_domain;
	if (c->n_addrs)
		v->s.operator_addr = ip_addr_format(&c->addrs[0].ip, v->operator_addr);
}

/* ---- from the hub ---- */

static struct status_peer *find_peer(struct status_view *v, const char *host)
{
	for (size_t i = 0; host && i < v->s.n_peers; i++)
		if (strcmp(v->peers[i].host, host) == 0)
			return &v->peers[i];
	return NULL;
}

static void view_breaker(struct status_peer *p, const json_t *b)
{
	p->breaker = hub_json_string(b, "state");
	p->breaker_error = hub_json_string(b, "reason");
	p->breaker_reason = hub_json_string(b, "reason_text");
	p->failures = (unsigned)hub_json_int(b, "failures", 0);
	p->next_attempt_s = ((uint64_t)hub_json_int(b, "next_attempt_ms", 0) + 999) / 1000;
}

static void view_live(struct status_view *v)
{
	v->s.udp = json_object_get(v->status, "udp");
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(v->status, "peers"), i, o) {
		struct status_peer *p = find_peer(v, hub_json_string(o, "host"));
		json_int_t age_ms = hub_json_int(o, "last_handshake_age_ms", -1);

		if (!p)
			continue;
		if (age_ms >= 0)
			p->age_s = (uint64_t)age_ms / 1000;
		p->endpoint = hub_json_string(o, "endpoint");
		p->rx_bytes = (uint64_t)hub_json_int(o, "rx_bytes", 0);
		p->tx_bytes = (uint64_t)hub_json_int(o, "tx_bytes", 0);
		p->up = json_is_true(json_object_get(o, "up"));
		p->path = hub_json_string(o, "path");
		view_breaker(p, json_object_get(o, "breaker"));
		p->ssh = json_object_get(o, "ssh");
	}
}

static void view_rival(struct status_view *v)
{
	const json_t *o = json_object_get(v->status, "rival");

	v->s.rival = hub_json_string(o, "from");
	v->s.rival_host = v->s.rival ? hub_json_string(o, "host") : NULL;
	v->s.rival_age_s = (uint64_t)hub_json_int(o, "ago_ms", 0) / 1000;
	v->s.rival_brief = json_is_true(json_object_get(o, "brief"));
	v->s.stands_back = json_is_true(json_object_get(o, "stands_back"));
}

static void view_pings(struct status_view *v)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(v->pings, "results"), i, o) {
		struct status_peer *p = find_peer(v, hub_json_string(o, "host"));

		if (!p)
			continue;
		p->pinged = true;
		p->reachable = json_is_true(json_object_get(o, "reachable"));
		p->ping_ms = json_number_value(json_object_get(o, "ms"));
		if (!p->reachable)
			p->ping_error = err_text(hub_err_from_name(hub_json_string(o, "error")));
	}
}

/* Is there a peer that may still come up? One without an endpoint may be silent for good reason. */
static bool all_settled(const json_t *status)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(status, "peers"), i, o)
		if (json_object_get(o, "endpoint") && !json_is_true(json_object_get(o, "up")))
			return false;
	return true;
}

static enum err ask_status(struct hub_client *hc, bool wait, json_t **ret)
{
	nsec_t until = os_now() + LIVE_WAIT_MAX;
	json_t *status = NULL;
	enum err e;

	for (;;) {
		json_decref(status);
		status = NULL;
		e = hub_client_call(hc, "status", NULL, STATUS_CALL_MAX, &status, NULL);
		if (e != OK || !wait || all_settled(status) || os_now() > until)
			break;
		poll(NULL, 0, 50);
	}
	*ret = status;
	return e;
}

static int ask_hub(struct cli *cli, struct status_view *v, const struct status_flags *flags)
{
	struct hub_client *hc = NULL;
	bool needed = flags->live || flags->ping;
	enum err e;

	if (needed) {
		if (hub_client_open(cli, true, &hc) != OK)
			return EXIT_FAILED;
	} else if (hub_attach(cli->home, cli->config, false, &hc) != OK) {
		hub_client_close(hc);
		return EXIT_OK; /* what is on disk must do */
	}
	e = flags->ping ? hub_client_call(hc, "ping", NULL, HUB_PING_MAX, &v->pings, NULL) : OK;
	if (e == OK)
		e = ask_status(hc, flags->live, &v->status);
	if (e != OK && needed)
		cli_error(cli, 1015, "%s", hub_client_message(hc));
	hub_client_close(hc);
	if (e != OK)
		return needed ? EXIT_FAILED : EXIT_OK;
	view_live(v);
	view_rival(v);
	view_pings(v);
	return EXIT_OK;
}

/* ---- the command ---- */

static int print_json(const struct status *s)
{
	json_t *o = status_json(s);
	int r = json_text_print(o, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

	json_decref(o);
	return r == 0 ? EXIT_OK : EXIT_FAILED;
}

static int vpn_status(struct cli *cli, const struct status_flags *flags)
{
	struct status_view v = { .s = { .live = flags->live, .pinged = flags->ping } };
	int r = cli_load(cli);

	if (r != EXIT_OK)
		return r;
	v.peers = calloc(cli->cfg.n_hosts + 1, sizeof(v.peers[0]));
	v.addrs = calloc(cli->cfg.n_hosts + 1, sizeof(v.addrs[0]));
	if (!v.peers || !v.addrs) {
		r = cli_error(cli, 1099, "out of memory");
		goto out;
	}
	view_hosts(&v, cli);
	r = ask_hub(cli, &v, flags);
	if (r == EXIT_OK && flags->json)
		r = print_json(&v.s);
	else if (r == EXIT_OK)
		status_print(stdout, &v.s);
out:
	json_decref(v.status);
	json_decref(v.pings);
	free(v.peers);
	free(v.addrs);
	return r;
}

const struct cli_option vpn_status_options[] = {
	{ "live", 0, NULL, "bring the tunnel up and show endpoints, handshakes, transfer", option_flag,
	  offsetof(struct status_flags, live) },
	{ "ping", 0, NULL, "test a connection to each host", option_flag, offsetof(struct status_flags, ping) },
	{ "json", 0, NULL, "as JSON", option_flag, offsetof(struct status_flags, json) },
	{ .name = NULL },
};

int cmd_vpn_status(struct cli *cli, int argc, char **argv)
{
	struct status_flags flags = { .json = cli->json };

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	cli->json = flags.json;
	return vpn_status(cli, &flags);
}
