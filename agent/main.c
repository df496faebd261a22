/* agent/main.c - nefia-agent: global flags, the table of commands and their help. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/keyring.h"
#include "base/version.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/proc.h"
#include "wg/wg.h"

struct command {
	const char *name;
	int (*fn)(const struct agent_options *opt, int argc, char **argv);
	const char *summary, *usage, *text;
};

static const struct command commands[] = {
	{ "run", agent_cmd_run, "join the tunnel and stay in the foreground", "run [OPTION...]",
	  "  --strict-permissions[=false]  refuse a configuration that others can read\n"
	  "                                and that holds a private key (default true)\n"
	  "  --log-file FILE               beside standard error; '-' = standard error alone\n"
	  "                                (default $XDG_STATE_HOME/nefia/agent.log,\n"
	  "                                else ~/.local/state/nefia/agent.log)\n"
	  "  --log-max-size MB             rotate and compress beyond (default 50; 0 = never)\n"
	  "  --log-max-backups N           old files kept (default 5; 0 = all)\n"
	  "  --log-max-age DAYS            older ones are removed (default 30; 0 = none)\n"
	  "  --auto-update-interval D      look for updates so often (default 0 = off)\n"
	  "  --uapi-dir DIR                folder of the socket for the wg tool\n\n"
	  "SIGHUP reads the configuration again, SIGTERM ends after open connections (30 s).\n" },
	{ "enroll", agent_cmd_enroll, "join an operator's tunnel by a token", "enroll [OPTION...]",
	  "  --token-file FILE  a file that holds the token; '-' = standard input\n"
	  "  --token TOKEN      the token itself; others on this machine may see it in\n"
	  "                     the process list\n"
	  "  --out-dir DIR      where agent.yaml is written (default ~/.nefia)\n"
	  "  --ssh-addr ADDR    the local SSH server (default 127.0.0.1:22)\n"
	  "  --listen-port PORT UDP port of its WireGuard (default 51820)\n"
	  "  --force            replace a configuration that is there\n"
	  "  --yes              do not ask\n"
	  "  --run              then stay in the foreground, as the command run does\n"
	  "  --install          then install and start a service (systemd)\n\n"
	  "A run that was interrupted is repeated with the same token.\n" },
	{ "install-service", agent_cmd_install_service, "run as a service, with systemd", "install-service",
	  "As root a service of the system, else one of this user. It is started at once, again if it\n"
	  "runs already: the same command after an update, or after --config was given another file.\n" },
	{ "uninstall-service", agent_cmd_uninstall_service, "stop the service and remove it", "uninstall-service [--yes]",
	  "  --yes  do not ask\n\n"
	  "The configuration stays.\n" },
	{ "status", agent_cmd_status, "show the last health report", "status [--json]",
	  "  --json  the report as JSON, with its age and whether the agent runs\n\n"
	  "Exit status: 0 ok, 3 degraded, 4 unhealthy, 1 no report or the agent does not run.\n" },
	{ "keygen", agent_cmd_keygen, "make a private key; prints it and its public key", "keygen [--keyring NAME]",
	  "  --keyring NAME  keep the private key in the keyring under that name, and print\n"
	  "                  the line for the configuration in its place\n" },
};

static const char global_flags[] = "  --config PATH      the configuration (default ~/.nefia/agent.yaml)\n"
				   "  --log-level LEVEL  debug, info, warn or error (default info)\n"
				   "  --help             of the program, or of a command\n"
				   "  --version          print version, commit and build date\n";

static void usage(FILE *f)
{
	fprintf(f, "Usage: nefia-agent [OPTION...] COMMAND\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-17s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\nOptions:\n%s\n'nefia-agent COMMAND --help' tells more.\n", global_flags);
}

static void command_usage(const struct command *c)
{
	printf("Usage: nefia-agent %s\n\n%c%s.\n\n%s%sOptions of every command:\n%s", c->usage,
	       c->summary[0] - 'a' + 'A', c->summary + 1, c->text, c->text[0] ? "\n" : "", global_flags);
}

/* Keeps @key as @item. Return: whether it is there, and can be read back. */
static bool keep_in_keyring(const struct agent_options *opt, const char *item, const char *key)
{
	char why[256], ref[AGENT_KEYRING_NAME_MAX + 16], back[AGENT_SECRET_MAX];
	enum agent_keyring to;
	bool kept;

	snprintf(ref, sizeof(ref), "keyring:%s", item);
	if (strlen(item) > AGENT_KEYRING_NAME_MAX || !agent_keyring_item(ref)) {
		fprintf(stderr, "nefia-agent: --keyring: a name of at most %d of A-Z a-z 0-9 . _ - is expected\n",
			AGENT_KEYRING_NAME_MAX);
		return false;
	}
	kept = agent_keyring_set(opt->config, item, key, &to, why, sizeof(why)) == OK &&
	       agent_keyring_get(opt->config, item, back, &to, why, sizeof(why)) == OK;
	if (!kept)
		fprintf(stderr, "nefia-agent: %s\n", why);
	else if (strcmp(back, key) != 0)
		fprintf(stderr, "nefia-agent: the keyring gave back another key than it was given\n");
	else
		fprintf(stderr, "The private key is in the keyring (%s). In agent.yaml:\n", agent_keyring_name(to));
	kept = kept && strcmp(back, key) == 0;
	explicit_bzero(back, sizeof(back));
	return kept;
}

int agent_cmd_keygen(const struct agent_options *opt, int argc, char **argv)
{
	const char *item = argc == 3 && strcmp(argv[1], "--keyring") == 0 ? argv[2] : NULL;
	struct wg_private_key priv;
	struct wg_public_key pub;
	char text[KEY_STR_MAX];
	bool fine = true;

	if (argc == 2 && strncmp(argv[1], "--keyring=", 10) == 0)
		item = argv[1] + 10;
	if (argc > 1 && !item) {
		fprintf(stderr, "nefia-agent: 'keygen' does not know '%s'; see 'nefia-agent keygen --help'\n", argv[1]);
		return AGENT_EXIT_USAGE;
	}
	wg_generate_private(os_rng(), &priv);
	wg_public_from_private(&priv, &pub);
	key_to_base64(priv.b, text);
	if (item && (fine = keep_in_keyring(opt, item, text)))
		printf("private_key: keyring:%s\n", item);
	else if (!item)
		printf("Private key: %s\n", text);
	explicit_bzero(&priv, sizeof(priv));
	explicit_bzero(text, sizeof(text));
	if (fine)
		printf("Public key: %s\n", key_to_base64(pub.b, text));
	return fine && fflush(stdout) == 0 ? 0 : AGENT_EXIT_FAILURE;
}

/* "--name value" or "--name=value" at *i; NULL when it is another flag. */
static const char *flag_value(int argc, char **argv, int *i, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(argv[*i], name, len) != 0)
		return NULL;
	if (argv[*i][len] == '=')
		return argv[*i] + len + 1;
	if (argv[*i][len] == '\0')
		return *i + 1 < argc ? argv[++*i] : "";
	return NULL;
}

/* Takes the global flags out of @argv, wherever they stand. Return: the new argc; -1 = a bad value. */
static int take_globals(int argc, char **argv, struct agent_options *opt)
{
	int n = 1;

	for (int i = 1; i < argc; i++) {
		const char *v;

		if ((v = flag_value(argc, argv, &i, "--config"))) {
			opt->config = v;
			if (!*v) {
				fprintf(stderr, "nefia-agent: --config needs a path\n");
				return -1;
			}
		} else if ((v = flag_value(argc, argv, &i, "--log-level"))) {
			if (!log_level_parse(v, &opt->log_level)) {
				fprintf(stderr, "nefia-agent: --log-level must be debug, info, warn or error\n");
				return -1;
			}
		} else {
			argv[n++] = argv[i];
		}
	}
	argv[n] = NULL;
	return n;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	return NULL;
}

/* A user of a container may be in no user database: then only what is named can be used. True: it was said. */
static bool needs_home(const struct command *c, const struct agent_options *opt, int argc, char **argv)
{
	if (opt->config[0] || c->fn == agent_cmd_keygen)
		return false;
	for (int i = 2; i < argc; i++)
		if (strncmp(argv[i], "--out-dir", 9) == 0)
			return false;
	fprintf(stderr, "Error: HOME is not set to an absolute path, and the user database has no folder for user %u\n"
			"Try: Set HOME, or name the file: --config PATH%s\n", (unsigned)getuid(),
		c->fn == agent_cmd_enroll ? ", or the folder: --out-dir DIR" : "");
	return true;
}

static int no_such(const char *name)
{
	fprintf(stderr, "nefia-agent: there is no command '%s'; see 'nefia-agent --help'\n", name);
	return AGENT_EXIT_USAGE;
}

/* Of @name; NULL: of the program. */
static int help(const char *name)
{
	const struct command *c = name ? find_command(name) : NULL;

	if (name && !c)
		return no_such(name);
	if (c)
		command_usage(c);
	else
		usage(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static char path[4096];
	struct agent_options opt = { path, LOG_INFO };
	const char *home = os_home();
	const struct command *c;

	os_fill_standard_descriptors();
	if (home)
		snprintf(path, sizeof(path), "%s/.nefia/agent.yaml", home);
	argc = take_globals(argc, argv, &opt);
	if (argc < 0)
		return AGENT_EXIT_USAGE;
	if (argc < 2) {
		usage(stderr);
		return AGENT_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("nefia-agent v%s commit %s built %s\n", NEFIA_VERSION, NEFIA_COMMIT, NEFIA_BUILD_DATE);
		return 0;
	}
	if (strcmp(argv[1], "help") == 0)
		return help(argv[2]);
	if (wants_help(argc, argv))
		return help(argv[1][0] == '-' ? NULL : argv[1]);
	c = find_command(argv[1]);
	if (!c)
		return no_such(argv[1]);
	return needs_home(c, &opt, argc, argv) ? AGENT_EXIT_FAILURE : c->fn(&opt, argc - 1, argv + 1);
}
