/*
 * operator/cmd_completion.c - `nefia completion bash|zsh|fish`: a script for the shell.
 *
 * The scripts know nothing: they ask `nefia completion --words WORD...` for what could stand in place of the last
 * word, so what is offered is what this program's table of commands and the person's nefia.yaml have, and, of a path at a host,
 * what is there (fs_complete.h).
 */
#include <stdio.h>
#include <string.h>

#include "base/types.h"
#include "operator/cmd.h"
#include "operator/fs_complete.h"

/*
 * bash breaks words at colons, wherever the person's COMP_WORDBREAKS has one: they are put together again as they stand in the
 * line, and what is offered loses the part in front that bash leaves alone. What ends in / or : goes on.
 */
static const char bash[] =
	"_nefia() {\n"
	"\tlocal w i words=() line=${COMP_LINE:0:COMP_POINT}\n"
	"\tfor ((i = 1; i <= COMP_CWORD; i++)); do\n"
	"\t\tw=${COMP_WORDS[i]}\n"
	"\t\tif ((i > 1)) && [[ $w == :* || ${words[-1]} == *: ]] && [[ $line == *\"${words[-1]}$w\"* ]]; then\n"
	"\t\t\twords[-1]+=$w\n"
	"\t\telse\n"
	"\t\t\twords+=(\"$w\")\n"
	"\t\tfi\n"
	"\tdone\n"
	"\tmapfile -t COMPREPLY < <(nefia completion --words \"${words[@]}\" 2>/dev/null)\n"
	"\tw=${words[-1]}\n"
	"\tif [[ $w == *:* && $COMP_WORDBREAKS == *:* ]]; then\n"
	"\t\tw=${w%\"${w##*:}\"}\n"
	"\t\tCOMPREPLY=(\"${COMPREPLY[@]#\"$w\"}\")\n"
	"\tfi\n"
	"\tif [[ ${COMPREPLY[0]} == *[/:] ]]; then compopt -o nospace 2>/dev/null; fi\n"
	"}\n"
	"complete -o default -F _nefia nefia\n";

static const char zsh[] =
	"#compdef nefia\n"
	"_nefia() {\n"
	"\tlocal -a found\n"
	"\tfound=(\"${(@f)$(nefia completion --words \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
	"\tfound=(${found:#})\n"
	"\tif (( ! $#found )); then _files; return; fi\n"
	"\tcompadd -Q -S '' -- ${(M)found:#*[/:]}\n"
	"\tcompadd -Q -- ${found:#*[/:]}\n"
	"}\n"
	/* sourced; or the file that zsh's own folder of functions gives at the first TAB */
	"if [ \"$funcstack[1]\" = _nefia ]; then _nefia; else compdef _nefia nefia; fi\n";

/* fish takes the words' quotes away and puts them on itself. */
static const char fish[] =
	"complete -c nefia -a '(nefia completion --plain-words (commandline -opc)[2..] "
	"(string unescape -- (commandline -ct)) 2>/dev/null)'\n";

static void offer_with(const char *begin, const char *word, const char *end)
{
	if (*word && strncmp(word, begin, strlen(begin)) == 0)
		printf("%s%s\n", word, end);
}

static void offer(const char *begin, const char *word)
{
	offer_with(begin, word, "");
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

static bool load(struct cli *cli)
{
	char why[600];

	cli->loaded = config_load(cli->config, &cli->cfg, why, sizeof(why)) == OK;
	return cli->loaded;
}

/* @what: GROUP, TAG, else all that a selector may name. */
static void offer_hosts(struct cli *cli, const char *what, const char *begin)
{
	bool groups = strcmp(what, "TAG") != 0, tags = strcmp(what, "GROUP") != 0;

	if (!load(cli))
		return;
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

/* An operand of `nefia fs`. Where something is to be made, names are no patterns. */
static void offer_places(struct cli *cli, const char *word, const char *begin, bool quoted)
{
	bool literal = strcmp(word, "put") == 0 || strcmp(word, "mkdir") == 0;

	if (fs_complete(cli, begin, quoted, literal) || !load(cli))
		return;
	for (size_t i = 0; i < cli->cfg.n_hosts; i++)
		offer_with(begin, cli->cfg.hosts[i].id, ":");
}

static void offer_of_command(struct cli *cli, const struct command *c, int argc, char **argv, bool quoted)
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
	} else if (w && strcmp(c->name, "fs") == 0) {
		offer_places(cli, w->name, begin, quoted);
	} else if (at->operands) {
		offer_hosts(cli, "SELECTOR", begin);
	}
}

int completion_offer(struct cli *cli, int argc, char **argv, bool quoted)
{
	const struct command *c = argc > 1 ? commands_find(commands, argv[0]) : NULL;

	if (argc <= 1)
		offer_commands(commands, argc > 0 ? argv[0] : "");
	else if (c)
		offer_of_command(cli, c, argc, argv, quoted);
	return EXIT_OK;
}

int cmd_completion(struct cli *cli, int argc, char **argv)
{
	const char *shell = argv[0];

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	fputs(strcmp(shell, "bash") == 0 ? bash : strcmp(shell, "zsh") == 0 ? zsh : fish, stdout);
	return EXIT_OK;
}
