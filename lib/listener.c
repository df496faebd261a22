/*
 * lib/listener.c - a port inside the tunnel.
 *
 * A listener is a connection to the hub of its own, on which an "accept" is always under way: so its descriptor becomes
 * readable when a connection has come, and a hub that ends is seen. Accepting is reading the answer and asking again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/internal.h"
#include "operator/hub_wire.h"

#define LISTEN_MAX (10 * NSEC_PER_SEC)
#define ANSWER_MAX (3 * NSEC_PER_SEC) /* of a message that has begun to come */

struct nefia_listener {
	struct lib_object o; /* its descriptor is a copy of the connection's, which is closed when the hub ends */
	struct hub_client *hc;
	pthread_mutex_t turn; /* of those who accept */
	unsigned port;
};

static int ask_next(struct nefia_listener *l)
{
	enum err e = hub_client_send(l->hc, "accept", NULL, ANSWER_MAX);

	return e == OK ? NEFIA_OK : lib_fail_client(e, l->hc);
}

static int open_listener(struct nefia *n, unsigned port, int backlog, nsec_t deadline, struct nefia_listener *l)
{
	json_t *reply = NULL;
	int fd, r = lib_ask(n, "listen", json_pack("{s:i, s:i}", "port", (int)port, "backlog", backlog), deadline, LISTEN_MAX, &reply,
			NULL, &l->hc);

	if (r != NEFIA_OK)
		return r;
	l->port = (unsigned)hub_json_int(reply, "port", 0);
	json_decref(reply);
	r = ask_next(l);
	if (r != NEFIA_OK)
		return r;
	fd = fcntl(hub_client_fd(l->hc), F_DUPFD_CLOEXEC, 0);
	r = fd < 0 ? lib_fail(err_from_errno(errno), "no descriptors are left") : lib_object_add(n, &l->o, fd);
	if (r != NEFIA_OK && fd >= 0)
		close(fd);
	return r;
}

int nefia_listen(struct nefia *n, unsigned port, int backlog, int timeout_ms, struct nefia_listener **ret)
{
	struct nefia_listener *l;
	int r;

	if (!ret || port > 65535 || backlog < 0)
		return lib_fail(ERR_INVALID, "a port of 0 to 65535 is needed");
	if (timeout_ms == 0)
		return lib_fail(ERR_AGAIN, "a port needs the hub's word");
	r = lib_enter(n);
	if (r != NEFIA_OK)
		return r;
	l = calloc(1, sizeof(*l));
	r = l ? open_listener(n, port, backlog, lib_deadline(timeout_ms), l) :
		lib_fail(ERR_NOMEM, "out of memory");
	lib_leave(n);
	if (r != NEFIA_OK) {
		if (l)
			hub_client_close(l->hc);
		free(l);
		return r;
	}
	pthread_mutex_init(&l->turn, NULL);
	*ret = l;
	return NEFIA_OK;
}

unsigned nefia_listener_port(const struct nefia_listener *l)
{
	return l->port;
}

int nefia_listener_fd(const struct nefia_listener *l)
{
	return l->o.fd;
}

static int take_answer(struct nefia_listener *l, struct nefia_stream **ret)
{
	json_t *reply = NULL;
	const char *remote;
	int fd = -1, r;
	enum err e = hub_client_receive(l->hc, ANSWER_MAX, &reply, &fd);

	if (!hub_client_is_connected(l->hc))
		return lib_fail(ERR_CLOSED, "the hub ended, and with it the listener on port %u", l->port);
	r = ask_next(l);
	if (e != OK)
		return lib_fail_client(e, l->hc); /* one connection; the next may fare better */
	remote = hub_json_string(reply, "remote");
	if (r == NEFIA_OK && fd < 0)
		r = lib_fail(ERR_PROTOCOL, "the hub sent no descriptor");
	if (r == NEFIA_OK)
		r = lib_stream_new(l->o.n, fd, (uint64_t)hub_json_int(reply, "stream", 0), remote ? remote : "", ret);
	else if (fd >= 0)
		close(fd);
	json_decref(reply);
	return r;
}

/* The first of those that wait takes what has come; the others find nothing and wait on. */
static int try_accept(struct nefia_listener *l, struct nefia_stream **ret, bool *ret_has_come)
{
	struct pollfd p = { .events = POLLIN };
	int r = NEFIA_OK;

	pthread_mutex_lock(&l->turn);
	p.fd = hub_client_fd(l->hc);
	*ret_has_come = p.fd < 0 || poll(&p, 1, 0) > 0;
	if (*ret_has_come)
		r = take_answer(l, ret);
	pthread_mutex_unlock(&l->turn);
	return r;
}

int nefia_accept(struct nefia_listener *l, int timeout_ms, struct nefia_stream **ret)
{
	nsec_t deadline = lib_deadline(timeout_ms);

	for (;;) {
		bool has_come;
		int r = lib_enter(l->o.n);

		if (r != NEFIA_OK)
			return r;
		r = try_accept(l, ret, &has_come);
		if (r == NEFIA_ERR_CLOSED || r == NEFIA_OK) {
			int over = lib_object_check(&l->o);

			r = over != NEFIA_OK && !(has_come && r == NEFIA_OK) ? over : r;
		}
		lib_leave(l->o.n);
		if (has_come || r != NEFIA_OK)
			return r;
		r = lib_object_wait(&l->o, POLLIN, deadline);
		if (r != NEFIA_OK)
			return r;
	}
}

void nefia_listener_close(struct nefia_listener *l)
{
	if (!l)
		return;
	lib_object_del(&l->o);
	close(l->o.fd);
	hub_client_close(l->hc);
	pthread_mutex_destroy(&l->turn);
	free(l);
}
