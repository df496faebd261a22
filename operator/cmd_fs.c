/*
 * operator/cmd_fs.c - `nefia fs cat | rm | mkdir | mv | chmod`.
 *
 * What can be asked at once is; an error is said when it comes, the rest goes on, and the exit status is 1.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operator/fs_format.h"
#include "operator/fs_run.h"
#include "os/file.h"

struct change_flags {
	bool recursive, force, parents, no_replace, no_glob;
};

#define AT(field) offsetof(struct change_flags, field)
#define NO_GLOB_OPTION { "no-glob", 0, NULL, "take *, ?, [ and \\ in names as they are", option_flag, AT(no_glob) }

const struct cli_option fs_cat_options[] = {
	NO_GLOB_OPTION,
	{ .name = NULL },
};

const struct cli_option fs_rm_options[] = {
	{ "recursive", 'r', NULL, "folders with what is in them; links are removed, never followed", option_flag, AT(recursive) },
	{ "force", 'f', NULL, "what is not there is no error", option_flag, AT(force) },
	NO_GLOB_OPTION,
	{ .name = NULL },
};

const struct cli_option fs_mkdir_options[] = {
	{ "parents", 'p', NULL, "those above it as well; being there is no error", option_flag, AT(parents) },
	{ .name = NULL },
};

const struct cli_option fs_mv_options[] = {
	{ "no-replace", 'n', NULL, "leave what is there", option_flag, AT(no_replace) },
	{ "force", 'f', NULL, "replace what is there: as without it", option_flag, AT(force) },
	NO_GLOB_OPTION,
	{ .name = NULL },
};

const struct cli_option fs_chmod_options[] = {
	{ "recursive", 'r', NULL, "everything below as well; links are left as they are", option_flag, AT(recursive) },
	NO_GLOB_OPTION,
	{ .name = NULL },
};

struct changing {
	struct fs_run run;
	struct change_flags flags;
	const char *mode, *to;
	bool to_folder;
};

static int start(struct cli *cli, struct changing *c, int *argc, char **argv)
{
	if (options_parse(cli, argc, argv, &c->flags) != 0)
		return EXIT_USAGE;
	signal(SIGPIPE, SIG_IGN);
	c->run.cli = cli;
	c->run.literal = c->flags.no_glob;
	return 0;
}

static int finish(struct changing *c, int r)
{
	fs_run_close(&c->run);
	return r;
}

static void on_done(void *ctx, const struct fs_event *ev)
{
	struct changing *c = ctx;

	if (ev->type == SSH_F_OP_DONE && ev->error != OK)
		fs_run_error(&c->run, ev->error, "%s", ev->message);
}

/* ---- cat ---- */

static void on_cat(void *ctx, const struct fs_event *ev)
{
	struct changing *c = ctx;
	enum err e = OK;

	if (ev->type == SSH_F_OP_BYTES && !c->run.failed)
		e = os_write_all(STDOUT_FILENO, ev->data.p, ev->data.len);
	if (e != OK) {
		/* Nobody reads on: then nothing more need come. */
		if (e == ERR_CLOSED)
			c->run.failed = true;
		else
			fs_run_local_error(&c->run, "standard output", errno);
		session_fini(&c->run.client.s);
		c->run.client.s.over = true;
	}
	if (!fs_client_is_over(&c->run.client))
		on_done(ctx, ev);
}

static void on_cat_path(void *ctx, const char *path)
{
	struct changing *c = ctx;
	const struct fs_request rq = { .op = SSH_OP_GET, .path = path, .length = UINT64_MAX };

	if (!path || (c->run.open && fs_client_is_over(&c->run.client)))
		return;
	fs_client_queue(&c->run.client, &rq, on_cat, c);
	fs_client_wait(&c->run.client);
}

int cmd_fs_cat(struct cli *cli, int argc, char **argv)
{
	static struct changing c;
	int r = start(cli, &c, &argc, argv);

	return r ? r : finish(&c, fs_run_each(&c.run, argc - 1, argv + 1, on_cat_path, &c));
}

/* ---- rm ---- */

/* What nobody means: home, the root, and what stands above. */
static bool is_too_much(const char *path)
{
	char base[SSH_PATH_MAX + 1];

	fs_name_base(path, base, sizeof(base));
	return !*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0;
}

static void on_rm_path(void *ctx, const char *path)
{
	struct changing *c = ctx;
	const struct fs_request rq = { .op = SSH_OP_RM,
				       .path = path,
				       .flags = (c->flags.recursive ? SSH_RM_RECURSIVE : 0) |
						(c->flags.force ? SSH_RM_FORCE : 0) };

	if (path && is_too_much(path))
		fs_run_error(&c->run, ERR_INVALID, "removing %s: name what is in it", path);
	else if (path)
		fs_client_queue(&c->run.client, &rq, on_done, c);
}

int cmd_fs_rm(struct cli *cli, int argc, char **argv)
{
	static struct changing c;
	int r = start(cli, &c, &argc, argv);

	return r ? r : finish(&c, fs_run_each(&c.run, argc - 1, argv + 1, on_rm_path, &c));
}

/* ---- mkdir ---- */

static void on_mkdir_path(void *ctx, const char *path)
{
	struct changing *c = ctx;
	const struct fs_request rq = { .op = SSH_OP_MKDIR,
				       .path = path,
				       .mode = 0777,
				       .flags = c->flags.parents ? SSH_MKDIR_PARENTS : 0 };

	if (!path)
		return;
	/* The second may stand in the first. */
	fs_client_wait(&c->run.client);
	fs_client_queue(&c->run.client, &rq, on_done, c);
}

int cmd_fs_mkdir(struct cli *cli, int argc, char **argv)
{
	static struct changing c;
	int r = start(cli, &c, &argc, argv);

	c.run.literal = true; /* what is to be made is no pattern */
	return r ? r : finish(&c, fs_run_each(&c.run, argc - 1, argv + 1, on_mkdir_path, &c));
}

/* ---- mv ---- */

static void on_mv_path(void *ctx, const char *path)
{
	struct changing *c = ctx;
	char to[2 * SSH_PATH_MAX], base[SSH_PATH_MAX + 1];
	const struct fs_request rq = { .op = SSH_OP_MV,
				       .path = path,
				       .second = to,
				       .flags = c->flags.no_replace ? SSH_MV_NO_REPLACE : 0 };

	if (!path)
		return;
	fs_name_base(path, base, sizeof(base));
	if (!fs_name_join(to, sizeof(to), c->to, c->to_folder ? base : "") || strlen(to) > SSH_PATH_MAX) {
		fs_run_error(&c->run, ERR_TOO_LONG, "moving %s: the new path is too long", path);
		return;
	}
	fs_client_queue(&c->run.client, &rq, on_done, c);
}

/* Where to: a folder that is there takes each under its own name. */
static int look_at_target(struct changing *c, int n, char **operands)
{
	const struct fs_request rq = { .op = SSH_OP_STAT, .path = c->to };
	struct fs_names names;
	struct fs_answer a;
	const char *path;
	char host[FS_HOST_MAX + 1];
	bool many = n > 1;

	c->to_folder = fs_client_call(&c->run.client, &rq, &a) == OK && (a.attr.mode & FS_TYPE_MASK) == FS_TYPE_DIR;
	if (!many && !c->to_folder && fs_spec_split(operands[0], host, &path)) {
		if (!fs_run_expand(&c->run, path, &names))
			return EXIT_FAILED;
		many = names.n > 1;
		fs_names_free(&names);
	}
	if (!many || c->to_folder)
		return 0;
	fs_run_error(&c->run, ERR_INVALID, "moving to %s: it is not a folder, and there are several to move", c->to);
	return EXIT_FAILED;
}

int cmd_fs_mv(struct cli *cli, int argc, char **argv)
{
	static struct changing c;
	char host[FS_HOST_MAX + 1], other[FS_HOST_MAX + 1];
	const char *path;
	int r = start(cli, &c, &argc, argv), n = argc - 2;

	if (r != 0)
		return r;
	if (!fs_spec_split(argv[argc - 1], host, &c.to))
		return cli_usage(cli, "'%s' is not HOST:PATH", argv[argc - 1]);
	for (int i = 1; i <= n; i++)
		if (!fs_spec_split(argv[i], other, &path) || strcmp(host, other) != 0)
			return cli_usage(cli, "'%s' is not at %s: files are moved at one host, and copied between two by get and put",
					 argv[i], host);
	r = fs_run_use(&c.run, host);
	if (r == 0)
		r = look_at_target(&c, n, argv + 1);
	return finish(&c, r ? r : fs_run_each(&c.run, n, argv + 1, on_mv_path, &c));
}

/* ---- chmod ---- */

static void change(struct changing *c, const char *path, const struct ssh_attr *a)
{
	struct fs_request rq = { .op = SSH_OP_SETSTAT, .path = path, .attr = { .which = SSH_ATTR_MODE } };

	if ((a->mode & FS_TYPE_MASK) == FS_TYPE_LINK || !fs_mode_change(c->mode, a->mode, &rq.attr.mode))
		return;
	fs_client_queue(&c->run.client, &rq, on_done, c);
}

struct found {
	struct changing *c;
	struct fs_names names;
	uint32_t *modes;
	size_t cap;
};

static void on_chmod_found(void *ctx, const struct fs_event *ev)
{
	struct found *f = ctx;
	char name[SSH_PATH_MAX + 1];

	if (ev->type == SSH_F_OP_DONE)
		on_done(f->c, ev);
	if (ev->type != SSH_F_OP_ENTRY || ev->data.len >= sizeof(name))
		return;
	memcpy(name, ev->data.p, ev->data.len);
	name[ev->data.len] = '\0';
	if (f->names.n == f->cap) {
		size_t cap = f->cap ? 2 * f->cap : 64;
		uint32_t *modes = realloc(f->modes, cap * sizeof(*modes));

		if (!modes) {
			fs_run_error(&f->c->run, ERR_NOMEM, "out of memory");
			return;
		}
		f->modes = modes;
		f->cap = cap;
	}
	f->modes[f->names.n] = ev->attr.mode;
	if (!fs_names_add(&f->names, name))
		fs_run_error(&f->c->run, ERR_NOMEM, "out of memory");
}

/* What is below before what holds it: a folder may lose the right to enter it. */
static void change_all(struct changing *c, const char *start)
{
	const struct fs_request rq = { .op = SSH_OP_FIND, .path = start };
	struct found f = { .c = c };
	char path[2 * SSH_PATH_MAX];

	fs_client_queue(&c->run.client, &rq, on_chmod_found, &f);
	fs_client_wait(&c->run.client);
	for (size_t i = f.names.n; i-- > 0;) {
		bool dir = (f.modes[i] & FS_TYPE_MASK) == FS_TYPE_DIR;

		if (!fs_name_join(path, sizeof(path), start, f.names.v[i]))
			continue;
		if (dir)
			fs_client_wait(&c->run.client);
		change(c, path, &(struct ssh_attr){ .mode = f.modes[i] });
	}
	fs_client_wait(&c->run.client);
	fs_names_free(&f.names);
	free(f.modes);
}

static void on_chmod_path(void *ctx, const char *path)
{
	struct changing *c = ctx;
	const struct fs_request look = { .op = SSH_OP_STAT, .path = path };
	struct fs_answer a;

	if (!path)
		return;
	if (c->flags.recursive)
		change_all(c, path);
	else if (fs_client_call(&c->run.client, &look, &a) != OK)
		fs_run_error(&c->run, a.error, "%s", a.message);
	else
		change(c, path, &a.attr);
}

int cmd_fs_chmod(struct cli *cli, int argc, char **argv)
{
	static struct changing c;
	uint32_t mode;
	int r = start(cli, &c, &argc, argv);

	if (r != 0)
		return r;
	c.mode = argv[1];
	if (!fs_mode_change(c.mode, 0, &mode))
		return cli_usage(cli, "'%s' is not a mode, as in 640 or u+x,go-w", c.mode);
	return finish(&c, fs_run_each(&c.run, argc - 2, argv + 2, on_chmod_path, &c));
}
