/*
 * echo.c - a server inside the tunnel, and a client of it, both with poll():
 *
 *	./echo listen 7000           what comes is sent back; "port 7000" is printed when it listens
 *	./echo send HOST 7000 TEXT   sends TEXT, its end, and prints what comes back
 *
 * The server's descriptors stand in an event loop of its own, as they would in any program's.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nefia.h"

#define N_STREAMS 64

static int complain(const char *what, int error)
{
	fprintf(stderr, "echo: %s: %s: %s\n", what, nefia_strerror(error), nefia_error_detail());
	return 1;
}

/* 0: it is over. Blocks while the other side does not read: a server for many would keep what is left and go on. */
static int serve(struct nefia_stream *s)
{
	char buf[16384];
	ssize_t n = nefia_read(s, buf, sizeof(buf), 0);

	if (n == NEFIA_ERR_AGAIN)
		return 1;
	return n > 0 && nefia_write(s, buf, (size_t)n, 5000) == n;
}

static int take_new(struct nefia_listener *l, struct nefia_stream **streams, struct pollfd *pf)
{
	struct nefia_stream *s;
	int r = nefia_accept(l, 0, &s);

	if (r != NEFIA_OK)
		return r == NEFIA_ERR_AGAIN ? NEFIA_OK : r;
	for (int i = 0; i < N_STREAMS; i++)
		if (!streams[i]) {
			streams[i] = s;
			pf[i + 1] = (struct pollfd){ nefia_stream_fd(s), POLLIN, 0 };
			return NEFIA_OK;
		}
	nefia_stream_close(s); /* one too many */
	return NEFIA_OK;
}

static int listen_on(struct nefia *n, unsigned port)
{
	struct nefia_stream *streams[N_STREAMS] = { NULL };
	struct pollfd pf[N_STREAMS + 1];
	struct nefia_listener *l;
	int r = nefia_listen(n, port, 0, 5000, &l);

	if (r != NEFIA_OK)
		return complain("cannot listen", r);
	printf("port %u\n", nefia_listener_port(l));
	fflush(stdout);
	pf[0] = (struct pollfd){ nefia_listener_fd(l), POLLIN, 0 };
	for (int i = 1; i <= N_STREAMS; i++)
		pf[i] = (struct pollfd){ -1, 0, 0 };
	while (r == NEFIA_OK && poll(pf, N_STREAMS + 1, -1) > 0) {
		for (int i = 0; i < N_STREAMS; i++)
			if (streams[i] && pf[i + 1].revents && !serve(streams[i])) {
				nefia_stream_close(streams[i]);
				streams[i] = NULL;
				pf[i + 1].fd = -1;
			}
		if (pf[0].revents)
			r = take_new(l, streams, pf);
	}
	for (int i = 0; i < N_STREAMS; i++)
		nefia_stream_close(streams[i]);
	nefia_listener_close(l);
	return complain("the listener ended", r);
}

static int send_text(struct nefia *n, const char *host, unsigned port, const char *text)
{
	struct nefia_stream *s;
	char buf[4096];
	ssize_t got;
	int r = nefia_dial(n, host, port, 5000, &s);

	if (r != NEFIA_OK)
		return complain(host, r);
	got = nefia_write(s, text, strlen(text), 5000);
	if (got >= 0)
		nefia_shutdown(s);
	while (got >= 0 && (got = nefia_read(s, buf, sizeof(buf), 5000)) > 0)
		fwrite(buf, 1, (size_t)got, stdout);
	nefia_stream_close(s);
	return got < 0 ? complain(host, (int)got) : 0;
}

int main(int argc, char **argv)
{
	struct nefia *n;
	int r = 2;

	if (argc < 3 || (strcmp(argv[1], "send") == 0 && argc != 5)) {
		fprintf(stderr, "usage: echo listen PORT | echo send HOST PORT TEXT\n");
		return r;
	}
	r = nefia_open(NULL, &n);
	if (r != NEFIA_OK)
		return complain("no tunnel", r);
	if (strcmp(argv[1], "listen") == 0)
		r = listen_on(n, (unsigned)atoi(argv[2]));
	else
		r = send_text(n, argv[2], (unsigned)atoi(argv[3]), argv[4]);
	nefia_close(n);
	return r;
}
