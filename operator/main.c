/* operator/main.c - nefia: global flags, the table of commands, and the hidden entry of the SSH worker. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "operator/cmd.h"
#include "os/file.h"
#include "ssh/worker.h"

#define WORKER_FD 3

static void usage(FILE *f)
{
	fprintf(f, "Usage: nefia [--config PATH] COMMAND\n\nCommands:\n");
	for (size_t i = 0; i < n_commands; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\n'nefia COMMAND --help' tells more. --version prints the version.\n");
}

/* The Nefia folder: --config's, else $NEFIA_HOME, else ~/.nefia. All absolute, so that a hub elsewhere finds it. */
static bool set_paths(struct cli *cli, const char *config)
{
	const char *env = getenv("NEFIA_HOME"), *home = os_home();
	char *slash;
	int n;

	if (config) {
		if (config[0] == '/')
			n = snprintf(cli->config, sizeof(cli->config), "%s", config);
		else if (getcwd(cli->home, sizeof(cli->home)))
			n = snprintf(cli->config, sizeof(cli->config), "%.*s/%s", PATH_MAX - 300, cli->home, config);
		else
			return false;
		if (n >= PATH_MAX)
			return false;
		memcpy(cli->home, cli->config, sizeof(cli->home));
		slash = strrchr(cli->home, '/');
		*(slash == cli->home ? slash + 1 : slash) = '\0';
		/* A hub started by us is told both; they need not be in one folder. */
		if (env && env[0] == '/' && strlen(env) < PATH_MAX)
			strcpy(cli->home, env);
		return true;
	}
	if (env && env[0])
		n = realpath(env, cli->home) ? 0 : snprintf(cli->home, sizeof(cli->home), "%s", env);
	else
		n = home ? snprintf(cli->home, sizeof(cli->home), "%s/.nefia", home) : PATH_MAX;
	if (n >= PATH_MAX || strlen(cli->home) > PATH_MAX - 16)
		return false;
	snprintf(cli->config, sizeof(cli->config), "%.*s/nefia.yaml", PATH_MAX - 16, cli->home);
	return true;
}

static int run_command(struct cli *cli, int argc, char **argv)
{
	for (size_t i = 0; i < n_commands; i++) {
		if (strcmp(commands[i].name, argv[0]) != 0)
			continue;
		if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
			printf("Usage: nefia %s\n", commands[i].help);
			return EXIT_OK;
		}
		return commands[i].fn(cli, argc, argv);
	}
	fprintf(stderr, "nefia: unknown command: %s\n", argv[0]);
	usage(stderr);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	const char *config = NULL;
	struct cli cli = { .colour = false };
	int i, r;

	if (argc > 1 && strcmp(argv[1], "ssh-worker") == 0)
		return ssh_worker_main(WORKER_FD);
	signal(SIGPIPE, SIG_IGN);
	log_set(LOG_WARN, NULL);
	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = argv[++i];
		} else if (strncmp(argv[i], "--config=", 9) == 0) {
			config = argv[i] + 9;
		} else if (strcmp(argv[i], "--version") == 0) {
			return cmd_version(&cli, 1, argv + i);
		} else {
			bool help = strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;

			usage(help ? stdout : stderr);
			return help ? EXIT_OK : EXIT_USAGE;
		}
	}
	if (i == argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	cli.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	if (sodium_init() < 0 || !set_paths(&cli, config))
		return cli_error(&cli, 1099, "the Nefia folder's path cannot be used");
	r = run_command(&cli, argc - i, argv + i);
	if (cli.loaded)
		config_free(&cli.cfg);
	return r;
}
