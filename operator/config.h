/*
 * operator/config.h - nefia.yaml: the operator's key, tunnel and hosts.
 *
 *	version: 1
 *	vpn:
 *	  private_key: <base64>
 *	  address: 10.99.0.1/24        # or a list, for IPv6 beside it
 *	  listen_port: 51820
 *	  enroll_port: 19820
 *	ssh:
 *	  identities: [~/.ssh/id_ed25519]
 *	  user: root
 *	  max_file_size_bytes: 0       # 0 = no limit
 *	  max_list_entries: 2000000    # names that one command may be told; 0 = no limit
 *	  session_root: /srv           # nefia fs stays in it
 *	hosts:
 *	  - id: web1
 *	    group: web
 *	    tags: [prod]
 *	    user: deploy
 *	    session_root: /srv/web     # instead of ssh.session_root; / = no confinement
 *	    vpn:
 *	      addr: 10.99.0.2          # or a list
 *	      public_key: <base64>
 *	      endpoint: 192.0.2.7:51820
 *	      preshared_key: <base64>
 *	    state: active              # pending, pending-approval, revoked
 *	    os: linux
 *	    invite:                    # written by nefia vpn invite
 *	      nonce: <32 hex digits>
 *	      expires: 1764000000      # Unix seconds
 *
 *	invites:                     # reusable ones
 *	  - nonce: <32 hex digits>
 *	    expires: 1764000000
 *	    max_uses: 20
 *	    group: web
 *
 * Unknown fields are ignored with a warning; a greater version is refused.
 */
#ifndef OPERATOR_CONFIG_H
#define OPERATOR_CONFIG_H

#include "base/addr.h"
#include "base/err.h"
#include "wg/wg.h"

#define CONFIG_VERSION 1
#define N_CONFIG_ADDRS 8
#define HOST_ID_MAX 63
#define N_HOST_TAGS 16
#define N_IDENTITIES 16
#define MAX_LIST_ENTRIES_DEFAULT 2000000

struct host_config {
	char id[HOST_ID_MAX + 1];
	char group[HOST_ID_MAX + 1];
	char tags[N_HOST_TAGS][HOST_ID_MAX + 1];
	size_t n_tags;
	char user[64];      /* empty = ssh.user, else the local user */
	char identity[1024]; /* empty = ssh.identities */
	char session_root[1024]; /* empty = ssh.session_root */
	char state[24];     /* "active" when the file says nothing */
	struct ip_addr addrs[N_CONFIG_ADDRS];
	size_t n_addrs;
	struct wg_public_key public_key;
	bool has_key;
	struct endpoint endpoint, local_endpoint; /* unset = none */
	struct wg_psk psk;
	char os[16];
	struct {
		uint8_t nonce[16];
		bool is_set;
		uint64_t expires; /* Unix seconds */
	} invite; /* the last one; used when the host has a key */
	char fleet[33]; /* came by this reusable invite: its id in hex; empty = none */
};

/* A reusable invite. */
struct fleet_invite {
	uint8_t nonce[16];
	uint64_t expires; /* Unix seconds */
	unsigned max_uses;
	char group[HOST_ID_MAX + 1]; /* of the hosts that come by it */
};

#define N_FLEET_INVITES 64

struct config {
	struct wg_private_key private_key;
	struct ip_prefix addrs[N_CONFIG_ADDRS];
	size_t n_addrs;
	uint16_t listen_port, mtu, enroll_port;
	char aead[32]; /* forced cipher provider; empty: choose */
	int aead_workers; /* TUNNEL_WORKERS_* */
	char congestion[16]; /* empty: cubic */
	bool magic_dns;
	char magic_dns_domain[64];
	char *identities[N_IDENTITIES]; /* "~" expanded */
	size_t n_identities;
	char ssh_user[64];
	uint64_t max_file_size_bytes;   /* 0 = no limit */
	uint64_t max_list_entries;      /* 0 = no limit */
	char session_root[1024];        /* empty = none */
	struct host_config *hosts;
	size_t n_hosts;
	struct fleet_invite fleets[N_FLEET_INVITES];
	size_t n_fleets;
};

/** config_parse() - @why: "file:line:column: what" on ERR_FORMAT, ERR_RANGE, ERR_VERSION */
MUST_CHECK enum err config_parse(const char *file, const char *text, size_t len, struct config *ret, char *why,
				 size_t why_size);
/** config_load() - read and parse; ERR_NOT_FOUND; ERR_PERMISSION also when others may read it */
MUST_CHECK enum err config_load(const char *file, struct config *ret, char *why, size_t why_size);
void config_free(struct config *c);
const struct host_config *config_host(const struct config *c, const char *id);
/** config_host_is_active() - its agent has a place in the tunnel */
bool config_host_is_active(const struct host_config *h);
/** config_host_is_pending() - invited, and not enrolled yet */
bool config_host_is_pending(const struct host_config *h);
/** config_user() - whom to be on @h */
const char *config_user(const struct config *c, const struct host_config *h);
/** config_session_root() - the folder of @h that `nefia fs` stays in; "" = none */
const char *config_session_root(const struct config *c, const struct host_config *h);
/** config_next_addr() - the lowest free address of the first IPv4 prefix; ERR_FULL */
MUST_CHECK enum err config_next_addr(const struct config *c, struct ip_addr *ret);
/** config_next_addr6() - the lowest free address of the first IPv6 prefix; ERR_NOT_FOUND: there is none; ERR_FULL */
MUST_CHECK enum err config_next_addr6(const struct config *c, struct ip_addr *ret);
/** config_host_id_ok() - letters, digits, '-', '_', '.'; not "all"; at most 63 */
bool config_host_id_ok(const char *id);
/**
 * config_select() - hosts that @selector names: ids, groups, tags, "group:G", "tag:T", "all", joined by commas
 * @ret: room for n_hosts pointers, in the file's order, each once. Return: how many; 0 = nothing, and *ret_miss the
 * part that named nobody.
 */
size_t config_select(const struct config *c, const char *selector, const struct host_config **ret, char ret_miss[64]);

#endif
