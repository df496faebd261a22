/*
 * agent/control_wire.h - the messages of the agent's control port: one JSON object a line, both ways.
 *
 * Read-only, version 1. Bytes in, values out: nothing here knows of sockets.
 */
#ifndef AGENT_CONTROL_WIRE_H
#define AGENT_CONTROL_WIRE_H

#include <jansson.h>

#include "base/err.h"
#include "base/types.h"

#define AGENT_CONTROL_PORT 19821      /* TCP, in the tunnel alone; UDP at the operator, for notices */
#define AGENT_CONTROL_VERSION 1
#define AGENT_CONTROL_REQUEST_MAX 1024 /* bytes of a line with its end */
#define AGENT_CONTROL_REPLY_MAX 16384
#define AGENT_CONTROL_NONCE_LEN 16     /* bytes, written as hex */

enum agent_control_op { AGENT_CONTROL_PING, AGENT_CONTROL_INFO, AGENT_CONTROL_HEALTH, AGENT_CONTROL_STATUS };

struct agent_control_request {
	enum agent_control_op op;
	uint8_t nonce[AGENT_CONTROL_NONCE_LEN]; /* PING */
};

/**
 * agent_control_parse() - one line, without its end
 * @why: what is wrong, for a person
 *
 * Unknown fields are ignored. Return: OK; ERR_VERSION (newer than ours), ERR_UNSUPPORTED (an operation that we do not
 * know): answer and go on; ERR_FORMAT: answer and close.
 */
MUST_CHECK enum err agent_control_parse(const char *line, size_t len, struct agent_control_request *ret, char *why,
					size_t why_size);
/** agent_control_request() - the line to send, with its end; free(). NULL: out of memory. */
char *agent_control_request(const struct agent_control_request *req);
/** agent_control_reply() - {"v":1,"ok":true} with the fields of @body (taken over) as a line; free() */
char *agent_control_reply(json_t *body);
/** agent_control_reply_error() - {"v":1,"ok":false,"error":...}; free() */
char *agent_control_reply_error(enum err e, const char *message);
/**
 * agent_control_reply_parse() - the client's side
 * @ret: the whole object; json_decref(). Return: OK; ERR_FORMAT; ERR_VERSION; else the agent's own error.
 */
MUST_CHECK enum err agent_control_reply_parse(const char *line, size_t len, json_t **ret);
/** agent_control_draining() - the notice that an agent sends when it goes down, a datagram; free(). NULL: out of memory. */
char *agent_control_draining(void);
/** agent_control_is_draining() - is this datagram that notice? */
bool agent_control_is_draining(const char *text, size_t len);
/** agent_control_is_pong() - an answer to this very ping? In constant time. */
bool agent_control_is_pong(const json_t *reply, const uint8_t nonce[AGENT_CONTROL_NONCE_LEN]);

#endif
