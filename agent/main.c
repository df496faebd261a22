/* agent/main.c - nefia-agent: global flags, the table of commands and their help. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/version.h"
#include "os/file.h"
#include "os/loop.h"
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
	  "  --aead NAME                   cipher provider: libsodium, libcrypto, libIPSec_MB\n"
	  "                                (default: the fastest here, measured once)\n"
	  "  --uapi-dir DIR                folder of the socket for the wg tool\n\n"
	  "SIGHUP reads the configuration again, SIGTERM ends after open connections (30 s).\n" },
	{ "status", agent_cmd_status, "show the last health report", "status [--json]",
	  "  --json  the report as JSON, with its age and whether the agent runs\n\n"
	  "Exit status: 0 ok, 3 degraded, 4 unhealthy, 1 no report or the agent does not run.\n" },
	{ "keygen", agent_cmd_keygen, "make a private key; prints it and its public key", "keygen", "" },
};

static const char global_flags[] = "  --config PATH      the configuration (default ~/.nefia/agent.yaml)\n"
				   "  --log-level LEVEL  debug, info, warn or error (default info)\n"
				   "  --help             of the program, or of a command\n"
				   "  --version          print version, commit and build date\n";

static void usage(FILE *f)
{
	fprintf(f, "Usage: nefia-agent [OPTION...] COMMAND\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fprintf(f, "\nOptions:\n%s\n'nefia-agent COMMAND --help' tells more.\n", global_flags);
}

static void command_usage(const struct command *c)
{
	printf("Usage: nefia-agent %s\n\n%c%s.\n\n%s%sOptions of every command:\n%s", c->usage,
	       c->summary[0] - 'a' + 'A', c->summary + 1, c->text, c->text[0] ? "\n" : "", global_flags);
}

int agent_cmd_keygen(const struct agent_options *opt, int argc, char **argv)
{
	struct wg_private_key priv;
	struct wg_public_key pub;
	char text[KEY_STR_MAX];

	if (argc > 1) {
		fprintf(stderr, "nefia-agent: 'keygen' takes no arguments\n");
		return AGENT_EXIT_USAGE;
	}
	wg_generate_private(os_rng(), &priv);
	wg_public_from_private(&priv, &pub);
	printf("Private key: %s\n", key_to_base64(priv.b, text));
	explicit_bzero(&priv, sizeof(priv));
	explicit_bzero(text, sizeof(text));
	printf("Public key: %s\n", key_to_base64(pub.b, text));
	return fflush(stdout) == 0 ? 0 : AGENT_EXIT_FAILURE;
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

/* Started without standard descriptors, the first socket would become one, and log lines would go to a peer. */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			_exit(AGENT_EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	static char path[4096];
	struct agent_options opt = { path, LOG_INFO };
	const char *home = os_home();
	const struct command *c;

	fill_standard_descriptors();
	snprintf(path, sizeof(path), "%s/.nefia/agent.yaml", home ? home : "");
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
	c = find_command(argv[1]);
	if (wants_help(argc, argv)) {
		if (c)
			command_usage(c);
		else
			usage(stdout);
		return 0;
	}
	if (c)
		return c->fn(&opt, argc - 1, argv + 1);
	fprintf(stderr, "nefia-agent: there is no command '%s'; see 'nefia-agent --help'\n", argv[1]);
	return AGENT_EXIT_USAGE;
}
