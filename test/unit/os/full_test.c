/*
 * A disk that is full, of bytes or of files, while a file is replaced: the old content stays, nothing is left beside it, the
 * error says so, and the next write after room was made succeeds. On a small tmpfs in a mount namespace of the test's own,
 * where the machine gives one; a limit on the file's size (as a quota would be) is tried everywhere.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/file.h"
#include "test/lib/testing.h"
#include "tunnel/state.h"

#define NO_NAMESPACE 77
#define OLD "the old content"

static char dir[] = "/tmp/nefia-full-XXXXXX", path[64], filler[64];

/* In the child a false check ends it with the line, which the parent shows. */
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static bool write_text(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool own_namespace(const char *options)
{
	char users[64], groups[64];
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) != 0)
		return false;
	snprintf(users, sizeof(users), "0 %u 1", uid);
	snprintf(groups, sizeof(groups), "0 %u 1", gid);
	if (uid && !(write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", users) &&
		     write_text("/proc/self/gid_map", groups)))
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

/* Runs @fn on a tmpfs of its own in a child. */
static void on_small_disk(const char *options, void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (!own_namespace(options))
			_exit(NO_NAMESPACE);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_NAMESPACE)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static unsigned n_files(void)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	for (struct dirent *e; d && (e = readdir(d));)
		n += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return n;
}

static bool holds(const char *want)
{
	char *got;
	size_t len;
	bool same;

	if (os_file_read(path, 1 << 20, &got, &len) != OK)
		return false;
	same = len == strlen(want) && memcmp(got, want, len) == 0;
	free(got);
	return same;
}

static void fill_up(void)
{
	static const char zeros[4096];
	int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	CHECK(errno == ENOSPC);
	close(fd);
}

static void no_room_for_bytes(void)
{
	static char big[20000];

	memset(big, 'n', sizeof(big) - 1);
	CHECK(os_file_write_atomic(path, OLD, strlen(OLD), 0600) == OK);
	fill_up();
	for (size_t len = 1; len < sizeof(big); len = len * 3 + 1) {
		CHECK(os_file_write_atomic(path, big, len, 0600) == ERR_NO_SPACE);
		CHECK(holds(OLD) && n_files() == 2);
	}
	unlink(filler);
	CHECK(os_file_write_atomic(path, big, sizeof(big) - 1, 0600) == OK && holds(big) && n_files() == 1);
}

static void no_room_for_another_file(void)
{
	int fd;

	/* The root folder, the file, the filler, and no more. */
	CHECK(os_file_write_atomic(path, OLD, strlen(OLD), 0600) == OK);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && close(fd) == 0);
	CHECK(os_file_write_atomic(path, "new", 3, 0600) == ERR_NO_SPACE);
	CHECK(holds(OLD) && n_files() == 2);
	unlink(filler);
	CHECK(os_file_write_atomic(path, "new", 3, 0600) == OK && holds("new"));
}

/* The watermark must be on disk before a timestamp is sent: without room it does not move, and the file stays good. */
static void a_watermark_without_room(void)
{
	struct tunnel_state s, again;

	CHECK(tunnel_state_load(&s, path) == OK);
	CHECK(tunnel_state_cover(&s, 1000) == OK);
	fill_up();
	CHECK(tunnel_state_cover(&s, s.watermark + 1) == ERR_NO_SPACE);
	CHECK(tunnel_state_load(&again, path) == OK && again.watermark == s.watermark);
	unlink(filler);
	CHECK(tunnel_state_cover(&s, s.watermark + 1) == OK && s.watermark > again.watermark);
	tunnel_state_fini(&s);
	tunnel_state_fini(&again);
}

static void read_only(void)
{
	CHECK(os_file_write_atomic(path, OLD, strlen(OLD), 0600) == OK);
	CHECK(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0);
	CHECK(os_file_write_atomic(path, "new", 3, 0600) == ERR_PERMISSION);
	CHECK(holds(OLD) && n_files() == 1);
}

static void a_full_disk_keeps_the_old_file(void **state)
{
	on_small_disk("size=65536,mode=0700", no_room_for_bytes);
}

static void a_disk_without_inodes_keeps_the_old_file(void **state)
{
	on_small_disk("size=65536,nr_inodes=3,mode=0700", no_room_for_another_file);
}

static void a_full_disk_stops_the_watermark(void **state)
{
	on_small_disk("size=65536,mode=0700", a_watermark_without_room);
}

static void a_read_only_disk_is_told(void **state)
{
	on_small_disk("size=65536,mode=0700", read_only);
}

static void a_limit_on_size_keeps_the_old_file(void **state)
{
	struct rlimit old, small;
	enum err e;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = (struct rlimit){ 100, old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(os_file_write_atomic(path, OLD, strlen(OLD), 0600), OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	e = os_file_write_atomic(path, (char[101]){ 1 }, 101, 0600);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(e, ERR_NO_SPACE);
	assert_true(holds(OLD));
	assert_int_equal(n_files(), 1);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_disk_keeps_the_old_file),
		cmocka_unit_test(a_disk_without_inodes_keeps_the_old_file),
		cmocka_unit_test(a_full_disk_stops_the_watermark),
		cmocka_unit_test(a_read_only_disk_is_told),
		cmocka_unit_test(a_limit_on_size_keeps_the_old_file),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	failed = RUN_TESTS(tests);
	rmdir(dir);
	return failed;
}
