/* What people write for a forward, and what it means. */
#include "operator/forward_spec.h"
#include "test/lib/testing.h"

static const struct {
	const char *arg;
	bool with_target;
	const char *listen, *target; /* NULL: refused */
} cases[] = {
	{ "8080:db:5432", true, "127.0.0.1:8080", "db:5432" },
	{ "0:db:5432", true, "127.0.0.1:0", "db:5432" },
	{ "*:8080:db:5432", true, "0.0.0.0:8080", "db:5432" },
	{ "localhost:8080:db:5432", true, "127.0.0.1:8080", "db:5432" },
	{ "192.0.2.1:8080:[fd00::7]:80", true, "192.0.2.1:8080", "[fd00::7]:80" },
	{ "[::1]:8080:[fd00::7]:80", true, "[::1]:8080", "[fd00::7]:80" },
	{ "/tmp/x.sock:db:5432", true, "/tmp/x.sock", "db:5432" },
	{ "8080:/run/x.sock", true, "127.0.0.1:8080", "/run/x.sock" },
	{ "[::1]:8080:/run/x.sock", true, "[::1]:8080", "/run/x.sock" },
	{ "/tmp/a:/tmp/b", true, "/tmp/a", "/tmp/b" },
	{ "[/tmp/a:1]:[/tmp/b:2]", true, "[/tmp/a:1]", "[/tmp/b:2]" },
	{ "1080", false, "127.0.0.1:1080", "" },
	{ "*:1080", false, "0.0.0.0:1080", "" },
	{ "[::]:0", false, "[::]:0", "" },
	{ "/tmp/a", false, "/tmp/a", "" },
	{ "", true, NULL, NULL },
	{ "8080", true, NULL, NULL },
	{ "db:5432", true, NULL, NULL },
	{ "8080:db", true, NULL, NULL },
	{ "8080:db:0", true, NULL, NULL },
	{ "8080:db:65536", true, NULL, NULL },
	{ "65536:db:80", true, NULL, NULL },
	{ "80x:db:80", true, NULL, NULL },
	{ "-1:db:80", true, NULL, NULL },
	{ "8080::80", true, NULL, NULL },
	{ ":::", true, NULL, NULL },
	{ "a:b:c:d:e", true, NULL, NULL },
	{ "1:2:3:4:5", true, NULL, NULL },
	{ "[::1:8080:db:80", true, NULL, NULL },
	{ "0:[[]:4", true, NULL, NULL },
	{ "[::1]x:8080:db:80", true, NULL, NULL },
	{ "/a:/b:80", true, NULL, NULL },
	{ "/a:80:/b", true, NULL, NULL },
	{ "/:80:db:5432", true, NULL, NULL },
	{ "80:/:5432", true, NULL, NULL },
	{ "8080:/", true, NULL, NULL },
	{ "1080:x", false, NULL, NULL },
	{ "", false, NULL, NULL },
};

static void each_form(void **state)
{
	char listen[FORWARD_END_STR_MAX], target[FORWARD_END_STR_MAX];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct forward_spec s;
		enum err e = forward_spec_parse(cases[i].arg, cases[i].with_target, &s);

		if ((e == OK) != (cases[i].listen != NULL))
			fail_msg("'%s': %s", cases[i].arg, err_text(e));
		if (e != OK)
			continue;
		assert_string_equal(forward_end_format(&s.listen, listen), cases[i].listen);
		if (cases[i].with_target)
			assert_string_equal(forward_end_format(&s.target, target), cases[i].target);
	}
}

static void long_ones_are_refused(void **state)
{
	char arg[1024] = "8080:";
	struct forward_spec s;

	memset(arg + 5, 'x', 900);
	strcpy(arg + 905, ":80");
	assert_int_equal(forward_spec_parse(arg, true, &s), ERR_TOO_LONG);
	arg[5] = '/';
	strcpy(arg + 905, "");
	assert_int_equal(forward_spec_parse(arg, true, &s), ERR_TOO_LONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form),
		cmocka_unit_test(long_ones_are_refused),
	};

	return RUN_TESTS(tests);
}
