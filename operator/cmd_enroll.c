/*
 * operator/cmd_enroll.c - `nefia vpn approve | enroll-status | token-info | revoke`: what became of invites.
 *
 * A change of a host's state is one edit of nefia.yaml; a hub that runs is told, so that it takes effect on live sessions.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/enroll_store.h"
#include "operator/hub_client.h"
#include "os/file.h"
#include "os/loop.h"

#define TOKEN_FILE_MAX 16384

struct enroll_flags {
	const char *name, *token, *token_file, *accept_risk;
	bool all;
};

#define AT(field) offsetof(struct enroll_flags, field)
const struct cli_option approve_options[] = {
	{ "all", 0, NULL, "every host that waits for approval", option_flag, AT(all) },
	{ "accept-risk", 0, "WHAT", "'approve-all': do not ask (required where nobody can answer)", option_text, AT(accept_risk) },
	{ .name = NULL },
};

const struct cli_option enroll_status_options[] = {
	{ "name", 0, "ID", "the host (required)", option_text, AT(name) },
	{ .name = NULL },
};

const struct cli_option token_info_options[] = {
	{ "token", 0, "TOKEN", "the token; others on this machine may see it in the process list", option_text, AT(token) },
	{ "token-file", 0, "FILE", "a file that holds it; '-' = standard input", option_text, AT(token_file) },
	{ .name = NULL },
};

const struct cli_option revoke_options[] = {
	{ "name", 0, "ID", "this host", option_text, AT(name) },
	{ "all", 0, NULL, "every host", option_flag, AT(all) },
	{ .name = NULL },
};

static int change(struct cli *cli, const char *id, const char *from, const char *to)
{
	char why[512] = "";
	enum err e = enroll_set_state(cli->config, id, from, to, why, sizeof(why));

	if (e == OK)
		return EXIT_OK;
	return cli_error(cli, e == ERR_NOT_FOUND ? 1021 : e == ERR_INVALID ? 1053 : e == ERR_IN_USE ? 1007 : 1006, "%s",
			 why[0] ? why : err_text(e));
}

static bool is_waiting(const struct host_config *h)
{
	return strcmp(h->state, "pending-approval") == 0;
}

/* ---- approve ---- */

static bool confirmed(size_t n)
{
	char line[16] = "";

	fprintf(stderr, "Approve %zu host%s? They join the tunnel at once. [y/N] ", n, n == 1 ? "" : "s");
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static int approve_all(struct cli *cli, const struct enroll_flags *f)
{
	size_t n = 0;
	int r = EXIT_OK;

	for (size_t i = 0; i < cli->cfg.n_hosts; i++)
		if (is_waiting(&cli->cfg.hosts[i])) {
			printf("  %s\n", cli->cfg.hosts[i].id);
			n++;
		}
	fflush(stdout);
	if (n == 0) {
		printf("No host waits for approval.\n");
		return EXIT_OK;
	}
	if (f->accept_risk && strcmp(f->accept_risk, "approve-all") != 0)
		return cli_usage(cli, "--accept-risk must be approve-all");
	if (!f->accept_risk && !isatty(STDIN_FILENO))
		return cli_usage(cli, "nobody can be asked here: give --accept-risk=approve-all");
	if (!f->accept_risk && !confirmed(n)) {
		fprintf(stderr, "Nothing was approved.\n");
		return EXIT_FAILED;
	}
	for (size_t i = 0; r == EXIT_OK && i < cli->cfg.n_hosts; i++)
		if (is_waiting(&cli->cfg.hosts[i]))
			r = change(cli, cli->cfg.hosts[i].id, "pending-approval", "active");
	return r;
}

int cmd_vpn_approve(struct cli *cli, int argc, char **argv)
{
	struct enroll_flags f = { 0 };
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	if ((argc > 1) == f.all)
		return cli_usage(cli, "expected: hosts, or --all");
	r = cli_load(cli);
	if (r == 0 && f.all)
		r = approve_all(cli, &f);
	for (int i = 1; r == 0 && i < argc; i++) {
		r = change(cli, argv[i], "pending-approval", "active");
		if (r == 0)
			printf("Host %s is active.\n", argv[i]);
	}
	hub_tell_reload(cli);
	return r;
}

/* ---- revoke ---- */

int cmd_vpn_revoke(struct cli *cli, int argc, char **argv)
{
	struct enroll_flags f = { 0 };
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	if ((f.name != NULL) == f.all)
		return cli_usage(cli, "expected: --name ID or --all");
	r = cli_load(cli);
	if (r == 0 && f.name)
		r = change(cli, f.name, NULL, "revoked");
	for (size_t i = 0; r == 0 && f.all && i < cli->cfg.n_hosts; i++)
		r = change(cli, cli->cfg.hosts[i].id, NULL, "revoked");
	/* Also after a failure: what was changed counts. */
	hub_tell_reload(cli);
	if (r == 0 && f.name)
		printf("Host %s is revoked. Back in: nefia vpn reinvite --name %s --endpoint IP:PORT\n", f.name, f.name);
	else if (r == 0)
		printf("%zu host%s revoked.\n", cli->cfg.n_hosts, cli->cfg.n_hosts == 1 ? " is" : "s are");
	return r;
}

/* ---- enroll-status ---- */

int cmd_vpn_enroll_status(struct cli *cli, int argc, char **argv)
{
	struct enroll_flags f = { 0 };
	const struct host_config *h;
	char addr[IP_ADDR_STR_MAX] = "-", key[KEY_STR_MAX] = "-";
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	if (!f.name)
		return cli_usage(cli, "--name is required");
	h = cli_host(cli, f.name, &r);
	if (!h)
		return r;
	if (h->n_addrs > 0)
		ip_addr_format(&h->addrs[0], addr);
	if (h->has_key && !config_host_is_pending(h))
		key_to_base64(h->public_key.b, key);
	printf("Host:       %s\nStatus:     %s\nVPN Addr:   %s\nPublic Key: %s\n", h->id, h->state, addr, key);
	if (config_host_is_pending(h) && h->invite.expires <= os_wall_now() / NSEC_PER_SEC)
		fprintf(stderr, "Warning: the invite has expired. A new one: nefia vpn reinvite --name %s --endpoint IP:PORT\n", h->id);
	return EXIT_OK;
}

/* ---- token-info ---- */

static int read_token(struct cli *cli, const struct enroll_flags *f, char *ret, size_t size)
{
	const char *path = f->token_file;
	size_t n;
	FILE *in;
	int why;

	if (f->token) {
		snprintf(ret, size, "%s", f->token);
		return 0;
	}
	in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	if (!in)
		return cli_error(cli, 1041, "%s: %s", path, strerror(errno));
	errno = 0;
	n = fread(ret, 1, size - 1, in);
	ret[n] = '\0';
	why = ferror(in) ? errno : 0;
	if (in != stdin)
		fclose(in);
	return why ? cli_error(cli, 1041, "%s: %s", path, strerror(why)) : 0;
}

int cmd_vpn_token_info(struct cli *cli, int argc, char **argv)
{
	struct enroll_flags f = { 0 };
	char text[TOKEN_FILE_MAX], key[KEY_STR_MAX], ep[ENDPOINT_STR_MAX] = "-", when[64], nonce[2 * ENROLL_NONCE_LEN + 1] = "-";
	struct enroll_token t;
	time_t expires;
	enum err e;
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	if (!f.token == !f.token_file)
		return cli_usage(cli, "expected: --token TOKEN or --token-file FILE");
	r = read_token(cli, &f, text, sizeof(text));
	if (r != 0)
		return r;
	e = enroll_token_decode(text, &t);
	sodium_memzero(text, sizeof(text));
	if (e != OK)
		return cli_error(cli, 1054, "%s", e == ERR_VERSION ? "it was made by a later version of nefia" : "it is damaged or incomplete");
	if (endpoint_is_set(&t.endpoint))
		endpoint_format(&t.endpoint, ep);
	if (t.has_nonce)
		hex_encode(t.nonce, sizeof(t.nonce), nonce);
	expires = (time_t)t.expires;
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime(&expires));
	printf("Host ID:             %s\nVPN Address:         %s\nOperator Public Key: %s\nEndpoint:            %s\n"
	       "Enrollment Port:     %u\nNonce:               %s\nExpires:             %s%s\n",
	       t.host_id[0] ? t.host_id : "(the host's own name)", t.vpn_addr[0] ? t.vpn_addr : "-", key_to_base64(t.operator_key, key),
	       ep, t.enroll_port, nonce, when, t.expires <= os_wall_now() / NSEC_PER_SEC ? " [EXPIRED]" : "");
	fprintf(stderr, "The signature is not checked here: the operator does that when the token is used.\n");
	return EXIT_OK;
}
