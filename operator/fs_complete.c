/*
 * operator/fs_complete.c - see fs_complete.h.
 *
 * A person who pressed Tab waits, and wants no message in the line: a running hub is asked, no other is started, no passphrase
 * is asked for, and after DEADLINE there is nothing to offer.
 *
 * A word is taken apart at its last slash. What is in front of that is printed as it came, so that it goes on as the person
 * began; what is behind it is compared, and escaped anew. Two layers may lie over a name: the shell's, and that of our own
 * patterns. Names with control characters are left out: a line is all there is to say them in.
 */
#include "operator/fs_complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "operator/fs_format.h"
#include "operator/fs_run.h"
#include "os/loop.h"

#define DEADLINE (1500 * NSEC_PER_MSEC)
#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-"

struct completion {
	struct fs_client client;
	nsec_t end;
	const char *kept; /* of the word: up to behind its last slash */
	int kept_len;
	bool quoted, literal;
	const char *begin; /* of the name, plain */
	struct fs_names names, links; /* folders have their slash; links are looked at */
};

/* ---- the word ---- */

/* Of a shell's word. false: there is more to it than backslashes, and what it will be is not known. */
static bool unquote(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (strchr("'\"`$", *s))
			return false;
		if (*s == '\\' && s[1])
			s++;
		*to++ = *s;
	}
	*to = '\0';
	return true;
}

static char *copy_plain(const struct completion *x, const char *s, int len)
{
	char *p = strndup(s, (size_t)len);

	if (p && x->quoted && !unquote(p)) {
		free(p);
		p = NULL;
	}
	return p;
}

/* ---- the names ---- */

static void print_char(const struct completion *x, char c)
{
	if (x->quoted && !((uint8_t)c & 0x80) && !strchr(PLAIN, c))
		putchar('\\');
	putchar(c);
}

static void print_name(const struct completion *x, const char *name)
{
	printf("%.*s", x->kept_len, x->kept);
	for (; *name; name++) {
		if (!x->literal && strchr("*?[\\", *name))
			print_char(x, '\\');
		print_char(x, *name);
	}
	putchar('\n');
}

static bool is_offered(const struct completion *x, const char *name)
{
	char clean[SSH_PATH_MAX + 1];

	snprintf(clean, sizeof(clean), "%s", name);
	text_clean(clean);
	if (strcmp(clean, name) != 0)
		return false;
	return strncmp(name, x->begin, strlen(x->begin)) == 0 && (name[0] != '.' || x->begin[0] == '.');
}

static void add(struct completion *x, const char *name, uint32_t mode)
{
	char text[SSH_PATH_MAX + 2];
	bool dir = (mode & FS_TYPE_MASK) == FS_TYPE_DIR;

	snprintf(text, sizeof(text), "%s%s", name, dir ? "/" : "");
	/* Without memory one is missing, as are all after the deadline. */
	(void)!fs_names_add((mode & FS_TYPE_MASK) == FS_TYPE_LINK ? &x->links : &x->names, text);
}

static void on_entry(void *ctx, const struct fs_event *ev)
{
	struct completion *x = ctx;
	char name[SSH_PATH_MAX + 1];

	if (ev->type != SSH_F_OP_ENTRY || ev->data.len >= sizeof(name))
		return;
	memcpy(name, ev->data.p, ev->data.len);
	name[ev->data.len] = '\0';
	if (fs_name_is_safe(name) && !strchr(name, '/') && is_offered(x, name))
		add(x, name, ev->attr.mode);
}

/* ---- asking ---- */

/* Return: everything that was asked is answered. */
static bool wait(struct completion *x)
{
	while (x->client.n_running > 0) {
		nsec_t now = os_now();

		if (now >= x->end)
			return false;
		fs_client_turn(&x->client, (int)((x->end - now) / NSEC_PER_MSEC) + 1);
	}
	return true;
}

struct link_look {
	struct completion *x;
	const char *name;
	uint32_t mode;
};

static void on_link(void *ctx, const struct fs_event *ev)
{
	struct link_look *l = ctx;

	if (ev->type == SSH_F_OP_INFO)
		l->mode = ev->attr.mode;
	if (ev->type == SSH_F_OP_DONE)
		add(l->x, l->name, l->mode);
}

/* What a link leads to decides whether a slash follows. More of them than can be asked at once, and nobody reads the list. */
static void look_at_links(struct completion *x, const char *dir)
{
	struct link_look looks[SSH_FS_OPS_MAX];
	char path[2 * SSH_PATH_MAX];

	for (size_t i = 0; i < x->links.n; i++) {
		const struct fs_request rq = { .op = SSH_OP_STAT, .path = path };

		if (i < ARRAY_SIZE(looks) && fs_name_join(path, sizeof(path), dir, x->links.v[i])) {
			looks[i] = (struct link_look){ x, x->links.v[i], 0 };
			if (fs_client_start(&x->client, &rq, on_link, &looks[i]) >= 0)
				continue;
		}
		add(x, x->links.v[i], 0);
	}
	(void)!wait(x); /* those that are late are left out */
}

static void ask(struct completion *x, const char *dir)
{
	const struct fs_request rq = { .op = SSH_OP_LS, .path = dir };

	if (fs_client_start(&x->client, &rq, on_entry, x) < 0 || !wait(x))
		return;
	look_at_links(x, dir);
	fs_names_sort(&x->names);
	for (size_t i = 0; i < x->names.n; i++)
		print_name(x, x->names.v[i]);
}

static void offer(struct completion *x, struct cli *cli, char *spec, char *begin)
{
	char host[FS_HOST_MAX + 1];
	const char *dir;
	char *path;

	if (!fs_spec_split(spec, host, &dir))
		return;
	path = strdup(dir);
	if (path && !x->literal) {
		fs_glob_unquote(path);
		fs_glob_unquote(begin);
	}
	x->begin = begin;
	if (path && fs_client_attach(&x->client, cli, host, x->end - os_now()) == OK)
		ask(x, path);
	fs_client_close(&x->client);
	fs_names_free(&x->names);
	fs_names_free(&x->links);
	free(path);
}

bool fs_complete(struct cli *cli, const char *word, bool quoted, bool literal)
{
	struct completion x = { .end = os_now() + DEADLINE, .kept = word, .quoted = quoted, .literal = literal };
	const char *slash = strrchr(word, '/'), *path;
	char host[FS_HOST_MAX + 1], *spec, *begin;

	if (!fs_spec_split(word, host, &path))
		return false;
	x.kept_len = (int)((slash ? slash : strchr(word, ':')) + 1 - word);
	spec = copy_plain(&x, word, x.kept_len);
	begin = copy_plain(&x, word + x.kept_len, (int)strlen(word) - x.kept_len);
	if (spec && begin)
		offer(&x, cli, spec, begin);
	free(spec);
	free(begin);
	return true;
}
