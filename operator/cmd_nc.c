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

/* Whoever reads us learns of the end now; our own direction may go on. */
static void end_output(void)
{
	shutdown(STDOUT_FILENO, SHUT_WR); /* a socket may be our standard input as well */
	close(STDOUT_FILENO);
}

struct stream {
	int fd;
	uint8_t up[65536]; /* read from standard input, not yet taken by @fd */
	size_t up_len, up_off;
	bool in_open, out_open;
};

static bool is_transient(int errnum)
{
	return errnum == EINTR || errnum == EAGAIN;
}

/* False: the stream takes no more. */
static bool send_up(struct stream *s)
{
	while (s->up_off < s->up_len) {
		ssize_t n = send(s->fd, s->up + s->up_off, s->up_len - s->up_off, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			return n < 0 && is_transient(errno);
		s->up_off += (size_t)n;
	}
	s->up_len = s->up_off = 0;
	return true;
}

static void read_up(struct stream *s)
{
	ssize_t n = read(STDIN_FILENO, s->up, sizeof(s->up));

	if (n > 0)
		s->up_len = (size_t)n;
	else if (n == 0 || !is_transient(errno))
		s->in_open = false;
	if (!s->in_open)
		shutdown(s->fd, SHUT_WR);
}

static bool read_down(struct stream *s)
{
	static uint8_t buf[65536];
	ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n > 0)
		return os_write_all(STDOUT_FILENO, buf, (size_t)n) == OK;
	if (n < 0)
		return is_transient(errno);
	s->out_open = false;
	end_output();
	return true;
}

/*
 * Bytes both ways, half-close both ways. What the stream does not take waits, while we go on reading from it: a server
 * that answers as it reads would else stop us as we stop it. Return: true when both directions ended in order.
 */
static bool pump(int fd)
{
	static struct stream s;

	s = (struct stream){ .fd = fd, .in_open = true, .out_open = true };
	while (s.in_open || s.up_len || s.out_open) {
		struct pollfd pf[2] = { { s.in_open && !s.up_len ? STDIN_FILENO : -1, POLLIN, 0 },
					{ fd, (short)((s.out_open ? POLLIN : 0) | (s.up_len ? POLLOUT : 0)), 0 } };

		if (poll(pf, 2, -1) < 0 && errno != EINTR)
			return false;
		if (s.out_open && pf[1].revents && !read_down(&s))
			return false;
		if (pf[0].revents)
			read_up(&s);
		if (!send_up(&s))
			return false;
		/* Nobody is there any more; what we have not been asked to send is not lost. */
		if (!s.out_open && !s.up_len && (pf[1].revents & (POLLHUP | POLLERR)))
			return true;
	}
	return true;
}

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	if (type == SSH_F_STDOUT_EOF)
		end_output();
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
