/*
 * operator/cmd.c - what every command has in common: errors as people see them, and the configuration.
 *
 *	Error: [E1021] No such host
 *	Why: web9 is not in nefia.yaml
 *	Try: See 'nefia host list' for the hosts, groups and tags there are.
 *
 * Title and next step come from the table of errors, so that a code always reads the same; the line between tells what
 * happened this time.
 */
#include "operator/cmd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/ecode.h"
#include "base/text.h"
#include "operator/hub_client.h"
#include "operator/json_text.h"

#define DETAIL_MAX 1536 /* what happened, with its end */

static void print_json_error(FILE *f, const struct ecode *e, const char *detail)
{
	char code[16], message[DETAIL_MAX], *text;
	json_t *o;

	snprintf(code, sizeof(code), "E%u", e->number);
	snprintf(message, sizeof(message), "%s", detail ? detail : e->title);
	text_make_utf8(message); /* it may have a file's name in it */
	o = json_pack("{s:{s:s, s:s, s:s, s:s}}", "error", "code", code, "title", e->title, "message", message, "try", e->hint);
	text = json_text(o, JSON_COMPACT);
	if (text)
		fprintf(f, "%s\n", text);
	free(text);
	json_decref(o);
}

void error_print(FILE *f, bool json, unsigned ecode, const char *detail)
{
	const struct ecode *e = ecode_find(ecode);

	if (detail && (!*detail || strcmp(detail, e->title) == 0))
		detail = NULL;
	if (json)
		print_json_error(f, e, detail);
	else
		fprintf(f, "Error: [E%u] %s\n%s%s%sTry: %s\n", e->number, e->title, detail ? "Why: " : "",
			detail ? detail : "", detail ? "\n" : "", e->hint);
}

int cli_error(const struct cli *cli, unsigned ecode, const char *fmt, ...)
{
	char detail[DETAIL_MAX] = "";
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		vsnprintf(detail, sizeof(detail), fmt, ap);
		va_end(ap);
	}
	error_print(stderr, cli->json, ecode, detail);
	return EXIT_FAILED;
}

int cli_flush(const struct cli *cli, int r)
{
	int why = fflush(stdout) != 0 ? errno : ferror(stdout) ? EIO : 0;

	if (why == 0 || r != EXIT_OK)
		return r;
	return cli_error(cli, 1041, "the output could not be written: %s", strerror(why));
}

int cli_hub_error(const struct cli *cli, const struct hub_client *hc, const char *host, unsigned otherwise)
{
	unsigned ecode = hub_client_ecode(hc);

	return cli_error(cli, ecode ? ecode : otherwise, "%s: %s", host, hub_client_message(hc));
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nefia %s: ", cli->called);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nSee 'nefia %s --help'.\n", cli->called);
	return EXIT_USAGE;
}

int cli_load(struct cli *cli)
{
	char why[600];
	enum err e;

	if (cli->loaded)
		return 0;
	e = config_load(cli->config, &cli->cfg, why, sizeof(why));
	if (e != OK)
		return cli_error(cli, e == ERR_NOT_FOUND ? 1001 : e == ERR_PERMISSION ? 1003 : 1002, "%s", why);
	cli->loaded = true;
	return 0;
}

const struct host_config *cli_host(struct cli *cli, const char *id, int *ret_exit)
{
	const struct host_config *h = NULL;

	*ret_exit = cli_load(cli);
	if (*ret_exit == 0)
		h = config_host(&cli->cfg, id);
	if (*ret_exit == 0 && !h)
		*ret_exit = cli_error(cli, 1021, "%s is not in %s", id, cli->config);
	return h;
}
