/* wg/aead.c - the provider table, and libsodium's entry. */
#include "wg/aead.h"

#include <sodium.h>
#include <string.h>

#include "wg/aead_internal.h"
#include "wg/wg.h"

static bool sodium_available(void)
{
	return sodium_init() >= 0;
}

static void sodium_seal(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t nonce[AEAD_NONCE_LEN];

		aead_nonce(&jobs[i], nonce);
		crypto_aead_chacha20poly1305_ietf_encrypt(jobs[i].dst, NULL, jobs[i].src, jobs[i].len, jobs[i].ad.p,
							  jobs[i].ad.len, NULL, nonce, jobs[i].key);
	}
}

static void sodium_open(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t nonce[AEAD_NONCE_LEN];

		aead_nonce(&jobs[i], nonce);
		jobs[i].ok = jobs[i].len >= WG_TAG_LEN &&
			     crypto_aead_chacha20poly1305_ietf_decrypt(jobs[i].dst, NULL, NULL, jobs[i].src,
								       jobs[i].len, jobs[i].ad.p, jobs[i].ad.len,
								       nonce, jobs[i].key) == 0;
	}
}

const struct wg_aead wg_aead_sodium = { "libsodium", sodium_available, sodium_seal, sodium_open, NULL, NULL };

static const struct wg_aead *const providers[] = { &wg_aead_sodium, &wg_aead_openssl, &wg_aead_ipsecmb };

const struct wg_aead *const *wg_aead_list(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(providers);
	return providers;
}

const struct wg_aead *wg_aead_find(const char *name)
{
	if (!name)
		name = wg_aead_sodium.name;
	for (size_t i = 0; i < ARRAY_SIZE(providers); i++)
		if (strcmp(name, providers[i]->name) == 0)
			return providers[i]->available() ? providers[i] : NULL;
	return NULL;
}

bool wg_aead_name_is_known(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(providers); i++)
		if (strcmp(name, providers[i]->name) == 0)
			return true;
	return false;
}

bool wg_aead_name_is_available(const char *name)
{
	return wg_aead_find(name) != NULL;
}

bool wg_aead_name_is_sound(const char *name)
{
	const struct wg_aead *a = wg_aead_find(name);

	return a == &wg_aead_sodium || (a && wg_aead_agrees(a));
}

void wg_aead_release(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(providers); i++)
		if (strcmp(name, providers[i]->name) == 0 && providers[i]->release)
			providers[i]->release();
}

/* ---- choosing ---- */

#define PROBE_LEN 1420
#define N_PROBES 32
#define N_ROUNDS 4

static void fill_probe(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 167 + 13);
}

bool wg_aead_agrees(const struct wg_aead *a)
{
	static const uint16_t lens[] = { 0, 1, 15, 16, 17, 63, 64, 65, 127, 256, 511, 513, 1024, 1279, 1420, 1792 };
	uint8_t key[KEY_LEN], plain[1792], ours[1792 + WG_TAG_LEN], theirs[1792 + WG_TAG_LEN];
	bool same = true;

	fill_probe(key, sizeof(key));
	fill_probe(plain, sizeof(plain));
	for (size_t i = 0; i < ARRAY_SIZE(lens) && same; i++) {
		struct wg_aead_job job = { .key = key, .counter = i << 33 | i, .src = plain, .dst = ours, .len = lens[i] };

		a->seal(&job, 1, 0);
		job.dst = theirs;
		wg_aead_sodium.seal(&job, 1, 0);
		same = memcmp(ours, theirs, lens[i] + WG_TAG_LEN) == 0;
		job.src = theirs;
		job.dst = ours;
		job.len = lens[i] + WG_TAG_LEN;
		a->open(&job, 1, 0);
		same = same && job.ok && memcmp(ours, plain, lens[i]) == 0;
		theirs[lens[i]] ^= 1;
		a->open(&job, 1, 0);
		same = same && !job.ok;
	}
	return same;
}

/* The least time of a few rounds: others on this machine only ever add to it. */
static nsec_t probe(const struct wg_aead *a, nsec_t (*clock)(void))
{
	static uint8_t bufs[N_PROBES][PROBE_LEN + WG_TAG_LEN];
	struct wg_aead_job jobs[N_PROBES];
	uint8_t key[KEY_LEN];
	nsec_t least = NSEC_NEVER;

	fill_probe(key, sizeof(key));
	for (size_t i = 0; i < N_PROBES; i++)
		jobs[i] = (struct wg_aead_job){ .key = key, .counter = i, .src = bufs[i], .dst = bufs[i], .len = PROBE_LEN };
	for (int i = 0; i < N_ROUNDS; i++) {
		nsec_t from = clock();

		a->seal(jobs, N_PROBES, 0);
		least = nsec_min(least, clock() - from);
	}
	return least;
}

const char *wg_aead_pick(nsec_t (*clock)(void))
{
	static const char *picked;
	nsec_t least = NSEC_NEVER;

	if (picked)
		return picked;
	for (size_t i = 0; i < ARRAY_SIZE(providers); i++) {
		nsec_t took;

		if (!providers[i]->available() || (i > 0 && !wg_aead_agrees(providers[i])))
			continue;
		took = probe(providers[i], clock);
		if (took < least) {
			least = took;
			picked = providers[i]->name;
		}
	}
	return picked ? picked : wg_aead_sodium.name;
}
