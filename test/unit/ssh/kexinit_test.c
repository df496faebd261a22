/* Strict key exchange counts only where it is signed: in the first packet's own list (the way around it is Terrapin's). */
#include "base/endian.h"
#include "ssh/kexinit.h"
#include "test/lib/testing.h"

#define STRICT "kex-strict-s-v00@openssh.com"

static uint8_t buf[4096];
static size_t len;

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
	r = ssh_kexinit_offers((struct bytes){ copy, len }, STRICT);
	free(copy);
	return r;
}

static void found_in_the_list(void **state)
{
	static const char *const lists[] = { STRICT, "curve25519-sha256," STRICT, "a," STRICT ",b" };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		len = 0;
		text("hello\r\nSSH-2.0-OpenSSH_9.6\r\n");
		packet(20, lists[i]);
		assert_true(offers());
		packet(31, "more");
		assert_true(offers());
	}
}

static void names_must_be_whole(void **state)
{
	static const char *const lists[] = { "", ",", "a", "x" STRICT, STRICT "x", "kex-strict-s-v00", "a,," };

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		len = 0;
		text("SSH-2.0-x\n");
		packet(20, lists[i]);
		assert_false(offers());
	}
}

static void elsewhere_it_does_not_count(void **state)
{
	/* A line before the version string, which nobody signs. */
	len = 0;
	text(STRICT "\r\nSSH-2.0-x\r\n");
	packet(20, "curve25519-sha256");
	assert_false(offers());
	/* The version string's comment. */
	len = 0;
	text("SSH-2.0-x " STRICT "\r\n");
	packet(20, "curve25519-sha256");
	assert_false(offers());
	/* An ignored packet before the offer, and the offer itself after one. */
	len = 0;
	text("SSH-2.0-x\r\n");
	packet(2, STRICT);
	packet(20, "curve25519-sha256");
	assert_false(offers());
	len = 0;
	text("SSH-2.0-x\r\n");
	packet(2, "ignored");
	packet(20, STRICT);
	assert_false(offers());
	/* Another list of the same packet. */
	len = 0;
	text("SSH-2.0-x\r\n");
	packet(20, "curve25519-sha256");
	memcpy(buf + 11 + 26 + 17 + 4, STRICT, strlen(STRICT));
	assert_false(offers());
}

static void every_length_is_safe(void **state)
{
	size_t whole;

	len = 0;
	text("banner\nSSH-2.0-OpenSSH_9.6\r\n");
	packet(20, "curve25519-sha256," STRICT);
	whole = len;
	for (len = 0; len < whole - 46; len++)
		assert_false(offers());
	for (; len <= whole; len++)
		assert_true(offers());
	/* Lengths that lie. */
	len = whole;
	put_be32(buf + 28, 10);
	assert_false(offers());
	put_be32(buf + 28, UINT32_MAX);
	assert_true(offers());
	put_be32(buf + 28 + 22, UINT32_MAX);
	assert_false(offers());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_in_the_list),
		cmocka_unit_test(names_must_be_whole),
		cmocka_unit_test(elsewhere_it_does_not_count),
		cmocka_unit_test(every_length_is_safe),
	};

	return RUN_TESTS(tests);
}
