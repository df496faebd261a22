/*
 * operator/options.c - parsing and help from the tables of commands and options.
 *
 * What a table does not have is refused, with the nearest name beside it: the edit distance in which two swapped
 * letters count once, at most a third of the word's length (at least one).
 */
#include "operator/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/text.h"
#include "operator/cmd.h"

#define NAME_MAX_LEN 31

const char *option_flag(const char *value, void *field)
{
	*(bool *)field = true;
	return NULL;
}

const char *option_switch(const char *value, void *field)
{
	bool on = !value || strcmp(value, "true") == 0;

	if (!on && strcmp(value, "false") != 0)
		return "true or false";
	*(bool *)field = on;
	return NULL;
}

const char *option_text(const char *value, void *field)
{
	*(const char **)field = value;
	return NULL;
}

const char *option_duration(const char *value, void *field)
{
	return duration_parse(value, field) == OK ? NULL : "a duration, as in 30s or 5m";
}

const char *option_number(const char *value, void *field)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (end == value || *end || n < 0 || n > INT_MAX)
		return "a number from 0 to 2147483647";
	*(int *)field = (int)n;
	return NULL;
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many letters must be changed, added, left out or swapped; large for what is too long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[NAME_MAX_LEN + 2][NAME_MAX_LEN + 2];
	size_t n = strlen(a), m = strlen(b);

	if (n > NAME_MAX_LEN || m > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t i = 0; i <= n; i++) {
		for (size_t k = 0; k <= m; k++) {
			if (i == 0 || k == 0) {
				d[i][k] = (unsigned)(i + k);
				continue;
			}
			d[i][k] = least(least(d[i - 1][k], d[i][k - 1]) + 1, d[i - 1][k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				d[i][k] = least(d[i][k], d[i - 2][k - 2] + 1);
		}
	}
	return d[n][m];
}

/* Keeps the nearer of *best and @name. */
static void nearer(const char *typed, const char *name, const char **best, unsigned *least_far)
{
	unsigned far = distance(typed, name), limit = (unsigned)strlen(typed) / 3;

	if (far <= (limit ? limit : 1) && far < *least_far) {
		*best = name;
		*least_far = far;
	}
}

const struct command *commands_find(const struct command *table, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

const char *commands_nearest(const struct command *table, const char *name)
{
	const char *best = NULL;
	unsigned far = ~0u;

	for (; table && table->name; table++)
		nearer(name, table->name, &best, &far);
	return best;
}

static const char *options_nearest(const struct cli_option *o, const char *name)
{
	const char *best = NULL;
	unsigned far = ~0u;

	for (; o && o->name; o++)
		if (o->help)
			nearer(name, o->name, &best, &far);
	return best;
}

static int unknown(const struct cli *cli, const char *arg)
{
	const char *near = strncmp(arg, "--", 2) == 0 ? options_nearest(cli->cmd->options, arg + 2) : NULL;

	return cli_usage(cli, "there is no option '%s'%s%s%s", arg, near ? "; did you mean --" : "", near ? near : "",
			 near ? "?" : "");
}

static const struct cli_option *find(const struct cli_option *o, const char *arg, size_t len)
{
	for (; o && o->name; o++) {
		if (len == 2 && o->brief && arg[1] == o->brief && arg[1] != '-')
			return o;
		if (len > 2 && arg[1] == '-' && strlen(o->name) == len - 2 && strncmp(o->name, arg + 2, len - 2) == 0)
			return o;
	}
	return NULL;
}

/* How long the option's name in @arg is: --name of --name=value, -x of -xvalue. */
static size_t name_len(const char *arg)
{
	return arg[1] == '-' ? strcspn(arg, "=") : MIN(strlen(arg), 2);
}

/* The same for people: a letter is one character, however many bytes that has. */
static size_t shown_len(const char *arg)
{
	const char *end;

	if (arg[1] == '-')
		return name_len(arg);
	text_next(arg + 1, &end);
	return (size_t)(end - arg);
}

/* Flags of one letter may stand together; a '-' among them would make a long option of the rest. */
static bool is_bundle(const struct cli_option *o, const char *arg)
{
	return arg[1] != '-' && !o->arg && o->parse == option_flag && arg[2] != '=' && arg[2] != '-';
}

/* The option at argv[*i]; *i ends at its last word. */
static int parse_one(const struct cli *cli, int argc, char **argv, int *i, void *fields)
{
	char name[NAME_MAX_LEN + 3], *value;
	size_t len = name_len(argv[*i]);
	const struct cli_option *o = find(cli->cmd->options, argv[*i], len);
	const char *must;

	snprintf(name, sizeof(name), "%.*s", (int)MIN(shown_len(argv[*i]), sizeof(name) - 1), argv[*i]);
	value = argv[*i][len] ? argv[*i] + len : NULL;
	if (!o)
		return unknown(cli, name);
	if (value && is_bundle(o, argv[*i])) {
		/* -rf: the rest is looked at as -f */
		o->parse(NULL, (char *)fields + o->at);
		*--value = '-';
		argv[(*i)--] = value;
		return 0;
	}
	if (value && !o->arg && o->parse != option_switch)
		return cli_usage(cli, "%s takes no value", name);
	if (value)
		value += *value == '=';
	else if (o->arg && *i + 1 < argc)
		value = argv[++*i];
	else if (o->arg)
		return cli_usage(cli, "%s needs a value: %s", name, o->arg);
	must = o->parse(value, (char *)fields + o->at);
	return must ? cli_usage(cli, "%s must be %s", name, must) : 0;
}

static int check_operands(const struct cli *cli, int n, char **operands)
{
	const struct command *cmd = cli->cmd;

	if (cmd->most >= 0 && n > cmd->most)
		return cli_usage(cli, "'%s' is one argument too many", operands[cmd->most]);
	if (n < cmd->least)
		return cli_usage(cli, "expected: nefia %s%s %s", cli->called, cmd->options ? " [OPTION]..." : "", cmd->operands);
	return 0;
}

int options_parse(struct cli *cli, int *argc, char **argv, void *fields)
{
	int n = 1, i = 1, r;

	for (; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			i++;
			break;
		}
		if (argv[i][0] != '-' || !argv[i][1]) {
			if (cli->cmd->in_order)
				break;
			argv[n++] = argv[i];
			continue;
		}
		r = parse_one(cli, *argc, argv, &i, fields);
		if (r != 0)
			return r;
	}
	while (i < *argc)
		argv[n++] = argv[i++];
	*argc = n;
	return check_operands(cli, n - 1, argv + 1);
}

/* ---- help ---- */

bool options_want_help(const struct command *cmd, int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const struct cli_option *o;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
		if (argv[i][0] != '-' && cmd->in_order)
			return false;
		o = argv[i][0] == '-' ? find(cmd->options, argv[i], name_len(argv[i])) : NULL;
		if (o && o->arg && !argv[i][name_len(argv[i])])
			i++;
	}
	return false;
}

static void print_usage(FILE *f, const char *lead, const struct command *cmd, const struct command *word)
{
	fprintf(f, "%s nefia %s%s%s", lead, cmd->name, word ? " " : "", word ? word->name : "");
	if (word)
		cmd = word;
	if (cmd->options && cmd->options->name)
		fprintf(f, " [OPTION]...");
	fprintf(f, "%s%s\n", cmd->operands ? " " : "", cmd->operands ? cmd->operands : "");
}

static void print_options(FILE *f, const struct cli_option *o)
{
	for (; o && o->name; o++) {
		char left[64], brief[8] = "    ";

		if (!o->help)
			continue;
		if (o->brief)
			snprintf(brief, sizeof(brief), "-%c, ", o->brief);
		snprintf(left, sizeof(left), "%s--%s%s%s", brief, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		fprintf(f, "  %-32s %s\n", left, o->help);
	}
}

void commands_help(FILE *f, const struct command *cmd, const struct command *word)
{
	const struct command *one = word ? word : cmd;
	const char *lead = "Usage:";

	if (word || cmd->fn) {
		print_usage(f, lead, cmd, word);
		lead = "      ";
	}
	for (const struct command *w = word ? NULL : cmd->words; w && w->name; w++, lead = "      ")
		print_usage(f, lead, cmd, w);
	fprintf(f, "\n%c%s.\n", one->summary[0] & ~0x20, one->summary + 1);
	fprintf(f, "\nOptions:\n");
	print_options(f, one->options);
	for (const struct command *w = word ? NULL : cmd->words; w && w->name; w++) {
		if (!w->options)
			continue;
		fprintf(f, " %s:\n", w->name);
		print_options(f, w->options);
	}
	fprintf(f, "  %-32s %s\n", "-h, --help", "this text");
	if (one->notes || cmd->notes)
		fprintf(f, "\n%s\n", one->notes ? one->notes : cmd->notes);
}
