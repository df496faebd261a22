/*
 * agent/run.c - `nefia-agent run`: the tunnel, the way to the local sshd, signals, health.
 *
 * A connection to TCP 22 in the tunnel is a forward: its SYN is held while the local target is dialled, and is accepted only
 * when that stands. So a dead sshd is a refused connection at once. Forwards end on SIGTERM by themselves within 30 s.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/health.h"
#include "base/duration.h"
#include "base/list.h"
#include "base/version.h"
#include "os/file.h"
#include "os/log.h"
#include "os/proc.h"
#include "os/stream.h"

#define N_CONNS_MAX 100 /* N-AGT: number 101 is refused at once */
#define SSH_PORT 22
#define DIAL_TIMEOUT (5 * NSEC_PER_SEC)
#define DRAIN_TIMEOUT (30 * NSEC_PER_SEC)

struct agent {
	const char *config_path;
	bool strict;
	struct os_loop *loop;
	struct agent_config cfg;
	struct tunnel *tunnel;
	struct tunnel_uapi *uapi;
	const char *uapi_dir;
	struct net_listener *listener;
	struct list forwards;
	struct os_timer health_timer, drain_timer;
	struct agent_health health;
	char state_path[4096];
	bool draining;
	int ssh_reachable; /* -1 unknown */
};

struct forward {
	struct list link;
	struct agent *a;
	struct net_syn *syn;
	struct os_dial *dial;
	int fd;
	struct net_tcp *c;
	struct tunnel_bridge *bridge;
};

/* ---- forwards ---- */

static void forward_free(struct forward *f)
{
	struct agent *a = f->a;

	list_del(&f->link);
	free(f);
	if (a->draining && list_empty(&a->forwards))
		os_loop_stop(a->loop);
}

static void on_bridge_end(void *ctx, struct tunnel_bridge *b, enum err e)
{
	log_debug("forward ended result=%s", err_name(e));
	forward_free(ctx);
}

static void on_accepted(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct forward *f = ctx;

	if (ev == NET_TCP_CONNECTED &&
	    tunnel_bridge_start(f->a->loop, f->a->tunnel, f->fd, c, on_bridge_end, f, &f->bridge) == OK)
		return;
	if (ev != NET_TCP_CONNECTED && ev != NET_TCP_ERROR)
		return;
	net_tcp_abort(c);
	close(f->fd);
	forward_free(f);
}

static void note_reachable(struct agent *a, bool yes, enum err e)
{
	if (a->ssh_reachable == yes)
		return;
	a->ssh_reachable = yes;
	if (yes)
		log_info("SSH server is reachable addr=%s", a->cfg.ssh_addr);
	else
		log_warn("SSH server is not reachable addr=%s error=%s", a->cfg.ssh_addr, err_text(e));
}

static void on_dialled(void *ctx, enum err e, int fd)
{
	struct forward *f = ctx;
	struct agent *a = f->a;

	f->dial = NULL;
	note_reachable(a, e == OK, e);
	if (!f->syn) { /* it ended while we dialled */
		if (e == OK)
			close(fd);
		forward_free(f);
		return;
	}
	net_syn_set_gone(f->syn, NULL, NULL);
	if (e != OK) {
		net_syn_refuse(f->syn);
		forward_free(f);
	} else {
		f->fd = fd;
		if (net_syn_accept(f->syn, on_accepted, f, &f->c) != OK) {
			close(fd);
			forward_free(f);
		}
	}
	tunnel_kick(a->tunnel);
}

static void on_syn_gone(void *ctx)
{
	struct forward *f = ctx;

	f->syn = NULL;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct agent *a = ctx;
	struct forward *f = calloc(1, sizeof(*f));
	nsec_t deadline = os_loop_now(a->loop) + DIAL_TIMEOUT;

	if (!f) {
		net_syn_refuse(syn);
		return;
	}
	*f = (struct forward){ .a = a, .syn = syn, .fd = -1 };
	list_add_tail(&a->forwards, &f->link);
	net_syn_set_gone(syn, on_syn_gone, f);
	if (os_dial_start(a->loop, a->cfg.ssh_addr, deadline, on_dialled, f, &f->dial) != OK) {
		net_syn_set_gone(syn, NULL, NULL);
		net_syn_refuse(syn);
		forward_free(f);
	}
}

/* ---- health ---- */

static void write_health(struct agent *a)
{
	struct wg_device *dev = tunnel_device(a->tunnel);
	nsec_t now = os_loop_now(a->loop);
	bool up = false;

	for (wg_peer_id id = wg_peer_next(dev, 0); id; id = wg_peer_next(dev, id))
		up |= wg_peer_is_up(dev, id, now);
	a->health.vpn_connected = up;
	agent_health_write(&a->health, now);
	os_timer_set(&a->health_timer, now + 15 * NSEC_PER_SEC);
}

static void on_health_timer(void *ctx)
{
	write_health(ctx);
}

static void on_tunnel_event(void *ctx, const struct wg_event *ev)
{
	struct agent *a = ctx;
	char text[ENDPOINT_STR_MAX];

	switch (ev->kind) {
	case WG_EVENT_SESSION_UP:
		log_info("session up");
		break;
	case WG_EVENT_SESSION_DOWN:
		log_info("session down");
		break;
	case WG_EVENT_HANDSHAKE_FAILED:
		log_warn("no answer to handshakes for 90 s");
		break;
	case WG_EVENT_ENDPOINT:
		log_info("peer endpoint=%s", endpoint_format(&ev->endpoint, text));
		return;
	case WG_EVENT_UNDER_LOAD:
		log_warn("handshakes are %s", ev->on ? "limited: under load" : "no longer limited");
		return;
	case WG_EVENT_TIMESTAMP:
		return;
	}
	/* Soon, from the loop: the tunnel is in the middle of something. */
	os_timer_set(&a->health_timer, os_loop_now(a->loop));
}

/* ---- signals ---- */

static void on_drain_end(void *ctx)
{
	os_loop_stop(((struct agent *)ctx)->loop);
}

static void on_stop(void *ctx, int signum)
{
	struct agent *a = ctx;

	if (a->draining) {
		os_loop_stop(a->loop);
		return;
	}
	a->draining = true;
	net_listener_close(a->listener);
	a->listener = NULL;
	tunnel_kick(a->tunnel);
	if (list_empty(&a->forwards)) {
		os_loop_stop(a->loop);
		return;
	}
	log_info("stopping: waiting up to 30 s for open connections");
	os_timer_set(&a->drain_timer, os_loop_now(a->loop) + DRAIN_TIMEOUT);
}

static void apply_reload(struct agent *a, struct agent_config *next)
{
	enum err e = next->listen_port ? tunnel_set_port(a->tunnel, next->listen_port) : OK;

	if (e != OK)
		log_error("UDP port not changed port=%u error=%s", next->listen_port, err_text(e));
	if (next->n_addrs != a->cfg.n_addrs || memcmp(next->addrs, a->cfg.addrs, sizeof(next->addrs)) != 0)
		log_warn("address takes effect at the next start");
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
	write_health(a);
}

/* ---- start ---- */

static enum err start_tunnel(struct agent *a)
{
	struct tunnel_config cfg = { .private_key = a->cfg.private_key,
				     .n_addrs = a->cfg.n_addrs,
				     .listen_port = a->cfg.listen_port,
				     .state_file = a->state_path,
				     .initiate = true,
				     .on_event = on_tunnel_event,
				     .ctx = a };
	enum err e;

	memcpy(cfg.addrs, a->cfg.addrs, sizeof(cfg.addrs));
	e = tunnel_open(a->loop, &cfg, &a->tunnel);
	if (e == ERR_IN_USE)
		fprintf(stderr, "nefia-agent: UDP port %u is in use by another program (listen_port)\n", cfg.listen_port);
	else if (e != OK)
		fprintf(stderr, "nefia-agent: the tunnel could not be opened: %s\n", err_text(e));
	if (e == OK)
		e = tunnel_set_peers(a->tunnel, a->cfg.peers, a->cfg.n_peers);
	if (e == OK)
		e = net_tcp_listen(tunnel_if(a->tunnel), SSH_PORT, N_CONNS_MAX, on_syn, a, &a->listener);
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
	log_info("agent started version=%s config=%s peers=%zu port=%u ssh_addr=%s auto_update=off keyring=none",
		 NEFIA_VERSION, a->config_path, a->cfg.n_peers, tunnel_port(a->tunnel), a->cfg.ssh_addr);
	if (a->cfg.later[0])
		log_info("configured, but not part of this version yet: %s", a->cfg.later);
}

static void agent_stop(struct agent *a)
{
	os_timer_cancel(&a->health_timer);
	os_timer_cancel(&a->drain_timer);
	list_for_each_safe(it, &a->forwards) {
		struct forward *f = container_of(it, struct forward, link);

		if (f->bridge)
			tunnel_bridge_abort(f->bridge);
		os_dial_cancel(f->dial);
		list_del(it);
		free(f);
	}
	if (a->tunnel) {
		a->health.vpn_connected = false;
		agent_health_write(&a->health, os_loop_now(a->loop));
		tunnel_kick(a->tunnel);
	}
	tunnel_uapi_close(a->uapi);
	tunnel_close(a->tunnel);
	os_loop_free(a->loop);
	agent_config_wipe(&a->cfg);
}

static int run(struct agent *a)
{
	list_init(&a->forwards);
	a->loop = os_loop_new();
	if (!a->loop)
		return 1;
	os_timer_init(&a->health_timer, a->loop, on_health_timer, a);
	os_timer_init(&a->drain_timer, a->loop, on_drain_end, a);
	if (start_signals(a) != OK || start_tunnel(a) != OK) {
		agent_stop(a);
		return 1;
	}
	say_started(a);
	start_uapi(a);
	write_health(a);
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

static bool parse_options(int argc, char **argv, struct run_options *o)
{
	nsec_t t;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			o->strict = !optarg || strcmp(optarg, "false") != 0;
			break;
		case 'u':
			if (duration_parse(optarg, &t) != OK)
				return false;
			if (t)
				fprintf(stderr, "nefia-agent: automatic updates are not part of this version yet\n");
			break;
		case 'f':
			o->log.file = optarg;
			break;
		case 'S':
			o->log.max_size_mb = (unsigned)atoi(optarg);
			break;
		case 'B':
			o->log.max_backups = (unsigned)atoi(optarg);
			break;
		case 'A':
			o->log.max_age_days = (unsigned)atoi(optarg);
			break;
		case 'd':
			o->uapi_dir = optarg;
			break;
		default:
			return false;
		}
	}
	return optind == argc;
}

int agent_cmd_run(const struct agent_options *opt, int argc, char **argv)
{
	static struct agent a;
	struct run_options o = { .strict = true,
				 .log = { .level = opt->log_level, .max_size_mb = 50, .max_backups = 5, .max_age_days = 30 } };
	char why[512];
	enum err e;

	if (!parse_options(argc, argv, &o)) {
		fprintf(stderr, "nefia-agent: see 'nefia-agent run --help'\n");
		return 2;
	}
	os_harden();
	e = os_log_open(&o.log);
	if (e != OK) {
		fprintf(stderr, "nefia-agent: %s: %s\n", o.log.file, err_text(e));
		return 1;
	}
	a = (struct agent){ .config_path = opt->config, .strict = o.strict, .uapi_dir = o.uapi_dir, .ssh_reachable = -1 };
	if (agent_config_load(opt->config, o.strict, &a.cfg, why, sizeof(why)) != OK) {
		fprintf(stderr, "nefia-agent: %s\n", why);
		return 1;
	}
	agent_health_init(&a.health, opt->config, os_now());
	agent_path_beside(opt->config, "agent-state", a.state_path, sizeof(a.state_path));
	return run(&a);
}
