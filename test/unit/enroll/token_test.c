/* Invite tokens: what goes in comes out, nobody else's are signed, and nothing that was damaged is taken. */
#include <sodium.h>

#include "base/rng.h"
#include "enroll/client.h"
#include "test/lib/testing.h"

static const uint8_t private_key[KEY_LEN] = { 7, 1, 2, 3 };
static uint8_t secret[KEY_LEN];

static void example(struct enroll_token *t)
{
	memset(t, 0, sizeof(*t));
	strcpy(t->host_id, "web1");
	strcpy(t->vpn_addr, "10.99.0.2");
	memset(t->operator_key, 5, KEY_LEN);
	assert_int_equal(endpoint_parse("203.0.113.10:51820", &t->endpoint), OK);
	t->enroll_port = ENROLL_PORT;
	memset(t->nonce, 0xa5, ENROLL_NONCE_LEN);
	t->has_nonce = true;
	t->expires = 1800000000;
}

static void round_trip(void **state)
{
	struct enroll_token t, back;
	char text[ENROLL_TOKEN_MAX];

	example(&t);
	assert_int_equal(enroll_token_encode(&t, secret, text), OK);
	assert_memory_equal(text, "eyJo", 4);
	assert_int_equal(enroll_token_decode(text, &back), OK);
	assert_memory_equal(&t, &back, sizeof(t));
	assert_true(enroll_token_is_signed(text, secret));
	assert_int_equal(enroll_client_check(text, t.expires - 1, &back), ENROLL_OK);
	assert_int_equal(enroll_client_check(text, t.expires, &back), ENROLL_EXPIRED);
}

static void fleet_round_trip(void **state)
{
	struct enroll_token t, back;
	char text[ENROLL_TOKEN_MAX];

	example(&t);
	memset(t.host_id, 0, sizeof(t.host_id));
	memset(t.vpn_addr, 0, sizeof(t.vpn_addr));
	t.reusable = true;
	memset(t.session, 's', sizeof(t.session) - 1);
	assert_int_equal(endpoint_parse("[2001:db8::1]:51820", &t.endpoint), OK);
	assert_int_equal(enroll_token_encode(&t, secret, text), OK);
	assert_int_equal(enroll_token_decode(text, &back), OK);
	assert_memory_equal(&t, &back, sizeof(t));
}

static void another_key_did_not_sign(void **state)
{
	uint8_t other[KEY_LEN];
	struct enroll_token t;
	char text[ENROLL_TOKEN_MAX];

	example(&t);
	assert_int_equal(enroll_token_encode(&t, secret, text), OK);
	enroll_secret((const uint8_t[KEY_LEN]){ 8 }, other);
	assert_false(enroll_token_is_signed(text, other));
	assert_false(enroll_token_is_signed("", secret));
	assert_false(enroll_token_is_signed("e.e", secret));
}

/* A line that lost or changed a character anywhere is neither signed nor read; and the caller's token stays. */
static void every_character_counts(void **state)
{
	struct enroll_token t, back;
	char text[ENROLL_TOKEN_MAX], bad[ENROLL_TOKEN_MAX];
	size_t len;

	example(&t);
	assert_int_equal(enroll_token_encode(&t, secret, text), OK);
	len = strlen(text);
	memset(&back, 0x11, sizeof(back));
	for (size_t i = 0; i < len; i++) {
		strcpy(bad, text);
		bad[i] = bad[i] == 'A' ? 'B' : 'A';
		assert_int_equal(enroll_token_decode(bad, &back), ERR_FORMAT);
		assert_false(enroll_token_is_signed(bad, secret) && bad[i] != text[i] && i < len - 6);
		bad[i] = '\0';
		assert_int_equal(enroll_token_decode(bad, &back), ERR_FORMAT);
		assert_int_equal(enroll_client_check(bad, 0, &back), ENROLL_SIGNATURE);
		memmove(bad + i, text + i + 1, len - i);
		assert_int_equal(enroll_token_decode(bad, &back), ERR_FORMAT);
	}
	for (size_t i = 0; i < sizeof(back); i++)
		assert_int_equal(((uint8_t *)&back)[i], 0x11);
}

/* What is shown to a person before it is trusted: it can neither turn a line round nor move the cursor. */
static void no_control_characters(void **state)
{
	static const char *const ids[] = { "web\x1b[2J", "web\x7f", "we\xe2\x80\xae""b", "web\xc2\x9b" };
	struct enroll_token t, back;
	char text[ENROLL_TOKEN_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		example(&t);
		snprintf(t.host_id, sizeof(t.host_id), "%s", ids[i]);
		assert_int_equal(enroll_token_encode(&t, secret, text), OK);
		assert_int_equal(enroll_token_decode(text, &back), ERR_FORMAT);
	}
}

static void wrapped_by_mail(void **state)
{
	struct enroll_token t, back;
	char text[ENROLL_TOKEN_MAX], wrapped[2 * ENROLL_TOKEN_MAX] = " \n";

	example(&t);
	assert_int_equal(enroll_token_encode(&t, secret, text), OK);
	for (size_t i = 0; text[i]; i++) {
		size_t n = strlen(wrapped);

		snprintf(wrapped + n, sizeof(wrapped) - n, i % 76 == 75 ? "%c\r\n" : "%c", text[i]);
	}
	strcat(wrapped, "\n");
	assert_int_equal(enroll_token_decode(wrapped, &back), OK);
	assert_memory_equal(&t, &back, sizeof(t));
	assert_true(enroll_token_is_signed(wrapped, secret));
}

static void without_a_nonce(void **state)
{
	struct enroll_token t, back;
	char text[ENROLL_TOKEN_MAX];

	example(&t);
	t.has_nonce = false;
	assert_int_equal(enroll_token_encode(&t, secret, text), OK);
	assert_int_equal(enroll_client_check(text, 0, &back), ENROLL_NO_NONCE);
}

/* The nonce is known to holders of the token alone: names of invites and log lines do not give it away. */
static void names_are_one_way(void **state)
{
	uint8_t a[ENROLL_ID_LEN], b[ENROLL_ID_LEN], nonce[ENROLL_NONCE_LEN] = { 0xde, 0xad, 0xbe, 0xef, 5 };
	char prefix[9];

	enroll_id(nonce, a);
	assert_memory_not_equal(a, nonce, ENROLL_ID_LEN);
	nonce[15] ^= 1;
	enroll_id(nonce, b);
	assert_memory_not_equal(a, b, ENROLL_ID_LEN);
	assert_string_equal(enroll_nonce_prefix(nonce, prefix), "deadbeef");
}

static void codes_have_texts(void **state)
{
	for (int i = ENROLL_OK; i < ENROLL_CODE_N; i++)
		assert_non_null(enroll_code_text((enum enroll_code)i));
	assert_string_equal(enroll_code_text(ENROLL_USED), "token has already been used (nonce reused)");
	assert_string_equal(enroll_code_text((enum enroll_code)99), "validation failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip), cmocka_unit_test(fleet_round_trip), cmocka_unit_test(another_key_did_not_sign),
		cmocka_unit_test(every_character_counts), cmocka_unit_test(no_control_characters),
		cmocka_unit_test(wrapped_by_mail), cmocka_unit_test(without_a_nonce),
		cmocka_unit_test(names_are_one_way), cmocka_unit_test(codes_have_texts),
	};

	enroll_secret(private_key, secret);
	return RUN_TESTS(tests);
}
