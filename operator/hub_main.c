/*
 * operator/hub_main.c - the hub as a process: signals, log file, hardening, and the word to whoever started it.
 *
 * A hub that a command started tells over a pipe that it is ready or why it is not; "another one was faster" is one of the
 * answers, and the command then attaches to that one.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "base/text.h"
#include "operator/cmd.h"
#include "operator/hub.h"
#include "operator/hub_core.h"
#include "os/log.h"
#include "os/proc.h"

struct process {
	const struct hub_options *opt;
	int report_fd;
	struct os_loop *loop;
	struct hub *hub;
};

/* ---- telling who started us ---- */

static void report(struct process *p, enum err e, struct hub_failure *f)
{
	json_t *o;
	char *text;

	text_make_utf8(f->message); /* it may name a file as it is called */
	o = json_pack("{s:b, s:s, s:i, s:s}", "ok", e == OK, "error", err_name(e), "ecode", (int)f->ecode,
		      "message", f->message);
	text = json_dumps(o, JSON_COMPACT);

	if (e != OK && p->report_fd < 0) {
		if (f->ecode == HUB_ECODE_PORT)
			hub_print_port_error(stderr, false, f->port);
		else
			error_print(stderr, false, f->ecode, f->message);
	}
	if (text && p->report_fd >= 0 && write(p->report_fd, text, strlen(text)) < 0)
		log_debug("whoever started the hub is gone");
	if (p->report_fd >= 0)
		close(p->report_fd);
	p->report_fd = -1;
	free(text);
	json_decref(o);
}

void hub_print_port_error(FILE *f, bool json, unsigned port)
{
	error_print(f, json, HUB_ECODE_PORT, NULL);
	if (json)
		return;
	if (port && port != 51820)
		fprintf(f, "The configured port is %u: lsof -i :%u shows who uses it.\n", port, port);
	else
		fprintf(f, "lsof -i :51820 shows who uses it; kill <PID> ends it.\n");
}

/* ---- running ---- */

static void on_signal(void *ctx, int signum)
{
	struct process *p = ctx;
	char *why = NULL;

	if (signum != SIGHUP) {
		log_info("ending signal=%d", signum);
		os_loop_stop(p->loop);
		return;
	}
	hub_rival_take_back(p->hub);
	if (hub_reload(p->hub, &why) != OK)
		log_error("configuration not reloaded: %s", why ? why : "unknown reason");
	free(why);
}

static enum err fail(struct hub_failure *f, const char *what, enum err e)
{
	snprintf(f->message, sizeof(f->message), "%.400s%s%s", what, *what ? ": " : "", err_text(e));
	return e;
}

static enum err open_log(const struct process *p, struct hub_failure *f)
{
	struct hub_paths paths;
	enum err e = hub_paths_init(p->opt->home, &paths);
	struct os_log_config log = {
		.level = p->opt->log_level,
		.file = paths.log,
		.also_stderr = p->report_fd < 0, /* somebody looks on */
		.max_size_mb = 10,
		.max_backups = 3,
	};

	if (e != OK)
		return fail(f, "NEFIA_HOME", e);
	e = os_log_open(&log);
	if (e != OK)
		snprintf(f->message, sizeof(f->message), "%.300s: %s. The hub writes into that folder; NEFIA_HOME names another",
			 paths.log, err_text(e));
	return e;
}

static enum err open_loop(struct process *p, struct hub_failure *f)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	enum err e = OK;

	p->loop = os_loop_new();
	if (!p->loop)
		return fail(f, "", ERR_NOMEM);
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(signals) && e == OK; i++)
		e = os_signal_on(p->loop, signals[i], on_signal, p);
	return e == OK ? OK : fail(f, "signals", e);
}

static void on_end(void *ctx)
{
	struct process *p = ctx;

	os_loop_stop(p->loop);
}

static enum err open_hub(struct process *p, struct hub_failure *f)
{
	const struct hub_core_options opt = {
		.home = p->opt->home,
		.config = p->opt->config,
		.transient = p->opt->transient,
		.uapi_dir = p->opt->uapi_dir,
		.on_end = on_end,
		.ctx = p,
	};

	return hub_open(p->loop, &opt, &p->hub, f);
}

int hub_main(const struct hub_options *opt)
{
	struct process p = { .opt = opt, .report_fd = opt->report_fd };
	struct hub_failure f = { .ecode = HUB_ECODE_START };
	enum err e = open_log(&p, &f);

	if (e == OK)
		e = open_loop(&p, &f);
	if (e != OK)
		goto out;
	os_harden();
	e = open_hub(&p, &f);
	if (e != OK)
		goto out;
	snprintf(f.message, sizeof(f.message), "ready");
	f.ecode = 0;
	report(&p, OK, &f);
	os_loop_run(p.loop);
	os_signals_hold();
	log_info("hub ended");
out:
	if (e != OK)
		report(&p, e, &f);
	hub_close(p.hub);
	if (p.loop)
		os_loop_free(p.loop);
	os_log_close();
	return e == OK ? 0 : 1;
}
