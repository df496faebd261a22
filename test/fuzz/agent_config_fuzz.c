/* agent.yaml and the tunnel's state file: any bytes give a value or an error with its place. */
#include <stdlib.h>
#include <string.h>

#include "agent/config.h"
#include "base/log.h"
#include "tunnel/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_line(enum log_level level, const char *line)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tunnel_state s = { 0 };
	struct agent_config c;
	char *text = malloc(size + 1), why[512];
	enum err e;

	if (!text)
		return 0;
	log_set(LOG_ERROR, ignore_line);
	memcpy(text, data, size);
	text[size] = '\0';
	e = agent_config_parse("f", text, size, &c, why, sizeof(why));
	if (e == OK)
		ASSERT(c.n_addrs > 0 && c.n_peers > 0 && c.peers[0].n_allowed > 0);
	else
		ASSERT(e == ERR_NOMEM || strncmp(why, "f:", 2) == 0);
	if (tunnel_state_parse(&s, text) == OK) {
		ASSERT(s.n_peers <= TUNNEL_STATE_PEERS);
		tunnel_state_fini(&s);
	}
	free(text);
	return 0;
}
