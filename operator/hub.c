/*
 * operator/hub.c - the hub's core: lock, configuration, tunnel, control socket, on somebody's loop.
 *
 * Who has it: the hub process (hub_main.c), and libnefia's loop thread when no hub runs. It touches nothing that belongs to
 * the whole process: no signal, no log file, no limit.
 *
 * Order of the start: the lock (one hub for each Nefia folder; the kernel frees it when we die, however), the configuration,
 * the tunnel, the control socket. Whoever finds the lock taken attaches to the winner, so two that start at once never use one
 * key at the same time. At the end the socket is closed before the lock is given back, so that a command which comes in
 * between finds nobody and starts anew.
 *
 * A transient hub ends when nobody used it for HUB_LINGER; a client, a connection that a client asked for and a forward in the
 * background count as use, the workers' own connections do not. The end is told to the owner, who closes it. A guest in another program's
 * process ends when that says so.
 */
#include "operator/hub_core.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "base/version.h"
#include "operator/hub_internal.h"

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

bool hub_other_socket(const struct hub_paths *p, char ret[PATH_MAX])
{
	char *text, *line;
	size_t len;
	bool found;

	if (os_file_read(p->lock, PATH_MAX + 64, &text, &len) != OK)
		return false;
	line = strchr(text, '\n');
	len = line ? strcspn(line + 1, "\n") : 0;
	found = line && line[1] == '/' && len < PATH_MAX;
	if (found)
		snprintf(ret, PATH_MAX, "%.*s", (int)len, line + 1);
	free(text);
	return found && strcmp(ret, p->socket) != 0;
}

void hub_folder_init(const char *config, char home[PATH_MAX], char ret_config[PATH_MAX])
{
	const char *env = getenv("NEFIA_HOME"), *user = os_home();
	const char *slash = config ? strrchr(config, '/') : NULL;

	if (config && !(env && *env))
		snprintf(home, PATH_MAX, "%.*s", slash ? (int)(slash - config) : 1, slash ? config : ".");
	else if (env && *env)
		snprintf(home, PATH_MAX, "%s", env);
	else
		snprintf(home, PATH_MAX, "%s%s", user ? user : "", user ? "/.nefia" : "");
	if (config)
		snprintf(ret_config, PATH_MAX, "%s", config);
	else
		snprintf(ret_config, PATH_MAX, "%.*s/nefia.yaml", PATH_MAX - 12, home);
}

enum err hub_paths_init(const char *home, struct hub_paths *ret)
{
	const char *runtime = is_default_home(home) ? os_runtime_dir() : NULL;
	struct hub_paths p;
	enum err e = runtime ? join(p.run, runtime, "nefia") : join(p.run, home, "run");

	if (e == OK)
		e = join(p.socket, p.run, "hub.sock");
	if (e == OK)
		e = join(p.lock, home, "run/hub.lock");
	if (e == OK)
		e = join(p.log, home, "hub.log");
	if (e == OK)
		e = join(p.state, home, "hub-state.json");
	if (e == OK)
		e = join(p.seen, home, "vpn-status.json");
	if (e == OK)
		e = join(p.kept, home, "forwards.json");
	if (e == OK)
		e = join(p.known_hosts, home, "known_hosts");
	if (e == OK && strlen(p.socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		e = ERR_TOO_LONG;
	if (e == OK)
		*ret = p;
	return e;
}

/* ---- running ---- */

static bool is_in_use(const struct hub *h)
{
	return h->n_conns > 0 || h->n_keeps > 0 || hub_bridges_in_use(h);
}

void hub_stop(struct hub *h)
{
	if (h->stopping)
		return;
	h->stopping = true;
	h->opt.on_end(h->opt.ctx);
}

static void on_linger(void *ctx)
{
	struct hub *h = ctx;

	if (!is_in_use(h))
		hub_stop(h);
}

void hub_user_gone(struct hub *h)
{
	if (h->opt.transient && !h->opt.is_guest && !h->stopping && !is_in_use(h))
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

static void on_tunnel_event(void *ctx, const struct wg_event *ev)
{
	struct hub *h = ctx;

	if (ev->kind == WG_EVENT_SESSION_UP && h->tunnel)
		hub_hosts_heard(h, ev->peer);
	/* Times reach the disk soon after a change, not after every handshake. */
	if (ev->kind == WG_EVENT_SESSION_UP && h->tunnel)
		os_timer_set(&h->persist, os_now() + NSEC_PER_SEC);
}

/* ---- start and end ---- */

static enum err fail(struct hub_failure *f, enum err e, unsigned ecode, const char *fmt, ...) PRINTF_LIKE(4, 5);
static enum err fail(struct hub_failure *f, enum err e, unsigned ecode, const char *fmt, ...)
{
	va_list ap;

	f->ecode = ecode;
	va_start(ap, fmt);
	vsnprintf(f->message, sizeof(f->message), fmt, ap);
	va_end(ap);
	return e;
}

static enum err take_lock(struct hub *h, struct hub_failure *f)
{
	char folder[PATH_MAX];
	enum err e = join(folder, h->opt.home, "run");
	int pid = 0;
	char *old;
	size_t len;

	if (e == OK)
		e = os_mkdir_p(folder, 0700);
	if (e == OK)
		e = os_mkdir_p(h->paths.run, 0700);
	if (e == OK)
		e = os_lock_take(h->paths.lock, h->opt.transient ? 1 : 2, &h->lock); /* a transient one may be just ending */
	if (e == ERR_IN_USE) {
		if (os_file_read(h->paths.lock, PATH_MAX + 64, &old, &len) == OK) {
			pid = atoi(old);
			free(old);
		}
		return fail(f, e, HUB_ECODE_RUNNING, "a hub is already running (pid %d)", pid);
	}
	return e == OK ? OK : fail(f, e, HUB_ECODE_START, "the hub's lock %s: %s", h->paths.lock, err_text(e));
}

/* The holder's process id and socket stand in the lock file: for people, for the second hub's message, and for commands. */
static void write_pid(const struct hub *h)
{
	int fd = open(h->paths.lock, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return;
	if (ftruncate(fd, 0) != 0 || dprintf(fd, "%d\n%s\n", (int)getpid(), h->paths.socket) < 0)
		log_debug("process id not written to the lock file");
	close(fd);
}

/*
 * A peer heeds one handshake of ours in 20 ms, and the next try is 5 s later. The state file was last written when the hub
 * before us began one, so who opens again right after a close waits for that little rather than for the 5 s.
 */
static void let_handshakes_settle(const struct hub *h)
{
	struct stat st;
	uint64_t now = os_wall_now(), written;
	struct timespec pause = { 0, 0 };

	if (stat(h->paths.state, &st) != 0)
		return;
	written = (uint64_t)st.st_mtim.tv_sec * NSEC_PER_SEC + (uint64_t)st.st_mtim.tv_nsec;
	if (written > now || now - written >= HUB_SETTLE)
		return;
	pause.tv_nsec = (long)(HUB_SETTLE - (now - written));
	nanosleep(&pause, NULL);
}

static enum err open_tunnel(struct hub *h, struct hub_failure *f)
{
	struct tunnel_config cfg = {
		.private_key = h->private_key,
		.n_addrs = h->n_addrs,
		.listen_port = h->listen_port,
		.port_fallback = h->opt.transient,
		.mtu = h->mtu,
		.congestion = h->congestion[0] ? h->congestion : NULL,
		.aead = h->aead[0] ? h->aead : NULL,
		.aead_workers = h->aead_workers,
		.state_file = h->paths.state,
		.initiate = true,
		.is_guest = h->opt.is_guest,
		.on_event = on_tunnel_event,
		.ctx = h,
	};
	enum err e;

	memcpy(cfg.addrs, h->addrs, sizeof(cfg.addrs));
	let_handshakes_settle(h);
	e = tunnel_open(h->loop, &cfg, &h->tunnel);
	sodium_memzero(&cfg.private_key, sizeof(cfg.private_key));
	if (e == ERR_IN_USE)
		return fail(f, e, HUB_ECODE_PORT, "VPN setup failed");
	if (e == ERR_UNSUPPORTED)
		return fail(f, e, HUB_ECODE_CONFIG, "vpn.aead names a provider that is not available on this machine");
	return e == OK ? OK : fail(f, e, HUB_ECODE_START, "%s", err_text(e));
}

unsigned hub_config_ecode(enum err e)
{
	if (e == ERR_NOT_FOUND)
		return 1001;
	return e == ERR_PERMISSION ? 1003 : HUB_ECODE_CONFIG;
}

static enum err open_all(struct hub *h, struct hub_failure *f)
{
	char *why = NULL;
	enum err e = hub_enroll_open(h);

	if (e == OK)
		e = hub_setup_load(h, &why);
	if (e != OK) {
		fail(f, e, hub_config_ecode(e), "%s", why ? why : err_text(e));
		free(why);
		return e;
	}
	hub_seen_load(h);
	e = open_tunnel(h, f);
	if (e != OK)
		return e;
	hub_rival_open(h);
	e = hub_setup_apply(h);
	if (e == OK)
		e = hub_notice_open(h);
	if (e != OK)
		return fail(f, e, HUB_ECODE_START, "%s", err_text(e));
	e = hub_conns_listen(h);
	if (e != OK)
		return fail(f, e, HUB_ECODE_START, "the control socket %s: %s", h->paths.socket, err_text(e));
	if (tunnel_uapi_open(h->loop, h->tunnel, h->opt.uapi_dir, h->paths.run, "nefia", &h->uapi) != OK)
		log_warn("no WireGuard control socket: its folder cannot be used");
	return OK;
}

void hub_close(struct hub *h)
{
	if (!h)
		return;
	h->stopping = true;
	hub_conns_close(h);
	hub_enroll_close(h);
	hub_keeps_close(h);
	for (size_t i = 0; i < h->n_hosts; i++)
		hub_host_stop(h->hosts[i]);
	if (h->tunnel) {
		hub_rival_close(h);
		hub_bridges_abort(h);
		hub_seen_update(h);
		hub_seen_save(h);
		tunnel_uapi_close(h->uapi);
		hub_notice_close(h);
		tunnel_close(h->tunnel);
	}
	for (size_t i = 0; i < h->n_hosts; i++)
		hub_host_free(h->hosts[i]);
	free(h->hosts);
	hub_secrets_wipe(h);
	ssh_nursery_free(h->nursery);
	sodium_memzero(&h->private_key, sizeof(h->private_key));
	os_timer_cancel(&h->linger);
	os_timer_cancel(&h->persist);
	os_lock_free(h->lock);
	free(h);
}

/* Nothing is open yet; NULL without memory. */
static struct hub *new_hub(struct os_loop *loop, const struct hub_core_options *opt, const struct hub_paths *paths)
{
	struct hub *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->nursery = ssh_nursery_new(loop, opt->worker, opt->is_guest);
	if (!h->nursery) {
		free(h);
		return NULL;
	}
	h->paths = *paths;
	h->opt = *opt;
	h->loop = loop;
	h->started = os_now();
	h->last_bridge = (1 + rng_below(os_rng(), INT32_MAX - 1)) << 32;
	list_init(&h->conns);
	list_init(&h->bridges);
	list_init(&h->secrets);
	list_init(&h->keeps);
	os_timer_init(&h->linger, loop, on_linger, h);
	os_timer_init(&h->persist, loop, on_persist, h);
	return h;
}

enum err hub_open(struct os_loop *loop, const struct hub_core_options *opt, struct hub **ret, struct hub_failure *f)
{
	struct hub_paths paths;
	enum err e = hub_paths_init(opt->home, &paths);
	struct hub *h;

	*f = (struct hub_failure){ .ecode = HUB_ECODE_START };
	if (e != OK)
		return fail(f, e, HUB_ECODE_START, "%s", e == ERR_TOO_LONG ? HUB_SOCKET_TOO_LONG : err_text(e));
	h = new_hub(loop, opt, &paths);
	if (!h)
		return fail(f, ERR_NOMEM, HUB_ECODE_START, "%s", err_text(ERR_NOMEM));
	e = take_lock(h, f);
	if (e == OK) {
		write_pid(h);
		e = open_all(h, f);
	}
	f->port = h->listen_port;
	if (e != OK) {
		hub_close(h);
		return e;
	}
	os_timer_set(&h->persist, os_now() + HUB_PERSIST_EVERY);
	if (h->opt.transient && !h->opt.is_guest)
		os_timer_set(&h->linger, os_now() + HUB_FIRST_CLIENT);
	log_info("hub started version=%s pid=%d port=%u hosts=%zu transient=%d", NEFIA_VERSION, (int)getpid(),
		 tunnel_port(h->tunnel), h->n_hosts, h->opt.transient);
	if (!h->opt.is_guest)
		hub_keeps_resume(h);
	*ret = h;
	return OK;
}

int hub_lock_fd(const struct hub *h)
{
	return os_lock_fd(h->lock);
}
