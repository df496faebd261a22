/*
 * operator/cmd_exec.c - `nefia exec`: one command on the hosts of a selector.
 *
 * One host: standard input is passed on, output and exit status are the command's own. Several: no input, each
 * host's output is shown whole with its name, and the status is 1 when any failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/duration.h"
#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/job.h"
#include "os/loop.h"

#define SESSION_MAX (12 * NSEC_PER_SEC)

struct exec_options {
	const char *target;
	nsec_t timeout; /* 0 = none */
	bool json;
	char *command;
};

unsigned job_ecode(const struct job *j)
{
	switch (j->error) {
	case ERR_TIMEOUT:
		return j->ready ? 1035 : 1031;
	case ERR_NO_ROUTE:
	case ERR_UNREACHABLE:
		return 1031;
	case ERR_REFUSED:
		return 1032;
	case ERR_HOST_KEY:
		return 1033;
	case ERR_AUTH:
		return 1034;
	case ERR_CLOSED:
	case ERR_RESET:
		return 1036;
	default:
		return 1037;
	}
}

/* Words joined as ssh joins them: by one space, without quoting. */
static char *join_words(int argc, char **argv)
{
	size_t len = 1;
	char *s;

	for (int i = 0; i < argc; i++)
		len += strlen(argv[i]) + 1;
	s = calloc(1, len);
	for (int i = 0; s && i < argc; i++) {
		if (i > 0)
			strcat(s, " ");
		strcat(s, argv[i]);
	}
	return s;
}

static int parse(struct exec_options *o, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--target") == 0 && i + 1 < argc)
			o->target = argv[++i];
		else if (strcmp(argv[i], "--timeout") == 0 && i + 1 < argc && duration_parse(argv[i + 1], &o->timeout) == OK)
			i++;
		else if (strcmp(argv[i], "--json") == 0)
			o->json = true;
		else
			return cli_usage("exec", "not understood: %s", argv[i]);
	}
	if (i < argc && strcmp(argv[i], "--") == 0)
		i++;
	if (!o->target || i >= argc)
		return cli_usage("exec", "%s is missing", o->target ? "the command" : "--target");
	o->command = join_words(argc - i, argv + i);
	return o->command ? EXIT_OK : EXIT_FAILED;
}

/* ---- results ---- */

static json_t *text_of(const struct ssh_buf *b)
{
	json_t *s = json_stringn((const char *)b->p + b->off, ssh_buf_used(b));

	/* Bytes that are no UTF-8 cannot stand in JSON: each becomes the character of its number. */
	if (!s && ssh_buf_used(b) > 0) {
		size_t n = 0;
		char *t = malloc(2 * ssh_buf_used(b));

		for (size_t i = b->off; t && i < b->len; i++) {
			if (b->p[i] >= 0x80)
				t[n++] = (char)(0xc0 | b->p[i] >> 6);
			t[n++] = (char)(b->p[i] >= 0x80 ? 0x80 | (b->p[i] & 0x3f) : b->p[i]);
		}
		s = t ? json_stringn(t, n) : NULL;
		free(t);
	}
	return s ? s : json_string("");
}

static void print_json(const struct job *j, enum err run)
{
	json_t *o = json_pack("{s:s, s:i, s:o, s:o, s:I}", "host", j->host, "exit", job_exit_code(j, run), "stdout",
			      text_of(&j->out), "stderr", text_of(&j->err), "ms",
			      (json_int_t)((j->ended - j->started) / NSEC_PER_MSEC));

	json_object_set_new(o, "error", j->error == OK ? json_null() :
			    json_string(j->message[0] ? j->message : err_text(j->error)));
	json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(o);
}

static void print_lines(FILE *f, const char *host, const struct ssh_buf *b)
{
	const char *p = (const char *)b->p + b->off, *end = p + ssh_buf_used(b);

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl ? (size_t)(nl - p) : (size_t)(end - p);

		fprintf(f, "%s: ", host);
		fwrite(p, 1, len, f);
		fputc('\n', f);
		p += len + 1;
	}
}

static int report(struct cli *cli, const struct exec_options *o, struct job *jobs, size_t n, enum err run)
{
	int worst = 0;

	for (size_t i = 0; i < n; i++) {
		const struct job *j = &jobs[i];
		int code = job_exit_code(j, run);

		if (o->json) {
			print_json(j, run);
		} else if (n > 1) {
			print_lines(stdout, j->host, &j->out);
			print_lines(stderr, j->host, &j->err);
		}
		if (j->error != OK && run != ERR_CANCELLED && !o->json)
			cli_error(cli, job_ecode(j), "%s: %s", j->host, j->message[0] ? j->message : err_text(j->error));
		else if (n > 1 && code != 0 && !o->json)
			fprintf(stderr, "%s: exit status %d\n", j->host, code);
		if (n == 1)
			return code;
		worst |= code != 0;
	}
	return run == ERR_CANCELLED ? 130 : worst;
}

/* ---- running ---- */

static void start_job(struct hub_client *hc, struct job *j, const char *host, const struct exec_options *o, bool alone)
{
	int fd = -1;
	enum err e = hub_client_session(hc, host, SESSION_MAX, &fd);

	job_init(j, host, fd);
	if (e == OK)
		e = job_exec(j, o->command, (unsigned)MIN(o->timeout / NSEC_PER_MSEC, UINT32_MAX));
	if (e != OK) {
		j->done = true;
		j->error = e;
		j->ended = j->started;
		snprintf(j->message, sizeof(j->message), "%s", hub_client_message(hc));
		return;
	}
	if (alone)
		j->in_fd = STDIN_FILENO;
	if (alone && !o->json) {
		j->out_fd = STDOUT_FILENO;
		j->err_fd = STDERR_FILENO;
	}
}

static int run_on(struct cli *cli, const struct exec_options *o, const struct host_config **hosts, size_t n)
{
	nsec_t deadline = o->timeout ? os_now() + o->timeout : NSEC_NEVER;
	struct job *jobs = calloc(n, sizeof(*jobs));
	struct hub_client *hc;
	enum err run;
	int code;

	if (!jobs || hub_client_open(cli, true, &hc) != OK) {
		free(jobs);
		return 255;
	}
	for (size_t i = 0; i < n; i++)
		start_job(hc, &jobs[i], hosts[i]->id, o, n == 1);
	run = job_run(jobs, n, deadline);
	code = report(cli, o, jobs, n, run);
	for (size_t i = 0; i < n; i++)
		job_fini(&jobs[i]);
	free(jobs);
	hub_client_close(hc);
	return fflush(stdout) == 0 ? code : 255;
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
	struct exec_options o = { .json = cli->json };
	const struct host_config **hosts = NULL;
	char miss[64];
	size_t n;
	int r = parse(&o, argc, argv);

	if (r != EXIT_OK)
		return r;
	r = 255;
	if (cli_load(cli) != EXIT_OK)
		goto out;
	hosts = calloc(cli->cfg.n_hosts + 1, sizeof(hosts[0]));
	n = hosts ? config_select(&cli->cfg, o.target, hosts, miss) : 0;
	if (n == 0)
		cli_error(cli, 1021, "no host, group or tag: %s", hosts ? miss : o.target);
	else
		r = run_on(cli, &o, hosts, n);
out:
	free(hosts);
	free(o.command);
	return r;
}
