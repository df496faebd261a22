/* agent.yaml: any bytes give a configuration within its limits, or an error that names file, line and column. */
#include "agent/config.h"
#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct agent_config c;
	char why[512];
	unsigned line, column;
	enum err e;

	fuzz_quiet();
	e = agent_config_parse("f", (const char *)data, size, &c, why, sizeof(why));
	if (e == OK) {
		ASSERT(c.n_peers <= N_AGENT_PEERS && c.n_addrs <= ARRAY_SIZE(c.addrs));
		ASSERT(strnlen(c.later, sizeof(c.later)) < sizeof(c.later));
		for (size_t i = 0; i < c.n_peers; i++)
			ASSERT(c.peers[i].n_allowed <= ARRAY_SIZE(c.peers[i].allowed));
		agent_config_wipe(&c);
	} else {
		ASSERT(sscanf(why, "f:%u:%u: ", &line, &column) == 2);
	}
	return 0;
}
