/*
 * operator/cmd_nc.c - `nefia nc [--fdpass] HOST PORT`: our standard input and output become a connection there.
 *
 * Port 22 is the agent's: a raw stream through the tunnel, bridged by the hub; with --fdpass the descriptor itself goes
 * to ssh (ProxyUseFdpass) and we end. Any other port goes through the host's sshd as direct-tcpip.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/job.h"
#include "os/loop.h"
#include "os/stream.h"

#define DIAL_MAX (10 * NSEC_PER_SEC)
#define SSH_PORT 22

static bool write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return false;
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* One step of one direction. Return: false when it is over. */
static bool copy_some(int from, int to, bool *ret_failed)
{
	static char buf[65536];
	ssize_t n = read(from, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return true;
	*ret_failed = n < 0 || (n > 0 && !write_all(to, buf, (size_t)n));
	return n > 0 && !*ret_failed;
}

static int relay(int fd)
{
	struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	bool failed = false;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return EXIT_FAILED;
		if (p[1].revents && !copy_some(fd, STDOUT_FILENO, &failed))
			return failed ? EXIT_FAILED : EXIT_OK;
		if (p[0].fd >= 0 && p[0].revents && !copy_some(STDIN_FILENO, fd, &failed)) {
			if (failed)
				return EXIT_FAILED;
			shutdown(fd, SHUT_WR);
			p[0].fd = -1;
		}
	}
}

static int nc_raw(struct cli *cli, struct hub_client *hc, const char *host, bool fdpass)
{
	char zero = 0;
	int fd, r;

	if (hub_client_dial(hc, host, SSH_PORT, DIAL_MAX, &fd) != OK)
		return cli_error(cli, hub_client_ecode(hc) ? hub_client_ecode(hc) : 1031, "%s", hub_client_message(hc));
	if (fdpass)
		r = os_send_fds(STDOUT_FILENO, &zero, 1, &fd, 1) == OK ? EXIT_OK :
		    cli_error(cli, 1041, "standard output is no socket that takes a descriptor");
	else
		r = relay(fd);
	close(fd);
	return r;
}

static int nc_direct(struct cli *cli, struct hub_client *hc, const char *host, unsigned port)
{
	enum err run;
	struct job j;
	int fd, r;

	if (hub_client_session(hc, host, DIAL_MAX, &fd) != OK)
		return cli_error(cli, hub_client_ecode(hc) ? hub_client_ecode(hc) : 1037, "%s", hub_client_message(hc));
	job_init(&j, host, fd);
	j.in_fd = STDIN_FILENO;
	j.out_fd = STDOUT_FILENO;
	j.err_fd = STDERR_FILENO;
	run = job_direct(&j, "localhost", port) == OK ? job_run(&j, 1, NSEC_NEVER) : ERR_NOMEM;
	r = job_exit_code(&j, run);
	if (j.error != OK && run == OK)
		cli_error(cli, job_ecode(&j), "%s port %u: %s", host, port,
			  j.message[0] ? j.message : err_text(j.error));
	job_fini(&j);
	return r;
}

int cmd_nc(struct cli *cli, int argc, char **argv)
{
	bool fdpass = argc > 1 && strcmp(argv[1], "--fdpass") == 0;
	struct hub_client *hc;
	long port;
	int r, i = fdpass ? 2 : 1;

	if (argc - i != 2 || (port = strtol(argv[i + 1], NULL, 10)) < 1 || port > 65535)
		return cli_usage("nc", "expected: [--fdpass] HOST PORT");
	if (fdpass && port != SSH_PORT)
		return cli_usage("nc", "--fdpass is for port 22");
	if (cli_load(cli) != EXIT_OK)
		return EXIT_FAILED;
	if (!config_host(&cli->cfg, argv[i]))
		return cli_error(cli, 1021, "no such host: %s", argv[i]);
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	r = port == SSH_PORT ? nc_raw(cli, hc, argv[i], fdpass) : nc_direct(cli, hc, argv[i], (unsigned)port);
	hub_client_close(hc);
	return r;
}
