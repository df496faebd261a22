/*
 * enroll/client.c - see client.h.
 *
 * The token leaves the agent in the first record, and that is sealed only after the operator's answer was authentic.
 * A reply is at most ENROLL_REPLY_MAX bytes; its buffer grows with what really comes.
 */
#include "enroll/client.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

static void wipe(void *p, size_t len)
{
	if (p)
		sodium_memzero(p, len);
	free(p);
}

enum enroll_code enroll_client_check(const char *token, uint64_t wall, struct enroll_token *ret)
{
	enum err e = enroll_token_decode(token, ret);

	if (e == ERR_VERSION)
		return ENROLL_VERSION;
	if (e != OK)
		return ENROLL_SIGNATURE;
	if (!ret->has_nonce)
		return ENROLL_NO_NONCE;
	return wall >= ret->expires ? ENROLL_EXPIRED : ENROLL_OK;
}

static bool send_bytes(struct enroll_client *c, size_t n, uint8_t **ret)
{
	uint8_t *p = realloc(c->out.p, c->out.len + n);

	if (!p)
		return false;
	*ret = p + c->out.len;
	c->out.p = p;
	c->out.cap = c->out.len += n;
	return true;
}

enum err enroll_client_init(struct enroll_client *c, const struct enroll_token *t, const struct noise_static *self,
			    const struct enroll_request *req, struct rng *rng)
{
	uint8_t *room;

	memset(c, 0, sizeof(*c));
	c->self = self;
	c->request = enroll_request_write(req);
	if (!c->request || !send_bytes(c, sizeof(struct enroll_hello), &room))
		return ERR_NOMEM;
	return enroll_hello_write(&c->channel, self, t->operator_key, t->nonce, rng, (struct enroll_hello *)room);
}

void enroll_client_fini(struct enroll_client *c)
{
	wipe(c->request, c->request ? strlen(c->request) : 0);
	wipe(c->in.p, c->in.cap);
	wipe(c->out.p, c->out.cap);
	enroll_channel_wipe(&c->channel);
	memset(c, 0, sizeof(*c));
	c->state = ENROLL_CLIENT_DONE;
	c->code = ENROLL_LOST;
}

static void finish(struct enroll_client *c, enum enroll_code code)
{
	ASSERT(c->state != ENROLL_CLIENT_DONE);
	c->state = ENROLL_CLIENT_DONE;
	c->code = code;
}

void enroll_client_end(struct enroll_client *c)
{
	if (c->state != ENROLL_CLIENT_DONE)
		finish(c, ENROLL_LOST);
}

/* A refusal can be anybody's: it names no more than a reason to try again later or to ask the operator. */
static void take_refusal(struct enroll_client *c, const struct enroll_answer *a)
{
	switch (a->code) {
	case ENROLL_RATE:
	case ENROLL_VERSION:
	case ENROLL_BUSY:
		finish(c, (enum enroll_code)a->code);
		break;
	default:
		finish(c, ENROLL_VALIDATION);
	}
}

static void take_answer(struct enroll_client *c)
{
	const struct enroll_answer *a = (const void *)c->in.p;
	size_t len = strlen(c->request);
	uint8_t *room;
	enum err e;

	if (memcmp(a->magic, ENROLL_MAGIC, sizeof(a->magic)) != 0) {
		finish(c, ENROLL_BAD_OPERATOR);
		return;
	}
	if (a->type == ENROLL_REFUSAL) {
		take_refusal(c, a);
		return;
	}
	e = a->type == ENROLL_ANSWER ? enroll_answer_read(&c->channel, c->self, a) : ERR_AUTH;
	if (e != OK) {
		finish(c, e == ERR_VERSION ? ENROLL_VERSION : ENROLL_BAD_OPERATOR);
		return;
	}
	if (!send_bytes(c, ENROLL_RECORD_HEAD + len + ENROLL_TAG_LEN, &room)) {
		finish(c, ENROLL_LOST);
		return;
	}
	enroll_record_seal(&c->channel, (struct bytes){ (const uint8_t *)c->request, len }, room);
	c->state = ENROLL_CLIENT_REPLY;
}

static void take_reply(struct enroll_client *c, struct bytes sealed)
{
	size_t len = sealed.len - ENROLL_TAG_LEN;
	uint8_t *plain = malloc(len + 1);

	if (!plain) {
		finish(c, ENROLL_LOST);
		return;
	}
	if (enroll_record_open(&c->channel, sealed, plain) != OK) {
		finish(c, ENROLL_BAD_OPERATOR);
	} else if (enroll_reply_read((struct bytes){ plain, len }, &c->reply) != OK) {
		finish(c, ENROLL_VALIDATION);
	} else {
		c->is_authentic = true;
		finish(c, c->reply.code);
	}
	wipe(plain, len);
}

/* How many bytes the state waits for; 0: too many. */
static size_t wanted(const struct enroll_client *c)
{
	uint32_t len;

	if (c->state == ENROLL_CLIENT_ANSWER)
		return sizeof(struct enroll_answer);
	if (c->in.len < ENROLL_RECORD_HEAD)
		return ENROLL_RECORD_HEAD;
	len = get_be32(c->in.p);
	return len < ENROLL_TAG_LEN || len > ENROLL_REPLY_MAX ? 0 : ENROLL_RECORD_HEAD + len;
}

/* Appends what is missing for @want bytes; false: more is needed, or there is no memory. */
static bool collect(struct enroll_client *c, size_t want, struct bytes *in)
{
	size_t n = MIN(want - c->in.len, in->len);

	if (c->in.cap < c->in.len + n) {
		uint8_t *p = realloc(c->in.p, c->in.len + n);

		if (!p) {
			finish(c, ENROLL_LOST);
			return false;
		}
		c->in.p = p;
		c->in.cap = c->in.len + n;
	}
	if (n > 0)
		memcpy(c->in.p + c->in.len, in->p, n);
	c->in.len += n;
	in->p += n;
	in->len -= n;
	return c->in.len == want;
}

void enroll_client_input(struct enroll_client *c, struct bytes in)
{
	while (c->state != ENROLL_CLIENT_DONE) {
		size_t want = wanted(c);

		if (want == 0) {
			finish(c, ENROLL_BAD_OPERATOR);
			return;
		}
		if (!collect(c, want, &in))
			return;
		if (c->state == ENROLL_CLIENT_ANSWER) {
			take_answer(c);
		} else {
			if (want == ENROLL_RECORD_HEAD)
				continue; /* now the length is known */
			take_reply(c, (struct bytes){ c->in.p + ENROLL_RECORD_HEAD, want - ENROLL_RECORD_HEAD });
		}
		c->in.len = 0;
	}
}

struct bytes enroll_client_output(const struct enroll_client *c)
{
	return (struct bytes){ c->out.p, c->out.len };
}

void enroll_client_sent(struct enroll_client *c, size_t n)
{
	ASSERT(n <= c->out.len);
	c->out.len -= n;
	if (c->out.len > 0)
		memmove(c->out.p, c->out.p + n, c->out.len);
}
