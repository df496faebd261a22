/* agent/control_wire.c - see control_wire.h. */
#include "agent/control_wire.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/encode.h"

static const char *const op_names[] = { "ping", "version", "health", "status" };

static enum err wrong(enum err e, char *why, size_t size, const char *text)
{
	snprintf(why, size, "%s", text);
	return e;
}

static bool find_op(const char *name, enum agent_control_op *ret)
{
	for (size_t i = 0; name && i < ARRAY_SIZE(op_names); i++)
		if (strcmp(name, op_names[i]) == 0) {
			*ret = (enum agent_control_op)i;
			return true;
		}
	return false;
}

static bool read_nonce(const json_t *j, uint8_t ret[AGENT_CONTROL_NONCE_LEN])
{
	const char *hex = json_string_value(json_object_get(j, "nonce"));

	return hex && hex_decode(hex, ret, AGENT_CONTROL_NONCE_LEN) == OK;
}

static enum err read_request(const json_t *j, struct agent_control_request *ret, char *why, size_t size)
{
	const json_t *v = json_object_get(j, "v");
	struct agent_control_request req = { 0 };

	if (!json_is_object(j))
		return wrong(ERR_FORMAT, why, size, "a JSON object is expected on one line");
	if (!json_is_integer(v) || json_integer_value(v) < 1)
		return wrong(ERR_FORMAT, why, size, "\"v\" is missing");
	if (json_integer_value(v) > AGENT_CONTROL_VERSION)
		return wrong(ERR_VERSION, why, size, "this agent speaks version 1: update nefia-agent");
	if (!find_op(json_string_value(json_object_get(j, "op")), &req.op))
		return wrong(ERR_UNSUPPORTED, why, size, "\"op\" is ping, version, health or status");
	if (req.op == AGENT_CONTROL_PING && !read_nonce(j, req.nonce))
		return wrong(ERR_FORMAT, why, size, "a ping has a \"nonce\" of 32 hex digits");
	*ret = req;
	return OK;
}

enum err agent_control_parse(const char *line, size_t len, struct agent_control_request *ret, char *why, size_t why_size)
{
	json_t *j = json_loadb(line, len, 0, NULL);
	enum err e = read_request(j, ret, why, why_size);

	json_decref(j);
	return e;
}

/* One line out of @j, which is consumed. */
static char *to_line(json_t *j)
{
	char *text = j ? json_dumps(j, JSON_COMPACT) : NULL, *line = NULL;

	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	json_decref(j);
	return line;
}

char *agent_control_request(const struct agent_control_request *req)
{
	json_t *j = json_pack("{s:i, s:s}", "v", AGENT_CONTROL_VERSION, "op", op_names[req->op]);
	char hex[2 * AGENT_CONTROL_NONCE_LEN + 1];

	if (j && req->op == AGENT_CONTROL_PING)
		json_object_set_new(j, "nonce", json_string(hex_encode(req->nonce, sizeof(req->nonce), hex)));
	return to_line(j);
}

char *agent_control_reply(json_t *body)
{
	json_t *j = json_pack("{s:i, s:b}", "v", AGENT_CONTROL_VERSION, "ok", true);

	if (!body || !j || json_object_update(j, body) != 0) {
		json_decref(j);
		j = NULL;
	}
	json_decref(body);
	return to_line(j);
}

char *agent_control_reply_error(enum err e, const char *message)
{
	return to_line(json_pack("{s:i, s:b, s:s, s:s}", "v", AGENT_CONTROL_VERSION, "ok", false, "error", err_name(e),
				 "message", message));
}

static enum err error_of(const json_t *j)
{
	const char *name = json_string_value(json_object_get(j, "error"));

	for (int e = OK + 1; name && e < ERR_N; e++)
		if (strcmp(name, err_name((enum err)e)) == 0)
			return (enum err)e;
	return ERR_PROTOCOL;
}

enum err agent_control_reply_parse(const char *line, size_t len, json_t **ret)
{
	json_t *j = json_loadb(line, len, 0, NULL);
	enum err e = OK;

	if (!json_is_object(j) || json_integer_value(json_object_get(j, "v")) < 1)
		e = ERR_FORMAT;
	else if (json_integer_value(json_object_get(j, "v")) > AGENT_CONTROL_VERSION)
		e = ERR_VERSION;
	else if (!json_is_true(json_object_get(j, "ok")))
		e = error_of(j);
	if (e == OK)
		*ret = j;
	else
		json_decref(j);
	return e;
}

bool agent_control_is_pong(const json_t *reply, const uint8_t nonce[AGENT_CONTROL_NONCE_LEN])
{
	uint8_t echoed[AGENT_CONTROL_NONCE_LEN];

	return read_nonce(reply, echoed) && sodium_memcmp(echoed, nonce, sizeof(echoed)) == 0;
}

char *agent_control_draining(void)
{
	return to_line(json_pack("{s:i, s:s}", "v", AGENT_CONTROL_VERSION, "notice", "draining"));
}

bool agent_control_is_draining(const char *text, size_t len)
{
	json_t *j = len <= AGENT_CONTROL_REQUEST_MAX ? json_loadb(text, len, 0, NULL) : NULL;
	const char *notice = json_string_value(json_object_get(j, "notice"));
	bool is = json_integer_value(json_object_get(j, "v")) == AGENT_CONTROL_VERSION && notice && strcmp(notice, "draining") == 0;

	json_decref(j);
	return is;
}
