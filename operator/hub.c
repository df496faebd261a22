/*
 * operator/hub.c - the hub process: start, reload, end.
 *
 * Order of the start: the lock (one hub for each Nefia folder; the kernel frees it when we die, however), the configuration, the
 * tunnel, the control socket, then the word to whoever started us. Whoever finds the lock taken and wants a
 * transient hub just attaches to the winner, so two first commands never use one key at the same time.
 *
 * A transient hub ends when nobody used it for HUB_LINGER; a client and a connection that a client asked for both
 * count as use, the workers' own connections do not. At the end the socket is closed before the lock is given back,
 * so that a command which comes in between finds nobody and starts anew.
 */
#include "operator/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "base/version.h"
#include "operator/cmd.h"
#include "operator/hub_internal.h"
#include "os/log.h"
#include "os/proc.h"

/* ---- paths ---- */

static enum err join(char out[PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	return n > 0 && n < PATH_MAX ? OK : ERR_TOO_LONG;
}

static bool is_default_home(const char *home)
{
	const char *user = os_home();
	char path[PATH_MAX];

	return user && join(path, user, ".nefia") == OK && strcmp(path, home) == 0;
}

enum err hub_paths_init(const char *home, struct hub_paths *ret)
{
	const char *runtime = is_default_home(home) ? os_runtime_dir() : NULL;
	struct hub_paths p;
	enum err e = runtime ? join(p.run, runtime, "nefia") : join(p.run, home, "run");

	if (e == OK)
		e = join(p.socket, p.run, "hub.sock");
	if (e == OK)
		e = join(p.lock, p.run, "hub.lock");
	if (e == OK)
		e = join(p.log, home, "hub.log");
	if (e == OK)
		e = join(p.state, home, "hub-state.json");
	if (e == OK)
		e = join(p.seen, home, "vpn-status.json");
	if (e == OK)
		e = join(p.known_hosts, home, "known_hosts");
	if (e == OK && strlen(p.socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		e = ERR_TOO_LONG;
	if (e == OK)
		*ret = p;
	return e;
}

/* ---- telling who started us ---- */

static void report(struct hub *h, enum err e, unsigned ecode, const char *message)
{
	json_t *o = json_pack("{s:b, s:s, s:i, s:s}", "ok", e == OK, "error", err_name(e), "ecode", (int)ecode,
			      "message", message);
	char *text = json_dumps(o, JSON_COMPACT);

	if (e != OK && h->opt.report_fd < 0) {
		if (ecode == HUB_ECODE_PORT)
			hub_print_port_error(stderr, false, h->listen_port);
		else
			error_print(stderr, false, ecode, message);
	}
	if (text && h->opt.report_fd >= 0 && write(h->opt.report_fd, text, strlen(text)) < 0)
		log_debug("whoever started the hub is gone");
	if (h->opt.report_fd >= 0)
		close(h->opt.report_fd);
	h->opt.report_fd = -1;
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

void hub_stop(struct hub *h)
{
	h->stopping = true;
	os_loop_stop(h->loop);
}

static void on_linger(void *ctx)
{
	struct hub *h = ctx;

	if (h->n_conns == 0 && !hub_bridges_in_use(h))
		hub_stop(h);
}

void hub_user_gone(struct hub *h)
{
	if (h->opt.transient && !h->stopping && h->n_conns == 0 && !hub_bridges_in_use(h))
		os_timer_set(&h->linger, os_now() + HUB_LINGER);
}

static void on_persist(void *ctx)
{
	struct hub *h = ctx;

	hub_seen_update(h);
	hub_seen_save(h);
	os_timer_set(&h->persist, os_now() + HUB_PERSIST_EVERY);
}

struct hub_host *hub_find(struct hub *h, const char *name)
{
	for (size_t i = 0; i < h->n_hosts; i++)
		if (!h->hosts[i]->gone && strcmp(h->hosts[i]->peer.name, name) == 0)
			return h->hosts[i];
	return NULL;
}

enum err hub_reload(struct hub *h, char **ret_why)
{
	enum err e = hub_setup_load(h, ret_why);

	if (e == OK)
		e = hub_setup_apply(h);
	if (e == OK)
		log_info("configuration loaded hosts=%zu", h->n_hosts);
	return e;
}

static void on_signal(void *ctx, int signum)
{
	struct hub *h = ctx;
	char *why = NULL;

	if (signum != SIGHUP) {
		log_info("ending signal=%d", signum);
		hub_stop(h);
		return;
	}
	if (hub_reload(h, &why) != OK)
		log_error("configuration not reloaded: %s", why ? why : "unknown reason");
	free(why);
}

static void on_tunnel_event(void *ctx, const struct wg_event *ev)
{
	struct hub *h = ctx;

	/* Times reach the disk soon after a change, not after every handshake. */
	if (ev->kind == WG_EVENT_SESSION_UP && h->tunnel)
		os_timer_set(&h->persist, os_now() + NSEC_PER_SEC);
}

/* ---- start and end ---- */

static enum err take_lock(struct hub *h)
{
	char text[128];
	enum err e = os_mkdir_p(h->paths.run, 0700);
	int pid = 0;
	char *old;
	size_t len;

	if (e == OK)
		e = os_lock_take(h->paths.lock, h->opt.transient ? 1 : 2, &h->lock); /* a transient one may be just ending */
	if (e == ERR_IN_USE) {
		if (os_file_read(h->paths.lock, 64, &old, &len) == OK) {
			pid = atoi(old);
			free(old);
		}
		snprintf(text, sizeof(text), "a hub is already running (pid %d)", pid);
		report(h, e, HUB_ECODE_RUNNING, text);
	} else if (e != OK) {
		snprintf(text, sizeof(text), "cannot take the hub's lock: %s", err_text(e));
		report(h, e, HUB_ECODE_START, text);
	}
	return e;
}

/* The holder's process id stands in the lock file, for people and for the second hub's message. */
static void write_pid(const struct hub *h)
{
	int fd = open(h->paths.lock, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_debug("process id not written to the lock file");
	close(fd);
}

static enum err open_tunnel(struct hub *h)
{
	struct tunnel_config cfg = {
		.private_key = h->private_key,
		.n_addrs = h->n_addrs,
		.listen_port = h->listen_port,
		.port_fallback = h->opt.transient,
		.mtu = h->mtu,
		.congestion = h->congestion[0] ? h->congestion : NULL,
		.aead = h->aead[0] ? h->aead : NULL,
		.state_file = h->paths.state,
		.initiate = true,
		.on_event = on_tunnel_event,
		.ctx = h,
	};
	enum err e;

	memcpy(cfg.addrs, h->addrs, sizeof(cfg.addrs));
	e = tunnel_open(h->loop, &cfg, &h->tunnel);
	sodium_memzero(&cfg.private_key, sizeof(cfg.private_key));
	if (e == ERR_IN_USE)
		report(h, e, HUB_ECODE_PORT, "VPN setup failed");
	else if (e == ERR_UNSUPPORTED)
		report(h, e, HUB_ECODE_CONFIG, "vpn.aead names a provider that is not available on this machine");
	else if (e != OK)
		report(h, e, HUB_ECODE_START, err_text(e));
	return e;
}

static unsigned config_ecode(enum err e)
{
	if (e == ERR_NOT_FOUND)
		return 1001;
	return e == ERR_PERMISSION ? 1003 : HUB_ECODE_CONFIG;
}

static enum err open_all(struct hub *h)
{
	char *why = NULL;
	enum err e = hub_enroll_open(h);

	if (e == OK)
		e = hub_setup_load(h, &why);
	if (e != OK) {
		report(h, e, config_ecode(e), why ? why : err_text(e));
		free(why);
		return e;
	}
	hub_seen_load(h);
	e = open_tunnel(h);
	if (e != OK)
		return e;
	e = hub_setup_apply(h);
	if (e == OK)
		e = hub_conns_listen(h);
	if (e != OK) {
		report(h, e, HUB_ECODE_START, err_text(e));
		return e;
	}
	if (tunnel_uapi_open(h->loop, h->tunnel, h->opt.uapi_dir, h->paths.run, "nefia", &h->uapi) != OK)
		log_warn("no WireGuard control socket: its folder cannot be used");
	return OK;
}

static enum err open_loop(struct hub *h)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	h->loop = os_loop_new();
	if (!h->loop)
		return ERR_NOMEM;
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		enum err e = os_signal_on(h->loop, signals[i], on_signal, h);

		if (e != OK)
			return e;
	}
	os_timer_init(&h->linger, h->loop, on_linger, h);
	os_timer_init(&h->persist, h->loop, on_persist, h);
	return OK;
}

static void close_all(struct hub *h)
{
	h->stopping = true;
	hub_conns_close(h);
	hub_enroll_close(h);
	for (size_t i = 0; i < h->n_hosts; i++)
		hub_host_stop(h->hosts[i]);
	if (h->tunnel) {
		hub_bridges_abort(h);
		hub_seen_update(h);
		hub_seen_save(h);
		tunnel_uapi_close(h->uapi);
		tunnel_close(h->tunnel);
	}
	for (size_t i = 0; i < h->n_hosts; i++)
		hub_host_free(h->hosts[i]);
	free(h->hosts);
	hub_secrets_wipe(h);
	sodium_memzero(&h->private_key, sizeof(h->private_key));
	if (h->loop) {
		os_timer_cancel(&h->linger);
		os_timer_cancel(&h->persist);
		os_loop_free(h->loop);
	}
	os_lock_free(h->lock);
}

static enum err open_log(const struct hub *h)
{
	struct os_log_config log = {
		.level = LOG_INFO,
		.file = h->paths.log,
		.also_stderr = h->opt.report_fd < 0, /* somebody looks on */
		.max_size_mb = 10,
		.max_backups = 3,
	};

	if (h->opt.log_level && !log_level_parse(h->opt.log_level, &log.level))
		return ERR_INVALID;
	return os_log_open(&log);
}

int hub_main(const struct hub_options *opt)
{
	struct hub h = { .opt = *opt, .exit_code = 1 };
	enum err e = hub_paths_init(opt->home, &h.paths);

	list_init(&h.conns);
	list_init(&h.bridges);
	list_init(&h.secrets);
	h.started = os_now();
	if (e == OK)
		e = open_log(&h);
	if (e == OK)
		e = open_loop(&h);
	if (e != OK) {
		report(&h, e, HUB_ECODE_START, e == ERR_TOO_LONG ?
		       "the path of the control socket is too long: choose a shorter NEFIA_HOME" : err_text(e));
		goto out;
	}
	if (take_lock(&h) != OK)
		goto out;
	write_pid(&h);
	os_harden();
	if (open_all(&h) != OK)
		goto out;
	log_info("hub started version=%s pid=%d port=%u hosts=%zu transient=%d", NEFIA_VERSION, (int)getpid(),
		 tunnel_port(h.tunnel), h.n_hosts, h.opt.transient);
	report(&h, OK, 0, "ready");
	os_timer_set(&h.persist, os_now() + HUB_PERSIST_EVERY);
	if (h.opt.transient)
		os_timer_set(&h.linger, os_now() + HUB_FIRST_CLIENT);
	os_loop_run(h.loop);
	log_info("hub ended");
	h.exit_code = 0;
out:
	close_all(&h);
	os_log_close();
	return h.exit_code;
}
