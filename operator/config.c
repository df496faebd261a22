/*
 * operator/config.c - reading nefia.yaml.
 *
 * One pass over the tree with a small reader that remembers the first thing that is wrong and where; every field is read the same
 * way, so that each error names file, line and column.
 */
#include "operator/config.h"

#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/conf.h"
#include "netstack/net.h"
#include "os/file.h"
#include "ssh/frame.h"
#include "tunnel/tunnel.h"

#define CONFIG_BYTES_MAX (1u << 20)
#define N_HOSTS_MAX 65536

/* ---- vpn and ssh ---- */

static void add_prefix(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct config *c = ctx;

	if (c->n_addrs == N_CONFIG_ADDRS || !yaml_text(item) ||
	    ip_prefix_parse(item->text, &c->addrs[c->n_addrs]) != OK)
		conf_wrong(r, item, "not an address with a prefix length, as in 10.99.0.1/24");
	else
		c->n_addrs++;
}

static void read_vpn(struct conf_reader *r, const struct yaml_node *vpn, struct config *c)
{
	static const char *const fields[] = { "enabled",    "private_key", "address",	"listen_port", "mtu",
					      "derp_servers", "magic_dns", "multipath",	"aead",	      "enroll_port",
					      "congestion", "aead_workers", NULL };
	const struct yaml_node *dns = yaml_get(vpn, "magic_dns"), *key = yaml_get(vpn, "private_key");
	unsigned long long port = 51820, mtu = 1420, enroll_port = 19820;
	char workers[8] = "auto";

	conf_known_fields(r, vpn, fields);
	conf_read_key(r, key, c->private_key.b);
	conf_each(r, yaml_get(vpn, "address"), add_prefix, c);
	conf_read_number(r, yaml_get(vpn, "listen_port"), 65535, &port);
	conf_read_number(r, yaml_get(vpn, "enroll_port"), 65535, &enroll_port);
	conf_read_number(r, yaml_get(vpn, "mtu"), WG_MTU_MAX, &mtu);
	if (mtu < WG_MTU_MIN)
		conf_wrong(r, yaml_get(vpn, "mtu"), "mtu must be from %d to %d", WG_MTU_MIN, WG_MTU_MAX);
	conf_read_text(r, yaml_get(vpn, "aead"), c->aead, sizeof(c->aead));
	if (r->e == OK && c->aead[0] && !wg_aead_name_is_known(c->aead))
		conf_wrong(r, yaml_get(vpn, "aead"), "aead is not known: libsodium, libcrypto or libIPSec_MB");
	conf_read_text(r, yaml_get(vpn, "aead_workers"), workers, sizeof(workers));
	if (r->e == OK && !tunnel_workers_parse(workers, &c->aead_workers))
		conf_wrong(r, yaml_get(vpn, "aead_workers"), "aead_workers must be " TUNNEL_WORKERS_FORMS);
	conf_read_bool(r, yaml_get(dns, "enabled"), &c->magic_dns);
	conf_read_text(r, yaml_get(dns, "domain"), c->magic_dns_domain, sizeof(c->magic_dns_domain));
	conf_read_text(r, yaml_get(vpn, "congestion"), c->congestion, sizeof(c->congestion));
	if (r->e == OK && c->congestion[0] && !net_congestion_is_known(c->congestion))
		conf_wrong(r, yaml_get(vpn, "congestion"), "congestion is not known: cubic or bbr");
	c->listen_port = (uint16_t)port;
	c->enroll_port = (uint16_t)enroll_port;
	c->mtu = (uint16_t)mtu;
}

static void add_identity(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct config *c = ctx;
	const char *s = yaml_text(item), *home = os_home();
	size_t size = s ? strlen(s) + (home ? strlen(home) : 0) + 2 : 0;

	if (!s || c->n_identities == N_IDENTITIES) {
		conf_wrong(r, item, "at most %d identity files are expected here", N_IDENTITIES);
		return;
	}
	if (size > SSH_IDENT_PATH_MAX) {
		conf_wrong(r, item, "the path of an identity is longer than %d bytes", SSH_IDENT_PATH_MAX);
		return;
	}
	c->identities[c->n_identities] = malloc(size);
	if (!c->identities[c->n_identities]) {
		r->e = ERR_NOMEM;
		return;
	}
	if (strncmp(s, "~/", 2) == 0 && home)
		snprintf(c->identities[c->n_identities], size, "%s/%s", home, s + 2);
	else
		strcpy(c->identities[c->n_identities], s);
	c->n_identities++;
}

/* Absolute, and as it is: "." and ".." in it would make two spellings of one folder. */
static void read_root_folder(struct conf_reader *r, const struct yaml_node *n, char ret[1024])
{
	conf_read_text(r, n, ret, 1024);
	if (r->e != OK || !ret[0])
		return;
	if (ret[0] != '/' || strstr(ret, "//") || strstr(ret, "/./") || strstr(ret, "/../"))
		conf_wrong(r, n, "session_root must be an absolute path without '.' and '..'");
	for (size_t len = strlen(ret); len > 1 && ret[len - 1] == '/'; len--)
		ret[len - 1] = '\0';
}

static void read_ssh(struct conf_reader *r, const struct yaml_node *ssh, struct config *c)
{
	static const char *const fields[] = { "identities", "user", "max_file_size_bytes", "max_list_entries", "session_root", NULL };
	unsigned long long max = 0, entries = MAX_LIST_ENTRIES_DEFAULT;

	conf_known_fields(r, ssh, fields);
	conf_each(r, yaml_get(ssh, "identities"), add_identity, c);
	conf_read_text(r, yaml_get(ssh, "user"), c->ssh_user, sizeof(c->ssh_user));
	conf_read_number(r, yaml_get(ssh, "max_file_size_bytes"), UINT64_MAX / 2, &max);
	conf_read_number(r, yaml_get(ssh, "max_list_entries"), UINT32_MAX, &entries);
	c->max_file_size_bytes = max;
	c->max_list_entries = entries;
	read_root_folder(r, yaml_get(ssh, "session_root"), c->session_root);
}

/* ---- hosts ---- */

bool config_host_id_ok(const char *id)
{
	size_t n = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

	return n > 0 && n <= HOST_ID_MAX && id[n] == '\0' && id[0] != '-' && id[0] != '.' && strcmp(id, "all") != 0;
}

static void add_addr(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct host_config *h = ctx;

	if (h->n_addrs == N_CONFIG_ADDRS || !yaml_text(item) ||
	    ip_addr_parse(item->text, &h->addrs[h->n_addrs]) != OK)
		conf_wrong(r, item, "not an IP address, as in 10.99.0.2");
	else
		h->n_addrs++;
}

static void add_tag(struct conf_reader *r, const struct yaml_node *item, void *ctx)
{
	struct host_config *h = ctx;

	if (h->n_tags == N_HOST_TAGS)
		conf_wrong(r, item, "more than %d tags", N_HOST_TAGS);
	else
		conf_read_text(r, item, h->tags[h->n_tags++], sizeof(h->tags[0]));
}

static void read_host_vpn(struct conf_reader *r, const struct yaml_node *vpn, struct host_config *h)
{
	static const char *const fields[] = { "addr", "public_key", "endpoint", "local_endpoint", "preshared_key", NULL };
	static const struct wg_public_key none;

	conf_known_fields(r, vpn, fields);
	conf_each(r, yaml_get(vpn, "addr"), add_addr, h);
	conf_read_key(r, yaml_get(vpn, "public_key"), h->public_key.b);
	conf_read_key(r, yaml_get(vpn, "preshared_key"), h->psk.b);
	conf_read_endpoint(r, yaml_get(vpn, "endpoint"), &h->endpoint);
	conf_read_endpoint(r, yaml_get(vpn, "local_endpoint"), &h->local_endpoint);
	h->has_key = memcmp(&h->public_key, &none, sizeof(none)) != 0;
}

/* Return: it is there. */
static bool read_nonce(struct conf_reader *r, const struct yaml_node *n, uint8_t ret[16])
{
	char hex[33] = "";

	conf_read_text(r, n, hex, sizeof(hex));
	if (hex[0] && hex_decode(hex, ret, 16) != OK)
		conf_wrong(r, n, "a nonce is 32 hex digits");
	return hex[0];
}

static void read_invite(struct conf_reader *r, const struct yaml_node *n, struct host_config *h)
{
	static const char *const fields[] = { "nonce", "expires", NULL };
	unsigned long long expires = 0;

	conf_known_fields(r, n, fields);
	h->invite.is_set = read_nonce(r, yaml_get(n, "nonce"), h->invite.nonce);
	conf_read_number(r, yaml_get(n, "expires"), INT64_MAX, &expires);
	h->invite.expires = expires;
}

static void read_fleet(struct conf_reader *r, const struct yaml_node *n, struct config *c)
{
	static const char *const fields[] = { "nonce", "expires", "max_uses", "group", NULL };
	struct fleet_invite *f = &c->fleets[c->n_fleets];
	unsigned long long expires = 0, uses = 0;

	conf_known_fields(r, n, fields);
	conf_read_number(r, yaml_get(n, "expires"), INT64_MAX, &expires);
	conf_read_number(r, yaml_get(n, "max_uses"), N_HOSTS_MAX, &uses);
	conf_read_text(r, yaml_get(n, "group"), f->group, sizeof(f->group));
	f->expires = expires;
	f->max_uses = (unsigned)uses;
	if (!read_nonce(r, yaml_get(n, "nonce"), f->nonce))
		conf_wrong(r, n, "an invite needs a nonce");
	c->n_fleets++;
}

static void read_fleets(struct conf_reader *r, const struct yaml_node *list, struct config *c)
{
	if (!list || (list->kind == YAML_SCALAR && !list->text[0]))
		return;
	if (list->kind != YAML_SEQ)
		conf_wrong(r, list, "invites must be a list");
	yaml_for_each(item, list) {
		if (c->n_fleets == N_FLEET_INVITES) {
			conf_wrong(r, item, "more than %d invites; remove those that have expired", N_FLEET_INVITES);
			return;
		}
		read_fleet(r, item, c);
	}
}

static void read_host(struct conf_reader *r, const struct yaml_node *n, struct config *c)
{
	static const char *const fields[] = { "id", "group", "tags", "user", "identity", "session_root", "state", "os", "vpn",
					      "invite", "fleet", NULL };
	struct host_config *h = &c->hosts[c->n_hosts];

	conf_known_fields(r, n, fields);
	strcpy(h->state, "active");
	conf_read_text(r, yaml_get(n, "id"), h->id, sizeof(h->id));
	conf_read_text(r, yaml_get(n, "group"), h->group, sizeof(h->group));
	conf_each(r, yaml_get(n, "tags"), add_tag, h);
	conf_read_text(r, yaml_get(n, "user"), h->user, sizeof(h->user));
	conf_read_text(r, yaml_get(n, "identity"), h->identity, sizeof(h->identity));
	read_root_folder(r, yaml_get(n, "session_root"), h->session_root);
	conf_read_text(r, yaml_get(n, "state"), h->state, sizeof(h->state));
	conf_read_text(r, yaml_get(n, "os"), h->os, sizeof(h->os));
	read_host_vpn(r, yaml_get(n, "vpn"), h);
	conf_read_text(r, yaml_get(n, "fleet"), h->fleet, sizeof(h->fleet));
	if (yaml_get(n, "invite"))
		read_invite(r, yaml_get(n, "invite"), h);
	if (r->e != OK)
		return;
	if (!config_host_id_ok(h->id))
		conf_wrong(r, n, "a host needs an id of letters, digits, '-', '_' and '.'");
	else if (config_host(c, h->id))
		conf_wrong(r, yaml_get(n, "id"), "the host %s stands here twice", h->id);
	c->n_hosts++;
}

static void read_hosts(struct conf_reader *r, const struct yaml_node *hosts, struct config *c)
{
	size_t n_items = 0;

	if (!hosts || (hosts->kind == YAML_SCALAR && !hosts->text[0]))
		return;
	if (hosts->kind != YAML_SEQ) {
		conf_wrong(r, hosts, "hosts must be a list");
		return;
	}
	yaml_for_each(item, hosts)
		n_items++;
	if (n_items > N_HOSTS_MAX) {
		conf_wrong(r, hosts, "more than %d hosts", N_HOSTS_MAX);
		return;
	}
	c->hosts = calloc(n_items + 1, sizeof(*c->hosts));
	if (!c->hosts) {
		r->e = ERR_NOMEM;
		return;
	}
	yaml_for_each(item2, hosts)
		read_host(r, item2, c);
}

/* ---- the file ---- */

static void read_root(struct conf_reader *r, const struct yaml_node *root, void *ctx)
{
	static const char *const fields[] = { "version", "vpn", "ssh", "hosts", "invites", "mcp", "alerts", "telemetry",
					      NULL };
	const struct yaml_node *v = yaml_get(root, "version");
	static const struct wg_private_key none;
	unsigned long long version = CONFIG_VERSION;
	struct config *c = ctx;

	conf_read_number(r, v, UINT32_MAX, &version);
	if (r->e == OK && version > CONFIG_VERSION) {
		conf_wrong(r, v, "version %llu is newer than this program knows (%d): update nefia", version, CONFIG_VERSION);
		r->e = ERR_VERSION;
		return;
	}
	conf_known_fields(r, root, fields);
	read_vpn(r, yaml_get(root, "vpn"), c);
	read_ssh(r, yaml_get(root, "ssh"), c);
	read_hosts(r, yaml_get(root, "hosts"), c);
	read_fleets(r, yaml_get(root, "invites"), c);
	if (r->e == OK && memcmp(&c->private_key, &none, sizeof(none)) == 0)
		conf_wrong(r, root, "vpn.private_key is missing");
	if (r->e == OK && c->n_addrs == 0)
		conf_wrong(r, root, "vpn.address is missing");
}

enum err config_parse(const char *file, const char *text, size_t len, struct config *ret, char *why, size_t why_size)
{
	struct conf_reader r = { file, why, why_size, OK };
	struct config c = { .magic_dns = true, .magic_dns_domain = "nefia" };

	if (conf_parse(&r, text, len, "version, vpn and hosts", read_root, &c) == OK)
		*ret = c;
	else
		config_free(&c);
	return r.e;
}

enum err config_load(const char *file, struct config *ret, char *why, size_t why_size)
{
	unsigned mode, uid;
	char *text;
	size_t len;
	enum err e = os_file_mode(file, &mode, &uid);

	if (e == OK && (mode & 077)) {
		snprintf(why, why_size, "%s: others may read it (mode %04o), and it holds your private key", file, mode);
		return ERR_PERMISSION;
	}
	if (e == OK)
		e = os_file_read(file, CONFIG_BYTES_MAX, &text, &len);
	if (e != OK) {
		snprintf(why, why_size, "%s: %s", file, err_text(e));
		return e;
	}
	e = config_parse(file, text, len, ret, why, why_size);
	sodium_memzero(text, len);
	free(text);
	return e;
}

void config_free(struct config *c)
{
	for (size_t i = 0; i < c->n_identities; i++)
		free(c->identities[i]);
	if (c->hosts)
		sodium_memzero(c->hosts, c->n_hosts * sizeof(*c->hosts));
	free(c->hosts);
	sodium_memzero(c, sizeof(*c));
}

/* ---- questions ---- */

const struct host_config *config_host(const struct config *c, const char *id)
{
	for (size_t i = 0; i < c->n_hosts; i++)
		if (strcmp(c->hosts[i].id, id) == 0)
			return &c->hosts[i];
	return NULL;
}

bool config_host_is_active(const struct host_config *h)
{
	return h->has_key && strcmp(h->state, "active") == 0;
}

bool config_host_is_pending(const struct host_config *h)
{
	return h->invite.is_set && strcmp(h->state, "pending") == 0;
}

const char *config_user(const struct config *c, const struct host_config *h)
{
	const struct passwd *pw;

	if (h->user[0])
		return h->user;
	if (c->ssh_user[0])
		return c->ssh_user;
	pw = getpwuid(getuid());
	return pw ? pw->pw_name : "root";
}

const char *config_session_root(const struct config *c, const struct host_config *h)
{
	const char *root = h->session_root[0] ? h->session_root : c->session_root;

	return strcmp(root, "/") == 0 ? "" : root;
}

static bool addr_is_used(const struct config *c, const struct ip_addr *a)
{
	for (size_t i = 0; i < c->n_addrs; i++)
		if (ip_addr_equal(&c->addrs[i].ip, a))
			return true;
	for (size_t i = 0; i < c->n_hosts; i++)
		for (size_t k = 0; k < c->hosts[i].n_addrs; k++)
			if (ip_addr_equal(&c->hosts[i].addrs[k], a))
				return true;
	return false;
}

enum err config_next_addr(const struct config *c, struct ip_addr *ret)
{
	const struct ip_prefix *p = NULL;
	struct ip_prefix net;

	for (size_t i = 0; i < c->n_addrs && !p; i++)
		if (c->addrs[i].ip.family == IP_V4)
			p = &c->addrs[i];
	if (!p || p->bits > 30)
		return ERR_FULL;
	net = *p;
	ip_prefix_mask(&net);
	/* Neither the network's own address nor the broadcast one. */
	for (uint32_t i = 1; i < (p->bits == 0 ? UINT32_MAX : (1u << (32 - p->bits)) - 1); i++) {
		struct ip_addr a = net.ip;
		uint32_t v = ((uint32_t)a.b[0] << 24 | (uint32_t)a.b[1] << 16 | (uint32_t)a.b[2] << 8 | a.b[3]) + i;

		a.b[0] = (uint8_t)(v >> 24);
		a.b[1] = (uint8_t)(v >> 16);
		a.b[2] = (uint8_t)(v >> 8);
		a.b[3] = (uint8_t)v;
		if (!addr_is_used(c, &a)) {
			*ret = a;
			return OK;
		}
	}
	return ERR_FULL;
}

enum err config_next_addr6(const struct config *c, struct ip_addr *ret)
{
	const struct ip_prefix *p = NULL;
	struct ip_prefix net;
	uint64_t n_max;

	for (size_t i = 0; i < c->n_addrs && !p; i++)
		if (c->addrs[i].ip.family == IP_V6)
			p = &c->addrs[i];
	if (!p)
		return ERR_NOT_FOUND;
	net = *p;
	ip_prefix_mask(&net);
	/* As many hosts as a file may have are enough to look at; the last 64 bits count them. */
	n_max = p->bits > 128 - 20 ? (1ULL << (128 - p->bits)) : 1ULL << 20;
	for (uint64_t i = 1; i < n_max; i++) {
		struct ip_addr a = net.ip;

		for (unsigned k = 0; k < 8; k++)
			a.b[15 - k] |= (uint8_t)(i >> (8 * k));
		if (!addr_is_used(c, &a)) {
			*ret = a;
			return OK;
		}
	}
	return ERR_FULL;
}

static bool has_tag(const struct host_config *h, const char *tag)
{
	for (size_t i = 0; i < h->n_tags; i++)
		if (strcmp(h->tags[i], tag) == 0)
			return true;
	return false;
}

static bool matches(const struct host_config *h, const char *word)
{
	if (strcmp(word, "all") == 0)
		return true;
	if (strncmp(word, "group:", 6) == 0)
		return strcmp(h->group, word + 6) == 0;
	if (strncmp(word, "tag:", 4) == 0)
		return has_tag(h, word + 4);
	return strcmp(h->id, word) == 0 || (h->group[0] && strcmp(h->group, word) == 0) || has_tag(h, word);
}

size_t config_select(const struct config *c, const char *selector, const struct host_config **ret, char ret_miss[64])
{
	bool *chosen = calloc(c->n_hosts + 1, sizeof(*chosen));
	size_t n = 0;

	ret_miss[0] = '\0';
	while (chosen && *selector) {
		char word[64];
		size_t len = strcspn(selector, ",");
		bool any = false;

		snprintf(word, sizeof(word), "%.*s", (int)len, selector);
		selector += len + (selector[len] == ',');
		for (size_t i = 0; i < c->n_hosts; i++)
			if (matches(&c->hosts[i], word))
				any = chosen[i] = true;
		if (!any) {
			memcpy(ret_miss, word, sizeof(word));
			free(chosen);
			return 0;
		}
	}
	for (size_t i = 0; chosen && i < c->n_hosts; i++)
		if (chosen[i])
			ret[n++] = &c->hosts[i];
	free(chosen);
	return n;
}
