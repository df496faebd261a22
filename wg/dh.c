/*
 * wg/dh.c - see dh.h: the providers of X25519, and the choice between them.
 *
 * libcrypto was measured too: 43 us for one, as libsodium's 41, and as much again for each key that is not kept, because it computes
 * the public one with it. So it is not here.
 */
#include "wg/dh.h"

#include <sodium.h>
#include <string.h>

#include "wg/dh_internal.h"

static bool sodium_available(void)
{
	return true;
}

static void sodium_multiply(struct wg_dh_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		jobs[i].ok = (jobs[i].pub ? crypto_scalarmult_curve25519(jobs[i].out, jobs[i].priv, jobs[i].pub) :
					    crypto_scalarmult_curve25519_base(jobs[i].out, jobs[i].priv)) == 0;
}

static const struct wg_dh_provider dh_sodium = { "libsodium", sodium_available, sodium_multiply };
static const struct wg_dh_provider *const providers[] = { &dh_sodium, &wg_dh_ifma };

const struct wg_dh_provider *const *wg_dh_list(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(providers);
	return providers;
}

/* ---- trust ---- */

#define N_POINTS 10

/* RFC 7748, 5.2; low-order points (0, 1, p - 1, p, p + 1); the greatest number; one of order 8; arbitrary ones. */
static void fill_points(uint8_t points[N_POINTS][KEY_LEN])
{
	static const uint8_t rfc[KEY_LEN] = { 0xe6, 0xdb, 0x68, 0x67, 0x58, 0x30, 0x30, 0xdb, 0x35, 0x94, 0xc1, 0xa4, 0x24, 0xb1, 0x5f, 0x7c,
					      0x72, 0x66, 0x24, 0xec, 0x26, 0xb3, 0x35, 0x3b, 0x10, 0xa9, 0x03, 0xa6, 0xd0, 0xab, 0x1c, 0x4c };
	static const uint8_t order_8[KEY_LEN] = { 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
						  0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
						  0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 };

	memset(points, 0, N_POINTS * KEY_LEN);
	memcpy(points[0], rfc, KEY_LEN);
	points[2][0] = 1;
	for (size_t i = 3; i < 7; i++)
		memset(points[i], 0xff, KEY_LEN);
	points[3][0] = 0xec; /* p - 1, with the bit that is not looked at */
	points[4][0] = 0xed;
	points[5][0] = 0xee;
	memcpy(points[7], order_8, KEY_LEN);
	for (size_t i = 0; i < KEY_LEN; i++) {
		points[8][i] = (uint8_t)(i * 151 + 7);
		points[9][i] = (uint8_t)(i * 83 + 201);
	}
}

/* Four at once; beyond the points the base point. */
static bool agrees_on(const struct wg_dh_provider *p, uint8_t points[N_POINTS][KEY_LEN], size_t from)
{
	struct wg_dh_job theirs[4], ours;
	bool same = true;

	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++)
		theirs[i] = (struct wg_dh_job){ .priv = points[6 + i], .pub = from + i < N_POINTS ? points[from + i] : NULL };
	p->multiply(theirs, ARRAY_SIZE(theirs));
	for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
		ours = theirs[i];
		dh_sodium.multiply(&ours, 1);
		same = same && ours.ok == theirs[i].ok && (!ours.ok || memcmp(ours.out, theirs[i].out, KEY_LEN) == 0);
	}
	return same;
}

bool wg_dh_agrees(const struct wg_dh_provider *p)
{
	static const uint8_t priv[KEY_LEN] = { 0xa5, 0x46, 0xe3, 0x6b, 0xf0, 0x52, 0x7c, 0x9d, 0x3b, 0x16, 0x15, 0x4b, 0x82, 0x46, 0x5e, 0xdd,
					       0x62, 0x14, 0x4c, 0x0a, 0xc1, 0xfc, 0x5a, 0x18, 0x50, 0x6a, 0x22, 0x44, 0xba, 0x44, 0x9a, 0xc4 };
	static const uint8_t want[KEY_LEN] = { 0xc3, 0xda, 0x55, 0x37, 0x9d, 0xe9, 0xc6, 0x90, 0x8e, 0x94, 0xea, 0x4d, 0xf2, 0x8d, 0x08, 0x4f,
					       0x32, 0xec, 0xcf, 0x03, 0x49, 0x1c, 0x71, 0xf7, 0x54, 0xb4, 0x07, 0x55, 0x77, 0xa2, 0x85, 0x52 };
	uint8_t points[N_POINTS][KEY_LEN];
	struct wg_dh_job job = { .priv = priv, .pub = points[0] };
	bool same;

	fill_points(points);
	p->multiply(&job, 1);
	same = job.ok && memcmp(job.out, want, KEY_LEN) == 0;
	for (size_t from = 0; from < N_POINTS && same; from += 4)
		same = agrees_on(p, points, from);
	return same;
}

/* ---- choosing ---- */

static const struct wg_dh_provider *choose(void)
{
	for (size_t i = 1; i < ARRAY_SIZE(providers); i++)
		if (providers[i]->available() && wg_dh_agrees(providers[i]))
			return providers[i];
	return &dh_sodium;
}

static const struct wg_dh_provider *chosen(void)
{
	static const struct wg_dh_provider *p;

	if (!p)
		p = choose();
	return p;
}

const char *wg_dh_name(void)
{
	return chosen()->name;
}

bool wg_dh(struct wg_dh_job *jobs, size_t n)
{
	bool ok = true;

	/* One alone would gain nothing. */
	(n == 1 ? &dh_sodium : chosen())->multiply(jobs, n);
	for (size_t i = 0; i < n; i++)
		ok = ok && jobs[i].ok;
	return ok;
}
