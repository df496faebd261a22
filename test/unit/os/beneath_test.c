/* Opening below a folder: links on the way, "..", both ways of doing it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/beneath.h"
#include "test/lib/testing.h"

typedef int (*open_fn)(int dir, const char *path, int flags, unsigned mode);

static const open_fn ways[] = { os_open_beneath, os_open_beneath_plain };
static char dir[] = "/tmp/beneath.XXXXXX";
static int at = -1;

static int set_up(void **state)
{
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("in", 0755) | mkdir("in/sub", 0755) | mkdir("out", 0755), 0);
	assert_int_equal(symlink("../out", "in/link") | symlink("/etc", "in/abs") | symlink("sub", "in/inside"), 0);
	assert_int_equal(symlink("../out/secret", "in/file-link"), 0);
	assert_int_equal(close(creat("out/secret", 0600)) | close(creat("in/sub/file", 0600)), 0);
	at = open("in", O_DIRECTORY | O_PATH);
	return at < 0;
}

static int tear_down(void **state)
{
	char cmd[64];

	close(at);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return chdir("/") != 0 || system(cmd) != 0;
}

static void what_is_below_opens(void **state)
{
	static const char *const paths[] = { "sub/file", "sub//file", "./sub/file" };

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
			int fd = ways[w](at, paths[i], O_RDONLY, 0);

			assert_true(fd >= 0);
			assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
			close(fd);
		}
		close(ways[w](at, "sub/new", O_WRONLY | O_CREAT | O_EXCL, 0640));
		assert_int_equal(access("in/sub/new", F_OK), 0);
		unlink("in/sub/new");
	}
}

static void nothing_leads_out(void **state)
{
	static const char *const paths[] = { "link/secret", "link",	 "abs/passwd", "../out/secret", "sub/../../out/secret",
					     "/etc/passwd", "file-link", "inside/file", "..",		"sub/../.." };

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
			errno = 0;
			assert_int_equal(ways[w](at, paths[i], O_RDONLY, 0), -1);
			assert_true(errno == ELOOP || errno == ENOTDIR || errno == EXDEV);
			assert_int_equal(ways[w](at, paths[i], O_WRONLY | O_CREAT, 0600), -1);
		}
}

/* Somebody turns a folder into a link and back while files are made in it. */
static void a_race_leads_nowhere(void **state)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		for (;;) {
			if (rename("in/sub", "in/kept") != 0 || symlink("../out", "in/sub") != 0 || unlink("in/sub") != 0 ||
			    rename("in/kept", "in/sub") != 0)
				_exit(1);
		}
	}
	for (int i = 0; i < 4000; i++) {
		int fd = ways[i & 1](at, "sub/made", O_WRONLY | O_CREAT, 0600);

		if (fd >= 0)
			close(fd);
		assert_int_equal(access("out/made", F_OK), -1);
	}
	kill(pid, 9);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_below_opens),
		cmocka_unit_test(nothing_leads_out),
		cmocka_unit_test(a_race_leads_nowhere),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
