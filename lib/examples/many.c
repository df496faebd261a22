/*
 * many.c - one tunnel, several threads, each with commands and streams of its own:
 *
 *	./many web1 8 4              8 threads, 4 rounds each: a command, and a connection to its SSH port
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nefia.h"

#define N_THREADS_MAX 64

struct work {
	struct nefia *n;
	const char *host;
	int n_rounds, number, n_failed;
	pthread_t thread;
};

static int complain(const char *what, int error)
{
	fprintf(stderr, "many: %s: %s: %s\n", what, nefia_strerror(error), nefia_error_detail());
	return 1;
}

/* A command that answers with its input and a status of our choice. */
static int run_one(struct work *w, int round)
{
	struct nefia_exec_options opt = NEFIA_EXEC_OPTIONS_INIT;
	struct nefia_exec_result res = NEFIA_EXEC_RESULT_INIT;
	char input[64], command[32];
	int r, wrong;

	snprintf(input, sizeof(input), "thread %d round %d", w->number, round);
	snprintf(command, sizeof(command), "cat; exit %d", round);
	opt.command = command;
	opt.input = input;
	opt.input_len = strlen(input);
	opt.timeout_ms = 30000;
	r = nefia_exec(w->n, w->host, &opt, &res);
	if (r != NEFIA_OK)
		return complain("exec", r);
	wrong = res.exit_status != round || strcmp(res.out, input) != 0;
	if (wrong)
		fprintf(stderr, "many: status %d, output '%s'\n", res.exit_status, res.out);
	nefia_exec_free(&res);
	return wrong;
}

/* The first word of whoever listens there. */
static int greet(struct work *w)
{
	struct nefia_stream *s;
	char buf[64];
	ssize_t n;
	int r = nefia_dial(w->n, w->host, 22, 10000, &s);

	if (r != NEFIA_OK)
		return complain("dial", r);
	n = nefia_read(s, buf, sizeof(buf), 10000);
	nefia_stream_close(s);
	if (n < 0)
		return complain("read", (int)n);
	return n < 4 || memcmp(buf, "SSH-", 4) != 0;
}

static void *work(void *arg)
{
	struct work *w = arg;

	for (int i = 0; i < w->n_rounds; i++)
		w->n_failed += run_one(w, i) + greet(w);
	return NULL;
}

static int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	static struct work works[N_THREADS_MAX];
	int n_threads = argc > 2 ? atoi(argv[2]) : 0, failed = 0, before, r;
	struct nefia *n;

	if (argc != 4 || n_threads < 1 || n_threads > N_THREADS_MAX) {
		fprintf(stderr, "usage: many HOST THREADS ROUNDS\n");
		return 2;
	}
	/* Counted after a first time: libuv keeps a pipe from its first loop to the end of the process. */
	r = nefia_open(NULL, &n);
	if (r == NEFIA_OK) {
		nefia_close(n);
		before = count_descriptors();
		r = nefia_open(NULL, &n);
	}
	if (r != NEFIA_OK)
		return complain("no tunnel", r);
	for (int i = 0; i < n_threads; i++) {
		works[i] = (struct work){ n, argv[1], atoi(argv[3]), i, 0, 0 };
		if (pthread_create(&works[i].thread, NULL, work, &works[i]) != 0)
			return 1;
	}
	for (int i = 0; i < n_threads; i++) {
		pthread_join(works[i].thread, NULL);
		failed += works[i].n_failed;
	}
	nefia_close(n);
	printf("failed %d, descriptors kept %d\n", failed, count_descriptors() - before);
	return failed > 0;
}
