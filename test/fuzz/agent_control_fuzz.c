/* The control port's lines, as agent and as operator read them: total, and what is taken can be said again. */
#include <stdlib.h>
#include <string.h>

#include "agent/control_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_request(const char *line, size_t len)
{
	struct agent_control_request req, again;
	char why[96], *text;

	if (agent_control_parse(line, len, &req, why, sizeof(why)) != OK) {
		ASSERT(why[0]);
		return;
	}
	text = agent_control_request(&req);
	ASSERT(text && agent_control_parse(text, strlen(text) - 1, &again, why, sizeof(why)) == OK);
	ASSERT(again.op == req.op && memcmp(again.nonce, req.nonce, sizeof(req.nonce)) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t nonce[AGENT_CONTROL_NONCE_LEN] = { 0 };
	json_t *j;

	if (size > AGENT_CONTROL_REPLY_MAX)
		return 0;
	if (size <= AGENT_CONTROL_REQUEST_MAX)
		as_request((const char *)data, size);
	if (agent_control_reply_parse((const char *)data, size, &j) == OK) {
		(void)agent_control_is_pong(j, nonce);
		json_decref(j);
	}
	return 0;
}
