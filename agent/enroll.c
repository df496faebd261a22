/*
 * agent/enroll.c - `nefia-agent enroll`: from a token to a configuration that works.
 *
 * The agent's key is on disk (agent.yaml.enrolling) before anything is sent, and stays there until agent.yaml is written: a run
 * that was killed, or whose answer was lost, is repeated with the same key and gets the same answer (doc/enrollment.md).
 *
 * How the question gets to the operator is a way's business (enroll/way.h); this version has one, the direct connection.
 */
#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/enroll.h"
#include "agent/service.h"
#include "base/version.h"
#include "os/file.h"
#include "os/loop.h"

#define TOKEN_FILE_MAX 16384
#define LISTEN_PORT 51820

static const struct option options[] = {
	{ "token", required_argument, NULL, 't' },    { "token-file", required_argument, NULL, 'f' },
	{ "out-dir", required_argument, NULL, 'o' },  { "ssh-addr", required_argument, NULL, 's' },
	{ "listen-port", required_argument, NULL, 'p' },
	{ "force", no_argument, NULL, 'F' },	      { "yes", no_argument, NULL, 'y' },
	{ "install", no_argument, NULL, 'i' },	      { "run", no_argument, NULL, 'r' },
	{ NULL, 0, NULL, 0 },
};

static bool parse_options(int argc, char **argv, struct agent_enroll *a)
{
	unsigned long port;
	char *end;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			a->token = optarg;
			break;
		case 'f':
			a->token_file = optarg;
			break;
		case 'o':
			a->out_dir = optarg;
			break;
		case 's':
			a->ssh_addr = optarg;
			if (!agent_is_ssh_addr(optarg)) {
				fprintf(stderr, "nefia-agent: --ssh-addr: " AGENT_SSH_ADDR_FORMS " is expected, not '%s'\n", optarg);
				return false;
			}
			break;
		case 'p':
			port = strtoul(optarg, &end, 10);
			if (*end || port == 0 || port > 65535) {
				fprintf(stderr, "nefia-agent: --listen-port: a port from 1 to 65535 is expected, not '%s'\n", optarg);
				return false;
			}
			a->req.listen_port = (uint16_t)port;
			break;
		case 'F':
			a->force = true;
			break;
		case 'y':
			a->yes = true;
			break;
		case 'i':
			a->install = true;
			break;
		case 'r':
			a->run = true;
			break;
		default:
			return false;
		}
	}
	if (optind < argc)
		fprintf(stderr, "nefia-agent: 'enroll' takes no argument '%s'; the token comes by --token-file\n", argv[optind]);
	return optind == argc;
}

static const char *check_options(const struct agent_enroll *a)
{
	if (a->token && a->token_file)
		return "--token and --token-file exclude each other";
	if (!a->token && !a->token_file)
		return "a token is needed: --token-file FILE, or '-' for standard input";
	if (a->install && a->run)
		return "--install and --run exclude each other";
	return NULL;
}

static int fail(const char *what, const char *hint, const char *arg)
{
	fprintf(stderr, "Error: %s\n", what);
	if (hint && *hint) {
		fprintf(stderr, "Try: ");
		/* One of our own hints, with at most one %s. */
		for (const char *p = hint; *p; p++) {
			if (p[0] == '%' && p[1] == 's') {
				fputs(arg && *arg ? arg : "HOST", stderr);
				p++;
			} else {
				fputc(*p, stderr);
			}
		}
		fputc('\n', stderr);
	}
	return AGENT_EXIT_FAILURE;
}

static int fail_code(const struct agent_enroll *a, enum enroll_code c)
{
	return fail(enroll_code_text(c), enroll_code_hint(c), a->t.host_id);
}

/* ---- the token ---- */

static enum err read_stream(FILE *f, char *buf, size_t size)
{
	size_t n;

	errno = 0;
	n = fread(buf, 1, size - 1, f);
	buf[n] = '\0';
	return ferror(f) ? err_from_errno(errno) : OK;
}

static enum err read_file(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	enum err e = f ? read_stream(f, buf, size) : err_from_errno(errno);

	if (f)
		fclose(f);
	return e;
}

/* Blanks and line ends, as a mail or terminal may put them in, are taken out: the operator gets one word. */
static bool take_token(struct agent_enroll *a, const char *text)
{
	size_t n = 0;

	for (; *text; text++) {
		if (strchr(" \t\r\n", *text))
			continue;
		if (n + 1 == sizeof(a->req.token))
			return false;
		a->req.token[n++] = *text;
	}
	a->req.token[n] = '\0';
	return n > 0;
}

static int read_token(struct agent_enroll *a)
{
	char text[TOKEN_FILE_MAX];
	enum enroll_code c;
	enum err e = OK;

	a->token_on_stdin = a->token_file && strcmp(a->token_file, "-") == 0;
	if (a->token)
		snprintf(text, sizeof(text), "%s", a->token);
	else if (a->token_on_stdin)
		e = read_stream(stdin, text, sizeof(text));
	else
		e = read_file(a->token_file, text, sizeof(text));
	if (e != OK) {
		fprintf(stderr, "nefia-agent: %s: %s\n", a->token_on_stdin ? "standard input" : a->token_file, err_text(e));
		return fail("the token file cannot be read", "Check the path and its permissions.", NULL);
	}
	c = take_token(a, text) ? enroll_client_check(a->req.token, os_wall_now() / NSEC_PER_SEC, &a->t) : ENROLL_SIGNATURE;
	sodium_memzero(text, sizeof(text));
	return c == ENROLL_OK ? 0 : fail_code(a, c);
}

/* ---- the key ---- */

/* Of an enrollment by this invite that was not finished. */
static bool load_key(const struct agent_enroll *a, const char *id, struct wg_private_key *ret)
{
	char key[KEY_STR_MAX] = "", of[2 * ENROLL_ID_LEN + 1] = "", *text;
	size_t len;
	bool ok;

	if (os_file_read(a->enrolling, 4096, &text, &len) != OK)
		return false;
	ok = sscanf(text, "version 1\ninvite %32s\nprivate_key %44s\n", of, key) == 2 && strcmp(of, id) == 0 &&
	     key_from_base64(key, ret->b) == OK;
	sodium_memzero(text, len);
	sodium_memzero(key, sizeof(key));
	free(text);
	return ok;
}

static int keep_key(struct agent_enroll *a)
{
	uint8_t id[ENROLL_ID_LEN];
	char hex[2 * ENROLL_ID_LEN + 1], key[KEY_STR_MAX], text[256];
	struct wg_private_key priv;
	enum err e = OK;
	int len;

	enroll_id(a->t.nonce, id);
	hex_encode(id, sizeof(id), hex);
	if (!load_key(a, hex, &priv)) {
		wg_generate_private(os_rng(), &priv);
		len = snprintf(text, sizeof(text), "version 1\ninvite %s\nprivate_key %s\n", hex, key_to_base64(priv.b, key));
		e = os_file_write_atomic(a->enrolling, text, (size_t)len, 0600);
		sodium_memzero(text, sizeof(text));
		sodium_memzero(key, sizeof(key));
	}
	enroll_self(priv.b, &a->self);
	sodium_memzero(&priv, sizeof(priv));
	if (e != OK)
		fprintf(stderr, "nefia-agent: %s: %s\n", a->enrolling, err_text(e));
	return e == OK ? 0 : fail("the agent's key cannot be stored", "Check the folder's permissions and the free space.", NULL);
}

/* ---- the configuration ---- */

static void write_list(FILE *f, const char *name, const char *indent, size_t n, const char *(*item)(const struct agent_enroll *a, size_t i),
		       const struct agent_enroll *a)
{
	fprintf(f, "%s%s:%s", indent, name, n == 1 ? "" : "\n");
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%s \"%s\"\n", n == 1 ? "" : indent, n == 1 ? "" : "  -", item(a, i));
}

static const char *own_addr(const struct agent_enroll *a, size_t i)
{
	static char text[PREFIX_STR_MAX];

	return ip_prefix_format(&a->reply.addrs[i], text);
}

static const char *operator_addr(const struct agent_enroll *a, size_t i)
{
	static char text[IP_ADDR_STR_MAX];

	return ip_addr_format(&a->reply.operator_addrs[i], text);
}

/* Return: the text of agent.yaml, to be wiped and freed; NULL: no memory. */
static char *config_text(const struct agent_enroll *a, size_t *ret_size)
{
	char key[KEY_STR_MAX], ep[ENDPOINT_STR_MAX], *text = NULL;
	FILE *f = open_memstream(&text, ret_size);

	if (!f)
		return NULL;
	fprintf(f, "version: 1\nprivate_key: %s\nlisten_port: %u\n", key_to_base64(a->self.priv, key), a->req.listen_port);
	write_list(f, "address", "", a->reply.n_addrs, own_addr, a);
	fprintf(f, "ssh_addr: \"%s\"\nhost_id: %s\npeers:\n  - public_key: %s\n", a->ssh_addr, a->reply.host_id,
		key_to_base64(a->t.operator_key, key));
	if (endpoint_is_set(&a->reply.endpoint))
		fprintf(f, "    endpoint: \"%s\"\n", endpoint_format(&a->reply.endpoint, ep));
	write_list(f, "vpn_addr", "    ", a->reply.n_operator_addrs, operator_addr, a);
	if (a->reply.n_derp_servers > 0)
		fprintf(f, "derp_servers:\n");
	for (size_t i = 0; i < a->reply.n_derp_servers; i++)
		if (!strpbrk(a->reply.derp_servers[i], "\"\\"))
			fprintf(f, "  - \"%s\"\n", a->reply.derp_servers[i]);
	sodium_memzero(key, sizeof(key));
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

static int store_text(const struct agent_enroll *a, const char *text, size_t size)
{
	static struct agent_config check;
	char why[512];
	enum err e = agent_config_parse(a->config, text, size, &check, why, sizeof(why));

	agent_config_wipe(&check);
	if (e != OK) {
		fprintf(stderr, "nefia-agent: %s\n", why);
		return fail(enroll_code_text(ENROLL_VALIDATION), enroll_code_hint(ENROLL_VALIDATION), NULL);
	}
	e = os_file_write_atomic(a->config, text, size, 0600);
	if (e != OK) {
		fprintf(stderr, "nefia-agent: %s: %s\n", a->config, err_text(e));
		return fail("the configuration cannot be written",
			    "Check the folder's permissions and the free space, then run the command again: the token still works.", NULL);
	}
	os_file_remove(a->enrolling);
	return 0;
}

int agent_enroll_store(const struct agent_enroll *a)
{
	size_t size;
	char *text = config_text(a, &size);
	int r;

	if (!text)
		return fail("out of memory", "Run the command again: the token still works.", NULL);
	r = store_text(a, text, size);
	sodium_memzero(text, size);
	free(text);
	return r;
}

/* ---- the whole ---- */

static int set_paths(struct agent_enroll *a, const struct agent_options *opt)
{
	char dir[4096], *slash;
	unsigned mode, uid;
	enum err e;

	if (a->out_dir)
		snprintf(a->config, sizeof(a->config), "%s/agent.yaml", a->out_dir);
	else
		snprintf(a->config, sizeof(a->config), "%s", opt->config);
	snprintf(a->enrolling, sizeof(a->enrolling), "%s.enrolling", a->config);
	if (!a->force && os_file_mode(a->config, &mode, &uid) == OK) {
		fprintf(stderr, "nefia-agent: %s exists already\n", a->config);
		return fail("this machine has a configuration already", "Give --force to replace it, or --out-dir for another folder.",
			    NULL);
	}
	snprintf(dir, sizeof(dir), "%s", a->config);
	slash = strrchr(dir, '/');
	if (!slash)
		return 0;
	*slash = '\0';
	e = os_mkdir_p(dir[0] ? dir : "/", 0700);
	if (e != OK) {
		fprintf(stderr, "nefia-agent: %s: %s\n", dir, err_text(e));
		return fail("the folder of the configuration cannot be made", "Name another one with --out-dir.", NULL);
	}
	return 0;
}

static bool confirmed(const struct agent_enroll *a)
{
	char ep[ENDPOINT_STR_MAX], line[16] = "";

	if (a->yes || a->token_on_stdin || !isatty(STDIN_FILENO))
		return true;
	fprintf(stderr, "Let the operator at %s run commands on this machine through its SSH server, as host %s? [y/N] ",
		endpoint_format(&a->t.endpoint, ep), a->t.host_id);
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static void say_keys(const struct agent_enroll *a)
{
	char fingerprint[64];

	for (size_t i = 0; i < a->req.n_host_keys; i++)
		if (strncmp(a->req.host_keys[i], "ssh-ed25519 ", 12) == 0 || a->req.n_host_keys == 1)
			if (agent_enroll_fingerprint(a->req.host_keys[i], fingerprint)) {
				printf("SSH host key registered %s\n", fingerprint);
				return;
			}
	printf("SSH host key not registered: no SSH server answers at %s yet. The operator learns it at the first connection.\n",
	       a->ssh_addr);
}

static void say_tunnel(const struct agent_enroll *a)
{
	char addr[IP_ADDR_STR_MAX];

	ip_addr_format(&a->reply.addrs[0].ip, addr);
	if (strcmp(a->reply.state, "active") != 0)
		printf("VPN address %s, waiting for the operator's approval: nefia vpn approve %s\n", addr, a->reply.host_id);
	else if (agent_enroll_join(a))
		printf("VPN tunnel established %s\n", addr);
	else
		printf("VPN address %s. The tunnel is not up yet: UDP to the operator did not come through.\n", addr);
}

static void say_line(void *ctx, const char *line)
{
	printf("%s\n", line);
	fflush(stdout);
}

static int enroll(struct agent_enroll *a)
{
	/* In the order in which they are tried. */
	const struct enroll_way ways[] = { agent_enroll_direct };
	const struct enroll_question q = { .token = &a->t, .self = &a->self, .request = &a->req, .wait_max = ENROLL_DIRECT_MAX };
	struct enroll_outcome o;

	agent_enroll_host_keys(a);
	enroll_ways_ask(ways, ARRAY_SIZE(ways), &q, say_line, NULL, &o);
	if (!o.by)
		return fail("the token names no way to the operator", "Ask for another: nefia vpn reinvite --name %s --endpoint IP:PORT",
			    a->t.host_id);
	if (o.code != ENROLL_OK)
		return fail_code(a, o.code);
	a->reply = o.reply;
	a->farewell = o.by->farewell;
	return agent_enroll_store(a);
}

int agent_cmd_enroll(const struct agent_options *opt, int argc, char **argv)
{
	static struct agent_enroll a;
	struct agent_options run = { a.config, opt->log_level };
	char *run_argv[] = { "run", NULL }, why[256];
	const char *wrong;
	int r;

	a = (struct agent_enroll){ .ssh_addr = "127.0.0.1:22", .req = { .os = "linux", .listen_port = LISTEN_PORT } };
	wrong = parse_options(argc, argv, &a) ? check_options(&a) : "see 'nefia-agent enroll --help'";
	if (wrong) {
		fprintf(stderr, "nefia-agent: %s\n", wrong);
		return AGENT_EXIT_USAGE;
	}
	/* What it does is told on standard output. */
	log_set(opt->log_level == LOG_INFO ? LOG_WARN : opt->log_level, NULL);
	snprintf(a.req.version, sizeof(a.req.version), "%s", NEFIA_VERSION);
	if (gethostname(a.req.host_id, sizeof(a.req.host_id) - 1) != 0)
		a.req.host_id[0] = '\0';
	r = set_paths(&a, opt);
	if (r == 0)
		r = read_token(&a);
	if (r == 0 && !confirmed(&a))
		return fail("not enrolled", "", NULL);
	if (r == 0)
		r = keep_key(&a);
	if (r == 0)
		r = enroll(&a);
	if (r == 0) {
		say_tunnel(&a);
		say_keys(&a);
		printf("%s\nConfig written to %s\n", a.farewell, a.config);
		if (a.install && agent_service_install(a.config, why, sizeof(why)) != OK)
			r = fail(why, "The configuration stands; run it by hand: nefia-agent run", NULL);
		else if (a.install)
			printf("Service installed.\n");
		fflush(stdout);
	}
	sodium_memzero(&a.req, sizeof(a.req));
	sodium_memzero(&a.self, sizeof(a.self));
	sodium_memzero(&a.t, sizeof(a.t));
	if (r != 0 || !a.run)
		return r;
	optind = 1;
	log_set(opt->log_level, NULL);
	return agent_cmd_run(&run, 1, run_argv);
}
