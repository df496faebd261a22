/*
 * operator/cmd_fs_ls.c - `nefia fs ls | stat | df | find`: looking.
 *
 * Everything that is asked about one host's operands is asked at once; what is printed is sorted. find alone prints as it
 * comes.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operator/fs_format.h"
#include "operator/fs_run.h"

struct look_flags {
	bool recursive, all, itself, json, no_glob, follow, null;
	bool detail; /* -l */
	const char *name, *type;
	int depth; /* -1: as deep as it goes */
};

#define AT(field) offsetof(struct look_flags, field)
#define JSON_OPTION { "json", 0, NULL, "an object an entry, one a line", option_flag, AT(json) }
#define NO_GLOB_OPTION { "no-glob", 0, NULL, "take *, ?, [ and \\ in names as they are", option_flag, AT(no_glob) }

const struct cli_option fs_ls_options[] = {
	{ "long", 'l', NULL, "mode, owner, size, time and where links lead", option_flag, AT(detail) },
	{ "all", 'a', NULL, "also names that begin with a dot", option_flag, AT(all) },
	{ "directory", 'd', NULL, "folders themselves, not what is in them", option_flag, AT(itself) },
	{ "recursive", 'r', NULL, "everything below, each with its path", option_flag, AT(recursive) },
	NO_GLOB_OPTION,
	JSON_OPTION,
	{ .name = NULL },
};

const struct cli_option fs_stat_options[] = {
	{ "dereference", 'L', NULL, "what a link leads to", option_flag, AT(follow) },
	NO_GLOB_OPTION,
	JSON_OPTION,
	{ .name = NULL },
};

const struct cli_option fs_df_options[] = {
	NO_GLOB_OPTION,
	JSON_OPTION,
	{ .name = NULL },
};

const struct cli_option fs_find_options[] = {
	{ "name", 0, "PATTERN", "only where the last part of the path fits it", option_text, AT(name) },
	{ "type", 0, "f|d|l", "only files, folders or links", option_text, AT(type) },
	{ "max-depth", 0, "N", "no deeper than so many folders; 0: only what is named", option_number, AT(depth) },
	{ "long", 'l', NULL, "mode, owner, size and time", option_flag, AT(detail) },
	{ "null", '0', NULL, "a zero byte behind each, in place of a line's end", option_flag, AT(null) },
	NO_GLOB_OPTION,
	JSON_OPTION,
	{ .name = NULL },
};

/* ---- entries ---- */

struct entry {
	char *path;   /* as it is printed */
	char *below;  /* folder to the left of it, which leads to it together; NULL: none */
	char *target; /* of a link */
	struct ssh_attr attr;
	enum err error;
	char *message; /* of @error */
};

struct looking {
	struct fs_run run;
	struct look_flags flags;
	struct entry **v;
	size_t n, cap;
	bool printed; /* something, so that an empty line comes before the next folder */
	bool many;    /* folders with a heading */
};

static void free_entry(struct entry *e)
{
	free(e->path);
	free(e->below);
	free(e->target);
	free(e->message);
	free(e);
}

static void clear(struct looking *l)
{
	for (size_t i = 0; i < l->n; i++)
		free_entry(l->v[i]);
	l->n = 0;
}

static struct entry *add(struct looking *l, const char *path, const char *below)
{
	struct entry *e = calloc(1, sizeof(*e)), **v = l->v;

	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;

		v = realloc(l->v, cap * sizeof(*v));
		if (v)
			l->cap = cap;
	}
	if (v)
		l->v = v;
	if (!e || !v || !(e->path = strdup(path)) || (below && !(e->below = strdup(below)))) {
		if (e)
			free_entry(e);
		fs_run_error(&l->run, ERR_NOMEM, "out of memory");
		return NULL;
	}
	return l->v[l->n++] = e;
}

static bool is_type(const struct ssh_attr *a, uint32_t type)
{
	return a->which & SSH_ATTR_MODE && (a->mode & FS_TYPE_MASK) == type;
}

/* What the server has to be asked with. */
static const char *whole(const struct entry *e, char buf[2 * SSH_PATH_MAX])
{
	if (!e->below)
		return e->path;
	return fs_name_join(buf, 2 * SSH_PATH_MAX, e->below, e->path) ? buf : e->path;
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

	return strcmp(x->path, y->path);
}

static void sort(struct looking *l)
{
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare);
}

/* ---- printing ---- */

static void print_json(struct looking *l, const struct entry *e)
{
	char buf[2 * SSH_PATH_MAX];
	json_t *o = json_pack("{s:s}", "host", l->run.client.host);

	fs_name_set_json(o, "path", whole(e, buf));
	fs_format_set_json(o, &e->attr);
	if (e->target)
		fs_name_set_json(o, "target", e->target);
	fs_run_print_json(o);
}

static void print_detail(const struct ssh_attr *a, int width)
{
	char mode[11], time[24];

	fs_format_time(a, time);
	if (a->which & SSH_ATTR_OWNER)
		printf("%s %5u %5u ", fs_format_mode(a->mode, mode), a->uid, a->gid);
	else
		printf("%s     -     - ", fs_format_mode(a->mode, mode));
	printf("%*llu %s ", width, (unsigned long long)a->size, time);
}

static void print_entry(struct looking *l, const struct entry *e, int width)
{
	if (l->flags.json) {
		print_json(l, e);
		return;
	}
	if (l->flags.detail)
		print_detail(&e->attr, width);
	fs_run_print(&l->run, e->path);
	if (l->flags.detail && e->target) {
		fputs(" -> ", stdout);
		fs_run_print(&l->run, e->target);
	}
	putchar('\n');
}

static void print_all(struct looking *l)
{
	uint64_t largest = 0;
	int width = 1;

	sort(l);
	for (size_t i = 0; i < l->n; i++)
		largest = MAX(largest, l->v[i]->attr.size);
	for (; largest > 9; largest /= 10)
		width++;
	for (size_t i = 0; i < l->n; i++)
		print_entry(l, l->v[i], width);
	l->printed |= l->n > 0;
}

/* ---- asking ---- */

static void on_attr(void *ctx, const struct fs_event *ev)
{
	struct entry *e = ctx;

	if (ev->type == SSH_F_OP_INFO)
		e->attr = ev->attr;
	if (ev->type != SSH_F_OP_DONE)
		return;
	e->error = ev->error;
	if (ev->error != OK)
		e->message = strdup(ev->message);
}

static void on_target(void *ctx, const struct fs_event *ev)
{
	struct entry *e = ctx;

	if (ev->type == SSH_F_OP_ENTRY && !e->target)
		e->target = strndup((const char *)ev->data.p, ev->data.len);
}

/* A dangling one has no answer: it stays as it is. */
static void on_followed(void *ctx, const struct fs_event *ev)
{
	struct entry *e = ctx;

	if (ev->type == SSH_F_OP_INFO)
		e->attr = ev->attr;
}

static void ask(struct looking *l, struct entry *e, enum ssh_op op, fs_event_fn fn)
{
	char buf[2 * SSH_PATH_MAX];
	const struct fs_request rq = { .op = op, .path = whole(e, buf) };

	fs_client_queue(&l->run.client, &rq, fn, e);
}

static void ask_links(struct looking *l, enum ssh_op op, fs_event_fn fn)
{
	for (size_t i = 0; i < l->n; i++)
		if (is_type(&l->v[i]->attr, FS_TYPE_LINK))
			ask(l, l->v[i], op, fn);
	fs_client_wait(&l->run.client);
}

/* What could not be looked at is said and left. */
static void drop_failed(struct looking *l)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i]->error == OK) {
			l->v[n++] = l->v[i];
			continue;
		}
		fs_run_error(&l->run, l->v[i]->error, "%s", l->v[i]->message ? l->v[i]->message : l->v[i]->path);
		free_entry(l->v[i]);
	}
	l->n = n;
}

/* ---- ls ---- */

struct listing {
	struct looking *l;
	const char *dir;
	enum err error;
	char message[400];
};

static bool is_hidden(const char *path)
{
	for (const char *p = path; p; p = strchr(p, '/')) {
		p += *p == '/';
		if (*p == '.')
			return true;
	}
	return false;
}

static void on_listed(void *ctx, const struct fs_event *ev)
{
	struct listing *x = ctx;
	char name[SSH_PATH_MAX + 1];
	struct entry *e;

	if (ev->type == SSH_F_OP_DONE) {
		x->error = ev->error;
		snprintf(x->message, sizeof(x->message), "%s", ev->message);
	}
	if (ev->type != SSH_F_OP_ENTRY || ev->data.len == 0 || ev->data.len >= sizeof(name))
		return;
	memcpy(name, ev->data.p, ev->data.len);
	name[ev->data.len] = '\0';
	if (!x->l->flags.all && is_hidden(name))
		return;
	e = add(x->l, name, x->dir);
	if (e)
		e->attr = ev->attr;
}

static void list_folder(struct looking *l, const char *dir)
{
	const struct fs_request rq = { .op = l->flags.recursive ? SSH_OP_FIND : SSH_OP_LS, .path = dir };
	struct listing x = { .l = l, .dir = dir };

	fs_client_queue(&l->run.client, &rq, on_listed, &x);
	fs_client_wait(&l->run.client);
	if (l->many && !l->flags.json) {
		if (l->printed)
			putchar('\n');
		fs_run_print(&l->run, dir);
		puts(":");
		l->printed = true;
	}
	if (l->flags.detail || l->flags.json)
		ask_links(l, SSH_OP_READLINK, on_target);
	print_all(l);
	clear(l);
	if (x.error != OK)
		fs_run_error(&l->run, x.error, "%s", x.message);
}

static void list_named(struct looking *l)
{
	struct fs_names dirs = { 0 };
	size_t n = 0;

	fs_client_wait(&l->run.client);
	drop_failed(l);
	/* A link that leads to a folder is one, as ls has it, except where links are shown. */
	if (!l->flags.detail && !l->flags.itself)
		ask_links(l, SSH_OP_STAT, on_followed);
	for (size_t i = 0; i < l->n; i++) {
		struct entry *e = l->v[i];

		if (l->flags.itself || !is_type(&e->attr, FS_TYPE_DIR)) {
			l->v[n++] = e;
			continue;
		}
		if (!fs_names_add(&dirs, e->path))
			fs_run_error(&l->run, ERR_NOMEM, "out of memory");
		free_entry(e);
	}
	l->n = n;
	if (l->flags.detail || l->flags.json)
		ask_links(l, SSH_OP_READLINK, on_target);
	print_all(l);
	l->many |= dirs.n > 1 || l->n > 0;
	clear(l);
	for (size_t i = 0; i < dirs.n && !fs_client_is_over(&l->run.client); i++)
		list_folder(l, dirs.v[i]);
	fs_names_free(&dirs);
}

static void on_ls_path(void *ctx, const char *path)
{
	struct looking *l = ctx;
	struct entry *e;

	if (!path) {
		list_named(l);
		return;
	}
	e = add(l, path, NULL);
	if (e)
		ask(l, e, SSH_OP_LSTAT, on_attr);
}

static int start(struct cli *cli, struct looking *l, int *argc, char **argv)
{
	if (options_parse(cli, argc, argv, &l->flags) != 0)
		return EXIT_USAGE;
	cli->json |= l->flags.json;
	l->run.cli = cli;
	l->run.literal = l->flags.no_glob;
	l->run.show = isatty(STDOUT_FILENO) && !l->flags.json;
	return 0;
}

static int finish(struct looking *l, int r)
{
	int flushed = fs_run_flush(&l->run);

	clear(l);
	free(l->v);
	fs_run_close(&l->run);
	return r ? r : flushed;
}

int cmd_fs_ls(struct cli *cli, int argc, char **argv)
{
	static struct looking l;
	int r = start(cli, &l, &argc, argv);

	if (r != 0)
		return r;
	l.many = argc > 2;
	return finish(&l, fs_run_each(&l.run, argc - 1, argv + 1, on_ls_path, &l));
}

/* ---- stat ---- */

static void print_stat(struct looking *l, const struct entry *e)
{
	char mode[11], time[24];

	if (l->flags.json) {
		print_json(l, e);
		return;
	}
	fs_run_print(&l->run, e->path);
	if (e->target) {
		fputs(" -> ", stdout);
		fs_run_print(&l->run, e->target);
	}
	printf("\n  type:  %s\n  size:  %llu\n  mode:  %04o %s\n", fs_format_type(e->attr.mode),
	       (unsigned long long)e->attr.size, e->attr.mode & 07777, fs_format_mode(e->attr.mode, mode));
	if (e->attr.which & SSH_ATTR_OWNER)
		printf("  owner: uid %u, gid %u\n", e->attr.uid, e->attr.gid);
	printf("  mtime: %s\n", fs_format_time(&e->attr, time));
}

static void on_stat_path(void *ctx, const char *path)
{
	struct looking *l = ctx;
	struct entry *e = path ? add(l, path, NULL) : NULL;

	if (e)
		ask(l, e, l->flags.follow ? SSH_OP_STAT : SSH_OP_LSTAT, on_attr);
	if (path)
		return;
	drop_failed(l);
	ask_links(l, SSH_OP_READLINK, on_target);
	for (size_t i = 0; i < l->n; i++)
		print_stat(l, l->v[i]);
	clear(l);
}

int cmd_fs_stat(struct cli *cli, int argc, char **argv)
{
	static struct looking l;
	int r = start(cli, &l, &argc, argv);

	return r ? r : finish(&l, fs_run_each(&l.run, argc - 1, argv + 1, on_stat_path, &l));
}

/* ---- df ---- */

static void print_space(struct looking *l, const char *path, const struct ssh_fs_space *s)
{
	double pct;
	uint64_t used = fs_format_used(s, &pct);
	char size[16], taken[16], avail[16];
	json_t *o;

	if (l->flags.json) {
		o = json_pack("{s:s}", "host", l->run.client.host);
		fs_name_set_json(o, "path", path);
		json_object_set_new(o, "size", fs_format_json(s->size));
		json_object_set_new(o, "used", fs_format_json(used));
		json_object_set_new(o, "avail", fs_format_json(s->avail));
		json_object_set_new(o, "files", fs_format_json(s->files));
		json_object_set_new(o, "files_free", fs_format_json(s->files_free));
		fs_run_print_json(o);
		return;
	}
	if (!l->printed)
		printf("%10s %10s %10s %5s  %s\n", "Size", "Used", "Avail", "Use%", "Path");
	l->printed = true;
	printf("%10s %10s %10s %4.0f%%  ", fs_format_bytes(s->size, size), fs_format_bytes(used, taken),
	       fs_format_bytes(s->avail, avail), pct);
	fs_run_print(&l->run, path);
	putchar('\n');
}

static void on_df_path(void *ctx, const char *path)
{
	struct looking *l = ctx;
	const struct fs_request rq = { .op = SSH_OP_DF, .path = path };
	struct fs_answer a;

	if (!path)
		return;
	if (fs_client_call(&l->run.client, &rq, &a) != OK)
		fs_run_error(&l->run, a.error, "%s", a.message);
	else
		print_space(l, path, &a.space);
}

int cmd_fs_df(struct cli *cli, int argc, char **argv)
{
	static struct looking l;
	int r = start(cli, &l, &argc, argv);

	return r ? r : finish(&l, fs_run_each(&l.run, argc - 1, argv + 1, on_df_path, &l));
}

/* ---- find ---- */

struct finding {
	struct looking *l;
	char *start;
};

static bool is_wanted(const struct looking *l, const char *path, const struct ssh_attr *a)
{
	const char *type = l->flags.type;
	char base[SSH_PATH_MAX + 1];

	if (type && !is_type(a, *type == 'f' ? FS_TYPE_FILE : *type == 'd' ? FS_TYPE_DIR : FS_TYPE_LINK))
		return false;
	if (!l->flags.name)
		return true;
	fs_name_base(path, base, sizeof(base));
	return fs_glob_match_dots(l->flags.name, strlen(l->flags.name), base);
}

static void print_found(struct looking *l, char *path, const struct ssh_attr *a)
{
	const struct entry e = { .path = path, .attr = *a };

	if (l->flags.json) {
		print_json(l, &e);
		return;
	}
	if (l->flags.detail)
		print_detail(a, 11);
	fs_run_print(&l->run, path);
	putchar(l->flags.null ? '\0' : '\n');
}

static void on_found(void *ctx, const struct fs_event *ev)
{
	char name[SSH_PATH_MAX + 1], path[2 * SSH_PATH_MAX + 2];
	struct finding *f = ctx;

	if (ev->type == SSH_F_OP_ENTRY && ev->data.len < sizeof(name) && (f->l->flags.depth != 0 || ev->data.len == 0)) {
		memcpy(name, ev->data.p, ev->data.len);
		name[ev->data.len] = '\0';
		/* "." stays in front, as find has it: what is given is what the lines begin with. */
		snprintf(path, sizeof(path), "%s%s%s", f->start, *name && f->start[strlen(f->start) - 1] != '/' ? "/" : "", name);
		if (is_wanted(f->l, path, &ev->attr))
			print_found(f->l, path, &ev->attr);
	}
	if (ev->type != SSH_F_OP_DONE)
		return;
	if (ev->error != OK)
		fs_run_error(&f->l->run, ev->error, "%s", ev->message);
	free(f->start);
	free(f);
}

static void on_find_path(void *ctx, const char *path)
{
	struct looking *l = ctx;
	/* For the server 0 is no limit; what is below is left out where nothing but the start is wanted. */
	const struct fs_request rq = { .op = SSH_OP_FIND, .path = path, .length = (uint64_t)(l->flags.depth ? MAX(l->flags.depth, 0) : 1) };
	struct finding *f = path ? malloc(sizeof(*f)) : NULL;

	if (!path)
		return;
	if (!f || !(f->start = strdup(path))) {
		free(f);
		fs_run_error(&l->run, ERR_NOMEM, "out of memory");
		return;
	}
	f->l = l;
	fs_client_queue(&l->run.client, &rq, on_found, f);
	/* One after the other, so that what belongs together stands together. */
	fs_client_wait(&l->run.client);
}

int cmd_fs_find(struct cli *cli, int argc, char **argv)
{
	static struct looking l = { .flags.depth = -1 };
	int r = start(cli, &l, &argc, argv);

	if (r != 0)
		return r;
	if (l.flags.type && (strlen(l.flags.type) != 1 || !strchr("fdl", *l.flags.type)))
		return cli_usage(cli, "--type must be f, d or l");
	return finish(&l, fs_run_each(&l.run, argc - 1, argv + 1, on_find_path, &l));
}
