/* What plain ssh is told, as text and as ssh itself reads it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "operator/ssh_config.h"
#include "test/lib/testing.h"

static const char yaml[] = "version: 1\nvpn:\n  private_key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=\n  address: 10.99.0.1/24\n"
			   "ssh:\n  user: admin\n  identities: [/keys/one, '/keys/t w%o']\n"
			   "hosts:\n  - id: web\n    vpn:\n      addr: 10.99.0.2\n"
			   "  - id: db\n    user: postgres\n    identity: /keys/db\n    vpn:\n      addr: 10.99.0.3\n";

static void load(struct config *c)
{
	char why[256] = "";

	if (config_parse("test", yaml, strlen(yaml), c, why, sizeof(why)) != OK)
		fail_msg("%s", why);
}

static struct ssh_config usual(void)
{
	return (struct ssh_config){ .program = "/usr/bin/nefia", .known_hosts = "/home/me/.nefia/known_hosts",
				    .suffix = ".nefia", .fdpass = true };
}

/* The snippet for all hosts; "" when it is refused. */
static char *printed(const struct ssh_config *cfg, const struct config *c, const char **what)
{
	const struct host_config *hosts[] = { &c->hosts[0], &c->hosts[1] };
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	enum err e = ssh_config_print(f, cfg, c, hosts, 2, what);

	fclose(f);
	if (e != OK) {
		assert_int_equal(e, ERR_FORMAT);
		text[0] = '\0';
	}
	return text;
}

/* Does `ssh -G HOST` with @text say @want, a whole line? */
static bool ssh_says(const char *text, const char *host, const char *want)
{
	char path[] = "/tmp/nefia-sshconf-XXXXXX", cmd[128], line[1024];
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w"), *out;
	bool found = false;

	fputs(text, f);
	fclose(f);
	snprintf(cmd, sizeof(cmd), "ssh -G -F %s %s", path, host);
	out = popen(cmd, "r");
	while (fgets(line, sizeof(line), out)) {
		line[strcspn(line, "\n")] = '\0';
		found |= strcmp(line, want) == 0;
	}
	pclose(out);
	unlink(path);
	return found;
}

#define SAYS(text, host, want) \
	do { \
		if (!ssh_says(text, host, want)) \
			fail_msg("ssh -G %s does not say: %s\n%s", host, want, text); \
	} while (0)

static bool have_ssh(void)
{
	return system("command -v ssh >/dev/null") == 0;
}

/* What `ssh -G` is to say of a host, or not to say. */
struct reading {
	const char *host, *line;
	bool says;
};

/* @r ends with an empty one. */
static void check_readings(const struct ssh_config *cfg, const struct reading *r)
{
	const char *what;
	struct config c;
	char *text;

	if (!have_ssh())
		skip();
	load(&c);
	text = printed(cfg, &c, &what);
	for (; r->host; r++)
		if (ssh_says(text, r->host, r->line) != r->says)
			fail_msg("ssh -G %s says%s: %s\n%s", r->host, r->says ? " not" : "", r->line, text);
	free(text);
	config_free(&c);
}

static void ssh_reads_what_we_write(void **state)
{
	static const struct reading readings[] = {
		{ "web.nefia", "user admin", true },
		{ "web.nefia", "proxycommand /usr/bin/nefia nc --fdpass %h %p", true },
		{ "web.nefia", "proxyusefdpass yes", true },
		{ "web.nefia", "identityfile /keys/one", true },
		{ "web.nefia", "identityfile /keys/t w%%o", true },
		{ "web.nefia", "identitiesonly yes", true },
		{ "web.nefia", "userknownhostsfile /home/me/.nefia/known_hosts", true },
		{ "web.nefia", "stricthostkeychecking accept-new", true },
		{ "later.nefia", "proxycommand /usr/bin/nefia nc --fdpass %h %p", true },
		{ "db.nefia", "user postgres", true },
		{ "db.nefia", "identityfile /keys/db", true },
		{ "db.nefia", "identityfile /keys/one", false },
		{ "web.example", "user admin", false },
		{ NULL, NULL, false },
	};
	struct ssh_config cfg = usual();

	check_readings(&cfg, readings);
}

static void another_suffix_keeps_the_keys(void **state)
{
	static const struct reading readings[] = {
		{ "web.lan", "hostkeyalias web.nefia", true },
		{ "web.lan", "proxycommand /usr/bin/nefia nc --suffix .lan %h %p", true },
		{ "web.lan", "proxyusefdpass yes", false },
		{ "web.nefia", "user admin", false },
		{ NULL, NULL, false },
	};
	struct ssh_config cfg = usual();

	cfg.suffix = ".lan";
	cfg.fdpass = false;
	check_readings(&cfg, readings);
}

static void hosts_that_are_named_and_no_others(void **state)
{
	static const struct reading readings[] = {
		{ "web.nefia", "user admin", true },
		{ "db.nefia", "proxycommand /usr/bin/nefia nc --fdpass %h %p", true },
		{ "later.nefia", "proxyusefdpass yes", false },
		{ NULL, NULL, false },
	};
	struct ssh_config cfg = usual();

	cfg.only_named = true;
	check_readings(&cfg, readings);
}

static void odd_paths(void **state)
{
	struct ssh_config cfg = usual();
	const char *what = "";
	struct config c;
	char *text;

	if (!have_ssh())
		skip();
	load(&c);
	cfg.program = "/opt/it's 100%/nefia";
	cfg.home = "/home/a b";
	cfg.config = "/home/a b/other.yaml";
	cfg.known_hosts = "/home/a b/100% \"x\"/known_hosts";
	text = printed(&cfg, &c, &what);
	SAYS(text, "web.nefia",
	     "proxycommand env NEFIA_HOME='/home/a b' '/opt/it'\\''s 100%%/nefia' --config '/home/a b/other.yaml' nc --fdpass %h %p");
	SAYS(text, "web.nefia", "userknownhostsfile /home/a b/100% \"x\"/known_hosts");
	free(text);
	cfg.known_hosts = "/home/${USER}/known_hosts";
	text = printed(&cfg, &c, &what);
	assert_string_equal(text, "");
	assert_string_equal(what, cfg.known_hosts);
	free(text);
	cfg = usual();
	cfg.program = "/opt/a\nb";
	text = printed(&cfg, &c, &what);
	assert_string_equal(text, "");
	free(text);
	cfg = usual();
	strcpy(c.hosts[0].user, "x\n    ProxyCommand evil");
	text = printed(&cfg, &c, &what);
	assert_string_equal(text, "");
	free(text);
	config_free(&c);
}

static void suffixes(void **state)
{
	char s[SSH_SUFFIX_MAX], host[64];

	assert_true(ssh_config_suffix("nefia", s));
	assert_string_equal(s, ".nefia");
	assert_true(ssh_config_suffix(".vpn.example", s));
	assert_string_equal(s, ".vpn.example");
	for (const char *const *bad = (const char *const[]){ "", ".", "a b", "*", "a..b", "-x", "..x", "a\n", NULL }; *bad; bad++)
		assert_false(ssh_config_suffix(*bad, s));
	ssh_config_host_of("web.nefia", ".nefia", host, sizeof(host));
	assert_string_equal(host, "web");
	ssh_config_host_of("web", ".nefia", host, sizeof(host));
	assert_string_equal(host, "web");
	ssh_config_host_of(".nefia", ".nefia", host, sizeof(host));
	assert_string_equal(host, ".nefia");
	ssh_config_host_of("a.b.NEFIA", ".nefia", host, sizeof(host));
	assert_string_equal(host, "a.b");
}

static void include_lines(void **state)
{
	static const struct {
		const char *path, *line;
	} rows[] = {
		{ "/home/me/.nefia/ssh_config", "Include /home/me/.nefia/ssh_config" },
		{ "/home/a b/ssh_config", "Include \"/home/a b/ssh_config\"" },
		{ "/home/[x]/c*", "Include \"/home/\\[x]/c\\*\"" },
		{ "/home/\"q\"/c", NULL },
		{ "/home/\n/c", NULL },
	};
	char *line;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum err e = ssh_config_include_line(rows[i].path, &line);

		assert_int_equal(e, rows[i].line ? OK : ERR_FORMAT);
		if (e != OK)
			continue;
		assert_string_equal(line, rows[i].line);
		free(line);
	}
}

static struct bytes view(const char *s)
{
	return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void the_line_counts_before_the_first_block(void **state)
{
	static const char l[] = "Include /x";

	assert_true(ssh_config_includes(view("Include /x"), l));
	assert_true(ssh_config_includes(view("# a\nUser me\nInclude /x\r\nHost a\n"), l));
	assert_false(ssh_config_includes(view("Host a\nInclude /x\n"), l));
	assert_false(ssh_config_includes(view("  match all\nInclude /x\n"), l));
	assert_false(ssh_config_includes(view("hOsT=a\nInclude /x\n"), l));
	assert_true(ssh_config_includes(view("HostKeyAlgorithms x\nInclude /x\n"), l));
	assert_false(ssh_config_includes(view("#Include /x\nInclude /xy\n"), l));
	assert_false(ssh_config_includes(view(""), l));
}

static void what_else_is_there_stays(void **state)
{
	static const struct {
		const char *before, *after;
	} rows[] = {
		{ "Include /x\nHost a\n", "Host a\n" },
		{ "Host a\nInclude /x\n  User b", "Host a\n  User b" },
		{ "a\r\nInclude /x\r\nb\n\n\n", "a\r\nb\n\n\n" },
		{ "Include /x", "" },
		{ "\tInclude /x\n# Include /x\n", "\tInclude /x\n# Include /x\n" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes out;

		assert_int_equal(ssh_config_without(view(rows[i].before), "Include /x", &out), OK);
		assert_int_equal(out.len, strlen(rows[i].after));
		assert_memory_equal(out.p, rows[i].after, out.len);
		free((void *)out.p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ssh_reads_what_we_write),
		cmocka_unit_test(another_suffix_keeps_the_keys),
		cmocka_unit_test(hosts_that_are_named_and_no_others),
		cmocka_unit_test(odd_paths),
		cmocka_unit_test(suffixes),
		cmocka_unit_test(include_lines),
		cmocka_unit_test(the_line_counts_before_the_first_block),
		cmocka_unit_test(what_else_is_there_stays),
	};

	return RUN_TESTS(tests);
}
