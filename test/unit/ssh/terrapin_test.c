/* Strict key exchange counts only where it is signed: in the first packet's own list (the way around it is Terrapin's). */
#include "base/endian.h"
#include "ssh/terrapin.h"
#include "test/lib/testing.h"

#define STRICT "kex-strict-s-v00@openssh.com"

static uint8_t buf[4096];
static size_t len;
static const char *banner; /* as the library took it */

static void text(const char *s)
{
	memcpy(buf + len, s, strlen(s));
	len += strlen(s);
}

static void packet(uint8_t type, const char *list)
{
	size_t n = strlen(list), total = 2 + 16 + 4 + n + 40 + 6;

	put_be32(buf + len, (uint32_t)total);
	memset(buf + len + 4, 0, total);
	buf[len + 4] = 6;
	buf[len + 5] = type;
	put_be32(buf + len + 22, (uint32_t)n);
	memcpy(buf + len + 26, list, n);
	len += 4 + total;
}

static bool offers(void)
{
	/* In memory of its own, so that a sanitizer sees a byte too many. */
	uint8_t *copy = malloc(len ? len : 1);
	bool r;

	memcpy(copy, buf, len);
	r = terrapin_strict_kex((struct bytes){ copy, len }, banner);
	free(copy);
	return r;
}

static void found_in_the_list(void **state)
{
	static const char *const lists[] = { STRICT, "curve25519-sha256," STRICT, "a," STRICT ",b" };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		len = 0;
		banner = "SSH-2.0-OpenSSH_9.6";
		text("SSH-2.0-OpenSSH_9.6\r\n");
		packet(20, lists[i]);
		assert_true(offers());
		packet(31, "more");
		assert_true(offers());
	}
}

static void names_must_be_whole(void **state)
{
	static const char *const lists[] = { "", ",", "a", "x" STRICT, STRICT "x", "kex-strict-s-v00", "a,," };

	banner = "SSH-2.0-x";
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		len = 0;
		text("SSH-2.0-x\n");
		packet(20, lists[i]);
		assert_false(offers());
	}
}

static void elsewhere_it_does_not_count(void **state)
{
	static const struct {
		const char *banner, *lines; /* as the library took it; what came */
		uint8_t first_type;         /* 0: no packet in front */
		const char *first, *list;
	} rows[] = {
		/* A line before the version string, which nobody signs; and with one the offer itself does not count. */
		{ "SSH-2.0-x", STRICT "\r\nSSH-2.0-x\r\n", 0, "", "curve25519-sha256" },
		{ "SSH-2.0-x", "hello\r\nSSH-2.0-x\r\n", 0, "", STRICT },
		/* Another line than the library took, which cuts lines where they are long. */
		{ "SSH-2.0-y", "SSH-2.0-x\r\n", 0, "", STRICT },
		{ "SSH-2.0-x", "SSH-2.0-x more\r\n", 0, "", STRICT },
		{ "", "\r\n", 0, "", STRICT },
		/* The version string's comment. */
		{ "SSH-2.0-x " STRICT, "SSH-2.0-x " STRICT "\r\n", 0, "", "curve25519-sha256" },
		/* An ignored packet before the offer, and the offer itself after one. */
		{ "SSH-2.0-x", "SSH-2.0-x\r\n", 2, STRICT, "curve25519-sha256" },
		{ "SSH-2.0-x", "SSH-2.0-x\r\n", 2, "ignored", STRICT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		len = 0;
		banner = rows[i].banner;
		text(rows[i].lines);
		if (rows[i].first_type)
			packet(rows[i].first_type, rows[i].first);
		packet(20, rows[i].list);
		assert_false(offers());
	}
	/* Another list of the same packet. */
	len = 0;
	banner = "SSH-2.0-x";
	text("SSH-2.0-x\r\n");
	packet(20, "curve25519-sha256");
	memcpy(buf + 11 + 26 + 17 + 4, STRICT, strlen(STRICT));
	assert_false(offers());
}

static void every_length_is_safe(void **state)
{
	size_t whole, at;

	len = 0;
	banner = "SSH-2.0-OpenSSH_9.6";
	text("SSH-2.0-OpenSSH_9.6\r\n");
	at = len;
	packet(20, "curve25519-sha256," STRICT);
	whole = len;
	for (len = 0; len < whole; len++)
		assert_false(offers());
	assert_true(offers());
	/* Lengths that lie. */
	put_be32(buf + at, 10);
	assert_false(offers());
	put_be32(buf + at, UINT32_MAX);
	assert_false(offers());
	put_be32(buf + at, (uint32_t)(whole - at - 4));
	put_be32(buf + at + 22, UINT32_MAX);
	assert_false(offers());
}

static void choices(void **state)
{
	static const struct {
		const char *cipher, *mac;
		bool open;
	} rows[] = {
		{ "aes128-gcm@openssh.com", "", false },
		{ "aes256-gcm@openssh.com", "hmac-sha2-256-etm@openssh.com", false },
		{ "aes128-ctr", "hmac-sha2-256", false },
		{ "aes128-ctr", "hmac-sha2-256-etm@openssh.com", true },
		{ "chacha20-poly1305@openssh.com", "", true },
		{ "aes128-cbc", "hmac-sha2-256", true },
		{ NULL, "hmac-sha2-256", true },
		{ "aes128-ctr", NULL, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(terrapin_is_open(rows[i].cipher, rows[i].mac), rows[i].open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_in_the_list),
		cmocka_unit_test(names_must_be_whole),
		cmocka_unit_test(elsewhere_it_does_not_count),
		cmocka_unit_test(every_length_is_safe),
		cmocka_unit_test(choices),
	};

	return RUN_TESTS(tests);
}
