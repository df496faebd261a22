/*
 * operator/cmd_hub.c - `nefia hub`, `nefia hub stop`, `nefia hub logs`, `nefia hub reload`.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operator/cmd.h"
#include "operator/hub.h"
#include "operator/hub_attach.h"
#include "operator/hub_wire.h"
#include "os/file.h"
#include "os/loop.h"

#define CALL_MAX (3 * NSEC_PER_SEC)
#define STOP_MAX (10 * NSEC_PER_SEC)
#define HUNG_MAX (3 * NSEC_PER_SEC)

static unsigned ecode_of_attach(enum err e, const struct hub_client *hc)
{
	unsigned ecode = hub_client_ecode(hc);

	if (ecode)
		return ecode;
	switch (e) {
	case ERR_NOT_FOUND:
		return 1013;
	case ERR_VERSION:
		return 1014;
	case ERR_TIMEOUT:
		return 1015;
	case ERR_IN_USE:
		return HUB_ECODE_RUNNING;
	default:
		return HUB_ECODE_START;
	}
}

enum err hub_client_open(struct cli *cli, bool may_start, struct hub_client **ret)
{
	struct hub_client *hc = NULL;
	enum err e = hub_attach(cli->home, cli->config, may_start, &hc);

	if (e == OK) {
		*ret = hc;
		return OK;
	}
	if (!hc)
		cli_error(cli, 1099, "%s", err_text(e));
	else if (hub_client_ecode(hc) == HUB_ECODE_PORT)
		hub_print_port_error(stderr, cli->json, 0);
	else
		cli_error(cli, ecode_of_attach(e, hc), "%s", hub_client_message(hc));
	hub_client_close(hc);
	return e;
}

void hub_tell_reload(struct cli *cli)
{
	struct hub_client *hc = NULL;
	json_t *reply;

	if (hub_attach(cli->home, cli->config, false, &hc) == OK && hub_client_call(hc, "reload", NULL, CALL_MAX, &reply, NULL) == OK)
		json_decref(reply);
	hub_client_close(hc);
}

/* ---- stop, reload ---- */

/* A hub that was asked to stop is gone when nobody holds its lock any more. */
static bool wait_for_end(const struct cli *cli, nsec_t max)
{
	nsec_t deadline = os_now() + max;
	struct hub_paths paths;
	struct os_lock *lock;

	if (hub_paths_init(cli->home, &paths) != OK)
		return false;
	while (os_now() < deadline) {
		if (os_lock_take(paths.lock, 1, &lock) == OK) {
			os_lock_free(lock);
			return true;
		}
		poll(NULL, 0, 20);
	}
	return false;
}

/* The hub of a library lives in another program, which is not ours to end. */
static bool is_hub_process(int pid)
{
	char path[64], *name;
	size_t len;
	bool is;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (pid <= 0 || os_file_read(path, 64, &name, &len) != OK)
		return false;
	is = strcmp(name, "nefia\n") == 0;
	free(name);
	return is;
}

/* It hears nothing, or a person has stopped it: a signal, and the one that cannot be ignored. What it keeps on disk survives that. */
static int end_hung(struct cli *cli, const struct hub_client *hc)
{
	int pid = hub_client_pid(hc);

	if (!is_hub_process(pid))
		return cli_error(cli, 1015, "the hub is part of another program (pid %d), which does not answer", pid);
	kill(pid, SIGTERM);
	kill(pid, SIGCONT);
	if (!wait_for_end(cli, HUNG_MAX) && is_hub_process(pid))
		kill(pid, SIGKILL);
	if (!wait_for_end(cli, STOP_MAX))
		return cli_error(cli, 1015, "the hub (pid %d) was killed and still runs", pid);
	printf("Hub ended (pid %d): it did not answer\n", pid);
	return EXIT_OK;
}

static int ask_stop(struct cli *cli, json_t **ret_reply)
{
	struct hub_client *hc = NULL;
	enum err e = hub_attach(cli->home, cli->config, false, &hc);
	int r = EXIT_OK;

	if (e == OK)
		e = hub_client_call(hc, "stop", NULL, CALL_MAX, ret_reply, NULL);
	if (e == ERR_TIMEOUT)
		r = end_hung(cli, hc);
	else if (e != OK)
		r = cli_error(cli, ecode_of_attach(e, hc), "%s", hub_client_message(hc));
	hub_client_close(hc);
	return r;
}

int cmd_hub_stop(struct cli *cli, int argc, char **argv)
{
	json_t *reply = NULL;
	int n_forwards, r;

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	r = ask_stop(cli, &reply);
	if (!reply)
		return r;
	if (!wait_for_end(cli, STOP_MAX)) {
		json_decref(reply);
		return cli_error(cli, 1015, "the hub was asked to stop and still runs");
	}
	printf("Hub stopped (pid %d)\n", (int)hub_json_int(reply, "pid", 0));
	n_forwards = (int)hub_json_int(reply, "forwards", 0);
	if (n_forwards > 0)
		printf("%d forward%s in the background will be back with the next hub; 'nefia forward --stop all' ends %s\n",
		       n_forwards, n_forwards == 1 ? "" : "s", n_forwards == 1 ? "it" : "them");
	json_decref(reply);
	return EXIT_OK;
}

int cmd_hub_reload(struct cli *cli, int argc, char **argv)
{
	struct hub_client *hc;
	json_t *reply = NULL;
	enum err e;

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	if (hub_client_open(cli, false, &hc) != OK)
		return EXIT_FAILED;
	e = hub_client_call(hc, "reload", json_pack("{s:b}", "take_back", true), CALL_MAX, &reply, NULL);
	if (e == OK)
		printf("Configuration loaded\n");
	else
		cli_error(cli, ecode_of_attach(e, hc), "%s", hub_client_message(hc));
	json_decref(reply);
	hub_client_close(hc);
	return e == OK ? EXIT_OK : EXIT_FAILED;
}

int cmd_hub_retry(struct cli *cli, int argc, char **argv)
{
	json_t *reply = NULL, *hosts, *host;
	struct hub_client *hc = NULL;
	size_t i;
	enum err e;
	int r;

	if (options_parse(cli, &argc, argv, NULL) != 0)
		return EXIT_USAGE;
	if (argc > 1 && !cli_host(cli, argv[1], &r))
		return r;
	e = hub_attach(cli->home, cli->config, false, &hc);
	if (e == ERR_NOT_FOUND) { /* nothing rests without a hub */
		hub_client_close(hc);
		printf("No host rests\n");
		return EXIT_OK;
	}
	if (e == OK)
		e = hub_client_call(hc, "retry", argc > 1 ? json_pack("{s:s}", "host", argv[1]) : NULL, CALL_MAX, &reply, NULL);
	if (e != OK)
		cli_error(cli, e == ERR_NOT_FOUND ? 1021 : ecode_of_attach(e, hc), "%s", hub_client_message(hc));
	hub_client_close(hc);
	if (e != OK)
		return EXIT_FAILED;
	hosts = json_object_get(reply, "hosts");
	json_array_foreach(hosts, i, host)
		printf("%s: the next command tries at once\n", json_string_value(host));
	if (json_array_size(hosts) == 0)
		printf(argc > 1 ? "%s does not rest\n" : "No host rests\n", argv[1]);
	json_decref(reply);
	return EXIT_OK;
}

/* ---- logs ---- */

#define FOLLOW_PAUSE_MS 250

struct logs_flags {
	int lines;
	bool follow;
};

const struct cli_option hub_logs_options[] = {
	{ "lines", 'n', "N", "the last N lines only", option_number, offsetof(struct logs_flags, lines) },
	{ "follow", 'f', NULL, "go on with what comes", option_flag, offsetof(struct logs_flags, follow) },
	{ .name = NULL },
};

/* Where the last @n lines of @fd begin, read backwards. */
static off_t last_lines(int fd, int n)
{
	off_t at = lseek(fd, 0, SEEK_END);
	char buf[4096];
	bool is_last = true;

	while (at > 0) {
		size_t len = at < (off_t)sizeof(buf) ? (size_t)at : sizeof(buf);

		if (pread(fd, buf, len, at - (off_t)len) != (ssize_t)len)
			return 0;
		while (len > 0) {
			/* The file's last line end begins no line. */
			if (buf[len - 1] == '\n' && !is_last && n-- == 1)
				return at;
			is_last = false;
			len--;
			at--;
		}
	}
	return 0;
}

/* What there is from here on. False: nobody takes it. */
static bool copy_log(int fd)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (os_write_all(STDOUT_FILENO, buf, (size_t)n) != OK)
			return false;
	return n == 0;
}

/* A full log is renamed, and another begins under its name. */
static bool was_rotated(int fd, const char *path)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && stat(path, &there) == 0 &&
	       (here.st_ino != there.st_ino || there.st_size < lseek(fd, 0, SEEK_CUR));
}

static bool follow_log(int *fd, const char *path)
{
	while (copy_log(*fd)) {
		poll(NULL, 0, FOLLOW_PAUSE_MS);
		if (was_rotated(*fd, path)) {
			int next = open(path, O_RDONLY | O_CLOEXEC);

			if (next < 0)
				continue;
			if (!copy_log(*fd)) {
				close(next);
				return false;
			}
			close(*fd);
			*fd = next;
		}
	}
	return false;
}

int cmd_hub_logs(struct cli *cli, int argc, char **argv)
{
	struct logs_flags flags = { .lines = -1 };
	struct hub_paths paths;
	int fd, why;
	bool ok;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	if (hub_paths_init(cli->home, &paths) != OK)
		return cli_error(cli, HUB_ECODE_START, HUB_SOCKET_TOO_LONG);
	fd = open(paths.log, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		fprintf(stderr, "No log yet: %s\n", paths.log);
		return EXIT_OK;
	}
	if (fd < 0)
		return cli_error(cli, 1041, "%s: %s", paths.log, strerror(errno));
	if (flags.lines >= 0)
		lseek(fd, flags.lines ? last_lines(fd, flags.lines) : 0, flags.lines ? SEEK_SET : SEEK_END);
	ok = flags.follow ? follow_log(&fd, paths.log) : copy_log(fd);
	why = errno;
	close(fd);
	return ok ? EXIT_OK : cli_error(cli, 1041, "%s to standard output: %s", paths.log, strerror(why));
}

/* ---- run ---- */

static const char *option_level(const char *value, void *field)
{
	return log_level_parse(value, field) ? NULL : "debug, info, warn or error";
}

const struct cli_option hub_options[] = {
	{ "uapi-dir", 0, "DIR", "the folder of the userspace API's socket", option_text, offsetof(struct hub_options, uapi_dir) },
	{ "log-level", 0, "LEVEL", "debug, info, warn or error", option_level, offsetof(struct hub_options, log_level) },
	{ "config", 0, "FILE", NULL, option_text, offsetof(struct hub_options, config) },
	{ "transient", 0, NULL, NULL, option_flag, offsetof(struct hub_options, transient) },
	{ "report-fd", 0, "FD", NULL, option_number, offsetof(struct hub_options, report_fd) },
	{ .name = NULL },
};

int cmd_hub(struct cli *cli, int argc, char **argv)
{
	struct hub_options opt = { .home = cli->home, .config = cli->config, .report_fd = -1, .log_level = LOG_INFO };

	if (options_parse(cli, &argc, argv, &opt) != 0)
		return EXIT_USAGE;
	return hub_main(&opt);
}
