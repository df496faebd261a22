/* The agent's answers and the questions to it: any bytes; and a question that we made is let through. */
#include "ssh/agent.h"
#include "test/fuzz/fuzz.h"

static bool inside(struct bytes part, const uint8_t *p, size_t len)
{
	return part.len == 0 || (part.p >= p && part.p + part.len <= p + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes all = { data, size }, sig;
	struct ssh_agent_key keys[SSH_AGENT_KEYS_MAX];
	struct ssh_login login;
	struct ssh_buf b = { 0 };
	size_t n = 0, total = 0;

	if (ssh_agent_whole(all, &total) == OK)
		ASSERT(total > 4 && total <= size);
	if (ssh_agent_read_keys(all, keys, &n) == OK)
		for (size_t i = 0; i < n; i++)
			ASSERT(inside(keys[i].blob, data, size) && inside(keys[i].comment, data, size));
	if (ssh_agent_read_signature(all, "ssh-ed25519", &sig) == OK)
		ASSERT(inside(sig, data, size) && sig.len > 0);
	if (ssh_agent_read_signature(all, "sk-ssh-ed25519@openssh.com", &sig) == OK)
		ASSERT(inside(sig, data, size));
	ssh_agent_may_ask(all, "root");
	if (ssh_login_read(all, &login) == OK) {
		char user[256] = "";

		if (ssh_agent_put_sign(&b, login.blob, all, login.algorithm) != OK)
			abort();
		if (login.user.len < sizeof(user))
			memcpy(user, login.user.p, login.user.len);
		if (login.user.len < sizeof(user) && strlen(user) == login.user.len && ssh_buf_used(&b) <= SSH_AGENT_ANSWER_MAX)
			ASSERT(ssh_agent_may_ask((struct bytes){ b.p, ssh_buf_used(&b) }, user));
	}
	ssh_buf_fini(&b);
	return 0;
}
