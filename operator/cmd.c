/* operator/cmd.c - the table of commands, loading the configuration, errors as people see them. */
#include "operator/cmd.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/ecode.h"
#include "base/version.h"

const struct command commands[] = {
	{ "init", cmd_init, "make the operator's key and nefia.yaml", "init [--address CIDR] [--listen-port N]" },
	{ "host", cmd_host, "add, list, show, rename, remove hosts",
	  "host add NAME [--public-key K] [--vpn-addr IP] [--endpoint IP:PORT] [--user U] [--identity F]\n"
	  "                      [--group G] [--tag T]... [--preshared-key-file F] [--agent-config FILE]\n"
	  "       nefia host list | show NAME | rename NAME NEW | remove NAME" },
	{ "hub", cmd_hub, "run the hub in the foreground; stop, reload, logs",
	  "hub [--uapi-dir DIR] [--log-level L]\n       nefia hub stop | reload | logs" },
	{ "exec", cmd_exec, "run a command on hosts",
	  "exec --target SELECTOR [--timeout D] [--json] -- COMMAND..." },
	{ "fs", cmd_fs, "copy a file to or from a host", "fs put LOCAL HOST:REMOTE | get HOST:REMOTE LOCAL" },
	{ "nc", cmd_nc, "join standard input and output with a host's port", "nc [--fdpass] HOST PORT" },
	{ "vpn", cmd_vpn, "state of the tunnel", "vpn status [--live] [--ping] [--json]" },
	{ "version", cmd_version, "print the version", "version" },
};
const size_t n_commands = ARRAY_SIZE(commands);

int cmd_version(struct cli *cli, int argc, char **argv)
{
	printf("nefia v%s commit %s built %s\n", NEFIA_VERSION, NEFIA_COMMIT, NEFIA_BUILD_DATE);
	return EXIT_OK;
}

int cli_error(const struct cli *cli, unsigned ecode, const char *detail, ...)
{
	const struct ecode *e = ecode_find(ecode);
	va_list ap;

	fprintf(stderr, "Error: [E%u] ", e->number);
	if (detail) {
		va_start(ap, detail);
		vfprintf(stderr, detail, ap);
		va_end(ap);
	} else {
		fputs(e->title, stderr);
	}
	fprintf(stderr, "\nTry: %s\n", e->hint);
	return EXIT_FAILED;
}

int cli_usage(const char *cmd, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nefia %s: ", cmd);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n'nefia %s --help' tells how it is used.\n", cmd);
	return EXIT_USAGE;
}

static unsigned ecode_of_load(enum err e)
{
	if (e == ERR_NOT_FOUND)
		return 1001;
	return e == ERR_PERMISSION ? 1003 : 1002;
}

int cli_load(struct cli *cli)
{
	char why[512] = "";
	enum err e;

	if (cli->loaded)
		return EXIT_OK;
	e = config_load(cli->config, &cli->cfg, why, sizeof(why));
	if (e != OK)
		return cli_error(cli, ecode_of_load(e), "%s", why[0] ? why : err_text(e));
	cli->loaded = true;
	return EXIT_OK;
}
