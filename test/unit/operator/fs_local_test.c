/* The local side of a get: what is on the disk when it says that it is done. */
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operator/fs_local.h"
#include "test/lib/testing.h"

static char dir[TEST_FOLDER_MAX];
static char synced[8][64]; /* in order: "file" or "folder", and whether the name was there */
static unsigned n_synced;

/* In place of the C library's. */
int fsync(int fd)
{
	struct stat st;
	char path[TEST_FOLDER_MAX + 8];

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(path, sizeof(path), "%s/sub/f", dir);
	snprintf(synced[n_synced++ % 8], sizeof(synced[0]), "%s, %s", S_ISDIR(st.st_mode) ? "folder" : "file",
		 access(path, F_OK) == 0 ? "there" : "not there");
	return (int)syscall(SYS_fsync, fd);
}

static void get_one(bool sync)
{
	const struct ssh_attr a = { .which = SSH_ATTR_MODE, .mode = 0640 };
	struct fs_tree t = { .root = -1, .last = -1 };
	struct fs_out o;

	n_synced = 0;
	assert_int_equal(fs_tree_open(&t, dir), 0);
	assert_int_equal(fs_tree_mkdir(&t, "sub"), 0);
	assert_int_equal(fs_out_begin(&o, &t, "sub/f", 1, false), 0);
	assert_int_equal(fs_out_write(&o, 0, (struct bytes){ (const uint8_t *)"abc", 3 }), 0);
	assert_int_equal(fs_out_finish(&o, 3, &a, sync), 0);
	fs_tree_close(&t);
}

/* The bytes before the name is there, the name behind it. */
static void a_named_file_lasts(void **state)
{
	char path[TEST_FOLDER_MAX + 8];

	get_one(true);
	assert_int_equal(n_synced, 2);
	assert_string_equal(synced[0], "file, not there");
	assert_string_equal(synced[1], "folder, there");
	snprintf(path, sizeof(path), "%s/sub/f", dir);
	assert_int_equal(unlink(path), 0);
	get_one(false);
	assert_int_equal(n_synced, 0);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_named_file_lasts) };
	int r;

	test_folder_make(dir, "fs_local");
	r = RUN_TESTS(tests);
	test_folder_remove(dir);
	return r;
}
