/* test/unit/netstack/checksum_test.c - against RFC 1071's own words: a sum of 16-bit numbers, byte by byte. */
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "netstack/checksum.h"
#include "test/lib/testing.h"

static uint16_t naive(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += (uint32_t)p[i] << (i % 2 ? 8 : 0);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* Two sums are the same number when they differ by the two zeros of one's complement. */
static bool same(uint16_t a, uint16_t b)
{
	return a % 0xffff == b % 0xffff;
}

static void every_length_and_alignment(void **state)
{
	static uint8_t buf[2048 + 64];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 151 + (i >> 7));
	for (size_t len = 0; len <= 2048; len++)
		assert_true(same(net_checksum(buf + len % 33, (int)len), naive(buf + len % 33, len)));
}

/* The lanes must not overflow, nor the carries be lost. */
static void the_greatest_numbers(void **state)
{
	size_t len = (3u << 19) + 7;
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	memset(buf, 0xff, len);
	assert_int_equal(net_checksum(buf, 65534), 0xffff);
	assert_true(same(net_checksum(buf, (int)len), naive(buf, len)));
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_and_alignment),
		cmocka_unit_test(the_greatest_numbers),
	};
	return RUN_TESTS(tests);
}
