/*
 * operator/enroll_store.c - see enroll_store.h.
 *
 * Every change is a config_edit(): under nefia.yaml.lock the file is read again, judged as it stands then, and replaced
 * whole. What an invite needs stands in the host's entry; a host has used its invite when it has a key and is not pending.
 */
#include "operator/enroll_store.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "operator/edit.h"
#include "os/file.h"

/* ---- invites as the decision wants them ---- */

static void invite_of(const struct host_config *h, struct enroll_invite *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->nonce, h->invite.nonce, sizeof(ret->nonce));
	enroll_id(ret->nonce, ret->id);
	ret->expires = h->invite.expires;
	snprintf(ret->host_id, sizeof(ret->host_id), "%s", h->id);
	ret->revoked = strcmp(h->state, "revoked") == 0;
	ret->used = h->has_key && !config_host_is_pending(h);
	memcpy(ret->agent, h->public_key.b, KEY_LEN);
}

static void fleet_of(const struct config *c, const struct fleet_invite *f, struct enroll_invite *ret)
{
	char id[2 * ENROLL_ID_LEN + 1];

	memset(ret, 0, sizeof(*ret));
	memcpy(ret->nonce, f->nonce, sizeof(ret->nonce));
	enroll_id(ret->nonce, ret->id);
	ret->expires = f->expires;
	ret->n_uses_max = f->max_uses;
	hex_encode(ret->id, ENROLL_ID_LEN, id);
	for (size_t i = 0; i < c->n_hosts; i++)
		ret->n_used += strcmp(c->hosts[i].fleet, id) == 0;
}

enum err invites_of(const struct config *c, uint64_t wall, struct enroll_invites *ret, size_t *ret_pending, size_t *ret_open)
{
	struct enroll_invites s = { calloc(c->n_hosts + c->n_fleets + 1, sizeof(*s.v)), 0 };

	if (!s.v)
		return ERR_NOMEM;
	*ret_pending = *ret_open = 0;
	for (size_t i = 0; i < c->n_hosts; i++) {
		const struct host_config *h = &c->hosts[i];
		bool pending = config_host_is_pending(h), expired = wall >= h->invite.expires;

		if (!h->invite.is_set)
			continue;
		invite_of(h, &s.v[s.n++]);
		*ret_pending += pending && !expired;
		*ret_open += pending || !expired;
	}
	for (size_t i = 0; i < c->n_fleets; i++) {
		fleet_of(c, &c->fleets[i], &s.v[s.n++]);
		*ret_pending += wall < c->fleets[i].expires && s.v[s.n - 1].n_used < s.v[s.n - 1].n_uses_max;
		*ret_open += wall < c->fleets[i].expires;
	}
	enroll_invites_sort(&s);
	*ret = s;
	return OK;
}

/* ---- inviting ---- */

struct making {
	const struct invite_request *req;
	struct invite_result *ret;
	struct enroll_token token;
	uint8_t secret[KEY_LEN];
};

static enum err refuse(struct making *m, enum err e, unsigned ecode, const char *fmt, ...) PRINTF_LIKE(4, 5);
static enum err refuse(struct making *m, enum err e, unsigned ecode, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->ret->why, sizeof(m->ret->why), fmt, ap);
	va_end(ap);
	m->ret->ecode = ecode;
	return e;
}

/*
 * Addresses of a new host, the lowest free one of each family that the operator has, as they stand in the file;
 * @ret_first: the first of them alone.
 */
static enum err choose_addrs(const struct config *cfg, char *ret, size_t size, char ret_first[IP_ADDR_STR_MAX])
{
	char v4[IP_ADDR_STR_MAX], v6[IP_ADDR_STR_MAX];
	struct ip_addr ip4, ip6;
	bool has4 = config_next_addr(cfg, &ip4) == OK, want4 = false;
	enum err e6 = config_next_addr6(cfg, &ip6);

	for (size_t i = 0; i < cfg->n_addrs; i++)
		want4 |= cfg->addrs[i].ip.family == IP_V4;
	if ((want4 && !has4) || e6 == ERR_FULL || (!want4 && e6 != OK))
		return ERR_FULL;
	if (has4)
		ip_addr_format(&ip4, v4);
	if (e6 == OK)
		ip_addr_format(&ip6, v6);
	if (has4 && e6 == OK)
		snprintf(ret, size, "[\"%s\", \"%s\"]", v4, v6);
	else
		snprintf(ret, size, "\"%s\"", has4 ? v4 : v6);
	strcpy(ret_first, has4 ? v4 : v6);
	return OK;
}

static void fill_token(struct making *m, const struct config *cfg)
{
	const struct invite_request *req = m->req;
	struct wg_public_key pub;

	wg_public_from_private(&cfg->private_key, &pub);
	enroll_secret(cfg->private_key.b, m->secret);
	m->token = (struct enroll_token){ .endpoint = req->endpoint, .enroll_port = req->enroll_port, .has_nonce = true,
					  .expires = req->wall + req->ttl_s };
	m->token.reusable = req->max_uses > 0;
	if (!m->token.reusable)
		snprintf(m->token.host_id, sizeof(m->token.host_id), "%s", req->host_id);
	snprintf(m->token.vpn_addr, sizeof(m->token.vpn_addr), "%s", m->ret->addr);
	memcpy(m->token.operator_key, pub.b, KEY_LEN);
	rng_bytes(req->rng, m->token.nonce, ENROLL_NONCE_LEN);
}

static enum err new_host(const char *text, size_t len, const struct config *cfg, struct making *m, char **ret)
{
	char entry[1024], addrs[2 * IP_ADDR_STR_MAX + 8], nonce[2 * ENROLL_NONCE_LEN + 1];
	enum err e = choose_addrs(cfg, addrs, sizeof(addrs), m->ret->addr);

	if (e != OK)
		return refuse(m, e, 1024, "no free address is left in the subnet");
	fill_token(m, cfg);
	snprintf(entry, sizeof(entry),
		 "- id: %s\n"
		 "  state: pending\n"
		 "  os: %s\n"
		 "  vpn:\n"
		 "    addr: %s\n"
		 "  invite:\n"
		 "    nonce: \"%s\"\n"
		 "    expires: %llu\n",
		 m->req->host_id, m->req->os, addrs, hex_encode(m->token.nonce, ENROLL_NONCE_LEN, nonce),
		 (unsigned long long)m->token.expires);
	e = edit_add_host(text, len, entry, ret);
	sodium_memzero(entry, sizeof(entry));
	sodium_memzero(nonce, sizeof(nonce));
	return e;
}

static enum err old_host(const char *text, size_t len, const struct config *cfg, const struct host_config *h, struct making *m,
			 char **ret)
{
	char nonce[2 * ENROLL_NONCE_LEN + 3], expires[24];
	struct edit_field fields[] = {
		{ NULL, "state", "pending" },
		{ NULL, "os", m->req->os },
		{ "invite", "nonce", nonce },
		{ "invite", "expires", expires },
	};
	enum err e;

	if (h->n_addrs == 0)
		return refuse(m, ERR_INVALID, 1002, "%s has no address in the file", h->id);
	ip_addr_format(&h->addrs[0], m->ret->addr);
	fill_token(m, cfg);
	nonce[0] = '"';
	hex_encode(m->token.nonce, ENROLL_NONCE_LEN, nonce + 1);
	strcat(nonce, "\"");
	snprintf(expires, sizeof(expires), "%llu", (unsigned long long)m->token.expires);
	e = edit_set_fields(text, len, h->id, fields, ARRAY_SIZE(fields), ret);
	sodium_memzero(nonce, sizeof(nonce));
	return e;
}

static enum err new_fleet(const char *text, size_t len, const struct config *cfg, struct making *m, char **ret)
{
	char entry[512], nonce[2 * ENROLL_NONCE_LEN + 1];
	enum err e;

	if (cfg->n_fleets == N_FLEET_INVITES)
		return refuse(m, ERR_FULL, 1002, "there are %d reusable invites; remove those that have expired", N_FLEET_INVITES);
	fill_token(m, cfg);
	snprintf(entry, sizeof(entry), "- nonce: \"%s\"\n  expires: %llu\n  max_uses: %u\n%s%s%s",
		 hex_encode(m->token.nonce, ENROLL_NONCE_LEN, nonce), (unsigned long long)m->token.expires, m->req->max_uses,
		 m->req->group ? "  group: " : "", m->req->group ? m->req->group : "", m->req->group ? "\n" : "");
	e = edit_add_item(text, len, "invites", entry, ret);
	sodium_memzero(entry, sizeof(entry));
	sodium_memzero(nonce, sizeof(nonce));
	return e;
}

static enum err make_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct making *m = ctx;
	const struct host_config *h = m->req->max_uses > 0 ? NULL : config_host(cfg, m->req->host_id);
	enum err e;

	if (m->req->max_uses > 0) {
		e = new_fleet(text, len, cfg, m, ret);
		return e == OK ? enroll_token_encode(&m->token, m->secret, m->ret->token) : e;
	}
	if (h && !m->req->again)
		return refuse(m, ERR_EXISTS, 1022, "%s is in the list already; a new token for it: nefia vpn reinvite --name %s --endpoint IP:PORT",
			      h->id, h->id);
	if (!h && m->req->again)
		return refuse(m, ERR_NOT_FOUND, 1021, "there is no host %s", m->req->host_id);
	e = h ? old_host(text, len, cfg, h, m, ret) : new_host(text, len, cfg, m, ret);
	/* Before the file is written: an invite whose token nobody has would be of no use. */
	if (e == OK)
		e = enroll_token_encode(&m->token, m->secret, m->ret->token);
	return e;
}

enum err invite_make(const char *file, const struct invite_request *req, struct invite_result *ret)
{
	struct making m = { .req = req, .ret = ret };
	char why[512] = "";
	enum err e;

	memset(ret, 0, sizeof(*ret));
	e = config_edit(file, make_edit, &m, why, sizeof(why));
	if (e != OK && !ret->ecode) {
		snprintf(ret->why, sizeof(ret->why), "%s", why[0] ? why : err_text(e));
		ret->ecode = e == ERR_IN_USE ? 1007 : e == ERR_FORMAT || e == ERR_UNSUPPORTED ? 1002 : 1006;
	}
	sodium_memzero(&m.token, sizeof(m.token));
	sodium_memzero(m.secret, sizeof(m.secret));
	return e;
}

/* ---- using an invite ---- */

static void fill_reply(const struct config *cfg, const struct host_config *h, const char *state, struct enroll_attempt *a)
{
	struct enroll_reply *r = &a->reply;
	struct enroll_token t;

	snprintf(r->host_id, sizeof(r->host_id), "%s", h->id);
	snprintf(r->state, sizeof(r->state), "%s", state);
	for (size_t i = 0; i < h->n_addrs && i < ENROLL_ADDRS_MAX; i++) {
		r->addrs[i] = (struct ip_prefix){ h->addrs[i], (uint8_t)ip_addr_bits(&h->addrs[i]) };
		for (size_t k = 0; k < cfg->n_addrs; k++)
			if (ip_prefix_contains(&cfg->addrs[k], &h->addrs[i]))
				r->addrs[i].bits = cfg->addrs[k].bits;
		r->n_addrs++;
	}
	for (size_t i = 0; i < cfg->n_addrs && i < ENROLL_ADDRS_MAX; i++)
		r->operator_addrs[r->n_operator_addrs++] = cfg->addrs[i].ip;
	if (enroll_token_decode(a->req->token, &t) == OK)
		r->endpoint = t.endpoint;
	r->max_file_size = cfg->max_file_size_bytes;
}

static const struct host_config *host_of(const struct config *cfg, const uint8_t id[ENROLL_ID_LEN], struct enroll_invite *ret)
{
	for (size_t i = 0; i < cfg->n_hosts; i++) {
		if (!cfg->hosts[i].invite.is_set)
			continue;
		invite_of(&cfg->hosts[i], ret);
		if (memcmp(ret->id, id, ENROLL_ID_LEN) == 0)
			return &cfg->hosts[i];
	}
	return NULL;
}

static const struct host_config *host_with_key(const struct config *cfg, const uint8_t key[KEY_LEN])
{
	for (size_t i = 0; i < cfg->n_hosts; i++)
		if (cfg->hosts[i].has_key && memcmp(cfg->hosts[i].public_key.b, key, KEY_LEN) == 0)
			return &cfg->hosts[i];
	return NULL;
}

/* As a quoted scalar; NULL when it is not set. */
static const char *quoted_endpoint(const struct endpoint *ep, char buf[ENDPOINT_STR_MAX + 2])
{
	char text[ENDPOINT_STR_MAX];

	if (!endpoint_is_set(ep))
		return NULL;
	snprintf(buf, ENDPOINT_STR_MAX + 2, "\"%s\"", endpoint_format(ep, text));
	return buf;
}

static enum err store_host(const char *text, size_t len, const struct host_config *h, const struct enroll_attempt *a, char **ret)
{
	char key[KEY_STR_MAX], ep[ENDPOINT_STR_MAX + 2], local[ENDPOINT_STR_MAX + 2];
	struct endpoint from = { .ip = a->from, .port = a->req->listen_port };
	bool has_local = !ip_addr_equal(&a->req->local_endpoint.ip, &from.ip);
	const struct edit_field fields[] = {
		{ NULL, "state", "active" },
		{ "vpn", "public_key", key_to_base64(a->agent, key) },
		{ "vpn", "endpoint", quoted_endpoint(&from, ep) },
		{ "vpn", "local_endpoint", has_local ? quoted_endpoint(&a->req->local_endpoint, local) : NULL },
	};

	return edit_set_fields(text, len, h->id, fields, ARRAY_SIZE(fields), ret);
}

static const struct fleet_invite *fleet_by_id(const struct config *cfg, const uint8_t id[ENROLL_ID_LEN], struct enroll_invite *ret)
{
	for (size_t i = 0; i < cfg->n_fleets; i++) {
		fleet_of(cfg, &cfg->fleets[i], ret);
		if (memcmp(ret->id, id, ENROLL_ID_LEN) == 0)
			return &cfg->fleets[i];
	}
	return NULL;
}

/* The host's own name, made unique; "host" when it is none that we take. */
static void unique_name(const struct config *cfg, const char *own, char ret[HOST_ID_MAX + 1])
{
	const char *base = config_host_id_ok(own) ? own : "host";

	snprintf(ret, HOST_ID_MAX + 1, "%s", base);
	for (unsigned i = 2; config_host(cfg, ret); i++)
		snprintf(ret, HOST_ID_MAX + 1, "%.50s-%u", base, i);
}

/* A host of a fleet: entered as the agent comes, waiting for approval. */
static enum err store_fleet_host(const char *text, size_t len, const struct config *cfg, const struct fleet_invite *f,
				 struct enroll_attempt *a, char **ret)
{
	char name[HOST_ID_MAX + 1], addrs[2 * IP_ADDR_STR_MAX + 8], first[IP_ADDR_STR_MAX], key[KEY_STR_MAX], entry[1024];
	char id[2 * ENROLL_ID_LEN + 1], ep[ENDPOINT_STR_MAX + 2];
	struct endpoint from = { .ip = a->from, .port = a->req->listen_port };
	const char *at = quoted_endpoint(&from, ep);
	struct config next;
	char why[256];
	enum err e = choose_addrs(cfg, addrs, sizeof(addrs), first);

	if (e != OK) {
		a->reply.code = ENROLL_BUSY;
		snprintf(a->why, sizeof(a->why), "no free address is left in the subnet");
		return ERR_CANCELLED;
	}
	unique_name(cfg, a->req->host_id, name);
	snprintf(entry, sizeof(entry),
		 "- id: %s\n%s%s%s  state: pending-approval\n  fleet: \"%s\"\n  vpn:\n    addr: %s\n    public_key: %s\n%s%s%s", name,
		 f->group[0] ? "  group: " : "", f->group, f->group[0] ? "\n" : "", hex_encode(a->id, ENROLL_ID_LEN, id), addrs,
		 key_to_base64(a->agent, key), at ? "    endpoint: " : "", at ? at : "", at ? "\n" : "");
	e = edit_add_item(text, len, "hosts", entry, ret);
	if (e != OK)
		return e;
	/* The answer is what the file will say. */
	e = config_parse("nefia.yaml", *ret, strlen(*ret), &next, why, sizeof(why));
	if (e != OK) {
		snprintf(a->why, sizeof(a->why), "%s", why);
		return e;
	}
	fill_reply(&next, config_host(&next, name), "pending-approval", a);
	config_free(&next);
	return OK;
}

static enum err commit_fleet(const char *text, size_t len, const struct config *cfg, const struct fleet_invite *f,
			     const struct enroll_invite *inv, const uint8_t secret[KEY_LEN], struct enroll_attempt *a, char **ret)
{
	const struct host_config *h = host_with_key(cfg, a->agent);
	char id[2 * ENROLL_ID_LEN + 1];
	bool known = h && strcmp(h->fleet, hex_encode(inv->id, ENROLL_ID_LEN, id)) == 0;

	a->reply.code = enroll_decide(inv, secret, a->req, a->agent, known, a->wall, &a->again);
	if (a->reply.code == ENROLL_OK && h && (!known || strcmp(h->state, "revoked") == 0)) {
		a->reply.code = ENROLL_VALIDATION;
		snprintf(a->why, sizeof(a->why), "the agent's key is that of host %s, which is %s", h->id, h->state);
	}
	if (a->reply.code != ENROLL_OK)
		return ERR_CANCELLED;
	if (!a->again)
		return store_fleet_host(text, len, cfg, f, a, ret);
	fill_reply(cfg, h, h->state, a);
	return ERR_CANCELLED;
}

static enum err commit_single(const char *text, size_t len, const struct config *cfg, const uint8_t secret[KEY_LEN],
			      struct enroll_attempt *a, char **ret)
{
	struct enroll_invite inv;
	const struct host_config *h = host_of(cfg, a->id, &inv), *other = host_with_key(cfg, a->agent);

	a->reply.code = enroll_decide(h ? &inv : NULL, secret, a->req, a->agent, false, a->wall, &a->again);
	if (a->reply.code == ENROLL_VALIDATION)
		snprintf(a->why, sizeof(a->why), "%s", !h	   ? "the host was removed" :
						       inv.revoked ? "the invite was revoked" :
								     "the token is not this invite's");
	if (a->reply.code == ENROLL_OK && other && other != h) {
		a->reply.code = ENROLL_VALIDATION;
		snprintf(a->why, sizeof(a->why), "the agent's key is that of host %s", other->id);
	}
	if (a->reply.code != ENROLL_OK)
		return ERR_CANCELLED;
	fill_reply(cfg, h, a->again ? h->state : "active", a);
	return a->again ? ERR_CANCELLED : store_host(text, len, h, a, ret);
}

static enum err commit_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct enroll_attempt *a = ctx;
	struct enroll_invite inv;
	const struct fleet_invite *f = fleet_by_id(cfg, a->id, &inv);
	uint8_t secret[KEY_LEN];
	enum err e;

	enroll_secret(cfg->private_key.b, secret);
	e = f ? commit_fleet(text, len, cfg, f, &inv, secret, a, ret) : commit_single(text, len, cfg, secret, a, ret);
	sodium_memzero(secret, sizeof(secret));
	return e;
}

void enroll_commit(const char *file, struct enroll_attempt *a)
{
	char why[256] = "";
	enum err e;

	memset(&a->reply, 0, sizeof(a->reply));
	a->why[0] = '\0';
	e = config_edit_now(file, commit_edit, a, why, sizeof(why));
	if (e == OK || e == ERR_CANCELLED)
		return;
	/* Nothing was written: the invite stands as it was. */
	memset(&a->reply, 0, sizeof(a->reply));
	a->reply.code = ENROLL_BUSY;
	if (!a->why[0])
		snprintf(a->why, sizeof(a->why), "%s", why[0] ? why : err_text(e));
}

/* ---- states ---- */

struct state_change {
	const char *host_id, *from, *to;
	char *why;
	size_t why_size;
};

static enum err state_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct state_change *s = ctx;
	const struct host_config *h = config_host(cfg, s->host_id);

	if (!h) {
		snprintf(s->why, s->why_size, "there is no host %s", s->host_id);
		return ERR_NOT_FOUND;
	}
	if (s->from && strcmp(h->state, s->from) != 0) {
		snprintf(s->why, s->why_size, "host %s is %s, not %s", h->id, h->state, s->from);
		return ERR_INVALID;
	}
	return edit_set_host(text, len, s->host_id, NULL, "state", s->to, ret);
}

enum err enroll_set_state(const char *file, const char *host_id, const char *from, const char *to, char *why, size_t why_size)
{
	struct state_change s = { host_id, from, to, why, why_size };

	return config_edit(file, state_edit, &s, why, why_size);
}
