/*
 * operator/hub_wire.h - messages on the control socket: a length, then one JSON object.
 *
 * u32 little endian, then so many bytes of JSON. doc/control.md describes requests and replies. A descriptor,
 * where a reply has one, travels with the message's first byte.
 */
#ifndef OPERATOR_HUB_WIRE_H
#define OPERATOR_HUB_WIRE_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"

#define HUB_WIRE_VERSION 1
#define HUB_WIRE_HDR 4
#define HUB_MSG_MAX (1024 * 1024)

/** hub_wire_encode() - the whole message; free *ret. ERR_TOO_LONG beyond HUB_MSG_MAX. */
MUST_CHECK enum err hub_wire_encode(const json_t *msg, char **ret, size_t *ret_len);
/**
 * hub_wire_decode() - the first message of @len received bytes
 * Return: OK with the object (json_decref it) and the bytes used; ERR_AGAIN: more is needed;
 * ERR_PROTOCOL: never a message, whatever follows.
 */
MUST_CHECK enum err hub_wire_decode(const char *p, size_t len, json_t **ret, size_t *ret_used);

/** hub_json_string() - a field's text, or NULL when it is absent or no string */
const char *hub_json_string(const json_t *msg, const char *name);
/** hub_json_int() - a field's number, or @otherwise */
json_int_t hub_json_int(const json_t *msg, const char *name, json_int_t otherwise);
/** hub_err_from_name() - "ERR_TIMEOUT" as its code; ERR_INTERNAL for names that we do not know */
enum err hub_err_from_name(const char *name);

#endif
