#include "base/encode.h"
#include "base/rng.h"
#include "test/lib/testing.h"

static void key_round_trips(void **state)
{
	struct rng_seeded r;
	uint8_t key[KEY_LEN], back[KEY_LEN];
	char text[KEY_STR_MAX];

	rng_seeded_init(&r, 3);
	for (int i = 0; i < 1000; i++) {
		rng_bytes(&r.rng, key, sizeof(key));
		assert_int_equal(strlen(key_to_base64(key, text)), KEY_STR_MAX - 1);
		assert_int_equal(key_from_base64(text, back), OK);
		assert_memory_equal(key, back, KEY_LEN);
	}
}

static void key_refuses_bad_text(void **state)
{
	static const char *const bad[] = {
		"",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",    /* no padding */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",   /* 33 bytes */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",   /* unused bits set */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",    /* 31 bytes */
		"AAAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAA=",
		"AAAAAAAAAAAAAAAAAAAAA-AAAAAAAAAAAAAAAAAAAAA=",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		"AAAAAAAAAAAAAAAAAAAAA\xbe""AAAAAAAAAAAAAAAAAAAAA=",    /* libsodium takes it for a digit */
	};
	uint8_t key[KEY_LEN] = { 1 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(key_from_base64(bad[i], key), ERR_FORMAT);
		assert_int_equal(key[0], 1);
	}
}

static void hex_is_exact(void **state)
{
	uint8_t b[2];
	char text[5];

	assert_int_equal(hex_decode("0aFf", b, 2), OK);
	assert_string_equal(hex_encode(b, 2, text), "0aff");
	assert_int_equal(hex_decode("0aF", b, 2), ERR_FORMAT);
	assert_int_equal(hex_decode("0aFf0", b, 2), ERR_FORMAT);
	assert_int_equal(hex_decode("0a f", b, 2), ERR_FORMAT);
	assert_int_equal(hex_decode("0ag0", b, 2), ERR_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_round_trips),
		cmocka_unit_test(key_refuses_bad_text),
		cmocka_unit_test(hex_is_exact),
	};
	return RUN_TESTS(tests);
}
