/*
 * operator/cmd_completion.c - `nefia completion bash|zsh|fish`: a script for the shell.
 *
 * The scripts know nothing: they ask `nefia completion --words WORD...` for what could stand in place of the last
 * word, so what is offered is what this program's table of commands and the person's nefia.yaml have.
 */
#include <stdio.h>
#include <string.h>

#include "base/types.h"
#include "operator/cmd.h"

static const char bash[] =
	"_nefia() {\n"
	"\tlocal IFS=$'\\n'\n"
	"\tCOMPREPLY=($(nefia completion --words \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n"
	"}\n"
	"complete -o default -F _nefia nefia\n";

static const char zsh[] =
	"#compdef nefia\n"
	"_nefia() {\n"
	"\tlocal -a found\n"
	"\tfound=(\"${(@f)$(nefia completion --words \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
	"\tcompadd -a found || _files\n"
	"}\n"
	"compdef _nefia nefia\n";

static const char fish[] =
	"complete -c nefia -a '(nefia completion --words (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'\n";

static void offer(const char *begin, const char *word)
{
	if (*word && strncmp(word, begin, strlen(begin)) == 0)
		puts(word);
}

static void offer_commands(const struct command *table, const char *begin)
{
	for (; table && table->name; table++)
		offer(begin, table->name);
}

static void offer_options(const struct cli_option *o, const char *begin)
{
	for (; o && o->name; o++) {
		char text[64];

		snprintf(text, sizeof(text), "--%s", o->name);
		if (o->help)
			offer(begin, text);
	}
}

/* How the value of the option @word is called; NULL when none is expected after it. */
static const char *value_of(const struct cli_option *o, const char *word)
{
	for (; o && o->name; o++)
		if (o->arg && ((strncmp(word, "--", 2) == 0 && strcmp(word + 2, o->name) == 0) ||
			       (o->brief && word[0] == '-' && word[1] == o->brief && !word[2])))
			return o->arg;
	return NULL;
}

/* @what: GROUP, TAG, else all that a selector may name. */
static void offer_hosts(struct cli *cli, const char *what, const char *begin)
{
	bool groups = strcmp(what, "TAG") != 0, tags = strcmp(what, "GROUP") != 0;
	char why[600];

	if (config_load(cli->config, &cli->cfg, why, sizeof(why)) != OK)
		return;
	cli->loaded = true;
	for (size_t i = 0; i < cli->cfg.n_hosts; i++) {
		const struct host_config *h = &cli->cfg.hosts[i];

		if (groups && tags)
			offer(begin, h->id);
		if (groups)
			offer(begin, h->group);
		for (size_t k = 0; tags && k < h->n_tags; k++)
			offer(begin, h->tags[k]);
	}
	if (groups && tags)
		offer(begin, "all");
}

static void offer_of_command(struct cli *cli, const struct command *c, int argc, char **argv)
{
	const char *begin = argv[argc - 1], *value;
	const struct command *w = argc > 2 ? commands_find(c->words, argv[1]) : NULL;
	const struct command *at = w ? w : c;

	value = value_of(at->options, argv[argc - 2]);
	if (value) {
		if (strcmp(value, "SELECTOR") == 0 || strcmp(value, "GROUP") == 0 || strcmp(value, "TAG") == 0)
			offer_hosts(cli, value, begin);
	} else if (begin[0] == '-') {
		offer_options(at->options, begin);
		for (w = at == c && argc > 2 ? c->words : NULL; w && w->name; w++)
			offer_options(w->options, begin);
		offer(begin, "--help");
	} else if (c->words && argc == 2) {
		offer_commands(c->words, begin);
	} else if (at->operands) {
		offer_hosts(cli, "SELECTOR", begin);
	}
}

int completion_offer(struct cli *cli, int argc, char **argv)
{
	const struct command *c = argc > 1 ? commands_find(commands, argv[0]) : NULL;

	if (argc <= 1)
		offer_commands(commands, argc > 0 ? argv[0] : "");
	else if (c)
		offer_of_command(cli, c, argc, argv);
	return EXIT_OK;
}

int cmd_completion(struct cli *cli, int argc, char **argv)
{
	const char *shell = argv[0];

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	fputs(strcmp(shell, "bash") == 0 ? bash : strcmp(shell, "zsh") == 0 ? zsh : fish, stdout);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}
