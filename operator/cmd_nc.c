/*
 * operator/cmd_nc.c - `nefia nc HOST PORT`: a stream on standard input and output, for ssh's ProxyCommand.
 *
 * Port 22 is the bare stream to the agent's ssh_addr. Another port goes through the host's sshd as a direct connection.
 * Nothing but the stream's bytes is written to standard output. --fdpass hands the descriptor itself to ssh.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/session_client.h"
#include "os/file.h"
#include "os/stream.h"

#define SSH_PORT 22

/* Bytes both ways, half-close both ways. Return: true when both directions ended in order. */
static bool pump(int fd)
{
	static uint8_t buf[65536];
	bool in_open = true, out_open = true;

	while (out_open) {
		struct pollfd pf[2] = { { in_open ? STDIN_FILENO : -1, POLLIN, 0 }, { fd, POLLIN, 0 } };
		ssize_t n;

		if (poll(pf, 2, -1) < 0 && errno != EINTR)
			return false;
		if (pf[0].revents) {
			n = read(STDIN_FILENO, buf, sizeof(buf));
			if (n > 0 && os_write_all(fd, buf, (size_t)n) != OK)
				return false;
			if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
				in_open = false;
				shutdown(fd, SHUT_WR);
			}
		}
		if (pf[1].revents) {
			n = read(fd, buf, sizeof(buf));
			if (n > 0 && os_write_all(STDOUT_FILENO, buf, (size_t)n) != OK)
				return false;
			if (n < 0 && errno != EINTR && errno != EAGAIN)
				return false;
			out_open = n != 0;
		}
	}
	return true;
}

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	return type != SSH_F_STDOUT || os_write_all(STDOUT_FILENO, data.p, data.len) == OK;
}

static int direct(struct cli *cli, struct hub_client *hc, const char *host, unsigned port)
{
	struct session s;
	int fd = -1, r = EXIT_OK;

	if (hub_client_session(hc, host, 20 * NSEC_PER_SEC, &fd) != OK)
		return cli_hub_error(cli, hc, host, 1015);
	session_init(&s, fd);
	s.over = session_start(&s, SSH_F_DIRECT, "127.0.0.1", port) != OK;
	session_run(&s, STDIN_FILENO, on_data, NULL, NULL);
	if (s.exit_status != 0)
		r = cli_error(cli, session_ecode(&s), "%s: %s", host, s.message);
	session_fini(&s);
	return r;
}

static int raw(struct cli *cli, struct hub_client *hc, const char *host, bool fdpass)
{
	int fd = -1;
	bool ok;

	if (hub_client_dial(hc, host, SSH_PORT, 15 * NSEC_PER_SEC, &fd) != OK)
		return cli_hub_error(cli, hc, host, 1031);
	if (fdpass)
		ok = os_send_fds(STDOUT_FILENO, "", 1, &fd, 1) == OK;
	else
		ok = pump(fd);
	close(fd);
	if (!ok)
		return cli_error(cli, 1036, "%s: the stream broke off", host);
	return EXIT_OK;
}

struct nc_flags {
	bool fdpass;
};

const struct cli_option nc_options[] = {
	{ "fdpass", 0, NULL, "hand the stream to ssh (ProxyUseFdpass)", option_flag, offsetof(struct nc_flags, fdpass) },
	{ .name = NULL },
};

int cmd_nc(struct cli *cli, int argc, char **argv)
{
	struct nc_flags flags = { 0 };
	struct hub_client *hc;
	char *end, host[HOST_ID_MAX + 8];
	size_t len;
	long port;
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	port = strtol(argv[2], &end, 10);
	if (*end || port < 1 || port > 65535)
		return cli_usage(cli, "'%s' is not a port", argv[2]);
	if (flags.fdpass && port != SSH_PORT)
		return cli_usage(cli, "--fdpass works with port %d only", SSH_PORT);
	snprintf(host, sizeof(host), "%s", argv[1]);
	len = strlen(host);
	/* As ssh knows it. */
	if (len > 6 && strcmp(host + len - 6, ".nefia") == 0)
		host[len - 6] = '\0';
	if (!cli_host(cli, host, &r))
		return r;
	signal(SIGPIPE, SIG_IGN);
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	r = port == SSH_PORT ? raw(cli, hc, host, flags.fdpass) : direct(cli, hc, host, (unsigned)port);
	hub_client_close(hc);
	return r;
}
