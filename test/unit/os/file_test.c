#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/types.h"
#include "os/file.h"
#include "test/lib/testing.h"

#define N_KILLS 150
#define BODY 20000

static char dir[TEST_FOLDER_MAX], path[96];

static int make_folder(void **state)
{
	test_folder_make(dir, "file");
	snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int remove_folder(void **state)
{
	return test_folder_remove(dir);
}

/* A file of one letter: a mixture of two writes shows. */
static void rewrite_for_ever(void)
{
	static char body[BODY];

	for (unsigned i = 0;; i++) {
		memset(body, 'a' + (int)(i % 26), sizeof(body));
		if (os_file_write_atomic(path, body, sizeof(body), 0600) != OK)
			_exit(1);
	}
}

static void a_killed_writer_leaves_a_whole_file(void **state)
{
	static char first[BODY];
	unsigned seed = (unsigned)getpid(), n_changed = 0;
	char *got, before = '-';
	size_t len;
	int status;

	print_message("seed %u\n", seed);
	memset(first, '-', sizeof(first));
	assert_int_equal(os_file_write_atomic(path, first, sizeof(first), 0600), OK);
	/* On a busy machine most writers are killed before their turn; then more of them. */
	for (int i = 0; i < N_KILLS || (n_changed <= N_KILLS / 10 && i < 20 * N_KILLS); i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			rewrite_for_ever();
		usleep((useconds_t)(rand_r(&seed) % 6000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(os_file_read(path, 2 * BODY, &got, &len), OK);
		assert_int_equal(len, BODY);
		for (size_t k = 1; k < len; k++)
			assert_true(got[k] == got[0]);
		n_changed += got[0] != before;
		before = got[0];
		free(got);
	}
	assert_true(n_changed >= 3); /* a busy disk lets few writes finish */
}

static void a_write_keeps_links_and_sets_the_mode(void **state)
{
	char link_path[112];
	struct stat st;
	unsigned mode, uid;
	char *got;
	size_t len;

	snprintf(link_path, sizeof(link_path), "%s/link", dir);
	assert_int_equal(os_file_write_atomic(path, "one", 3, 0644), OK);
	assert_int_equal(symlink("file", link_path), 0);
	assert_int_equal(os_file_write_atomic(link_path, "two", 3, 0600), OK);
	assert_int_equal(lstat(link_path, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(os_file_read(path, 10, &got, &len), OK);
	assert_string_equal(got, "two");
	free(got);
	assert_int_equal(os_file_mode(path, &mode, &uid), OK);
	assert_int_equal(mode & 07777, 0600);
	assert_int_equal(uid, getuid());
}

static void reads_are_bounded_and_absence_is_told(void **state)
{
	char missing[128];
	unsigned mode, uid;
	char *got;
	size_t len;

	snprintf(missing, sizeof(missing), "%s/none/file", dir);
	assert_int_equal(os_file_write_atomic(path, "12345", 5, 0600), OK);
	assert_int_equal(os_file_read(path, 4, &got, &len), ERR_TOO_LONG);
	assert_int_equal(os_file_read(path, 5, &got, &len), OK);
	assert_int_equal(len, 5);
	free(got);
	assert_int_equal(os_file_read(dir, 100, &got, &len), ERR_IS_FOLDER);
	assert_int_equal(os_file_read(missing, 100, &got, &len), ERR_NOT_FOUND);
	assert_int_equal(os_file_mode(missing, &mode, &uid), ERR_NOT_FOUND);
	assert_int_equal(os_file_write_atomic(missing, "x", 1, 0600), ERR_NOT_FOUND);
	assert_int_equal(os_file_remove(missing), OK);
}

static void a_lock_is_held_until_its_process_ends(void **state)
{
	struct os_lock *mine, *other;
	char lock[112];
	int ready[2], status;
	char byte;
	pid_t pid;

	snprintf(lock, sizeof(lock), "%s/lock", dir);
	assert_int_equal(os_lock_take(lock, 1, &mine), OK);
	assert_int_equal(os_lock_take(lock, 1, &other), ERR_IN_USE);
	os_lock_free(mine);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		byte = os_lock_take(lock, 1, &other) == OK ? 'y' : 'n';
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_int_equal(os_lock_take(lock, 1, &mine), ERR_IN_USE);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(os_lock_take(lock, 1, &mine), OK);
	os_lock_free(mine);
	close(ready[0]);
	close(ready[1]);
}

static void a_lock_is_waited_for(void **state)
{
	struct os_lock *mine, *other;
	char lock[112];
	int status;
	pid_t pid;

	snprintf(lock, sizeof(lock), "%s/lock", dir);
	assert_int_equal(os_lock_take(lock, 1, &mine), OK);
	pid = fork();
	if (pid == 0) {
		/* It has a copy of the descriptor, and with it the lock, as any fork would. */
		os_lock_free(mine);
		_exit(os_lock_take(lock, 3, &other) == OK ? 0 : 1);
	}
	usleep(200000);
	os_lock_free(mine);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_lock_is_not_inherited_by_programs(void **state)
{
	char lock[112], cmd[200];
	struct os_lock *mine;

	snprintf(lock, sizeof(lock), "%s/lock", dir);
	assert_int_equal(os_lock_take(lock, 1, &mine), OK);
	snprintf(cmd, sizeof(cmd), "sleep 5 >/dev/null & echo $! >'%s/pid'", dir);
	assert_int_equal(system(cmd), 0);
	os_lock_free(mine);
	assert_int_equal(os_lock_take(lock, 1, &mine), OK);
	os_lock_free(mine);
	snprintf(cmd, sizeof(cmd), "kill $(cat '%s/pid')", dir);
	assert_int_equal(system(cmd), 0);
}

static void what_cannot_be_locked_says_why(void **state)
{
	char name[112], target[112];
	struct os_lock *lock;
	struct stat st;

	snprintf(name, sizeof(name), "%s/none/lock", dir);
	assert_int_equal(os_lock_take(name, 1, &lock), ERR_NOT_FOUND);
	/* A link could make us create, and lock, a file of somebody else's choice. */
	snprintf(name, sizeof(name), "%s/link", dir);
	snprintf(target, sizeof(target), "%s/victim", dir);
	assert_int_equal(symlink("victim", name), 0);
	assert_int_not_equal(os_lock_take(name, 1, &lock), OK);
	assert_int_equal(stat(target, &st), -1);
	if (getuid() == 0)
		return;
	assert_int_equal(os_lock_take("/nefia.lock", 1, &lock), ERR_PERMISSION);
}

/* As a user who may not do everything. Return: what os_mkdir_p() says of @below in the folder. */
static enum err make_as_user(const char *below)
{
	char whole[160];
	int status;
	pid_t pid;

	snprintf(whole, sizeof(whole), "%s/%s", dir, below);
	pid = fork();
	if (pid == 0) {
		if (getuid() == 0 && (setgroups(0, NULL) != 0 || setgid(64999) != 0 || setuid(64999) != 0))
			_exit(99);
		_exit((int)os_mkdir_p(whole, 0700));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return (enum err)WEXITSTATUS(status);
}

static void a_folder_that_cannot_be_made_says_why(void **state)
{
	char cmd[400];

	/* The folder in which ours is may be others'. */
	snprintf(cmd, sizeof(cmd), "chmod 755 '%s' && cd '%s' && mkdir ro ro/sub && touch ro/file && chmod 777 ro/sub && chmod 555 ro", dir,
		 dir);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(make_as_user("ro/new"), ERR_PERMISSION);
	assert_int_equal(make_as_user("ro/new/below/it"), ERR_PERMISSION);
	assert_int_equal(make_as_user("ro/file"), ERR_NOT_FOLDER);
	assert_int_equal(make_as_user("ro/file/below"), ERR_NOT_FOLDER);
	assert_int_equal(make_as_user("ro/sub"), OK);
	assert_int_equal(make_as_user("ro/sub/below/it/"), OK);
	assert_int_equal(make_as_user("ro//sub/below"), OK);
	assert_int_equal(os_mkdir_p("", 0700), ERR_NOT_FOUND);
	snprintf(cmd, sizeof(cmd), "chmod 755 '%s/ro'", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_killed_writer_leaves_a_whole_file, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_write_keeps_links_and_sets_the_mode, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(reads_are_bounded_and_absence_is_told, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_lock_is_held_until_its_process_ends, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_lock_is_waited_for, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_lock_is_not_inherited_by_programs, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(what_cannot_be_locked_says_why, make_folder, remove_folder),
		cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made_says_why, make_folder, remove_folder),
	};

	return RUN_TESTS(tests);
}
