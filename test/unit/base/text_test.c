/* Words of others: what of them may stand on a terminal and in JSON. */
#include "base/text.h"
#include "test/lib/testing.h"

static const struct {
	const char *name, *in, *clean, *utf8; /* NULL: as it was */
} rows[] = {
	{ "plain", "Permission denied, please try again.", NULL, NULL },
	{ "letters", "accès refusé – 拒绝 – 🙂", NULL, NULL },
	{ "escape sequence", "a\x1b[2Jb\a\n\x7f", "a?[2Jb???", NULL },
	{ "CSI of Latin-1", "a\xc2\x9b" "2Jb", "a??2Jb", NULL },
	{ "CSI as one byte", "a\x9b" "2Jb", "a?2Jb", "a?2Jb" },
	{ "direction of a line", "gpj\xe2\x80\xae" "exe", "gpj???exe", NULL },
	{ "overlong slash", "\xc0\xaf", "??", "??" },
	{ "overlong escape", "\xe0\x80\x9b", "???", "???" },
	{ "surrogate", "\xed\xa0\x80", "???", "???" },
	{ "beyond Unicode", "\xf4\x90\x80\x80", "????", "????" },
	{ "cut in the middle", "caf\xc3", "caf?", "caf?" },
	{ "cut in the middle of four", "\xf0\x9f\x99", "???", "???" },
	{ "a line and a byte", "one\ntwo \xff", "one?two ?", "one\ntwo ?" },
	{ "no-break space stays", "\xc2\xa0", NULL, NULL },
	{ "empty", "", NULL, NULL },
};

static void each_row(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char clean[64], utf8[64];

		strcpy(clean, rows[i].in);
		strcpy(utf8, rows[i].in);
		text_clean(clean);
		text_make_utf8(utf8);
		if (strcmp(clean, rows[i].clean ? rows[i].clean : rows[i].in) != 0)
			fail_msg("%s: clean '%s'", rows[i].name, clean);
		if (strcmp(utf8, rows[i].utf8 ? rows[i].utf8 : rows[i].in) != 0)
			fail_msg("%s: in JSON '%s'", rows[i].name, utf8);
		assert_int_equal(text_is_utf8(rows[i].in), rows[i].utf8 == NULL);
		assert_int_equal(text_has_control(rows[i].in), rows[i].clean != NULL);
		assert_true(text_is_utf8(clean) && text_is_utf8(utf8));
	}
}

/* Every character there is comes out as itself; what is none, as its bytes. */
static void every_character(void **state)
{
	for (uint32_t c = 1; c < 0x110000; c++) {
		const char *end;
		char s[5] = { 0 };
		int n = 0;

		if (c < 0x80) {
			s[n++] = (char)c;
		} else if (c < 0x800) {
			s[n++] = (char)(0xc0 | c >> 6);
		} else if (c < 0x10000) {
			s[n++] = (char)(0xe0 | c >> 12);
			s[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		} else {
			s[n++] = (char)(0xf0 | c >> 18);
			s[n++] = (char)(0x80 | (c >> 12 & 0x3f));
			s[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		}
		if (c >= 0x80)
			s[n++] = (char)(0x80 | (c & 0x3f));
		if (c >= 0xd800 && c < 0xe000) {
			assert_int_equal(text_next(s, &end), TEXT_NOT_UTF8 + 0xed);
			assert_ptr_equal(end, s + 1);
			continue;
		}
		assert_int_equal(text_next(s, &end), c);
		assert_ptr_equal(end, s + n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row),
		cmocka_unit_test(every_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
