/*
 * operator/cmd_completion.c - `nefia completion bash|zsh|fish`: a script for the shell.
 *
 * The scripts know nothing: they ask `nefia completion --words WORD...` for what could stand in place of the last
 * word, so what is offered is what this program's table of commands and the person's nefia.yaml have.
 */
#include <ctype.h>
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

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < n_commands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void offer_commands(const char *begin)
{
	for (size_t i = 0; i < n_commands; i++)
		offer(begin, commands[i].name);
}

/* The options and the small words (list, show) that a command's help names. */
static void offer_from_help(const struct command *c, const char *begin, bool options)
{
	for (const char *p = c->help; *p;) {
		char word[32];
		size_t n = 0;

		while (*p && (islower((unsigned char)*p) || *p == '-') && n + 1 < sizeof(word))
			word[n++] = *p++;
		word[n] = '\0';
		if (n > 0 && options == (strncmp(word, "--", 2) == 0) && n > 2u * options && strcmp(word, c->name) != 0 &&
		    (options || *p == ' ' || *p == '\n' || !*p))
			offer(begin, word);
		while (*p && isalnum((unsigned char)*p))
			p++;
		if (*p && n == 0)
			p++;
	}
	if (options)
		offer(begin, "--help");
}

static void offer_hosts(struct cli *cli, const char *begin)
{
	char why[600];

	if (config_load(cli->config, &cli->cfg, why, sizeof(why)) != OK)
		return;
	cli->loaded = true;
	for (size_t i = 0; i < cli->cfg.n_hosts; i++) {
		const struct host_config *h = &cli->cfg.hosts[i];

		offer(begin, h->id);
		offer(begin, h->group);
		for (size_t k = 0; k < h->n_tags; k++)
			offer(begin, h->tags[k]);
	}
	offer(begin, "all");
}

static int offer_words(struct cli *cli, int argc, char **argv)
{
	const char *begin = argc > 0 ? argv[argc - 1] : "";
	const struct command *c = argc > 1 ? find_command(argv[0]) : NULL;

	if (argc <= 1) {
		offer_commands(begin);
	} else if (c && begin[0] == '-') {
		offer_from_help(c, begin, true);
	} else if (c) {
		bool has_words = strcmp(c->name, "host") == 0 || strcmp(c->name, "hub") == 0 ||
				 strcmp(c->name, "vpn") == 0 || strcmp(c->name, "fs") == 0 || strcmp(c->name, "wg") == 0;

		if (argc == 2 && has_words)
			offer_from_help(c, begin, false);
		else
			offer_hosts(cli, begin);
	}
	return EXIT_OK;
}

int cmd_completion(struct cli *cli, int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "--words") == 0)
		return offer_words(cli, argc - 2, argv + 2);
	if (argc != 2)
		return cli_usage("completion", "expected: completion bash|zsh|fish");
	if (strcmp(argv[1], "bash") == 0)
		fputs(bash, stdout);
	else if (strcmp(argv[1], "zsh") == 0)
		fputs(zsh, stdout);
	else if (strcmp(argv[1], "fish") == 0)
		fputs(fish, stdout);
	else
		return cli_usage("completion", "there is no completion for '%s'", argv[1]);
	return EXIT_OK;
}
