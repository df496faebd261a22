/*
 * operator/cmd_forward.c - `nefia forward HOST FORWARD...`: ports of this machine that lead to or through a host.
 *
 * With --raw the hub listens and carries the bytes itself, past the host's SSH server; this process only holds the control
 * connection, whose end ends the forward. All else is carried by this process, see forward.h; with --background by
 * such a process that the hub starts and keeps (hub_keep.c).
 */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <sodium.h>

#include "operator/forward.h"
#include "operator/session_client.h"
#include "os/file.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

static int forward(struct cli *cli, struct hub_client *hc, const char *host, const char *bind)
{
	json_t *reply;
	enum err e = hub_client_call(hc, "forward", json_pack("{s:s, s:s}", "host", host, "bind", bind),
				     5 * NSEC_PER_SEC, &reply, NULL);
	const char *colon = strrchr(bind, ':');

	if (e != OK)
		return cli_hub_error(cli, hc, host, 1016);
	printf("Forwarding %.*s:%d to %s\n", (int)(colon - bind), bind,
	       (int)json_integer_value(json_object_get(reply, "port")), host);
	fflush(stdout);
	json_decref(reply);
	hub_client_wait_end(hc);
	if (interrupted)
		return EXIT_OK;
	return cli_error(cli, 1036, "%s: the hub ended, and the forward with it", host);
}

struct forward_flags {
	bool raw, dynamic, remote, background, list, json, kept;
	const char *auth_file, *stop;
	nsec_t idle;
};

const struct cli_option forward_options[] = {
	{ "dynamic", 'D', NULL, "[BIND:]PORT is a SOCKS5 server; names are resolved at the host", option_flag,
	  offsetof(struct forward_flags, dynamic) },
	{ "remote", 'R', NULL, "listen at the host; TARGET is seen from here", option_flag,
	  offsetof(struct forward_flags, remote) },
	{ "auth-file", 0, "FILE", "the USER:PASSWORD that SOCKS clients must give", option_text,
	  offsetof(struct forward_flags, auth_file) },
	{ "idle", 0, "DURATION", "close connections that carry nothing for so long", option_duration,
	  offsetof(struct forward_flags, idle) },
	{ "background", 'b', NULL, "kept by the hub, and by the next one, until --stop", option_flag,
	  offsetof(struct forward_flags, background) },
	{ "list", 0, NULL, "those in the background", option_flag, offsetof(struct forward_flags, list) },
	{ "stop", 0, "WHICH", "end those in the background: a number, a host, or 'all'", option_text,
	  offsetof(struct forward_flags, stop) },
	{ "json", 0, NULL, "errors and --list as JSON", option_flag, offsetof(struct forward_flags, json) },
	{ "kept", 0, NULL, NULL, option_flag, offsetof(struct forward_flags, kept) },
	{ "raw", 0, NULL, "[BIND:]PORT is the bare stream to the agent's ssh_addr", option_flag,
	  offsetof(struct forward_flags, raw) },
	{ .name = NULL },
};

static int raw(struct cli *cli, const char *host, const char *arg)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct forward_spec spec;
	struct hub_client *hc;
	char bind[FORWARD_END_STR_MAX];
	int r;

	if (forward_spec_parse(arg, false, &spec) != OK || forward_end_is_path(&spec.listen))
		return cli_usage(cli, "'%s' is not [BIND:]PORT", arg);
	forward_end_format(&spec.listen, bind);
	if (!cli_host(cli, host, &r))
		return r;
	/* Without SA_RESTART: the signal ends the wait. */
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	r = forward(cli, hc, host, bind);
	hub_client_close(hc);
	return r;
}

/* The connections that come later cannot ask a person; what fails now is told, and tried again with each of them. */
static void log_in(struct forward_run *run)
{
	char why[SSH_ERROR_TEXT_MAX];
	unsigned ecode;

	if (session_login(run->hc, run->host, why, &ecode) != OK)
		fprintf(stderr, "nefia: %s: %s\n", run->host, why);
}

/* The first line of --auth-file, which others must not be able to read. */
static int read_login(struct forward_run *r, const char *path, char **ret)
{
	unsigned mode, uid;
	size_t len;
	enum err e = os_file_mode(path, &mode, &uid);

	if (e == OK && (mode & 077))
		return cli_error(r->cli, 1041, "%s: others may read it (mode %04o), and it holds a password", path, mode);
	if (e == OK)
		e = os_file_read(path, 4096, ret, &len);
	if (e != OK)
		return cli_error(r->cli, 1041, "%s: %s", path, err_text(e));
	(*ret)[strcspn(*ret, "\r\n")] = '\0';
	if (!strchr(*ret, ':'))
		return cli_error(r->cli, 1041, "%s: USER:PASSWORD is expected", path);
	r->login = *ret;
	return 0;
}

/* A name becomes an address now, while waiting for an answer holds nobody up. */
static int resolve_target(struct forward_run *r, struct forward_end *e)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *found;
	int failure;

	if (forward_end_is_path(e) || strcmp(e->host, "localhost") == 0)
		return 0;
	failure = getaddrinfo(e->host, NULL, &hint, &found);
	if (failure == 0) {
		failure = getnameinfo(found->ai_addr, found->ai_addrlen, e->host, sizeof(e->host), NULL, 0, NI_NUMERICHOST);
		freeaddrinfo(found);
	}
	return failure ? cli_usage(r->cli, "%s: %s", e->host, gai_strerror(failure)) : 0;
}

static int take_remote(struct forward_run *r, struct forward *f)
{
	f->kind = FORWARD_REMOTE;
	if (forward_end_is_path(&f->spec.listen))
		return cli_usage(r->cli, "%s: a Unix socket at the host cannot be listened on: choose a port",
				 f->spec.listen.host);
	return resolve_target(r, &f->spec.target);
}

static int take_specs(struct forward_run *r, bool dynamic, bool remote, int n, char **args)
{
	if (n > FORWARDS_MAX)
		return cli_usage(r->cli, "at most %d forwards at once", FORWARDS_MAX);
	for (int i = 0; i < n; i++) {
		struct forward *f = &r->forwards[r->n_forwards++];

		f->run = r;
		f->kind = dynamic ? FORWARD_DYNAMIC : FORWARD_LOCAL;
		if (forward_spec_parse(args[i], !dynamic, &f->spec) != OK)
			return cli_usage(r->cli, "'%s' is not %s", args[i], dynamic ? "[BIND:]PORT" :
					 "[BIND:]PORT:TARGET:PORT; for the agent's ssh_addr give --raw");
		if (remote && take_remote(r, f) != 0)
			return EXIT_USAGE;
	}
	return 0;
}

/* The same words for the process that the hub starts; paths must not depend on where that runs. */
static int background(struct cli *cli, const struct forward_flags *f, const char *idle, int argc, char **argv)
{
	char *args[FORWARDS_MAX + 8], auth[PATH_MAX];
	size_t n = 0;

	if (f->dynamic)
		args[n++] = "--dynamic";
	if (f->remote)
		args[n++] = "--remote";
	if (f->auth_file) {
		if (!realpath(f->auth_file, auth))
			return cli_error(cli, 1041, "%s: %s", f->auth_file, strerror(errno));
		args[n++] = "--auth-file";
		args[n++] = auth;
	}
	if (f->idle) {
		args[n++] = "--idle";
		args[n++] = (char *)idle;
	}
	for (int i = 1; i < argc; i++)
		args[n++] = argv[i];
	return forward_background(cli, argv[1], args, n, (size_t)argc - 2);
}

/* Combinations that make no sense. Return: 0, or an exit code after a message. */
static int check_flags(struct cli *cli, const struct forward_flags *f, int argc)
{
	if (f->remote && (f->raw || f->dynamic))
		return cli_usage(cli, "--remote does not go with --raw and --dynamic");
	if (f->raw && (f->dynamic || argc != 3))
		return cli_usage(cli, "--raw goes with one [BIND:]PORT");
	if (f->raw && f->background)
		return cli_usage(cli, "--raw does not go with --background");
	if (f->auth_file && !f->dynamic)
		return cli_usage(cli, "--auth-file is for --dynamic");
	return 0;
}

int cmd_forward(struct cli *cli, int argc, char **argv)
{
	static struct forward_run run;
	struct forward_flags flags = { 0 };
	char *login = NULL, idle[32];
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	cli->json |= flags.json;
	if (flags.list || flags.stop)
		return argc > 1 ? cli_usage(cli, "--list and --stop take no host") :
				  flags.list ? forward_list(cli) : forward_stop(cli, flags.stop);
	if (argc < 3)
		return cli_usage(cli, "HOST and what to forward are missing");
	r = check_flags(cli, &flags, argc);
	if (r != 0)
		return r;
	if (flags.raw)
		return raw(cli, argv[1], argv[2]);
	run = (struct forward_run){ .cli = cli, .host = argv[1], .idle = flags.idle, .is_kept = flags.kept };
	r = take_specs(&run, flags.dynamic, flags.remote, argc - 2, argv + 2);
	snprintf(idle, sizeof(idle), "%" PRIu64 "ms", (uint64_t)(flags.idle / NSEC_PER_MSEC));
	if (r == 0 && flags.background)
		return cli_host(cli, run.host, &r) ? background(cli, &flags, idle, argc, argv) : r;
	if (r == 0 && flags.auth_file)
		r = read_login(&run, flags.auth_file, &login);
	if (r == 0)
		cli_host(cli, run.host, &r);
	if (r == 0 && hub_client_open(cli, !run.is_kept, &run.hc) != OK)
		r = EXIT_FAILED;
	if (r == 0) {
		log_in(&run);
		r = forward_run(&run);
	}
	hub_client_close(run.hc);
	if (login)
		sodium_memzero(login, strlen(login));
	free(login);
	return r;
}
