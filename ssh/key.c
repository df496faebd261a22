/* ssh/key.c - see key.h: public keys, and signatures. */
#include "ssh/key.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "ssh/key_internal.h"

void ssh_key_fini(struct ssh_key *k)
{
	EVP_PKEY_free(k->private);
	ssh_blob_fini(&k->pub);
	*k = (struct ssh_key){ 0 };
}

static void put_number(struct wire_writer *w, const BIGNUM *n)
{
	uint8_t b[KEY_NUMBER_MAX + 1];
	int len = BN_num_bytes(n);
	bool sign;

	b[0] = 0;
	BN_bn2bin(n, b + 1);
	sign = len > 0 && b[1] & 0x80; /* would read as a negative one */
	wire_put_string(w, b + !sign, (size_t)len + sign);
}

bool ssh_key_type(struct bytes blob, char ret[64])
{
	return wire_word(blob, ret, 64);
}

/* ---- public keys ---- */

/* Base64 over lines, up to @end. */
enum err key_decode_base64(const char *p, const char *end, struct ssh_blob *ret)
{
	size_t max = (size_t)(end - p);
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	uint8_t *out = malloc(max + 4);
	int n = 0, rest = 0;
	enum err e = ctx && out && max <= INT32_MAX ? OK : ERR_NOMEM;

	if (e == OK) {
		EVP_DecodeInit(ctx);
		if (EVP_DecodeUpdate(ctx, out, &n, (const uint8_t *)p, (int)max) < 0 || EVP_DecodeFinal(ctx, out + n, &rest) < 0)
			e = ERR_FORMAT;
	}
	EVP_ENCODE_CTX_free(ctx);
	if (e == OK && n + rest == 0)
		e = ERR_FORMAT;
	if (e == OK) {
		*ret = (struct ssh_blob){ out, (size_t)(n + rest) };
	} else {
		if (out)
			OPENSSL_cleanse(out, max);
		free(out);
	}
	return e;
}

static bool begins_with_kind(struct bytes file)
{
	static const char *const kinds[] = { "ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "rsa-sha2-" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (file.len > strlen(kinds[i]) && memcmp(file.p, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

bool ssh_key_is_public(struct bytes file)
{
	return begins_with_kind(file) && memchr(file.p, ' ', MIN(file.len, 64));
}

enum err ssh_key_read_public(struct bytes file, struct ssh_blob *ret)
{
	const char *p = (const char *)file.p, *end = p + file.len, *space, *stop;
	struct ssh_blob b = { 0 };
	char type[64];
	enum err e;

	if (!ssh_key_is_public(file) || file.len > 2 * SSH_KEY_BLOB_MAX)
		return ERR_FORMAT;
	space = memchr(p, ' ', file.len);
	stop = space + 1;
	while (stop < end && !strchr(" \t\r\n", *stop))
		stop++;
	e = key_decode_base64(space + 1, stop, &b);
	if (e != OK)
		return e;
	if (!ssh_key_type(ssh_blob_view(&b), type) || strlen(type) != (size_t)(space - p) || memcmp(type, p, strlen(type)) != 0 ||
	    b.len > SSH_KEY_BLOB_MAX) {
		ssh_blob_fini(&b);
		return ERR_FORMAT;
	}
	ssh_blob_fini(ret);
	*ret = b;
	return OK;
}

/* A certificate: its type, a nonce, then the fields of the key. */
bool ssh_key_is_certificate_of(struct bytes certificate, struct bytes pub)
{
	static const char suffix[] = "-cert-v01@openssh.com";
	struct wire_reader c = { certificate.p, certificate.len, false }, k = { pub.p, pub.len, false };
	struct bytes type = wire_string(&c), plain = wire_string(&k);

	wire_string(&c);
	return !c.bad && !k.bad && type.len == plain.len + sizeof(suffix) - 1 && memcmp(type.p, plain.p, plain.len) == 0 &&
	       memcmp(type.p + plain.len, suffix, sizeof(suffix) - 1) == 0 && c.len >= k.len && k.len > 0 &&
	       memcmp(c.p, k.p, k.len) == 0;
}

/* ---- keys of OpenSSL ---- */

const struct key_curve key_curves[3] = {
	{ "nistp256", "ecdsa-sha2-nistp256", "prime256v1", 256 },
	{ "nistp384", "ecdsa-sha2-nistp384", "secp384r1", 384 },
	{ "nistp521", "ecdsa-sha2-nistp521", "secp521r1", 521 },
};

static const struct key_curve *curve_of(const EVP_PKEY *pkey)
{
	char group[64];
	size_t len = 0;

	if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), &len) != 1)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(key_curves); i++)
		if (strcmp(group, key_curves[i].group) == 0)
			return &key_curves[i];
	return NULL;
}

static bool put_ec(struct wire_writer *w, EVP_PKEY *pkey, const struct key_curve *c)
{
	uint8_t point[1 + 2 * 66];
	size_t len = 0;

	EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed");
	if (EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) != 1)
		return false;
	wire_put_string(w, c->type, strlen(c->type));
	wire_put_string(w, c->ssh, strlen(c->ssh));
	wire_put_string(w, point, len);
	return true;
}

static bool put_rsa(struct wire_writer *w, const EVP_PKEY *pkey)
{
	BIGNUM *n = NULL, *e = NULL;
	bool ok = EVP_PKEY_get_bits(pkey) <= KEY_RSA_BITS_MAX && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
		  EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_num_bytes(e) < KEY_NUMBER_MAX;

	if (ok) {
		wire_put_string(w, "ssh-rsa", 7);
		put_number(w, e);
		put_number(w, n);
	}
	BN_free(n);
	BN_free(e);
	return ok;
}

static bool put_ed25519(struct wire_writer *w, const EVP_PKEY *pkey)
{
	uint8_t pub[32];
	size_t len = sizeof(pub);

	if (EVP_PKEY_get_raw_public_key(pkey, pub, &len) != 1)
		return false;
	wire_put_string(w, "ssh-ed25519", 11);
	wire_put_string(w, pub, len);
	return true;
}

/* Its public half, as SSH sends it. */
enum err key_public_of(EVP_PKEY *pkey, struct ssh_blob *ret, const char **ret_why)
{
	uint8_t buf[64 + 2 * (KEY_NUMBER_MAX + 5)];
	struct wire_writer w = { buf, 0 };
	const struct key_curve *c;

	switch (EVP_PKEY_get_base_id(pkey)) {
	case EVP_PKEY_ED25519:
		put_ed25519(&w, pkey);
		break;
	case EVP_PKEY_EC:
		c = curve_of(pkey);
		if (c)
			put_ec(&w, pkey, c);
		break;
	case EVP_PKEY_RSA:
		put_rsa(&w, pkey);
		break;
	default:
		break;
	}
	if (w.len == 0) {
		*ret_why = "a kind of key that is not used here (Ed25519, ECDSA on NIST curves, RSA)";
		return ERR_UNSUPPORTED;
	}
	return ssh_blob_set(ret, (struct bytes){ buf, w.len });
}

/* ---- signatures ---- */

static const struct algorithm {
	const char *name;
	int kind;
	const char *digest; /* NULL: the key's own */
} algorithms[] = {
	{ "ssh-ed25519", EVP_PKEY_ED25519, NULL },
	{ "rsa-sha2-512", EVP_PKEY_RSA, "SHA512" },
	{ "rsa-sha2-256", EVP_PKEY_RSA, "SHA256" },
	{ "ecdsa-sha2-nistp256", EVP_PKEY_EC, "SHA256" },
	{ "ecdsa-sha2-nistp384", EVP_PKEY_EC, "SHA384" },
	{ "ecdsa-sha2-nistp521", EVP_PKEY_EC, "SHA512" },
};

/* ECDSA: from DER to two numbers. */
static enum err two_numbers(struct ssh_blob *sig)
{
	const uint8_t *p = sig->p;
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)sig->len);
	uint8_t buf[2 * (4 + 67)];
	struct wire_writer w = { buf, 0 };

	if (!s)
		return ERR_INTERNAL;
	put_number(&w, ECDSA_SIG_get0_r(s));
	put_number(&w, ECDSA_SIG_get0_s(s));
	ECDSA_SIG_free(s);
	return ssh_blob_set(sig, (struct bytes){ buf, w.len });
}

static const struct algorithm *find_algorithm(const struct ssh_key *k, const char *name)
{
	const struct key_curve *c;

	for (size_t i = 0; i < ARRAY_SIZE(algorithms); i++) {
		if (strcmp(algorithms[i].name, name) != 0 || algorithms[i].kind != EVP_PKEY_get_base_id(k->private))
			continue;
		c = algorithms[i].kind == EVP_PKEY_EC ? curve_of(k->private) : NULL;
		return algorithms[i].kind != EVP_PKEY_EC || (c && strcmp(c->type, name) == 0) ? &algorithms[i] : NULL;
	}
	return NULL;
}

enum err ssh_key_sign(const struct ssh_key *k, const char *algorithm, struct bytes data, struct ssh_blob *ret)
{
	const struct algorithm *a = find_algorithm(k, algorithm);
	struct ssh_blob sig = { 0 };
	EVP_MD_CTX *ctx;
	enum err e = ERR_INTERNAL;

	if (!a)
		return ERR_UNSUPPORTED;
	sig.len = (size_t)EVP_PKEY_get_size(k->private);
	sig.p = malloc(sig.len);
	ctx = EVP_MD_CTX_new();
	if (sig.p && ctx && EVP_DigestSignInit_ex(ctx, NULL, a->digest, NULL, NULL, k->private, NULL) == 1 &&
	    EVP_DigestSign(ctx, sig.p, &sig.len, data.p, data.len) == 1)
		e = a->kind == EVP_PKEY_EC ? two_numbers(&sig) : OK;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (e == OK)
		*ret = sig;
	else
		ssh_blob_fini(&sig);
	return e;
}
