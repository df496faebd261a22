/*
 * The command line by the commands' own tables. The first line of the input is the command and perhaps its small word, each
 * other one an argument: all operands of what is accepted are as they were given, in order, and as many as the table allows.
 */
#include "operator/cmd.h"
#include "test/fuzz/fuzz.h"

#define N_ARGS 16

/* main.c has it, which no other program is linked with. */
int cmd_version(struct cli *cli, int argc, char **argv)
{
	return EXIT_OK;
}

static const struct command *find(char *line)
{
	char *word = strchr(line, ' ');
	const struct command *c;

	if (word)
		*word++ = '\0';
	(void)commands_nearest(commands, line);
	c = commands_find(commands, line);
	if (c && c->words && word) {
		(void)commands_nearest(c->words, word);
		c = commands_find(c->words, word);
	}
	return c;
}

static void parse(const struct command *cmd, int argc, char **argv)
{
	static union { char space[8192]; nsec_t align; } fields;
	static struct cli cli;
	char *given[N_ARGS];
	int n = argc, at = 0;

	memset(&fields, 0, sizeof(fields));
	memcpy(given, argv, (size_t)argc * sizeof(*argv));
	cli.cmd = cmd;
	snprintf(cli.called, sizeof(cli.called), "%s", cmd->name);
	if (options_want_help(cmd, argc, argv) || options_parse(&cli, &n, argv, &fields) != 0)
		return;
	ASSERT(n >= 1 && n <= argc && n - 1 >= cmd->least && (cmd->most < 0 || n - 1 <= cmd->most));
	for (int i = 1; i < n; i++, at++)
		while (given[at] != argv[i])
			ASSERT(++at < argc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *save = NULL, *argv[N_ARGS];
	const struct command *cmd;
	int argc = 0;

	fuzz_quiet();
	for (char *line = strtok_r(text, "\n", &save); line && argc < N_ARGS; line = strtok_r(NULL, "\n", &save))
		argv[argc++] = line;
	cmd = argc > 0 ? find(argv[0]) : NULL;
	if (cmd && cmd->fn)
		parse(cmd, argc, argv);
	free(text);
	return 0;
}
