#include "base/yaml.h"
#include "test/lib/testing.h"

static void nodes_know_their_place(void **state)
{
	static const char text[] = "# head\nvpn:\n  port: 51820 # mine\nhosts:\n- {id: \"a b\"}\n";
	struct yaml_doc d;
	const struct yaml_node *n;

	assert_int_equal(yaml_parse(&d, text, strlen(text)), OK);
	n = yaml_get(yaml_get(d.root, "vpn"), "port");
	assert_string_equal(yaml_text(n), "51820");
	assert_int_equal(n->line, 3);
	assert_int_equal(n->column, 9);
	assert_int_equal(n->end - n->start, 5);
	assert_memory_equal(text + n->start, "51820", 5);
	n = yaml_get(d.root, "hosts")->first;
	assert_true(n->flow);
	n = yaml_get(n, "id");
	assert_string_equal(yaml_text(n), "a b");
	assert_false(n->plain);
	assert_memory_equal(text + n->start, "\"a b\"", 5);
	yaml_doc_free(&d);
}

static void refuses(void **state)
{
	static const char *const bad[] = {
		"a: 1\na: 2\n", "a: &x 1\nb: *x\n", "a: [1\n", "a: 'x\n", "a: 1\n---\nb: 2\n", "\ta: 1\n", "? [a]\n: 1\n",
		"a: !!str 1\n", "a: \"x\\0y\"\n",
		/* line separators that no editor shows, and UTF-16 */
		"a: 1\rb: 2\n", "a: 1\xc2\x85z: 2\n", "# a\xe2\x80\xa8z: 1\n", "# a\xe2\x80\xa9z: 1\n", "\xff\xfe" "a: 1\n",
	};
	struct yaml_doc d;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (yaml_parse(&d, bad[i], strlen(bad[i])) != ERR_FORMAT)
			fail_msg("accepted: %s", bad[i]);
		assert_true(d.error[0] >= '1' && d.error[0] <= '9');
		yaml_doc_free(&d);
	}
}

static void depth_is_limited(void **state)
{
	char text[2001];
	struct yaml_doc d;

	memset(text, '[', 1000);
	memset(text + 1000, ']', 1000);
	assert_int_equal(yaml_parse(&d, text, 2000), ERR_FORMAT);
	yaml_doc_free(&d);
}

/* Any prefix gives a tree or an error. */
static void truncation_is_harmless(void **state)
{
	static const char text[] = "a: [1, {b: \"c\"}]\r\nd:\r\n  - |\r\n    e\r\n  - 'f' # g\r\n";
	struct yaml_doc d;

	for (size_t n = 0; n < sizeof(text); n++) {
		enum err e = yaml_parse(&d, text, n);

		assert_true(e == OK || d.error[0]);
		yaml_doc_free(&d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_know_their_place),
		cmocka_unit_test(refuses),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(truncation_is_harmless),
	};

	return RUN_TESTS(tests);
}
