/*
 * operator/cmd_fs.c - `nefia fs put LOCAL HOST:REMOTE` and `nefia fs get HOST:REMOTE LOCAL`.
 *
 * A file that was fetched appears under its name only when all of it is there: it is written beside it and renamed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/job.h"
#include "os/loop.h"

#define SESSION_MAX (12 * NSEC_PER_SEC)

static int finish_job(struct cli *cli, struct job *j, enum err run)
{
	unsigned ecode = job_ecode(j);

	if (run == ERR_CANCELLED)
		return 130;
	if (j->error == OK && j->exit_status == 0)
		return EXIT_OK;
	if (j->error == ERR_NO_SPACE || j->error == ERR_IO || j->error == ERR_NOT_FOUND || j->error == ERR_PERMISSION)
		ecode = 1042;
	return cli_error(cli, ecode, "%s: %s", j->host, j->message[0] ? j->message : err_text(j->error));
}

static int open_job(struct cli *cli, const char *host, struct hub_client **ret_hc, struct job *j)
{
	int fd = -1;

	if (hub_client_open(cli, true, ret_hc) != OK)
		return EXIT_FAILED;
	if (hub_client_session(*ret_hc, host, SESSION_MAX, &fd) != OK) {
		cli_error(cli, hub_client_ecode(*ret_hc) ? hub_client_ecode(*ret_hc) : 1037, "%s",
			  hub_client_message(*ret_hc));
		hub_client_close(*ret_hc);
		return EXIT_FAILED;
	}
	job_init(j, host, fd);
	return EXIT_OK;
}

static int put(struct cli *cli, const char *local, const char *host, const char *remote)
{
	int in = open(local, O_RDONLY | O_CLOEXEC), r;
	struct hub_client *hc;
	struct stat st;
	struct job j;

	if (in < 0 || fstat(in, &st) != 0 || S_ISDIR(st.st_mode)) {
		r = cli_error(cli, 1041, "%s: %s", local, in < 0 ? strerror(errno) : "is no file");
		goto out;
	}
	r = open_job(cli, host, &hc, &j);
	if (r != EXIT_OK)
		goto out;
	j.in_fd = in;
	r = job_put(&j, remote, st.st_mode & 0777) == OK ? finish_job(cli, &j, job_run(&j, 1, NSEC_NEVER)) : EXIT_FAILED;
	job_fini(&j);
	hub_client_close(hc);
out:
	if (in >= 0)
		close(in);
	return r;
}

static int get(struct cli *cli, const char *host, const char *remote, const char *local)
{
	char temp[PATH_MAX];
	struct hub_client *hc;
	struct job j;
	int out, r;

	if (snprintf(temp, sizeof(temp), "%s.nefia-%d", local, (int)getpid()) >= (int)sizeof(temp))
		return cli_error(cli, 1041, "%s: the path is too long", local);
	out = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return cli_error(cli, 1041, "%s: %s", local, strerror(errno));
	r = open_job(cli, host, &hc, &j);
	if (r == EXIT_OK) {
		j.out_fd = out;
		r = job_get(&j, remote) == OK ? finish_job(cli, &j, job_run(&j, 1, NSEC_NEVER)) : EXIT_FAILED;
		job_fini(&j);
		hub_client_close(hc);
	}
	if (close(out) != 0 && r == EXIT_OK)
		r = cli_error(cli, 1041, "%s: %s", local, strerror(errno));
	if (r == EXIT_OK && rename(temp, local) != 0)
		r = cli_error(cli, 1041, "%s: %s", local, strerror(errno));
	if (r != EXIT_OK)
		unlink(temp);
	return r;
}

/* Cuts "host:path" in two; the host must be known. */
static const char *split(struct cli *cli, char *arg)
{
	char *colon = strchr(arg, ':');

	if (!colon || colon == arg || !colon[1])
		return NULL;
	*colon = '\0';
	return colon + 1;
}

int cmd_fs(struct cli *cli, int argc, char **argv)
{
	bool is_put = argc == 4 && strcmp(argv[1], "put") == 0, is_get = argc == 4 && strcmp(argv[1], "get") == 0;
	char *where = is_put ? argv[3] : is_get ? argv[2] : NULL;
	const char *path = where ? split(cli, where) : NULL;

	if (!path)
		return cli_usage("fs", "expected: put LOCAL HOST:REMOTE, or get HOST:REMOTE LOCAL");
	if (cli_load(cli) != EXIT_OK)
		return EXIT_FAILED;
	if (!config_host(&cli->cfg, where))
		return cli_error(cli, 1021, "no such host: %s", where);
	return is_put ? put(cli, argv[2], where, path) : get(cli, where, path, argv[3]);
}
