/* agent/main.c - nefia-agent: global flags and the table of commands. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "base/version.h"
#include "os/file.h"
#include "wg/wg.h"
#include "os/loop.h"

static const struct {
	const char *name;
	int (*fn)(const struct agent_options *opt, int argc, char **argv);
	const char *help;
} commands[] = {
	{ "run", agent_cmd_run,
	  "run [--config PATH] [--strict-permissions[=false]] [--log-file F] [--log-max-size MB]\n"
	  "      [--log-max-backups N] [--log-max-age DAYS] [--auto-update-interval D]\n"
	  "      [--uapi-dir DIR]\n"
	  "      Join the tunnel and stay in the foreground." },
	{ "status", agent_cmd_status, "status [--config PATH]\n      Show the last health report." },
	{ "keygen", agent_cmd_keygen, "keygen\n      Make a private key; prints it and its public key." },
};

static void usage(FILE *f)
{
	fprintf(f, "Usage: nefia-agent [--config PATH] [--log-level debug|info|warn|error] COMMAND\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %s\n", commands[i].help);
	fprintf(f, "\n  --version   print version, commit and build date\n  --help      this text\n");
}

int agent_cmd_keygen(const struct agent_options *opt, int argc, char **argv)
{
	struct wg_private_key priv;
	struct wg_public_key pub;
	char text[KEY_STR_MAX];

	wg_generate_private(os_rng(), &priv);
	wg_public_from_private(&priv, &pub);
	printf("Private key: %s\n", key_to_base64(priv.b, text));
	printf("Public key: %s\n", key_to_base64(pub.b, text));
	return 0;
}

/* "--name value" or "--name=value" at *i; NULL when it is another flag. */
static const char *flag_value(int argc, char **argv, int *i, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(argv[*i], name, len) != 0)
		return NULL;
	if (argv[*i][len] == '=')
		return argv[*i] + len + 1;
	if (argv[*i][len] == '\0' && *i + 1 < argc)
		return argv[++*i];
	return NULL;
}

/* Takes the global flags out of @argv, wherever they stand. Return: the new argc; -1 = a bad value. */
static int take_globals(int argc, char **argv, struct agent_options *opt)
{
	int n = 1;

	for (int i = 1; i < argc; i++) {
		const char *v;

		if ((v = flag_value(argc, argv, &i, "--config")))
			opt->config = v;
		else if ((v = flag_value(argc, argv, &i, "--log-level"))) {
			if (!log_level_parse(v, &opt->log_level)) {
				fprintf(stderr, "nefia-agent: --log-level must be debug, info, warn or error\n");
				return -1;
			}
		} else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	return n;
}

int main(int argc, char **argv)
{
	static char path[4096];
	struct agent_options opt = { path, LOG_INFO };
	const char *home = os_home();

	snprintf(path, sizeof(path), "%s/.nefia/agent.yaml", home ? home : "");
	argc = take_globals(argc, argv, &opt);
	if (argc < 0)
		return 2;
	if (argc < 2) {
		usage(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("nefia-agent v%s commit %s built %s\n", NEFIA_VERSION, NEFIA_COMMIT, NEFIA_BUILD_DATE);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			usage(stdout);
			return 0;
		}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].fn(&opt, argc - 1, argv + 1);
	fprintf(stderr, "nefia-agent: there is no command '%s'; see 'nefia-agent --help'\n", argv[1]);
	return 2;
}
