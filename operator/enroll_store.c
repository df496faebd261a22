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

enum err invites_of(const struct config *c, uint64_t wall, struct enroll_invites *ret, size_t *ret_pending, size_t *ret_open)
{
	struct enroll_invites s = { calloc(c->n_hosts + 1, sizeof(*s.v)), 0 };

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

/* Addresses of a new host: one of each family that the operator has. */
static enum err choose_addr(const struct config *cfg, struct making *m)
{
	struct ip_addr ip;

	if (config_next_addr(cfg, &ip) != OK)
		return refuse(m, ERR_FULL, 1024, "no free address is left in the subnet");
	ip_addr_format(&ip, m->ret->addr);
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
	snprintf(m->token.host_id, sizeof(m->token.host_id), "%s", req->host_id);
	snprintf(m->token.vpn_addr, sizeof(m->token.vpn_addr), "%s", m->ret->addr);
	memcpy(m->token.operator_key, pub.b, KEY_LEN);
	rng_bytes(req->rng, m->token.nonce, ENROLL_NONCE_LEN);
}

static enum err new_host(const char *text, size_t len, const struct config *cfg, struct making *m, char **ret)
{
	char entry[1024], nonce[2 * ENROLL_NONCE_LEN + 1];
	enum err e = choose_addr(cfg, m);

	if (e != OK)
		return e;
	fill_token(m, cfg);
	snprintf(entry, sizeof(entry),
		 "- id: %s\n"
		 "  state: pending\n"
		 "  os: %s\n"
		 "  vpn:\n"
		 "    addr: \"%s\"\n"
		 "  invite:\n"
		 "    nonce: \"%s\"\n"
		 "    expires: %llu\n",
		 m->req->host_id, m->req->os, m->ret->addr, hex_encode(m->token.nonce, ENROLL_NONCE_LEN, nonce),
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

static enum err make_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct making *m = ctx;
	const struct host_config *h = config_host(cfg, m->req->host_id);
	enum err e;

	if (h && !m->req->again)
		return refuse(m, ERR_EXISTS, 1022, "%s is in the list already; a new token for it: nefia vpn reinvite --name %s",
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

static enum err commit_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct enroll_attempt *a = ctx;
	struct enroll_invite inv;
	const struct host_config *h = host_of(cfg, a->id, &inv), *other = host_with_key(cfg, a->agent);
	uint8_t secret[KEY_LEN];

	enroll_secret(cfg->private_key.b, secret);
	a->reply.code = enroll_decide(h ? &inv : NULL, secret, a->req, a->agent, false, a->wall, &a->again);
	sodium_memzero(secret, sizeof(secret));
	if (a->reply.code == ENROLL_OK && other && other != h) {
		a->reply.code = ENROLL_VALIDATION;
		snprintf(a->why, sizeof(a->why), "the agent's key is that of host %s", other->id);
	}
	if (a->reply.code != ENROLL_OK)
		return ERR_CANCELLED;
	fill_reply(cfg, h, a->again ? h->state : "active", a);
	return a->again ? ERR_CANCELLED : store_host(text, len, h, a, ret);
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
