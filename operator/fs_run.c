/*
 * operator/fs_run.c - see fs_run.h.
 *
 * Patterns are expanded here, part by part: a part without a pattern is only appended, one with it is matched against the
 * listing of each folder found so far, many listings at once. What a last part without a pattern gives is looked at, so
 * that names that are not there drop out.
 */
#include "operator/json_text.h"
#include "operator/fs_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

bool fs_names_add(struct fs_names *l, const char *name)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 16;
		char **v = realloc(l->v, cap * sizeof(*v));

		if (!v)
			return false;
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n] = strdup(name);
	return l->v[l->n] && ++l->n;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void fs_names_sort(struct fs_names *l)
{
	if (l->n > 1)
		qsort(l->v, l->n, sizeof(*l->v), compare);
}

void fs_names_free(struct fs_names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct fs_names){ 0 };
}

/* ---- sessions and errors ---- */

int fs_run_use(struct fs_run *run, const char *host)
{
	int r;

	if (run->open && strcmp(run->client.host, host) == 0 && !fs_client_is_over(&run->client))
		return 0;
	fs_run_close(run);
	r = fs_client_open(&run->client, run->cli, host);
	run->open = r == 0;
	run->told_lost = false;
	return r;
}

void fs_run_close(struct fs_run *run)
{
	if (run->open)
		fs_client_close(&run->client);
	run->open = false;
}

void fs_run_error(struct fs_run *run, enum err e, const char *fmt, ...)
{
	char text[1024], shown[FS_SHOWN_MAX(sizeof(text))];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fs_name_show(text, shown);
	run->failed = true;
	/* Everything that ran ends with the session: that is one error. */
	if (run->told_lost && fs_client_is_over(&run->client))
		return;
	run->told_lost = fs_client_is_over(&run->client);
	cli_error(run->cli, fs_client_ecode(e), "%s: %s", run->client.host, shown);
}

void fs_run_local_error(struct fs_run *run, const char *path, int errnum)
{
	char shown[FS_SHOWN_MAX(PATH_MAX)];

	run->failed = true;
	if (strlen(path) >= PATH_MAX)
		path = "a path";
	fs_name_show(path, shown);
	cli_error(run->cli, 1041, "%s: %s", shown, strerror(errnum));
}

/* ---- patterns ---- */

struct expansion {
	struct fs_names *found;
	const char *pattern;
	size_t len;        /* of the part that is matched; 0: only looked at */
	bool dirs_only, no_memory;
	char refused[400]; /* the host may list no more: why */
};

struct look {
	struct expansion *x;
	char *base;
};

static void on_entry(void *ctx, const struct fs_event *ev)
{
	struct look *l = ctx;
	struct expansion *x = l->x;
	char name[SSH_PATH_MAX + 1], path[SSH_PATH_MAX + 1];
	bool dir = (ev->attr.mode & 0170000) == 0040000 || (ev->attr.mode & 0170000) == 0120000;

	if (ev->type == SSH_F_OP_DONE) {
		/* Looked at: it is there. */
		if (x->len == 0 && ev->error == OK)
			x->no_memory |= !fs_names_add(x->found, l->base);
		/* Other folders that cannot be read have no matches, as in a shell. */
		if (ev->error == ERR_LIST_LIMIT)
			snprintf(x->refused, sizeof(x->refused), "%s", ev->message);
		free(l->base);
		free(l);
		return;
	}
	if (ev->type != SSH_F_OP_ENTRY || ev->data.len >= sizeof(name))
		return;
	memcpy(name, ev->data.p, ev->data.len);
	name[ev->data.len] = '\0';
	if (!fs_name_is_safe(name) || strchr(name, '/') || (x->dirs_only && !dir))
		return;
	if (fs_glob_match(x->pattern, x->len, name) && fs_name_join(path, sizeof(path), l->base, name))
		x->no_memory |= !fs_names_add(x->found, path);
}

static void ask(struct fs_run *run, struct expansion *x, const char *base)
{
	const struct fs_request rq = { .op = x->len ? SSH_OP_LS : SSH_OP_LSTAT, .path = base };
	struct look *l = malloc(sizeof(*l));

	if (!l || !(l->base = strdup(base))) {
		free(l);
		x->no_memory = true;
		return;
	}
	l->x = x;
	fs_client_queue(&run->client, &rq, on_entry, l);
}

/* Appends one part without a pattern to all that was found. */
static enum err append(struct fs_names *at, const char *part, size_t len)
{
	struct fs_names next = { 0 };
	bool ok = true;

	for (size_t i = 0; i < at->n && ok; i++) {
		char path[SSH_PATH_MAX + 1], name[SSH_PATH_MAX + 1];

		snprintf(name, sizeof(name), "%.*s", (int)len, part);
		fs_glob_unquote(name);
		if (fs_name_join(path, sizeof(path), at->v[i], name))
			ok = fs_names_add(&next, path);
	}
	fs_names_free(at);
	*at = next;
	return ok ? OK : ERR_NOMEM;
}

/* ERR_LIST_LIMIT is said. */
static enum err match_part(struct fs_run *run, struct fs_names *at, const char *part, size_t len, bool last)
{
	struct fs_names next = { 0 };
	struct expansion x = { .found = &next, .pattern = part, .len = len, .dirs_only = !last };

	for (size_t i = 0; i < at->n; i++)
		ask(run, &x, at->v[i]);
	fs_client_wait(&run->client);
	fs_names_free(at);
	*at = next;
	if (!x.refused[0])
		return x.no_memory ? ERR_NOMEM : OK;
	fs_run_error(run, ERR_LIST_LIMIT, "%s", x.refused);
	return ERR_LIST_LIMIT;
}

static bool part_is_pattern(const char *part, size_t len)
{
	char text[SSH_PATH_MAX + 1];

	snprintf(text, sizeof(text), "%.*s", (int)len, part);
	return fs_glob_is_pattern(text);
}

/* Part by part; in the end what is there, in order. */
static enum err expand(struct fs_run *run, const char *path, struct fs_names *at)
{
	enum err e = fs_names_add(at, *path == '/' ? "/" : ".") ? OK : ERR_NOMEM;
	bool pattern = false;

	for (const char *p = path + strspn(path, "/"); *p && e == OK;) {
		size_t len = strcspn(p, "/"), slashes = strspn(p + len, "/");

		pattern = part_is_pattern(p, len);
		e = pattern ? match_part(run, at, p, len, !slashes) : append(at, p, len);
		p += len + slashes;
	}
	if (e == OK && !pattern)
		e = match_part(run, at, "", 0, true);
	fs_names_sort(at);
	return e;
}

bool fs_run_expand(struct fs_run *run, const char *path, struct fs_names *ret)
{
	bool pattern = !run->literal && fs_glob_is_pattern(path);
	enum err e;
	char *plain;

	*ret = (struct fs_names){ 0 };
	e = pattern ? expand(run, path, ret) : OK;
	if (e == OK && ret->n == 0) {
		plain = strdup(path);
		if (plain && !run->literal)
			fs_glob_unquote(plain);
		e = plain && fs_names_add(ret, plain) ? OK : ERR_NOMEM;
		free(plain);
	}
	if (e == OK && fs_client_is_over(&run->client)) {
		e = ERR_CLOSED;
		fs_run_error(run, run->client.s.error, "%s", run->client.s.message);
	} else if (e == ERR_NOMEM) {
		fs_run_error(run, e, "out of memory");
	}
	if (e != OK)
		fs_names_free(ret);
	return e == OK;
}

/* ---- operands ---- */

static void end_host(struct fs_run *run, void (*fn)(void *ctx, const char *path), void *ctx)
{
	fs_client_wait(&run->client);
	fn(ctx, NULL);
}

static int each_of(struct fs_run *run, const char *path, void (*fn)(void *ctx, const char *path), void *ctx)
{
	struct fs_names names;

	if (!fs_run_expand(run, path, &names))
		return EXIT_FAILED;
	for (size_t k = 0; k < names.n; k++)
		fn(ctx, names.v[k]);
	fs_names_free(&names);
	return 0;
}

int fs_run_each(struct fs_run *run, int n, char **operands, void (*fn)(void *ctx, const char *path), void *ctx)
{
	char host[FS_HOST_MAX + 1], before[FS_HOST_MAX + 1] = "";
	const char *path;
	int r = 0;

	for (int i = 0; i < n; i++)
		if (!fs_spec_split(operands[i], host, &path))
			return cli_usage(run->cli, "'%s' is not HOST:PATH", operands[i]);
	for (int i = 0; i < n && r == 0; i++) {
		if (!fs_spec_split(operands[i], host, &path))
			continue;
		if (i > 0 && strcmp(before, host) != 0)
			end_host(run, fn, ctx);
		memcpy(before, host, sizeof(before));
		r = fs_run_use(run, host);
		if (r == 0)
			r = each_of(run, path, fn, ctx);
	}
	if (run->open)
		end_host(run, fn, ctx);
	return r ? r : fs_run_status(run);
}

/* ---- output ---- */

void fs_run_print(const struct fs_run *run, const char *name)
{
	/* What a link leads to is as long as the server likes. */
	char *shown = run->show ? malloc(FS_SHOWN_MAX(strlen(name))) : NULL;

	if (shown)
		fs_name_show(name, shown);
	fputs(shown ? shown : run->show ? "?" : name, stdout);
	free(shown);
}

void fs_run_print_json(json_t *o)
{
	json_text_print(o, JSON_COMPACT);
	json_decref(o);
}

int fs_run_flush(struct fs_run *run)
{
	int why = fflush(stdout) != 0 ? errno : ferror(stdout) ? EIO : 0;

	if (why != 0)
		fs_run_local_error(run, "standard output", why);
	return fs_run_status(run);
}
