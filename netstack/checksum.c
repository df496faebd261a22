/* netstack/checksum.c - see checksum.h: 64-bit accumulation, 32 bytes a step. */
#include "netstack/checksum.h"

#include <string.h>

static uint64_t add32(uint64_t sum, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return sum + v;
}

uint16_t net_checksum(const void *data, int len)
{
	const uint8_t *p = data;
	uint64_t a = 0, b = 0;
	uint8_t last[2] = { 0 };
	uint16_t v;

	for (; len >= 32; p += 32, len -= 32)
		for (int i = 0; i < 32; i += 8) {
			a = add32(a, p + i);
			b = add32(b, p + i + 4);
		}
	for (; len >= 4; p += 4, len -= 4)
		a = add32(a, p);
	if (len >= 2) {
		memcpy(&v, p, sizeof(v));
		a += v;
		p += 2;
		len -= 2;
	}
	if (len > 0) {
		last[0] = *p;
		memcpy(&v, last, sizeof(v));
		a += v;
	}
	a += b;
	a = (a & 0xffffffff) + (a >> 32);
	a = (a & 0xffffffff) + (a >> 32);
	a = (a & 0xffff) + (a >> 16);
	a = (a & 0xffff) + (a >> 16);
	return (uint16_t)a;
}
