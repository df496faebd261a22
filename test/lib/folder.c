/* test/lib/folder.c - a folder for one test, and nothing left of it. */
#include <unistd.h>

#include "test/lib/testing.h"

void test_folder_make(char dir[TEST_FOLDER_MAX], const char *name)
{
	snprintf(dir, TEST_FOLDER_MAX, "/tmp/%s.XXXXXX", name);
	assert_non_null(mkdtemp(dir));
}

int test_folder_remove(const char *dir)
{
	char cmd[2 * TEST_FOLDER_MAX + 32];

	/* A test may have taken its rights away. */
	snprintf(cmd, sizeof(cmd), "chmod 700 '%s' && rm -rf '%s'", dir, dir);
	return system(cmd);
}
