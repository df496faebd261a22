/* Names of files: specifications, what a terminal and JSON show of them, patterns. */
#include <stdlib.h>
#include <string.h>

#include "operator/fs_name.h"
#include "test/lib/testing.h"

static void hosts_and_paths_are_told_apart(void **state)
{
	static const struct {
		const char *spec, *host, *path;
	} rows[] = {
		{ "web:/etc/hosts", "web", "/etc/hosts" }, { "web:", "web", "." },	 { "web:a:b", "web", "a:b" },
		{ "web:~", "web", "." },		   { "web:~/x", "web", "x" },	 { "web:~//x", "web", "x" },
		{ "web:~x", "web", "~x" },		   { "web:/", "web", "/" },	 { ":x", NULL, NULL },
		{ "local", NULL, NULL },		   { "./a:b", NULL, NULL },	 { "/a:b", NULL, NULL },
		{ "dir/a:b", NULL, NULL },		   { "", NULL, NULL },
	};
	char host[FS_HOST_MAX + 1];
	const char *path;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(fs_spec_split(rows[i].spec, host, &path), rows[i].host != NULL);
		if (rows[i].host) {
			assert_string_equal(host, rows[i].host);
			assert_string_equal(path, rows[i].path);
		}
	}
}

static void a_terminal_is_shown_nothing_that_it_obeys(void **state)
{
	static const char *const rows[][2] = {
		{ "plain name", "plain name" },
		{ "a\nb\tc\r", "a\\nb\\tc\\r" },
		{ "\x1b[2J\x07", "\\x1b[2J\\a" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7" },
		{ "\xff\xc3", "\\xff\\xc3" },
		{ "\xc0\xaf\xed\xa0\x80", "\\xc0\\xaf\\xed\\xa0\\x80" },
		{ "\xc2\x9b" "31m", "\\xc2\\x9b31m" },
		{ "\xe2\x80\xae" "gpj", "\\xe2\\x80\\xaegpj" },
		{ "back\\slash", "back\\\\slash" },
		{ "", "" },
	};
	char shown[200];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		fs_name_show(rows[i][0], shown);
		assert_string_equal(shown, rows[i][1]);
	}
}

static void every_name_has_an_exact_form_in_json(void **state)
{
	static const char *const rows[][3] = {
		{ "a\nb", "name", "a\nb" }, { "\xff", "name_base64", "/w==" }, { "\xff\xfe", "name_base64", "//4=" },
		{ "ab\xff", "name_base64", "YWL/" }, { "abc\xff", "name_base64", "YWJj/w==" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *o = json_object();

		fs_name_set_json(o, "name", rows[i][0]);
		assert_string_equal(json_string_value(json_object_get(o, rows[i][1])), rows[i][2]);
		assert_int_equal(json_object_size(o), 1);
		json_decref(o);
	}
}

static void paths_are_cut_and_joined(void **state)
{
	static const char *const bases[][2] = { { "/a/b", "b" }, { "a/b//", "b" }, { "/", "" }, { "", "" }, { "x", "x" } };
	static const struct {
		const char *path;
		bool safe;
	} rows[] = { { "a", true },   { "a/b", true },	{ "..", false },   { "a/../b", false }, { "/a", false }, { "a/", false },
		     { "a//b", false }, { ".", false }, { "", false },	   { "...", true },	{ "a/..b", true }, { "a/..", false } };
	char out[16];

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		fs_name_base(bases[i][0], out, sizeof(out));
		assert_string_equal(out, bases[i][1]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(fs_name_is_safe(rows[i].path), rows[i].safe);
	assert_true(fs_name_join(out, sizeof(out), "/", "x"));
	assert_string_equal(out, "/x");
	assert_true(fs_name_join(out, sizeof(out), ".", "x"));
	assert_string_equal(out, "x");
	assert_true(fs_name_join(out, sizeof(out), "a/", "x"));
	assert_string_equal(out, "a/x");
	assert_false(fs_name_join(out, sizeof(out), "a23456789", "0123456"));
}

static const struct {
	const char *pattern, *name;
	bool want;
} globs[] = {
	{ "*", "a", true },	     { "*", "", true },		 { "*", ".a", false },	    { ".*", ".a", true },
	{ "\\.*", ".a", true },	     { "[.]a", ".a", false },	 { "?a", ".a", false },	    { "*.log", "x.log", true },
	{ "*.log", "x.logs", false }, { "?", "ab", false },	 { "?", "\xc3\xa4", true },  { "??", "\xc3\xa4", false },
	{ "?", "\xff", true },	     { "[a-c]x", "bx", true },	 { "[a-c]x", "dx", false }, { "[!a-c]x", "dx", true },
	{ "[^a-c]x", "ax", false },  { "[]]", "]", true },	 { "[!]]", "]", false },    { "[]-a]", "]", true },
	{ "[a", "[a", true },	     { "[a-]", "-", true },	 { "\\*", "*", true },	    { "\\*", "a", false },
	{ "a\\", "a\\", true },	     { "[\xc3\xa4-\xc3\xbc]", "\xc3\xb6", true },	    { "[\\]]", "]", true },
	{ "a*b*c", "aXbYc", true },  { "a*b*c", "aXbYcZ", false }, { "**", "x", true },	    { "a**b", "ab", true },
	{ "", "", true },	     { "", "a", false },	 { "a", "", false },	    { "*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false },
	{ "\xff", "\xff", true },    { "a?c", "a\nc", true },
};

static void patterns_match_as_a_shells(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(globs); i++)
		if (fs_glob_match(globs[i].pattern, strlen(globs[i].pattern), globs[i].name) != globs[i].want)
			fail_msg("'%s' and '%s'", globs[i].pattern, globs[i].name);
}

/* The first @len bytes are the pattern: what follows them is never looked at. */
static void a_pattern_ends_where_it_is_said_to(void **state)
{
	assert_true(fs_glob_match("a*/b", 2, "ax"));
	assert_true(fs_glob_match("[a]x", 1, "["));
	assert_true(fs_glob_match("\\x", 1, "\\"));
}

static void quotes_are_taken_off(void **state)
{
	char s[] = "a\\*b\\\\c\\";

	assert_true(fs_glob_is_pattern("a*") && fs_glob_is_pattern("[") && fs_glob_is_pattern("\\\\?"));
	assert_false(fs_glob_is_pattern("a\\*") || fs_glob_is_pattern("") || fs_glob_is_pattern("a\\"));
	fs_glob_unquote(s);
	assert_string_equal(s, "a*b\\c\\");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_and_paths_are_told_apart),
		cmocka_unit_test(a_terminal_is_shown_nothing_that_it_obeys),
		cmocka_unit_test(every_name_has_an_exact_form_in_json),
		cmocka_unit_test(paths_are_cut_and_joined),
		cmocka_unit_test(patterns_match_as_a_shells),
		cmocka_unit_test(a_pattern_ends_where_it_is_said_to),
		cmocka_unit_test(quotes_are_taken_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
