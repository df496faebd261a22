/* operator/main.c - nefia: global flags, the table of commands, errors as people see them. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/ecode.h"
#include "base/version.h"
#include "operator/cmd.h"
#include "os/file.h"
#include "ssh/worker.h"

const struct command commands[] = {
	{ "init", cmd_init, "make the operator's key and nefia.yaml", "init" },
	{ "host", cmd_host, "add, list, show, rename, remove hosts",
	  "host add NAME [--public-key K] [--vpn-addr IP] [--endpoint IP:PORT] [--user U] [--identity F]\n"
	  "                [--group G] [--tag T]... [--preshared-key-file F] [--agent-config FILE]\n"
	  "       nefia host list [--json] | show NAME [--json] | rename OLD NEW | remove NAME" },
	{ "exec", cmd_exec, "run a command on hosts",
	  "exec --target SELECTOR [--timeout D] [--json] -- COMMAND...\n"
	  "SELECTOR: host ids, groups, tags or 'all', joined by commas. Exit status: the remote one; 255 our own failure;\n"
	  "124 the time limit; with several hosts 1 if any failed." },
	{ "fs", cmd_fs, "copy files", "fs put LOCAL HOST:REMOTE\n       nefia fs get HOST:REMOTE LOCAL" },
	{ "nc", cmd_nc, "a stream to a host's port on standard input and output (for ssh's ProxyCommand)",
	  "nc HOST PORT" },
	{ "forward", cmd_forward, "a local port that leads to a host",
	  "forward HOST [BIND:]PORT --raw\n--raw: the bare stream to the agent's ssh_addr. BIND is 127.0.0.1 unless given; PORT 0 = any." },
	{ "vpn", cmd_vpn, "look at the tunnel", "vpn status [--live] [--ping] [--json]" },
	{ "hub", cmd_hub, "keep the tunnel up", "hub [--uapi-dir DIR] [--log-level L]\n       nefia hub stop | logs" },
	{ "wg", cmd_wg, "the wg tool's view of a running hub or agent",
	  "wg show [--uapi-dir DIR] [NAME] | showconf [--uapi-dir DIR] [NAME]\n"
	  "       nefia wg set [--uapi-dir DIR] NAME [private-key FILE] [listen-port PORT]\n"
	  "                [peer KEY [remove] [preshared-key FILE] [endpoint IP:PORT]\n"
	  "                [persistent-keepalive SECONDS|off] [allowed-ips A/B,...]]...\n"
	  "NAME: nefia (the hub, default) or nefia-agent. What is set lasts until the next reload." },
	{ "completion", cmd_completion, "a script that completes commands, options and hosts", "completion bash|zsh|fish" },
	{ "version", cmd_version, "print version, commit and build date", "version" },
};
const size_t n_commands = ARRAY_SIZE(commands);

int cli_error(const struct cli *cli, unsigned ecode, const char *detail, ...)
{
	const struct ecode *e = ecode_find(ecode);
	char text[1024];
	va_list ap;

	snprintf(text, sizeof(text), "%s", e->title);
	if (detail) {
		va_start(ap, detail);
		vsnprintf(text, sizeof(text), detail, ap);
		va_end(ap);
	}
	if (cli->json) {
		json_t *j = json_pack("{s:{s:s, s:s, s:s}}", "error", "code", "", "message", text, "try", e->hint);
		char code[16];

		snprintf(code, sizeof(code), "E%u", e->number);
		json_object_set_new(json_object_get(j, "error"), "code", json_string(code));
		json_dumpf(j, stderr, JSON_COMPACT);
		fputc('\n', stderr);
		json_decref(j);
	} else {
		fprintf(stderr, "Error: [E%u] %s\nTry: %s\n", e->number, text, e->hint);
	}
	return EXIT_FAILED;
}

int cli_usage(const char *cmd, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nefia %s: ", cmd);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nSee 'nefia %s --help'.\n", cmd);
	return EXIT_USAGE;
}

int cli_load(struct cli *cli)
{
	char why[600];
	enum err e;

	if (cli->loaded)
		return 0;
	e = config_load(cli->config, &cli->cfg, why, sizeof(why));
	if (e != OK)
		return cli_error(cli, e == ERR_NOT_FOUND ? 1001 : e == ERR_PERMISSION ? 1003 : 1002, "%s", why);
	cli->loaded = true;
	return 0;
}

int cmd_version(struct cli *cli, int argc, char **argv)
{
	printf("nefia v%s commit %s built %s\n", NEFIA_VERSION, NEFIA_COMMIT, NEFIA_BUILD_DATE);
	return EXIT_OK;
}

static void usage(FILE *f)
{
	fprintf(f, "Usage: nefia [--config FILE] COMMAND ...\n\nCommands:\n");
	for (size_t i = 0; i < n_commands; i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\n'nefia COMMAND --help' tells more. Files are in ~/.nefia ($NEFIA_HOME).\n");
}

static void set_paths(struct cli *cli, const char *config)
{
	const char *home = getenv("NEFIA_HOME"), *user_home = os_home();
	const char *slash = config ? strrchr(config, '/') : NULL;

	if (config && !(home && *home))
		snprintf(cli->home, sizeof(cli->home), "%.*s", slash ? (int)(slash - config) : 1, slash ? config : ".");
	else if (home && *home)
		snprintf(cli->home, sizeof(cli->home), "%s", home);
	else
		snprintf(cli->home, sizeof(cli->home), "%s/.nefia", user_home ? user_home : "");
	if (config)
		snprintf(cli->config, sizeof(cli->config), "%s", config);
	else
		snprintf(cli->config, sizeof(cli->config), "%s/nefia.yaml", cli->home);
}

/* --help anywhere before "--". */
static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
	for (size_t i = 0; i < n_commands; i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		if (wants_help(argc, argv)) {
			printf("Usage: nefia %s\n", commands[i].help);
			return EXIT_OK;
		}
		return commands[i].fn(cli, argc, argv);
	}
	fprintf(stderr, "nefia: there is no command '%s'; see 'nefia --help'\n", argv[0]);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static struct cli cli;
	const char *config = NULL;
	int i = 1, r;

	if (argc > 1 && strcmp(argv[1], "ssh-worker") == 0)
		return ssh_worker_main(3);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = argv[++i];
		} else if (strncmp(argv[i], "--config=", 9) == 0) {
			config = argv[i] + 9;
		} else if (strcmp(argv[i], "--version") == 0) {
			return cmd_version(&cli, argc, argv);
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
	set_paths(&cli, config);
	r = dispatch(&cli, argc - i, argv + i);
	if (cli.loaded)
		config_free(&cli.cfg);
	return r;
}
