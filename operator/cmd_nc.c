/*
 * operator/cmd_nc.c - `nefia nc HOST PORT`: a stream on standard input and output, for ssh's ProxyCommand.
 *
 * Port 22 is the bare stream to the agent's ssh_addr. Another port goes through the host's sshd as a direct connection.
 * Nothing but the stream's bytes is written to standard output. --fdpass hands the descriptor itself to ssh, which waits
 * until we have ended: port 22 needs nobody after that, another port keeps a child that carries the bytes.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/session_client.h"
#include "operator/ssh_config.h"
#include "os/file.h"
#include "os/stream.h"
#include "os/task.h"

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
	char why[SSH_ERROR_TEXT_MAX];
	struct session s;
	int fd = -1, r = EXIT_OK;
	unsigned ecode = 0;

	if (session_login(hc, host, why, &ecode) != OK)
		return cli_error(cli, ecode ? ecode : 1015, "%s: %s", host, why);
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

/* ssh goes on when we have ended, with one end of a pair; a child of ours stands at the other one. */
static int direct_passed(struct cli *cli, struct hub_client *hc, const char *host, unsigned port)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return cli_error(cli, 1036, "%s: %s", host, strerror(errno));
	pid = os_fork_quiet();
	if (pid == 0) {
		close(pair[1]);
		if (dup2(pair[0], STDIN_FILENO) < 0 || dup2(pair[0], STDOUT_FILENO) < 0)
			_exit(EXIT_FAILED);
		close(pair[0]);
		_exit(direct(cli, hc, host, port));
	}
	close(pair[0]);
	if (pid < 0 || os_send_fds(STDOUT_FILENO, "", 1, &pair[1], 1) != OK)
		return cli_error(cli, 1036, "%s: the connection could not be passed", host);
	close(pair[1]);
	return EXIT_OK;
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
	const char *suffix;
};

const struct cli_option nc_options[] = {
	{ "fdpass", 0, NULL, "hand the stream to ssh (ProxyUseFdpass)", option_flag, offsetof(struct nc_flags, fdpass) },
	{ "suffix", 0, "SUFFIX", "how names end that ssh knows the hosts by (.nefia)", option_text,
	  offsetof(struct nc_flags, suffix) },
	{ .name = NULL },
};

/* The host that ssh means: without the suffix, and in lower case whatever was typed. */
static const struct host_config *find_host(struct cli *cli, const char *name, const char *suffix, int *ret_exit)
{
	char id[256];

	ssh_config_host_of(name, suffix, id, sizeof(id));
	*ret_exit = cli_load(cli);
	if (*ret_exit != 0)
		return NULL;
	if (!config_host(&cli->cfg, id))
		for (size_t i = 0; i < cli->cfg.n_hosts; i++)
			if (strcasecmp(cli->cfg.hosts[i].id, id) == 0)
				return &cli->cfg.hosts[i];
	return cli_host(cli, id, ret_exit);
}

int cmd_nc(struct cli *cli, int argc, char **argv)
{
	struct nc_flags flags = { .suffix = SSH_SUFFIX };
	const struct host_config *h;
	char *end, suffix[SSH_SUFFIX_MAX];
	struct hub_client *hc;
	long port;
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	port = strtol(argv[2], &end, 10);
	if (*end || port < 1 || port > 65535)
		return cli_usage(cli, "'%s' is not a port", argv[2]);
	if (!ssh_config_suffix(flags.suffix, suffix))
		return cli_usage(cli, "'%s' cannot be the end of a host's name", flags.suffix);
	h = find_host(cli, argv[1], suffix, &r);
	if (!h)
		return r;
	signal(SIGPIPE, SIG_IGN);
	if (hub_client_open(cli, true, &hc) != OK)
		return EXIT_FAILED;
	if (port == SSH_PORT)
		r = raw(cli, hc, h->id, flags.fdpass);
	else
		r = (flags.fdpass ? direct_passed : direct)(cli, hc, h->id, (unsigned)port);
	hub_client_close(hc);
	return r;
}
