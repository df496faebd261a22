/* operator/commands.c - the table of commands; each command's options stand beside its code. */
#include "operator/cmd.h"

static const struct command host_words[] = {
	{ .name = "add", .summary = "add a host to nefia.yaml", .operands = "NAME", .options = host_add_options,
	  .notes = "With a public key, the peer block for that agent is printed; without, the agent's key is made and its\n"
		   "complete agent.yaml written." },
	{ .name = "list", .summary = "list the hosts", .options = host_json_options },
	{ .name = "show", .summary = "show one host", .operands = "NAME", .options = host_json_options },
	{ .name = "rename", .summary = "give a host another name", .operands = "OLD NEW" },
	{ .name = "remove", .summary = "remove a host", .operands = "NAME" },
	{ .name = NULL },
};

static const struct command fs_words[] = {
	{ .name = "put", .summary = "copy a file to a host", .operands = "LOCAL HOST:REMOTE" },
	{ .name = "get", .summary = "copy a file from a host", .operands = "HOST:REMOTE LOCAL" },
	{ .name = NULL },
};

static const struct command vpn_words[] = {
	{ .name = "status", .summary = "show the tunnel and its hosts", .options = vpn_status_options },
	{ .name = NULL },
};

static const struct command hub_words[] = {
	{ .name = "stop", .summary = "end the running hub" },
	{ .name = "reload", .summary = "have the running hub read nefia.yaml again" },
	{ .name = "logs", .summary = "print the hub's log" },
	{ .name = NULL },
};

static const struct command wg_words[] = {
	{ .name = "show", .summary = "show what runs", .operands = "[NAME]", .options = wg_options },
	{ .name = "showconf", .summary = "print what runs as a configuration", .operands = "[NAME]",
	  .options = wg_options },
	{ .name = "set", .summary = "change what runs", .in_order = true, .options = wg_options,
	  .operands = "NAME [private-key FILE] [listen-port PORT]\n"
		      "                [peer KEY [remove] [preshared-key FILE] [endpoint IP:PORT]\n"
		      "                [persistent-keepalive SECONDS|off] [allowed-ips A/B,...]]..." },
	{ .name = NULL },
};

static const struct command completion_words[] = {
	{ .name = "bash", .summary = "the script for bash" },
	{ .name = "zsh", .summary = "the script for zsh" },
	{ .name = "fish", .summary = "the script for fish" },
	{ .name = NULL },
};

const struct command commands[] = {
	{ .name = "init", .fn = cmd_init, .summary = "make the operator's key and nefia.yaml" },
	{ .name = "host", .fn = cmd_host, .summary = "add, list, show, rename, remove hosts", .words = host_words,
	  .needs_word = true },
	{ .name = "exec", .fn = cmd_exec, .summary = "run a command on hosts", .operands = "-- COMMAND...",
	  .options = exec_options, .in_order = true,
	  .notes = "SELECTOR: host ids, groups, tags or 'all', joined by commas. Exit status: the remote one; 255 our own\n"
		   "failure; 124 the time limit; with several hosts 1 if any failed." },
	{ .name = "fs", .fn = cmd_fs, .summary = "copy files", .words = fs_words, .needs_word = true },
	{ .name = "nc", .fn = cmd_nc, .operands = "HOST PORT", .options = nc_options,
	  .summary = "a stream to a host's port on standard input and output (for ssh's ProxyCommand)" },
	{ .name = "forward", .fn = cmd_forward, .summary = "a local port that leads to a host",
	  .operands = "HOST [BIND:]PORT", .options = forward_options, .notes = "BIND is 127.0.0.1 unless given; PORT 0 = any." },
	{ .name = "vpn", .fn = cmd_vpn, .summary = "look at the tunnel", .words = vpn_words, .needs_word = true },
	{ .name = "hub", .fn = cmd_hub, .summary = "keep the tunnel up", .options = hub_options, .words = hub_words },
	{ .name = "wg", .fn = cmd_wg, .summary = "the wg tool's view of a running hub or agent", .words = wg_words,
	  .needs_word = true, .notes = "NAME: nefia (the hub, default) or nefia-agent. What is set lasts until the next reload." },
	{ .name = "completion", .fn = cmd_completion, .summary = "a script that completes commands, options and hosts",
	  .words = completion_words, .needs_word = true },
	{ .name = "version", .fn = cmd_version, .summary = "print version, commit and build date" },
	{ .name = NULL },
};
