/*
 * ssh/listen.c - see listen.h.
 *
 * libssh2 keeps a queue of connections for each listener and refuses what is beyond it. It has no listener on Unix sockets.
 * A listener belongs to libssh2's session: it is freed with that, or by us when the command lets go.
 */
#include "ssh/listen.h"

#include <stdlib.h>

#define QUEUE_MAX 128

struct listener {
	struct list link;
	uint32_t id;
	struct ssh_job *job;
	struct ssh_conn *conn;
	LIBSSH2_LISTENER *l;
};

static struct list all = { &all, &all };

static struct listener *find(uint32_t id)
{
	list_for_each(it, &all) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->id == id)
			return l;
	}
	return NULL;
}

enum err ssh_listen_open(struct ssh_job *j, uint32_t *ret_id, uint32_t *ret_port)
{
	static uint32_t last_id;
	struct listener *l;
	LIBSSH2_LISTENER *ll;
	int port = 0;

	if (j->arg[0] == '/')
		return ERR_UNSUPPORTED;
	ll = libssh2_channel_forward_listen_ex(j->conn->session, j->arg, (int)j->number, &port, QUEUE_MAX);
	if (!ll)
		return libssh2_session_last_errno(j->conn->session) == LIBSSH2_ERROR_EAGAIN ? ERR_AGAIN : j->number ? ERR_IN_USE : ERR_FORBIDDEN;
	l = calloc(1, sizeof(*l));
	if (!l)
		return ERR_NOMEM; /* it goes with the connection */
	*l = (struct listener){ .id = ++last_id, .job = j, .conn = j->conn, .l = ll };
	list_add_tail(&all, &l->link);
	*ret_id = l->id;
	*ret_port = (uint32_t)port;
	return OK;
}

enum err ssh_listen_accept(struct ssh_job *j)
{
	struct listener *l = find(j->number);

	if (!l || l->conn != j->conn)
		return ERR_CLOSED;
	j->channel = libssh2_channel_forward_accept(l->l);
	return j->channel ? OK : ERR_AGAIN;
}

struct ssh_conn *ssh_listen_conn(uint32_t id)
{
	struct listener *l = find(id);

	return l ? l->conn : NULL;
}

void ssh_listen_close(struct ssh_job *j)
{
	list_for_each_safe(it, &all) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->job != j)
			continue;
		/* Our send hook takes the request whole; what waits in its queue is closed. */
		libssh2_channel_forward_cancel(l->l);
		list_del(&l->link);
		free(l);
	}
}

void ssh_listen_conn_dead(struct ssh_conn *c)
{
	list_for_each_safe(it, &all) {
		struct listener *l = container_of(it, struct listener, link);

		if (l->conn != c)
			continue;
		list_del(&l->link);
		free(l);
	}
}
