/* The agent's control port: any line is a request or is refused with a reason; a reply is understood as it was made. */
#include "agent/control_wire.h"
#include "test/fuzz/fuzz.h"

static void reply(const char *line, size_t len)
{
	static const uint8_t nonce[AGENT_CONTROL_NONCE_LEN] = { 1 };
	json_t *j;

	if (agent_control_reply_parse(line, len, &j) != OK)
		return;
	ASSERT(json_is_object(j) && json_is_true(json_object_get(j, "ok")));
	(void)agent_control_is_pong(j, nonce);
	json_decref(j);
}

static void request(const char *line, size_t len)
{
	struct agent_control_request req, again;
	char why[64] = "", *text;
	enum err e = agent_control_parse(line, len, &req, why, sizeof(why));
	json_t *j;

	if (e != OK) {
		ASSERT((e == ERR_FORMAT || e == ERR_VERSION || e == ERR_UNSUPPORTED) && why[0]);
		text = agent_control_reply_error(e, why);
		ASSERT(text && agent_control_reply_parse(text, strlen(text), &j) == e);
		free(text);
		return;
	}
	text = agent_control_request(&req);
	ASSERT(text && strlen(text) <= AGENT_CONTROL_REQUEST_MAX && strchr(text, '\n') == text + strlen(text) - 1);
	ASSERT(agent_control_parse(text, strlen(text) - 1, &again, why, sizeof(why)) == OK);
	ASSERT(again.op == req.op && memcmp(again.nonce, req.nonce, sizeof(req.nonce)) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	request((const char *)data, size);
	reply((const char *)data, size);
	/* A datagram: a notice or not, in bounded time. */
	if (agent_control_is_draining((const char *)data, size))
		ASSERT(size >= strlen("{\"v\":1,\"notice\":\"draining\"}"));
	return 0;
}
