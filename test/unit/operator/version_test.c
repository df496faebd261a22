/* A hub and a command of different versions: each says why not, and what to do. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "operator/hub.h"
#include "operator/hub_attach.h"
#include "operator/hub_wire.h"
#include "os/file.h"
#include "os/loop.h"
#include "test/lib/testing.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
static const char config[] = "version: 1\nvpn:\n  private_key: " KEY "\n  address: 10.99.0.1/24\n  listen_port: 0\nhosts: []\n";

static char home[64], file[96];
static struct hub_paths paths;

static int make_home(void **state)
{
	strcpy(home, "/tmp/nefia-version-XXXXXX");
	assert_non_null(mkdtemp(home));
	snprintf(file, sizeof(file), "%s/nefia.yaml", home);
	assert_int_equal(os_file_write_atomic(file, config, strlen(config), 0600), OK);
	assert_int_equal(hub_paths_init(home, &paths), OK);
	assert_int_equal(os_mkdir_p(paths.run, 0700), OK);
	return 0;
}

static int remove_home(void **state)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", home);
	return system(cmd);
}

static int unix_socket(bool listening)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, paths.socket);
	if (listening) {
		assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		assert_int_equal(listen(fd, 8), 0);
		return fd;
	}
	for (int i = 0; i < 200 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0; i++)
		usleep(20000);
	return fd;
}

/* A hub of another version answers @reply to whatever comes, @n times. */
static pid_t other_hub(const char *reply, int n)
{
	int fd = unix_socket(true);
	pid_t pid = fork();
	uint8_t hdr[4];
	char buf[4096];

	while (pid == 0 && n-- > 0) {
		int c = accept(fd, NULL, NULL);

		put_le32(hdr, (uint32_t)strlen(reply));
		if (recv(c, buf, sizeof(buf), 0) <= 0 || write(c, hdr, 4) != 4 || write(c, reply, strlen(reply)) < 0)
			_exit(1);
		close(c);
	}
	if (pid == 0)
		_exit(0);
	close(fd);
	return pid;
}

static void attach_fails(const char *reply, enum err want, unsigned ecode, const char *text)
{
	pid_t pid = other_hub(reply, 1);
	struct hub_client *hc;
	int status;

	assert_int_equal(hub_attach(home, file, true, &hc), want);
	assert_int_equal(hub_client_ecode(hc), ecode);
	assert_non_null(strstr(hub_client_message(hc), text));
	hub_client_close(hc);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	unlink(paths.socket);
}

static void a_command_says_why_not(void **state)
{
	attach_fails("{\"v\":2,\"ok\":false,\"error\":\"ERR_VERSION\",\"message\":\"the hub (nefia 9.9.9) speaks control protocol 2\"}",
		     ERR_VERSION, 1014, "9.9.9");
	attach_fails("{\"v\":1,\"ok\":false,\"error\":\"ERR_UNSUPPORTED\",\"message\":\"does not know the operation hello\"}",
		     ERR_UNSUPPORTED, 1014, "hello");
	/* An error that this version does not know yet is still an error, with its text. */
	attach_fails("{\"v\":1,\"ok\":false,\"error\":\"ERR_OF_TOMORROW\",\"ecode\":1999,\"message\":\"new trouble\"}", ERR_INTERNAL,
		     1999, "new trouble");
}

static void a_newer_hub_with_more_fields_will_do(void **state)
{
	pid_t pid = other_hub("{\"v\":1,\"ok\":true,\"version\":\"9.9.9\",\"pid\":1,\"of_tomorrow\":[1]}", 1);
	struct hub_client *hc;

	assert_int_equal(hub_attach(home, file, false, &hc), OK);
	hub_client_close(hc);
	waitpid(pid, NULL, 0);
	unlink(paths.socket);
}

static json_t *exchange(int fd, const char *text)
{
	uint8_t hdr[4];
	char buf[4096];
	json_t *reply;
	size_t used, n = 0;

	put_le32(hdr, (uint32_t)strlen(text));
	assert_int_equal(write(fd, hdr, 4), 4);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	for (;;) {
		ssize_t got = recv(fd, buf + n, sizeof(buf) - n, 0);

		if (got <= 0)
			return NULL;
		n += (size_t)got;
		if (hub_wire_decode(buf, n, &reply, &used) == OK)
			return reply;
	}
}

static void answers(int fd, const char *request, const char *error, const char *text)
{
	json_t *reply = exchange(fd, request);

	assert_non_null(reply);
	if (error) {
		assert_string_equal(hub_json_string(reply, "error"), error);
		assert_non_null(strstr(hub_json_string(reply, "message"), text));
	} else {
		assert_true(json_is_true(json_object_get(reply, "ok")));
	}
	json_decref(reply);
}

static void a_hub_says_why_not(void **state)
{
	struct hub_options opt = { .home = home, .config = file, .report_fd = -1, .log_level = LOG_ERROR, .uapi_dir = home };
	pid_t pid = fork();
	int status, fd;

	if (pid == 0) {
		_exit(hub_main(&opt));
	}
	fd = unix_socket(false);
	answers(fd, "{\"v\":2,\"op\":\"hello\"}", "ERR_VERSION", "speaks control protocol 1, this command 2");
	answers(fd, "{\"op\":\"hello\"}", "ERR_VERSION", "restart the hub");
	answers(fd, "{\"v\":1,\"op\":\"of-tomorrow\"}", "ERR_UNSUPPORTED", "does not know the operation of-tomorrow");
	answers(fd, "{\"v\":1,\"op\":\"hello\",\"of_tomorrow\":true}", NULL, NULL);
	answers(fd, "{\"v\":1,\"op\":\"hello\",\"config\":\"/elsewhere\"}", "ERR_IN_USE", "another configuration");
	answers(fd, "{\"v\":1,\"op\":\"session\",\"host\":\"nobody\"}", "ERR_NOT_FOUND", "unknown host: nobody");
	assert_null(exchange(fd, "[1]")); /* no message: closed without an answer */
	close(fd);
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_command_says_why_not, make_home, remove_home),
		cmocka_unit_test_setup_teardown(a_newer_hub_with_more_fields_will_do, make_home, remove_home),
		cmocka_unit_test_setup_teardown(a_hub_says_why_not, make_home, remove_home),
	};

	return RUN_TESTS(tests);
}
