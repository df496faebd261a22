/*
 * operator/cmd_host.c - `nefia host`: pairing by hand, and the list of hosts.
 *
 * Without --public-key the agent's key is made here, written into a complete agent.yaml, and forgotten: the operator
 * keeps the public half only.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/text.h"
#include "operator/cmd.h"
#include "operator/edit.h"
#include "operator/hub_client.h"
#include "operator/json_text.h"
#include "os/file.h"
#include "os/loop.h"

struct host_add {
	const char *name, *public_key, *vpn_addr, *endpoint, *user, *identity, *group, *psk_file, *agent_config;
	const char *tags[N_HOST_TAGS];
	size_t n_tags;
	char addr[IP_ADDR_STR_MAX], key[KEY_STR_MAX], psk[KEY_STR_MAX];
	struct wg_private_key priv; /* the agent's, when we make it */
	char path[512];             /* where its configuration goes; empty: nowhere */
	bool path_written;
	unsigned ecode; /* why the edit was refused; 0 = see why */
	char detail[600];
};

static const char *option_tag(const char *value, void *field)
{
	struct host_add *a = (void *)((char *)field - offsetof(struct host_add, tags));

	if (a->n_tags == N_HOST_TAGS)
		return "given fewer times";
	a->tags[a->n_tags++] = value;
	return NULL;
}

const struct cli_option host_add_options[] = {
	{ "public-key", 0, "KEY", "the agent's public key; without, one is made", option_text, offsetof(struct host_add, public_key) },
	{ "vpn-addr", 0, "IP", "its address inside; without, the next free one", option_text, offsetof(struct host_add, vpn_addr) },
	{ "endpoint", 0, "IP:PORT", "where it is reached", option_text, offsetof(struct host_add, endpoint) },
	{ "user", 0, "USER", "whom to log in as", option_text, offsetof(struct host_add, user) },
	{ "identity", 0, "FILE", "the private SSH key", option_text, offsetof(struct host_add, identity) },
	{ "group", 0, "GROUP", "the group it belongs to", option_text, offsetof(struct host_add, group) },
	{ "tag", 0, "TAG", "a tag; may be repeated", option_tag, offsetof(struct host_add, tags) },
	{ "preshared-key-file", 0, "FILE", "a file that holds a preshared key", option_text, offsetof(struct host_add, psk_file) },
	{ "agent-config", 0, "FILE", "where to write its agent.yaml", option_text, offsetof(struct host_add, agent_config) },
	{ .name = NULL },
};

struct host_flags {
	bool json;
};

const struct cli_option host_json_options[] = {
	{ "json", 0, NULL, "as JSON", option_flag, offsetof(struct host_flags, json) },
	{ .name = NULL },
};

static int add_options(struct cli *cli, struct host_add *a, int argc, char **argv)
{
	if (options_parse(cli, &argc, argv, a) != 0)
		return EXIT_USAGE;
	a->name = argv[1];
	if (!config_host_id_ok(a->name))
		return cli_usage(cli, "'%s' cannot be a host's name: use letters, digits, '-', '_', '.'", a->name);
	return 0;
}

/* What a selector can name: "a,b" would be two. */
static bool is_label(const char *text)
{
	return !text_has_control(text) && !strchr(text, ',');
}

/* Each stands in a line of the file: who reads of a fault there would look for it in vain. */
static int check_texts(const struct cli *cli, const struct host_add *a)
{
	static const char no_label[] = "%s cannot have a comma or a control character in it";

	if (a->group && !is_label(a->group))
		return cli_usage(cli, no_label, "--group");
	for (size_t i = 0; i < a->n_tags; i++)
		if (!is_label(a->tags[i]))
			return cli_usage(cli, no_label, "--tag");
	if ((a->user && text_has_control(a->user)) || (a->identity && text_has_control(a->identity)))
		return cli_usage(cli, "--user and --identity cannot have a control character in them");
	return 0;
}

static int check_values(struct cli *cli, struct host_add *a)
{
	uint8_t key[KEY_LEN];
	struct endpoint ep;
	struct ip_addr ip;
	char *text;
	size_t len;

	if (a->public_key && key_from_base64(a->public_key, key) != OK)
		return cli_error(cli, 1023, "--public-key is not a key");
	if (a->endpoint && (endpoint_parse(a->endpoint, &ep) != OK || ep.port == 0))
		return cli_usage(cli, "--endpoint must be IP:PORT, as in 192.0.2.7:51820");
	if (a->vpn_addr && ip_addr_parse(a->vpn_addr, &ip) != OK)
		return cli_error(cli, 1024, "--vpn-addr %s is not an IP address", a->vpn_addr);
	if (a->psk_file) {
		enum err e = os_file_read(a->psk_file, 4096, &text, &len);

		if (e != OK)
			return cli_error(cli, 1041, "%s: %s", a->psk_file, err_text(e));
		text[strcspn(text, "\r\n \t")] = '\0';
		e = key_from_base64(text, key);
		if (e == OK)
			memcpy(a->psk, text, KEY_STR_MAX);
		sodium_memzero(text, len);
		free(text);
		if (e != OK)
			return cli_error(cli, 1023, "%s does not hold a key", a->psk_file);
	}
	return 0;
}

static bool addr_taken(const struct config *cfg, const struct ip_addr *ip)
{
	for (size_t i = 0; i < cfg->n_addrs; i++)
		if (ip_addr_equal(&cfg->addrs[i].ip, ip))
			return true;
	for (size_t i = 0; i < cfg->n_hosts; i++)
		for (size_t k = 0; k < cfg->hosts[i].n_addrs; k++)
			if (ip_addr_equal(&cfg->hosts[i].addrs[k], ip))
				return true;
	return false;
}

static void line(char *text, size_t size, const char *fmt, const char *value)
{
	size_t used = strlen(text);

	if (value && *value)
		snprintf(text + used, size - used, fmt, value);
}

/* A value from the command line as a quoted scalar, so that no character of it is syntax. */
static void quoted(char *text, size_t size, const char *key, const char *value)
{
	size_t n = strlen(text);

	if (!value || !*value)
		return;
	n += (size_t)snprintf(text + n, size - n, "  %s'", key);
	for (; *value && n + 4 < size; value++) {
		if (*value == '\'')
			text[n++] = '\'';
		text[n++] = *value;
	}
	snprintf(text + n, size - n, "'\n");
}

/* The operator as the agent's peer. */
static void peer_block(const struct config *cfg, const struct host_add *a, char *text, size_t size)
{
	struct wg_public_key pub;
	char key[KEY_STR_MAX], addr[IP_ADDR_STR_MAX];

	wg_public_from_private(&cfg->private_key, &pub);
	snprintf(text, size,
		 "peers:\n"
		 "  - public_key: %s\n"
		 "    # The operator's address, if the agent is to call; empty: it waits for the operator.\n"
		 "    endpoint: \"\"\n"
		 "    vpn_addr: \"%s\"\n",
		 key_to_base64(pub.b, key), ip_addr_format(&cfg->addrs[0].ip, addr));
	line(text, size, "    preshared_key: %s\n", a->psk);
}

static enum err write_agent_config(const struct config *cfg, struct host_add *a)
{
	char text[4096], key[KEY_STR_MAX], peers[1024];
	struct endpoint ep = { .port = 51820 };
	enum err e;
	int len;

	if (a->endpoint && endpoint_parse(a->endpoint, &ep) != OK)
		return ERR_FORMAT;
	peer_block(cfg, a, peers, sizeof(peers));
	len = snprintf(text, sizeof(text),
		       "version: 1\n"
		       "private_key: %s\n"
		       "listen_port: %u\n"
		       "address: \"%s/%u\"\n"
		       "ssh_addr: 127.0.0.1:22\n"
		       "host_id: %s\n"
		       "%s",
		       key_to_base64(a->priv.b, key), ep.port, a->addr, cfg->addrs[0].bits, a->name, peers);
	a->path_written = true;
	e = os_file_write_atomic(a->path, text, (size_t)len, 0600);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(key, sizeof(key));
	return e;
}

/* The one that was asked for, or the next; false: it is taken, or none is left. */
static bool take_addr(const struct config *cfg, struct host_add *a)
{
	struct ip_addr ip;
	enum err e = a->vpn_addr ? ip_addr_parse(a->vpn_addr, &ip) : config_next_addr(cfg, &ip);

	if (e != OK || addr_taken(cfg, &ip))
		return false;
	ip_addr_format(&ip, a->addr);
	return true;
}

static void write_entry(const struct host_add *a, char *entry, size_t size)
{
	line(entry, size, "- id: %s\n", a->name);
	quoted(entry, size, "group: ", a->group);
	if (a->n_tags > 0)
		line(entry, size, "  tags:%s\n", " ");
	for (size_t i = 0; i < a->n_tags; i++)
		quoted(entry, size, "  - ", a->tags[i]);
	quoted(entry, size, "user: ", a->user);
	quoted(entry, size, "identity: ", a->identity);
	line(entry, size, "  vpn:\n    addr: \"%s\"\n", a->addr);
	line(entry, size, "    public_key: %s\n", a->key);
	line(entry, size, "    endpoint: \"%s\"\n", a->endpoint);
	line(entry, size, "    preshared_key: %s\n", a->psk);
}

static enum err add_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct host_add *a = ctx;
	char entry[4096] = "";
	enum err e;

	if (config_host(cfg, a->name)) {
		a->ecode = 1022;
		snprintf(a->detail, sizeof(a->detail), "%s is in the list already", a->name);
		return ERR_EXISTS;
	}
	if (!take_addr(cfg, a)) {
		a->ecode = 1024;
		snprintf(a->detail, sizeof(a->detail), "%s", a->vpn_addr ? "The address is in use" : "No free address is left");
		return ERR_IN_USE;
	}
	write_entry(a, entry, sizeof(entry));
	e = edit_add_host(text, len, entry, ret);
	sodium_memzero(entry, sizeof(entry));
	/* Before the host stands in the list: its key is nowhere else. */
	if (e == OK && a->path[0] && (e = write_agent_config(cfg, a)) != OK) {
		a->ecode = 1041;
		snprintf(a->detail, sizeof(a->detail), "%s: %s", a->path, err_text(e));
	}
	return e;
}

static int report_edit(struct cli *cli, enum err e, unsigned ecode, const char *detail, const char *why)
{
	if (ecode)
		return cli_error(cli, ecode, "%s", detail);
	if (e == ERR_IN_USE)
		return cli_error(cli, 1007, "%s", why);
	if (e == ERR_UNSUPPORTED)
		return cli_error(cli, 1002, "%s: hosts stands in [ ] form, which is not edited; write it as a list of lines",
				 cli->config);
	return cli_error(cli, why[0] && e != ERR_FORMAT ? 1006 : 1002, "%s", why[0] ? why : err_text(e));
}

/* The agent's own, or one that is made for it and written beside. Return: an exit code, 0 = there is one. */
static int choose_key(const struct cli *cli, struct host_add *a)
{
	struct wg_public_key pub;
	unsigned mode, uid;

	if (a->public_key) {
		snprintf(a->key, sizeof(a->key), "%s", a->public_key);
		return 0;
	}
	snprintf(a->path, sizeof(a->path), "%s%s", a->agent_config ? a->agent_config : a->name, a->agent_config ? "" : "-agent.yaml");
	if (os_file_mode(a->path, &mode, &uid) == OK)
		return cli_error(cli, 1041, "%s exists already; name another file with --agent-config", a->path);
	wg_generate_private(os_rng(), &a->priv);
	wg_public_from_private(&a->priv, &pub);
	key_to_base64(pub.b, a->key);
	return 0;
}

static void say_added(const struct cli *cli, const struct host_add *a)
{
	char peers[1024];

	if (!a->public_key) {
		printf("Host %s added with address %s. Its configuration is in %s: move it there as ~/.nefia/agent.yaml\n", a->name,
		       a->addr, a->path);
		return;
	}
	printf("Host %s added with address %s. Add this to its agent.yaml:\n", a->name, a->addr);
	peer_block(&cli->cfg, a, peers, sizeof(peers));
	fputs(peers, stdout);
}

int cmd_host_add(struct cli *cli, int argc, char **argv)
{
	struct host_add a = { 0 };
	char why[600] = "";
	int r = add_options(cli, &a, argc, argv);
	enum err e;

	if (r == 0)
		r = check_texts(cli, &a);
	if (r == 0)
		r = check_values(cli, &a);
	if (r == 0)
		r = cli_load(cli);
	if (r == 0)
		r = choose_key(cli, &a);
	if (r != 0)
		return r;
	e = config_edit(cli->config, add_edit, &a, why, sizeof(why));
	sodium_memzero(&a.priv, sizeof(a.priv));
	if (e != OK) {
		if (a.path_written && os_file_remove(a.path) != OK)
			fprintf(stderr, "nefia: %s stays: it belongs to no host\n", a.path);
		return report_edit(cli, e, a.ecode, a.detail, why);
	}
	hub_tell_reload(cli);
	say_added(cli, &a);
	return EXIT_OK;
}

/* ---- list and show ---- */

static json_t *host_json(const struct host_config *h)
{
	char text[ENDPOINT_STR_MAX], key[KEY_STR_MAX];
	json_t *tags = json_array(), *addrs = json_array();

	for (size_t i = 0; i < h->n_tags; i++)
		json_array_append_new(tags, json_string(h->tags[i]));
	for (size_t i = 0; i < h->n_addrs; i++)
		json_array_append_new(addrs, json_string(ip_addr_format(&h->addrs[i], text)));
	return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:s, s:s}", "id", h->id, "state", h->state, "group", h->group,
			 "tags", tags, "user", h->user, "addrs", addrs, "public_key",
			 h->has_key ? key_to_base64(h->public_key.b, key) : "", "endpoint",
			 endpoint_is_set(&h->endpoint) ? endpoint_format(&h->endpoint, text) : "");
}

static int print_json(json_t *j)
{
	int r = json_text_print(j, JSON_INDENT(2));

	json_decref(j);
	return r == 0 ? EXIT_OK : EXIT_FAILED;
}

int cmd_host_list(struct cli *cli, int argc, char **argv)
{
	struct host_flags flags = { 0 };
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	cli->json = flags.json;
	r = cli_load(cli);
	if (r != 0)
		return r;
	if (flags.json) {
		json_t *all = json_array();

		for (size_t i = 0; i < cli->cfg.n_hosts; i++)
			json_array_append_new(all, host_json(&cli->cfg.hosts[i]));
		return print_json(all);
	}
	if (cli->cfg.n_hosts == 0)
		printf("No hosts yet. Add one with: nefia host add NAME\n");
	else
		printf("%-20s %-16s %-12s %-10s %s\n", "HOST", "ADDRESS", "GROUP", "STATE", "ENDPOINT");
	for (size_t i = 0; i < cli->cfg.n_hosts; i++) {
		const struct host_config *h = &cli->cfg.hosts[i];
		char ip[IP_ADDR_STR_MAX] = "-", ep[ENDPOINT_STR_MAX] = "-";

		if (h->n_addrs)
			ip_addr_format(&h->addrs[0], ip);
		if (endpoint_is_set(&h->endpoint))
			endpoint_format(&h->endpoint, ep);
		printf("%-20s %-16s %-12s %-10s %s\n", h->id, ip, h->group[0] ? h->group : "-", h->state, ep);
	}
	return EXIT_OK;
}

int cmd_host_show(struct cli *cli, int argc, char **argv)
{
	struct host_flags flags = { 0 };
	const struct host_config *h;
	const char *key;
	json_t *j, *value;
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	cli->json = flags.json;
	h = cli_host(cli, argv[1], &r);
	if (!h)
		return r;
	j = host_json(h);
	if (flags.json)
		return print_json(j);
	json_object_foreach(j, key, value) {
		size_t i;
		json_t *item;

		printf("%s:", key);
		if (json_is_string(value))
			printf(" %s", json_string_value(value));
		json_array_foreach(value, i, item)
			printf(" %s", json_string_value(item));
		putchar('\n');
	}
	json_decref(j);
	return EXIT_OK;
}

/* ---- rename and remove ---- */

struct host_change {
	const char *id, *new_id;
	unsigned ecode;
	char detail[256];
};

static enum err change_edit(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct host_change *c = ctx;

	if (!config_host(cfg, c->id)) {
		c->ecode = 1021;
		snprintf(c->detail, sizeof(c->detail), "%s is not in the list", c->id);
		return ERR_NOT_FOUND;
	}
	if (c->new_id && config_host(cfg, c->new_id)) {
		c->ecode = 1022;
		snprintf(c->detail, sizeof(c->detail), "%s is in the list already", c->new_id);
		return ERR_EXISTS;
	}
	return c->new_id ? edit_rename_host(text, len, c->id, c->new_id, ret) : edit_remove_host(text, len, c->id, ret);
}

static int host_change(struct cli *cli, const char *id, const char *new_id)
{
	struct host_change c = { .id = id, .new_id = new_id };
	char why[600] = "";
	enum err e;
	int r;

	if (new_id && !config_host_id_ok(new_id))
		return cli_usage(cli, "'%s' cannot be a host's name", new_id);
	r = cli_load(cli);
	if (r != 0)
		return r;
	e = config_edit(cli->config, change_edit, &c, why, sizeof(why));
	if (e != OK)
		return report_edit(cli, e, c.ecode, c.detail, why);
	/* Who is removed is out when this ends, not when the hub next looks at the file. */
	hub_tell_reload(cli);
	if (new_id)
		printf("Host %s is %s now.\n", id, new_id);
	else
		printf("Host %s removed.\n", id);
	return EXIT_OK;
}

int cmd_host_rename(struct cli *cli, int argc, char **argv)
{
	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	return host_change(cli, argv[1], argv[2]);
}

int cmd_host_remove(struct cli *cli, int argc, char **argv)
{
	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	return host_change(cli, argv[1], NULL);
}
