/* operator/cmd_init.c - `nefia init`: a key, nefia.yaml with comments, the public key for the agents. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "os/file.h"
#include "os/loop.h"

static const char template[] =
	"# Nefia, the operator's side. This file holds a private key: keep it yours alone (mode 0600).\n"
	"version: 1\n"
	"vpn:\n"
	"  private_key: %s\n"
	"  address: %s\n"
	"  listen_port: %u\n"
	"hosts: []\n";

static int write_config(struct cli *cli, const char *address, unsigned port)
{
	struct wg_private_key priv;
	struct wg_public_key pub;
	char key[KEY_STR_MAX], *text = NULL;
	enum err e;

	wg_generate_private(os_rng(), &priv);
	wg_public_from_private(&priv, &pub);
	if (asprintf(&text, template, key_to_base64(priv.b, key), address, port) < 0)
		return cli_error(cli, 1099, "out of memory");
	e = os_file_write_atomic(cli->config, text, strlen(text), 0600);
	explicit_bzero(text, strlen(text));
	explicit_bzero(&priv, sizeof(priv));
	explicit_bzero(key, sizeof(key));
	free(text);
	if (e != OK)
		return cli_error(cli, 1006, "%s: %s", cli->config, err_text(e));
	printf("Configuration: %s\nPublic key: %s\n", cli->config, key_to_base64(pub.b, key));
	return EXIT_OK;
}

int cmd_init(struct cli *cli, int argc, char **argv)
{
	const char *address = "10.99.0.1/24", *port = "51820";
	struct ip_prefix p;
	long n;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--address") == 0 && i + 1 < argc)
			address = argv[++i];
		else if (strcmp(argv[i], "--listen-port") == 0 && i + 1 < argc)
			port = argv[++i];
		else
			return cli_usage("init", "unknown argument: %s", argv[i]);
	}
	n = strtol(port, NULL, 10);
	if (ip_prefix_parse(address, &p) != OK || n < 0 || n > 65535)
		return cli_usage("init", "expected an address with its prefix, and a port from 0 to 65535");
	if (access(cli->config, F_OK) == 0)
		return cli_error(cli, 1005, "%s exists already", cli->config);
	if (os_mkdir_p(cli->home, 0700) != OK)
		return cli_error(cli, 1006, "%s cannot be made", cli->home);
	return write_config(cli, address, (unsigned)n);
}
