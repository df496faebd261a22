/* Log files: rotation keeps every line, compresses aside, prunes by number and age; disks that are full or read-only. */
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "os/log.h"
#include "test/lib/testing.h"

static char dir[TEST_FOLDER_MAX], path[128];

static int start(void **state)
{
	test_folder_make(dir, "log");
	snprintf(path, sizeof(path), "%s/sub/agent.log", dir);
	return 0;
}

static int stop(void **state)
{
	os_log_close();
	log_set(LOG_INFO, NULL);
	return test_folder_remove(dir);
}

static size_t n_matching(const char *suffix)
{
	char pattern[200];
	glob_t g;
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s%s", path, suffix);
	n = glob(pattern, 0, NULL, &g) == 0 ? g.gl_pathc : 0;
	globfree(&g);
	return n;
}

/* The children compress in their own time. */
static void wait_for_children(void)
{
	struct timespec ms = { 0, 5000000 };

	for (int i = 0; i < 2000 && n_matching("-*Z.[0-9][0-9][0-9]") > 0; i++)
		nanosleep(&ms, NULL);
	assert_int_equal(n_matching("-*Z.[0-9][0-9][0-9]"), 0);
	assert_int_equal(n_matching(".tmp"), 0);
}

static void open_log(unsigned mb, unsigned backups, unsigned days)
{
	struct os_log_config cfg = { .level = LOG_INFO, .file = path, .max_size_mb = mb, .max_backups = backups,
				     .max_age_days = days };

	assert_int_equal(os_log_open(&cfg), OK);
}

static void fill(unsigned from, unsigned n)
{
	char pad[900];

	memset(pad, 'x', sizeof(pad) - 1);
	pad[sizeof(pad) - 1] = '\0';
	for (unsigned i = from; i < from + n; i++)
		log_info("n=%u %s", i, pad);
}

static unsigned count_lines(const char *file)
{
	gzFile gz = gzopen(file, "rb");
	char line[2048];
	unsigned n = 0;

	assert_non_null(gz);
	while (gzgets(gz, line, sizeof(line)))
		n += strstr(line, " info n=") != NULL;
	gzclose(gz);
	return n;
}

static void rotation_loses_no_line(void **state)
{
	char pattern[200];
	unsigned n = 0;
	struct stat st;
	glob_t g;

	open_log(1, 0, 0);
	fill(0, 3000);
	wait_for_children();
	snprintf(pattern, sizeof(pattern), "%s*", path);
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	assert_int_equal(g.gl_pathc, 3);
	for (size_t i = 0; i < g.gl_pathc; i++) {
		assert_int_equal(stat(g.gl_pathv[i], &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
		n += count_lines(g.gl_pathv[i]);
	}
	globfree(&g);
	assert_int_equal(n, 3000);
	assert_int_equal(n_matching("-*.gz"), 2);
}

static void old_ones_are_pruned_by_number(void **state)
{
	open_log(1, 2, 0);
	for (unsigned i = 0; i < 6; i++) {
		fill(0, 1200);
		wait_for_children();
	}
	assert_int_equal(n_matching("-*"), 2);
}

static void old_ones_are_pruned_by_age(void **state)
{
	char old[200];
	struct timespec t[2] = { { .tv_sec = time(NULL) - 3 * 86400 }, { .tv_sec = time(NULL) - 3 * 86400 } };
	int fd;

	open_log(1, 0, 2);
	snprintf(old, sizeof(old), "%s-20200101T000000Z.000.gz", path);
	fd = open(old, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0 && futimens(fd, t) == 0);
	close(fd);
	fill(0, 1200);
	wait_for_children();
	assert_int_not_equal(access(old, F_OK), 0);
	assert_int_equal(n_matching("-*.gz"), 1);
}

static void a_file_renamed_by_another_is_left(void **state)
{
	char moved[200];
	struct stat st;

	open_log(50, 0, 0);
	fill(0, 1);
	snprintf(moved, sizeof(moved), "%s.1", path);
	assert_int_equal(rename(path, moved), 0);
	fill(1, 300);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 0);
}

static void devices_and_full_disks(void **state)
{
	struct os_log_config cfg = { .level = LOG_INFO, .file = "/dev/full", .max_size_mb = 1 };

	assert_int_equal(os_log_open(&cfg), OK);
	fill(0, 3000);
	assert_int_equal(access("/dev/full", F_OK), 0);
	/* What cannot be opened leaves the old sink. */
	open_log(1, 0, 0);
	cfg.file = "/proc/nowhere/agent.log";
	assert_int_not_equal(os_log_open(&cfg), OK);
	log_info("n=%d", 1);
	assert_int_equal(count_lines(path), 1);
}

static void default_place(void **state)
{
	struct os_log_config cfg = { .level = LOG_INFO };
	char want[160];
	const char *got;

	setenv("XDG_STATE_HOME", dir, 1);
	assert_int_equal(os_log_open_default(&cfg, "agent.log", &got), OK);
	snprintf(want, sizeof(want), "%s/nefia/agent.log", dir);
	assert_string_equal(got, want);
	setenv("XDG_STATE_HOME", "relative", 1);
	setenv("HOME", dir, 1);
	assert_int_equal(os_log_open_default(&cfg, "agent.log", &got), OK);
	snprintf(want, sizeof(want), "%s/.local/state/nefia/agent.log", dir);
	assert_string_equal(got, want);
	assert_int_equal(access(want, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rotation_loses_no_line, start, stop),
		cmocka_unit_test_setup_teardown(old_ones_are_pruned_by_number, start, stop),
		cmocka_unit_test_setup_teardown(old_ones_are_pruned_by_age, start, stop),
		cmocka_unit_test_setup_teardown(a_file_renamed_by_another_is_left, start, stop),
		cmocka_unit_test_setup_teardown(devices_and_full_disks, start, stop),
		cmocka_unit_test_setup_teardown(default_place, start, stop),
	};

	return RUN_TESTS(tests);
}
