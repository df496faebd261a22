/*
 * operator/cmd_forward.c - `nefia forward HOST [BIND:]PORT --raw`: a local port that leads to a host.
 *
 * The hub listens and carries the bytes; this process only holds the control connection, whose end ends the forward.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operator/cmd.h"
#include "operator/hub_client.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

/* [BIND:]PORT as "IP:PORT"; an IPv6 address stands in brackets. */
static bool read_bind(const char *arg, char *ret, size_t size)
{
	struct endpoint ep;
	char *end;
	long port = strtol(arg, &end, 10);

	if (*arg && *end == '\0' && port >= 0 && port <= 65535)
		snprintf(ret, size, "127.0.0.1:%ld", port);
	else
		snprintf(ret, size, "%s%s", strncmp(arg, "localhost:", 10) == 0 ? "127.0.0.1:" : "",
			 strncmp(arg, "localhost:", 10) == 0 ? arg + 10 : arg);
	return endpoint_parse(ret, &ep) == OK;
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
	bool raw;
};

const struct cli_option forward_options[] = {
	{ "raw", 0, NULL, "the bare stream to the agent's ssh_addr (required)", option_flag,
	  offsetof(struct forward_flags, raw) },
	{ .name = NULL },
};

int cmd_forward(struct cli *cli, int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct forward_flags flags = { 0 };
	struct hub_client *hc;
	char bind[ENDPOINT_STR_MAX + 16];
	const char **words = (const char **)argv + 1;
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	if (!flags.raw)
		return cli_usage(cli, "expected: forward HOST [BIND:]PORT --raw");
	if (!read_bind(words[1], bind, sizeof(bind)))
		return cli_usage(cli, "'%s' is not [BIND:]PORT", words[1]);
	if (!cli_host(cli, words[0], &r))
		return r;
	/* Without SA_RESTART: the signal ends the wait. */
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	r = forward(cli, hc, words[0], bind);
	hub_client_close(hc);
	return r;
}
