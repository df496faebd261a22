/*
 * tunnel/peers.c - the peers of the configuration, put into the device.
 *
 * A reload must neither send a peer that has roamed back to where its file once saw it, nor miss that the file was
 * changed: so what was applied is kept, and the file's endpoint is set only when it differs from that.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/tunnel_internal.h"

static struct tunnel_configured *find_configured(struct tunnel *t, const struct wg_public_key *key)
{
	for (size_t i = 0; i < t->n_configured; i++)
		if (memcmp(&t->configured[i].key, key, sizeof(*key)) == 0)
			return &t->configured[i];
	return NULL;
}

void tunnel_forget_configured(struct tunnel *t, const struct wg_public_key *key)
{
	struct tunnel_configured *c = find_configured(t, key);

	if (c)
		*c = t->configured[--t->n_configured];
}

bool tunnel_configured_endpoint(struct tunnel *t, wg_peer_id id, struct endpoint *ret)
{
	struct wg_peer_info info;
	struct tunnel_configured *c;

	if (!wg_peer_get_info(t->dev, id, os_loop_now(t->loop), &info))
		return false;
	sodium_memzero(&info.psk, sizeof(info.psk));
	c = find_configured(t, &info.key);
	if (!c || !endpoint_is_set(&c->endpoint))
		return false;
	*ret = c->endpoint;
	return true;
}

/*
 * A node that restarted without its memory takes a recorded initiation for a new one, and the place where it came from for
 * the peer's: whoever replays one has the endpoint, and nothing else. A peer that really moved away is found again when it
 * calls, wherever we look for it.
 */
void tunnel_go_back(struct tunnel *t, wg_peer_id id)
{
	nsec_t now = os_loop_now(t->loop);
	struct endpoint configured;
	struct wg_peer_info info;
	char from[ENDPOINT_STR_MAX], to[ENDPOINT_STR_MAX];

	if (!tunnel_configured_endpoint(t, id, &configured) || !wg_peer_get_info(t->dev, id, now, &info))
		return;
	sodium_memzero(&info.psk, sizeof(info.psk));
	if (endpoint_equal(&info.endpoint, &configured))
		return;
	log_info("peer does not answer, back to its configured endpoint from=%s to=%s", endpoint_format(&info.endpoint, from),
		 endpoint_format(&configured, to));
	wg_peer_set_endpoint(t->dev, id, &configured, now);
	if (t->cfg.initiate)
		wg_peer_connect(t->dev, id, now);
	t->again = true;
}

/* Without memory for it the next reload sets the endpoint once more. Return: whether it is new. */
static bool note_configured(struct tunnel *t, const struct tunnel_peer *p)
{
	struct tunnel_configured *c = find_configured(t, &p->key);
	bool same = c && endpoint_equal(&c->endpoint, &p->endpoint);

	if (!c) {
		c = realloc(t->configured, (t->n_configured + 1) * sizeof(*c));
		if (!c)
			return true;
		t->configured = c;
		c = &t->configured[t->n_configured++];
		c->key = p->key;
	}
	c->endpoint = p->endpoint;
	return !same;
}

static enum err apply(struct tunnel *t, wg_peer_id id, const struct tunnel_peer *p)
{
	const struct tunnel_state_peer *known = tunnel_state_find(&t->state, &p->key);
	nsec_t now = os_loop_now(t->loop);
	struct wg_peer_info info;
	bool has_endpoint, is_new = note_configured(t, p);
	char text[ENDPOINT_STR_MAX];
	enum err e = OK;

	wg_peer_set_psk(t->dev, id, &p->psk);
	wg_peer_get_info(t->dev, id, now, &info);
	sodium_memzero(&info.psk, sizeof(info.psk));
	has_endpoint = endpoint_is_set(&info.endpoint);
	if ((!has_endpoint || is_new) && endpoint_is_set(&p->endpoint)) {
		wg_peer_set_endpoint(t->dev, id, &p->endpoint, now);
		if (t->udp && !os_udp_has(t->udp, p->endpoint.ip.family))
			log_warn("peer cannot be reached: this machine has no IPv%u name=%s endpoint=%s",
				 p->endpoint.ip.family, p->name, endpoint_format(&p->endpoint, text));
		tunnel_announce(t, id);
	} else if (!has_endpoint && known && endpoint_is_set(&known->endpoint)) {
		wg_peer_set_endpoint(t->dev, id, &known->endpoint, now);
	}
	wg_peer_clear_allowed(t->dev, id);
	for (size_t i = 0; i < p->n_allowed && e == OK; i++)
		e = wg_peer_allow(t->dev, id, &p->allowed[i]);
	wg_peer_set_keepalive(t->dev, id, p->keepalive_s, now);
	if (e == OK && t->cfg.initiate)
		wg_peer_connect(t->dev, id, now);
	return e;
}

static enum err add_one(struct tunnel *t, const struct tunnel_peer *p)
{
	nsec_t now = os_loop_now(t->loop);
	wg_peer_id id;
	enum err e = wg_peer_add(t->dev, &p->key, now, &id);

	if (e != OK)
		return e;
	log_info("peer added name=%s", p->name[0] ? p->name : "-");
	return apply(t, id, p);
}

enum err tunnel_add_peer(struct tunnel *t, const struct tunnel_peer *p)
{
	enum err e = add_one(t, p);

	tunnel_kick(t);
	return e;
}

static const struct tunnel_peer *find_peer(const struct tunnel_peer *p, size_t n, const struct wg_public_key *key)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(p[i].key.b, key->b, KEY_LEN) == 0)
			return &p[i];
	return NULL;
}

/* The file has room for so many: those that nobody configures any more would take it from new ones. */
static void forget_strangers(struct tunnel *t, const struct tunnel_peer *p, size_t n)
{
	struct tunnel_state *s = &t->state;

	for (size_t i = s->n_peers; i-- > 0;)
		if (!find_peer(p, n, &s->peers[i].key)) {
			s->peers[i] = s->peers[--s->n_peers];
			s->dirty = true;
		}
}

enum err tunnel_set_peers(struct tunnel *t, const struct tunnel_peer *p, size_t n)
{
	nsec_t now = os_loop_now(t->loop);
	enum err e = OK;
	wg_peer_id next;

	for (wg_peer_id id = wg_peer_next(t->dev, 0); id; id = next) {
		struct wg_peer_info info;

		next = wg_peer_next(t->dev, id);
		wg_peer_get_info(t->dev, id, now, &info);
		sodium_memzero(&info.psk, sizeof(info.psk));
		if (find_peer(p, n, &info.key))
			continue;
		tunnel_forget_configured(t, &info.key);
		wg_peer_remove(t->dev, id);
	}
	forget_strangers(t, p, n);
	for (size_t i = 0; i < n && e == OK; i++) {
		wg_peer_id id = wg_peer_find(t->dev, &p[i].key);

		e = id ? apply(t, id, &p[i]) : add_one(t, &p[i]);
	}
	tunnel_kick(t);
	return e;
}
