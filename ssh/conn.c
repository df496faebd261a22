/*
 * ssh/conn.c - see conn.h.
 *
 * The server is a stranger until its key is judged, and may be hostile after. What holds it:
 *   - before READY: one deadline for everything, looked at for each piece that the library reads, and at most EARLY_MAX bytes
 *     (conn_library.c);
 *   - in every turn of the loop: at most TURN_MAX bytes go into the library, which otherwise reads as long as there is
 *     something, so that a flood cannot keep the worker from its clock and its other connections;
 *   - the library's memory is counted and ends the connection at CONN_MEMORY_MAX (conn_library.c);
 *   - a turn that computes without end is ended by the worker's CPU watch (worker_main.c).
 * A connection that nobody uses reads at most IDLE_MAX bytes from one ping to the next: the answers, the server's own
 * pings, its end.
 */
#include "ssh/conn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "ssh/conn_internal.h"
#include "ssh/fs.h"

#define CONNECT_TIMEOUT (15 * NSEC_PER_SEC)
#define CLOSE_TIMEOUT (30 * NSEC_PER_SEC)
#define STUCK_AFTER (1 * NSEC_PER_SEC)
#define OPEN_GIVE_UP (60 * NSEC_PER_SEC)
#define IDLE_MAX (64 * 1024)
#define TURN_MAX (8 * 1024 * 1024)

/* A channel given up before the server confirmed its end. */
struct closing {
	struct list link;
	LIBSSH2_CHANNEL *channel;
	nsec_t deadline;
};

/* ---- life ---- */

struct ssh_conn *ssh_conn_new(struct ssh_setup *setup, uint32_t id, nsec_t now, bool restricted)
{
	struct ssh_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->setup = setup;
	c->id = id;
	c->fd = -1;
	c->now = now;
	c->deadline = now + CONNECT_TIMEOUT;
	c->dial_at = now;
	c->idle_since = NSEC_NEVER;
	c->restricted = restricted;
	c->sessions_max = CONN_CHANNELS_MAX;
	list_init(&c->link);
	list_init(&c->closing);
	return c;
}

void ssh_conn_free(struct ssh_conn *c)
{
	/* The server learns of the end by the closed connection: no goodbye that could block. Dead, the hooks refuse all. */
	c->state = SSH_DEAD;
	ssh_fs_free(c->fs);
	ssh_auth_fini(&c->auth);
	list_for_each_safe(it, &c->closing)
		free(container_of(it, struct closing, link));
	if (c->session)
		for (int i = 0; i < 1000 && libssh2_session_free(c->session) == LIBSSH2_ERROR_EAGAIN; i++)
			;
	if (c->fd >= 0)
		close(c->fd);
	ssh_buf_fini(&c->out);
	ssh_buf_fini(&c->in);
	list_del(&c->link);
	free(c);
}

void ssh_conn_start(struct ssh_conn *c, int fd)
{
	c->fd = fd;
	c->session = ssh_conn_session_new(c);
	if (!c->session || !ssh_conn_set_methods(c)) {
		ssh_conn_fail(c, ERR_INTERNAL, "the SSH library does not know the algorithms that we need");
		return;
	}
	c->state = SSH_HANDSHAKE;
}

/* ---- how it fails ---- */

void ssh_conn_fail(struct ssh_conn *c, enum err e, const char *fmt, ...)
{
	va_list ap;

	if (c->state == SSH_DEAD)
		return;
	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
	text_clean(c->message);
	c->error = e;
	c->state = SSH_DEAD;
}

/* Did a line begin with SSH-? Before it a server may say what it likes, as sshd does: "Exceeded MaxStartups". */
static bool is_identified(const struct ssh_conn *c)
{
	for (size_t i = 0; i + 4 <= c->n_seen; i++)
		if ((i == 0 || c->seen[i - 1] == '\n') && memcmp(c->seen + i, "SSH-", 4) == 0)
			return true;
	return false;
}

bool ssh_conn_was_dropped(const struct ssh_conn *c)
{
	return c->state == SSH_DEAD && c->error == ERR_RESET && c->fd >= 0 && !is_identified(c);
}

void ssh_conn_fail_by_library(struct ssh_conn *c, const char *what)
{
	char *text = NULL;
	size_t n = 0; /* of its first line */

	libssh2_session_last_error(c->session, &text, NULL, 0);
	while (n < MIN(c->n_seen, 100U) && !strchr("\r\n", c->seen[n]))
		n++;
	if (c->eof && !is_identified(c) && n > 0)
		ssh_conn_fail(c, ERR_RESET, "%s: the server closed the connection, saying \"%.*s\"", what, (int)n,
			      (const char *)c->seen);
	else if (c->eof)
		ssh_conn_fail(c, ERR_RESET, "%s: the server closed the connection", what);
	else
		ssh_conn_fail(c, ERR_PROTOCOL, "%s: %s", what, text && *text ? text : "unknown reason");
}

/* ---- channels ---- */

static void confirm_closed(struct ssh_conn *c)
{
	list_for_each_safe(it, &c->closing) {
		struct closing *cl = container_of(it, struct closing, link);

		if (c->state == SSH_DEAD)
			return; /* they go with the session */
		if (libssh2_channel_free(cl->channel) == LIBSSH2_ERROR_EAGAIN) {
			c->hungry = true;
			c->retired |= c->now >= cl->deadline;
			continue;
		}
		list_del(&cl->link);
		free(cl);
		c->n_closing--;
	}
}

void ssh_conn_close_channel(struct ssh_conn *c, LIBSSH2_CHANNEL *channel)
{
	struct closing *cl;

	if (c->state != SSH_READY || libssh2_channel_free(channel) != LIBSSH2_ERROR_EAGAIN)
		return;
	cl = calloc(1, sizeof(*cl));
	if (!cl) {
		c->retired = true;
		return;
	}
	cl->channel = channel;
	cl->deadline = c->now + CLOSE_TIMEOUT;
	list_add_tail(&c->closing, &cl->link);
	c->n_closing++;
}

bool ssh_conn_begin_open(struct ssh_conn *c, void *job, nsec_t now)
{
	if (c->opening && c->opening != job)
		return false;
	if (!c->opening)
		c->opening_since = now;
	c->opening = job;
	return true;
}

void ssh_conn_end_open(struct ssh_conn *c, void *job)
{
	if (c->opening == job)
		c->opening = NULL;
}

void ssh_conn_abandon_open(struct ssh_conn *c, void *job)
{
	if (c->opening != job)
		return;
	c->opening = c;
	c->retired = true;
}

void ssh_conn_refused_open(struct ssh_conn *c)
{
	unsigned sessions = ssh_conn_sessions(c);

	c->sessions_max = sessions > 1 ? sessions - 1 : 1;
}

unsigned ssh_conn_sessions(const struct ssh_conn *c)
{
	return c->n_users - c->n_file_users - c->n_direct_users + ssh_fs_n_channels(c->fs) + c->n_closing;
}

bool ssh_conn_is_stuck(const struct ssh_conn *c, nsec_t now)
{
	return c->opening && c->state == SSH_READY && now >= c->opening_since + STUCK_AFTER;
}

/* ---- health ---- */

static void ping(struct ssh_conn *c)
{
	/* Answers to requests come in order, and an opening listener waits for its own. */
	if (c->opening)
		return;
	if (libssh2_session_ping(c->session) == 0)
		ssh_health_asked(&c->health, c->now);
}

void ssh_conn_ask(struct ssh_conn *c, nsec_t now)
{
	c->now = now;
	if (c->state == SSH_READY && ssh_health_wants_ask(&c->health, now, true))
		ping(c);
}

bool ssh_conn_is_silent(const struct ssh_conn *c, nsec_t now)
{
	return c->state == SSH_READY && ssh_health_is_silent(&c->health, now);
}

bool ssh_conn_listens(const struct ssh_conn *c)
{
	/* What nobody takes is left to the kernel, and the server waits. */
	if (c->eof)
		return false;
	/* While a person or the agent is waited for: its end, and no more than a little. */
	if (c->state == SSH_AUTH && ssh_auth_waits(&c->auth))
		return ssh_buf_used(&c->in) == 0;
	return c->state < SSH_READY || (c->n_users == 0 ? c->n_idle_bytes < IDLE_MAX : c->hungry);
}

/* While we do not listen, silence says nothing. */
static void check_health(struct ssh_conn *c, bool listened)
{
	if (!listened) {
		ssh_health_heard(&c->health, c->now);
	} else if (ssh_health_is_dead(&c->health, c->now)) {
		ssh_conn_fail(c, ERR_RESET, "the connection was lost: no answer for %u s",
			      (unsigned)((c->now - c->health.heard) / NSEC_PER_SEC));
	} else if (ssh_health_wants_ask(&c->health, c->now, false)) {
		c->n_idle_bytes = 0;
		ping(c);
	}
}

/* ---- steps ---- */

bool ssh_conn_ended(struct ssh_conn *c)
{
	while (ssh_buf_used(&c->in) < IDLE_MAX && ssh_conn_fill(c))
		;
	return c->eof;
}

void ssh_conn_set_patience(struct ssh_conn *c, nsec_t patience)
{
	c->deadline = c->now + (patience ? patience : CONNECT_TIMEOUT);
}

/* In READY with nobody there: its answers, its own pings, its end. */
static void step_idle(struct ssh_conn *c)
{
	size_t before;

	if (c->idle_since == NSEC_NEVER) {
		c->idle_since = c->now;
		c->n_idle_bytes = 0;
	}
	c->turn_bytes = before = IDLE_MAX - c->n_idle_bytes;
	if (before > 0 && libssh2_session_read(c->session) != 0)
		ssh_conn_fail_by_library(c, "an idle connection ended");
	else if (before > 0 && ssh_buf_used(&c->in) == 0 && c->eof)
		ssh_conn_fail(c, ERR_RESET, "the server closed the connection");
	c->n_idle_bytes += before - c->turn_bytes;
	c->turn_bytes = TURN_MAX;
	ssh_buf_release(&c->in);
}

bool ssh_conn_step(struct ssh_conn *c, nsec_t now)
{
	enum ssh_conn_state before = c->state;
	bool listened = ssh_conn_listens(c) || c->eof;

	c->now = now;
	c->turn_bytes = TURN_MAX;
	if (c->state == SSH_HANDSHAKE)
		ssh_conn_step_handshake(c);
	if (c->state == SSH_AUTH)
		ssh_auth_step(c);
	if (c->state < SSH_READY && now >= c->deadline)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server did not answer in time");
	if (c->state == SSH_READY && before != SSH_READY)
		ssh_health_heard(&c->health, now);
	else if (c->state == SSH_READY)
		check_health(c, listened);
	if (c->n_users > 0)
		c->idle_since = NSEC_NEVER;
	else if (c->state == SSH_READY)
		step_idle(c);
	c->hungry = false;
	if (c->state == SSH_READY)
		confirm_closed(c);
	if (c->opening && now >= c->opening_since + OPEN_GIVE_UP)
		c->retired = true;
	if (c->retired && c->n_users == 0)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server does not answer");
	ssh_conn_flush(c);
	return c->state != before;
}

nsec_t ssh_conn_next(const struct ssh_conn *c)
{
	if (c->state < SSH_READY)
		return nsec_min(c->deadline, c->dial_at);
	if (c->state != SSH_READY)
		return NSEC_NEVER;
	/* The library stopped at the turn's limit, and there may be more. */
	if (c->turn_bytes == 0)
		return 0;
	return nsec_min(ssh_health_next(&c->health, c->now),
			c->opening || !list_empty(&c->closing) ? c->now + NSEC_PER_SEC : NSEC_NEVER);
}
