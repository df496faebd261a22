/*
 * agent/run.c - `nefia-agent run`: the parts put together, signals, the command line.
 *
 * What runs: the tunnel; on it the forwards to the local sshd (forward.c) and the control port (control.c); beside it the
 * monitor, which writes the health file and rebuilds a dead tunnel. SIGTERM refuses what is new and lets what runs end for
 * 30 s, a second one ends at once. SIGHUP reads the configuration again; one that is wrong changes nothing.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/agent_internal.h"
#include "base/duration.h"
#include "base/version.h"
#include "os/log.h"
#include "os/proc.h"

#define N_FDS 256 /* 100 forwards, the control port and what the agent itself needs, twice over */
#define DRAIN_TIMEOUT (30 * NSEC_PER_SEC)

/* ---- signals ---- */

static void on_drain_end(void *ctx)
{
	os_loop_stop(((struct agent *)ctx)->loop);
}

void agent_forward_ended(struct agent *a)
{
	if (a->draining && a->n_forwards == 0)
		os_loop_stop(a->loop);
}

static void on_stop(void *ctx, int signum)
{
	struct agent *a = ctx;

	if (a->draining) {
		os_loop_stop(a->loop);
		return;
	}
	a->draining = true;
	os_tell_manager("STOPPING=1");
	agent_forward_refuse(a);
	if (a->n_forwards == 0) {
		os_loop_stop(a->loop);
		return;
	}
	log_info("stopping: waiting up to 30 s for open connections connections=%zu", a->n_forwards);
	agent_drain_start(a);
	os_timer_set(&a->drain_timer, os_loop_now(a->loop) + DRAIN_TIMEOUT);
}

static void apply_reload(struct agent *a, struct agent_config *next)
{
	enum err e = next->listen_port ? tunnel_set_port(a->tunnel, next->listen_port) : OK;

	if (e != OK)
		log_error("UDP port not changed port=%u error=%s", next->listen_port, err_text(e));
	if (tunnel_set_addrs(a->tunnel, next->addrs, next->n_addrs) != OK)
		log_error("address not changed");
	if (net_if_set_congestion(tunnel_if(a->tunnel), next->congestion[0] ? next->congestion : "cubic") != OK)
		log_error("congestion control not changed");
	if (strcmp(next->aead, a->cfg.aead) != 0)
		log_info("aead takes effect at the next start");
	if (next->aead_workers != a->cfg.aead_workers)
		log_info("aead_workers takes effect at the next start");
	tunnel_set_private(a->tunnel, &next->private_key);
	if (tunnel_set_peers(a->tunnel, next->peers, next->n_peers) != OK)
		log_error("not all peers could be set");
	a->cfg = *next;
	a->health.last_config_error[0] = '\0';
	log_info("configuration reloaded peers=%zu", a->cfg.n_peers);
}

static void on_hangup(void *ctx, int signum)
{
	struct agent *a = ctx;
	struct agent_config next;
	char why[512];

	if (agent_config_load(a->config_path, a->strict, &next, why, sizeof(why)) == OK) {
		apply_reload(a, &next);
		agent_config_wipe(&next);
	} else {
		log_error("configuration not reloaded, the old one stays: %s", why);
		snprintf(a->health.last_config_error, sizeof(a->health.last_config_error), "%s", why);
	}
	agent_monitor_report(a);
}

/* ---- start ---- */

static enum err start_tunnel(struct agent *a)
{
	struct tunnel_config cfg = { .private_key = a->cfg.private_key,
				     .n_addrs = a->cfg.n_addrs,
				     .listen_port = a->cfg.listen_port,
				     .state_file = a->state_path,
				     .congestion = a->cfg.congestion[0] ? a->cfg.congestion : NULL,
				     .aead = a->cfg.aead[0] ? a->cfg.aead : NULL,
				     .aead_workers = a->cfg.aead_workers,
				     .initiate = true,
				     .on_event = agent_monitor_event,
				     .ctx = a };
	enum err e;

	if (cfg.aead && !wg_aead_name_is_available(cfg.aead)) {
		fprintf(stderr, "nefia-agent: %s: aead: %s is not available on this machine; leave the field out to choose\n",
			a->config_path, cfg.aead);
		return ERR_UNSUPPORTED;
	}
	memcpy(cfg.addrs, a->cfg.addrs, sizeof(cfg.addrs));
	e = tunnel_open(a->loop, &cfg, &a->tunnel);
	a->health.tunnel = a->tunnel;
	if (e == ERR_IN_USE)
		fprintf(stderr, "nefia-agent: UDP port %u is in use by another program (listen_port)\n", cfg.listen_port);
	else if (e != OK)
		fprintf(stderr, "nefia-agent: the tunnel could not be opened: %s\n", err_text(e));
	if (e == OK)
		e = tunnel_set_peers(a->tunnel, a->cfg.peers, a->cfg.n_peers);
	if (e == OK)
		e = agent_forward_open(a);
	if (e == OK)
		e = agent_control_open(a);
	return e;
}

/* For the wg tool; an agent without it works all the same. */
static void start_uapi(struct agent *a)
{
	char folder[4096];

	agent_path_beside(a->config_path, "run", folder, sizeof(folder));
	if (tunnel_uapi_open(a->loop, a->tunnel, a->uapi_dir, folder, "nefia-agent", &a->uapi) != OK)
		log_warn("the userspace API is not served: no folder for its socket");
	else
		log_info("userspace API path=%s", tunnel_uapi_path(a->uapi));
}

static enum err start_signals(struct agent *a)
{
	enum err e = os_signal_on(a->loop, SIGTERM, on_stop, a);

	if (e == OK)
		e = os_signal_on(a->loop, SIGINT, on_stop, a);
	if (e == OK)
		e = os_signal_on(a->loop, SIGHUP, on_hangup, a);
	return e;
}

static void say_started(const struct agent *a)
{
	unsigned n_fds = os_raise_fds(N_FDS);

	if (n_fds < N_FDS)
		log_warn("few descriptors are allowed, connections beyond them are refused limit=%u wanted=%d (ulimit -n)", n_fds,
			 N_FDS);
	log_info("agent started version=%s config=%s peers=%zu port=%u ssh_addr=%s auto_update=off keyring=%s",
		 NEFIA_VERSION, a->config_path, a->cfg.n_peers, tunnel_port(a->tunnel), a->cfg.ssh_addr,
		 agent_keyring_name(a->cfg.keyring));
	if (a->cfg.later[0])
		log_info("configured, but not part of this version yet: %s", a->cfg.later);
}

static void agent_stop(struct agent *a)
{
	agent_monitor_stop(a);
	os_timer_cancel(&a->drain_timer);
	agent_drain_stop(a);
	agent_forward_close(a);
	if (a->tunnel) {
		agent_control_close(a);
		agent_health_end(&a->health, os_loop_now(a->loop));
		tunnel_kick(a->tunnel);
	}
	tunnel_uapi_close(a->uapi);
	tunnel_close(a->tunnel);
	os_loop_free(a->loop);
	os_lock_free(a->lock);
	agent_config_wipe(&a->cfg);
}

/* One process a key. Where no lock can be made (a folder that is not ours), the person sees to that. */
static enum err take_lock(struct agent *a)
{
	char path[4096];
	enum err e;

	snprintf(path, sizeof(path), "%s.lock", a->config_path);
	e = os_lock_take(path, 2, &a->lock); /* one that is just ending gets a second */
	if (e == ERR_IN_USE) {
		fprintf(stderr, "nefia-agent: another nefia-agent runs with %s\n", a->config_path);
		return e;
	}
	if (e != OK)
		log_warn("no lock against a second agent path=%s error=%s", path, err_text(e));
	return OK;
}

static int run(struct agent *a)
{
	list_init(&a->forwards);
	list_init(&a->controls);
	a->loop = os_loop_new();
	if (!a->loop)
		return 1;
	agent_monitor_init(a);
	os_timer_init(&a->drain_timer, a->loop, on_drain_end, a);
	if (take_lock(a) != OK || start_signals(a) != OK || start_tunnel(a) != OK) {
		agent_stop(a);
		return 1;
	}
	say_started(a);
	start_uapi(a);
	agent_monitor_start(a);
	os_tell_manager("READY=1");
	os_loop_run(a->loop);
	log_info("agent stopped");
	agent_stop(a);
	return 0;
}

/* ---- command line ---- */

static const struct option options[] = {
	{ "strict-permissions", optional_argument, NULL, 's' },
	{ "auto-update-interval", required_argument, NULL, 'u' },
	{ "log-file", required_argument, NULL, 'f' },
	{ "log-max-size", required_argument, NULL, 'S' },
	{ "log-max-backups", required_argument, NULL, 'B' },
	{ "log-max-age", required_argument, NULL, 'A' },
	{ "uapi-dir", required_argument, NULL, 'd' },
	{ NULL, 0, NULL, 0 },
};

struct run_options {
	bool strict;
	struct os_log_config log;
	const char *uapi_dir;
};

/* Digits alone; said when it is not. */
static bool take_number(const char *flag, const char *text, unsigned *ret)
{
	unsigned long n = strtoul(text, NULL, 10);

	if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 6) {
		fprintf(stderr, "nefia-agent: %s: a number from 0 to 999999 is expected, not '%s'\n", flag, text);
		return false;
	}
	*ret = (unsigned)n;
	return true;
}

static bool take_bool(const char *flag, const char *text, bool *ret)
{
	*ret = !text || strcmp(text, "true") == 0;
	if (*ret || strcmp(text, "false") == 0)
		return true;
	fprintf(stderr, "nefia-agent: %s is true or false, not '%s'\n", flag, text);
	return false;
}

static bool take_update_interval(const char *text)
{
	nsec_t t;

	if (duration_parse(text, &t) != OK) {
		fprintf(stderr, "nefia-agent: --auto-update-interval: a duration as in 6h is expected, not '%s'\n", text);
		return false;
	}
	if (t)
		fprintf(stderr, "nefia-agent: automatic updates are not part of this version yet\n");
	return true;
}

static bool take_option(int opt, struct run_options *o)
{
	switch (opt) {
	case 's':
		return take_bool("--strict-permissions", optarg, &o->strict);
	case 'u':
		return take_update_interval(optarg);
	case 'f':
		o->log.file = optarg;
		return true;
	case 'S':
		return take_number("--log-max-size", optarg, &o->log.max_size_mb);
	case 'B':
		return take_number("--log-max-backups", optarg, &o->log.max_backups);
	case 'A':
		return take_number("--log-max-age", optarg, &o->log.max_age_days);
	case 'd':
		o->uapi_dir = optarg;
		return true;
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct run_options *o)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take_option(opt, o))
			return false;
	if (optind < argc)
		fprintf(stderr, "nefia-agent: 'run' takes no argument '%s'\n", argv[optind]);
	return optind == argc;
}

/*
 * A file that was asked for must open; the default one is a convenience beside standard error, which a read-only root or
 * a missing home may deny. It must not be so large a thing as to keep the tunnel down.
 */
static bool open_log(struct run_options *o)
{
	const char *path = o->log.file;
	enum err e;

	o->log.also_stderr = true;
	if (path && strcmp(path, "-") == 0)
		o->log.file = NULL;
	e = path ? os_log_open(&o->log) : os_log_open_default(&o->log, "agent.log", &path);
	if (e == OK)
		return true;
	if (o->log.file) {
		fprintf(stderr, "nefia-agent: --log-file %s: %s\n", path, err_text(e));
		return false;
	}
	if (os_log_open(&o->log) != OK)
		return false;
	log_warn("no log file, lines go to standard error alone path=%s error=%s", *path ? path : "-", err_text(e));
	return true;
}

int agent_cmd_run(const struct agent_options *opt, int argc, char **argv)
{
	static struct agent a;
	struct run_options o = { .strict = true,
				 .log = { .level = opt->log_level, .max_size_mb = 50, .max_backups = 5, .max_age_days = 30 } };
	unsigned mode, uid;
	char why[512];

	if (!parse_options(argc, argv, &o)) {
		fprintf(stderr, "nefia-agent: see 'nefia-agent run --help'\n");
		return AGENT_EXIT_USAGE;
	}
	os_harden();
	if (!open_log(&o))
		return AGENT_EXIT_FAILURE;
	a = (struct agent){ .config_path = opt->config, .strict = o.strict, .uapi_dir = o.uapi_dir };
	if (agent_config_load(opt->config, o.strict, &a.cfg, why, sizeof(why)) != OK) {
		fprintf(stderr, "nefia-agent: %s\n", why);
		if (os_file_mode(opt->config, &mode, &uid) == ERR_NOT_FOUND)
			fprintf(stderr, "Try: nefia-agent enroll --token-file -, with the token that 'nefia vpn invite' prints; "
					"or name another file with --config.\n");
		return AGENT_EXIT_FAILURE;
	}
	agent_health_init(&a.health, opt->config, os_now());
	agent_path_beside(opt->config, "agent-state", a.state_path, sizeof(a.state_path));
	return run(&a);
}
