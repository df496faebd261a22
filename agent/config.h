/*
 * agent/config.h - agent.yaml.
 *
 * Unknown fields are ignored with a warning; a greater version is refused. Fields of features that come later are read, and named
 * in @later, so that the agent can say so.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include "agent/keyring.h"
#include "tunnel/tunnel.h"

#define AGENT_CONFIG_VERSION 1
#define N_AGENT_PEERS 64

struct agent_config {
	struct wg_private_key private_key;
	char keyring_item[AGENT_KEYRING_NAME_MAX + 1]; /* private_key names it; empty: the key stood in the file */
	enum agent_keyring keyring;                    /* where it was found */
	uint16_t listen_port;
	struct ip_prefix addrs[8];
	size_t n_addrs;
	char ssh_addr[128];
	char host_id[64];
	char congestion[16]; /* empty: cubic */
	char aead[32]; /* forced cipher provider; empty: choose */
	int aead_workers; /* TUNNEL_WORKERS_* */
	struct tunnel_peer peers[N_AGENT_PEERS];
	size_t n_peers;
	char later[256]; /* names of fields whose feature comes later, "a, b" */
};

/** agent_config_parse() - @why: "file:line:column: what". A key in a keyring is only named (keyring_item). */
MUST_CHECK enum err agent_config_parse(const char *file, const char *text, size_t len, struct agent_config *ret,
				       char *why, size_t why_size);
/** agent_config_load() - @strict: ERR_PERMISSION when group or others may read it and it holds a key; else warn. A key in a
 * keyring is fetched, which may take 5 s. */
MUST_CHECK enum err agent_config_load(const char *file, bool strict, struct agent_config *ret, char *why,
				      size_t why_size);
#define AGENT_SSH_ADDR_FORMS "ADDRESS:PORT, localhost:PORT or unix:/PATH"
/** agent_is_ssh_addr() - one of these forms, as os_dial_start() takes them; a name would have to be looked up for each connection */
bool agent_is_ssh_addr(const char *s);
void agent_config_wipe(struct agent_config *c);

#endif
