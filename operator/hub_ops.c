/*
 * operator/hub_ops.c - what clients may ask the hub. doc/control.md is the contract.
 *
 * An operation is a row of the table: a function that answers at once, or leaves a job with the connection and
 * answers later. Unknown fields of a request are ignored; an unknown operation and a request of a later major
 * version are refused with the versions on both sides, so that the person knows which program to update.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/version.h"
#include "operator/hub_internal.h"

/* ---- what operations have in common ---- */

/* The host that a request names; answers itself when there is none. */
struct hub_host *hub_need_host(struct hub_conn *c, const json_t *req)
{
	const char *name = hub_json_string(req, "host");
	struct hub_host *hh = name ? hub_find(hub_conn_hub(c), name) : NULL;

	if (!hh)
		hub_conn_fail(c, ERR_NOT_FOUND, 0, "unknown host: %s", name ? name : "(none given)");
	else if (!hh->has_key)
		hub_conn_fail(c, ERR_NOT_FOUND, HUB_ECODE_STATE, "host %s is not enrolled yet: it has no public key", name);
	else if (hub_rival_has_host(hh))
		hub_conn_fail(c, ERR_IN_USE, HUB_ECODE_RIVAL, "it began later than this one, at %s, seen by host %s", hh->rival.from, name);
	else
		return hh;
	return NULL;
}

nsec_t hub_deadline_of(const json_t *req, nsec_t max)
{
	json_int_t ms = hub_json_int(req, "timeout_ms", 0);

	return os_now() + (ms > 0 && (nsec_t)ms < max / NSEC_PER_MSEC ? (nsec_t)ms * NSEC_PER_MSEC : max);
}

/* ---- short ones ---- */

static void op_forward(struct hub_conn *c, const json_t *req)
{
	struct hub_host *hh = hub_need_host(c, req);
	const char *text = hub_json_string(req, "bind");
	struct hub_forward *f;
	struct endpoint bind;
	uint16_t port;
	enum err e;

	if (!hh)
		return;
	if (!text || endpoint_parse(text, &bind) != OK) {
		hub_conn_fail(c, ERR_INVALID, 0, "bind must be IP:PORT");
		return;
	}
	e = hub_forward_open(hh->hub, hh->peer.name, HUB_SSH_PORT, &bind, &f, &port);
	if (e != OK) {
		hub_conn_fail(c, e, 0, "cannot listen on %s: %s", text, err_text(e));
		return;
	}
	if (hub_conn_own(c, f, hub_forward_close)) {
		hub_conn_reply(c, json_pack("{s:i}", "port", (int)port), -1);
		return;
	}
	hub_forward_close(f);
	hub_conn_fail(c, ERR_EXISTS, 0, "this connection has a forward already");
}

static void op_hello(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	const char *config = hub_json_string(req, "config");

	if (config && strcmp(config, h->opt.config) != 0) {
		hub_conn_fail(c, ERR_IN_USE, 0, "the running hub (pid %d) uses another configuration: %s", (int)getpid(),
			      h->opt.config);
		return;
	}
	hub_conn_reply(c,
		       json_pack("{s:s, s:i, s:b}", "version", NEFIA_VERSION, "pid", (int)getpid(), "transient",
				 h->opt.transient),
		       -1);
}

static void op_stop(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);

	log_info("stopped by a client");
	hub_conn_reply(c, json_pack("{s:i, s:i}", "pid", (int)getpid(), "forwards", (int)h->n_keeps), -1);
	hub_stop(h);
}

/* "host": one, or none: all that rest */
static void op_retry(struct hub_conn *c, const json_t *req)
{
	struct hub *h = hub_conn_hub(c);
	struct hub_host *one = NULL;
	json_t *hosts;

	if (hub_json_string(req, "host") && !(one = hub_need_host(c, req)))
		return;
	hosts = json_array();
	for (size_t i = 0; i < h->n_hosts; i++)
		if ((!one || h->hosts[i] == one) && hub_host_retry(h->hosts[i]))
			json_array_append_new(hosts, json_string(h->hosts[i]->peer.name));
	hub_conn_reply(c, json_pack("{s:o}", "hosts", hosts), -1);
}

static void op_reload(struct hub_conn *c, const json_t *req)
{
	char *why = NULL;
	enum err e;

	if (json_is_true(json_object_get(req, "take_back")))
		hub_rival_take_back(hub_conn_hub(c));
	e = hub_reload(hub_conn_hub(c), &why);

	if (e == OK)
		hub_conn_reply(c, json_object(), -1);
	else
		hub_conn_fail(c, e, hub_config_ecode(e), "%s", why ? why : err_text(e));
	free(why);
}

/* ---- the table ---- */

static const struct op {
	const char *name;
	void (*run)(struct hub_conn *c, const json_t *req);
} ops[] = {
	{ "hello", op_hello },
	{ "status", hub_op_status },
	{ "ping", hub_op_ping },
	{ "dial", hub_op_dial },
	{ "stop", op_stop },
	{ "session", hub_op_session },
	{ "reload", op_reload },
	{ "forward", op_forward },
	{ "retry", op_retry },
	{ "keep", hub_op_keep },
	{ "keeps", hub_op_keeps },
	{ "unkeep", hub_op_unkeep },
	{ "listen", hub_op_listen },
	{ "accept", hub_op_accept },
	{ "ended", hub_op_ended },
	{ "enroll-listen", hub_op_enroll_listen },
	{ "enroll-events", hub_op_enroll_events },
};

void hub_op_run(struct hub_conn *c, const json_t *req)
{
	const char *name = hub_json_string(req, "op");
	json_int_t v = hub_json_int(req, "v", 0);
	struct hub *h = hub_conn_hub(c);
	char *why = NULL;

	if (v != HUB_WIRE_VERSION) {
		hub_conn_fail(c, ERR_VERSION, 0,
			      "the hub (nefia %s) speaks control protocol %d, this command %d: restart the hub or use "
			      "the same version", NEFIA_VERSION, HUB_WIRE_VERSION, (int)v);
		return;
	}
	/* A host that was added a moment ago must be there for the command that follows. */
	if (hub_setup_changed(h) && hub_reload(h, &why) != OK)
		log_error("configuration not reloaded: %s", why ? why : "unknown reason");
	free(why);
	for (size_t i = 0; name && i < ARRAY_SIZE(ops); i++) {
		if (strcmp(ops[i].name, name) == 0) {
			ops[i].run(c, req);
			return;
		}
	}
	hub_conn_fail(c, ERR_UNSUPPORTED, 0, "the hub (nefia %s) does not know the operation %s", NEFIA_VERSION,
		      name ? name : "(none)");
}
