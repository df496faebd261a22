/*
 * ssh/conn_library.c - what libssh2 calls: its memory and its transport.
 *
 * The server decides how much the library asks for, so both are bounded: its memory is counted and ends at CONN_MEMORY_MAX; a
 * turn of the loop gives it at most @turn_bytes, and before READY each piece is counted and the clock looked at, because the
 * library itself reads as long as there is something. What it sends goes whole into a queue: it may not be called for something
 * else while a packet is half sent.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "os/loop.h"
#include "ssh/conn_internal.h"

#define EARLY_MAX (256 * 1024)
#define READ_SIZE (64 * 1024)
#define IDLE_READ_SIZE 4096
#define WIPE_MAX 4096 /* blocks up to here may hold keys and are wiped; before READY all are */

/* ---- memory ---- */

/* In front of each block: its size. */
union head {
	size_t len;
	max_align_t align;
};

static void *on_alloc(size_t len, void **abstract)
{
	struct ssh_conn *c = *abstract;
	union head *h;

	if (len > CONN_MEMORY_MAX || c->memory + len > CONN_MEMORY_MAX) {
		c->starved = true;
		return NULL;
	}
	h = malloc(sizeof(*h) + len);
	if (!h)
		return NULL;
	h->len = len;
	c->memory += sizeof(*h) + len;
	return h + 1;
}

void *ssh_conn_alloc(struct ssh_conn *c, size_t len)
{
	void *abstract = c;

	return on_alloc(len, &abstract);
}

static void on_free(void *p, void **abstract)
{
	struct ssh_conn *c = *abstract;
	union head *h = p;

	if (!p)
		return;
	h--;
	c->memory -= sizeof(*h) + h->len;
	if (h->len <= WIPE_MAX || c->state != SSH_READY)
		explicit_bzero(p, h->len);
	free(h);
}

static void *on_realloc(void *p, size_t len, void **abstract)
{
	void *to = on_alloc(len, abstract);

	if (to && p) {
		memcpy(to, p, MIN(len, ((union head *)p)[-1].len));
		on_free(p, abstract);
	}
	return to;
}

/* ---- transport ---- */

static ssize_t on_send(libssh2_socket_t fd, const void *buf, size_t len, int flags, void **abstract)
{
	struct ssh_conn *c = *abstract;

	return c->state != SSH_DEAD && ssh_buf_add(&c->out, buf, len) == OK ? (ssize_t)len : -ENOMEM;
}

/* Reads once from the socket; false: nothing there, or the end (@eof). */
bool ssh_conn_fill(struct ssh_conn *c)
{
	/* What comes without a user is short, and a hundred idle workers are to be small. */
	size_t size = c->state == SSH_READY && c->n_users == 0 ? IDLE_READ_SIZE : READ_SIZE;
	uint8_t *to = ssh_buf_room(&c->in, size);
	ssize_t n;

	if (!to || c->fd < 0 || c->eof)
		return false;
	n = recv(c->fd, to, size, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		c->eof = true;
		return false;
	}
	c->in.len += (size_t)n;
	ssh_health_heard(&c->health, c->now);
	return true;
}

/* The limits before anybody is logged in; false when one is hit. */
static bool early_ok(struct ssh_conn *c, const uint8_t *p, size_t len)
{
	size_t take = MIN(len, sizeof(c->seen) - c->n_seen);

	memcpy(c->seen + c->n_seen, p, take);
	c->n_seen += take;
	c->n_early += len;
	if (c->n_early > EARLY_MAX)
		ssh_conn_fail(c, ERR_PROTOCOL, "the server sent more than %d KiB before the login", EARLY_MAX / 1024);
	else if ((c->n_early & 1023) < len && os_now() >= c->deadline)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server did not finish the handshake in time");
	return c->state != SSH_DEAD;
}

static ssize_t on_recv(libssh2_socket_t fd, void *buf, size_t len, int flags, void **abstract)
{
	struct ssh_conn *c = *abstract;

	if (c->state == SSH_DEAD)
		return -ECONNRESET;
	len = MIN(len, c->turn_bytes);
	if (len == 0)
		return -EAGAIN;
	if (ssh_buf_used(&c->in) == 0 && !ssh_conn_fill(c))
		/* Ready, the end is told by @eof when all that came before it is used; the library would forget that. */
		return c->eof && c->state < SSH_READY ? 0 : -EAGAIN;
	len = MIN(len, ssh_buf_used(&c->in));
	memcpy(buf, c->in.p + c->in.off, len);
	ssh_buf_drop(&c->in, len);
	c->turn_bytes -= len;
	if (c->state < SSH_READY && !early_ok(c, buf, len))
		return -ECONNRESET;
	return (ssize_t)len;
}

void ssh_conn_flush(struct ssh_conn *c)
{
	while (c->fd >= 0 && ssh_buf_used(&c->out) > 0) {
		ssize_t n = send(c->fd, c->out.p + c->out.off, ssh_buf_used(&c->out), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			ssh_conn_fail(c, ERR_RESET, "the connection was lost");
			return;
		}
		ssh_buf_drop(&c->out, (size_t)n);
		/* What waited behind the rest of a long queue has left only now. */
		if (c->health.asked)
			ssh_health_asked(&c->health, c->now);
	}
}

LIBSSH2_SESSION *ssh_conn_session_new(struct ssh_conn *c)
{
	LIBSSH2_SESSION *s = libssh2_session_init_ex(on_alloc, on_free, on_realloc, c);

	if (!s)
		return NULL;
	libssh2_session_callback_set2(s, LIBSSH2_CALLBACK_SEND, (libssh2_cb_generic *)on_send);
	libssh2_session_callback_set2(s, LIBSSH2_CALLBACK_RECV, (libssh2_cb_generic *)on_recv);
	libssh2_session_set_blocking(s, 0);
	return s;
}
