/* operator/cmd_fs_copy.c - `nefia fs get | put`: their options. */
#include "operator/fs_get.h"

#define PARALLEL_DEFAULT 48

#define AT(field) offsetof(struct copy_flags, field)

static const char *option_files(const char *value, void *field)
{
	const char *must = option_number(value, field);
	int n = must ? 0 : *(int *)field;

	return n < 1 || n > SSH_FS_OPS_MAX - 1 ? "a number from 1 to 63" : NULL;
}

#define COPY_OPTIONS                                                                                                        \
	{ "recursive", 'r', NULL, "folders with what is in them; links as links", option_flag, AT(recursive) },             \
	{ "dereference", 'L', NULL, "what links lead to, in place of them", option_flag, AT(follow) },                      \
	{ "resume", 0, NULL, "go on from what a broken copy left, after comparing; and when the connection is lost",        \
	  option_flag, AT(resume) },                                                                                        \
	{ "preserve", 'p', NULL, "keep times and modes: as without it", option_flag, AT(preserve) },                        \
	{ "no-preserve", 0, NULL, "new times, and modes by the umask", option_flag, AT(no_preserve) },                      \
	{ "parallel", 0, "N", "so many small files at once; 48 unless given", option_files, AT(parallel) },                 \
	{ "quiet", 'q', NULL, "no progress", option_flag, AT(quiet) },                                                      \
	{ "json", 0, NULL, "an object a file, one a line", option_flag, AT(json) }

const struct cli_option fs_put_options[] = {
	COPY_OPTIONS,
	{ "no-replace", 'n', NULL, "files that are there are left, and an error", option_flag, AT(no_replace) },
	{ .name = NULL },
};

const struct cli_option fs_get_options[] = {
	COPY_OPTIONS,
	{ "no-glob", 0, NULL, "take *, ?, [ and \\ in names as they are", option_flag, AT(no_glob) },
	{ .name = NULL },
};

typedef int (*copy_fn)(struct cli *cli, const struct copy_flags *flags, int n, char **sources, const char *target);

static int copy(struct cli *cli, int argc, char **argv, copy_fn fn)
{
	struct copy_flags flags = { .parallel = PARALLEL_DEFAULT };

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	if (flags.preserve && flags.no_preserve)
		return cli_usage(cli, "--preserve and --no-preserve exclude each other");
	return fn(cli, &flags, argc - 2, argv + 1, argv[argc - 1]);
}

int cmd_fs_put(struct cli *cli, int argc, char **argv)
{
	return copy(cli, argc, argv, fs_put);
}

int cmd_fs_get(struct cli *cli, int argc, char **argv)
{
	return copy(cli, argc, argv, fs_get);
}
