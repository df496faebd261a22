/*
 * operator/wg_socket.c - see wg_socket.h.
 *
 * What is asked and answered has private keys in it: it lies in buffers that are wiped (struct ssh_buf), and goes to processes of our
 * own user only.
 */
#include "operator/wg_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "os/stream.h"

#define ANSWER_MAX (4u << 20)
#define PIECE 65536

static int try_socket(const char *dir, const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = 10 };
	unsigned uid;
	int fd;

	if (!dir || !*dir ||
	    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s.sock", dir, name) >= (int)sizeof(sa.sun_path))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* connect() too */
	/* Keys may be sent there: only to a process of our own. */
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && os_peer_uid(fd, &uid, NULL) && uid == getuid())
		return fd;
	close(fd);
	return -1;
}

/* The places in which hub and agent put it. */
int wg_socket_open(const struct cli *cli, const char *dir, const char *name)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char path[PATH_MAX + 32];
	int fd;

	if (dir)
		return try_socket(dir, name);
	fd = try_socket("/var/run/wireguard", name);
	if (fd < 0 && runtime && *runtime) {
		snprintf(path, sizeof(path), "%s/nefia/wireguard", runtime);
		fd = try_socket(path, name);
	}
	if (fd < 0) {
		snprintf(path, sizeof(path), "%s/run", cli->home);
		fd = try_socket(path, name);
	}
	return fd < 0 ? try_socket(cli->home, name) : fd;
}

/* With a time limit a stop and a continuation (Ctrl-Z, fg) interrupt a call, whatever handlers there are. */
static ssize_t send_some(int fd, const char *p, size_t len)
{
	ssize_t n;

	do
		n = send(fd, p, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

static ssize_t receive_some(int fd, char *p, size_t len)
{
	ssize_t n;

	do
		n = recv(fd, p, len, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

static bool is_whole(const struct ssh_buf *b)
{
	return ssh_buf_used(b) >= 2 && memcmp(b->p + b->len - 2, "\n\n", 2) == 0;
}

bool wg_socket_ask(int fd, const char *request, struct ssh_buf *ret)
{
	size_t want = strlen(request);
	ssize_t n;

	for (size_t sent = 0; sent < want; sent += (size_t)n) {
		n = send_some(fd, request + sent, want - sent);
		if (n <= 0)
			return false;
	}
	while (!is_whole(ret)) {
		char *to = ssh_buf_used(ret) < ANSWER_MAX ? (char *)ssh_buf_room(ret, PIECE) : NULL;

		n = to ? receive_some(fd, to, PIECE) : -1;
		if (n <= 0)
			return false;
		ret->len += (size_t)n;
	}
	ret->p[ret->len - 1] = '\0'; /* of the empty line */
	return true;
}
