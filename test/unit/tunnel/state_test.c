/* What a tunnel keeps on disk: the watermark over restarts, good and bad disks, and files that are not ours. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"
#include "os/loop.h"
#include "test/lib/testing.h"
#include "tunnel/state.h"

#define KEY "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define S NSEC_PER_SEC

static char dir[TEST_FOLDER_MAX], path[128];

static int start(void **state)
{
	test_folder_make(dir, "state");
	snprintf(path, sizeof(path), "%s/agent-state", dir);
	return 0;
}

static int stop(void **state)
{
	return test_folder_remove(dir);
}

static struct wg_public_key a_key(void)
{
	struct wg_public_key key;

	assert_int_equal(key_from_base64(KEY, key.b), OK);
	return key;
}

static void what_is_noted_is_found(void **state)
{
	struct wg_public_key key = a_key();
	struct endpoint ep, none = { 0 };
	struct tunnel_state s;

	assert_int_equal(endpoint_parse("[2001:db8::1]:51820", &ep), OK);
	assert_int_equal(tunnel_state_load(&s, path), OK);
	assert_null(tunnel_state_find(&s, &key));
	tunnel_state_note(&s, &key, &ep, 77);
	tunnel_state_note(&s, &key, &none, 0); /* knows no better */
	tunnel_state_flush(&s, NSEC_NEVER);
	tunnel_state_fini(&s);
	assert_int_equal(tunnel_state_load(&s, path), OK);
	assert_true(endpoint_equal(&tunnel_state_find(&s, &key)->endpoint, &ep));
	assert_int_equal(tunnel_state_find(&s, &key)->last_handshake_wall, 77);
	tunnel_state_fini(&s);
}

/* What was measured for another machine or build is no answer. */
static void a_measurement_holds_for_its_machine(void **state)
{
	struct tunnel_state s;

	assert_int_equal(tunnel_state_load(&s, path), OK);
	assert_null(tunnel_state_aead(&s, 0));
	tunnel_state_set_aead(&s, "libcrypto", 0xfedcba9876543210);
	tunnel_state_flush(&s, NSEC_NEVER);
	tunnel_state_fini(&s);
	assert_int_equal(tunnel_state_load(&s, path), OK);
	assert_string_equal(tunnel_state_aead(&s, 0xfedcba9876543210), "libcrypto");
	assert_null(tunnel_state_aead(&s, 0xfedcba9876543211));
	tunnel_state_fini(&s);
}

/* A restart begins above every timestamp that was covered, with a clock that stands, runs or was set back. */
static void a_restart_begins_above(void **state)
{
	struct tunnel_state s;
	uint64_t now = os_wall_now();

	assert_int_equal(tunnel_state_load(&s, path), OK);
	assert_int_equal(tunnel_state_cover(&s, now), OK);
	assert_int_equal(tunnel_state_cover(&s, now + S), OK); /* covered: no write */
	tunnel_state_fini(&s);
	assert_int_equal(tunnel_state_load(&s, path), OK);
	assert_true(s.watermark > now + S);
	assert_true(tunnel_state_first(&s, now - 3600 * S) >= s.watermark);
	assert_true(tunnel_state_first(&s, now) >= s.watermark);
	tunnel_state_fini(&s);
}

/* Two restarts in a row that cannot write: the second must not say what the first has said. */
static void restarts_without_a_disk_do_not_repeat(void **state)
{
	struct tunnel_state s = { .watermark = 1000 * S, .written_wall = 950 * S };
	uint64_t first = tunnel_state_first(&s, 955 * S), second = tunnel_state_first(&s, 960 * S);

	assert_true(first >= s.watermark && second > first);
	/* Once the clock has passed it, the clock does it. */
	assert_int_equal(tunnel_state_first(&s, 1001 * S), s.watermark);
	/* A clock from before the writing, or a file without the line: the watermark alone. */
	assert_int_equal(tunnel_state_first(&s, 900 * S), s.watermark);
	s.written_wall = 0;
	assert_int_equal(tunnel_state_first(&s, 960 * S), s.watermark);
}

static void a_disk_that_refuses_is_told_once_and_recovers(void **state)
{
	struct tunnel_state s;
	uint64_t now = os_wall_now();

	assert_int_equal(tunnel_state_load(&s, "/proc/none/agent-state"), OK);
	assert_int_not_equal(tunnel_state_cover(&s, now), OK);
	assert_true(s.failed);
	assert_int_equal(s.watermark, 0);
	s.path = path;
	assert_int_equal(tunnel_state_cover(&s, now), OK);
	assert_false(s.failed);
	tunnel_state_fini(&s);
}

static void foreign_files(void **state)
{
	static const struct {
		const char *text;
		enum err want;
		size_t n_peers;
	} rows[] = {
		{ "", OK, 0 },
		{ "version 1\nwatermark 18446744073709551615\n", OK, 0 },
		{ "version 1\ncolour blue\npeer x y z\npeer " KEY " nowhere 1\npeer " KEY " - 1\n", OK, 1 },
		{ "version 1\npeer " KEY " 1.2.3.4:5 1\npeer " KEY " 1.2.3.4:6 2\n", OK, 1 },
		{ "version 2\nwatermark 1\n", ERR_VERSION, 0 },
	};
	struct tunnel_state s;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(os_file_write_atomic(path, rows[i].text, strlen(rows[i].text), 0600), OK);
		assert_int_equal(tunnel_state_load(&s, path), rows[i].want);
		if (s.n_peers != rows[i].n_peers || s.watermark != 0)
			fail_msg("row %zu", i);
		tunnel_state_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_noted_is_found, start, stop),
		cmocka_unit_test_setup_teardown(a_measurement_holds_for_its_machine, start, stop),
		cmocka_unit_test_setup_teardown(a_restart_begins_above, start, stop),
		cmocka_unit_test_setup_teardown(restarts_without_a_disk_do_not_repeat, start, stop),
		cmocka_unit_test_setup_teardown(a_disk_that_refuses_is_told_once_and_recovers, start, stop),
		cmocka_unit_test_setup_teardown(foreign_files, start, stop),
	};

	return RUN_TESTS(tests);
}
