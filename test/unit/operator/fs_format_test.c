/* Modes, sizes, times as listings show them, and what chmod reads. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "operator/fs_format.h"
#include "test/lib/testing.h"

static void modes_are_shown_as_by_ls(void **state)
{
	static const struct {
		uint32_t mode;
		const char *text, *type;
	} rows[] = {
		{ 0100644, "-rw-r--r--", "file" },  { 0040755, "drwxr-xr-x", "dir" },	{ 0120777, "lrwxrwxrwx", "link" },
		{ 0104755, "-rwsr-xr-x", "file" },  { 0102644, "-rw-r-Sr--", "file" },	{ 0041777, "drwxrwxrwt", "dir" },
		{ 0041776, "drwxrwxrwT", "dir" },   { 0010600, "prw-------", "fifo" },	{ 0140600, "srw-------", "socket" },
		{ 0060600, "brw-------", "block" }, { 0020600, "crw-------", "char" },	{ 0644, "?rw-r--r--", "unknown" },
	};
	char text[11];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_string_equal(fs_format_mode(rows[i].mode, text), rows[i].text);
		assert_string_equal(fs_format_type(rows[i].mode), rows[i].type);
	}
}

static void sizes_have_three_digits(void **state)
{
	static const struct {
		uint64_t n;
		const char *text;
	} rows[] = { { 0, "0 B" },	    { 999, "999 B" },	     { 1000, "1.0 KiB" },     { 1536, "1.5 KiB" },
		     { 10240, "10 KiB" },   { 1u << 20, "1.0 MiB" }, { 204u << 20, "204 MiB" }, { 1023u << 20, "1.0 GiB" },
		     { UINT64_MAX, "16 EiB" } };
	char text[16];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(fs_format_bytes(rows[i].n, text), rows[i].text);
}

static void times_are_short(void **state)
{
	static const struct {
		uint64_t s;
		const char *text;
	} rows[] = { { 0, "0:00" }, { 5, "0:05" }, { 754, "12:34" }, { 7384, "2:03:04" }, { 86400 * 5 + 3 * 3600 + 9, "5d 3h" } };
	const struct ssh_attr at = { .which = SSH_ATTR_TIMES, .mtime = 1234567890 }, none = { .which = SSH_ATTR_SIZE };
	char text[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(fs_format_seconds(rows[i].s, text), rows[i].text);
	setenv("TZ", "UTC", 1);
	tzset();
	assert_string_equal(fs_format_time(&at, text), "2009-02-13 23:31");
	assert_string_equal(fs_format_time(&none, text), "-");
}

static void json_has_what_is_known(void **state)
{
	const struct ssh_attr a = { .which = SSH_ATTR_SIZE | SSH_ATTR_MODE, .size = 1ULL << 40, .mode = 0100600 };
	json_t *o = json_object();

	fs_format_set_json(o, &a);
	assert_true(json_integer_value(json_object_get(o, "size")) == 1LL << 40);
	assert_string_equal(json_string_value(json_object_get(o, "mode")), "0600");
	assert_string_equal(json_string_value(json_object_get(o, "type")), "file");
	assert_null(json_object_get(o, "mtime"));
	assert_null(json_object_get(o, "uid"));
	json_decref(o);
}

/* A server may say anything. */
static void numbers_of_a_server(void **state)
{
	const struct ssh_attr huge = { .which = SSH_ATTR_SIZE, .size = UINT64_MAX };
	static const struct {
		struct ssh_fs_space s;
		uint64_t used;
		double pct;
	} rows[] = {
		{ { .size = 100, .free = 40, .avail = 20 }, 60, 75 },
		{ { .size = 100, .free = 200, .avail = 20 }, 0, 0 },
		{ { .size = UINT64_MAX, .free = 0, .avail = UINT64_MAX }, UINT64_MAX, 50 },
		{ { .size = 0 }, 0, 0 },
	};
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		double pct;

		assert_int_equal(fs_format_used(&rows[i].s, &pct), rows[i].used);
		assert_true(pct == rows[i].pct);
	}
	fs_format_set_json(o, &huge);
	assert_true(json_integer_value(json_object_get(o, "size")) == INT64_MAX);
	json_decref(o);
}

static void chmod_reads_what_chmod_reads(void **state)
{
	static const struct {
		const char *text;
		uint32_t mode;
		int want; /* -1: malformed */
	} rows[] = {
		{ "640", 0100777, 0640 },      { "2755", 0100600, 02755 },  { "0", 0100777, 0 },	     { "u+x", 0100644, 0744 },
		{ "go-r", 0100644, 0600 },     { "a=r", 0100777, 0444 },    { "=", 0100777, 0 },	     { "+x", 0100644, 0755 },
		{ "u=rwx,go=rx", 0100000, 0755 }, { "a+X", 0100644, 0644 }, { "a+X", 0040644, 0755 },  { "a+X", 0100744, 0755 },
		{ "u+s,g+s,o+t", 0100755, 07755 }, { "u-s", 0104755, 0755 }, { "+t", 0040755, 01755 }, { "u+r-w", 0100200, 0400 },
		{ "g=", 0102775, 0705 },       { "", 0, -1 },		    { "8", 0, -1 },		     { "77777", 0, -1 },
		{ "u", 0, -1 },		       { "u+x,", 0, -1 },	    { "u+q", 0, -1 },		     { "x+u", 0, -1 },
		{ "12x", 0, -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t got = 0;
		bool ok = fs_mode_change(rows[i].text, rows[i].mode, &got);

		if (ok != (rows[i].want >= 0) || (ok && got != (uint32_t)rows[i].want))
			fail_msg("'%s' of %o: %s %o", rows[i].text, rows[i].mode, ok ? "gives" : "refused", got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_are_shown_as_by_ls), cmocka_unit_test(sizes_have_three_digits),
		cmocka_unit_test(times_are_short),	    cmocka_unit_test(json_has_what_is_known),
		cmocka_unit_test(numbers_of_a_server),	    cmocka_unit_test(chmod_reads_what_chmod_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
