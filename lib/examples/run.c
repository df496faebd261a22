/*
 * run.c - run a command on a host, as `nefia exec` does:
 *
 *	cc run.c $(pkg-config --cflags --libs libnefia) -o run
 *	./run web1 'uname -a'
 *
 * Its output, its errors and its exit status are ours. Standard input is passed on when it is no terminal.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nefia.h"

static int complain(const char *what, int error)
{
	fprintf(stderr, "run: %s: %s: %s\n", what, nefia_strerror(error), nefia_error_detail());
	return 255;
}

/* All that has come. 1: there may be more later; 0: it has ended. */
static int pass_output(struct nefia_process *p)
{
	char buf[65536];
	int which;
	ssize_t n;

	while ((n = nefia_process_read(p, &which, buf, sizeof(buf), 0)) > 0)
		if (fwrite(buf, 1, (size_t)n, which == 2 ? stderr : stdout) < (size_t)n)
			return NEFIA_ERR_IO;
	fflush(stdout);
	return n == NEFIA_ERR_AGAIN ? 1 : (int)n;
}

/* 1: there may be more. A command that reads no more is no error. */
static int pass_input(struct nefia_process *p)
{
	char buf[65536];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n > 0 && nefia_process_write(p, buf, (size_t)n, NEFIA_FOREVER) == n)
		return 1;
	nefia_process_end_input(p);
	return 0;
}

static int carry(struct nefia_process *p)
{
	int feeding = !isatty(STDIN_FILENO), r;

	if (!feeding)
		nefia_process_end_input(p);
	/* First what is there already, then wait: the descriptor tells of what is new. */
	while ((r = pass_output(p)) > 0) {
		struct pollfd pf[2] = { { nefia_process_fd(p), POLLIN, 0 }, { feeding ? STDIN_FILENO : -1, POLLIN, 0 } };

		poll(pf, 2, -1);
		if (pf[1].revents)
			feeding = pass_input(p);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct nefia_options opt = NEFIA_OPTIONS_INIT;
	struct nefia_exec_options exec = NEFIA_EXEC_OPTIONS_INIT;
	struct nefia_process *p;
	struct nefia *n;
	char signal[32];
	int r, status;

	if (argc != 3) {
		fprintf(stderr, "usage: run HOST COMMAND\n");
		return 2;
	}
	r = nefia_open(&opt, &n);
	if (r != NEFIA_OK)
		return complain("no tunnel", r);
	exec.command = argv[2];
	r = nefia_exec_start(n, argv[1], &exec, &p);
	if (r != NEFIA_OK) {
		nefia_close(n);
		return complain(argv[1], r);
	}
	r = carry(p);
	if (r == NEFIA_OK)
		r = nefia_process_status(p, &status, signal);
	if (r != NEFIA_OK)
		status = complain(argv[1], r);
	else if (status < 0)
		fprintf(stderr, "run: ended by SIG%s\n", signal);
	nefia_process_free(p);
	nefia_close(n);
	return status < 0 ? 255 : status;
}
