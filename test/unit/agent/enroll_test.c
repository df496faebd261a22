/* What an operator's answer becomes on the agent's disk. */
#include <unistd.h>

#include "agent/config.h"
#include "agent/enroll.h"
#include "os/file.h"
#include "test/lib/testing.h"

static struct agent_enroll a;
static char dir[TEST_FOLDER_MAX];

static int start(void **state)
{
	a = (struct agent_enroll){ .ssh_addr = "127.0.0.1:22", .req.listen_port = 51820 };
	test_folder_make(dir, "enroll");
	snprintf(a.config, sizeof(a.config), "%s/agent.yaml", dir);
	snprintf(a.enrolling, sizeof(a.enrolling), "%s.enrolling", a.config);
	memset(a.self.priv, 8, KEY_LEN);
	memset(a.t.operator_key, 9, KEY_LEN);
	strcpy(a.reply.host_id, "web1");
	a.reply.n_addrs = a.reply.n_operator_addrs = 1;
	if (ip_prefix_parse("10.99.0.2/24", &a.reply.addrs[0]) != OK)
		return -1;
	a.reply.operator_addrs[0] = ip_addr_v4(10, 99, 0, 1);
	return os_file_write_atomic(a.config, "old", 3, 0600) == OK && os_file_write_atomic(a.enrolling, "key", 3, 0600) == OK ? 0 : -1;
}

static int stop(void **state)
{
	return test_folder_remove(dir);
}

static void it_is_written_and_can_be_read(void **state)
{
	static struct agent_config c;
	char why[256];

	assert_int_equal(agent_enroll_store(&a), 0);
	assert_int_equal(agent_config_load(a.config, true, &c, why, sizeof(why)), OK);
	assert_string_equal(c.host_id, "web1");
	assert_int_equal(c.n_peers, 1);
	agent_config_wipe(&c);
	assert_int_equal(access(a.enrolling, F_OK), -1);
}

/* --force, and an operator that says what makes no file: the old one stays, and so does the key for another try. */
static void what_cannot_be_read_is_not_written(void **state)
{
	static const char *const ids[] = { "a: b", "\"", "[", "x\xc2\x85version: 2", "\xff" };
	char *text;
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		strcpy(a.reply.host_id, ids[i]);
		assert_int_not_equal(agent_enroll_store(&a), 0);
		assert_int_equal(os_file_read(a.config, 4096, &text, &len), OK);
		assert_string_equal(text, "old");
		free(text);
		assert_int_equal(access(a.enrolling, F_OK), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_is_written_and_can_be_read, start, stop),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_is_not_written, start, stop),
	};

	return RUN_TESTS(tests);
}
