/*
 * agent/config.c - see config.h; the checks are those of validateAgentConfig() in the reference, each with its place.
 *
 * Two steps, so that parsing has no side effects: the text becomes a struct agent_config; then, if private_key names a
 * keyring, the key is fetched.
 */
#include "agent/config.h"
#include "agent/config_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/keyring.h"
#include "base/log.h"
#include "netstack/net.h"
#include "os/file.h"

#define CONFIG_BYTES_MAX (1u << 20)

static const char *const fields[] = {
	"version",	 "private_key", "listen_port", "address", "dns", "ssh_addr", "peers", "update_server_url",
	"agent_token",	 "agent_token_expires_at", "host_id", "stun_servers", "endpoint_refresh", "cloud_api_base",
	"derp_servers",	 "derp_auto_select", "derp_probe_interval", "beacons", "aead", "aead_workers", "congestion", NULL,
};

static void add_address(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct agent_config *c = ctx;

	if (c->n_addrs == ARRAY_SIZE(c->addrs) || !yaml_text(item) || !strchr(item->text, '/') ||
	    ip_prefix_parse(item->text, &c->addrs[c->n_addrs]) != OK)
		conf_wrong(r, item, "address is not valid: ADDRESS/LENGTH is expected, as in 10.99.0.2/24");
	else
		c->n_addrs++;
}

static void add_vpn_addr(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct tunnel_peer *p = ctx;
	struct ip_prefix *to = &p->allowed[p->n_allowed];

	if (p->n_allowed == ARRAY_SIZE(p->allowed) || !yaml_text(item) || ip_addr_parse(item->text, &to->ip) != OK) {
		conf_wrong(r, item, "vpn_addr is not an IP address, as in 10.99.0.1");
		return;
	}
	to->bits = (uint8_t)ip_addr_bits(&to->ip);
	p->n_allowed++;
}

static void read_peer(struct conf_reader *r, const struct yaml_node *n, struct agent_config *c)
{
	static const char *const peer_fields[] = { "public_key", "endpoint", "vpn_addr", "preshared_key", NULL };
	struct tunnel_peer *p = &c->peers[c->n_peers];
	static const struct wg_public_key none;

	if (c->n_peers == N_AGENT_PEERS) {
		conf_wrong(r, n, "more than %d peers", N_AGENT_PEERS);
		return;
	}
	conf_known_fields(r, n, peer_fields);
	conf_read_key(r, yaml_get(n, "public_key"), p->key.b);
	conf_read_key(r, yaml_get(n, "preshared_key"), p->psk.b);
	conf_read_endpoint(r, yaml_get(n, "endpoint"), &p->endpoint);
	conf_each(r, yaml_get(n, "vpn_addr"), add_vpn_addr, p);
	if (r->e == OK && memcmp(&p->key, &none, sizeof(none)) == 0)
		conf_wrong(r, n, "the peer's public_key is missing");
	if (r->e == OK && p->n_allowed == 0)
		conf_wrong(r, n, "the peer's vpn_addr is missing");
	snprintf(p->name, sizeof(p->name), "operator-%zu", c->n_peers + 1);
	c->n_peers++;
}

static void read_private_key(struct conf_reader *r, const struct yaml_node *root, struct agent_config *c)
{
	const struct yaml_node *n = yaml_get(root, "private_key");
	const char *s = yaml_text(n), *item;

	if (!s || !*s) {
		conf_wrong(r, n ? n : root, "private_key is missing: 'nefia-agent keygen' makes one");
		return;
	}
	item = agent_keyring_item(s);
	if (item)
		snprintf(c->keyring_item, sizeof(c->keyring_item), "%s", item);
	else if (strncmp(s, "keyring:", 8) == 0)
		conf_wrong(r, n, "private_key is not a keyring reference, as in keyring:agent-key");
	else
		conf_read_key(r, n, c->private_key.b);
}

bool agent_is_host_port(const char *s)
{
	const char *colon = strrchr(s, ':');
	struct endpoint ep;
	unsigned long port;
	char *end;

	if (endpoint_parse(s, &ep) == OK)
		return ep.port != 0;
	if (!colon || colon == s || colon - s > 253 || colon[1] < '0' || colon[1] > '9')
		return false;
	port = strtoul(colon + 1, &end, 10);
	return !*end && port > 0 && port <= 65535 &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == (size_t)(colon - s);
}

bool agent_is_ssh_addr(const char *s)
{
	struct endpoint ep;

	if (strncmp(s, "unix:/", 6) == 0)
		return strlen(s) < 5 + 108;
	if (strncmp(s, "localhost:", 10) == 0)
		return agent_is_host_port(s);
	return endpoint_parse(s, &ep) == OK && ep.port != 0;
}

static void read_ssh_addr(struct conf_reader *r, const struct yaml_node *n, struct agent_config *c)
{
	conf_read_text(r, n, c->ssh_addr, sizeof(c->ssh_addr));
	if (r->e == OK && n && !agent_is_ssh_addr(c->ssh_addr))
		conf_wrong(r, n, "ssh_addr must be " AGENT_SSH_ADDR_FORMS);
}

static void read_aead(struct conf_reader *r, const struct yaml_node *n, struct agent_config *c)
{
	conf_read_text(r, n, c->aead, sizeof(c->aead));
	if (r->e == OK && c->aead[0] && !wg_aead_name_is_known(c->aead))
		conf_wrong(r, n, "aead is not known: libsodium, libcrypto or libIPSec_MB");
}

static void read_aead_workers(struct conf_reader *r, const struct yaml_node *n, struct agent_config *c)
{
	char text[8] = "auto";

	conf_read_text(r, n, text, sizeof(text));
	if (r->e == OK && !tunnel_workers_parse(text, &c->aead_workers))
		conf_wrong(r, n, "aead_workers must be " TUNNEL_WORKERS_FORMS);
}

/* Two peers with one address: WireGuard would give it to the last, and the first would be mute. */
static void check_peers(struct conf_reader *r, const struct yaml_node *list, const struct agent_config *c)
{
	const struct tunnel_peer *p = c->peers;
	struct wg_public_key own;
	size_t i = 0;

	if (!c->keyring_item[0])
		wg_public_from_private(&c->private_key, &own);
	yaml_for_each(n, list) {
		if (!c->keyring_item[0] && memcmp(&p[i].key, &own, sizeof(own)) == 0)
			conf_wrong(r, n, "this peer's public_key is the agent's own");
		for (size_t k = 0; k < i; k++) {
			if (memcmp(&p[k].key, &p[i].key, sizeof(own)) == 0)
				conf_wrong(r, n, "this peer's public_key is in the list already");
			for (size_t a = 0; a < p[i].n_allowed; a++)
				for (size_t b = 0; b < p[k].n_allowed; b++)
					if (ip_addr_equal(&p[i].allowed[a].ip, &p[k].allowed[b].ip))
						conf_wrong(r, n, "this peer's vpn_addr is another's already");
		}
		i++;
	}
}

static void read_congestion(struct conf_reader *r, const struct yaml_node *n, struct agent_config *c)
{
	conf_read_text(r, n, c->congestion, sizeof(c->congestion));
	if (r->e == OK && c->congestion[0] && !net_congestion_is_known(c->congestion))
		conf_wrong(r, n, "congestion is not known: cubic or bbr");
}

static void read_root(struct conf_reader *r, const struct yaml_node *root, void *ctx)
{
	struct agent_config *c = ctx;
	const struct yaml_node *peers = yaml_get(root, "peers"), *version = yaml_get(root, "version");
	unsigned long long v = AGENT_CONFIG_VERSION, port = 51820;

	conf_read_number(r, version, UINT32_MAX, &v);
	if (r->e == OK && v > AGENT_CONFIG_VERSION)
		conf_wrong(r, version, "version %llu is newer than this program knows (%d): update nefia-agent", v,
			   AGENT_CONFIG_VERSION);
	conf_known_fields(r, root, fields);
	read_private_key(r, root, c);
	conf_read_number(r, yaml_get(root, "listen_port"), 65535, &port);
	c->listen_port = (uint16_t)port;
	conf_each(r, yaml_get(root, "address"), add_address, c);
	if (r->e == OK && c->n_addrs == 0)
		conf_wrong(r, root, "address is missing: ADDRESS/LENGTH is expected, as in 10.99.0.2/24");
	read_ssh_addr(r, yaml_get(root, "ssh_addr"), c);
	read_aead(r, yaml_get(root, "aead"), c);
	read_aead_workers(r, yaml_get(root, "aead_workers"), c);
	read_congestion(r, yaml_get(root, "congestion"), c);
	conf_read_text(r, yaml_get(root, "host_id"), c->host_id, sizeof(c->host_id));
	agent_config_read_later(r, root, c);
	yaml_for_each(n, peers && peers->kind == YAML_SEQ ? peers : NULL)
		read_peer(r, n, c);
	if (r->e == OK && c->n_peers == 0)
		conf_wrong(r, peers ? peers : root, "at least one peer is expected in peers");
	if (r->e == OK)
		check_peers(r, peers, c);
}

enum err agent_config_parse(const char *file, const char *text, size_t len, struct agent_config *ret, char *why,
			    size_t why_size)
{
	struct conf_reader r = { file, why, why_size, OK };
	struct agent_config c = { .ssh_addr = "127.0.0.1:22" };

	if (conf_parse(&r, text, len, "private_key, address and peers", read_root, &c) == OK)
		*ret = c;
	agent_config_wipe(&c);
	return r.e;
}

static enum err fetch_key(const char *file, struct agent_config *c, char *why, size_t why_size)
{
	char secret[AGENT_SECRET_MAX], reason[256];
	enum err e = agent_keyring_get(file, c->keyring_item, secret, &c->keyring, reason, sizeof(reason));

	if (e != OK) {
		snprintf(why, why_size, "%s: private_key: %s", file, reason);
		return e;
	}
	e = key_from_base64(secret, c->private_key.b);
	if (e != OK)
		snprintf(why, why_size, "%s: private_key: '%s' in the keyring is not a key of 44 characters", file,
			 c->keyring_item);
	sodium_memzero(secret, sizeof(secret));
	return e;
}

static enum err check_mode(const char *file, bool strict, bool has_key, char *why, size_t why_size)
{
	unsigned mode, uid;
	enum err e = os_file_mode(file, &mode, &uid);

	if (e != OK || (mode & 077) == 0)
		return e;
	if (strict && has_key) {
		snprintf(why, why_size,
			 "%s: others may read it (mode %04o), and it holds a private key. Run: chmod 600 %s", file, mode,
			 file);
		return ERR_PERMISSION;
	}
	log_warn("others may read the configuration path=%s mode=%04o", file, mode);
	return OK;
}

enum err agent_config_load(const char *file, bool strict, struct agent_config *ret, char *why, size_t why_size)
{
	struct agent_config c;
	char *text;
	size_t len;
	enum err e = os_file_read(file, CONFIG_BYTES_MAX, &text, &len);

	if (e != OK) {
		snprintf(why, why_size, "%s: %s", file, err_text(e));
		return e;
	}
	e = agent_config_parse(file, text, len, &c, why, why_size);
	sodium_memzero(text, len);
	free(text);
	if (e != OK)
		return e;
	e = check_mode(file, strict, !c.keyring_item[0], why, why_size);
	if (e == OK && c.keyring_item[0])
		e = fetch_key(file, &c, why, why_size);
	if (e == OK)
		*ret = c;
	agent_config_wipe(&c);
	return e;
}

void agent_config_wipe(struct agent_config *c)
{
	sodium_memzero(c, sizeof(*c));
}
