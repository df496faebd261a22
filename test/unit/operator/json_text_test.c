/* JSON for terminals: what is escaped, what is not, and that it is the same JSON. */
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "operator/json_text.h"
#include "test/lib/testing.h"

static void controls_are_escaped(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "plain", "\"plain\"" },
		{ "\x1b[31m\n", "\"\\u001B[31m\\n\"" },
		{ "\x7f", "\"\\u007F\"" },
		{ "\xc2\x9b" "31m", "\"\\u009B31m\"" },
		{ "\xc2\x80\xc2\x9f\xc2\xa0", "\"\\u0080\\u009F\xc2\xa0\"" },
		{ "a\xe2\x80\xae" "b", "\"a\\u202Eb\"" },
		{ "\xe2\x81\xa6\xe2\x81\xa9\xd8\x9c\xe2\x80\x8f", "\"\\u2066\\u2069\\u061C\\u200F\"" },
		{ "\xe2\x80\xa8", "\"\\u2028\"" },
		{ "\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80 \xd7\x90", "\"\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x98\x80 \xd7\x90\"" },
		{ "\\u202e", "\"\\\\u202e\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		json_t *o = json_string(rows[i].in), *back;
		char *text = json_text(o, JSON_ENCODE_ANY);

		assert_non_null(text);
		assert_string_equal(text, rows[i].out);
		back = json_loads(text, JSON_DECODE_ANY, NULL);
		assert_true(json_equal(o, back));
		json_decref(o);
		json_decref(back);
		free(text);
	}
}

static void keys_and_lines_too(void **state)
{
	json_t *o = json_pack("{s:[i,s]}", "k\xc2\x85", 1, "x");
	char *text = json_text(o, JSON_INDENT(1));

	assert_string_equal(text, "{\n \"k\\u0085\": [\n  1,\n  \"x\"\n ]\n}");
	json_decref(o);
	free(text);
	assert_null(json_text(NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(controls_are_escaped), cmocka_unit_test(keys_and_lines_too) };

	return RUN_TESTS(tests);
}
