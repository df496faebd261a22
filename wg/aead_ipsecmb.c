/*
 * wg/aead_ipsecmb.c - Intel's multi-buffer library (libIPSec_MB), loaded when the machine has it.
 *
 * Its job interface seals a full packet in a quarter of libsodium's time where the processor has AVX-512. Two functions are
 * looked up by name; the rest is called through the manager's own table, whose layout is the header's, so the
 * library must have the soname and at least the version of the header that we were built with. Where the header
 * was missing at build time, the provider is never available.
 *
 * Loading takes half a millisecond and 4 MiB, so it is given back when there is no traffic (release).
 *
 * An empty packet (a keepalive) goes to libsodium: the library refuses jobs without a message. Tags are compared here,
 * in constant time.
 */
#include "wg/aead_internal.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <intel-ipsec-mb.h>
#include <sodium.h>
#include <string.h>

#include "base/dynlib.h"

#define SONAME "libIPSec_MB.so.1"
#define N_TAGS 64

/* One for each thread: a manager that two use at once trips its own assertion. */
static IMB_MGR *managers[WG_AEAD_LANES];
static IMB_MGR *(*alloc_manager)(uint64_t flags);
static void (*init_manager)(IMB_MGR *m, IMB_ARCH *arch);
static void *library;
static void (*free_manager)(IMB_MGR *m);
static bool tried;

/* From 1.3 on, the library tests itself against known answers in init. */
static bool failed_self_test(const IMB_MGR *m)
{
#ifdef IMB_FEATURE_SELF_TEST
	return m->features & IMB_FEATURE_SELF_TEST && !(m->features & IMB_FEATURE_SELF_TEST_PASS);
#else
	return false;
#endif
}

static bool ipsecmb_open_lane(unsigned lane)
{
	IMB_MGR *m;

	if (managers[lane])
		return true;
	m = alloc_manager(0);
	if (!m)
		return false;
	init_manager(m, NULL);
	if (m->imb_errno != 0 || failed_self_test(m)) {
		free_manager(m);
		return false;
	}
	managers[lane] = m;
	return true;
}

static void load(void)
{
	void *so = library = dynlib_open(SONAME);
	unsigned (*version)(void) = NULL;

	if (!so)
		return;
	*(void **)&alloc_manager = dynlib_find(so, "alloc_mb_mgr");
	*(void **)&init_manager = dynlib_find(so, "init_mb_mgr_auto");
	*(void **)&version = dynlib_find(so, "imb_get_version");
	*(void **)&free_manager = dynlib_find(so, "free_mb_mgr");
	if (alloc_manager && init_manager && free_manager && version && version() >= IMB_VERSION_NUM)
		ipsecmb_open_lane(0);
}

static void ipsecmb_release(void)
{
	for (size_t i = 0; i < WG_AEAD_LANES; i++) {
		if (managers[i])
			free_manager(managers[i]);
		managers[i] = NULL;
	}
	dynlib_close(library);
	library = NULL;
	tried = false;
}

static bool ipsecmb_available(void)
{
	if (!tried)
		load();
	tried = true;
	return managers[0];
}

static void submit(IMB_MGR *mgr, const struct wg_aead_job *in, size_t len, uint8_t nonce[AEAD_NONCE_LEN], uint8_t *tag,
		   bool seal)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(mgr);

	aead_nonce(in, nonce);
	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = in->key;
	job->dec_keys = in->key;
	job->key_len_in_bytes = KEY_LEN;
	job->src = in->src;
	job->dst = in->dst;
	job->cipher_start_src_offset_in_bytes = 0;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = len;
	job->msg_len_to_hash_in_bytes = len;
	job->iv = nonce;
	job->iv_len_in_bytes = AEAD_NONCE_LEN;
	job->u.CHACHA20_POLY1305.aad = in->ad.p;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = in->ad.len;
	job->auth_tag_output = tag;
	job->auth_tag_output_len_in_bytes = WG_TAG_LEN;
	job = IMB_SUBMIT_JOB(mgr);
	ASSERT(mgr->imb_errno == 0 && (!job || job->status == IMB_STATUS_COMPLETED));
}

static void finish(IMB_MGR *mgr)
{
	IMB_JOB *job;

	while ((job = IMB_FLUSH_JOB(mgr)))
		ASSERT(job->status == IMB_STATUS_COMPLETED);
}

static void ipsecmb_seal(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	IMB_MGR *mgr = managers[lane];
	uint8_t nonces[N_TAGS][AEAD_NONCE_LEN];

	for (size_t i = 0; i < n; i++) {
		struct wg_aead_job *j = &jobs[i];

		if (j->len == 0)
			wg_aead_sodium.seal(j, 1, 0);
		else
			submit(mgr, j, j->len, nonces[i % N_TAGS], j->dst + j->len, true);
		if (i % N_TAGS == N_TAGS - 1)
			finish(mgr);
	}
	finish(mgr);
}

/* In constant time, without a call for 16 bytes. */
static bool tags_equal(const uint8_t *a, const uint8_t *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

static void open_some(IMB_MGR *mgr, struct wg_aead_job *jobs, size_t n)
{
	uint8_t nonces[N_TAGS][AEAD_NONCE_LEN], tags[N_TAGS][WG_TAG_LEN];

	for (size_t i = 0; i < n; i++) {
		if (jobs[i].len <= WG_TAG_LEN)
			wg_aead_sodium.open(&jobs[i], 1, 0);
		else
			submit(mgr, &jobs[i], jobs[i].len - WG_TAG_LEN, nonces[i], tags[i], false);
	}
	finish(mgr);
	for (size_t i = 0; i < n; i++)
		if (jobs[i].len > WG_TAG_LEN)
			jobs[i].ok = tags_equal(tags[i], jobs[i].src + jobs[i].len - WG_TAG_LEN);
	sodium_memzero(tags, sizeof(tags));
}

static void ipsecmb_open(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	for (size_t i = 0; i < n; i += N_TAGS)
		open_some(managers[lane], jobs + i, MIN(n - i, (size_t)N_TAGS));
}

#else

static bool ipsecmb_available(void)
{
	return false;
}

static void ipsecmb_seal(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	ASSERT(!"not available");
}

static void ipsecmb_open(struct wg_aead_job *jobs, size_t n, unsigned lane)
{
	ASSERT(!"not available");
}

static bool ipsecmb_open_lane(unsigned lane)
{
	return false;
}

static void ipsecmb_release(void)
{
}

#endif

const struct wg_aead wg_aead_ipsecmb = { "libIPSec_MB", ipsecmb_available, ipsecmb_seal, ipsecmb_open, ipsecmb_open_lane,
					 ipsecmb_release };
