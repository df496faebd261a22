/* operator/main.c - nefia: global flags, and which command is meant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "operator/askpass.h"
#include "operator/cmd.h"
#include "operator/hub_core.h"
#include "os/proc.h"
#include "ssh/nursery.h"
#include "ssh/worker.h"

static int print_version(void)
{
	printf("nefia v%s commit %s built %s\n", NEFIA_VERSION, NEFIA_COMMIT, NEFIA_BUILD_DATE);
	return EXIT_OK;
}

int cmd_version(struct cli *cli, int argc, char **argv)
{
	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	return print_version();
}

static void usage(FILE *f)
{
	fprintf(f, "Usage: nefia [--config FILE] [--batch] COMMAND ...\n\nCommands:\n");
	for (const struct command *c = commands; c->name; c++)
		fprintf(f, "  %-10s %s\n", c->name, c->summary);
	fprintf(f, "\n'nefia help COMMAND' tells more. Files are in ~/.nefia ($NEFIA_HOME).\n");
}

static int bad_option(const char *option)
{
	fprintf(stderr, "nefia: there is no option '%s'; see 'nefia --help'\n", option);
	return EXIT_USAGE;
}

static int needs_file(void)
{
	fprintf(stderr, "nefia: --config needs a file; see 'nefia --help'\n");
	return EXIT_USAGE;
}

/* A user of a container may be in no user database. What needs no file works all the same. */
static bool lacks_home(const struct cli *cli)
{
	return cli->home[0] == '\0' && cli->cmd->fn != cmd_version && cli->cmd->fn != cmd_completion;
}

/* `completion --words` takes words of other commands, --help among them. */
static bool is_words_request(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[0], "completion") == 0 &&
	       (strcmp(argv[1], "--words") == 0 || strcmp(argv[1], "--plain-words") == 0);
}

/* Who types `nefia status` means `nefia vpn status`; else the nearest name. */
static bool find_near(const struct command *table, const char *name, char *ret, size_t size)
{
	const char *near = commands_nearest(table, name);

	for (const struct command *c = table; c->name; c++) {
		if (commands_find(c->words, name)) {
			snprintf(ret, size, "%s %s", c->name, name);
			return true;
		}
	}
	if (near)
		snprintf(ret, size, "%s", near);
	return near != NULL;
}

static int no_such(const char *called, const struct command *table, const char *name)
{
	char near[64];
	bool found = find_near(table, name, near, sizeof(near));

	fprintf(stderr, "nefia%s: there is no command '%s'%s%s%s; see 'nefia%s --help'\n", called, name,
		found ? "; did you mean '" : "", found ? near : "", found ? "'?" : "", called);
	return EXIT_USAGE;
}

static int needs_word(const struct cli *cli, const struct command *c)
{
	char list[200] = "";

	for (const struct command *w = c->words; w->name; w++) {
		size_t n = strlen(list);

		snprintf(list + n, sizeof(list) - n, "%s%s", n == 0 ? "" : w[1].name ? ", " : " or ", w->name);
	}
	return cli_usage(cli, "expected: %s", list);
}

/* `help [COMMAND [WORD]]`, as elsewhere; the same as --help behind them. */
static int help(int argc, char **argv)
{
	const struct command *c = argc > 1 ? commands_find(commands, argv[1]) : NULL, *word = NULL;
	char called[40];

	if (argc == 1) {
		usage(stdout);
		return EXIT_OK;
	}
	if (!c)
		return no_such("", commands, argv[1]);
	if (argc > 2 && c->words)
		word = commands_find(c->words, argv[2]);
	snprintf(called, sizeof(called), " %s", c->name);
	if (argc > 2 && c->words && !word)
		return no_such(called, c->words, argv[2]);
	commands_help(stdout, c, word);
	return EXIT_OK;
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
	const struct command *c = commands_find(commands, argv[0]), *word = NULL;
	char called[40];

	if (strcmp(argv[0], "help") == 0)
		return help(argc, argv);
	if (!c)
		return no_such("", commands, argv[0]);
	if (is_words_request(argc, argv))
		return completion_offer(cli, argc - 2, argv + 2, strcmp(argv[1], "--words") == 0);
	if (argc > 1)
		word = commands_find(c->words, argv[1]);
	cli->cmd = word ? word : c;
	snprintf(cli->called, sizeof(cli->called), "%s%s%s", c->name, word ? " " : "", word ? word->name : "");
	if (word) {
		argc--;
		argv++;
	}
	if (options_want_help(cli->cmd, argc, argv)) {
		commands_help(stdout, c, word);
		return EXIT_OK;
	}
	snprintf(called, sizeof(called), " %s", c->name);
	if (c->words && !word && argc > 1 && argv[1][0] != '-')
		return no_such(called, c->words, argv[1]);
	if (!cli->cmd->fn)
		return needs_word(cli, c);
	if (lacks_home(cli))
		return cli_error(cli, 1008, "HOME is not set to an absolute path, and the user database has no folder for user %u", (unsigned)getuid());
	return cli->cmd->fn(cli, argc, argv);
}

/* What stands in front of the command: argv[*i] is the first of it. False: that was all, and *ret_exit what it came to. */
static bool take_global_options(const struct cli *cli, int argc, char **argv, int *i, const char **ret_config, int *ret_exit)
{
	for (*i = 1; *i < argc && argv[*i][0] == '-'; ++*i) {
		const char *arg = argv[*i];

		if (strcmp(arg, "--config") == 0) {
			*ret_config = *i + 1 < argc ? argv[++*i] : "";
		} else if (strncmp(arg, "--config=", 9) == 0) {
			*ret_config = arg + 9;
		} else if (strcmp(arg, "--batch") == 0) {
			askpass_forbid();
		} else if (strcmp(arg, "--version") == 0) {
			*ret_exit = cli_flush(cli, print_version());
			return false;
		} else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
			usage(stdout);
			*ret_exit = cli_flush(cli, EXIT_OK);
			return false;
		} else {
			*ret_exit = bad_option(arg);
			return false;
		}
	}
	if (*ret_config && !**ret_config) {
		*ret_exit = needs_file();
		return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static struct cli cli;
	const char *config = NULL;
	int i, r;

	os_fill_standard_descriptors();
	if (argc > 1 && strcmp(argv[1], "ssh-nursery") == 0)
		return ssh_nursery_main(3);
	if (argc > 1 && strcmp(argv[1], "ssh-worker") == 0)
		return ssh_worker_main(3);
	if (!take_global_options(&cli, argc, argv, &i, &config, &r))
		return r;
	if (i == argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	cli.colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	hub_folder_init(config, cli.home, cli.config);
	r = cli_flush(&cli, dispatch(&cli, argc - i, argv + i));
	if (cli.loaded)
		config_free(&cli.cfg);
	return r;
}
