/* Secrets in the encrypted file: what is kept is given back, and nothing else; no Secret Service answers here. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/keyring.h"
#include "os/file.h"
#include "test/lib/testing.h"

static char dir[TEST_FOLDER_MAX], config[128], file[128], why[256];

static int start(void **state)
{
	test_folder_make(dir, "keyring");
	snprintf(config, sizeof(config), "%s/agent.yaml", dir);
	snprintf(file, sizeof(file), "%s/agent-keyring.json", dir);
	unsetenv("DBUS_SESSION_BUS_ADDRESS");
	return setenv("XDG_STATE_HOME", dir, 1);
}

static int stop(void **state)
{
	return test_folder_remove(dir);
}

static enum err get(const char *item, char ret[AGENT_SECRET_MAX])
{
	enum agent_keyring from;

	return agent_keyring_get(config, item, ret, &from, why, sizeof(why));
}

static void set(const char *item, const char *secret)
{
	enum agent_keyring to;

	assert_int_equal(agent_keyring_set(config, item, secret, &to, why, sizeof(why)), OK);
	assert_int_equal(to, AGENT_KEYRING_FILE);
}

static void kept_and_given_back(void **state)
{
	char secret[AGENT_SECRET_MAX];
	struct stat st;

	set("one", "first secret");
	set("two", "");
	set("one", "another secret");
	assert_int_equal(get("one", secret), OK);
	assert_string_equal(secret, "another secret");
	assert_int_equal(get("two", secret), OK);
	assert_string_equal(secret, "");
	assert_int_equal(get("three", secret), ERR_NOT_FOUND);
	assert_non_null(strstr(why, "keygen --keyring three"));
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void the_file_gives_nothing_away(void **state)
{
	char *text;
	size_t len;

	set("one", "first secret");
	assert_int_equal(os_file_read(file, 65536, &text, &len), OK);
	assert_null(strstr(text, "secret"));
	free(text);
}

static void replace_in_file(const char *from, const char *to)
{
	char cmd[400];

	snprintf(cmd, sizeof(cmd), "sed -i 's/%s/%s/' %s", from, to, file);
	assert_int_equal(system(cmd), 0);
}

static void changed_moved_or_foreign_is_refused(void **state)
{
	char secret[AGENT_SECRET_MAX], path[128];

	set("one", "first secret");
	/* The same box under another name. */
	replace_in_file("\"one\"", "\"two\"");
	assert_int_equal(get("two", secret), ERR_AUTH);
	replace_in_file("\"two\"", "\"one\"");
	assert_int_equal(get("one", secret), OK);
	replace_in_file("\"box\": \"..", "\"box\": \"00");
	assert_int_equal(get("one", secret), ERR_AUTH);
	assert_non_null(strstr(why, "cannot be decrypted"));
	set("one", "first secret");
	snprintf(path, sizeof(path), "%s/nefia/keyring.key", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(get("one", secret), ERR_AUTH);
}

static void wrong_files(void **state)
{
	static const char *const texts[] = { "", "[]", "{\"v\":1}", "{\"v\":1,\"items\":[]}", "{\"v\":1,\"items\":{\"one\":{}}}",
					     "{\"v\":1,\"items\":{\"one\":{\"nonce\":\"00\",\"box\":\"zz\"}}}" };
	char secret[AGENT_SECRET_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(os_file_write_atomic(file, texts[i], strlen(texts[i]), 0600), OK);
		assert_int_not_equal(get("one", secret), OK);
	}
	assert_int_equal(os_file_write_atomic(file, "{\"v\":2}", 7, 0600), OK);
	assert_int_equal(get("one", secret), ERR_VERSION);
}

static void names(void **state)
{
	assert_string_equal(agent_keyring_item("keyring:agent-key"), "agent-key");
	assert_null(agent_keyring_item("keyring:"));
	assert_null(agent_keyring_item("keyring:../x"));
	assert_null(agent_keyring_item("kering:x"));
	assert_null(agent_keyring_item("key"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(kept_and_given_back, start, stop),
		cmocka_unit_test_setup_teardown(the_file_gives_nothing_away, start, stop),
		cmocka_unit_test_setup_teardown(changed_moved_or_foreign_is_refused, start, stop),
		cmocka_unit_test_setup_teardown(wrong_files, start, stop),
		cmocka_unit_test(names),
	};

	return RUN_TESTS(tests);
}
