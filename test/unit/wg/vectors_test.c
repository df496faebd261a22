/*
 * test/unit/wg/vectors_test.c - the published answers: BLAKE2s (RFC 7693 and the reference's own list), X25519 (RFC 7748),
 * the two AEADs (RFC 8439, draft-irtf-cfrg-xchacha), the key derivation (wireguard-go's), and a whole handshake of
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s with four transport messages (Cacophony's). What Wycheproof has for X25519 and the
 * AEADs is in test/vectors/, a line each; every provider of the cipher runs it.
 */
#include "test/lib/testing.h"

#include <sodium.h>

#include <blake2.h>
#include <blake2-kat.h>

#include "base/endian.h"
#include "wg/aead.h"
#include "wg/dh.h"
#include "wg/hash.h"
#include "wg/noise.h"
#include "wg/wg.h"

/* Return: the bytes of @hex, in one of a few static buffers; *@len when wanted. */
static uint8_t *un(const char *hex, size_t *len)
{
	static uint8_t bufs[16][512];
	static unsigned next;
	uint8_t *p = bufs[next++ % 16];

	assert_true(strlen(hex) / 2 <= sizeof(bufs[0]));
	assert_int_equal(hex_decode(hex, p, strlen(hex) / 2), OK);
	if (len)
		*len = strlen(hex) / 2;
	return p;
}

static struct bytes bytes_of(const char *hex)
{
	struct bytes b;

	b.p = un(hex, &b.len);
	return b;
}

static void assert_hex(const uint8_t *got, const char *hex)
{
	assert_memory_equal(got, un(hex, NULL), strlen(hex) / 2);
}

/* ---- BLAKE2s ---- */

static void blake2s_answers(void **state)
{
	uint8_t in[KAT_LENGTH], key[BLAKE2S_KEYBYTES], out[WG_HASH_LEN];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (size_t i = 0; i < KAT_LENGTH; i++) {
		/* In three parts, cut at places that move. */
		size_t a = i / 3, b = i - a > 64 ? 64 : (i - a) / 2;

		wg_hash(out, wg_bytes(in, a), wg_bytes(in + a, b), wg_bytes(in + a + b, i - a - b));
		assert_memory_equal(out, blake2s_kat[i], WG_HASH_LEN);
		assert_int_equal(blake2s(out, in, key, sizeof(out), i, sizeof(key)), 0);
		assert_memory_equal(out, blake2s_keyed_kat[i], WG_HASH_LEN);
	}
	wg_hash(out, wg_bytes("abc", 3), wg_bytes(NULL, 0), wg_bytes(NULL, 0)); /* RFC 7693, appendix B */
	assert_hex(out, "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
}

/* RFC 7693, appendix E: a hash over keyed and unkeyed hashes of many lengths. */
static void sequence(uint8_t *out, size_t len, uint32_t seed)
{
	uint32_t a = 0xdead4bad * seed, b = 1;

	for (size_t i = 0; i < len; i++) {
		uint32_t t = a + b;

		a = b;
		b = t;
		out[i] = (uint8_t)(t >> 24);
	}
}

static void blake2s_self_test(void **state)
{
	static const size_t out_lens[] = { 16, 20, 28, 32 }, in_lens[] = { 0, 3, 64, 65, 255, 1024 };
	uint8_t in[1024], md[32], key[32];
	blake2s_state all;

	blake2s_init(&all, 32);
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < 6; j++) {
			size_t out_len = out_lens[i], in_len = in_lens[j];

			sequence(in, in_len, (uint32_t)in_len);
			if (out_len == 32)
				wg_hash(md, wg_bytes(in, in_len), wg_bytes(NULL, 0), wg_bytes(NULL, 0));
			else
				blake2s(md, in, NULL, out_len, in_len, 0);
			blake2s_update(&all, md, out_len);
			sequence(key, out_len, (uint32_t)out_len);
			if (out_len == WG_MAC_LEN)
				wg_mac(md, key, out_len, wg_bytes(in, in_len));
			else
				blake2s(md, in, key, out_len, in_len, out_len);
			blake2s_update(&all, md, out_len);
		}
	blake2s_final(&all, md, 32);
	assert_hex(md, "6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
}

static void key_derivation(void **state)
{
	static const char *const rows[][5] = {
		{ "746573742d6b6579", "746573742d696e707574",
		  "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
		  "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
		  "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24" },
		{ "776972656775617264", "776972656775617264",
		  "491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
		  "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
		  "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160" },
		{ "", "", "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
		  "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
		  "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		/* HMAC pads a short key with zeros. */
		uint8_t key[WG_HASH_LEN] = { 0 }, t[3][WG_HASH_LEN];
		struct bytes in = bytes_of(rows[i][1]);

		hex_decode(rows[i][0], key, strlen(rows[i][0]) / 2);
		for (int n = 1; n <= 3; n++) {
			memset(t, 0, sizeof(t));
			wg_kdf(t[0], n > 1 ? t[1] : NULL, n > 2 ? t[2] : NULL, key, in);
			for (int j = 0; j < n; j++)
				assert_hex(t[j], rows[i][2 + j]);
		}
		/* The key may be an output. */
		wg_kdf(key, t[1], NULL, key, in);
		assert_hex(key, rows[i][2]);
		assert_hex(t[1], rows[i][3]);
	}
}

/* ---- X25519 ---- */

static void x25519_answers(void **state)
{
	static const char *const rows[][3] = {
		{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
		{ "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
	};
	uint8_t k[32] = { 9 }, u[32] = { 9 }, r[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(crypto_scalarmult_curve25519(r, un(rows[i][0], NULL), un(rows[i][1], NULL)), 0);
		assert_hex(r, rows[i][2]);
	}
	noise_pub(k, r); /* the first step, on the base point */
	assert_hex(r, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(crypto_scalarmult_curve25519(r, k, u), 0);
		memcpy(u, k, 32);
		memcpy(k, r, 32);
	}
	assert_hex(k, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/* ---- the AEADs that the handshake and the cookies use ---- */

static const char sunscreen[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
				"sunscreen would be it.";
#define SUNSCREEN_LEN (sizeof(sunscreen) - 1)
#define SEQUENCE_KEY "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"

static void aead_answers(void **state)
{
	const uint8_t *key = un(SEQUENCE_KEY, NULL), *ad = un("50515253c0c1c2c3c4c5c6c7", NULL);
	const uint8_t *nonce = un("070000004041424344454647", NULL);
	const uint8_t *long_nonce = un("404142434445464748494a4b4c4d4e4f5051525354555657", NULL);
	uint8_t out[SUNSCREEN_LEN + 16];

	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, (const uint8_t *)sunscreen, SUNSCREEN_LEN, ad, 12, NULL, nonce,
						  key);
	assert_hex(out, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
			"1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
			"3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, (const uint8_t *)sunscreen, SUNSCREEN_LEN, ad, 12, NULL,
						   long_nonce, key);
	assert_hex(out, "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
			"ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
			"21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49");
}

/* ---- Wycheproof ---- */

#define N_FIELDS 6

/* A line of test/vectors/ cut at its blanks; "-" is an empty field. Return: how many lines were checked. */
static unsigned each_line(const char *path, size_t n_fields, void (*check)(struct bytes *f, const char *last, unsigned line))
{
	static uint8_t bytes[N_FIELDS][512];
	static char text[2048];
	FILE *file = fopen(path, "r");
	unsigned line = 0, n = 0;

	assert_non_null(file);
	for (; fgets(text, sizeof(text), file); line++) {
		struct bytes f[N_FIELDS];
		char *save = NULL, *word = strtok_r(text, " \n", &save);

		if (text[0] == '#')
			continue;
		for (size_t i = 0; i < n_fields; i++, word = strtok_r(NULL, " \n", &save)) {
			assert_non_null(word);
			f[i] = (struct bytes){ bytes[i], word[0] == '-' ? 0 : strlen(word) / 2 };
			assert_true(f[i].len <= sizeof(bytes[i]));
			assert_int_equal(hex_decode(word[0] == '-' ? "" : word, bytes[i], f[i].len), OK);
		}
		assert_non_null(word);
		check(f, word, line + 1);
		n++;
	}
	fclose(file);
	return n;
}

enum { F_KEY, F_NONCE, F_AD, F_PLAIN, F_SEALED, N_AEAD_FIELDS };

static void seal_and_open(const struct wg_aead *a, const struct bytes *f, bool valid, unsigned line)
{
	uint8_t out[512 + WG_TAG_LEN];
	struct wg_aead_job job = { .key = f[F_KEY].p, .counter = get_le64(f[F_NONCE].p + 4),
				   .nonce_head = get_le32(f[F_NONCE].p), .ad = f[F_AD], .src = f[F_PLAIN].p, .dst = out,
				   .len = f[F_PLAIN].len };

	a->seal(&job, 1, 0);
	if ((memcmp(out, f[F_SEALED].p, f[F_SEALED].len) == 0) != valid)
		fail_msg("%s seals line %u differently", a->name, line);
	job.src = f[F_SEALED].p;
	job.len = f[F_SEALED].len;
	a->open(&job, 1, 0);
	if (job.ok != valid || (valid && memcmp(out, f[F_PLAIN].p, f[F_PLAIN].len) != 0))
		fail_msg("%s opens line %u differently", a->name, line);
}

static void chacha_line(struct bytes *f, const char *last, unsigned line)
{
	const struct wg_aead *const *list;
	size_t n;

	assert_int_equal(f[F_NONCE].len, 12);
	assert_int_equal(f[F_SEALED].len, f[F_PLAIN].len + WG_TAG_LEN);
	list = wg_aead_list(&n);
	for (size_t i = 0; i < n; i++)
		if (list[i]->available())
			seal_and_open(list[i], f, strcmp(last, "valid") == 0, line);
}

static void wycheproof_chacha20_poly1305(void **state)
{
	assert_int_equal(each_line("test/vectors/chacha20poly1305.txt", N_AEAD_FIELDS, chacha_line), 294);
}

/* By the calls that wg/cookie.c makes. */
static void xchacha_line(struct bytes *f, const char *last, unsigned line)
{
	bool valid = strcmp(last, "valid") == 0;
	uint8_t out[512 + WG_TAG_LEN];

	assert_int_equal(f[F_NONCE].len, WG_COOKIE_NONCE_LEN);
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, f[F_PLAIN].p, f[F_PLAIN].len, f[F_AD].p, f[F_AD].len, NULL,
						   f[F_NONCE].p, f[F_KEY].p);
	if ((memcmp(out, f[F_SEALED].p, f[F_SEALED].len) == 0) != valid)
		fail_msg("line %u is sealed differently", line);
	if ((crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, f[F_SEALED].p, f[F_SEALED].len, f[F_AD].p,
							f[F_AD].len, f[F_NONCE].p, f[F_KEY].p) == 0) != valid)
		fail_msg("line %u is opened differently", line);
}

static void wycheproof_xchacha20_poly1305(void **state)
{
	assert_int_equal(each_line("test/vectors/xchacha20poly1305.txt", N_AEAD_FIELDS, xchacha_line), 280);
}

/* A secret of zeros: the key counts as not valid, and neither side goes on with it. */
static void refused(const uint8_t *pub, const uint8_t *priv, unsigned line)
{
	struct noise_static self;
	struct wg_public_key key;
	struct noise n;
	uint8_t msg[200];

	memcpy(key.b, pub, KEY_LEN);
	memcpy(self.priv, priv, KEY_LEN);
	noise_pub(self.priv, self.pub);
	noise_start(&n, bytes_of(""), pub);
	if (wg_public_key_is_valid(&key) ||
	    noise_write_1(&n, &self, pub, NULL, priv, bytes_of(""), msg, msg + 32, msg + 80))
		fail_msg("line %u: the initiator goes on with a key of low order", line);
	noise_start(&n, bytes_of(""), self.pub);
	if (noise_read_1_static(&n, &self, pub, msg, msg + 100))
		fail_msg("line %u: the responder goes on with an ephemeral of low order", line);
}

static void multiply(const struct wg_dh_provider *p, struct bytes *f, const char *last, unsigned line)
{
	bool zero = strcmp(last, "zero") == 0;
	struct wg_dh_job jobs[4];

	for (size_t i = 0; i < ARRAY_SIZE(jobs); i++)
		jobs[i] = (struct wg_dh_job){ .priv = f[2].p, .pub = f[1].p };
	p->multiply(jobs, ARRAY_SIZE(jobs));
	for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
		if (jobs[i].ok == zero)
			fail_msg("line %u, %s: a secret of zeros is told wrongly", line, p->name);
		if (!zero && memcmp(jobs[i].out, un(last, NULL), KEY_LEN) != 0)
			fail_msg("line %u, %s: another secret", line, p->name);
	}
}

static void x25519_line(struct bytes *f, const char *last, unsigned line)
{
	const struct wg_dh_provider *const *list;
	size_t n;

	if (strcmp(last, "zero") == 0)
		refused(f[1].p, f[2].p, line);
	list = wg_dh_list(&n);
	for (size_t i = 0; i < n; i++)
		if (list[i]->available())
			multiply(list[i], f, last, line);
}

static void wycheproof_x25519(void **state)
{
	assert_int_equal(each_line("test/vectors/x25519.txt", 3, x25519_line), 67);
}

/* ---- the handshake ---- */

static const struct { const char *payload, *sealed; } messages[] = {
	{ "4c756477696720766f6e204d69736573",
	  "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e4967"
	  "82ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f" },
	{ "4d757272617920526f746862617264",
	  "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f36571"
	  "7edbf34d33e87a" },
	{ "462e20412e20486179656b", "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7" },
	{ "4361726c204d656e676572", "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef" },
	{ "4a65616e2d426170746973746520536179",
	  "6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d" },
	{ "457567656e2042f6686d20766f6e2042617765726b",
	  "dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292" },
};
#define PSK "54686973206973206d7920417573747269616e20706572737065637469766521"
/*
 * The hash of the whole handshake. (The list that snow carries has the hash as it stands after the responder's
 * ephemeral, fe20f6e8..., before psk and payload; both follow from the same messages.)
 */
#define HANDSHAKE_HASH "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5"

struct sides {
	struct noise_static initiator, responder;
	struct noise i, r;
};

static void start(struct sides *s)
{
	struct bytes prologue = bytes_of("4a6f686e2047616c74");

	memcpy(s->initiator.priv, un("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1", NULL), 32);
	memcpy(s->responder.priv, un("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893", NULL), 32);
	noise_pub(s->initiator.priv, s->initiator.pub);
	noise_pub(s->responder.priv, s->responder.pub);
	assert_hex(s->responder.pub, "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62");
	noise_start(&s->i, prologue, s->responder.pub);
	noise_start(&s->r, prologue, s->responder.pub);
}

static void write_both(struct sides *s)
{
	const uint8_t *psk = un(PSK, NULL);
	uint8_t msg[200], key[32], payload[64];

	assert_true(noise_write_1(&s->i, &s->initiator, s->responder.pub, NULL,
				  un("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a", NULL),
				  bytes_of(messages[0].payload), msg, msg + 32, msg + 80));
	assert_hex(msg, messages[0].sealed);
	assert_true(noise_read_1_static(&s->r, &s->responder, msg, msg + 32, key));
	assert_memory_equal(key, s->initiator.pub, 32);
	assert_true(noise_read_1_payload(&s->r, &s->responder, key, NULL, (struct bytes){ msg + 80, 32 }, payload));
	assert_hex(payload, messages[0].payload);
	assert_true(noise_write_2(&s->r, key, psk, un("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b", NULL),
				  bytes_of(messages[1].payload), msg, msg + 32));
	assert_hex(msg, messages[1].sealed);
	/* Another psk, or a changed byte, is refused and leaves the initiator as it was. */
	assert_false(noise_read_2(&s->i, &s->initiator, s->responder.pub, msg, (struct bytes){ msg + 32, 31 }, payload));
	msg[40] ^= 1;
	assert_false(noise_read_2(&s->i, &s->initiator, psk, msg, (struct bytes){ msg + 32, 31 }, payload));
	msg[40] ^= 1;
	assert_true(noise_read_2(&s->i, &s->initiator, psk, msg, (struct bytes){ msg + 32, 31 }, payload));
	assert_hex(payload, messages[1].payload);
	assert_hex(s->i.hash, HANDSHAKE_HASH);
	assert_hex(s->r.hash, HANDSHAKE_HASH);
}

/* Messages 3 to 6 alternate; the counter is that of each direction. */
static void transport(const struct wg_aead *a, const struct noise_keys *i, const struct noise_keys *r)
{
	for (size_t m = 2; m < ARRAY_SIZE(messages); m++) {
		struct bytes plain = bytes_of(messages[m].payload);
		uint8_t out[64], back[64];
		struct wg_aead_job job = { .key = m % 2 ? r->send : i->send, .counter = (m - 2) / 2, .src = plain.p, .dst = out,
					   .len = plain.len };

		a->seal(&job, 1, 0);
		assert_hex(out, messages[m].sealed);
		job = (struct wg_aead_job){ .key = m % 2 ? i->recv : r->recv, .counter = job.counter, .src = out, .dst = back,
					    .len = plain.len + WG_TAG_LEN };
		a->open(&job, 1, 0);
		assert_true(job.ok);
		assert_memory_equal(back, plain.p, plain.len);
	}
}

static void noise_handshake(void **state)
{
	static const struct noise zero;
	const struct wg_aead *const *list;
	struct noise_keys i, r;
	struct sides s;
	size_t n;

	start(&s);
	write_both(&s);
	noise_split(&s.i, true, &i);
	noise_split(&s.r, false, &r);
	assert_memory_equal(&s.i, &zero, sizeof(zero));
	assert_memory_equal(&s.r, &zero, sizeof(zero));
	assert_memory_equal(i.send, r.recv, 32);
	assert_memory_equal(i.recv, r.send, 32);
	list = wg_aead_list(&n);
	for (size_t k = 0; k < n; k++)
		if (list[k]->available())
			transport(list[k], &i, &r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blake2s_answers), cmocka_unit_test(blake2s_self_test), cmocka_unit_test(key_derivation),
		cmocka_unit_test(x25519_answers),  cmocka_unit_test(aead_answers),	cmocka_unit_test(noise_handshake),
		cmocka_unit_test(wycheproof_chacha20_poly1305),
		cmocka_unit_test(wycheproof_xchacha20_poly1305),
		cmocka_unit_test(wycheproof_x25519),
	};

	return sodium_init() < 0 ? 1 : RUN_TESTS(tests);
}
