/*
 * operator/hub_conn.c - clients of the control socket.
 *
 * One request is under way for each connection: while it is, nothing more is read, so a client that sends ahead is
 * held by the socket's own buffer. A reply is one message; its descriptor leaves with the first byte. Whoever is
 * not our own user, and whoever sends something that is no message, is closed without an answer. A connection
 * closed while its request is under way cancels it.
 *
 * A connection is never freed inside hub_op_run(): it is marked dead, and freed by whoever called that. A reply that
 * comes later may free it, so nobody touches a connection after replying.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "operator/hub_internal.h"

struct hub_conn {
	struct list link;
	struct hub *hub;
	struct os_stream *stream;
	char *in;
	size_t in_len, in_cap;
	char *out;
	size_t out_len, out_off;
	int out_fd;
	bool busy;    /* a request is under way */
	bool in_call; /* hub_op_run() is on the stack */
	bool dead;
	void *job;
	void (*cancel)(void *job);
	void *owned; /* lives as long as the connection */
	void (*end_owned)(void *owned);
};

struct hub *hub_conn_hub(struct hub_conn *c)
{
	return c->hub;
}

void hub_conn_set_job(struct hub_conn *c, void *job, void (*cancel)(void *job))
{
	c->job = job;
	c->cancel = cancel;
}

bool hub_conn_own(struct hub_conn *c, void *thing, void (*end)(void *thing))
{
	if (c->owned)
		return false;
	c->owned = thing;
	c->end_owned = end;
	return true;
}

void *hub_conn_owned(const struct hub_conn *c, void (*end)(void *thing))
{
	return c->owned && c->end_owned == end ? c->owned : NULL;
}

static void conn_free(struct hub_conn *c)
{
	struct hub *h = c->hub;

	if (c->job)
		c->cancel(c->job);
	if (c->owned)
		c->end_owned(c->owned);
	if (c->out_fd >= 0)
		close(c->out_fd);
	os_stream_close(c->stream);
	list_del(&c->link);
	h->n_conns--;
	free(c->in);
	free(c->out);
	free(c);
	hub_user_gone(h);
}

static void conn_want(struct hub_conn *c)
{
	int events = 0;

	if (c->out)
		events |= OS_WRITE;
	else if (!c->busy)
		events |= OS_READ;
	/* While a job runs nothing is read, but a client that goes away is still noticed. */
	os_stream_want(c->stream, events ? events : OS_HANGUP);
}

static enum err conn_write_some(struct hub_conn *c)
{
	struct iovec iov = { c->out + c->out_off, c->out_len - c->out_off };
	size_t n = 0;
	enum err e;

	if (c->out_fd >= 0) {
		e = os_send_fds(os_stream_fd(c->stream), iov.iov_base, iov.iov_len, &c->out_fd, 1);
		if (e != OK)
			return e;
		close(c->out_fd);
		c->out_fd = -1;
		n = iov.iov_len;
	} else {
		e = os_stream_writev(c->stream, &iov, 1, &n);
		if (e != OK)
			return e;
	}
	c->out_off += n;
	return OK;
}

static void conn_run(struct hub_conn *c);

static void conn_flush(struct hub_conn *c)
{
	enum err e = OK;

	while (c->out && e == OK) {
		e = conn_write_some(c);
		if (c->out_off == c->out_len) {
			free(c->out);
			c->out = NULL;
		}
	}
	if (e != OK && e != ERR_AGAIN)
		c->dead = true;
}

void hub_conn_reply(struct hub_conn *c, json_t *reply, int fd)
{
	ASSERT(c->busy && !c->out);
	c->busy = false;
	c->job = NULL;
	json_object_set_new(reply, "v", json_integer(HUB_WIRE_VERSION));
	json_object_set_new(reply, "ok", json_boolean(!json_object_get(reply, "error")));
	c->out_off = 0;
	c->out_fd = fd;
	if (hub_wire_encode(reply, &c->out, &c->out_len) != OK)
		c->dead = true;
	json_decref(reply);
	conn_flush(c);
	if (c->in_call)
		return;
	if (!c->dead)
		conn_run(c); /* what was sent ahead */
	if (c->dead)
		conn_free(c);
	else
		conn_want(c);
}

void hub_conn_fail(struct hub_conn *c, enum err e, unsigned ecode, const char *fmt, ...)
{
	json_t *reply = json_object();
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_make_utf8(text); /* a path, or cut in the middle of a character */
	json_object_set_new(reply, "error", json_string(err_name(e)));
	if (ecode)
		json_object_set_new(reply, "ecode", json_integer(ecode));
	json_object_set_new(reply, "message", json_string(text));
	hub_conn_reply(c, reply, -1);
}

/* Runs the requests that are whole, as long as each is answered at once. */
static void conn_run(struct hub_conn *c)
{
	while (!c->dead && !c->busy && !c->out) {
		json_t *req;
		size_t used;
		enum err e = hub_wire_decode(c->in, c->in_len, &req, &used);

		if (e == ERR_AGAIN)
			return;
		if (e != OK) {
			log_warn("control socket: malformed message; connection closed");
			c->dead = true;
			return;
		}
		memmove(c->in, c->in + used, c->in_len - used);
		c->in_len -= used;
		c->busy = true;
		c->in_call = true;
		hub_op_run(c, req);
		c->in_call = false;
		json_decref(req);
	}
}

static void conn_read(struct hub_conn *c)
{
	size_t n = 0;
	enum err e;

	if (c->in_cap - c->in_len < 4096) {
		size_t cap = c->in_cap + 16384;
		char *in = cap <= HUB_MSG_MAX + 65536 ? realloc(c->in, cap) : NULL;

		if (!in) {
			c->dead = true;
			return;
		}
		c->in = in;
		c->in_cap = cap;
	}
	e = os_stream_read(c->stream, c->in + c->in_len, c->in_cap - c->in_len, &n);
	if (e == ERR_AGAIN)
		return;
	if (e != OK || n == 0)
		c->dead = true;
	else
		c->in_len += n;
}

static void on_conn(void *ctx, struct os_stream *s, int events)
{
	struct hub_conn *c = ctx;

	if (events & OS_WRITE)
		conn_flush(c);
	if ((events & OS_READ) && !c->busy && !c->out)
		conn_read(c);
	else if (events & OS_HANGUP)
		c->dead = true;
	if (!c->dead)
		conn_run(c);
	if (c->dead)
		conn_free(c);
	else
		conn_want(c);
}

/* One client too many is told so in place of the answer to its first request, as far as that goes without waiting. */
static void turn_away(int fd)
{
	char why[64], *text = NULL;
	json_t *reply;
	size_t len;

	snprintf(why, sizeof(why), "the hub serves %d commands already", HUB_CLIENTS_MAX);
	reply = json_pack("{s:i, s:b, s:s, s:i, s:s}", "v", HUB_WIRE_VERSION, "ok", false, "error", err_name(ERR_FULL),
			  "ecode", 1015, "message", why);

	if (hub_wire_encode(reply, &text, &len) != OK || os_send_fds(fd, text, len, NULL, 0) != OK)
		log_warn("a client was turned away unheard");
	free(text);
	json_decref(reply);
	close(fd);
}

static void on_accept(void *ctx, int fd)
{
	struct hub *h = ctx;
	struct hub_conn *c;
	unsigned uid;
	int pid;

	if (!os_peer_uid(fd, &uid, &pid) || uid != getuid() || h->stopping) {
		close(fd);
		return;
	}
	if (h->n_conns >= HUB_CLIENTS_MAX) {
		turn_away(fd);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || os_stream_new(h->loop, fd, on_conn, c, &c->stream) != OK) {
		free(c);
		close(fd);
		return;
	}
	c->hub = h;
	c->out_fd = -1;
	list_add_tail(&h->conns, &c->link);
	h->n_conns++;
	os_timer_cancel(&h->linger);
	conn_want(c);
}

enum err hub_conns_listen(struct hub *h)
{
	return os_listen_unix(h->loop, h->paths.socket, on_accept, h, &h->listener);
}

void hub_conns_close(struct hub *h)
{
	if (h->listener)
		os_listener_close(h->listener);
	h->listener = NULL;
	list_for_each_safe(it, &h->conns)
		conn_free(container_of(it, struct hub_conn, link));
}
