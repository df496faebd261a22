/* agent/config.c - see config.h; the checks are those of validateAgentConfig() in the reference, each with its place. */
#include "agent/config.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/duration.h"
#include "base/log.h"
#include "os/file.h"

#define CONFIG_BYTES_MAX (1u << 20)
#define PROBE_INTERVAL_MIN (30 * NSEC_PER_SEC)

static const char *const fields[] = {
	"version",	 "private_key", "listen_port", "address", "dns", "ssh_addr", "peers", "update_server_url",
	"agent_token",	 "agent_token_expires_at", "host_id", "stun_servers", "endpoint_refresh", "cloud_api_base",
	"derp_servers",	 "derp_auto_select", "derp_probe_interval", "beacons", NULL,
};

static const char *const later_fields[] = {
	"dns",		    "update_server_url", "agent_token",	   "agent_token_expires_at", "stun_servers",
	"endpoint_refresh", "cloud_api_base",	 "derp_servers",   "derp_auto_select",	     "derp_probe_interval",
	"beacons",
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
	const char *s = yaml_text(n);

	if (!s || !*s)
		conf_wrong(r, n ? n : root, "private_key is missing: 'nefia-agent keygen' makes one");
	else if (strncmp(s, "keyring:", 8) == 0)
		conf_wrong(r, n, "private_key names a keyring, which this version does not read yet: put the key here");
	else
		conf_read_key(r, n, c->private_key.b);
}

static void read_probe_interval(struct conf_reader *r, const struct yaml_node *n)
{
	const char *s = yaml_text(n);
	nsec_t t;

	if (!n || (s && !*s))
		return;
	if (!s || duration_parse(s, &t) != OK)
		conf_wrong(r, n, "derp_probe_interval is not a duration, as in 5m");
	else if (t < PROBE_INTERVAL_MIN)
		conf_wrong(r, n, "derp_probe_interval must be at least 30s");
}

static void note_later(struct agent_config *c, const struct yaml_node *root)
{
	for (size_t i = 0; i < ARRAY_SIZE(later_fields); i++) {
		const struct yaml_node *n = yaml_get(root, later_fields[i]);
		size_t used = strlen(c->later);

		if (n && !(n->kind == YAML_SCALAR && !n->text[0]) && !(n->kind != YAML_SCALAR && !n->first))
			snprintf(c->later + used, sizeof(c->later) - used, "%s%s", used ? ", " : "", later_fields[i]);
	}
}

static void read_root(struct conf_reader *r, const struct yaml_node *root, void *ctx)
{
	struct agent_config *c = ctx;
	const struct yaml_node *peers = yaml_get(root, "peers"), *version = yaml_get(root, "version");
	unsigned long long v = AGENT_CONFIG_VERSION, port = 51820;
	const char *base = yaml_text(yaml_get(root, "cloud_api_base"));

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
	conf_read_text(r, yaml_get(root, "ssh_addr"), c->ssh_addr, sizeof(c->ssh_addr));
	conf_read_text(r, yaml_get(root, "host_id"), c->host_id, sizeof(c->host_id));
	read_probe_interval(r, yaml_get(root, "derp_probe_interval"));
	if (base && *base && strncmp(base, "https://", 8) != 0)
		conf_wrong(r, yaml_get(root, "cloud_api_base"), "cloud_api_base must begin with https://");
	yaml_for_each(n, peers && peers->kind == YAML_SEQ ? peers : NULL)
		read_peer(r, n, c);
	if (r->e == OK && c->n_peers == 0)
		conf_wrong(r, peers ? peers : root, "at least one peer is expected in peers");
	note_later(c, root);
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

enum err agent_config_load(const char *file, bool strict, struct agent_config *ret, char *why, size_t why_size)
{
	unsigned mode, uid;
	char *text;
	size_t len;
	enum err e = os_file_mode(file, &mode, &uid);

	if (e == OK && (mode & 077) && strict) {
		snprintf(why, why_size,
			 "%s: others may read it (mode %04o), and it holds a private key. Run: chmod 600 %s", file, mode,
			 file);
		return ERR_PERMISSION;
	}
	if (e == OK && (mode & 077))
		log_warn("others may read the configuration path=%s mode=%04o", file, mode);
	if (e == OK)
		e = os_file_read(file, CONFIG_BYTES_MAX, &text, &len);
	if (e != OK) {
		snprintf(why, why_size, "%s: %s", file, err_text(e));
		return e;
	}
	e = agent_config_parse(file, text, len, ret, why, why_size);
	sodium_memzero(text, len);
	free(text);
	return e;
}

void agent_config_wipe(struct agent_config *c)
{
	sodium_memzero(c, sizeof(*c));
}
