#include <stdio.h>
#include <stdlib.h>

#include "base/ecode.h"
#include "test/lib/testing.h"

static char doc[65536];

static void e1004_has_its_published_words(void **state)
{
	const struct ecode *e = ecode_find(1004);

	assert_string_equal(e->title, "VPN setup failed");
	assert_string_equal(e->hint, "Check that no other VPN or WireGuard instance is using the same listen port "
				     "(default: 51820).");
	assert_int_equal(ecode_find(4242)->number, 1099);
}

/* doc/errors.md has exactly the table's rows, in its order. */
static void the_manual_is_the_table(void **state)
{
	FILE *f = fopen("doc/errors.md", "r");
	const char *at;
	const struct ecode *e;
	char row[512];

	assert_non_null(f);
	doc[fread(doc, 1, sizeof(doc) - 1, f)] = '\0';
	fclose(f);
	at = strstr(doc, "|---|");
	assert_non_null(at);
	at = strchr(at, '\n') + 1;
	for (unsigned i = 0; (e = ecode_at(i)); i++) {
		snprintf(row, sizeof(row), "| E%u | %s | %s |\n", e->number, e->title, e->hint);
		if (strncmp(at, row, strlen(row)) != 0)
			fail_msg("doc/errors.md lacks this row, or has it elsewhere: %s", row);
		at += strlen(row);
		assert_true(i == 0 || ecode_at(i - 1)->number < e->number);
	}
	assert_string_equal(at, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(e1004_has_its_published_words),
		cmocka_unit_test(the_manual_is_the_table),
	};

	return RUN_TESTS(tests);
}
