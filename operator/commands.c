/* operator/commands.c - the table of commands; each command's options stand beside its code. */
#include "operator/cmd.h"

#define OPERANDS(n_least, n_most, text) .least = n_least, .most = n_most, .operands = text

static const struct command host_words[] = {
	{ .name = "add", .fn = cmd_host_add, .summary = "add a host to nefia.yaml", OPERANDS(1, 1, "NAME"),
	  .options = host_add_options,
	  .notes = "With a public key, the peer block for that agent is printed; without, the agent's key is made and its\n"
		   "complete agent.yaml written." },
	{ .name = "list", .fn = cmd_host_list, .summary = "list the hosts", .options = host_json_options },
	{ .name = "show", .fn = cmd_host_show, .summary = "show one host", OPERANDS(1, 1, "NAME"),
	  .options = host_json_options },
	{ .name = "rename", .fn = cmd_host_rename, .summary = "give a host another name", OPERANDS(2, 2, "OLD NEW") },
	{ .name = "remove", .fn = cmd_host_remove, .summary = "remove a host", OPERANDS(1, 1, "NAME") },
	{ .name = NULL },
};

static const struct command fs_words[] = {
	{ .name = "ls", .fn = cmd_fs_ls, .summary = "list folders", OPERANDS(1, -1, "HOST:[PATH]..."),
	  .options = fs_ls_options },
	{ .name = "get", .fn = cmd_fs_get, .summary = "copy from a host", OPERANDS(2, -1, "HOST:PATH... LOCAL"),
	  .options = fs_get_options },
	{ .name = "put", .fn = cmd_fs_put, .summary = "copy to a host", OPERANDS(2, -1, "LOCAL... HOST:[PATH]"),
	  .options = fs_put_options },
	{ .name = "cat", .fn = cmd_fs_cat, .summary = "print files", OPERANDS(1, -1, "HOST:PATH..."),
	  .options = fs_cat_options },
	{ .name = "rm", .fn = cmd_fs_rm, .summary = "remove files and folders", OPERANDS(1, -1, "HOST:PATH..."),
	  .options = fs_rm_options },
	{ .name = "mkdir", .fn = cmd_fs_mkdir, .summary = "make folders", OPERANDS(1, -1, "HOST:PATH..."),
	  .options = fs_mkdir_options },
	{ .name = "mv", .fn = cmd_fs_mv, .summary = "move or rename at a host", OPERANDS(2, -1, "HOST:PATH... HOST:PATH"),
	  .options = fs_mv_options },
	{ .name = "stat", .fn = cmd_fs_stat, .summary = "show what a name is", OPERANDS(1, -1, "HOST:PATH..."),
	  .options = fs_stat_options },
	{ .name = "chmod", .fn = cmd_fs_chmod, .summary = "change modes", OPERANDS(2, -1, "MODE HOST:PATH..."),
	  .options = fs_chmod_options },
	{ .name = "df", .fn = cmd_fs_df, .summary = "show the space of file systems", OPERANDS(1, -1, "HOST:[PATH]..."),
	  .options = fs_df_options },
	{ .name = "find", .fn = cmd_fs_find, .summary = "list everything below", OPERANDS(1, -1, "HOST:[PATH]..."),
	  .options = fs_find_options },
	{ .name = NULL },
};

static const struct command vpn_words[] = {
	{ .name = "status", .fn = cmd_vpn_status, .summary = "show the tunnel and its hosts",
	  .options = vpn_status_options },
	{ .name = "invite", .fn = cmd_vpn_invite, .summary = "a token for a new host, and wait for it",
	  .options = invite_options },
	{ .name = "reinvite", .fn = cmd_vpn_reinvite, .summary = "a new token for a host, which keeps its address",
	  .options = reinvite_options },
	{ .name = "listen", .fn = cmd_vpn_listen, .summary = "wait for invited hosts", .options = listen_options },
	{ .name = "approve", .fn = cmd_vpn_approve, .summary = "let hosts in that wait for approval",
	  OPERANDS(0, -1, "[HOST]..."), .options = approve_options },
	{ .name = "enroll-status", .fn = cmd_vpn_enroll_status, .summary = "what became of an invite",
	  .options = enroll_status_options },
	{ .name = "token-info", .fn = cmd_vpn_token_info, .summary = "what a token says", .options = token_info_options },
	{ .name = "revoke", .fn = cmd_vpn_revoke, .summary = "shut a host out of the tunnel", .options = revoke_options },
	{ .name = NULL },
};

static const struct command hub_words[] = {
	{ .name = "stop", .fn = cmd_hub_stop, .summary = "end the running hub" },
	{ .name = "reload", .fn = cmd_hub_reload, .summary = "have the running hub read nefia.yaml again" },
	{ .name = "retry", .fn = cmd_hub_retry, .summary = "try hosts at once that rest after failures", OPERANDS(0, 1, "[HOST]") },
	{ .name = "logs", .fn = cmd_hub_logs, .summary = "print the hub's log", .options = hub_logs_options },
	{ .name = NULL },
};

static const struct command wg_words[] = {
	{ .name = "show", .fn = cmd_wg_show, .summary = "show what runs", OPERANDS(0, 1, "[NAME]"),
	  .options = wg_options },
	{ .name = "showconf", .fn = cmd_wg_show, .summary = "print what runs as a configuration",
	  OPERANDS(0, 1, "[NAME]"), .options = wg_options },
	{ .name = "set", .fn = cmd_wg_set, .summary = "change what runs", .in_order = true, .options = wg_options,
	  OPERANDS(2, -1, "NAME [private-key FILE] [listen-port PORT]\n"
			  "                [peer KEY [remove] [preshared-key FILE] [endpoint IP:PORT]\n"
			  "                [persistent-keepalive SECONDS|off] [allowed-ips A/B,...]]...") },
	{ .name = NULL },
};

static const struct command completion_words[] = {
	{ .name = "bash", .fn = cmd_completion, .summary = "the script for bash" },
	{ .name = "zsh", .fn = cmd_completion, .summary = "the script for zsh" },
	{ .name = "fish", .fn = cmd_completion, .summary = "the script for fish" },
	{ .name = NULL },
};

const struct command commands[] = {
	{ .name = "init", .fn = cmd_init, .summary = "make the operator's key and nefia.yaml" },
	{ .name = "host", .summary = "add, list, show, rename, remove hosts", .words = host_words },
	{ .name = "exec", .fn = cmd_exec, .summary = "run a command on hosts", OPERANDS(0, -1, "-- COMMAND..."),
	  .options = exec_options, .in_order = true,
	  .notes = "SELECTOR: host ids, groups, tags or 'all', joined by commas. With one host standard input is passed on,\n"
		   "and the exit status is the remote one: 128 + the number of a signal, 124 the time limit, 255 our own\n"
		   "failure. With several hosts it is 1 if any failed. Ctrl-C stops the remote commands; twice leaves." },
	{ .name = "shell", .fn = cmd_shell, .summary = "a terminal at a host", OPERANDS(1, -1, "HOST [COMMAND...]"),
	  .options = shell_options, .in_order = true,
	  .notes = "After a line's end ~. ends the session, ~^Z suspends nefia, ~? lists what there is. Exit status as exec's." },
	{ .name = "fs", .summary = "files at a host: list, copy, move, remove", .words = fs_words,
	  .notes = "Paths at a host begin at the login folder; HOST: alone is that folder. *, ?, [a-z] in them are expanded there: put\n"
		   "them in quotes, so that your shell leaves them. A backslash takes the meaning of the next character away;\n"
		   "--no-glob of all. A file that arrives takes its place in one step when it is whole." },
	{ .name = "nc", .fn = cmd_nc, OPERANDS(2, 2, "HOST PORT"), .options = nc_options,
	  .summary = "a stream to a host's port on standard input and output (for ssh's ProxyCommand)" },
	{ .name = "ssh-config", .fn = cmd_ssh_config, .options = ssh_config_options,
	  .summary = "what plain ssh, scp, rsync and git need to know of the hosts",
	  .notes = "Then: ssh HOST.nefia, scp FILE HOST.nefia:, rsync, git clone HOST.nefia:REPO. Hosts that are added later are\n"
		   "found too; run it again when users or identities changed." },
	{ .name = "forward", .fn = cmd_forward, .summary = "local ports that lead to or through a host",
	  OPERANDS(0, -1, "HOST [BIND:]PORT:TARGET:PORT..."), .options = forward_options,
	  .notes = "BIND is 127.0.0.1 unless given, * every address; PORT 0 = any. A path stands for a Unix socket:\n"
		   "/tmp/db.sock:localhost:5432, 8080:/run/app.sock." },
	{ .name = "vpn", .summary = "look at the tunnel, bring hosts into it", .words = vpn_words },
	{ .name = "hub", .fn = cmd_hub, .summary = "keep the tunnel up", .options = hub_options, .words = hub_words },
	{ .name = "wg", .fn = cmd_wg_show, .summary = "the wg tool's view of a running hub or agent", .words = wg_words,
	  .options = wg_options,
	  .notes = "NAME: nefia (the hub, default) or nefia-agent. What is set lasts until the next reload." },
	{ .name = "export", .fn = cmd_export, .summary = "move the operator to another machine: write an encrypted file",
	  OPERANDS(1, 1, "FILE"), .options = export_options,
	  .notes = "This machine is retired by it: two with one key would take the hosts from each other." },
	{ .name = "import", .fn = cmd_import, .summary = "move the operator here, from such a file",
	  OPERANDS(1, 1, "FILE"), .options = export_options },
	{ .name = "completion", .summary = "a script that completes commands, options, hosts and paths",
	  .words = completion_words },
	{ .name = "version", .fn = cmd_version, .summary = "print version, commit and build date" },
	{ .name = NULL },
};
