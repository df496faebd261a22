/* test/unit/operator/hub_wire_test.c - the control socket's framing: round trip, truncation, nonsense. */
#include "base/endian.h"
#include "operator/hub_internal.h"
#include "operator/hub_wire.h"
#include "test/lib/testing.h"

static void test_round_trip(void **state)
{
	json_t *msg = json_pack("{s:i, s:s}", "v", 1, "op", "hello"), *got = NULL;
	char *buf;
	size_t len, used;

	assert_int_equal(hub_wire_encode(msg, &buf, &len), OK);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(hub_wire_decode(buf, n, &got, &used), ERR_AGAIN);
	assert_int_equal(hub_wire_decode(buf, len, &got, &used), OK);
	assert_int_equal(used, len);
	assert_true(json_equal(msg, got));
	json_decref(msg);
	json_decref(got);
	free(buf);
}

static void test_malformed(void **state)
{
	static const char *const texts[] = { "", "{", "[]", "1", "\"x\"", "{}x", "{\"a\":1,\"a\":2}", "\xff\xfe", "{\"a\":}" };
	char buf[64];
	json_t *got;
	size_t used;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		size_t n = strlen(texts[i]);

		put_le32(buf, (uint32_t)n);
		memcpy(buf + 4, texts[i], n);
		assert_int_equal(hub_wire_decode(buf, n + 4, &got, &used), ERR_PROTOCOL);
	}
	put_le32(buf, HUB_MSG_MAX + 1);
	assert_int_equal(hub_wire_decode(buf, 4, &got, &used), ERR_PROTOCOL);
	put_le32(buf, UINT32_MAX);
	assert_int_equal(hub_wire_decode(buf, 4, &got, &used), ERR_PROTOCOL);
}

static void test_deep_nesting(void **state)
{
	size_t n = 100000, used;
	char *buf = malloc(n + 4);
	json_t *got;

	put_le32(buf, (uint32_t)n);
	memset(buf + 4, '[', n);
	assert_int_equal(hub_wire_decode(buf, n + 4, &got, &used), ERR_PROTOCOL);
	free(buf);
}

static void test_too_long(void **state)
{
	char *text = malloc(HUB_MSG_MAX + 1);
	json_t *msg;
	char *buf;
	size_t len;

	memset(text, 'a', HUB_MSG_MAX);
	text[HUB_MSG_MAX] = '\0';
	msg = json_pack("{s:s}", "a", text);
	assert_int_equal(hub_wire_encode(msg, &buf, &len), ERR_TOO_LONG);
	json_decref(msg);
	free(text);
}

static void test_error_names(void **state)
{
	for (int e = OK + 1; e < ERR_N; e++)
		assert_int_equal(hub_err_from_name(err_name((enum err)e)), e);
	assert_int_equal(hub_err_from_name("ERR_OF_TOMORROW"), ERR_INTERNAL);
	assert_int_equal(hub_err_from_name(NULL), ERR_INTERNAL);
}

static void test_deadlines(void **state)
{
	static const struct {
		json_int_t ms;
		nsec_t least, most; /* from now */
	} cases[] = {
		{ 100, 100 * NSEC_PER_MSEC, 5 * NSEC_PER_SEC },
		{ 0, 10 * NSEC_PER_SEC, 15 * NSEC_PER_SEC },
		{ -5, 10 * NSEC_PER_SEC, 15 * NSEC_PER_SEC },
		{ 20000, 10 * NSEC_PER_SEC, 15 * NSEC_PER_SEC },
		{ 18446744073710, 10 * NSEC_PER_SEC, 15 * NSEC_PER_SEC }, /* as ns beyond 64 bits by a little */
		{ INT64_MAX, 10 * NSEC_PER_SEC, 15 * NSEC_PER_SEC },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *req = json_pack("{s:I}", "timeout_ms", cases[i].ms);
		nsec_t from = os_now();

		assert_in_range(hub_deadline_of(req, 10 * NSEC_PER_SEC) - from, cases[i].least, cases[i].most);
		json_decref(req);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_deep_nesting),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_error_names),
		cmocka_unit_test(test_deadlines),
	};

	return RUN_TESTS(tests);
}
