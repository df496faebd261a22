/* operator/cmd_init.c - `nefia init`: the operator's key and a first nefia.yaml. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "operator/cmd.h"
#include "os/file.h"
#include "os/loop.h"

/* With the private key. */
#define FIRST_CONFIG                                                \
	"version: 1\n"                                              \
	"vpn:\n"                                                    \
	"  private_key: %s\n"                                       \
	"  address: 10.99.0.1/24\n"                                 \
	"  listen_port: 51820\n"                                    \
	"ssh:\n"                                                    \
	"  # Tried in order; without any, the usual ones in ~/.ssh.\n" \
	"  identities: []\n"                                        \
	"hosts: []\n"

int cmd_init(struct cli *cli, int argc, char **argv)
{
	struct wg_private_key priv;
	struct wg_public_key pub;
	char key[KEY_STR_MAX], text[1024];
	unsigned mode, uid;
	enum err e;

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	if (os_file_mode(cli->config, &mode, &uid) == OK)
		return cli_error(cli, 1005, "%s exists already", cli->config);
	e = os_mkdir_p(cli->home, 0700);
	if (e != OK)
		return cli_error(cli, 1006, "%s: %s", cli->home, err_text(e));
	wg_generate_private(os_rng(), &priv);
	wg_public_from_private(&priv, &pub);
	snprintf(text, sizeof(text), FIRST_CONFIG, key_to_base64(priv.b, key));
	e = os_file_write_atomic(cli->config, text, strlen(text), 0600);
	sodium_memzero(&priv, sizeof(priv));
	sodium_memzero(key, sizeof(key));
	sodium_memzero(text, sizeof(text));
	if (e != OK)
		return cli_error(cli, 1006, "%s: %s", cli->config, err_text(e));
	printf("Public key: %s\n", key_to_base64(pub.b, key));
	fprintf(stderr, "Written to %s. Next, for each host: nefia vpn invite --name NAME --os OS --endpoint IP:PORT\n", cli->config);
	return EXIT_OK;
}
