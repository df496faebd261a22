/*
 * netstack/checksum.c - see checksum.h.
 *
 * Every byte that is sent passes here once, so long spans go in steps of 64 bytes: the compiler's vectors of 32, for the widest
 * registers where the processor has them. Halves of 16 bits are added in lanes of 32, which SPAN bytes cannot overflow.
 */
#include "netstack/checksum.h"

#include <string.h>

#define STEP 64
#define SPAN (1 << 19)

typedef uint32_t lanes __attribute__((vector_size(32)));

static inline __attribute__((always_inline)) uint64_t add_steps(const uint8_t *p, int n_steps)
{
	lanes a = { 0 }, b = { 0 }, v, w;
	uint64_t sum = 0;

	for (; n_steps > 0; n_steps--, p += STEP) {
		memcpy(&v, p, sizeof(v));
		memcpy(&w, p + sizeof(v), sizeof(w));
		a += (v & 0xffff) + (v >> 16);
		b += (w & 0xffff) + (w >> 16);
	}
	for (int i = 0; i < 8; i++)
		sum += (uint64_t)a[i] + b[i];
	return sum;
}

static uint64_t add_plain(const uint8_t *p, int n_steps)
{
	return add_steps(p, n_steps);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t add_avx2(const uint8_t *p, int n_steps)
{
	return add_steps(p, n_steps);
}

static uint64_t add_long(const uint8_t *p, int n_steps)
{
	return __builtin_cpu_supports("avx2") ? add_avx2(p, n_steps) : add_plain(p, n_steps);
}
#else
static uint64_t add_long(const uint8_t *p, int n_steps)
{
	return add_plain(p, n_steps);
}
#endif

static uint64_t add_short(const uint8_t *p, int len)
{
	uint64_t sum = 0;
	uint32_t v32;
	uint16_t v16 = 0;

	for (; len >= 4; p += 4, len -= 4) {
		memcpy(&v32, p, sizeof(v32));
		sum += v32;
	}
	if (len >= 2) {
		memcpy(&v16, p, sizeof(v16));
		sum += v16;
		p += 2;
		len -= 2;
		v16 = 0;
	}
	if (len > 0)
		memcpy(&v16, p, 1); /* the last odd byte, followed by a zero */
	return sum + v16;
}

uint16_t net_checksum(const void *data, int len)
{
	const uint8_t *p = data;
	uint64_t sum = 0;

	while (len >= STEP) {
		int n = (len < SPAN ? len : SPAN) / STEP;

		sum += add_long(p, n);
		p += n * STEP;
		len -= n * STEP;
	}
	sum += add_short(p, len);
	for (int i = 0; i < 2; i++)
		sum = (sum & 0xffffffff) + (sum >> 32);
	for (int i = 0; i < 2; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}
