/* operator/cmd.h - the command line's frame: what every command gets, and the table of commands. */
#ifndef OPERATOR_CMD_H
#define OPERATOR_CMD_H

#include <limits.h>
#include <stdio.h>

#include "base/err.h"
#include "operator/config.h"
#include "operator/options.h"

#define EXIT_OK 0
#define EXIT_FAILED 1
#define EXIT_USAGE 2

struct cli {
	char home[PATH_MAX];   /* $NEFIA_HOME, else ~/.nefia; --config's folder when that is given */
	char config[PATH_MAX]; /* the nefia.yaml in use */
	bool json;             /* errors as JSON too */
	bool colour;           /* standard output is a terminal, and NO_COLOR is not set */
	struct config cfg;     /* after cli_load() */
	bool loaded;
	const struct command *cmd; /* what runs, and its whole name as typed */
	char called[40];
};

/** cli_load() - the configuration, once; prints the error itself. Return: an exit code, 0 = loaded. */
MUST_CHECK int cli_load(struct cli *cli);
/** cli_host() - a host of the configuration, which is loaded first; NULL after a message, with the exit code */
const struct host_config *cli_host(struct cli *cli, const char *id, int *ret_exit);
/** error_print() - an error in its one form, see cmd.c; @detail: what happened this time, or NULL */
void error_print(FILE *f, bool json, unsigned ecode, const char *detail);
/** cli_error() - error_print() on standard error. Return: EXIT_FAILED, for `return cli_error(...)`. */
int cli_error(const struct cli *cli, unsigned ecode, const char *detail, ...) PRINTF_LIKE(3, 4);
struct hub_client;
/** cli_hub_error() - what the hub said of @host, under its code, or @otherwise when it gave none */
int cli_hub_error(const struct cli *cli, const struct hub_client *hc, const char *host, unsigned otherwise);
/** cli_flush() - out with standard output. Return: @r; EXIT_FAILED, and said, when @r is EXIT_OK and it could not be written. */
int cli_flush(const struct cli *cli, int r);
/** cli_usage() - a usage error on standard error, in the name of the command that runs. Return: EXIT_USAGE. */
int cli_usage(const struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

extern const struct cli_option fs_ls_options[], fs_get_options[], fs_put_options[], fs_cat_options[], fs_rm_options[];
extern const struct cli_option fs_mkdir_options[], fs_mv_options[], fs_stat_options[], fs_chmod_options[], fs_df_options[];
extern const struct cli_option fs_find_options[];
extern const struct cli_option exec_options[], forward_options[], host_add_options[], host_json_options[];
extern const struct cli_option hub_options[], hub_logs_options[], nc_options[], shell_options[], vpn_status_options[], wg_options[];

extern const struct cli_option invite_options[], reinvite_options[], listen_options[], approve_options[];
extern const struct cli_option export_options[], enroll_status_options[], token_info_options[], revoke_options[];
extern const struct cli_option ssh_config_options[];

int cmd_vpn_invite(struct cli *cli, int argc, char **argv);
int cmd_vpn_reinvite(struct cli *cli, int argc, char **argv);
int cmd_vpn_listen(struct cli *cli, int argc, char **argv);
int cmd_vpn_approve(struct cli *cli, int argc, char **argv);
int cmd_vpn_enroll_status(struct cli *cli, int argc, char **argv);
int cmd_vpn_token_info(struct cli *cli, int argc, char **argv);
int cmd_vpn_revoke(struct cli *cli, int argc, char **argv);
int cmd_export(struct cli *cli, int argc, char **argv);
int cmd_import(struct cli *cli, int argc, char **argv);
int cmd_init(struct cli *cli, int argc, char **argv);
int cmd_host_add(struct cli *cli, int argc, char **argv);
int cmd_host_list(struct cli *cli, int argc, char **argv);
int cmd_host_show(struct cli *cli, int argc, char **argv);
int cmd_host_rename(struct cli *cli, int argc, char **argv);
int cmd_host_remove(struct cli *cli, int argc, char **argv);
int cmd_hub(struct cli *cli, int argc, char **argv);
int cmd_hub_stop(struct cli *cli, int argc, char **argv);
int cmd_hub_retry(struct cli *cli, int argc, char **argv);
int cmd_hub_reload(struct cli *cli, int argc, char **argv);
int cmd_hub_logs(struct cli *cli, int argc, char **argv);
int cmd_vpn_status(struct cli *cli, int argc, char **argv);
int cmd_exec(struct cli *cli, int argc, char **argv);
int cmd_fs_ls(struct cli *cli, int argc, char **argv);
int cmd_fs_cat(struct cli *cli, int argc, char **argv);
int cmd_fs_rm(struct cli *cli, int argc, char **argv);
int cmd_fs_mkdir(struct cli *cli, int argc, char **argv);
int cmd_fs_mv(struct cli *cli, int argc, char **argv);
int cmd_fs_stat(struct cli *cli, int argc, char **argv);
int cmd_fs_chmod(struct cli *cli, int argc, char **argv);
int cmd_fs_df(struct cli *cli, int argc, char **argv);
int cmd_fs_find(struct cli *cli, int argc, char **argv);
int cmd_fs_put(struct cli *cli, int argc, char **argv);
int cmd_fs_get(struct cli *cli, int argc, char **argv);
/** forward_background() - hand the forward to the hub: `forward --background`. Return: the exit code. */
int forward_background(struct cli *cli, const char *host, char *const *args, size_t n_args, size_t n_ports);
int forward_list(struct cli *cli);
/** forward_stop() - @which: an id, a host, or "all" */
int forward_stop(struct cli *cli, const char *which);
int cmd_forward(struct cli *cli, int argc, char **argv);
int cmd_shell(struct cli *cli, int argc, char **argv);
int cmd_ssh_config(struct cli *cli, int argc, char **argv);
int cmd_nc(struct cli *cli, int argc, char **argv);
int cmd_wg_show(struct cli *cli, int argc, char **argv);
int cmd_wg_set(struct cli *cli, int argc, char **argv);
int cmd_completion(struct cli *cli, int argc, char **argv);
/**
 * completion_offer() - `completion --words WORD...`: what could stand in place of the last word, one a line
 * @quoted: words are as a shell has them, and so is what is offered for paths; else (--plain-words) all are plain
 */
int completion_offer(struct cli *cli, int argc, char **argv, bool quoted);
int cmd_version(struct cli *cli, int argc, char **argv);

#endif
