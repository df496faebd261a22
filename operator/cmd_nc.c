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
#include "os/stream.h"

#define SSH_PORT 22

static bool write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd pf = { fd, POLLOUT, 0 };

			poll(&pf, 1, -1);
			continue;
		}
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

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
		return write_all(STDOUT_FILENO, buf, (size_t)n);
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
	return type != SSH_F_STDOUT || write_all(STDOUT_FILENO, data.p, data.len);
}

static int direct(struct cli *cli, struct hub_client *hc, const char *host, unsigned port)
{
	static uint8_t buf[65536];
	struct session s;
	bool in_open = true, out_open = true;
	int fd = -1;

	if (hub_client_session(hc, host, 20 * NSEC_PER_SEC, &fd) != OK)
		return cli_error(cli, hub_client_ecode(hc) ? hub_client_ecode(hc) : 1015, "%s: %s", host,
				 hub_client_message(hc));
	session_init(&s, fd);
	s.over = session_start(&s, SSH_F_DIRECT, "127.0.0.1", port) != OK;
	while (!s.over) {
		bool feed = in_open && s.ready && ssh_buf_used(&s.out) < (1u << 20);
		struct pollfd pf[2] = { { s.fd, session_poll_events(&s), 0 }, { feed ? STDIN_FILENO : -1, POLLIN, 0 } };

		if (poll(pf, 2, -1) < 0 && errno != EINTR)
			break;
		if (pf[1].revents) {
			ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

			in_open = n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
			if ((n > 0 && session_send(&s, SSH_F_STDIN, buf, (size_t)n) != OK) ||
			    (!in_open && session_send(&s, SSH_F_STDIN_EOF, NULL, 0) != OK))
				break;
		}
		session_pump(&s, on_data, NULL);
		if (s.stdout_eof && out_open) {
			out_open = false;
			end_output();
		}
	}
	session_fini(&s);
	if (s.exit_status == 0)
		return EXIT_OK;
	return cli_error(cli, session_ecode(&s), "%s: %s", host, s.message);
}

static int raw(struct cli *cli, struct hub_client *hc, const char *host, bool fdpass)
{
	int fd = -1;
	bool ok;

	if (hub_client_dial(hc, host, SSH_PORT, 15 * NSEC_PER_SEC, &fd) != OK)
		return cli_error(cli, hub_client_ecode(hc) ? hub_client_ecode(hc) : 1031, "%s: %s", host,
				 hub_client_message(hc));
	if (fdpass)
		ok = os_send_fds(STDOUT_FILENO, "", 1, &fd, 1) == OK;
	else
		ok = pump(fd);
	close(fd);
	if (!ok)
		return cli_error(cli, 1036, "%s: the stream broke off", host);
	return EXIT_OK;
}

int cmd_nc(struct cli *cli, int argc, char **argv)
{
	bool fdpass = argc > 1 && strcmp(argv[1], "--fdpass") == 0;
	struct hub_client *hc;
	char *end, host[HOST_ID_MAX + 8];
	size_t len;
	long port;
	int r;

	if (argc - fdpass != 3)
		return cli_usage("nc", "expected: nc [--fdpass] HOST PORT");
	port = strtol(argv[2 + fdpass], &end, 10);
	if (*end || port < 1 || port > 65535)
		return cli_usage("nc", "'%s' is not a port", argv[2 + fdpass]);
	if (fdpass && port != SSH_PORT)
		return cli_usage("nc", "--fdpass works with port %d only", SSH_PORT);
	r = cli_load(cli);
	if (r != 0)
		return r;
	snprintf(host, sizeof(host), "%s", argv[1 + fdpass]);
	len = strlen(host);
	/* As ssh knows it. */
	if (len > 6 && strcmp(host + len - 6, ".nefia") == 0)
		host[len - 6] = '\0';
	if (!config_host(&cli->cfg, host))
		return cli_error(cli, 1021, "There is no host %s", host);
	signal(SIGPIPE, SIG_IGN);
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	r = port == SSH_PORT ? raw(cli, hc, host, fdpass) : direct(cli, hc, host, (unsigned)port);
	hub_client_close(hc);
	return r;
}
