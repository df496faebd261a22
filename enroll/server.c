/*
 * enroll/server.c - see server.h.
 *
 * Bytes are collected until the message that the state expects is whole: the hello has a fixed length, a record tells
 * its own, which is limited before anything is allocated for it. A stranger costs one look-up and one keyed hash;
 * only who holds a token reaches the four Diffie-Hellmans, and only after the operator's key was proved comes the token.
 */
#include "enroll/server.h"

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

void enroll_server_init(struct enroll_server *s, const struct noise_static *self, struct rng *rng, nsec_t now)
{
	memset(s, 0, sizeof(*s));
	s->self = self;
	s->rng = rng;
	s->deadline = nsec_add(now, ENROLL_HELLO_MAX);
}

void enroll_server_fini(struct enroll_server *s)
{
	wipe(s->in.p, s->in.cap);
	wipe(s->out.p, s->out.cap);
	wipe(s->request, sizeof(*s->request));
	enroll_channel_wipe(&s->channel);
	memset(s, 0, sizeof(*s));
	s->state = ENROLL_SERVER_CLOSING;
}

static void finish(struct enroll_server *s, enum enroll_code code, const char *why)
{
	ASSERT(s->state != ENROLL_SERVER_CLOSING);
	s->state = ENROLL_SERVER_CLOSING;
	s->code = code;
	s->why = why;
}

/* Room for @n more bytes to send; false: out of memory. */
static uint8_t *out_room(struct enroll_server *s, size_t n)
{
	uint8_t *p = realloc(s->out.p, s->out.len + n);

	if (!p)
		return NULL;
	s->out.p = p;
	s->out.cap = s->out.len + n;
	return p + s->out.len;
}

static void send_bytes(struct enroll_server *s, const void *p, size_t n)
{
	uint8_t *room = out_room(s, n);

	if (!room)
		return;
	memcpy(room, p, n);
	s->out.len += n;
}

void enroll_server_refuse(struct enroll_server *s, enum enroll_code code, const char *why)
{
	struct enroll_answer a = { .type = ENROLL_REFUSAL, .version = ENROLL_VERSION_MAX, .code = (uint8_t)code };

	memcpy(a.magic, ENROLL_MAGIC, sizeof(a.magic));
	send_bytes(s, &a, sizeof(a));
	finish(s, code, why);
}

bool enroll_server_is_known(const struct enroll_server *s)
{
	static const uint8_t none[ENROLL_ID_LEN];

	return memcmp(s->id, none, sizeof(none)) != 0;
}

static void take_hello(struct enroll_server *s, const struct enroll_invites *invites)
{
	const struct enroll_hello *h = (const void *)s->in.p;
	const struct enroll_invite *inv;
	struct enroll_answer a;
	enum err e;

	if (memcmp(h->magic, ENROLL_MAGIC, sizeof(h->magic)) != 0) {
		finish(s, ENROLL_VALIDATION, "something that is not the enrollment protocol");
		return;
	}
	inv = enroll_invites_find(invites, h->id);
	if (!inv || !enroll_hello_is_from(h, inv->nonce)) {
		enroll_server_refuse(s, ENROLL_VALIDATION, inv ? "a hello that is not authentic" : "no such invite");
		return;
	}
	memcpy(s->id, h->id, sizeof(s->id));
	e = enroll_hello_read(&s->channel, s->self, h, s->rng, s->agent, &a);
	if (e != OK) {
		enroll_server_refuse(s, e == ERR_VERSION ? ENROLL_VERSION : ENROLL_VALIDATION,
				     e == ERR_VERSION ? "no common version" : "a handshake that is not authentic");
		return;
	}
	send_bytes(s, &a, sizeof(a));
	s->deadline = nsec_add(s->deadline, ENROLL_TOTAL_MAX - ENROLL_HELLO_MAX);
	s->state = ENROLL_SERVER_REQUEST;
}

static void take_request(struct enroll_server *s, struct bytes sealed)
{
	uint8_t plain[ENROLL_REQUEST_MAX];
	size_t len = sealed.len - ENROLL_TAG_LEN;

	if (enroll_record_open(&s->channel, sealed, plain) != OK) {
		finish(s, ENROLL_VALIDATION, "a request that is not authentic");
		return;
	}
	s->request = calloc(1, sizeof(*s->request));
	if (!s->request)
		finish(s, ENROLL_BUSY, "out of memory");
	else if (enroll_request_read((struct bytes){ plain, len }, s->request) != OK)
		finish(s, ENROLL_VALIDATION, "a malformed request");
	else
		s->state = ENROLL_SERVER_COMMIT;
	sodium_memzero(plain, len);
}

/* How many bytes the state waits for; 0: none, whatever comes ends it. */
static size_t wanted(struct enroll_server *s)
{
	uint32_t len;

	if (s->state == ENROLL_SERVER_HELLO)
		return sizeof(struct enroll_hello);
	if (s->state != ENROLL_SERVER_REQUEST)
		return 0;
	if (s->in.len < ENROLL_RECORD_HEAD)
		return ENROLL_RECORD_HEAD;
	len = get_be32(s->in.p);
	if (len < ENROLL_TAG_LEN || len > ENROLL_REQUEST_MAX)
		return 0;
	return ENROLL_RECORD_HEAD + len;
}

/* Takes what is missing for @want bytes out of @in. False: more is needed, or there is no memory. */
static bool collect(struct enroll_server *s, size_t want, struct bytes *in)
{
	size_t n = MIN(want - s->in.len, in->len);

	if (s->in.cap < want) {
		uint8_t *p = realloc(s->in.p, want);

		if (!p) {
			finish(s, ENROLL_BUSY, "out of memory");
			return false;
		}
		s->in.p = p;
		s->in.cap = want;
	}
	if (n > 0)
		memcpy(s->in.p + s->in.len, in->p, n);
	s->in.len += n;
	in->p += n;
	in->len -= n;
	return s->in.len == want;
}

void enroll_server_input(struct enroll_server *s, const struct enroll_invites *invites, struct bytes in)
{
	while (s->state < ENROLL_SERVER_COMMIT) {
		size_t want = wanted(s);

		if (want == 0) {
			finish(s, ENROLL_VALIDATION, "a record of a wrong length");
			return;
		}
		if (!collect(s, want, &in))
			return;
		if (s->state == ENROLL_SERVER_HELLO) {
			take_hello(s, invites);
		} else {
			if (want == ENROLL_RECORD_HEAD)
				continue; /* now the length is known */
			take_request(s, (struct bytes){ s->in.p + ENROLL_RECORD_HEAD, want - ENROLL_RECORD_HEAD });
		}
		s->in.len = 0;
	}
	if (in.len > 0 && s->state == ENROLL_SERVER_COMMIT)
		finish(s, ENROLL_VALIDATION, "more than one request");
}

void enroll_server_reply(struct enroll_server *s, const struct enroll_reply *reply, const char *why)
{
	char *json = enroll_reply_write(reply);
	size_t len = json ? strlen(json) : 0;
	uint8_t *room = NULL;

	ASSERT(s->state == ENROLL_SERVER_COMMIT);
	if (json && len <= ENROLL_REPLY_MAX - ENROLL_TAG_LEN)
		room = out_room(s, ENROLL_RECORD_HEAD + len + ENROLL_TAG_LEN);
	if (room) {
		enroll_record_seal(&s->channel, (struct bytes){ (const uint8_t *)json, len }, room);
		s->out.len += ENROLL_RECORD_HEAD + len + ENROLL_TAG_LEN;
	}
	free(json);
	finish(s, reply->code, why);
}

struct bytes enroll_server_output(const struct enroll_server *s)
{
	return (struct bytes){ s->out.p, s->out.len };
}

void enroll_server_sent(struct enroll_server *s, size_t n)
{
	ASSERT(n <= s->out.len);
	s->out.len -= n;
	if (s->out.len > 0)
		memmove(s->out.p, s->out.p + n, s->out.len);
}

void enroll_server_expire(struct enroll_server *s)
{
	if (s->state != ENROLL_SERVER_CLOSING)
		finish(s, ENROLL_LOST, "it took too long");
}
