/*
 * operator/hub_bridge.c - virtual connections joined with local sockets: those of clients, and those of workers.
 *
 * A bridge carries by itself (tunnel/bridge.c). The hub knows them to end them with itself, and to stay while a client uses one.
 */
#include <stdlib.h>
#include <unistd.h>

#include "operator/hub_internal.h"

struct hub_bridge {
	struct list link;
	struct hub *hub;
	struct tunnel_bridge *bridge;
	uint64_t id;
	bool counts; /* a client uses it: a transient hub stays */
};

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
