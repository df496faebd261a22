/* Errors as people and programs see them. */
#include <jansson.h>

#include "base/ecode.h"
#include "operator/cmd.h"
#include "test/lib/testing.h"

static void printed(bool json, unsigned ecode, const char *detail, char *ret, size_t size)
{
	FILE *f = tmpfile();
	size_t n;

	assert_non_null(f);
	error_print(f, json, ecode, detail);
	rewind(f);
	n = fread(ret, 1, size - 1, f);
	ret[n] = '\0';
	fclose(f);
}

static void title_and_next_step_are_always_there(void **state)
{
	char text[2048], want[2048];

	printed(false, 1004, NULL, text, sizeof(text));
	assert_string_equal(text, "Error: [E1004] VPN setup failed\nTry: Check that no other VPN or WireGuard instance is "
				  "using the same listen port (default: 51820).\n");
	printed(false, 1004, "UDP port 51820 is in use", text, sizeof(text));
	assert_string_equal(text, "Error: [E1004] VPN setup failed\nWhy: UDP port 51820 is in use\nTry: Check that no other "
				  "VPN or WireGuard instance is using the same listen port (default: 51820).\n");
	for (unsigned i = 0; ecode_at(i); i++) {
		const struct ecode *e = ecode_at(i);

		printed(false, e->number, "this time", text, sizeof(text));
		snprintf(want, sizeof(want), "Error: [E%u] %s\nWhy: this time\nTry: %s\n", e->number, e->title, e->hint);
		assert_string_equal(text, want);
	}
}

static void nothing_is_said_twice(void **state)
{
	char text[512];

	printed(false, 1013, "No hub is running", text, sizeof(text));
	assert_null(strstr(text, "Why:"));
	printed(false, 1013, "", text, sizeof(text));
	assert_null(strstr(text, "Why:"));
}

static void programs_get_fields(void **state)
{
	/* A name that is no UTF-8 costs its own bytes, and not the message. */
	static const char *const details[][2] = {
		{ "web9 is not in nefia.yaml", "web9 is not in nefia.yaml" }, { "/home/a\xff/b: denied", "/home/a?/b: denied" }, { NULL, "No such host" },
	};
	char text[1024];

	for (size_t i = 0; i < ARRAY_SIZE(details); i++) {
		json_error_t why;
		json_t *o, *e;

		printed(true, 1021, details[i][0], text, sizeof(text));
		assert_int_equal(strcspn(text, "\n"), strlen(text) - 1);
		o = json_loads(text, 0, &why);
		e = json_object_get(o, "error");
		assert_string_equal(json_string_value(json_object_get(e, "code")), "E1021");
		assert_string_equal(json_string_value(json_object_get(e, "title")), "No such host");
		assert_string_equal(json_string_value(json_object_get(e, "message")), details[i][1]);
		assert_true(json_string_length(json_object_get(e, "try")) > 0);
		json_decref(o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(title_and_next_step_are_always_there),
		cmocka_unit_test(nothing_is_said_twice),
		cmocka_unit_test(programs_get_fields),
	};

	return RUN_TESTS(tests);
}
