/*
 * ssh/auth.h - inside the worker: logging in on one connection, by one key after the other.
 *
 * A key is shown first, and signs only when the server takes it: so a person is asked for a passphrase, or to touch a
 * security key, only where that leads somewhere.
 */
#ifndef SSH_AUTH_H
#define SSH_AUTH_H

#include "ssh/setup.h"

#define SSH_OFFERS_MAX 64
#define SSH_TRIED_MAX 900

/* A key to show. */
struct ssh_offer {
	struct ssh_ident *id;  /* the entry that it comes from */
	char name[160];        /* the key's comment, where the agent tells of one that no entry names */
	struct ssh_blob shown; /* the public key, or a certificate; empty: it has to be unlocked first */
	struct ssh_blob plain; /* the public key; what the agent knows it by */
	bool by_agent;
};

enum ssh_auth_state { AUTH_NEW, AUTH_LISTING, AUTH_TRYING };

struct ssh_auth {
	enum ssh_auth_state state;
	struct ssh_offer *offers; /* SSH_OFFERS_MAX of them */
	size_t n, next;
	struct ssh_buf request;   /* to the agent, not sent yet: whoever sends it empties it */
	bool agent_asked;         /* its answer is awaited */
	bool answered;
	enum err answer_error;
	struct ssh_blob answer;
	struct ssh_ident *locked; /* the key whose passphrase is awaited; NULL */
	unsigned n_refused;       /* keys that the server did not take */
	char failed[160];         /* why the key at hand did not sign */
	char tried[SSH_TRIED_MAX]; /* which keys failed, and why */
};

struct ssh_conn;
void ssh_auth_fini(struct ssh_auth *a);
/** ssh_auth_step() - go on as far as the bytes and answers allow; ends in READY or DEAD */
void ssh_auth_step(struct ssh_conn *c);
/** ssh_auth_waits() - for the agent or a passphrase: nothing is read from the server meanwhile */
bool ssh_auth_waits(const struct ssh_auth *a);
/** ssh_auth_is_accepted() - the server took a key, which only has to sign */
bool ssh_auth_is_accepted(const struct ssh_auth *a);
/** ssh_auth_agent_answer() - what the agent said, without its length; or @e */
void ssh_auth_agent_answer(struct ssh_conn *c, enum err e, struct bytes answer);

#endif
