/* ssh/agent.c - see agent.h. */
#include "ssh/agent.h"

#include <string.h>

#include "base/endian.h"
#include "ssh/key.h"

enum {
	AGENT_FAILURE = 5,
	AGENT_LIST = 11,
	AGENT_KEYS = 12,
	AGENT_SIGN = 13,
	AGENT_SIGNATURE = 14,
};

#define USERAUTH_REQUEST 50

enum err ssh_agent_put_list(struct ssh_buf *b)
{
	static const uint8_t list[] = { 0, 0, 0, 1, AGENT_LIST };

	return ssh_buf_add(b, list, sizeof(list));
}

enum err ssh_agent_put_sign(struct ssh_buf *b, struct bytes blob, struct bytes data, const char *algorithm)
{
	uint32_t flags = strncmp(algorithm, "rsa-sha2-256", 12) == 0 ? SSH_AGENT_RSA_SHA2_256 :
			 strncmp(algorithm, "rsa-sha2-512", 12) == 0 ? SSH_AGENT_RSA_SHA2_512 :
								       0;
	size_t len = 1 + 4 + blob.len + 4 + data.len + 4;
	struct wire_writer w = { ssh_buf_room(b, 4 + len), 0 };

	if (!w.p)
		return ERR_NOMEM;
	wire_put_u32(&w, (uint32_t)len);
	wire_put_u8(&w, AGENT_SIGN);
	wire_put_string(&w, blob.p, blob.len);
	wire_put_string(&w, data.p, data.len);
	wire_put_u32(&w, flags);
	b->len += w.len;
	return OK;
}

enum err ssh_agent_whole(struct bytes b, size_t *ret_total)
{
	uint32_t len;

	if (b.len < 4)
		return ERR_AGAIN;
	len = get_be32(b.p);
	if (len == 0 || len > SSH_AGENT_ANSWER_MAX)
		return ERR_TOO_LONG;
	if (b.len - 4 < len)
		return ERR_AGAIN;
	*ret_total = 4 + len;
	return OK;
}

/* Return: its type; 0 = none. */
static uint8_t begin(struct bytes msg, struct wire_reader *ret)
{
	*ret = (struct wire_reader){ msg.p, msg.len, false };
	return wire_u8(ret);
}

enum err ssh_agent_read_keys(struct bytes answer, struct ssh_agent_key ret[SSH_AGENT_KEYS_MAX], size_t *ret_n)
{
	struct wire_reader r;
	uint8_t type = begin(answer, &r);
	uint32_t n;
	size_t found = 0;

	if (type == AGENT_FAILURE)
		return ERR_REFUSED;
	n = wire_u32(&r);
	if (type != AGENT_KEYS || r.bad)
		return ERR_PROTOCOL;
	for (uint32_t i = 0; i < n && found < SSH_AGENT_KEYS_MAX; i++) {
		struct ssh_agent_key k;
		char name[64];

		k.blob = wire_string(&r);
		k.comment = wire_string(&r);
		if (r.bad)
			return ERR_PROTOCOL;
		if (ssh_key_type(k.blob, name) && k.blob.len <= SSH_KEY_BLOB_MAX)
			ret[found++] = k;
	}
	*ret_n = found;
	return OK;
}

enum err ssh_agent_read_signature(struct bytes answer, const char *algorithm, struct bytes *ret)
{
	struct wire_reader r, s;
	uint8_t type = begin(answer, &r);
	struct bytes whole = wire_string(&r), rest;

	if (type == AGENT_FAILURE)
		return ERR_REFUSED;
	if (type != AGENT_SIGNATURE || r.bad)
		return ERR_PROTOCOL;
	s = (struct wire_reader){ whole.p, whole.len, false };
	if (!wire_is(wire_string(&s), algorithm))
		return s.bad ? ERR_PROTOCOL : ERR_UNSUPPORTED;
	rest = (struct bytes){ s.p, s.len };
	*ret = wire_string(&s);
	if (s.bad || ret->len == 0)
		return ERR_PROTOCOL;
	if (strncmp(algorithm, "sk-", 3) == 0)
		*ret = rest;
	else if (s.len > 0)
		return ERR_PROTOCOL;
	return OK;
}

enum err ssh_login_read(struct bytes data, struct ssh_login *ret)
{
	struct wire_reader r = { data.p, data.len, false };
	struct bytes service, method, rest;
	struct ssh_login l;
	uint8_t type, is_signed;

	l.session_id = wire_string(&r);
	type = wire_u8(&r);
	l.user = wire_string(&r);
	service = wire_string(&r);
	method = wire_string(&r);
	is_signed = wire_u8(&r);
	rest = (struct bytes){ r.p, r.len };
	wire_string(&r);
	l.blob = wire_string(&r);
	if (r.bad || r.len != 0 || type != USERAUTH_REQUEST || is_signed != 1 || l.session_id.len < 20 ||
	    l.session_id.len > 64 || !wire_is(service, "ssh-connection") || !wire_is(method, "publickey") ||
	    !wire_word(rest, l.algorithm, sizeof(l.algorithm)))
		return ERR_PROTOCOL;
	*ret = l;
	return OK;
}

bool ssh_agent_may_ask(struct bytes request, const char *user)
{
	struct bytes blob, data;
	struct ssh_login l;
	struct wire_reader r;
	uint8_t type;
	size_t total;

	if (ssh_agent_whole(request, &total) != OK || total != request.len)
		return false;
	type = begin((struct bytes){ request.p + 4, request.len - 4 }, &r);
	if (type == AGENT_LIST)
		return r.len == 0;
	blob = wire_string(&r);
	data = wire_string(&r);
	wire_u32(&r);
	if (type != AGENT_SIGN || r.bad || r.len != 0 || ssh_login_read(data, &l) != OK)
		return false;
	/* A certificate is shown, its plain key signs. */
	return wire_is(l.user, user) && ((l.blob.len == blob.len && memcmp(l.blob.p, blob.p, blob.len) == 0) ||
					 ssh_key_is_certificate_of(l.blob, blob));
}
