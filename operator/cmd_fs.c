/*
 * operator/cmd_fs.c - `nefia fs put | get`: one file each way.
 *
 * A file that arrives is written under a temporary name and renamed when it is whole, on either side: killed at any point,
 * there is the old file or the new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub_client.h"
#include "operator/session_client.h"
#include "os/file.h"
#include "os/loop.h"

#define PROGRESS_INTERVAL (200 * NSEC_PER_MSEC)

struct transfer {
	struct cli *cli;
	struct session s;
	const char *local;
	int fd;
	uint64_t done, total;
	nsec_t started, shown;
	bool progress;
	bool is_put;
	enum err local_error; /* of the local file */
};

static void show(struct transfer *t, bool last)
{
	nsec_t now = os_now();
	double seconds = (double)(now - t->started) / 1e9, rate = seconds > 0 ? (double)t->done / seconds / 1e6 : 0;

	if (!t->progress || (!last && now - t->shown < PROGRESS_INTERVAL))
		return;
	t->shown = now;
	fprintf(stderr, "\r%s %.1f MB", t->local, (double)t->done / 1e6);
	if (t->total && t->total != UINT64_MAX)
		fprintf(stderr, " of %.1f MB (%d %%)", (double)t->total / 1e6, (int)(t->done * 100 / t->total));
	fprintf(stderr, ", %.1f MB/s%s", rate, last ? "  \n" : "   ");
}

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	struct transfer *t = ctx;
	enum err e = OK;

	if (!t->is_put)
		e = os_write_all(t->fd, data.p, data.len);
	if (e != OK) {
		t->local_error = e;
		return false;
	}
	t->total = t->is_put ? t->total : t->s.size;
	t->done += t->is_put ? 0 : data.len;
	show(t, false);
	return true;
}

static void on_fed(void *ctx, size_t n)
{
	struct transfer *t = ctx;

	t->done += n;
	show(t, false);
}

static void run(struct transfer *t)
{
	t->started = os_now();
	session_run(&t->s, t->is_put ? t->fd : -1, on_data, on_fed, t);
	if (t->s.exit_status == 0)
		show(t, true);
	else if (t->progress)
		fputc('\n', stderr);
}

static int outcome(struct transfer *t, const char *host)
{
	if (t->local_error != OK)
		return cli_error(t->cli, 1041, "%s: %s", t->local, err_text(t->local_error));
	if (t->s.input_failed)
		return cli_error(t->cli, 1041, "%s: %s", t->local, t->s.message);
	if (t->s.exit_status == 0)
		return EXIT_OK;
	return cli_error(t->cli, session_ecode(&t->s), "%s: %s", host, t->s.message);
}

static int open_session(struct transfer *t, struct hub_client **hc, const char *host, enum ssh_frame kind,
			const char *path, uint32_t mode)
{
	int fd = -1;

	if (hub_client_open(t->cli, true, hc) != OK)
		return EXIT_FAILED;
	if (hub_client_session(*hc, host, 20 * NSEC_PER_SEC, &fd) != OK) {
		cli_hub_error(t->cli, *hc, host, 1015);
		hub_client_close(*hc);
		return EXIT_FAILED;
	}
	session_init(&t->s, fd);
	if (session_start(&t->s, kind, path, mode) != OK) {
		session_fini(&t->s);
		hub_client_close(*hc);
		return cli_error(t->cli, 1099, "out of memory");
	}
	return 0;
}

static int put(struct transfer *t, const char *host, const char *remote)
{
	struct hub_client *hc;
	struct stat st;
	int r;

	t->fd = open(t->local, O_RDONLY | O_CLOEXEC);
	if (t->fd < 0 || fstat(t->fd, &st) != 0)
		return cli_error(t->cli, 1041, "%s: %s", t->local, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cli_error(t->cli, 1041, "%s is not a regular file", t->local);
	t->total = (uint64_t)st.st_size;
	r = open_session(t, &hc, host, SSH_F_PUT, remote, st.st_mode & 0777);
	if (r == 0) {
		run(t);
		r = outcome(t, host);
		session_fini(&t->s);
		hub_client_close(hc);
	}
	close(t->fd);
	return r;
}

static int keep(struct transfer *t, const char *temp)
{
	if (fchmod(t->fd, t->s.mode & 0777) == 0 && fsync(t->fd) == 0 && rename(temp, t->local) == 0)
		return EXIT_OK;
	return cli_error(t->cli, 1041, "%s: %s", t->local, strerror(errno));
}

static char temp[PATH_MAX]; /* of get; empty: none */

/* Ctrl-C and its like end us as they always do, but leave no half file. */
static void on_signal(int signum)
{
	if (temp[0])
		unlink(temp);
	signal(signum, SIG_DFL);
	raise(signum);
}

static void catch_signals(void)
{
	static const int signums[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal }, old;

	for (size_t i = 0; i < ARRAY_SIZE(signums); i++)
		if (sigaction(signums[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signums[i], &sa, NULL);
}

static int get(struct transfer *t, const char *host, const char *remote)
{
	struct hub_client *hc;
	int r;

	if (snprintf(temp, sizeof(temp), "%s.nefia-%ld.part", t->local, (long)getpid()) >= (int)sizeof(temp))
		return cli_error(t->cli, 1041, "%s: the name is too long", t->local);
	catch_signals();
	t->fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (t->fd < 0)
		return cli_error(t->cli, 1041, "%s: %s", t->local, strerror(errno));
	r = open_session(t, &hc, host, SSH_F_GET, remote, 0);
	if (r == 0) {
		run(t);
		r = outcome(t, host);
		session_fini(&t->s);
		hub_client_close(hc);
	}
	if (r == 0)
		r = keep(t, temp);
	close(t->fd);
	if (r != 0)
		unlink(temp);
	return r;
}

/* "HOST:PATH" into its parts; false when there is no colon. */
static bool split(const char *s, char host[HOST_ID_MAX + 1], const char **ret_path)
{
	const char *colon = strchr(s, ':');

	if (!colon || colon == s || colon - s > HOST_ID_MAX || !colon[1])
		return false;
	memcpy(host, s, (size_t)(colon - s));
	host[colon - s] = '\0';
	*ret_path = colon + 1;
	return true;
}

/* A folder as the local target takes the remote file's name. */
static const char *local_target(const char *local, const char *remote, char buf[PATH_MAX])
{
	const char *slash = strrchr(remote, '/'), *name = slash ? slash + 1 : remote;
	struct stat st;

	if (stat(local, &st) != 0 || !S_ISDIR(st.st_mode) || strcmp(name, "..") == 0)
		return local;
	snprintf(buf, PATH_MAX, "%s/%s", local, name);
	return buf;
}

static int transfer(struct cli *cli, int argc, char **argv, bool is_put)
{
	struct transfer t = { .cli = cli, .fd = -1, .is_put = is_put, .progress = isatty(STDERR_FILENO) };
	char host[HOST_ID_MAX + 1], path[PATH_MAX];
	const char *remote, *where;
	int r;

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	where = argv[is_put ? 2 : 1];
	if (!split(where, host, &remote))
		return cli_usage(cli, "'%s' is not HOST:PATH", where);
	if (!cli_host(cli, host, &r))
		return r;
	signal(SIGPIPE, SIG_IGN);
	t.local = is_put ? argv[1] : local_target(argv[2], remote, path);
	return is_put ? put(&t, host, remote) : get(&t, host, remote);
}

int cmd_fs_put(struct cli *cli, int argc, char **argv)
{
	return transfer(cli, argc, argv, true);
}

int cmd_fs_get(struct cli *cli, int argc, char **argv)
{
	return transfer(cli, argc, argv, false);
}
