#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operator/edit.h"
#include "os/file.h"
#include "test/lib/testing.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define HEAD "version: 1\nvpn:\n  private_key: " KEY " # mine\n  address: 10.99.0.1/24\n"
#define ENTRY "- id: new\n  vpn:\n    addr: 10.99.0.9"

static void add(const char *text, const char *want)
{
	char *out;

	assert_int_equal(edit_add_host(text, strlen(text), ENTRY, &out), OK);
	assert_string_equal(out, want);
	free(out);
}

static void adding_keeps_everything_else(void **state)
{
	add("hosts:\n  - id: a # first\n# tail\n",
	    "hosts:\n  - id: a # first\n  - id: new\n    vpn:\n      addr: 10.99.0.9\n# tail\n");
	add("hosts:\n- id: a\nssh: {}\n", "hosts:\n- id: a\n- id: new\n  vpn:\n    addr: 10.99.0.9\nssh: {}\n");
	add("hosts:\n- id: a", "hosts:\n- id: a\n- id: new\n  vpn:\n    addr: 10.99.0.9\n");
	add("hosts: []\n", "hosts:\n  - id: new\n    vpn:\n      addr: 10.99.0.9\n");
	add("version: 1\n", "version: 1\nhosts:\n  - id: new\n    vpn:\n      addr: 10.99.0.9\n");
}

static void removing_and_renaming(void **state)
{
	static const char text[] = "hosts:\n- id: a\n# about b\n- id: \"b\"\n  user: x\n# about c\n- id: c\n";
	char *out;

	assert_int_equal(edit_remove_host(text, strlen(text), "b", &out), OK);
	assert_string_equal(out, "hosts:\n- id: a\n# about c\n- id: c\n");
	free(out);
	assert_int_equal(edit_rename_host(text, strlen(text), "b", "d", &out), OK);
	assert_string_equal(out, "hosts:\n- id: a\n# about b\n- id: d\n  user: x\n# about c\n- id: c\n");
	free(out);
	assert_int_equal(edit_remove_host(text, strlen(text), "z", &out), ERR_NOT_FOUND);
}

static void set(const char *text, const char *map, const char *key, const char *value, const char *want)
{
	char *out;

	assert_int_equal(edit_set_host(text, strlen(text), "a", map, key, value, &out), OK);
	assert_string_equal(out, want);
	free(out);
}

static void setting_a_field(void **state)
{
	char *out;

	set("hosts:\n- id: a # x\n  state: old # y\n", NULL, "state", "new", "hosts:\n- id: a # x\n  state: new # y\n");
	set("hosts:\n- id: a # x\n# tail\n", NULL, "state", "new", "hosts:\n- id: a # x\n  state: new\n# tail\n");
	set("hosts:\n  - id: a\n    vpn:\n      addr: x\n    user: u\n  - id: b\n", "vpn", "key", "k",
	    "hosts:\n  - id: a\n    vpn:\n      addr: x\n      key: k\n    user: u\n  - id: b\n");
	set("hosts:\n  - id: a\n    user: u\n  - id: b\n", "vpn", "key", "k",
	    "hosts:\n  - id: a\n    user: u\n    vpn:\n      key: k\n  - id: b\n");
	set("hosts:\r\n- id: a\r\n", "vpn", "key", "k", "hosts:\r\n- id: a\r\n  vpn:\r\n    key: k\r\n");
	set("hosts:\n- id: a\n  vpn: { addr: x } # z\n", "vpn", "key", "k", "hosts:\n- id: a\n  vpn: { addr: x, key: k } # z\n");
	set("hosts:\n- {id: a}\n", NULL, "state", "s", "hosts:\n- {id: a, state: s}\n");
	assert_int_equal(edit_set_host("hosts:\n- id: b\n", 15, "a", NULL, "k", "v", &out), ERR_NOT_FOUND);
	assert_int_equal(edit_add_host("hosts: >-\n", 10, "- id: a\n", &out), ERR_UNSUPPORTED);
	assert_int_equal(edit_set_host("hosts:\n- id: a\n  vpn: [x]\n", 26, "a", "vpn", "k", "v", &out), ERR_UNSUPPORTED);
}

static enum err add_numbered(const char *text, size_t len, const struct config *cfg, void *ctx, char **ret)
{
	char entry[128];

	snprintf(entry, sizeof(entry), "- id: h%zu\n  vpn:\n    addr: 10.99.0.%zu\n    public_key: " KEY, cfg->n_hosts,
		 cfg->n_hosts + 2);
	return edit_add_host(text, len, entry, ret);
}

/* A child adds hosts until it is killed; what is on the disk loads each time. */
static void a_kill_leaves_a_file_that_loads(void **state)
{
	char dir[TEST_FOLDER_MAX], file[80], path[96], why[256];
	size_t added = 0;
	struct config cfg;

	test_folder_make(dir, "edit");
	snprintf(file, sizeof(file), "%s/nefia.yaml", dir);
	snprintf(path, sizeof(path), "%s.lock", file);
	for (int i = 0; i < 40; i++) {
		pid_t pid;

		assert_int_equal(os_file_write_atomic(file, HEAD, strlen(HEAD), 0600), OK);
		pid = fork();
		assert_true(pid >= 0);
		while (pid == 0)
			if (config_edit(file, add_numbered, NULL, why, sizeof(why)) != OK)
				_exit(1);
		usleep(1000 + 977 * (unsigned)i);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (config_load(file, &cfg, why, sizeof(why)) != OK)
			fail_msg("%s", why);
		added += cfg.n_hosts;
		config_free(&cfg);
	}
	assert_true(added > 0);
	assert_int_equal(test_folder_remove(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adding_keeps_everything_else),
		cmocka_unit_test(setting_a_field),
		cmocka_unit_test(removing_and_renaming),
		cmocka_unit_test(a_kill_leaves_a_file_that_loads),
	};

	return RUN_TESTS(tests);
}
