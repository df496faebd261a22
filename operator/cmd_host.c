/*
 * operator/cmd_host.c - `nefia host add|list|show|rename|remove`: pairing by hand.
 *
 * With a public key the agent exists already, and gets the lines to put into its agent.yaml. Without one we make its
 * key and write a whole agent.yaml, which is not kept here. The address is chosen under the file's lock, so that two
 * adds at once cannot take the same one.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/edit.h"
#include "os/file.h"
#include "os/loop.h"

struct add {
	const char *name, *public_key, *vpn_addr, *endpoint, *user, *identity, *group, *psk_file, *agent_config;
	const char *tags[N_HOST_TAGS];
	size_t n_tags;
	char psk[KEY_STR_MAX]; /* empty = none */
	struct wg_private_key agent_private;
	struct wg_public_key key;
	struct ip_addr addr;
	bool exists, addr_taken;
};

static bool addr_is_taken(const struct config *cfg, const struct ip_addr *a)
{
	for (size_t i = 0; i < cfg->n_addrs; i++)
		if (ip_addr_equal(&cfg->addrs[i].ip, a))
			return true;
	for (size_t i = 0; i < cfg->n_hosts; i++)
		for (size_t k = 0; k < cfg->hosts[i].n_addrs; k++)
			if (ip_addr_equal(&cfg->hosts[i].addrs[k], a))
				return true;
	return false;
}

/* A value as YAML: single quotes hold anything but line ends. */
static void put_quoted(FILE *f, const char *s)
{
	fputc('\'', f);
	for (; *s; s++) {
		if (*s == '\'')
			fputc('\'', f);
		if ((unsigned char)*s >= 0x20)
			fputc(*s, f);
	}
	fputc('\'', f);
}

static void put_field(FILE *f, const char *name, const char *value)
{
	if (!value)
		return;
	fprintf(f, "  %s: ", name);
	put_quoted(f, value);
	fputc('\n', f);
}

static char *make_entry(const struct add *a)
{
	char *text = NULL, key[KEY_STR_MAX], addr[IP_ADDR_STR_MAX];
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, "- id: %s\n", a->name);
	put_field(f, "group", a->group);
	for (size_t i = 0; i < a->n_tags; i++) {
		fputs(i == 0 ? "  tags: [" : ", ", f);
		put_quoted(f, a->tags[i]);
	}
	if (a->n_tags)
		fputs("]\n", f);
	put_field(f, "user", a->user);
	put_field(f, "identity", a->identity);
	fprintf(f, "  vpn:\n    addr: %s\n    public_key: %s\n", ip_addr_format(&a->addr, addr),
		key_to_base64(a->key.b, key));
	if (a->endpoint)
		fprintf(f, "    endpoint: '%s'\n", a->endpoint);
	if (a->psk[0])
		fprintf(f, "    preshared_key: %s\n", a->psk);
	return fclose(f) == 0 ? text : NULL;
}

static enum err edit_add(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct add *a = ctx;
	char *entry;
	enum err e = OK;

	if (config_host(cfg, a->name)) {
		a->exists = true;
		return ERR_EXISTS;
	}
	if (a->vpn_addr && addr_is_taken(cfg, &a->addr)) {
		a->addr_taken = true;
		return ERR_EXISTS;
	}
	if (!a->vpn_addr)
		e = config_next_addr(cfg, &a->addr);
	if (e != OK)
		return e;
	entry = make_entry(a);
	if (!entry)
		return ERR_NOMEM;
	e = edit_add_host(text, len, entry, ret);
	explicit_bzero(entry, strlen(entry));
	free(entry);
	return e;
}

/* ---- what the agent gets ---- */

static void put_peer(FILE *f, const struct cli *cli, const struct add *a)
{
	struct wg_public_key pub;
	char key[KEY_STR_MAX], addr[IP_ADDR_STR_MAX];

	wg_public_from_private(&cli->cfg.private_key, &pub);
	fprintf(f, "peers:\n  - public_key: %s\n    vpn_addr: %s\n", key_to_base64(pub.b, key),
		ip_addr_format(&cli->cfg.addrs[0].ip, addr));
	if (a->psk[0])
		fprintf(f, "    preshared_key: %s\n", a->psk);
	fprintf(f, "    endpoint: ''   # the operator's IP:port, when it can be reached from there\n");
}

static int write_agent_config(struct cli *cli, const struct add *a, const char *path)
{
	char *text = NULL, key[KEY_STR_MAX], addr[IP_ADDR_STR_MAX];
	struct endpoint ep = { .port = 51820 };
	size_t len;
	FILE *f = open_memstream(&text, &len);
	enum err e;

	if (!f)
		return cli_error(cli, 1099, "out of memory");
	if (a->endpoint && endpoint_parse(a->endpoint, &ep) != OK)
		ep.port = 51820;
	fprintf(f, "# nefia-agent on %s. This file holds a private key: keep it yours alone (mode 0600).\n", a->name);
	fprintf(f, "version: 1\nprivate_key: %s\nlisten_port: %u\naddress: %s/%u\nssh_addr: 127.0.0.1:22\nhost_id: %s\n",
		key_to_base64(a->agent_private.b, key), ep.port, ip_addr_format(&a->addr, addr),
		a->addr.family == cli->cfg.addrs[0].ip.family ? cli->cfg.addrs[0].bits : ip_addr_bits(&a->addr), a->name);
	put_peer(f, cli, a);
	explicit_bzero(key, sizeof(key));
	if (fclose(f) != 0)
		return cli_error(cli, 1099, "out of memory");
	e = os_file_write_atomic(path, text, len, 0600);
	explicit_bzero(text, len);
	free(text);
	if (e != OK)
		return cli_error(cli, 1041, "%s: %s", path, err_text(e));
	printf("Agent's configuration: %s (move it to the host; it is not kept here)\n", path);
	return EXIT_OK;
}

static int report_add(struct cli *cli, const struct add *a)
{
	char addr[IP_ADDR_STR_MAX], path[PATH_MAX];

	printf("Host %s added, VPN address %s\n", a->name, ip_addr_format(&a->addr, addr));
	if (a->public_key) {
		printf("\nPut this into its agent.yaml:\n\n");
		put_peer(stdout, cli, a);
		return EXIT_OK;
	}
	snprintf(path, sizeof(path), "%s", a->agent_config ? a->agent_config : "agent.yaml");
	return write_agent_config(cli, a, path);
}

/* ---- arguments ---- */

static int parse_add(struct add *a, int argc, char **argv)
{
	const struct {
		const char *name;
		const char **to;
	} flags[] = {
		{ "--public-key", &a->public_key }, { "--vpn-addr", &a->vpn_addr },	    { "--endpoint", &a->endpoint },
		{ "--user", &a->user },		    { "--identity", &a->identity },	    { "--group", &a->group },
		{ "--preshared-key-file", &a->psk_file }, { "--agent-config", &a->agent_config },
	};

	for (int i = 2; i < argc; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(flags) && strcmp(argv[i], flags[k].name) != 0)
			k++;
		if (k < ARRAY_SIZE(flags) && i + 1 < argc)
			*flags[k].to = argv[++i];
		else if (strcmp(argv[i], "--tag") == 0 && i + 1 < argc && a->n_tags < N_HOST_TAGS)
			a->tags[a->n_tags++] = argv[++i];
		else if (argv[i][0] != '-' && !a->name)
			a->name = argv[i];
		else
			return cli_usage("host", "unknown argument: %s", argv[i]);
	}
	return a->name ? EXIT_OK : cli_usage("host", "add: a name is missing");
}

static int read_psk(struct cli *cli, struct add *a)
{
	uint8_t key[KEY_LEN];
	char *text;
	size_t len;
	enum err e;

	if (!a->psk_file)
		return EXIT_OK;
	e = os_file_read(a->psk_file, 4096, &text, &len);
	if (e != OK)
		return cli_error(cli, 1041, "%s: %s", a->psk_file, err_text(e));
	text[strcspn(text, " \t\r\n")] = '\0';
	e = key_from_base64(text, key);
	if (e == OK)
		key_to_base64(key, a->psk);
	explicit_bzero(text, len);
	free(text);
	return e == OK ? EXIT_OK : cli_error(cli, 1023, "%s holds no preshared key", a->psk_file);
}

static int check_add(struct cli *cli, struct add *a)
{
	struct endpoint ep;

	if (!config_host_id_ok(a->name))
		return cli_usage("host", "not a name: %s (letters, digits, '-', '_', '.')", a->name);
	if (a->public_key && key_from_base64(a->public_key, a->key.b) != OK)
		return cli_error(cli, 1023, "not a public key: %s", a->public_key);
	if (a->vpn_addr && ip_addr_parse(a->vpn_addr, &a->addr) != OK)
		return cli_error(cli, 1024, "not an IP address: %s", a->vpn_addr);
	if (a->endpoint && endpoint_parse(a->endpoint, &ep) != OK)
		return cli_error(cli, 1024, "not an endpoint (IP:port): %s", a->endpoint);
	if (!a->public_key) {
		wg_generate_private(os_rng(), &a->agent_private);
		wg_public_from_private(&a->agent_private, &a->key);
	}
	return read_psk(cli, a);
}

static int edit_failed(struct cli *cli, enum err e, const char *why)
{
	if (e == ERR_IN_USE)
		return cli_error(cli, 1007, "%s is locked by another process", cli->config);
	return cli_error(cli, e == ERR_NOT_FOUND ? 1001 : 1006, "%s", why[0] ? why : err_text(e));
}

static int host_add(struct cli *cli, int argc, char **argv)
{
	struct add a = { 0 };
	char why[512] = "";
	int r = parse_add(&a, argc, argv);
	enum err e;

	if (r == EXIT_OK)
		r = cli_load(cli);
	if (r == EXIT_OK)
		r = check_add(cli, &a);
	if (r != EXIT_OK)
		return r;
	e = config_edit(cli->config, edit_add, &a, why, sizeof(why));
	if (a.exists)
		r = cli_error(cli, 1022, "the host %s exists already", a.name);
	else if (a.addr_taken)
		r = cli_error(cli, 1024, "the address %s is taken", a.vpn_addr);
	else if (e != OK)
		r = edit_failed(cli, e, why);
	else
		r = report_add(cli, &a);
	explicit_bzero(&a.agent_private, sizeof(a.agent_private));
	explicit_bzero(a.psk, sizeof(a.psk));
	return r;
}

/* ---- the others ---- */

static void print_host(const struct host_config *h)
{
	char addr[IP_ADDR_STR_MAX] = "-", ep[ENDPOINT_STR_MAX];

	if (h->n_addrs)
		ip_addr_format(&h->addrs[0], addr);
	printf("%-20s %-16s %-24s %s\n", h->id, addr,
	       endpoint_is_set(&h->endpoint) ? endpoint_format(&h->endpoint, ep) : "(it calls us)",
	       h->group[0] ? h->group : "-");
}

static int host_list(struct cli *cli)
{
	if (cli_load(cli) != EXIT_OK)
		return EXIT_FAILED;
	printf("%-20s %-16s %-24s %s\n", "HOST", "ADDRESS", "ENDPOINT", "GROUP");
	for (size_t i = 0; i < cli->cfg.n_hosts; i++)
		print_host(&cli->cfg.hosts[i]);
	return EXIT_OK;
}

static int host_show(struct cli *cli, const char *id)
{
	const struct host_config *h;
	char buf[ENDPOINT_STR_MAX];

	if (cli_load(cli) != EXIT_OK)
		return EXIT_FAILED;
	h = config_host(&cli->cfg, id);
	if (!h)
		return cli_error(cli, 1021, "no such host: %s", id);
	printf("Host: %s\nStatus: %s\nUser: %s\n", h->id, h->state, config_user(&cli->cfg, h));
	for (size_t i = 0; i < h->n_addrs; i++)
		printf("VPN Addr: %s\n", ip_addr_format(&h->addrs[i], buf));
	if (h->has_key)
		printf("Public Key: %s\n", key_to_base64(h->public_key.b, buf));
	if (endpoint_is_set(&h->endpoint))
		printf("Endpoint: %s\n", endpoint_format(&h->endpoint, buf));
	if (h->group[0])
		printf("Group: %s\n", h->group);
	for (size_t i = 0; i < h->n_tags; i++)
		printf("Tag: %s\n", h->tags[i]);
	return EXIT_OK;
}

struct change {
	const char *id, *new_id;
	bool missing, exists;
};

static enum err edit_change(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	struct change *c = ctx;

	c->missing = !config_host(cfg, c->id);
	c->exists = c->new_id && config_host(cfg, c->new_id);
	if (c->missing || c->exists)
		return ERR_NOT_FOUND;
	if (c->new_id)
		return edit_rename_host(text, len, c->id, c->new_id, ret);
	return edit_remove_host(text, len, c->id, ret);
}

static int host_change(struct cli *cli, const char *id, const char *new_id)
{
	struct change c = { .id = id, .new_id = new_id };
	char why[512] = "";
	enum err e;

	if (new_id && !config_host_id_ok(new_id))
		return cli_usage("host", "not a name: %s", new_id);
	e = config_edit(cli->config, edit_change, &c, why, sizeof(why));
	if (c.missing)
		return cli_error(cli, 1021, "no such host: %s", id);
	if (c.exists)
		return cli_error(cli, 1022, "the host %s exists already", new_id);
	if (e != OK)
		return edit_failed(cli, e, why);
	if (new_id)
		printf("Host %s is now %s\n", id, new_id);
	else
		printf("Host %s removed\n", id);
	return EXIT_OK;
}

int cmd_host(struct cli *cli, int argc, char **argv)
{
	const char *sub = argc > 1 ? argv[1] : "";

	if (strcmp(sub, "add") == 0)
		return host_add(cli, argc, argv);
	if (strcmp(sub, "list") == 0 && argc == 2)
		return host_list(cli);
	if (strcmp(sub, "show") == 0 && argc == 3)
		return host_show(cli, argv[2]);
	if (strcmp(sub, "rename") == 0 && argc == 4)
		return host_change(cli, argv[2], argv[3]);
	if (strcmp(sub, "remove") == 0 && argc == 3)
		return host_change(cli, argv[2], NULL);
	return cli_usage("host", "expected: add, list, show, rename, remove");
}
