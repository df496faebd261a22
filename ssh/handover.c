/*
 * ssh/handover.c - see handover.h.
 *
 * The hub's copy of a session's socket is the same open file as the one in the message: closing it when the worker has the other
 * takes nothing away, and sending it again gives the next worker all that the command has written so far.
 *
 * Between two workers lies the border that makes this safe. A worker finds out what is wanted without taking it out of the
 * socket, and logs in (job_frame.c). It says "taken" before the first byte that it takes out or puts in, and before the first
 * that asks the host for something; when that cannot be said it does neither (job.c). The hub closes its ear first
 * (ssh_worker_leave()), then reads what was said before: whatever is not among it can never be taken.
 */
#include "ssh/handover.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/stream.h"
#include "ssh/frame.h"

/* ---- one session ---- */

struct ssh_handed *ssh_handed_new(int fd)
{
	struct ssh_handed *s = calloc(1, sizeof(*s));

	if (!s) {
		close(fd);
		return NULL;
	}
	s->fd = fd;
	return s;
}

void ssh_handed_free(struct ssh_handed *s)
{
	close(s->fd);
	free(s);
}

void ssh_handed_refuse(struct ssh_handed *s, enum err e, const char *why)
{
	struct ssh_buf body = { 0 }, frame = { 0 };

	/* Nothing was ever written there, so it has room; a command that has gone misses nothing. */
	if (ssh_put_u32(&body, (uint32_t)e) == OK && ssh_put_string(&body, why, strlen(why)) == OK &&
	    ssh_frame_add(&frame, SSH_F_ERROR, (struct bytes){ body.p, ssh_buf_used(&body) }, (struct bytes){ NULL, 0 }) == OK)
		(void)!os_send_fds(s->fd, frame.p, ssh_buf_used(&frame), NULL, 0);
	ssh_buf_fini(&body);
	ssh_buf_fini(&frame);
	ssh_handed_free(s);
}

/* ---- those of one worker ---- */

static enum err send_one(struct ssh_handover *h, int ctl, struct ssh_handed *s)
{
	uint8_t msg[5] = { SSH_C_SESSION };
	enum err e;

	s->number = h->n_sent + 1;
	put_le32(msg + 1, s->number);
	e = os_send_fds(ctl, msg, sizeof(msg), &s->fd, 1);
	s->sent = e == OK;
	h->n_sent += e == OK;
	return e == OK || e == ERR_AGAIN ? e : ERR_CLOSED;
}

void ssh_handover_init(struct ssh_handover *h)
{
	*h = (struct ssh_handover){ 0 };
	list_init(&h->sessions);
}

static struct ssh_handed *drop_first(struct ssh_handover *h)
{
	struct list *it = list_first(&h->sessions);

	if (!it)
		return NULL;
	list_del(it);
	return container_of(it, struct ssh_handed, link);
}

void ssh_handover_fini(struct ssh_handover *h)
{
	struct ssh_handed *s;

	while ((s = drop_first(h)))
		ssh_handed_free(s);
}

enum err ssh_handover_give(struct ssh_handover *h, int ctl, struct ssh_handed *s)
{
	enum err e = ssh_handover_waits(h) ? ERR_AGAIN : send_one(h, ctl, s);

	if (e == ERR_AGAIN && s->n_workers == 0)
		return e;
	ssh_handover_keep(h, s);
	return e == ERR_AGAIN ? OK : e;
}

void ssh_handover_keep(struct ssh_handover *h, struct ssh_handed *s)
{
	s->n_workers++;
	list_add_tail(&h->sessions, &s->link);
}

enum err ssh_handover_push(struct ssh_handover *h, int ctl)
{
	enum err e = OK;

	list_for_each(it, &h->sessions) {
		struct ssh_handed *s = container_of(it, struct ssh_handed, link);

		if (!s->sent && (e = send_one(h, ctl, s)) != OK)
			return e;
	}
	return OK;
}

bool ssh_handover_waits(const struct ssh_handover *h)
{
	const struct list *last = h->sessions.prev;

	return last != &h->sessions && !container_of(last, struct ssh_handed, link)->sent;
}

enum err ssh_handover_taken(struct ssh_handover *h, uint32_t number)
{
	list_for_each(it, &h->sessions) {
		struct ssh_handed *s = container_of(it, struct ssh_handed, link);

		if (!s->sent || s->number != number)
			continue;
		list_del(&s->link);
		ssh_handed_free(s);
		return OK;
	}
	return ERR_PROTOCOL;
}

void ssh_handover_leave(struct ssh_handover *h, struct list *ret)
{
	struct ssh_handed *s;

	while ((s = drop_first(h))) {
		s->sent = false;
		list_add_tail(ret, &s->link);
	}
}
