/*
 * agent/ways.c - our own address on the way to each peer. A table of the peers' endpoints with the address from which each is
 * reached; a change counts where the endpoint is the same and the address is not.
 */
#include "agent/ways.h"

#include <stdlib.h>
#include <string.h>

struct agent_way {
	wg_peer_id peer;
	struct endpoint endpoint;
	bool is_there; /* a way */
	struct ip_addr from;
};

static const struct agent_way *find(const struct agent_ways *w, wg_peer_id peer, const struct endpoint *at)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].peer == peer && endpoint_equal(&w->v[i].endpoint, at))
			return &w->v[i];
	return NULL;
}

static bool is_same(const struct agent_way *a, const struct agent_way *b)
{
	return a->is_there == b->is_there && (!a->is_there || ip_addr_equal(&a->from, &b->from));
}

static size_t count_peers(const struct wg_device *dev)
{
	size_t n = 0;

	for (wg_peer_id id = wg_peer_next(dev, 0); id; id = wg_peer_next(dev, id))
		n++;
	return n;
}

/* A new table; with @keep, what was known of an endpoint stays. Return: did it change for one that was known? */
static bool renew(struct agent_ways *w, const struct wg_device *dev, nsec_t now, bool keep, bool *ret_any)
{
	struct agent_way *v = calloc(count_peers(dev) + 1, sizeof(*v));
	bool changed = false;
	size_t n = 0;

	*ret_any = false;
	for (wg_peer_id id = wg_peer_next(dev, 0); v && id; id = wg_peer_next(dev, id)) {
		const struct agent_way *old;
		struct wg_peer_info info;

		if (!wg_peer_get_info(dev, id, now, &info))
			continue;
		explicit_bzero(&info.psk, sizeof(info.psk));
		old = find(w, id, &info.endpoint);
		v[n] = (struct agent_way){ .peer = id, .endpoint = info.endpoint };
		if (keep && old)
			v[n] = *old;
		else
			v[n].is_there = endpoint_is_set(&info.endpoint) && w->source(&info.endpoint, &v[n].from);
		changed |= old && !is_same(old, &v[n]);
		*ret_any |= v[n++].is_there;
	}
	if (!v)
		return false;
	free(w->v);
	w->v = v;
	w->n = n;
	return changed;
}

void agent_ways_learn(struct agent_ways *w, const struct wg_device *dev, nsec_t now)
{
	bool any;

	renew(w, dev, now, true, &any);
}

bool agent_ways_look(struct agent_ways *w, const struct wg_device *dev, nsec_t now, bool *ret_any)
{
	return renew(w, dev, now, false, ret_any);
}

void agent_ways_fini(struct agent_ways *w)
{
	free(w->v);
	w->v = NULL;
	w->n = 0;
}
