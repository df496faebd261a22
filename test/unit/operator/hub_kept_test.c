/* The file of forwards in the background, and ports that were any once. */
#include "operator/hub_kept.h"

#include <stdlib.h>
#include <unistd.h>

#include "os/file.h"
#include "test/lib/testing.h"

static const struct {
	const char *text; /* NULL: no file */
	enum err e;
	size_t n;
} files[] = {
	{ NULL, OK, 0 },
	{ "{\"version\":1,\"forwards\":[]}", OK, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":3,\"host\":\"web\",\"ports\":1,\"args\":[\"web\",\"80:a:80\"]}]}", OK, 1 },
	{ "", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":3,", ERR_FORMAT, 0 },
	{ "{\"version\":1}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":{}}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[17]}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":0,\"host\":\"web\",\"ports\":1,\"args\":[\"web\"]}]}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":1,\"host\":\"\",\"ports\":1,\"args\":[\"web\"]}]}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":1,\"host\":\"web\",\"ports\":0,\"args\":[\"web\"]}]}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":1,\"host\":\"web\",\"ports\":2,\"args\":[\"web\"]}]}", ERR_FORMAT, 0 },
	{ "{\"version\":1,\"forwards\":[{\"id\":1,\"host\":\"web\",\"ports\":1,\"args\":[1]}]}", ERR_FORMAT, 0 },
	{ "{\"version\":2,\"forwards\":[]}", ERR_VERSION, 0 },
};

static void each_file(void **state)
{
	char path[] = "/tmp/hub_kept_test.XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		json_t *all = NULL;

		unlink(path);
		if (files[i].text)
			assert_int_equal(os_file_write_atomic(path, files[i].text, strlen(files[i].text), 0600), OK);
		assert_int_equal(hub_kept_read(path, &all), files[i].e);
		assert_int_equal(json_array_size(all), files[i].n);
		json_decref(all);
	}
	unlink(path);
}

/* One more than the hub takes, and one word more than a forward has. */
static void limits(void **state)
{
	char path[] = "/tmp/hub_kept_test.XXXXXX";
	int fd = mkstemp(path);
	json_t *all = json_array(), *args = json_array(), *back;

	assert_true(fd >= 0);
	close(fd);
	for (int i = 0; i < KEPT_ARGS_MAX; i++)
		json_array_append_new(args, json_string("80:a:80"));
	for (int i = 0; i < KEEPS_MAX; i++)
		json_array_append_new(all, json_pack("{s:i, s:s, s:i, s:O}", "id", i + 1, "host", "web", "ports", 1, "args", args));
	assert_int_equal(hub_kept_write(path, all), OK);
	assert_int_equal(hub_kept_read(path, &back), OK);
	assert_true(json_equal(all, back));
	json_decref(back);
	json_array_append_new(args, json_string("81:a:80"));
	assert_int_equal(hub_kept_write(path, all), OK);
	assert_int_equal(hub_kept_read(path, &back), ERR_FORMAT);
	json_array_remove(args, 0);
	json_array_append(all, json_array_get(all, 0));
	assert_int_equal(hub_kept_write(path, all), OK);
	assert_int_equal(hub_kept_read(path, &back), ERR_FORMAT);
	json_decref(all);
	json_decref(args);
	unlink(path);
}

static void which_is_meant(void **state)
{
	assert_true(hub_kept_matches("all", 12, "web"));
	assert_true(hub_kept_matches("12", 12, "web"));
	assert_true(hub_kept_matches("web", 12, "web"));
	assert_false(hub_kept_matches("1", 12, "web"));
	assert_false(hub_kept_matches("we", 12, "web"));
	assert_false(hub_kept_matches("", 12, "web"));
}

static const struct {
	const char *arg;
	bool with_target;
	const char *said, *pinned; /* NULL: stays */
} pins[] = {
	{ "0:db:5432", true, "Forwarding 127.0.0.1:4711 to web, there to db:5432", "127.0.0.1:4711:db:5432" },
	{ "*:0:db:5432", true, "Forwarding 0.0.0.0:4711 to web, there to db:5432", "0.0.0.0:4711:db:5432" },
	{ "[::1]:0:/run/x", true, "Forwarding [::1]:4711 to web, there to /run/x", "[::1]:4711:/run/x" },
	{ "0", false, "Forwarding 127.0.0.1:4711 to web, wherever SOCKS asks for", "127.0.0.1:4711" },
	{ "0:localhost:3000", true, "Forwarding 127.0.0.1:4711 at web to localhost:3000 here", "127.0.0.1:4711:localhost:3000" },
	{ "8080:db:5432", true, "Forwarding 127.0.0.1:8080 to web, there to db:5432", NULL },
	{ "/tmp/x:db:5432", true, "Forwarding /tmp/x to web, there to db:5432", NULL },
	{ "0:db:5432", true, "Forwarding", NULL },
	{ "0:db:5432", true, "Forwarding 127.0.0.1:0 to web", NULL },
	{ "nonsense", true, "Forwarding 127.0.0.1:4711 to web", NULL },
};

static void ports_are_pinned(void **state)
{
	for (size_t i = 0; i < sizeof(pins) / sizeof(pins[0]); i++) {
		char *got = hub_kept_pin(pins[i].arg, pins[i].with_target, pins[i].said);

		if (pins[i].pinned)
			assert_string_equal(got, pins[i].pinned);
		else
			assert_null(got);
		free(got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_file),
		cmocka_unit_test(limits),
		cmocka_unit_test(which_is_meant),
		cmocka_unit_test(ports_are_pinned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
