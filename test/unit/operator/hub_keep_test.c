/*
 * A forward in the background whose end the hub hears before its word that it is ready: it is started again. The forward's process
 * is this program.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "operator/hub_internal.h"
#include "operator/hub_kept.h"
#include "test/lib/testing.h"

#define RUN_MAX (20 * NSEC_PER_SEC)

static char folder[TEST_FOLDER_MAX];
static struct os_timer look;
static struct hub h;

static char *path_of(const char *name)
{
	static char path[TEST_FOLDER_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

/* A byte in the file for each start. */
static off_t n_starts(void)
{
	struct stat st;

	return stat(path_of("starts"), &st) == 0 ? st.st_size : 0;
}

static int be_the_forward(void)
{
	int fd;

	snprintf(folder, sizeof(folder), "%s", getenv("NEFIA_HOME"));
	if (fork() != 0)
		return 7;
	poll(NULL, 0, 100);
	fd = open(path_of("starts"), O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (write(fd, "x", 1) != 1)
		return 1;
	printf("Forwarding 127.0.0.1:4711 to web\n");
	return fflush(stdout);
}

static void on_look(void *ctx)
{
	if (n_starts() >= 2 || os_now() >= h.started + RUN_MAX)
		os_loop_stop(h.loop);
	else
		os_timer_set(&look, os_now() + 20 * NSEC_PER_MSEC);
}

static void over_before_it_is_ready(void **state)
{
	json_t *all = json_pack("[{s:i, s:s, s:i, s:[ss]}]", "id", 1, "host", "web", "ports", 1, "args", "web", "4711:localhost:80");

	h.loop = os_loop_new();
	h.opt.home = folder;
	h.opt.config = "nefia.yaml";
	h.started = os_now();
	list_init(&h.keeps);
	list_init(&h.conns);
	snprintf(h.paths.kept, sizeof(h.paths.kept), "%s", path_of("kept"));
	assert_int_equal(hub_kept_write(h.paths.kept, all), OK);
	json_decref(all);
	hub_keeps_resume(&h);
	assert_int_equal(h.n_keeps, 1);
	/* The end came first, and the loop finds both. */
	for (int i = 0; i < 500 && n_starts() == 0; i++)
		poll(NULL, 0, 10);
	poll(NULL, 0, 200);
	os_timer_init(&look, h.loop, on_look, NULL);
	on_look(NULL);
	os_loop_run(h.loop);
	assert_true(n_starts() >= 2);
	os_timer_cancel(&look);
	hub_keeps_close(&h);
	os_loop_free(h.loop);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(over_before_it_is_ready) };
	int failed;

	if (argc > 1 && strcmp(argv[1], "--config") == 0)
		return be_the_forward();
	test_folder_make(folder, "hub_keep");
	failed = RUN_TESTS(tests);
	return failed + test_folder_remove(folder);
}
