/*
 * operator/socks.h - the server side of SOCKS5 (RFC 1928) with user names (RFC 1929), as a machine: bytes in, bytes out.
 *
 * CONNECT only. Names are not resolved here: they go to the far end as they are.
 */
#ifndef OPERATOR_SOCKS_H
#define OPERATOR_SOCKS_H

#include "base/err.h"
#include "base/types.h"

#define SOCKS_OUT_MAX 16  /* what one input may have to answer */
#define SOCKS_REQUEST_MAX 520

enum socks_state { SOCKS_GREETING, SOCKS_AUTH, SOCKS_REQUEST, SOCKS_DONE, SOCKS_REFUSED };

/* Codes of a reply; RFC 1928, section 6. */
enum socks_reply {
	SOCKS_REPLY_OK = 0,
	SOCKS_REPLY_FAILURE = 1,
	SOCKS_REPLY_FORBIDDEN = 2,
	SOCKS_REPLY_UNREACHABLE = 4,
	SOCKS_REPLY_CONNECTION_REFUSED = 5,
	SOCKS_REPLY_COMMAND = 7,
	SOCKS_REPLY_ADDRESS_TYPE = 8,
};

struct socks {
	enum socks_state state;
	const char *login; /* "user:password" that must be given; NULL = anybody's will do */
	uint8_t in[SOCKS_REQUEST_MAX];
	size_t n_in;
	char host[256]; /* DONE: what to connect to, a name or an address as text */
	uint16_t port;
};

void socks_init(struct socks *s, const char *login);
/**
 * socks_input() - the next bytes of the client
 * @ret_used: how many belong to the negotiation; after DONE the rest is the client's data
 * @out:      the answer, *ret_out bytes of it; to be sent also when it was refused
 *
 * Return: the state. DONE: answer with socks_reply() once it is known whether the connection stands. REFUSED: send, close.
 */
enum socks_state socks_input(struct socks *s, const uint8_t *p, size_t len, size_t *ret_used, uint8_t out[SOCKS_OUT_MAX],
			     size_t *ret_out);
/** socks_reply() - 10 bytes. Return: how many. */
size_t socks_reply(enum socks_reply code, uint8_t out[SOCKS_OUT_MAX]);

#endif
