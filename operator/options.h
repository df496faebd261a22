/* operator/options.h - commands and options as tables; parsing, help and completion come from these. */
#ifndef OPERATOR_OPTIONS_H
#define OPERATOR_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/* One option. The table ends with a NULL name. */
struct cli_option {
	const char *name; /* without the dashes */
	char brief;       /* -x, or 0 */
	const char *arg;  /* how its value is called; NULL: a flag */
	const char *help; /* NULL: ours alone, in no help and no completion */
	/* Reads @value (NULL for a flag) into @field. Return: NULL, else what it must be. */
	const char *(*parse)(const char *value, void *field);
	size_t at; /* of the field in the command's own struct */
};

struct cli;

/* A command, or a small word of one as in `host list`. */
struct command {
	const char *name;
	int (*fn)(struct cli *cli, int argc, char **argv); /* argv[0] is its name; NULL: it needs a small word */
	const char *summary;
	const char *operands;             /* for the usage line */
	int least, most;                  /* operands it takes; most -1: any number */
	const struct cli_option *options; /* or NULL */
	const struct command *words;      /* small words, ended by a NULL name; or NULL */
	const char *notes;                /* the end of --help; or NULL */
	bool in_order;                    /* the first operand ends the options */
};

extern const struct command commands[]; /* ended by a NULL name */

/** commands_find() - an entry of @table by name. Return: NULL when there is none. */
const struct command *commands_find(const struct command *table, const char *name);
/** commands_nearest() - the name in @table that was probably meant. Return: NULL when none is near. */
const char *commands_nearest(const struct command *table, const char *name);
/** commands_help() - `nefia CMD --help`; @word is the small word after it, or NULL for all of them. */
void commands_help(FILE *f, const struct command *cmd, const struct command *word);

/**
 * options_parse() - the options of the command that runs (@cli->cmd) into @fields; the operands move to argv[1] and on
 * @argc: in: as given; out: 1 + the number of operands, which is within what the table says
 *
 * Return: 0, or EXIT_USAGE after a message that names the option and the nearest one.
 */
MUST_CHECK int options_parse(struct cli *cli, int *argc, char **argv, void *fields);

/** options_want_help() - --help stands among the options: not in a value, not in the command that exec runs. */
bool options_want_help(const struct command *cmd, int argc, char **argv);

/* Parsers. Fields: bool; const char *; nsec_t; int. */
const char *option_flag(const char *value, void *field);
const char *option_switch(const char *value, void *field); /* --name, --name=false */
const char *option_text(const char *value, void *field);
const char *option_duration(const char *value, void *field);
const char *option_number(const char *value, void *field);

#endif
