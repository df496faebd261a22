/*
 * A worker that takes no more sessions for a moment, and one that died unnoticed: each descriptor is closed once. A second close of
 * a number would close another thread's where the hub is a guest in somebody's program. The worker's process is this program.
 */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operator/hub_internal.h"
#include "ssh/worker_process.h"
#include "test/lib/testing.h"

static char folder[TEST_FOLDER_MAX];
static unsigned n_closed_twice;

/* In place of the library's. */
int close(int fd)
{
	int r = (int)syscall(SYS_close, fd);

	n_closed_twice += r != 0 && errno == EBADF;
	return r;
}

static pid_t only_child(void)
{
	char text[64] = "";
	FILE *f;

	snprintf(text, sizeof(text), "pgrep -o -P %d", (int)getpid());
	f = popen(text, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	pclose(f);
	return (pid_t)atoi(text);
}

static void each_descriptor_is_closed_once(void **state)
{
	static struct hub h;
	static struct hub_host hh = { .hub = &h, .user = (char *)"u", .addr = "10.99.0.2" };
	char why[HUB_WHY_MAX] = "", known[TEST_FOLDER_MAX + 16];
	enum err e;
	int fd, n = 0;
	pid_t pid;

	h.loop = os_loop_new();
	list_init(&hh.dials);
	list_init(&hh.asks);
	snprintf(hh.peer.name, sizeof(hh.peer.name), "busy");
	hh.ids[hh.n_ids++] = strdup(HUB_AGENT);
	hh.agent = strdup("/nonexistent");
	snprintf(known, sizeof(known), "%s/known_hosts", folder);
	strcpy(h.paths.known_hosts, known);
	do {
		e = hub_host_attach(&hh, &fd, why);
		if (n++ == 0)
			assert_int_equal(e, OK);
		pid = n == 1 ? only_child() : pid;
		kill(pid, SIGSTOP);
		if (e == OK)
			close(fd);
	} while (e == OK && n < 10000);
	assert_int_equal(e, ERR_AGAIN);
	assert_int_equal(n_closed_twice, 0);
	kill(pid, SIGKILL);
	do
		e = hub_host_attach(&hh, &fd, why);
	while (e == ERR_AGAIN);
	assert_int_equal(e, OK);
	close(fd);
	assert_int_equal(n_closed_twice, 0);
	hub_host_stop(&hh);
	free(hh.ids[0]);
	free(hh.agent);
	os_loop_free(h.loop);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_descriptor_is_closed_once) };
	int failed;

	if (argc > 1 && strcmp(argv[1], "ssh-worker") == 0)
		return ssh_worker_main(3);
	test_folder_make(folder, "hub_host");
	failed = RUN_TESTS(tests);
	return failed + test_folder_remove(folder);
}
