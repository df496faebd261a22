/*
 * operator/hub_host.c - what the hub runs for one host: its SSH worker, and the virtual connections between.
 *
 * A worker is started by the first session and ends by itself when it was idle. It asks for a connection to the
 * host's SSH port; we dial through the tunnel, make a socket pair, give the worker one end and let a bridge carry
 * bytes between the other end and the virtual connection. A worker that crashed is replaced at the next session.
 *
 * Identities are read here, because the worker is sandboxed before it could open a file; the texts are wiped as
 * soon as they were handed over.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "operator/hub_internal.h"

#define IDENTITY_BYTES_MAX (64 * 1024)

struct worker_dial {
	struct list link;
	struct hub_host *host;
	struct tunnel_dial *dial;
	uint32_t id;
};

struct hub_bridge {
	struct list link;
	struct hub *hub;
	struct tunnel_bridge *bridge;
	uint64_t id;
	bool counts; /* a client uses it: a transient hub stays */
};

/* ---- bridges ---- */

static void on_bridge_end(void *ctx, struct tunnel_bridge *b, enum err e)
{
	struct hub_bridge *hb = ctx;
	struct hub *h = hb->hub;

	list_del(&hb->link);
	if (hb->counts)
		hub_stream_ended(h, hb->id, e);
	free(hb);
	hub_user_gone(h);
}

enum err hub_bridge_join(struct hub *h, struct net_tcp *c, bool counts, int fd)
{
	struct hub_bridge *hb = calloc(1, sizeof(*hb));
	enum err e = hb ? OK : ERR_NOMEM;

	if (e == OK)
		e = tunnel_bridge_start(h->loop, h->tunnel, fd, c, on_bridge_end, hb, &hb->bridge);
	if (e != OK) {
		net_tcp_abort(c);
		free(hb);
		return e;
	}
	hb->hub = h;
	hb->counts = counts;
	hb->id = ++h->last_bridge;
	list_add_tail(&h->bridges, &hb->link);
	return OK;
}

enum err hub_bridge_add(struct hub *h, struct net_tcp *c, bool counts, int *ret_fd)
{
	int fds[2];
	enum err e = os_socketpair(fds);

	if (e != OK) {
		net_tcp_abort(c);
		return e;
	}
	e = hub_bridge_join(h, c, counts, fds[0]);
	if (e != OK) {
		close(fds[0]);
		close(fds[1]);
		return e;
	}
	*ret_fd = fds[1];
	return OK;
}

bool hub_bridges_in_use(const struct hub *h)
{
	list_for_each(it, &((struct hub *)h)->bridges)
		if (container_of(it, struct hub_bridge, link)->counts)
			return true;
	return false;
}

bool hub_is_behind(const struct hub *h)
{
	struct net_stats st;

	/* The stack's queues are the process's: another tunnel's count here too. */
	net_get_stats(&st);
	if (st.mem_bytes > 0)
		return true;
	list_for_each(it, &((struct hub *)h)->bridges)
		if (tunnel_bridge_is_behind(container_of(it, struct hub_bridge, link)->bridge))
			return true;
	return false;
}

void hub_bridges_abort(struct hub *h)
{
	list_for_each_safe(it, &h->bridges) {
		struct hub_bridge *hb = container_of(it, struct hub_bridge, link);

		tunnel_bridge_abort(hb->bridge);
		list_del(&hb->link);
		free(hb);
	}
}

/* ---- what the worker asks for ---- */

static void on_worker_dialed(void *ctx, enum err e, struct net_tcp *c)
{
	struct worker_dial *d = ctx;
	struct hub_host *hh = d->host;
	uint32_t id = d->id;
	int fd = -1;

	list_del(&d->link);
	free(d);
	if (e == OK)
		e = hub_bridge_add(hh->hub, c, false, &fd);
	if (e != OK)
		log_info("dial failed host=%s error=%s", hh->peer.name, err_name(e));
	ssh_worker_dialed(hh->worker, id, e, fd);
}

static void on_worker_dial(void *ctx, struct ssh_worker *w, uint32_t dial_id)
{
	struct hub_host *hh = ctx;
	struct endpoint remote = { .ip = hh->ip, .port = HUB_SSH_PORT };
	struct worker_dial *d = calloc(1, sizeof(*d));
	enum err e = d ? OK : ERR_NOMEM;

	if (e == OK && hh->gone)
		e = ERR_NO_ROUTE;
	if (e == OK) {
		d->host = hh;
		d->id = dial_id;
		e = tunnel_dial_start(hh->hub->tunnel, &remote, os_now() + HUB_DIAL_MAX, on_worker_dialed, d,
				      &d->dial);
	}
	if (e == OK) {
		list_add_tail(&hh->dials, &d->link);
		return;
	}
	free(d);
	ssh_worker_dialed(w, dial_id, e, -1);
}

static void on_worker_host_key(void *ctx, struct ssh_worker *w, bool accepted, const char *fingerprint)
{
	struct hub_host *hh = ctx;

	if (accepted)
		log_info("host key accepted for the first time host=%s fingerprint=%s", hh->peer.name, fingerprint);
	else
		log_error("host key refused host=%s fingerprint=%s", hh->peer.name, fingerprint);
}

static void cancel_dials(struct hub_host *hh)
{
	list_for_each_safe(it, &hh->dials) {
		struct worker_dial *d = container_of(it, struct worker_dial, link);

		tunnel_dial_cancel(d->dial);
		list_del(&d->link);
		free(d);
	}
}

static void on_worker_end(void *ctx, struct ssh_worker *w, const char *why)
{
	struct hub_host *hh = ctx;

	if (why)
		log_warn("ssh worker ended host=%s reason=%s", hh->peer.name, why);
	cancel_dials(hh);
	hh->worker = NULL;
	ssh_worker_free(w);
}

/* ---- starting it ---- */

static void note_unusable(char why[HUB_WHY_MAX], const char *path, const char *reason)
{
	size_t used = strlen(why);

	snprintf(why + used, HUB_WHY_MAX - used, "%s%s: %s", used ? "; " : "", path, reason);
	log_info("identity not used path=%s reason=%s", path, reason);
}

/* @why: what is wrong with those that are left out */
static size_t read_identities(const struct hub_host *hh, struct ssh_identity *ids, char why[HUB_WHY_MAX])
{
	size_t n = 0;

	why[0] = '\0';
	for (size_t i = 0; i < hh->n_ids; i++) {
		char *pem;
		size_t len;
		unsigned mode, uid;
		enum err e = os_file_mode(hh->ids[i], &mode, &uid);

		if (e == OK && (mode & 077)) {
			note_unusable(why, hh->ids[i], "others may read it (chmod 600 it)");
			continue;
		}
		if (e == OK)
			e = os_file_read(hh->ids[i], IDENTITY_BYTES_MAX, &pem, &len);
		if (e != OK) {
			note_unusable(why, hh->ids[i], err_text(e));
			continue;
		}
		ids[n++] = (struct ssh_identity){ .path = hh->ids[i], .pem = pem, .len = len };
	}
	return n;
}

static void wipe_identities(struct ssh_identity *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		sodium_memzero((char *)ids[i].pem, ids[i].len);
		free((char *)ids[i].pem);
	}
}

static enum err start_worker(struct hub_host *hh, char why[HUB_WHY_MAX])
{
	struct ssh_identity ids[HUB_IDENTITIES_MAX];
	size_t n = read_identities(hh, ids, why);
	struct ssh_worker_config cfg = {
		.host = hh->peer.name,
		.user = hh->user,
		.vpn_addr = hh->addr,
		.ids = ids,
		.n_ids = n,
		.known_hosts = hh->hub->paths.known_hosts,
		.file_size_max = hh->file_size_max,
		.root = hh->session_root,
		.program = hh->hub->opt.worker,
		.is_guest = hh->hub->opt.is_guest,
		.on_dial = on_worker_dial,
		.on_end = on_worker_end,
		.on_host_key = on_worker_host_key,
		.ctx = hh,
	};
	enum err e;

	if (n == 0) {
		if (!why[0])
			snprintf(why, HUB_WHY_MAX, "no identity file is configured, and none is in ~/.ssh");
		return ERR_AUTH;
	}
	e = ssh_worker_start(hh->hub->loop, &cfg, &hh->worker);
	wipe_identities(ids, n);
	if (e != OK && cfg.program)
		snprintf(why, HUB_WHY_MAX, "cannot start the SSH worker %s: %s", cfg.program, err_text(e));
	else if (e != OK)
		snprintf(why, HUB_WHY_MAX, "cannot start the SSH worker: %s", err_text(e));
	return e;
}

enum err hub_host_attach(struct hub_host *hh, int *ret_fd, char why[HUB_WHY_MAX])
{
	int fds[2];
	enum err e = os_socketpair(fds);

	if (e != OK) {
		snprintf(why, HUB_WHY_MAX, "cannot make a socket pair: %s", err_text(e));
		return e;
	}
	/* One that died a moment ago may not have been noticed yet: then a new one is tried, once. */
	for (int i = 0; i < 2; i++) {
		if (!hh->worker) {
			e = start_worker(hh, why);
			if (e != OK)
				break;
		}
		e = ssh_worker_attach(hh->worker, fds[0]);
		if (e == OK) {
			*ret_fd = fds[1];
			return OK;
		}
		snprintf(why, HUB_WHY_MAX, "the SSH worker does not answer: %s", err_text(e));
		if (e == ERR_AGAIN)
			break; /* many sessions at once: it takes them one after the other */
		hub_host_stop(hh);
		close(fds[1]);
		e = os_socketpair(fds);
		if (e != OK)
			return e;
	}
	close(fds[0]);
	close(fds[1]);
	return e;
}

void hub_host_stop(struct hub_host *hh)
{
	cancel_dials(hh);
	if (hh->worker)
		ssh_worker_free(hh->worker);
	hh->worker = NULL;
}
