/*
 * operator/cmd_invite.c - `nefia vpn invite | reinvite | listen`: a token for a new host, and waiting for it.
 *
 * The invite is written by this process, under the lock of nefia.yaml; listening is the hub's, which is started when none
 * runs. Whoever waits asks the hub for what happened, ten times a second.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/duration.h"
#include "operator/cmd.h"
#include "operator/enroll_store.h"
#include "operator/hub.h"
#include "operator/hub_client.h"
#include "operator/hub_wire.h"
#include "os/file.h"
#include "os/loop.h"

#define POLL_MS 100
#define HEARTBEAT (30 * NSEC_PER_SEC)
#define CALL_MAX (5 * NSEC_PER_SEC)

struct invite_flags {
	const char *name, *os, *endpoint, *token_out, *group;
	int enroll_port, max_uses;
	nsec_t listen_timeout, ttl;
	bool stun, listen, copy, qr, no_print_token, reusable;
};

#define AT(field) offsetof(struct invite_flags, field)
#define SHARED_OPTIONS                                                                                                  \
	{ "endpoint", 0, "IP:PORT", "where agents reach this machine's WireGuard (required)", option_text, AT(endpoint) }, \
	{ "stun", 0, NULL, "find that out by STUN (not in this version)", option_flag, AT(stun) },                      \
	{ "enroll-port", 0, "PORT", "the TCP port of the enrollment (default 19820)", option_number, AT(enroll_port) }, \
	{ "listen", 0, NULL, "wait for the host (default; --listen=false: do not)", option_switch, AT(listen) },        \
	{ "listen-timeout", 0, "D", "how long (default 60m)", option_duration, AT(listen_timeout) },                    \
	{ "ttl", 0, "D", "how long the token is valid (default 24h)", option_duration, AT(ttl) },                       \
	{ "token-out", 0, "FILE", "write the token there too, mode 0600", option_text, AT(token_out) },                 \
	{ "copy", 0, NULL, "copy the token to the clipboard", option_flag, AT(copy) },                                  \
	{ "qr", 0, NULL, "show the token as a QR code too (with qrencode)", option_flag, AT(qr) },                       \
	{ "no-print-token", 0, NULL, NULL, option_flag, AT(no_print_token) }

const struct cli_option invite_options[] = {
	{ "name", 0, "ID", "the new host (required)", option_text, AT(name) },
	{ "os", 0, "OS", "macos, linux or windows (required)", option_text, AT(os) },
	{ "reusable", 0, NULL, "for a fleet: no --name, hosts take their own and wait for approval", option_flag, AT(reusable) },
	{ "max-uses", 0, "N", "with --reusable: for so many hosts (required)", option_number, AT(max_uses) },
	{ "group", 0, "GROUP", "with --reusable: the group they belong to", option_text, AT(group) },
	SHARED_OPTIONS,
	{ .name = NULL },
};

const struct cli_option reinvite_options[] = {
	{ "name", 0, "ID", "the host (required)", option_text, AT(name) },
	{ "os", 0, "OS", "macos, linux or windows (default: as it was)", option_text, AT(os) },
	SHARED_OPTIONS,
	{ .name = NULL },
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

static void catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- waiting ---- */

struct wait {
	const char *host; /* NULL: any */
	int count;        /* so many; 0: until none is pending */
	nsec_t timeout;
	int n_done, n_pending;
	json_int_t seq;
};

static void print_event(struct wait *w, const json_t *ev)
{
	const char *host = hub_json_string(ev, "host"), *error = hub_json_string(ev, "error"), *from = hub_json_string(ev, "from");
	const char *reason = hub_json_string(ev, "reason");

	if (!host || (w->host && strcmp(host, w->host) != 0))
		return;
	if (error) {
		printf("%s: an attempt from %s failed: %s%s%s\n", host, from ? from : "?", error, reason && *reason ? ": " : "",
		       reason && *reason ? reason : "");
		return;
	}
	w->n_done++;
	printf("%s enrolled from %s.\n", host, from ? from : "?");
}

static int hub_failed(struct cli *cli, const struct hub_client *hc, uint16_t port)
{
	if (hub_client_ecode(hc) != HUB_ECODE_PORT)
		return cli_error(cli, hub_client_ecode(hc) ? hub_client_ecode(hc) : 1015, "%s", hub_client_message(hc));
	cli_error(cli, HUB_ECODE_PORT, "%s", hub_client_message(hc));
	if (!cli->json)
		fprintf(stderr, "lsof -i :51820 and lsof -i :%u show who uses the ports; kill <PID> ends it. Then run the command again.\n",
			port);
	return EXIT_FAILED;
}

static bool is_over(const struct wait *w)
{
	return w->host ? w->n_done > 0 : w->count > 0 ? w->n_done >= w->count : w->n_pending == 0;
}

static void heartbeat(const struct wait *w, nsec_t left)
{
	char text[DURATION_STR_MAX];

	printf("Still waiting: %d enrolled, %d pending, %s left.\n", w->n_done, w->n_pending,
	       duration_format(left / NSEC_PER_SEC * NSEC_PER_SEC, text));
	fflush(stdout);
}

static enum err fetch(struct hub_client *hc, struct wait *w)
{
	json_t *reply, *ev;
	size_t i;
	enum err e = hub_client_call(hc, "enroll-events", json_pack("{s:I}", "after", w->seq), CALL_MAX, &reply, NULL);

	if (e != OK)
		return e;
	json_array_foreach(json_object_get(reply, "events"), i, ev)
		print_event(w, ev);
	w->seq = hub_json_int(reply, "seq", w->seq);
	w->n_pending = (int)hub_json_int(reply, "pending", 0);
	fflush(stdout);
	json_decref(reply);
	return OK;
}

static int wait_for_hosts(struct cli *cli, struct hub_client *hc, struct wait *w)
{
	nsec_t end = nsec_add(os_now(), w->timeout), beat = os_now() + HEARTBEAT;

	while (!is_over(w)) {
		nsec_t now = os_now();

		if (interrupted) {
			fprintf(stderr, "No longer listening. Tokens stay valid: nefia vpn listen\n");
			return 128 + interrupted;
		}
		if (now >= end)
			return cli_error(cli, 1052, "%d enrolled, %d still pending", w->n_done, w->n_pending);
		if (now >= beat) {
			heartbeat(w, end - now);
			beat += HEARTBEAT;
		}
		poll(NULL, 0, POLL_MS);
		if (fetch(hc, w) != OK)
			return cli_error(cli, 1036, "the hub ended, and listening with it");
	}
	return EXIT_OK;
}

static int listen_for(struct cli *cli, struct hub_client *hc, uint16_t port, struct wait *w)
{
	json_t *reply;

	if (hub_client_call(hc, "enroll-listen", json_pack("{s:i}", "port", (int)port), CALL_MAX, &reply, NULL) != OK)
		return hub_failed(cli, hc, port);
	w->seq = hub_json_int(reply, "seq", 0);
	w->n_pending = (int)hub_json_int(reply, "pending", 0);
	json_decref(reply);
	return EXIT_OK;
}

/* ---- the token's ways out ---- */

/* The token goes to the program's standard input, so no process list shows it. */
static bool feed(const char *const *argv, const char *text)
{
	int fds[2], status;
	pid_t pid;

	if (pipe(fds) != 0)
		return false;
	pid = fork();
	if (pid == 0) {
		dup2(fds[0], STDIN_FILENO);
		close(fds[0]);
		close(fds[1]);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[0]);
	if (pid > 0 && write(fds[1], text, strlen(text)) < 0)
		status = 1;
	close(fds[1]);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void copy_token(const char *token)
{
	static const char *const programs[][4] = {
		{ "wl-copy", NULL }, { "xclip", "-selection", "clipboard", NULL }, { "xsel", "-ib", NULL }, { "pbcopy", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		if (feed(programs[i], token)) {
			fprintf(stderr, "The token is in the clipboard.\n");
			return;
		}
	fprintf(stderr, "No clipboard program worked (wl-copy, xclip, xsel, pbcopy); copy the line instead.\n");
}

static void show_qr(const char *token)
{
	static const char *const program[] = { "qrencode", "-t", "UTF8", NULL };

	fflush(stdout);
	if (!feed(program, token))
		fprintf(stderr, "No QR code: the program qrencode is not there.\n");
}

static void print_token(const struct invite_flags *f, const struct invite_result *r, uint64_t expires)
{
	char when[64];
	time_t t = (time_t)expires;

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", gmtime(&t));
	if (f->reusable)
		printf("Up to %d hosts may enroll by this token until %s; they wait for approval.\n\n", f->max_uses, when);
	else
		printf("Host %s is invited with address %s. The token is valid until %s.\n\n", f->name, r->addr, when);
	printf("Run this there (it holds the token: who has it can enroll in the host's place):\n\n"
	       "    echo '%s' | nefia-agent enroll --token-file - --run\n\n"
	       "(--install instead of --run: as a service.)\n", r->token);
	fflush(stdout);
}

static int hand_out(struct cli *cli, const struct invite_flags *f, const struct invite_result *r, uint64_t expires)
{
	enum err e = OK;

	if (f->token_out)
		e = os_file_write_atomic(f->token_out, r->token, strlen(r->token), 0600);
	if (e != OK)
		return f->reusable ? cli_error(cli, 1041, "%s: %s. The invite stands in %s; make another one", f->token_out, err_text(e),
					       cli->config) :
				     cli_error(cli, 1041, "%s: %s. The host is invited; a new token: nefia vpn reinvite --name %s --endpoint %s",
					       f->token_out, err_text(e), f->name, f->endpoint);
	if (!f->no_print_token)
		print_token(f, r, expires);
	if (f->qr)
		show_qr(r->token);
	if (f->copy)
		copy_token(r->token);
	return EXIT_OK;
}

/* ---- invite and reinvite ---- */

static bool is_os(const char *os)
{
	return strcmp(os, "macos") == 0 || strcmp(os, "linux") == 0 || strcmp(os, "windows") == 0;
}

/* Where agents reach us: without that a token would lead nowhere, so none is made. */
static int check_endpoint(struct cli *cli, const struct invite_flags *f, struct endpoint *ret)
{
	if (f->stun && !f->endpoint)
		return cli_error(cli, 1051, "no STUN server is configured, and this version cannot ask one yet");
	if (!f->endpoint)
		return cli_error(cli, 1051, "without an endpoint, and with no relay, the token could not be used");
	if (endpoint_parse(f->endpoint, ret) != OK || ret->port == 0)
		return cli_usage(cli, "--endpoint must be IP:PORT, as in 203.0.113.10:51820");
	if (ret->port == f->enroll_port) {
		ret->port = cli->cfg.listen_port ? cli->cfg.listen_port : 51820;
		fprintf(stderr, "--endpoint names the enrollment port; WireGuard's is taken to be %u.\n", ret->port);
	}
	return 0;
}

static int check_times(struct cli *cli, const struct invite_flags *f)
{
	if (f->enroll_port < 0 || f->enroll_port > 65535)
		return cli_usage(cli, "--enroll-port must be 1 to 65535");
	if (f->ttl < NSEC_PER_SEC)
		return cli_usage(cli, "--ttl must be at least 1s");
	return 0;
}

static int check_flags(struct cli *cli, const struct invite_flags *f, bool again)
{
	if (f->reusable && (f->name || f->os))
		return cli_usage(cli, "with --reusable hosts bring their own names: leave --name and --os out");
	if (f->reusable && f->max_uses < 1)
		return cli_usage(cli, "--reusable needs --max-uses N, at least 1");
	if (!f->reusable && (f->max_uses || f->group))
		return cli_usage(cli, "--max-uses and --group go with --reusable");
	if (f->group && !config_host_id_ok(f->group))
		return cli_usage(cli, "'%s' cannot be a group: use letters, digits, '-', '_', '.'", f->group);
	if (f->reusable)
		return check_times(cli, f);
	if (!f->name)
		return cli_usage(cli, "--name is required");
	if (!config_host_id_ok(f->name))
		return cli_usage(cli, "'%s' cannot be a host's name: use letters, digits, '-', '_', '.'", f->name);
	if (!f->os && !again)
		return cli_usage(cli, "--os is required: macos, linux or windows");
	if (f->os && !is_os(f->os))
		return cli_usage(cli, "--os must be macos, linux or windows");
	return check_times(cli, f);
}

static int make(struct cli *cli, const struct invite_flags *f, const struct endpoint *ep, bool again)
{
	struct invite_request req = {
		.host_id = f->name, .os = f->os, .endpoint = *ep, .enroll_port = (uint16_t)f->enroll_port, .again = again,
		.ttl_s = f->ttl / NSEC_PER_SEC, .wall = os_wall_now() / NSEC_PER_SEC, .rng = os_rng(),
		.max_uses = f->reusable ? (unsigned)f->max_uses : 0, .group = f->group,
	};
	struct invite_result res;
	int r = EXIT_OK;

	if (invite_make(cli->config, &req, &res) != OK) {
		r = cli_error(cli, res.ecode, "%s", res.why);
	} else {
		/* Whoever sees the token may use it at once: the hub knows of it first. */
		hub_tell_reload(cli);
		r = hand_out(cli, f, &res, req.wall + req.ttl_s);
	}
	sodium_memzero(&res, sizeof(res));
	return r;
}

static int invite(struct cli *cli, int argc, char **argv, bool again)
{
	struct invite_flags f = { .listen = true, .listen_timeout = 3600 * NSEC_PER_SEC,
				  .ttl = 24 * 3600 * NSEC_PER_SEC };
	struct wait w = { .host = NULL };
	struct hub_client *hc = NULL;
	struct endpoint ep;
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	r = check_flags(cli, &f, again);
	if (r == 0)
		r = cli_load(cli);
	if (r == 0 && again && f.name && !config_host(&cli->cfg, f.name))
		r = cli_error(cli, 1021, "there is no host %s", f.name);
	if (r == 0 && f.enroll_port == 0)
		f.enroll_port = cli->cfg.enroll_port;
	if (r == 0)
		r = check_endpoint(cli, &f, &ep);
	if (r != 0)
		return r;
	catch_signals();
	if (!f.listen)
		return make(cli, &f, &ep, again);
	/* The ports first: a token that nobody answers helps nobody. */
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	w.host = f.name; /* NULL for a fleet: until it is used up */
	w.timeout = f.listen_timeout;
	r = listen_for(cli, hc, (uint16_t)f.enroll_port, &w);
	if (r == EXIT_OK)
		r = make(cli, &f, &ep, again);
	if (r == EXIT_OK) {
		printf("Listening on TCP port %d. Ctrl-C ends that; the token stays valid.\n", f.enroll_port);
		fflush(stdout);
		r = wait_for_hosts(cli, hc, &w);
	}
	hub_client_close(hc);
	return r;
}

int cmd_vpn_invite(struct cli *cli, int argc, char **argv)
{
	return invite(cli, argc, argv, false);
}

int cmd_vpn_reinvite(struct cli *cli, int argc, char **argv)
{
	return invite(cli, argc, argv, true);
}

/* ---- listen ---- */

struct listen_flags {
	int count, enroll_port;
	nsec_t timeout;
};

const struct cli_option listen_options[] = {
	{ "count", 0, "N", "stop after N hosts (default 0: when none is pending)", option_number, offsetof(struct listen_flags, count) },
	{ "timeout", 0, "D", "how long (default 60m)", option_duration, offsetof(struct listen_flags, timeout) },
	{ "enroll-port", 0, "PORT", "the TCP port (default 19820)", option_number, offsetof(struct listen_flags, enroll_port) },
	{ .name = NULL },
};

int cmd_vpn_listen(struct cli *cli, int argc, char **argv)
{
	struct listen_flags f = { .timeout = 3600 * NSEC_PER_SEC };
	struct wait w = { .host = NULL };
	struct hub_client *hc;
	int r;

	if (options_parse(cli, &argc, argv, &f) != 0)
		return EXIT_USAGE;
	if (f.count < 0 || f.enroll_port < 0 || f.enroll_port > 65535)
		return cli_usage(cli, "--count must not be negative, --enroll-port must be 1 to 65535");
	r = cli_load(cli);
	if (r != 0)
		return r;
	if (f.enroll_port == 0)
		f.enroll_port = cli->cfg.enroll_port;
	catch_signals();
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	w.count = f.count;
	w.timeout = f.timeout;
	r = listen_for(cli, hc, (uint16_t)f.enroll_port, &w);
	if (r == EXIT_OK && is_over(&w))
		printf("No host is pending. Invite one: nefia vpn invite --name ID --os OS --endpoint IP:PORT\n");
	else if (r == EXIT_OK) {
		printf("Listening on TCP port %d for %d pending host%s.\n", f.enroll_port, w.n_pending, w.n_pending == 1 ? "" : "s");
		fflush(stdout);
		r = wait_for_hosts(cli, hc, &w);
	}
	hub_client_close(hc);
	return r;
}
