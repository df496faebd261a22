/*
 * ssh/sftp_client.c - see sftp_client.h.
 *
 * A request's id is the index of its slot and, above it, how often the slot was used: an answer to
 * something that was not asked, or was answered before, is found out and ends the connection, for
 * what a server means by it cannot be known. When the server is silent for SFTP_SILENCE_MAX while
 * something is asked (or longer, where a disk may be at work), it is given up.
 */
#include "ssh/sftp_client.h"

#include <stdio.h>
#include <string.h>

#define SLOT_BITS 11

_Static_assert(SFTP_CALLS_MAX == 1 << SLOT_BITS, "an id is a slot and a generation");

/* What is left of a request of @max bytes when the packet around it has to fit @packet. */
static size_t chunk_max(uint64_t max, uint64_t packet)
{
	size_t n = max ? (size_t)MIN(max, (uint64_t)SFTP_PACKET_MAX) : SFTP_CHUNK_DEFAULT;

	if (packet > 1024 && n > packet - 1024)
		n = (size_t)packet - 1024;
	return MIN(MAX(n, (size_t)1024), (size_t)SFTP_PACKET_MAX - 1024);
}

static void on_limits(void *ctx, uint64_t tag, const struct sftp_reply *r)
{
	struct sftp_client *c = ctx;
	struct sftp_limits l;

	if (r && r->type == SFTP_EXTENDED_REPLY && sftp_read_limits(r->data, &l)) {
		c->read_max = chunk_max(l.read, l.packet);
		c->write_max = chunk_max(l.write, l.packet);
	}
	c->ready = r != NULL;
}

enum err sftp_client_init(struct sftp_client *c, nsec_t now)
{
	struct sftp_request rq = { .type = SFTP_INIT };

	*c = (struct sftp_client){ .heard = now,
				   .read_max = SFTP_CHUNK_DEFAULT,
				   .write_max = SFTP_CHUNK_DEFAULT,
				   .ahead.bytes = SFTP_AHEAD_MIN };
	for (size_t i = 0; i < SFTP_CALLS_MAX; i++)
		c->free_list[c->n_free++] = (uint16_t)(SFTP_CALLS_MAX - 1 - i);
	return sftp_encode(&c->out, SFTP_VERSION_OURS, &rq);
}

void sftp_client_fini(struct sftp_client *c)
{
	sftp_client_fail(c, ERR_CLOSED, "closed");
	ssh_buf_fini(&c->out);
	ssh_buf_fini(&c->in);
}

size_t sftp_client_pending(const struct sftp_client *c)
{
	return SFTP_CALLS_MAX - c->n_free;
}

bool sftp_client_room(const struct sftp_client *c)
{
	return c->error == OK && c->n_free > SFTP_CALLS_MAX / 8 && ssh_buf_used(&c->out) < SFTP_OUT_MAX;
}

enum err sftp_client_call(struct sftp_client *c, nsec_t now, const struct sftp_request *rq, sftp_reply_fn fn,
			  void *ctx, uint64_t tag)
{
	struct sftp_call *call;
	uint16_t slot;
	enum err e;

	if (c->error != OK)
		return ERR_CLOSED;
	if (c->n_free == 0)
		return ERR_FULL;
	slot = c->free_list[c->n_free - 1];
	call = &c->calls[slot];
	e = sftp_encode(&c->out, (uint32_t)call->generation << SLOT_BITS | slot, rq);
	if (e != OK)
		return e;
	if (sftp_client_pending(c) == 0)
		c->heard = now;
	c->n_free--;
	call->fn = fn;
	call->ctx = ctx;
	call->tag = tag;
	call->asked = now;
	call->slow = rq->type == SFTP_CLOSE || (rq->type == SFTP_EXTENDED && rq->ext == SFTP_X_FSYNC);
	c->n_slow += call->slow;
	return OK;
}

/* A round is over when as many bytes came as may be under way. */
static void take_sample(struct sftp_client *c, const struct sftp_call *call, nsec_t now, const struct sftp_reply *r)
{
	struct sftp_ahead *a = &c->ahead;
	nsec_t took = now - call->asked;
	uint64_t on_the_way;

	if (took > 0 && (a->rtt == 0 || took < a->rtt))
		a->rtt = took;
	if (r->type != SFTP_DATA)
		return;
	if (a->round_bytes == 0)
		a->round_began = now;
	a->round_bytes += r->data.len;
	if (a->round_bytes < a->bytes || now <= a->round_began)
		return;
	on_the_way = (uint64_t)((double)a->round_bytes * (double)a->rtt / (double)(now - a->round_began));
	if (2 * on_the_way > a->bytes)
		a->bytes = MIN(2 * a->bytes, (uint64_t)SFTP_AHEAD_MAX);
	a->round_bytes = 0;
}

/* The callback may make new calls, which may take this very slot. */
static void answer(struct sftp_client *c, uint16_t slot, const struct sftp_reply *r)
{
	struct sftp_call call = c->calls[slot];

	c->calls[slot] = (struct sftp_call){ .generation = (uint16_t)(call.generation + 1) };
	c->free_list[c->n_free++] = slot;
	c->n_slow -= call.slow;
	call.fn(call.ctx, call.tag, r);
}

static void on_forgotten(void *ctx, uint64_t tag, const struct sftp_reply *r)
{
	struct sftp_client *c = ctx;
	struct sftp_request shut = { .type = SFTP_CLOSE };

	if (!r || r->type != SFTP_HANDLE)
		return;
	shut.path = r->data;
	if (sftp_client_call(c, c->heard, &shut, on_forgotten, c, 0) != OK)
		return; /* the server's handle is lost until the channel ends */
}

void sftp_client_forget(struct sftp_client *c, const void *ctx)
{
	for (size_t i = 0; i < SFTP_CALLS_MAX; i++)
		if (c->calls[i].fn && c->calls[i].ctx == ctx) {
			c->calls[i].fn = on_forgotten;
			c->calls[i].ctx = c;
		}
}

void sftp_client_fail(struct sftp_client *c, enum err e, const char *message)
{
	if (c->error != OK)
		return;
	c->error = e;
	snprintf(c->message, sizeof(c->message), "%s", message);
	for (size_t i = 0; i < SFTP_CALLS_MAX; i++)
		if (c->calls[i].fn)
			answer(c, (uint16_t)i, NULL);
}

static void take_version(struct sftp_client *c, nsec_t now, const struct sftp_reply *r)
{
	struct sftp_request limits = { .type = SFTP_EXTENDED, .ext = SFTP_X_LIMITS };
	struct bytes exts = r->data;

	if (r->id < SFTP_VERSION_OURS) {
		sftp_client_fail(c, ERR_VERSION, "the server's SFTP is older than version 3");
		return;
	}
	while (exts.len > 0) {
		enum sftp_ext x;

		if (!sftp_next_ext(&exts, &x)) {
			sftp_client_fail(c, ERR_PROTOCOL, "the server's SFTP greeting is malformed");
			return;
		}
		if (x != SFTP_X_N)
			c->has[x] = true;
	}
	if (!c->has[SFTP_X_LIMITS])
		c->ready = true;
	else if (sftp_client_call(c, now, &limits, on_limits, c, 0) != OK)
		sftp_client_fail(c, ERR_NOMEM, err_text(ERR_NOMEM));
}

static void take_packet(struct sftp_client *c, nsec_t now, struct bytes packet)
{
	struct sftp_reply r;
	uint16_t slot;

	if (sftp_decode(packet, &r) != OK) {
		sftp_client_fail(c, ERR_PROTOCOL, "the server sent a malformed SFTP packet");
		return;
	}
	if (r.type == SFTP_VERSION) {
		if (c->ready || sftp_client_pending(c) > 0)
			sftp_client_fail(c, ERR_PROTOCOL, "the server greeted twice");
		else
			take_version(c, now, &r);
		return;
	}
	slot = r.id & (SFTP_CALLS_MAX - 1);
	if (!c->calls[slot].fn || r.id >> SLOT_BITS != c->calls[slot].generation) {
		sftp_client_fail(c, ERR_PROTOCOL, "the server answered what was not asked");
		return;
	}
	r.from = c;
	take_sample(c, &c->calls[slot], now, &r);
	answer(c, slot, &r);
}

void sftp_client_input(struct sftp_client *c, nsec_t now)
{
	struct bytes packet;
	size_t total;
	enum err e = ERR_AGAIN;

	while (c->error == OK && (e = sftp_next(&c->in, &packet, &total)) == OK) {
		c->heard = now;
		take_packet(c, now, packet);
		ssh_buf_drop(&c->in, total);
	}
	if (e == ERR_PROTOCOL)
		sftp_client_fail(c, c->ready ? ERR_PROTOCOL : ERR_FORBIDDEN, c->ready ? "the server sent an SFTP packet of a length that is not allowed" :
					 "the server does not speak SFTP (does its login shell print something?)");
}

nsec_t sftp_client_deadline(const struct sftp_client *c)
{
	if (c->error != OK || (c->ready && sftp_client_pending(c) == 0))
		return NSEC_NEVER;
	return nsec_add(c->heard, c->n_slow > 0 ? SFTP_SILENCE_SLOW : SFTP_SILENCE_MAX);
}

void sftp_client_expire(struct sftp_client *c, nsec_t now)
{
	if (now >= sftp_client_deadline(c))
		sftp_client_fail(c, ERR_TIMEOUT, "the server's SFTP does not answer");
}
