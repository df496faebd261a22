/*
 * operator/ssh_config.c - see ssh_config.h.
 *
 *	Host db.nefia                      what a host has of its own
 *	    User postgres
 *	Host *.nefia !db.nefia             identities, for hosts without their own (they would add up)
 *	    IdentityFile ...
 *	Host *.nefia                       the way there, for hosts that are added later too
 *	    ProxyCommand ...
 *
 * ssh takes the first value that it finds, so the host's own come first. Our known_hosts is named, where the hub writes
 * keys under NAME.nefia: what one of both has learned the other one checks. With another suffix HostKeyAlias leads to the
 * same name; it is not used without need, because it hides the port, behind which another server may be.
 *
 * Three layers of quoting meet here: the file's words ("..." with \" in them), ssh's tokens (%% is a percent sign) and, in
 * ProxyCommand, the shell's. ${NAME} is replaced by ssh wherever a file is named and cannot be quoted: refused.
 */
#include "operator/ssh_config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- quoting ---- */

static bool is_plain(const char *s)
{
	return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.,:+=@-")] == '\0';
}

static bool has_control(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return true;
	return false;
}

/* One word of the file that is a path: quoted, its percent signs doubled. */
static bool put_path(FILE *f, const char *s)
{
	if (has_control(s) || strstr(s, "${"))
		return false;
	if (is_plain(s)) {
		fputs(s, f);
		return true;
	}
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if (*s == '%')
			fputc('%', f);
		fputc(*s, f);
	}
	fputc('"', f);
	return true;
}

/* One word of a shell's command line, in a file where % begins a token. */
static bool put_shell_word(FILE *f, const char *s)
{
	bool plain = is_plain(s);

	if (has_control(s))
		return false;
	if (!plain)
		fputc('\'', f);
	for (; *s; s++) {
		if (*s == '\'')
			fputs("'\\'", f);
		if (*s == '%')
			fputc('%', f);
		fputc(*s, f);
	}
	if (!plain)
		fputc('\'', f);
	return true;
}

/* ---- the snippet ---- */

struct printer {
	FILE *f;
	const struct ssh_config *cfg;
	const char *bad; /* what cannot be written; NULL: nothing so far */
};

static void put_file(struct printer *p, const char *option, const char *path)
{
	fprintf(p->f, "    %s ", option);
	if (!put_path(p->f, path))
		p->bad = path;
	fputc('\n', p->f);
}

static void put_word(struct printer *p, const char *word)
{
	if (!put_shell_word(p->f, word))
		p->bad = word;
}

static void put_proxy(struct printer *p)
{
	const struct ssh_config *cfg = p->cfg;

	fputs("    ProxyCommand ", p->f);
	if (cfg->home) {
		/* `exec NAME=value program` is not every shell's. */
		fputs("env NEFIA_HOME=", p->f);
		put_word(p, cfg->home);
		fputc(' ', p->f);
	}
	put_word(p, cfg->program);
	if (cfg->config) {
		fputs(" --config ", p->f);
		put_word(p, cfg->config);
	}
	fputs(" nc", p->f);
	if (strcmp(cfg->suffix, SSH_SUFFIX) != 0)
		fprintf(p->f, " --suffix %s", cfg->suffix);
	fprintf(p->f, "%s %%h %%p\n", cfg->fdpass ? " --fdpass" : "");
	if (cfg->fdpass)
		fputs("    ProxyUseFdpass yes\n", p->f);
}

static void put_way(struct printer *p)
{
	put_proxy(p);
	put_file(p, "UserKnownHostsFile", p->cfg->known_hosts);
	fputs("    StrictHostKeyChecking accept-new\n", p->f);
}

/* Only those that are named, as nefia itself does; unless the agent's are asked for by its name. */
static void put_identities(struct printer *p, const char *const *ids, size_t n)
{
	bool only = n > 0;

	for (size_t i = 0; i < n; i++) {
		if (strcmp(ids[i], "agent") == 0)
			only = false;
		else
			put_file(p, "IdentityFile", ids[i]);
	}
	if (only)
		fputs("    IdentitiesOnly yes\n", p->f);
}

static bool has_own(const struct ssh_config *cfg, const struct host_config *h)
{
	return cfg->only_named || h->user[0] || h->identity[0] || strcmp(cfg->suffix, SSH_SUFFIX) != 0;
}

static void put_host(struct printer *p, const struct config *c, const struct host_config *h)
{
	const struct ssh_config *cfg = p->cfg;
	const char *own[] = { h->identity }, *user = h->user;

	fprintf(p->f, "\nHost %s%s\n", h->id, cfg->suffix);
	if (cfg->only_named && !user[0])
		user = c->ssh_user;
	if (user[0])
		fprintf(p->f, "    User %s\n", user);
	if (h->identity[0])
		put_identities(p, own, 1);
	else if (cfg->only_named)
		put_identities(p, (const char *const *)c->identities, c->n_identities);
	if (strcmp(cfg->suffix, SSH_SUFFIX) != 0)
		fprintf(p->f, "    HostKeyAlias %s%s\n", h->id, SSH_SUFFIX);
	if (cfg->only_named)
		put_way(p);
}

static void put_wildcard(struct printer *p, const struct config *c, const struct host_config *const *hosts, size_t n)
{
	const char *suffix = p->cfg->suffix;

	if (c->n_identities > 0) {
		fprintf(p->f, "\nHost *%s", suffix);
		for (size_t i = 0; i < n; i++)
			if (hosts[i]->identity[0])
				fprintf(p->f, " !%s%s", hosts[i]->id, suffix);
		fputc('\n', p->f);
		put_identities(p, (const char *const *)c->identities, c->n_identities);
	}
	fprintf(p->f, "\nHost *%s\n", suffix);
	if (c->ssh_user[0])
		fprintf(p->f, "    User %s\n", c->ssh_user);
	put_way(p);
}

/* A user name or a number is all that stands for a user; nothing else could be written without quotes. */
static bool is_user(const char *s)
{
	return !has_control(s) && !strpbrk(s, " \"'\\#=") && s[0] != '-';
}

static const char *bad_user(const struct config *c, const struct host_config *const *hosts, size_t n)
{
	if (!is_user(c->ssh_user))
		return c->ssh_user;
	for (size_t i = 0; i < n; i++)
		if (!is_user(hosts[i]->user))
			return hosts[i]->user;
	return NULL;
}

enum err ssh_config_print(FILE *f, const struct ssh_config *cfg, const struct config *c,
			  const struct host_config *const *hosts, size_t n_hosts, const char **ret_what)
{
	struct printer p = { .f = f, .cfg = cfg, .bad = bad_user(c, hosts, n_hosts) };

	fputs("# Made by 'nefia ssh-config'; --install writes it anew.\n", f);
	for (size_t i = 0; i < n_hosts; i++)
		if (has_own(cfg, hosts[i]))
			put_host(&p, c, hosts[i]);
	if (!cfg->only_named)
		put_wildcard(&p, c, hosts, n_hosts);
	if (!p.bad)
		return OK;
	*ret_what = p.bad;
	return ERR_FORMAT;
}

/* ---- names ---- */

bool ssh_config_suffix(const char *text, char ret[SSH_SUFFIX_MAX])
{
	size_t n;

	text += *text == '.';
	n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.");
	if (n == 0 || text[n] || n + 2 > SSH_SUFFIX_MAX || text[0] == '-' || text[0] == '.' || strstr(text, ".."))
		return false;
	snprintf(ret, SSH_SUFFIX_MAX, ".%s", text);
	return true;
}

void ssh_config_host_of(const char *name, const char *suffix, char *ret, size_t size)
{
	size_t len = strlen(name), n = strlen(suffix);

	/* ssh makes the name that was typed lower case. */
	if (len > n && strcasecmp(name + len - n, suffix) == 0)
		len -= n;
	snprintf(ret, size, "%.*s", (int)len, name);
}

/* ---- the line that includes it ---- */

enum err ssh_config_include_line(const char *path, char **ret)
{
	size_t size = 2 * strlen(path) + 16;
	char *line = malloc(size), *to;

	if (!line)
		return ERR_NOMEM;
	if (has_control(path) || strchr(path, '"')) {
		free(line);
		return ERR_FORMAT;
	}
	to = line + sprintf(line, is_plain(path) ? "Include " : "Include \"");
	/*
	 * It is a pattern for glob(3). OpenSSH 9.8 and later expand %X and ${X} in it first, earlier ones do not, so that
	 * neither % nor %% is the character in both: the pattern for any one is.
	 */
	for (const char *s = path; *s; s++) {
		if (strchr("*?[\\", *s))
			*to++ = '\\';
		*to++ = *s == '%' || (*s == '$' && s[1] == '{') ? '?' : *s;
	}
	strcpy(to, is_plain(path) ? "" : "\"");
	*ret = line;
	return OK;
}

/* The line at @p: its length without and with its end. */
static size_t line_at(const char *p, const char *end, size_t *ret_whole)
{
	const char *nl = memchr(p, '\n', (size_t)(end - p));
	size_t len = (size_t)((nl ? nl : end) - p);

	*ret_whole = len + (nl != NULL);
	if (len > 0 && p[len - 1] == '\r')
		len--;
	return len;
}

static bool is_line(const char *p, size_t len, const char *line)
{
	return len == strlen(line) && memcmp(p, line, len) == 0;
}

static bool begins_block(const char *p, size_t len)
{
	while (len > 0 && (*p == ' ' || *p == '\t')) {
		p++;
		len--;
	}
	return (len >= 4 && strncasecmp(p, "host", 4) == 0 && (len == 4 || strchr(" \t=", p[4]))) ||
	       (len >= 5 && strncasecmp(p, "match", 5) == 0 && (len == 5 || strchr(" \t=", p[5])));
}

bool ssh_config_includes(struct bytes text, const char *line)
{
	const char *p = (const char *)text.p, *end = p + text.len;

	while (p < end) {
		size_t whole, len = line_at(p, end, &whole);

		if (is_line(p, len, line))
			return true;
		if (begins_block(p, len))
			return false;
		p += whole;
	}
	return false;
}

enum err ssh_config_without(struct bytes text, const char *line, struct bytes *ret)
{
	const char *p = (const char *)text.p, *end = p + text.len;
	char *out = malloc(text.len + 1), *to = out;

	if (!out)
		return ERR_NOMEM;
	while (p < end) {
		size_t whole, len = line_at(p, end, &whole);

		if (!is_line(p, len, line)) {
			memcpy(to, p, whole);
			to += whole;
		}
		p += whole;
	}
	*ret = (struct bytes){ (const uint8_t *)out, (size_t)(to - out) };
	return OK;
}
