/*
 * ssh/auth.c - see auth.h.
 *
 *	NEW      the agent is asked for its keys, where there is one and an entry could use it
 *	LISTING  its answer is awaited (none, or no answer: as if there were no agent)
 *	TRYING   the offers in the order of ssh.identities
 *
 * An entry gives, in this order: its certificate, its key; signed for by the agent where that has the key, else by the
 * file. A file that is not readable, or a key that the agent lacks, is noted where it would have stood.
 *
 * The library calls on_sign() when the server takes a key. What is not at hand then (the agent's signature, an unlocked
 * key) is asked for, and the library told to come again; meanwhile nothing reads from the server, so its end is looked for
 * here. SHA-1 is never signed with.
 */
#include "ssh/auth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "ssh/agent.h"
#include "ssh/conn.h"

#define PERSON_MAX (120 * NSEC_PER_SEC) /* as long as sshd waits (LoginGraceTime) */
#define LIST_MAX (5 * NSEC_PER_SEC)
#define CERTIFICATE "-cert-v01@openssh.com"

void ssh_auth_fini(struct ssh_auth *a)
{
	for (size_t i = 0; i < a->n; i++) {
		ssh_blob_fini(&a->offers[i].shown);
		ssh_blob_fini(&a->offers[i].plain);
	}
	free(a->offers);
	ssh_buf_fini(&a->request);
	ssh_blob_fini(&a->answer);
}

bool ssh_auth_waits(const struct ssh_auth *a)
{
	return a->locked || a->agent_asked;
}

bool ssh_auth_is_accepted(const struct ssh_auth *a)
{
	return a->state == AUTH_TRYING && ssh_auth_waits(a);
}

/* ---- what is tried ---- */

static bool same(struct bytes a, struct bytes b)
{
	return a.len == b.len && a.len > 0 && memcmp(a.p, b.p, a.len) == 0;
}

static const char *name_of(const struct ssh_offer *o)
{
	return o->name[0] ? o->name : o->id->path;
}

static void note(struct ssh_auth *a, const struct ssh_offer *o, const char *why)
{
	size_t used = strlen(a->tried);

	snprintf(a->tried + used, sizeof(a->tried) - used, "%s%s%s: %s", used ? "; " : "", name_of(o),
		 o->shown.len > o->plain.len && o->plain.len ? " (certificate)" : "", why);
}

/* One more to show; the same key is shown once. */
static void offer(struct ssh_auth *a, struct ssh_ident *id, struct bytes shown, struct bytes plain, bool by_agent)
{
	struct ssh_offer *o = &a->offers[a->n];

	if (a->n == SSH_OFFERS_MAX)
		return;
	for (size_t i = 0; i < a->n; i++)
		if (same(ssh_blob_view(&a->offers[i].shown), shown))
			return;
	*o = (struct ssh_offer){ .id = id, .by_agent = by_agent };
	if (ssh_blob_set(&o->shown, shown) == OK && ssh_blob_set(&o->plain, plain) == OK)
		a->n++;
}

static bool agent_has(const struct ssh_agent_key *keys, size_t n, struct bytes blob)
{
	for (size_t i = 0; i < n; i++)
		if (same(keys[i].blob, blob))
			return true;
	return false;
}

/* All keys of the agent, under the names that it has for them. */
static void offer_agent(struct ssh_auth *a, struct ssh_ident *id, const struct ssh_agent_key *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t before = a->n;

		offer(a, id, keys[i].blob, keys[i].blob, true);
		if (a->n == before)
			continue;
		snprintf(a->offers[before].name, sizeof(a->offers[before].name), "agent:%.*s", (int)MIN(keys[i].comment.len, 150),
			 (const char *)keys[i].comment.p);
		text_clean(a->offers[before].name);
	}
}

static bool is_public_name(const char *path)
{
	size_t n = strlen(path);

	return n > 4 && strcmp(path + n - 4, ".pub") == 0;
}

static void offer_ident(struct ssh_auth *a, struct ssh_ident *id, const struct ssh_agent_key *keys, size_t n)
{
	struct bytes pub = ssh_blob_view(&id->key.pub);
	bool by_agent = agent_has(keys, n, pub), by_file = id->key.private || ssh_ident_is_locked(id);

	if (!by_agent && !by_file && !id->why[0])
		snprintf(id->why, sizeof(id->why), "%s, whose private half is not in ssh-agent",
			 is_public_name(id->path) ? "a public key" : "not found, beside a public key");
	if (id->certificate.len && (by_agent || by_file))
		offer(a, id, ssh_blob_view(&id->certificate), pub, by_agent);
	/* What cannot be used has an offer too, without a key: it is noted in its turn. */
	offer(a, id, by_agent || by_file ? pub : (struct bytes){ NULL, 0 }, pub, by_agent);
}

static bool make_offers(struct ssh_conn *c, const struct ssh_agent_key *keys, size_t n)
{
	struct ssh_setup *s = c->setup;
	struct ssh_auth *a = &c->auth;

	a->offers = calloc(SSH_OFFERS_MAX, sizeof(a->offers[0]));
	if (!a->offers) {
		ssh_conn_fail(c, ERR_NOMEM, "out of memory");
		return false;
	}
	for (size_t i = 0; i < s->n_ids; i++) {
		if (s->ids[i].is_agent)
			offer_agent(a, &s->ids[i], keys, n);
		else
			offer_ident(a, &s->ids[i], keys, n);
	}
	return true;
}

/* ---- the agent ---- */

void ssh_auth_agent_answer(struct ssh_conn *c, enum err e, struct bytes answer)
{
	struct ssh_auth *a = &c->auth;

	if (!a->agent_asked || a->answered)
		return;
	a->answered = true;
	a->answer_error = e;
	if (e == OK && ssh_blob_set(&a->answer, answer) != OK)
		a->answer_error = ERR_NOMEM;
}

/* The answer is used, and is nobody's any more. */
static void forget_answer(struct ssh_conn *c)
{
	c->auth.agent_asked = c->auth.answered = false;
	ssh_blob_fini(&c->auth.answer);
	ssh_conn_set_patience(c, 0);
}

static void step_listing(struct ssh_conn *c)
{
	struct ssh_agent_key keys[SSH_AGENT_KEYS_MAX];
	struct ssh_auth *a = &c->auth;
	size_t n = 0;

	if (!a->answered)
		return;
	if (a->answer_error != OK || ssh_agent_read_keys(ssh_blob_view(&a->answer), keys, &n) != OK)
		n = 0;
	if (make_offers(c, keys, n))
		a->state = AUTH_TRYING;
	forget_answer(c);
}

static void step_new(struct ssh_conn *c)
{
	struct ssh_auth *a = &c->auth;

	for (size_t i = 0; i < c->setup->n_ids; i++) {
		struct ssh_ident *id = &c->setup->ids[i];

		/* Whoever failed to tell the passphrase last time may know it now. */
		if (id->unlock == UNLOCK_FAILED && ssh_ident_is_locked(id)) {
			id->unlock = UNLOCK_IDLE;
			id->why[0] = '\0';
		}
	}
	if (!c->setup->has_agent) {
		if (make_offers(c, NULL, 0))
			a->state = AUTH_TRYING;
		return;
	}
	if (ssh_agent_put_list(&a->request) != OK) {
		ssh_conn_fail(c, ERR_NOMEM, "out of memory");
		return;
	}
	a->agent_asked = true;
	a->state = AUTH_LISTING;
	ssh_conn_set_patience(c, LIST_MAX);
}

/* ---- signatures ---- */

static int fail_sign(struct ssh_auth *a, const char *why)
{
	snprintf(a->failed, sizeof(a->failed), "%s", why);
	return LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED;
}

/* The algorithm of the signature: that of a certificate without the word. */
static void plain_algorithm(const char *algorithm, char ret[64])
{
	const char *end = strstr(algorithm, CERTIFICATE);

	snprintf(ret, 64, "%.*s%s", end ? (int)(end - algorithm) : 63, algorithm,
		 end && strncmp(algorithm, "sk-", 3) == 0 ? "@openssh.com" : "");
}

static int sign_by_agent(struct ssh_conn *c, const struct ssh_offer *o, const char *algorithm, struct bytes data,
			 struct ssh_blob *ret)
{
	struct ssh_auth *a = &c->auth;
	struct bytes sig;
	enum err e;

	if (!a->agent_asked) {
		if (ssh_agent_put_sign(&a->request, ssh_blob_view(&o->plain), data, algorithm) != OK)
			return LIBSSH2_ERROR_ALLOC;
		a->agent_asked = true;
		ssh_conn_set_patience(c, PERSON_MAX); /* it may ask for a confirmation, or a touch */
	}
	if (!a->answered)
		return LIBSSH2_ERROR_EAGAIN;
	e = a->answer_error == OK ? ssh_agent_read_signature(ssh_blob_view(&a->answer), algorithm, &sig) : a->answer_error;
	if (e == OK)
		e = ssh_blob_set(ret, sig);
	forget_answer(c);
	switch (e) {
	case OK:
		return 0;
	case ERR_REFUSED:
		return fail_sign(a, "ssh-agent did not sign (refused, or not confirmed)");
	case ERR_UNSUPPORTED:
		return fail_sign(a, "ssh-agent does not make the signatures that the server wants");
	default:
		return fail_sign(a, "ssh-agent did not answer");
	}
}

/* OK; ERR_AGAIN: its passphrase is being asked for; ERR_AUTH: it stays locked, @failed */
static enum err unlocked(struct ssh_conn *c, struct ssh_ident *id)
{
	struct ssh_auth *a = &c->auth;

	if (id->unlock == UNLOCK_FAILED || id->why[0]) {
		a->locked = NULL;
		fail_sign(a, id->why);
		ssh_conn_set_patience(c, 0);
		return ERR_AUTH;
	}
	if (id->key.private) {
		if (a->locked)
			ssh_conn_set_patience(c, 0);
		a->locked = NULL;
		return OK;
	}
	if (id->unlock == UNLOCK_IDLE)
		id->unlock = UNLOCK_WANTED;
	if (!a->locked)
		ssh_conn_set_patience(c, PERSON_MAX);
	a->locked = id;
	return ERR_AGAIN;
}

static int sign_by_file(struct ssh_conn *c, struct ssh_ident *id, const char *algorithm, struct bytes data,
			struct ssh_blob *ret)
{
	enum err e = unlocked(c, id);

	if (e == ERR_AGAIN)
		return LIBSSH2_ERROR_EAGAIN;
	if (e != OK)
		return LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED;
	if (ssh_key_sign(&id->key, algorithm, data, ret) != OK)
		return fail_sign(&c->auth, "it does not make the signatures that the server wants");
	return 0;
}

static int on_sign(LIBSSH2_SESSION *session, unsigned char **sig, size_t *sig_len, const unsigned char *data,
		   size_t data_len, void **abstract)
{
	struct ssh_conn *c = *abstract;
	const struct ssh_offer *o = &c->auth.offers[c->auth.next];
	struct bytes all = { data, data_len };
	struct ssh_blob made = { 0 };
	struct ssh_login login;
	char algorithm[64];
	int r;

	if (ssh_login_read(all, &login) != OK)
		return fail_sign(&c->auth, "the SSH library asks to sign something else than a login");
	plain_algorithm(login.algorithm, algorithm);
	if (strcmp(algorithm, "ssh-rsa") == 0)
		return fail_sign(&c->auth, "the server takes RSA with SHA-1 only, which is not used any more");
	r = o->by_agent ? sign_by_agent(c, o, algorithm, all, &made) : sign_by_file(c, o->id, algorithm, all, &made);
	if (r != 0)
		return r;
	*sig = ssh_conn_alloc(c, made.len);
	if (*sig) {
		memcpy(*sig, made.p, made.len);
		*sig_len = made.len;
	}
	ssh_blob_fini(&made);
	return *sig ? 0 : LIBSSH2_ERROR_ALLOC;
}

/* ---- trying ---- */

/* A locked key whose public half nobody wrote down is unlocked before it is shown. False: it is not there yet, or noted. */
static bool make_shown(struct ssh_conn *c, struct ssh_offer *o)
{
	enum err e = unlocked(c, o->id);

	if (e == ERR_AGAIN)
		return false;
	if (e == OK && ssh_blob_set(&o->shown, ssh_blob_view(&o->id->key.pub)) == OK &&
	    ssh_blob_set(&o->plain, ssh_blob_view(&o->id->key.pub)) == OK)
		return true;
	note(&c->auth, o, e == OK ? err_text(ERR_NOMEM) : c->auth.failed);
	c->auth.failed[0] = '\0';
	c->auth.next++;
	return false;
}

/* Everything else is about the connection. */
static bool is_about_key(int r)
{
	return r == LIBSSH2_ERROR_AUTHENTICATION_FAILED || r == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED ||
	       r == LIBSSH2_ERROR_METHOD_NONE || r == LIBSSH2_ERROR_ALGO_UNSUPPORTED;
}

static const char *why_not(struct ssh_conn *c, int r)
{
	struct ssh_auth *a = &c->auth;

	if (a->failed[0])
		return a->failed;
	if (r == LIBSSH2_ERROR_METHOD_NONE || r == LIBSSH2_ERROR_ALGO_UNSUPPORTED)
		return "the server takes RSA with SHA-1 only, which is not used any more";
	a->n_refused++;
	return "refused by the server";
}

/* A server that has had enough closes the connection. */
static void fail_closed(struct ssh_conn *c)
{
	struct ssh_auth *a = &c->auth;
	struct ssh_offer *o = &a->offers[a->next];

	if (a->n_refused == 0) {
		ssh_conn_fail_by_library(c, "login failed");
		return;
	}
	note(a, o, "the server ended the login");
	if (a->next + 1 < a->n)
		ssh_conn_fail(c, ERR_AUTH, "user %s, tried %s. It takes no more than %u keys (MaxAuthTries), and %zu were not tried: "
			      "name the right one as the host's identity", c->setup->user, a->tried, a->n_refused + 1,
			      a->n - a->next - 1);
	else
		ssh_conn_fail(c, ERR_AUTH, "user %s, tried %s", c->setup->user, a->tried);
}

/* False: it waits, or is over. */
static bool try_next(struct ssh_conn *c)
{
	struct ssh_auth *a = &c->auth;
	struct ssh_offer *o = &a->offers[a->next];
	const char *user = c->setup->user;
	size_t before = a->next;
	void *self = c;
	int r;

	if (!o->shown.len && !make_shown(c, o))
		return a->next != before;
	r = libssh2_userauth_publickey(c->session, user, o->shown.p, o->shown.len, on_sign, &self);
	if (r == LIBSSH2_ERROR_EAGAIN)
		return false;
	if (r == 0) {
		c->state = SSH_READY;
		return false;
	}
	if (!is_about_key(r) || c->eof) {
		fail_closed(c);
		return false;
	}
	note(a, o, why_not(c, r));
	a->failed[0] = '\0';
	a->next++;
	return true;
}

static void step_trying(struct ssh_conn *c)
{
	struct ssh_auth *a = &c->auth;

	while (c->state == SSH_AUTH && a->next < a->n)
		if (!try_next(c))
			return;
	if (c->state != SSH_AUTH)
		return;
	if (a->n == 0)
		ssh_conn_fail(c, ERR_AUTH, "user %s: there is no key to log in with: ssh-agent has none, and no identity file is there "
			      "(ssh.identities)", c->setup->user);
	else
		ssh_conn_fail(c, ERR_AUTH, "user %s, tried %s", c->setup->user, a->tried);
}

void ssh_auth_step(struct ssh_conn *c)
{
	struct ssh_auth *a = &c->auth;

	if (a->state == AUTH_NEW)
		step_new(c);
	if (a->state == AUTH_LISTING)
		step_listing(c);
	if (a->state == AUTH_TRYING && c->state == SSH_AUTH)
		step_trying(c);
	if (c->state == SSH_AUTH && ssh_auth_waits(a) && ssh_conn_ended(c))
		ssh_conn_fail(c, ERR_RESET, "the server closed the connection while the key was awaited (its LoginGraceTime)");
}
