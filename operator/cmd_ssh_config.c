/*
 * operator/cmd_ssh_config.c - `nefia ssh-config`: plain ssh, scp, sftp, rsync and git to NAME.nefia.
 *
 * --install writes the snippet to a file of ours, which a reader of ssh's configuration can throw away with one line: the
 * Include at the top of ~/.ssh/config. That file belongs to a person. It is written whole or not at all, under its own
 * mode, through its symbolic links, every other byte as it was; what we could spoil (a file of somebody else's, one that
 * ssh would refuse) is refused with the reason.
 *
 * ssh finds ~/.ssh by the password database and not by HOME. Where both differ we ask which one is meant.
 */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub.h"
#include "operator/ssh_config.h"
#include "os/file.h"
#include "os/proc.h"

#define OUR_FILE "ssh_config"
#define THEIRS_MAX (4u << 20)
#define LOCK_TRIES 5

struct flags {
	bool install, uninstall, no_fdpass;
	const char *suffix, *hosts, *file;
};

const struct cli_option ssh_config_options[] = {
	{ "install", 0, NULL, "write it to ~/.nefia/ssh_config and include that in ~/.ssh/config", option_flag,
	  offsetof(struct flags, install) },
	{ "uninstall", 0, NULL, "take that out again", option_flag, offsetof(struct flags, uninstall) },
	{ "host", 0, "SELECTOR", "for these hosts alone", option_text, offsetof(struct flags, hosts) },
	{ "suffix", 0, "SUFFIX", "how their names end for ssh (.nefia)", option_text, offsetof(struct flags, suffix) },
	{ "no-fdpass", 0, NULL, "let nefia nc copy the bytes in place of handing the connection to ssh", option_flag,
	  offsetof(struct flags, no_fdpass) },
	{ "ssh-config", 0, "FILE", "the file to include it in (~/.ssh/config)", option_text, offsetof(struct flags, file) },
	{ .name = NULL },
};

/* ---- the text ---- */

/* Hosts as the selector says, or all. Return: an exit code, 0 = *ret is to be freed. */
static int choose(struct cli *cli, const char *selector, const struct host_config ***ret, size_t *ret_n)
{
	const struct host_config **hosts = calloc(cli->cfg.n_hosts + 1, sizeof(hosts[0]));
	char miss[64];

	if (!hosts)
		return cli_error(cli, 1099, "out of memory");
	for (size_t i = 0; i < cli->cfg.n_hosts; i++)
		hosts[i] = &cli->cfg.hosts[i];
	*ret = hosts;
	*ret_n = selector ? config_select(&cli->cfg, selector, hosts, miss) : cli->cfg.n_hosts;
	if (!selector || *ret_n > 0)
		return 0;
	free(hosts);
	return cli_error(cli, 1021, "%s is not in %s", miss, cli->config);
}

static bool is_default(const struct cli *cli)
{
	const char *home = os_home();
	char path[PATH_MAX];

	return home && snprintf(path, sizeof(path), "%s/.nefia", home) < PATH_MAX && strcmp(path, cli->home) == 0;
}

/* @path as a program in another folder would name it. */
static bool absolute(const char *path, char ret[PATH_MAX])
{
	return realpath(path, ret) != NULL;
}

static int print(struct cli *cli, const struct flags *flags, const char *suffix, FILE *f)
{
	char home[PATH_MAX], config[PATH_MAX], known_hosts[PATH_MAX + 16], usual[PATH_MAX + 16];
	struct ssh_config cfg = {
		.program = os_self_path(),
		.known_hosts = known_hosts,
		.suffix = suffix,
		.fdpass = !flags->no_fdpass,
		.only_named = flags->hosts != NULL,
	};
	const struct host_config **hosts = NULL;
	const char *what = "";
	size_t n;
	int r;

	if (!absolute(cli->home, home) || !absolute(cli->config, config))
		return cli_error(cli, 1001, "%s: %s", cli->config, strerror(errno));
	snprintf(known_hosts, sizeof(known_hosts), "%s/known_hosts", home);
	snprintf(usual, sizeof(usual), "%s/nefia.yaml", home);
	cfg.home = is_default(cli) ? NULL : home;
	cfg.config = strcmp(config, usual) == 0 ? NULL : config;
	r = choose(cli, flags->hosts, &hosts, &n);
	if (r != 0)
		return r;
	if (ssh_config_print(f, &cfg, &cli->cfg, hosts, n, &what) != OK)
		r = cli_error(cli, 1044, "'%s' cannot be written in ssh's configuration", what);
	free(hosts);
	return r;
}

static int make_text(struct cli *cli, const struct flags *flags, const char *suffix, char **ret, size_t *ret_len)
{
	FILE *f = open_memstream(ret, ret_len);
	int r;

	if (!f)
		return cli_error(cli, 1099, "out of memory");
	r = print(cli, flags, suffix, f);
	if (fclose(f) != 0 && r == 0)
		r = cli_error(cli, 1099, "out of memory");
	if (r != 0)
		free(*ret);
	return r;
}

/* ---- the file of ssh ---- */

struct theirs {
	char path[PATH_MAX];   /* as it is called */
	char target[PATH_MAX]; /* where it is, behind symbolic links */
	bool exists;
	unsigned mode;
	char *text;
	size_t len;
};

static int find_theirs(const struct cli *cli, const struct flags *flags, struct theirs *t)
{
	const struct passwd *pw = getpwuid(getuid());
	const char *home = getenv("HOME");

	if (flags->file) {
		snprintf(t->path, sizeof(t->path), "%s", flags->file);
		return 0;
	}
	if (!pw || !pw->pw_dir || pw->pw_dir[0] != '/')
		return cli_error(cli, 1044, "you have no home folder; name the file with --ssh-config");
	if (home && strcmp(home, pw->pw_dir) != 0)
		return cli_error(cli, 1044, "HOME is %s, but ssh reads %s/.ssh/config; name the file with --ssh-config", home,
				 pw->pw_dir);
	snprintf(t->path, sizeof(t->path), "%s/.ssh/config", pw->pw_dir);
	return 0;
}

static int check_theirs(const struct cli *cli, struct theirs *t)
{
	struct stat st;

	if (stat(t->target, &st) != 0)
		return cli_error(cli, 1044, "%s: %s", t->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cli_error(cli, 1044, "%s is no file", t->path);
	if (st.st_uid != geteuid())
		return cli_error(cli, 1044, "%s belongs to somebody else; add the line to it by hand", t->path);
	if (st.st_mode & 022)
		return cli_error(cli, 1044, "%s: others may write it, so ssh refuses it; chmod 600 it", t->path);
	t->mode = st.st_mode & 0777;
	t->exists = true;
	return 0;
}

static int read_theirs(const struct cli *cli, struct theirs *t)
{
	struct stat st;
	enum err e;
	int r;

	if (!realpath(t->path, t->target)) {
		if (errno != ENOENT || lstat(t->path, &st) == 0)
			return cli_error(cli, 1044, "%s: %s", t->path,
					 errno == ENOENT ? "a symbolic link that leads nowhere" : strerror(errno));
		snprintf(t->target, sizeof(t->target), "%s", t->path);
		t->mode = 0600;
		return 0;
	}
	r = check_theirs(cli, t);
	if (r != 0)
		return r;
	e = os_file_read(t->target, THEIRS_MAX, &t->text, &t->len);
	return e == OK ? 0 : cli_error(cli, 1044, "%s: %s", t->path, err_text(e));
}

static int write_theirs(const struct cli *cli, const struct theirs *t, const char *text, size_t len)
{
	enum err e = OK;

	if (!t->exists) {
		char dir[PATH_MAX];
		char *slash;

		snprintf(dir, sizeof(dir), "%s", t->target);
		slash = strrchr(dir, '/');
		if (slash && slash != dir) {
			*slash = '\0';
			e = os_mkdir_p(dir, 0700);
		}
	}
	os_file_sweep(t->target);
	if (e == OK)
		e = os_file_write_atomic(t->target, text, len, t->mode);
	return e == OK ? 0 : cli_error(cli, 1044, "%s: %s", t->path, err_text(e));
}

static int add_line(const struct cli *cli, const struct theirs *t, const char *line)
{
	struct bytes old = { (const uint8_t *)t->text, t->len }, rest = { 0 };
	char *text = NULL;
	size_t n = strlen(line);
	int r;

	if (ssh_config_includes(old, line))
		return 0;
	if (ssh_config_without(old, line, &rest) != OK || !(text = malloc(n + 1 + rest.len))) {
		r = cli_error(cli, 1099, "out of memory");
		goto out;
	}
	memcpy(text, line, n);
	text[n] = '\n';
	memcpy(text + n + 1, rest.p, rest.len);
	r = write_theirs(cli, t, text, n + 1 + rest.len);
out:
	free((void *)rest.p);
	free(text);
	return r;
}

/* A file that held nothing but our line goes with it, unless somebody made a link of it. */
static int remove_line(const struct cli *cli, const struct theirs *t, const char *line)
{
	struct bytes old = { (const uint8_t *)t->text, t->len }, rest;
	int r = 0;

	if (ssh_config_without(old, line, &rest) != OK)
		return cli_error(cli, 1099, "out of memory");
	if (rest.len == 0 && old.len > 0 && strcmp(t->path, t->target) == 0)
		r = os_file_remove(t->target) == OK ? 0 : cli_error(cli, 1044, "%s: %s", t->path, strerror(errno));
	else if (rest.len != old.len)
		r = write_theirs(cli, t, (const char *)rest.p, rest.len);
	free((void *)rest.p);
	return r;
}

/* ---- install ---- */

static int change(struct cli *cli, const struct flags *flags, const char *suffix, const char *ours, const char *line)
{
	struct theirs *t = calloc(1, sizeof(*t));
	char *text = NULL;
	size_t len = 0;
	enum err e;
	int r;

	if (!t)
		return cli_error(cli, 1099, "out of memory");
	r = find_theirs(cli, flags, t);
	if (r == 0)
		r = read_theirs(cli, t);
	if (r == 0 && flags->uninstall) {
		r = remove_line(cli, t, line);
		if (r == 0)
			os_file_remove(ours);
	} else if (r == 0) {
		r = make_text(cli, flags, suffix, &text, &len);
		/* First what is included, then the line that includes it. */
		e = r == 0 ? os_file_write_atomic(ours, text, len, 0600) : OK;
		if (e != OK)
			r = cli_error(cli, 1044, "%s: %s", ours, err_text(e));
		if (r == 0)
			r = add_line(cli, t, line);
		free(len ? text : NULL);
	}
	if (r == 0)
		printf(flags->uninstall ? "%s is as it was without nefia.\n" : "%s includes it now. Try: ssh HOST%s\n", t->path,
		       suffix);
	free(t->text);
	free(t);
	return r;
}

static int install(struct cli *cli, const struct flags *flags, const char *suffix)
{
	char home[PATH_MAX], ours[PATH_MAX + 16], lock_path[PATH_MAX + 32], *line = NULL;
	struct os_lock *lock = NULL;
	enum err e;
	int r;

	if (!absolute(cli->home, home))
		return cli_error(cli, 1001, "%s: %s", cli->home, strerror(errno));
	snprintf(ours, sizeof(ours), "%s/%s", home, OUR_FILE);
	snprintf(lock_path, sizeof(lock_path), "%s.lock", ours);
	e = ssh_config_include_line(ours, &line);
	if (e != OK)
		return cli_error(cli, 1044, "'%s' cannot be written in ssh's configuration", ours);
	e = os_lock_take(lock_path, LOCK_TRIES, &lock);
	if (e == OK)
		r = change(cli, flags, suffix, ours, line);
	else
		r = cli_error(cli, 1044, "%s: %s", lock_path, err_text(e));
	os_lock_free(lock);
	free(line);
	return r;
}

int cmd_ssh_config(struct cli *cli, int argc, char **argv)
{
	struct flags flags = { .suffix = SSH_SUFFIX };
	char suffix[SSH_SUFFIX_MAX];
	char *text;
	size_t len;
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	if (flags.install && flags.uninstall)
		return cli_usage(cli, "--install or --uninstall, not both");
	if (flags.file && !flags.install && !flags.uninstall)
		return cli_usage(cli, "--ssh-config goes with --install or --uninstall");
	if (!ssh_config_suffix(flags.suffix, suffix))
		return cli_usage(cli, "'%s' cannot be the end of a host's name", flags.suffix);
	if (flags.uninstall)
		return install(cli, &flags, suffix);
	r = cli_load(cli);
	if (r != 0)
		return r;
	if (flags.install)
		return install(cli, &flags, suffix);
	r = make_text(cli, &flags, suffix, &text, &len);
	if (r == 0) {
		fwrite(text, 1, len, stdout);
		free(text);
	}
	return r;
}
