/* ssh/setup.h - inside the worker: what the hub told it of the host, and the identities. */
#ifndef SSH_SETUP_H
#define SSH_SETUP_H

#include "ssh/frame.h"
#include "ssh/key.h"

#define N_IDENTITIES_MAX 20

/* What is done to unlock a key; ask.c moves it. */
enum ssh_unlock {
	UNLOCK_IDLE,   /* nobody needs it, or it is done */
	UNLOCK_WANTED, /* a server takes the key: now the passphrase is needed */
	UNLOCK_HUB,    /* the hub is asked whether it knows it */
	UNLOCK_PERSON, /* then the person */
	UNLOCK_FAILED, /* @why; until somebody begins to log in again */
};

/* An entry of ssh.identities. */
struct ssh_ident {
	char *path;
	bool is_agent;      /* the word "agent": all keys that the agent has */
	struct ssh_blob text; /* the private key's file while it is locked */
	struct ssh_key key;
	struct ssh_blob certificate;
	enum ssh_unlock unlock;
	unsigned n_wrong;   /* passphrases of the person's */
	char why[160];      /* it cannot be used, or was not unlocked; "" = it can */
};

struct ssh_setup {
	char host[64], user[64];
	char key_types[256]; /* of the host's known keys, comma-separated: preferred */
	uint64_t file_size_max, list_max; /* 0: no limit */
	char root[SSH_ROOT_MAX + 1]; /* no file operation leaves it; "" = none */
	uint32_t idle_s;
	bool has_agent;      /* the hub can reach one */
	struct ssh_ident ids[N_IDENTITIES_MAX];
	size_t n_ids;
};

/** ssh_setup_read() - the hub's SSH_C_CONFIG after its version; false: malformed */
bool ssh_setup_read(struct ssh_reader *r, struct ssh_setup *ret);
/** ssh_ident_is_locked() - it can be used as soon as somebody tells its passphrase */
bool ssh_ident_is_locked(const struct ssh_ident *id);
/** ssh_ident_try() - unlock it. Return: OK; ERR_AUTH: a wrong passphrase; otherwise it cannot be used, id->why */
MUST_CHECK enum err ssh_ident_try(struct ssh_ident *id, const char *passphrase);

#endif
