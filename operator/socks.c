/*
 * operator/socks.c - see socks.h.
 *
 * Messages are collected until they are whole, at most SOCKS_REQUEST_MAX bytes; each knows its length from its first bytes. How
 * the bytes are cut into reads does not matter. A client that offers no method that we want, a wrong password, and what is
 * not SOCKS5 at all are refused, with the answer that the RFCs have where there is one.
 */
#include "operator/socks.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/addr.h"

#define VERSION 5
#define AUTH_VERSION 1
#define METHOD_NONE 0
#define METHOD_LOGIN 2
#define METHOD_REFUSED 0xff
#define COMMAND_CONNECT 1
#define ADDRESS_IP4 1
#define ADDRESS_NAME 3
#define ADDRESS_IP6 4

void socks_init(struct socks *s, const char *login)
{
	memset(s, 0, sizeof(*s));
	s->login = login;
}

/* How long the message in @s->in is, as far as can be told; at least one byte more than is there when it cannot. */
static size_t message_len(const struct socks *s)
{
	const uint8_t *p = s->in;
	size_t n = s->n_in;

	if (s->state == SOCKS_GREETING)
		return n < 2 ? 2 : 2 + (size_t)p[1];
	if (s->state == SOCKS_AUTH)
		return n < 2 ? 2 : n < 3 + (size_t)p[1] ? 3 + (size_t)p[1] : 3 + (size_t)p[1] + p[2 + p[1]];
	if (n < 5)
		return 5;
	if (p[3] == ADDRESS_NAME)
		return 7 + (size_t)p[4];
	return p[3] == ADDRESS_IP6 ? 22 : 10;
}

static size_t refuse(struct socks *s, uint8_t first, uint8_t second, uint8_t *out)
{
	s->state = SOCKS_REFUSED;
	out[0] = first;
	out[1] = second;
	return 2;
}

static size_t take_greeting(struct socks *s, uint8_t *out)
{
	bool none = memchr(s->in + 2, METHOD_NONE, s->in[1]), login = memchr(s->in + 2, METHOD_LOGIN, s->in[1]);

	out[0] = VERSION;
	if (none && !s->login) {
		out[1] = METHOD_NONE;
		s->state = SOCKS_REQUEST;
	} else if (login) {
		out[1] = METHOD_LOGIN;
		s->state = SOCKS_AUTH;
	} else {
		return refuse(s, VERSION, METHOD_REFUSED, out);
	}
	return 2;
}

/* Compared as "user:password" of equal length, without telling by the time where they differ. */
static bool is_login(const struct socks *s)
{
	size_t n_user = s->in[1], n_word = s->in[2 + n_user], len = n_user + 1 + n_word;
	char given[512];
	bool ok;

	if (!s->login)
		return true;
	memcpy(given, s->in + 2, n_user);
	given[n_user] = ':';
	memcpy(given + n_user + 1, s->in + 3 + n_user, n_word);
	ok = len == strlen(s->login) && sodium_memcmp(given, s->login, len) == 0;
	sodium_memzero(given, sizeof(given));
	return ok;
}

static size_t take_auth(struct socks *s, uint8_t *out)
{
	if (s->in[0] != AUTH_VERSION || !is_login(s))
		return refuse(s, AUTH_VERSION, 1, out);
	out[0] = AUTH_VERSION;
	out[1] = 0;
	s->state = SOCKS_REQUEST;
	return 2;
}

size_t socks_reply(enum socks_reply code, uint8_t out[SOCKS_OUT_MAX])
{
	/* The bound address is not known here; nobody uses it. */
	const uint8_t reply[10] = { VERSION, (uint8_t)code, 0, ADDRESS_IP4 };

	memcpy(out, reply, sizeof(reply));
	return sizeof(reply);
}

static bool read_address(struct socks *s)
{
	struct ip_addr ip = { 0 };
	size_t len = s->in[4];

	if (s->in[3] == ADDRESS_NAME) {
		memcpy(s->host, s->in + 5, len);
		s->host[len] = '\0';
		/* A path would be a Unix socket there, which nobody asks for in this way. */
		return len > 0 && !memchr(s->host, '\0', len) && s->host[0] != '/';
	}
	if (s->in[3] == ADDRESS_IP4) {
		snprintf(s->host, sizeof(s->host), "%u.%u.%u.%u", s->in[4], s->in[5], s->in[6], s->in[7]);
		return true;
	}
	ip.family = IP_V6;
	memcpy(ip.b, s->in + 4, 16);
	ip_addr_format(&ip, s->host);
	return true;
}

static size_t take_request(struct socks *s, size_t len, uint8_t *out)
{
	enum socks_reply why = SOCKS_REPLY_FAILURE;

	if (s->in[0] == VERSION && s->in[1] != COMMAND_CONNECT)
		why = SOCKS_REPLY_COMMAND;
	else if (s->in[0] == VERSION && s->in[3] != ADDRESS_IP4 && s->in[3] != ADDRESS_NAME && s->in[3] != ADDRESS_IP6)
		why = SOCKS_REPLY_ADDRESS_TYPE;
	else if (s->in[0] == VERSION && read_address(s))
		why = SOCKS_REPLY_OK;
	s->port = (uint16_t)(s->in[len - 2] << 8 | s->in[len - 1]);
	if (why == SOCKS_REPLY_OK && s->port != 0) {
		s->state = SOCKS_DONE;
		return 0;
	}
	s->state = SOCKS_REFUSED;
	return socks_reply(why == SOCKS_REPLY_OK ? SOCKS_REPLY_FAILURE : why, out);
}

enum socks_state socks_input(struct socks *s, const uint8_t *p, size_t len, size_t *ret_used, uint8_t out[SOCKS_OUT_MAX],
			     size_t *ret_out)
{
	size_t used = 0;

	*ret_out = 0;
	while (s->state < SOCKS_DONE && used < len) {
		s->in[s->n_in++] = p[used++];
		if (s->state == SOCKS_GREETING && s->in[0] != VERSION) {
			s->state = SOCKS_REFUSED; /* of another protocol: there is no answer */
			break;
		}
		if (s->n_in < message_len(s))
			continue;
		if (s->state == SOCKS_GREETING)
			*ret_out += take_greeting(s, out + *ret_out);
		else if (s->state == SOCKS_AUTH)
			*ret_out += take_auth(s, out + *ret_out);
		else
			*ret_out += take_request(s, s->n_in, out + *ret_out);
		s->n_in = 0;
	}
	if (s->state >= SOCKS_DONE)
		sodium_memzero(s->in, sizeof(s->in));
	*ret_used = used;
	return s->state;
}
