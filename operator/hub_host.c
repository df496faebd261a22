/*
 * operator/hub_host.c - what the hub runs for one host: its SSH worker, and the virtual connections between.
 *
 * A worker is started by the first session and ends by itself when it was idle. It asks for a connection to the
 * host's SSH port; we dial through the tunnel, make a socket pair, give the worker one end and let a bridge (hub_bridge.c) carry
 * bytes between the other end and the virtual connection. A worker that crashed is replaced at the next session; sessions that it
 * had not begun go to the next one (ssh/handover.h), and a command that was on its way meets no more than a delay.
 *
 * The breaker (ssh/breaker.h) stands where the worker asks to dial: what rests is the way to the host, while sessions on
 * a connection that stands go on. A dial that is let go stays in the list until the worker has told how the login went.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "operator/hub_internal.h"
#include "ssh/frame.h"

#define WORKERS_MAX 3 /* that one session is given to, one after the other: those before it died and had not begun it */
#define LOGIN_MAX (20 * NSEC_PER_SEC) /* the worker has told by then how it went */

struct worker_dial {
	struct list link;
	struct hub_host *host;
	struct tunnel_dial *dial; /* NULL: waits for the probe's outcome, or connected */
	uint32_t id;
	nsec_t began; /* 0: waits */
};

/* ---- what the worker asks for ---- */

static void hand_on(struct hub_host *hh);
static void start_dial(struct worker_dial *d);

/* Whole seconds, rounded up: a person who waits so long finds it over. */
static unsigned seconds_left(const struct breaker *b)
{
	nsec_t now = os_now();

	return b->until > now ? (unsigned)((b->until - now + NSEC_PER_SEC - 1) / NSEC_PER_SEC) : 0;
}

static void refuse_dial(struct worker_dial *d)
{
	struct hub_host *hh = d->host;
	char why[300];

	snprintf(why, sizeof(why), "circuit breaker open after %u failures in a row: %s. Next attempt in %u s; at once: nefia hub retry %s",
		 hh->breaker.n_failures, breaker_reason(&hh->breaker),
		 seconds_left(&hh->breaker), hh->peer.name);
	ssh_worker_dialed(hh->worker, d->id, ERR_PAUSED, why, -1);
	list_del(&d->link);
	free(d);
}

static struct worker_dial *first_waiting(struct hub_host *hh)
{
	list_for_each(it, &hh->dials) {
		struct worker_dial *d = container_of(it, struct worker_dial, link);

		if (!d->began)
			return d;
	}
	return NULL;
}

/* New ones, and those that waited for the probe. What is started may fail at once, and bring us here again. */
static void ask_breaker(struct hub_host *hh)
{
	struct worker_dial *d;

	while ((d = first_waiting(hh))) {
		enum breaker_answer a = breaker_ask(&hh->breaker, os_now());

		if (a == BREAKER_WAIT)
			return;
		if (a == BREAKER_REFUSE)
			refuse_dial(d);
		else
			start_dial(d);
	}
}

static void say_breaker(const struct hub_host *hh, enum breaker_state before)
{
	const struct breaker *b = &hh->breaker;

	if (b->state == BREAKER_OPEN)
		log_warn("circuit_breaker_open host=%s failures=%u reason=%s next_attempt_s=%u", hh->peer.name, b->n_failures,
			 err_name(b->reason), seconds_left(b));
	else if (before != BREAKER_CLOSED)
		log_info("circuit_breaker_closed host=%s", hh->peer.name);
}

/* An attempt is over; @d is freed. */
static void end_attempt(struct worker_dial *d, enum err e)
{
	struct hub_host *hh = d->host;
	enum breaker_state before = hh->breaker.state;
	nsec_t began = d->began;

	tunnel_dial_cancel(d->dial);
	list_del(&d->link);
	free(d);
	if (began && breaker_done(&hh->breaker, os_now(), began, e)) {
		say_breaker(hh, before);
		if (hh->worker)
			ask_breaker(hh);
	}
}

static void on_worker_dialed(void *ctx, enum err e, struct net_tcp *c)
{
	struct worker_dial *d = ctx;
	struct hub_host *hh = d->host;
	uint32_t id = d->id;
	int fd = -1;

	d->dial = NULL;
	if (e == OK)
		e = hub_bridge_add(hh->hub, c, false, &fd);
	if (e != OK)
		log_info("dial failed host=%s error=%s", hh->peer.name, err_name(e));
	ssh_worker_dialed(hh->worker, id, e, NULL, fd);
	if (e != OK)
		end_attempt(d, e);
}

static void start_dial(struct worker_dial *d)
{
	struct hub_host *hh = d->host;
	struct endpoint remote = { .ip = hh->ip, .port = HUB_SSH_PORT };
	enum err e;

	d->began = os_now();
	e = hh->gone ? ERR_NO_ROUTE :
		       tunnel_dial_start(hh->hub->tunnel, &remote, d->began + HUB_DIAL_MAX, on_worker_dialed, d, &d->dial);
	if (e == OK)
		return;
	ssh_worker_dialed(hh->worker, d->id, e, NULL, -1);
	end_attempt(d, e);
}

/* Outcomes that a worker owes for long: it does not do as it should, and nothing may wait for it. */
static void expire_attempts(struct hub_host *hh)
{
	nsec_t now = os_now();
	struct list *it = hh->dials.next;

	while (it != &hh->dials) {
		struct worker_dial *d = container_of(it, struct worker_dial, link);

		it = it->next;
		if (d->dial || !d->began || now < d->began + LOGIN_MAX)
			continue;
		end_attempt(d, ERR_TIMEOUT);
		it = hh->dials.next; /* others may have gone with it */
	}
}

static void on_worker_dial(void *ctx, struct ssh_worker *w, uint32_t dial_id)
{
	struct hub_host *hh = ctx;
	struct worker_dial *d = calloc(1, sizeof(*d));

	if (!d) {
		ssh_worker_dialed(w, dial_id, ERR_NOMEM, NULL, -1);
		return;
	}
	expire_attempts(hh);
	d->host = hh;
	d->id = dial_id;
	list_add_tail(&hh->dials, &d->link);
	ask_breaker(hh);
}

static void on_worker_outcome(void *ctx, struct ssh_worker *w, uint32_t dial_id, enum err e)
{
	struct hub_host *hh = ctx;

	list_for_each(it, &hh->dials) {
		struct worker_dial *d = container_of(it, struct worker_dial, link);

		if (d->id != dial_id)
			continue;
		/* It gave up while we dial, or while it had to wait. */
		if (d->dial || !d->began)
			ssh_worker_dialed(w, dial_id, ERR_CANCELLED, NULL, -1);
		end_attempt(d, e);
		return;
	}
}

static void on_worker_host_key(void *ctx, struct ssh_worker *w, bool accepted, const char *fingerprint)
{
	struct hub_host *hh = ctx;

	if (accepted)
		log_info("host key accepted for the first time host=%s fingerprint=%s", hh->peer.name, fingerprint);
	else
		log_error("host key refused host=%s fingerprint=%s", hh->peer.name, fingerprint);
}

/* The worker ended, by itself (@e says how that counts) or by us. */
static void end_attempts(struct hub_host *hh, enum err e)
{
	list_for_each_safe(it, &hh->dials)
		end_attempt(container_of(it, struct worker_dial, link), e);
}

static void free_worker(struct hub_host *hh, struct ssh_worker *w)
{
	hh->files_ended += ssh_worker_counts(w)->n_files_ended;
	ssh_worker_free(w);
}

/* It ended; @why is NULL when it was idle. What it had not begun waits in @left. */
static void bury(struct hub_host *hh, const char *why)
{
	struct ssh_worker *w = hh->worker;

	if (why)
		log_warn("ssh worker ended host=%s reason=%s", hh->peer.name, why);
	snprintf(hh->last_end, sizeof(hh->last_end), "%s", why ? why : "");
	hub_agent_cancel(hh);
	ssh_worker_leave(w, &hh->left);
	hh->worker = NULL;
	/* Killed during a login: the server's doing, as far as we know. */
	end_attempts(hh, why ? ERR_PROTOCOL : ERR_CANCELLED);
	free_worker(hh, w);
}

static void on_worker_end(void *ctx, struct ssh_worker *w, const char *why)
{
	bury(ctx, why);
	hand_on(ctx);
}

/* ---- starting it ---- */

static void on_worker_agent(void *ctx, struct ssh_worker *w, uint32_t dial_id, struct bytes request)
{
	hub_agent_ask(ctx, dial_id, request);
}

static const char *on_worker_secret(void *ctx, const char *path)
{
	return hub_secret_of(((struct hub_host *)ctx)->hub, path);
}

static void on_worker_keep_secret(void *ctx, const char *path, struct bytes passphrase)
{
	hub_secret_keep(((struct hub_host *)ctx)->hub, path, passphrase);
}

static struct ssh_worker_config worker_config(struct hub_host *hh, const struct ssh_identity *ids)
{
	return (struct ssh_worker_config){
		.host = hh->peer.name,
		.user = hh->user,
		.vpn_addr = hh->addr,
		.ids = ids,
		.n_ids = hh->n_ids,
		.known_hosts = hh->hub->paths.known_hosts,
		.file_size_max = hh->file_size_max,
		.list_max = hh->list_max,
		.root = hh->session_root,
		.program = hh->hub->opt.worker,
		.is_guest = hh->hub->opt.is_guest,
		.on_dial = on_worker_dial,
		.on_end = on_worker_end,
		.on_host_key = on_worker_host_key,
		.has_agent = true, /* a later command may bring one */
		.on_agent = on_worker_agent,
		.secret = on_worker_secret,
		.keep_secret = on_worker_keep_secret,
		.on_outcome = on_worker_outcome,
		.nursery = hh->hub->nursery,
		.ctx = hh,
	};
}

static enum err start_worker(struct hub_host *hh, char why[HUB_WHY_MAX])
{
	struct ssh_identity ids[HUB_IDENTITIES_MAX];
	size_t n_usable = hub_identities_read(hh, ids, why);
	struct ssh_worker_config cfg = worker_config(hh, ids);
	enum err e;

	if (n_usable == 0) {
		if (!why[0])
			snprintf(why, HUB_WHY_MAX, "no identity file is configured, none is in ~/.ssh, and there is no ssh-agent");
		hub_identities_wipe(ids, hh->n_ids);
		return ERR_AUTH;
	}
	e = ssh_worker_start(hh->hub->loop, &cfg, &hh->worker);
	hub_identities_wipe(ids, hh->n_ids);
	if (e == OK || e == ERR_AGAIN)
		return e;
	snprintf(why, HUB_WHY_MAX, "cannot start the SSH worker%s%s: %s", cfg.program ? " " : "", cfg.program ? cfg.program : "",
		 ssh_worker_start_text(e));
	/* Whatever else it was, a command would take for the host's doing, or for a hub of another version. */
	return ERR_CLOSED;
}

/* To the worker, or to a new one. That it died a moment ago is heard soon, and what was given to it comes back by bury(). */
static enum err give(struct hub_host *hh, struct ssh_handed *s, char why[HUB_WHY_MAX])
{
	enum err e = hh->worker ? OK : start_worker(hh, why);

	return e == OK ? ssh_worker_attach(hh->worker, s) : e;
}

/* All that workers left behind. Each is with a few at most, so this ends, whatever they do. */
static void hand_on(struct hub_host *hh)
{
	struct list *it;

	while ((it = list_first(&hh->left))) {
		struct ssh_handed *s = container_of(it, struct ssh_handed, link);
		char why[HUB_WHY_MAX] = "";
		enum err e;

		list_del(it);
		e = s->n_workers < WORKERS_MAX ? give(hh, s, why) : ERR_AGAIN;
		if (e == ERR_AGAIN) {
			e = ERR_CLOSED;
			snprintf(why, sizeof(why), "none of %u SSH workers came so far as to begin, the last one: %s", s->n_workers,
				 hh->last_end[0] ? hh->last_end : "it was idle");
		}
		if (e != OK)
			ssh_handed_refuse(s, e, why);
	}
}

/*
 * A hub that is killed closes from the highest number down. Two numbers below a worker's own socket are free again for what comes
 * next, its process and its connection: so it hears first that we ended, and does not blame the server. (The pair's first stays.)
 */
enum err hub_host_attach(struct hub_host *hh, int *ret_fd, char why[HUB_WHY_MAX])
{
	struct ssh_handed *s;
	int fds[2], spare;
	enum err e = os_socketpair(fds);

	if (e != OK) {
		snprintf(why, HUB_WHY_MAX, "cannot make a socket pair: %s", err_text(e));
		return e;
	}
	spare = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
	s = ssh_handed_new(fds[0]);
	e = s ? give(hh, s, why) : ERR_NOMEM;
	if (spare >= 0)
		close(spare);
	if (e != OK && !why[0])
		snprintf(why, HUB_WHY_MAX, "the SSH worker does not answer: %s", err_text(e));
	if (e == OK)
		*ret_fd = fds[1];
	else
		close(fds[1]);
	if (e != OK && s)
		ssh_handed_free(s);
	return e;
}

void hub_host_stop(struct hub_host *hh)
{
	struct ssh_worker *w = hh->worker;

	hub_agent_cancel(hh);
	hh->worker = NULL;
	end_attempts(hh, ERR_CANCELLED);
	if (!w)
		return;
	ssh_worker_leave(w, &hh->left);
	list_for_each_safe(it, &hh->left) {
		list_del(it);
		ssh_handed_refuse(container_of(it, struct ssh_handed, link), ERR_CLOSED,
				  "the host's entry was changed or removed, or the hub ends; nothing was done");
	}
	free_worker(hh, w);
}

bool hub_host_retry(struct hub_host *hh)
{
	bool rested = breaker_reset(&hh->breaker);

	if (rested)
		log_info("circuit_breaker_closed host=%s by=person", hh->peer.name);
	if (hh->worker)
		ask_breaker(hh);
	return rested;
}

void hub_hosts_heard(struct hub *h, wg_peer_id peer)
{
	struct wg_device *dev = tunnel_device(h->tunnel);

	for (size_t i = 0; i < h->n_hosts; i++) {
		struct hub_host *hh = h->hosts[i];

		if (hh->breaker.state == BREAKER_OPEN && hh->has_key && wg_peer_find(dev, &hh->peer.key) == peer)
			breaker_nudge(&hh->breaker, os_now());
	}
}
