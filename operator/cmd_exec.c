/*
 * operator/cmd_exec.c - `nefia exec`: its options, the hosts, the command.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operator/exec.h"
#include "os/file.h"

#define PARALLEL_DEFAULT 100 /* sessions at once: what one agent and its sshd take without a word */
#define PARALLEL_MAX 1000

struct exec_flags {
	const char *target, *input, *script, *output_dir;
	nsec_t timeout;
	int parallel;
	bool json, ordered;
};

static const char *option_parallel(const char *value, void *field)
{
	const char *must = option_number(value, field);
	int n = must ? 0 : *(int *)field;

	return n < 1 || n > PARALLEL_MAX ? "a number from 1 to 1000" : NULL;
}

const struct cli_option exec_options[] = {
	{ "target", 't', "SELECTOR", "the hosts: ids, groups, tags or 'all', joined by commas", option_text,
	  offsetof(struct exec_flags, target) },
	{ "parallel", 'p', "N", "so many hosts at once; 100 unless given", option_parallel,
	  offsetof(struct exec_flags, parallel) },
	{ "timeout", 0, "DURATION", "the time limit of each host, as in 30s", option_duration,
	  offsetof(struct exec_flags, timeout) },
	{ "stdin", 0, "FILE", "what every host reads; - is standard input", option_text, offsetof(struct exec_flags, input) },
	{ "script", 0, "FILE", "run this local script there; the words are its arguments", option_text,
	  offsetof(struct exec_flags, script) },
	{ "output-dir", 0, "DIR", "into HOST.stdout and HOST.stderr there", option_text,
	  offsetof(struct exec_flags, output_dir) },
	{ "ordered", 0, NULL, "the output in the order of the hosts", option_flag, offsetof(struct exec_flags, ordered) },
	{ "json", 0, NULL, "an object a host, one a line", option_flag, offsetof(struct exec_flags, json) },
	{ .name = NULL },
};

bool exec_join_words(char *ret, size_t size, int n, char **words)
{
	size_t used = 0;

	for (int i = 0; i < n && used < size; i++)
		used += (size_t)snprintf(ret + used, size - used, "%s%s", i > 0 ? " " : "", words[i]);
	return used < size;
}

/* ---- --stdin ---- */

/* A file without a name, where the environment says that such files are to be. */
static int open_unnamed(const char *dir)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[PATH_MAX];

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	/* not on every file system */
	snprintf(path, sizeof(path), "%s/nefia-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

static const char *temp_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/tmp";
}

/* What cannot be read at several places at once is copied to a file without a name first. */
static int spool(int from, const char **ret_where)
{
	static char buf[65536];
	const char *dir = temp_dir();
	int fd = open_unnamed(dir), saved;
	ssize_t n = -1;

	while (fd >= 0 && ((n = read(from, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0 && os_write_all(fd, buf, (size_t)n) != OK)
			break;
	if (fd < 0 || n > 0)
		*ret_where = dir;
	if (fd >= 0 && n != 0) {
		saved = errno;
		close(fd);
		errno = saved;
		fd = -1;
	}
	return fd;
}

/* @ret_where: set when it is not @path that cannot be used, but the folder of the copy */
static int open_input(const char *path, const char **ret_where)
{
	int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC), copy;
	struct stat st;

	/* Our own standard input may stand in the middle of its file. */
	if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0))
		return fd;
	copy = spool(fd, ret_where);
	close(fd);
	return copy;
}

/* ---- the command ---- */

static int take_flags(struct exec *x, const struct exec_flags *f, int n_words, char **words)
{
	const char *where = f->input;

	x->cli->json |= f->json;
	x->timeout = f->timeout;
	x->parallel = f->parallel;
	x->ordered = f->ordered;
	x->output_dir = f->output_dir;
	x->input_fd = -1;
	if (!f->target)
		return cli_usage(x->cli, "--target SELECTOR is missing%s%s%s", n_words > 1 ? ": nefia exec --target " : "",
				 n_words > 1 ? words[0] : "", n_words > 1 ? " -- COMMAND" : "");
	if (n_words == 0 && !f->script)
		return cli_usage(x->cli, "a command is missing");
	if (!f->script && !exec_join_words(x->command, sizeof(x->command), n_words, words))
		return cli_usage(x->cli, "the command is longer than %d bytes: put it into a file and use --script", EXEC_COMMAND_MAX);
	if (f->input && (x->input_fd = open_input(f->input, &where)) < 0)
		return cli_error(x->cli, 1041, "%s%s: %s", where == f->input ? "" : "a copy of the input in ", where, strerror(errno)),
		       EXEC_STATUS_OUR_FAILURE;
	return f->script ? exec_script_load(x, f->script, words, n_words) : 0;
}

static int select_hosts(struct exec *x, const char *target)
{
	const struct config *cfg = &x->cli->cfg;
	const struct host_config **chosen = calloc(cfg->n_hosts + 1, sizeof(*chosen));
	char miss[64] = "";
	size_t n = chosen ? config_select(cfg, target, chosen, miss) : 0;

	x->hosts = n ? calloc(n, sizeof(*x->hosts)) : NULL;
	for (size_t i = 0; x->hosts && i < n; i++) {
		struct exec_host *h = &x->hosts[x->n_hosts++];

		h->x = x;
		h->host = chosen[i];
		h->s.fd = h->streams[0].file = h->streams[1].file = -1;
		x->id_width = MAX(x->id_width, (int)strlen(h->host->id));
	}
	free(chosen);
	if (x->n_hosts)
		return 0;
	cli_error(x->cli, n ? 1099 : 1021, n ? "out of memory" : "No host, group or tag is called '%s'", miss);
	return EXEC_STATUS_OUR_FAILURE;
}

static void finish(struct exec *x)
{
	for (size_t i = 0; i < x->n_hosts; i++)
		session_fini(&x->hosts[i].s);
	free(x->hosts);
	free(x->script);
	if (x->input_fd >= 0)
		close(x->input_fd);
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
	static struct exec x;
	struct exec_flags flags = { .parallel = PARALLEL_DEFAULT };
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	x.cli = cli;
	r = take_flags(&x, &flags, argc - 1, argv + 1);
	if (r == 0 && cli_load(cli) != 0)
		r = EXEC_STATUS_OUR_FAILURE;
	if (r == 0)
		r = select_hosts(&x, flags.target);
	x.pass_stdin = x.n_hosts == 1 && !flags.input && !flags.script;
	if (r == 0)
		r = exec_output_open(&x);
	if (r == 0)
		r = exec_run(&x);
	finish(&x);
	return r;
}
