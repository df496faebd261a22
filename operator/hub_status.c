/*
 * operator/hub_status.c - what the hub knows of itself and its hosts, for status. doc/control.md has the fields.
 *
 * Everything is looked up when it is asked for. What a worker or an agent said is told as theirs: numbers only, no words.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/version.h"
#include "operator/hub_internal.h"
#include "ssh/frame.h"

/* The pool, and file sessions from begin to end. */
static void add_counts(json_t *o, const struct hub_host *hh)
{
	static const struct ssh_counts none;
	const struct ssh_counts *n = hh->worker ? ssh_worker_counts(hh->worker) : &none;

	json_object_set_new(o, "ssh", json_pack("{s:I, s:I, s:I, s:I}", "connections", (json_int_t)n->n_connections, "sessions",
						(json_int_t)n->n_sessions, "file_sessions", (json_int_t)n->n_file_sessions,
						"file_sessions_ended", (json_int_t)(hh->files_ended + n->n_files_ended)));
}

/* Nothing failed: nothing to say. */
static void add_breaker(json_t *o, const struct breaker *b)
{
	static const char *const states[] = { "closed", "open", "half-open" };
	nsec_t now = os_now();

	if (b->n_failures > 0)
		json_object_set_new(o, "breaker",
				    json_pack("{s:s, s:i, s:s, s:s, s:I}", "state", states[b->state], "failures",
					      (int)b->n_failures, "reason", err_name(b->reason), "reason_text",
					      breaker_reason(b), "next_attempt_ms", (json_int_t)(b->state != BREAKER_OPEN || b->until <= now ?
					      0 : (b->until - now) / NSEC_PER_MSEC)));
}

static json_t *peer_status(struct hub *h, struct hub_host *hh)
{
	struct wg_device *dev = tunnel_device(h->tunnel);
	json_t *o = json_pack("{s:s, s:s}", "host", hh->peer.name, "addr", hh->addr);
	wg_peer_id id = hh->has_key ? wg_peer_find(dev, &hh->peer.key) : 0;
	uint64_t wall = os_wall_now();
	struct wg_peer_info info;
	char buf[ENDPOINT_STR_MAX];

	json_object_set_new(o, "last_handshake_age_ms",
			    hh->seen_wall ? json_integer(wall > hh->seen_wall ?
				(json_int_t)((wall - hh->seen_wall) / NSEC_PER_MSEC) : 0) : json_null());
	add_breaker(o, &hh->breaker);
	add_counts(o, hh);
	if (!id || !wg_peer_get_info(dev, id, os_now(), &info))
		return o;
	explicit_bzero(&info.psk, sizeof(info.psk));
	if (endpoint_is_set(&info.endpoint))
		json_object_set_new(o, "endpoint", json_string(endpoint_format(&info.endpoint, buf)));
	json_object_set_new(o, "rx_bytes", json_integer((json_int_t)info.rx_bytes));
	json_object_set_new(o, "tx_bytes", json_integer((json_int_t)info.tx_bytes));
	json_object_set_new(o, "up", json_boolean(info.is_up));
	json_object_set_new(o, "path", json_string("direct"));
	return o;
}

static json_t *gauges(const struct hub *h)
{
	struct tunnel_gauge g[TUNNEL_N_GAUGES];
	size_t n = tunnel_gauges(h->tunnel, g, ARRAY_SIZE(g));
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, g[i].name, json_integer(g[i].value));
	return o;
}

/* A folder's name may be any bytes, and JSON is UTF-8: whoever has such a one sees where it is not. */
static json_t *socket_path(const struct hub *h)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", h->uapi ? tunnel_uapi_path(h->uapi) : "");
	text_make_utf8(path);
	return json_string(path);
}

void hub_op_status(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	json_t *peers = json_array();

	hub_seen_update(h);
	for (size_t i = 0; i < h->n_hosts; i++)
		if (!h->hosts[i]->gone)
			json_array_append_new(peers, peer_status(h, h->hosts[i]));
	hub_conn_reply(c,
		       json_pack("{s:i, s:s, s:b, s:i, s:I, s:s, s:o, s:o, s:o, s:o}", "pid", (int)getpid(), "version",
				 NEFIA_VERSION, "transient", h->opt.transient, "port", (int)tunnel_port(h->tunnel),
				 "uptime_ms", (json_int_t)((os_now() - h->started) / NSEC_PER_MSEC), "aead",
				 tunnel_aead(h->tunnel), "uapi", socket_path(h), "peers", peers, "udp", gauges(h), "rival", hub_rival_json(h)),
		       -1);
}
