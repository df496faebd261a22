/*
 * operator/hub_wire.c - the control socket's framing, for both sides.
 *
 * The decoder is total: a length beyond the limit, bytes that are no JSON, JSON that is no object or nests too
 * deeply (jansson's own limit) all give ERR_PROTOCOL, and the connection is closed: there is no way to find the
 * next message after a broken one.
 */
#include "operator/hub_wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

enum err hub_wire_encode(const json_t *msg, char **ret, size_t *ret_len)
{
	size_t len = json_dumpb(msg, NULL, 0, JSON_COMPACT);
	char *buf;

	if (len == 0)
		return ERR_INVALID;
	if (len > HUB_MSG_MAX)
		return ERR_TOO_LONG;
	buf = malloc(HUB_WIRE_HDR + len);
	if (!buf)
		return ERR_NOMEM;
	put_le32(buf, (uint32_t)len);
	if (json_dumpb(msg, buf + HUB_WIRE_HDR, len, JSON_COMPACT) != len) {
		free(buf);
		return ERR_NOMEM;
	}
	*ret = buf;
	*ret_len = HUB_WIRE_HDR + len;
	return OK;
}

enum err hub_wire_decode(const char *p, size_t len, json_t **ret, size_t *ret_used)
{
	json_error_t why;
	size_t body;
	json_t *msg;

	if (len < HUB_WIRE_HDR)
		return ERR_AGAIN;
	body = get_le32(p);
	if (body == 0 || body > HUB_MSG_MAX)
		return ERR_PROTOCOL;
	if (len - HUB_WIRE_HDR < body)
		return ERR_AGAIN;
	msg = json_loadb(p + HUB_WIRE_HDR, body, JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(msg)) {
		json_decref(msg);
		return ERR_PROTOCOL;
	}
	*ret = msg;
	*ret_used = HUB_WIRE_HDR + body;
	return OK;
}

const char *hub_json_string(const json_t *msg, const char *name)
{
	return json_string_value(json_object_get(msg, name));
}

json_int_t hub_json_int(const json_t *msg, const char *name, json_int_t otherwise)
{
	const json_t *v = json_object_get(msg, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

enum err hub_err_from_name(const char *name)
{
	for (int e = OK + 1; name && e < ERR_N; e++)
		if (strcmp(err_name((enum err)e), name) == 0)
			return (enum err)e;
	return ERR_INTERNAL;
}
