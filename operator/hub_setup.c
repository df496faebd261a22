/*
 * operator/hub_setup.c - nefia.yaml as the hub sees it.
 *
 * Hosts are kept by name across a reload: their worker and what was heard of them stay. A host whose key, address,
 * user or identity changed loses its worker, because that is logged in as somebody or somewhere else; the next
 * session starts another. The tunnel gets the whole list of peers and finds out itself what changed.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "base/log.h"
#include "operator/config.h"
#include "operator/hub_internal.h"

#define KEEPALIVE_S 25

bool hub_setup_changed(const struct hub *h)
{
	const struct stat *a = &h->config_stat;
	struct stat b;

	if (h->opt.text || stat(h->opt.config, &b) != 0)
		return false;
	return a->st_mtim.tv_sec != b.st_mtim.tv_sec || a->st_mtim.tv_nsec != b.st_mtim.tv_nsec ||
	       a->st_size != b.st_size || a->st_ino != b.st_ino;
}

static void clear_ids(struct hub_host *hh)
{
	for (size_t i = 0; i < hh->n_ids; i++)
		free(hh->ids[i]);
	hh->n_ids = 0;
}

void hub_host_free(struct hub_host *hh)
{
	if (!hh)
		return;
	hub_host_stop(hh);
	hub_rival_forget(hh);
	clear_ids(hh);
	free(hh->user);
	free(hh->agent);
	sodium_memzero(&hh->peer.psk, sizeof(hh->peer.psk));
	free(hh);
}

/* ---- one host ---- */

static void add_id(struct hub_host *hh, const char *path)
{
	char *copy = hh->n_ids < HUB_IDENTITIES_MAX ? strdup(path) : NULL;

	if (copy)
		hh->ids[hh->n_ids++] = copy;
}

/* The host's own, else the configured ones, else ssh-agent's and the files that ssh itself would try. */
static void set_ids(struct hub_host *hh, const struct config *c, const struct host_config *hc)
{
	static const char *const common[] = { "id_ed25519", "id_ecdsa", "id_rsa" };
	const char *home = os_home();
	char path[PATH_MAX];

	clear_ids(hh);
	if (hc->identity[0] == '~' && hc->identity[1] == '/' && home) {
		snprintf(path, sizeof(path), "%s%s", home, hc->identity + 1);
		add_id(hh, path);
	} else if (hc->identity[0]) {
		add_id(hh, hc->identity);
	}
	for (size_t i = 0; !hc->identity[0] && i < c->n_identities; i++)
		add_id(hh, c->identities[i]);
	if (hh->n_ids > 0)
		return;
	add_id(hh, HUB_AGENT);
	for (size_t i = 0; home && i < ARRAY_SIZE(common); i++) {
		snprintf(path, sizeof(path), "%s/.ssh/%s", home, common[i]);
		if (os_file_mode(path, &(unsigned){ 0 }, &(unsigned){ 0 }) == OK)
			add_id(hh, path);
	}
}

static bool same_login(const struct hub_host *hh, const struct config *c, const struct host_config *hc)
{
	return hh->user && strcmp(hh->user, config_user(c, hc)) == 0 && hc->n_addrs > 0 &&
	       hh->file_size_max == c->max_file_size_bytes && hh->list_max == c->max_list_entries &&
	       strcmp(hh->session_root, config_session_root(c, hc)) == 0 &&
	       ip_addr_equal(&hh->ip, &hc->addrs[0]) &&
	       memcmp(&hh->peer.key, &hc->public_key, sizeof(hc->public_key)) == 0;
}

static void set_peer(struct tunnel_peer *p, const struct host_config *hc)
{
	memset(p, 0, sizeof(*p));
	p->key = hc->public_key;
	p->psk = hc->psk;
	p->endpoint = hc->endpoint;
	if (endpoint_is_set(&hc->endpoint))
		p->keepalive_s = KEEPALIVE_S;
	for (size_t i = 0; i < hc->n_addrs && i < ARRAY_SIZE(p->allowed); i++) {
		p->allowed[i].ip = hc->addrs[i];
		p->allowed[i].bits = (uint8_t)ip_addr_bits(&hc->addrs[i]);
		p->n_allowed++;
	}
	snprintf(p->name, sizeof(p->name), "%s", hc->id);
}

/* All identities as one text; NULL without memory. */
static char *ids_text(const struct hub_host *hh)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	for (size_t i = 0; i < hh->n_ids; i++)
		fprintf(f, "%s%c", hh->ids[i], '\n');
	return fclose(f) == 0 ? text : NULL;
}

static enum err set_host(struct hub_host *hh, const struct config *c, const struct host_config *hc)
{
	bool same = same_login(hh, c, hc);
	char *before = ids_text(hh), *after, *user = strdup(config_user(c, hc));

	if (!user) {
		free(before);
		return ERR_NOMEM;
	}
	if (memcmp(&hh->peer.key, &hc->public_key, sizeof(hc->public_key)) != 0)
		hh->seen_wall = 0;
	free(hh->user);
	hh->user = user;
	hh->file_size_max = c->max_file_size_bytes;
	hh->list_max = c->max_list_entries;
	snprintf(hh->session_root, sizeof(hh->session_root), "%s", config_session_root(c, hc));
	set_ids(hh, c, hc);
	after = ids_text(hh);
	same = same && before && after && strcmp(before, after) == 0;
	free(before);
	free(after);
	set_peer(&hh->peer, hc);
	if (hc->n_addrs > 0) {
		hh->ip = hc->addrs[0];
		ip_addr_format(&hh->ip, hh->addr);
	}
	hh->has_key = config_host_is_active(hc) && hc->n_addrs > 0;
	hh->gone = false;
	if (same && hh->has_key)
		return OK;
	if (hh->worker)
		hub_host_stop(hh);
	breaker_reset(&hh->breaker);
	return OK;
}

static struct hub_host *host_by_name(struct hub *h, const char *name)
{
	for (size_t i = 0; i < h->n_hosts; i++)
		if (strcmp(h->hosts[i]->peer.name, name) == 0)
			return h->hosts[i];
	return NULL;
}

static enum err add_host(struct hub *h, struct hub_host **ret)
{
	struct hub_host **hosts = realloc(h->hosts, (h->n_hosts + 1) * sizeof(hosts[0]));
	struct hub_host *hh = calloc(1, sizeof(*hh));

	if (hosts)
		h->hosts = hosts;
	if (!hosts || !hh || h->n_hosts == HUB_PEERS_MAX) {
		enum err e = hosts && hh ? ERR_FULL : ERR_NOMEM;

		free(hh);
		return e;
	}
	hh->hub = h;
	list_init(&hh->dials);
	list_init(&hh->left);
	list_init(&hh->asks);
	h->hosts[h->n_hosts++] = hh;
	*ret = hh;
	return OK;
}

/* Hosts that left the file end here, with their workers. */
static void drop_gone(struct hub *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->n_hosts; i++) {
		if (h->hosts[i]->gone)
			hub_host_free(h->hosts[i]);
		else
			h->hosts[kept++] = h->hosts[i];
	}
	h->n_hosts = kept;
}

/* ---- the whole ---- */

static enum err take_config(struct hub *h, const struct config *c)
{
	enum err first = OK;

	for (size_t i = 0; i < h->n_hosts; i++)
		h->hosts[i]->gone = true;
	/* To the end, whatever fails: a host that was not come to would count as one that left the file. */
	for (size_t i = 0; i < c->n_hosts; i++) {
		struct hub_host *hh = host_by_name(h, c->hosts[i].id);
		enum err e = OK;

		if (hh)
			hh->gone = false;
		else
			e = add_host(h, &hh);
		if (e == OK)
			e = set_host(hh, c, &c->hosts[i]);
		if (first == OK)
			first = e;
	}
	drop_gone(h);
	hub_enroll_take_config(h, c);
	h->private_key = c->private_key;
	h->n_addrs = MIN(c->n_addrs, ARRAY_SIZE(h->addrs));
	memcpy(h->addrs, c->addrs, h->n_addrs * sizeof(h->addrs[0]));
	h->listen_port = c->listen_port;
	h->mtu = c->mtu;
	memcpy(h->aead, c->aead, sizeof(h->aead));
	h->aead_workers = c->aead_workers;
	memcpy(h->congestion, c->congestion, sizeof(h->congestion));
	return first;
}

enum err hub_setup_load(struct hub *h, char **ret_why)
{
	struct config *c = calloc(1, sizeof(*c));
	char why[512] = "";
	struct stat st = { 0 };
	enum err e = c ? OK : ERR_NOMEM;

	/* Before reading: a file that is written meanwhile is read again at the next request. */
	if (!h->opt.text && stat(h->opt.config, &st) == 0)
		h->config_stat = st;
	if (e == OK && h->opt.text)
		e = config_parse(h->opt.config, h->opt.text, h->opt.text_len, c, why, sizeof(why));
	else if (e == OK)
		e = config_load(h->opt.config, c, why, sizeof(why));
	if (e == OK) {
		e = take_config(h, c);
		config_free(c);
	}
	free(c);
	if (e != OK)
		*ret_why = strdup(why[0] ? why : err_text(e));
	return e;
}

/* What cannot be had stays as it was, and is said: the rest of the file still counts. */
static void apply_port_and_addrs(struct hub *h)
{
	enum err e = h->opt.transient || !h->listen_port ? OK : tunnel_set_port(h->tunnel, h->listen_port);

	if (e != OK)
		log_error("UDP port not changed, the old one stays port=%u error=%s", h->listen_port, err_text(e));
	e = tunnel_set_addrs(h->tunnel, h->addrs, h->n_addrs);
	if (e != OK)
		log_error("address not changed error=%s", err_text(e));
}

enum err hub_setup_apply(struct hub *h)
{
	struct tunnel_peer *peers = calloc(h->n_hosts + 1, sizeof(peers[0]));
	struct wg_public_key pub;
	size_t n = 0;
	enum err e;

	if (!peers)
		return ERR_NOMEM;
	wg_public_from_private(&h->private_key, &pub);
	if (memcmp(wg_device_public(tunnel_device(h->tunnel)), &pub, sizeof(pub)) != 0)
		tunnel_set_private(h->tunnel, &h->private_key);
	for (size_t i = 0; i < h->n_hosts; i++)
		if (h->hosts[i]->has_key && !hub_rival_has_host(h->hosts[i]))
			peers[n++] = h->hosts[i]->peer;
	apply_port_and_addrs(h);
	e = tunnel_set_peers(h->tunnel, peers, n);
	sodium_memzero(peers, (h->n_hosts + 1) * sizeof(peers[0]));
	free(peers);
	return e;
}
