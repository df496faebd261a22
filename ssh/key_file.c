/*
 * ssh/key_file.c - see key.h: private keys as files have them.
 *
 * libssh2 reads keys too, but says of each failure that the file was not readable. We read them to tell a person what to
 * do: which key is locked, which passphrase is wrong, which kind is not taken. And OpenSSH's format shows the public key
 * without the passphrase, so that a server can be asked whether it wants the key before a person is asked to unlock it.
 *
 * The format ("openssh-key-v1"): cipher, KDF with salt and rounds, the public key, then the private part, encrypted. That
 * begins with one random number twice; two different ones mean a wrong passphrase.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "ssh/key_internal.h"

/* libssh2's own, from Provos' and Unangst's code: the KDF of OpenSSH's format. */
int _libssh2_bcrypt_pbkdf(const char *pass, size_t passlen, const uint8_t *salt, size_t saltlen, uint8_t *key,
			  size_t keylen, unsigned int rounds);

/* ---- PEM ---- */

struct asked {
	const char *passphrase;
	bool is_locked;
};

static int on_passphrase(char *buf, int size, int for_writing, void *ctx)
{
	struct asked *a = ctx;
	size_t len = a->passphrase ? strlen(a->passphrase) : 0;

	a->is_locked = true;
	if (!a->passphrase || len > (size_t)size)
		return -1;
	memcpy(buf, a->passphrase, len);
	return (int)len;
}

static enum err read_pem(struct bytes file, const char *passphrase, struct ssh_key *k, const char **ret_why)
{
	struct asked a = { passphrase, false };
	BIO *bio = BIO_new_mem_buf(file.p, (int)file.len);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, on_passphrase, &a) : NULL;
	enum err e = OK;

	BIO_free(bio);
	ERR_clear_error();
	if (!pkey && a.is_locked) {
		*ret_why = passphrase ? "wrong passphrase" : "it needs a passphrase";
		e = ERR_AUTH;
	} else if (!pkey) {
		*ret_why = "damaged, or of a kind that is not read here";
		e = ERR_FORMAT;
	}
	if (e == OK)
		e = key_public_of(pkey, &k->pub, ret_why);
	if (e == OK)
		k->private = pkey;
	else
		EVP_PKEY_free(pkey);
	return e;
}

/* ---- OpenSSH's format ---- */

static const struct cipher {
	const char *name, *evp;
	uint8_t key_len, iv_len, block, tag_len;
} ciphers[] = {
	{ "aes256-ctr", "AES-256-CTR", 32, 16, 16, 0 },
	{ "aes192-ctr", "AES-192-CTR", 24, 16, 16, 0 },
	{ "aes128-ctr", "AES-128-CTR", 16, 16, 16, 0 },
	{ "aes256-cbc", "AES-256-CBC", 32, 16, 16, 0 },
	{ "aes192-cbc", "AES-192-CBC", 24, 16, 16, 0 },
	{ "aes128-cbc", "AES-128-CBC", 16, 16, 16, 0 },
	{ "3des-cbc", "DES-EDE3-CBC", 24, 8, 8, 0 },
	{ "aes256-gcm@openssh.com", "AES-256-GCM", 32, 12, 16, 16 },
	{ "aes128-gcm@openssh.com", "AES-128-GCM", 16, 12, 16, 16 },
};

struct envelope {
	const struct cipher *cipher; /* NULL: none */
	struct bytes salt, pub, private, tag;
	uint32_t rounds;
};

static enum err read_cipher(struct bytes name, struct bytes kdf, const struct cipher **ret, const char **ret_why)
{
	*ret = NULL;
	if (wire_is(name, "none") && wire_is(kdf, "none"))
		return OK;
	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++)
		if (wire_is(name, ciphers[i].name))
			*ret = &ciphers[i];
	if (*ret && wire_is(kdf, "bcrypt"))
		return OK;
	*ret_why = "encrypted with a cipher that is not read here (ssh-keygen -p -Z aes256-ctr changes that)";
	return ERR_UNSUPPORTED;
}

static enum err read_envelope(struct bytes b, struct envelope *ret, const char **ret_why)
{
	static const char magic[] = "openssh-key-v1";
	struct wire_reader r = { b.p, b.len, false }, options;
	struct bytes name, kdf, kdf_options;
	enum err e;

	*ret_why = "damaged";
	if (b.len < sizeof(magic) || memcmp(b.p, magic, sizeof(magic)) != 0)
		return ERR_FORMAT;
	r.p += sizeof(magic);
	r.len -= sizeof(magic);
	name = wire_string(&r);
	kdf = wire_string(&r);
	kdf_options = wire_string(&r);
	if (wire_u32(&r) != 1)
		return ERR_FORMAT;
	ret->pub = wire_string(&r);
	ret->private = wire_string(&r);
	if (r.bad || ret->pub.len > SSH_KEY_BLOB_MAX)
		return ERR_FORMAT;
	e = read_cipher(name, kdf, &ret->cipher, ret_why);
	if (e != OK || !ret->cipher)
		return e;
	options = (struct wire_reader){ kdf_options.p, kdf_options.len, false };
	ret->salt = wire_string(&options);
	ret->rounds = wire_u32(&options);
	ret->tag = (struct bytes){ r.p, ret->cipher->tag_len };
	if (options.bad || ret->salt.len == 0 || ret->salt.len > 1024 || ret->private.len == 0 ||
	    ret->private.len % ret->cipher->block || r.len < ret->cipher->tag_len)
		return ERR_FORMAT;
	if (ret->rounds > 0 && ret->rounds <= SSH_KEY_ROUNDS_MAX)
		return OK;
	*ret_why = "more rounds of its passphrase's hash than are computed here (ssh-keygen -p -a 100 changes that)";
	return ERR_UNSUPPORTED;
}

static bool open_with(const struct envelope *en, const uint8_t *key, uint8_t *out)
{
	const struct cipher *c = en->cipher;
	EVP_CIPHER *evp = EVP_CIPHER_fetch(NULL, c->evp, NULL);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, rest = 0;
	bool ok = evp && ctx && EVP_DecryptInit_ex(ctx, evp, NULL, key, key + c->key_len) == 1 &&
		  EVP_CIPHER_CTX_set_padding(ctx, 0) == 1;

	if (ok && c->tag_len)
		ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, c->tag_len, (void *)en->tag.p) == 1;
	ok = ok && EVP_DecryptUpdate(ctx, out, &n, en->private.p, (int)en->private.len) == 1 &&
	     EVP_DecryptFinal_ex(ctx, out + n, &rest) == 1 && (size_t)(n + rest) == en->private.len;
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(evp);
	ERR_clear_error();
	return ok;
}

/* The private part in clear. ERR_AUTH: no passphrase, or a wrong one. */
static enum err unlock(const struct envelope *en, const char *passphrase, struct ssh_blob *ret)
{
	uint8_t key[32 + 16];
	enum err e;

	if (!en->cipher)
		return ssh_blob_set(ret, en->private);
	if (!passphrase || !*passphrase)
		return ERR_AUTH;
	e = ssh_blob_set(ret, en->private);
	if (e != OK)
		return e;
	if (_libssh2_bcrypt_pbkdf(passphrase, strlen(passphrase), en->salt.p, en->salt.len, key,
				  (size_t)en->cipher->key_len + en->cipher->iv_len, en->rounds) != 0 ||
	    !open_with(en, key, ret->p))
		e = ERR_AUTH;
	OPENSSL_cleanse(key, sizeof(key));
	return e;
}

static bool read_number(struct wire_reader *r, BIGNUM **ret)
{
	struct bytes b = wire_string(r);

	*ret = !r->bad && b.len <= KEY_NUMBER_MAX ? BN_secure_new() : NULL;
	return *ret && BN_bin2bn(b.p, (int)b.len, *ret);
}

static EVP_PKEY *from_params(int id, OSSL_PARAM_BLD *build)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(id, NULL);
	OSSL_PARAM *params = build ? OSSL_PARAM_BLD_to_param(build) : NULL;
	EVP_PKEY *pkey = NULL;

	if (!ctx || !params || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
		pkey = NULL;
	OSSL_PARAM_free(params);
	EVP_PKEY_CTX_free(ctx);
	return pkey;
}

static EVP_PKEY *read_ed25519(struct wire_reader *r)
{
	struct bytes pub = wire_string(r), private = wire_string(r);

	if (r->bad || pub.len != 32 || private.len != 64 || memcmp(private.p + 32, pub.p, 32) != 0)
		return NULL;
	return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, private.p, 32);
}

static EVP_PKEY *read_ec(struct wire_reader *r, const struct key_curve *c)
{
	struct bytes name = wire_string(r), point = wire_string(r);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY *pkey = NULL;
	BIGNUM *d = NULL;

	if (build && read_number(r, &d) && wire_is(name, c->ssh) && BN_num_bits(d) <= c->bits &&
	    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, c->group, 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.p, point.len) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1)
		pkey = from_params(EVP_PKEY_EC, build);
	OSSL_PARAM_BLD_free(build);
	BN_clear_free(d);
	return pkey;
}

enum { RSA_N, RSA_E, RSA_D, RSA_IQMP, RSA_P, RSA_Q, RSA_DMP1, RSA_DMQ1, RSA_NUMBERS };
#define RSA_IN_FILE 6

/* The two exponents that the file leaves out. */
static bool complete_rsa(BIGNUM *n[RSA_NUMBERS])
{
	BN_CTX *ctx = BN_CTX_secure_new();
	BIGNUM *less = BN_secure_new();
	bool ok = ctx && less;

	for (int i = 0; ok && i < 2; i++) {
		BIGNUM *prime = n[RSA_P + i];

		n[RSA_DMP1 + i] = BN_secure_new();
		ok = n[RSA_DMP1 + i] && !BN_is_zero(prime) && BN_sub(less, prime, BN_value_one()) && !BN_is_zero(less) &&
		     BN_mod(n[RSA_DMP1 + i], n[RSA_D], less, ctx);
	}
	BN_clear_free(less);
	BN_CTX_free(ctx);
	return ok;
}

static EVP_PKEY *read_rsa(struct wire_reader *r)
{
	static const char *const names[RSA_NUMBERS] = {
		OSSL_PKEY_PARAM_RSA_N,	     OSSL_PKEY_PARAM_RSA_E,	  OSSL_PKEY_PARAM_RSA_D,
		OSSL_PKEY_PARAM_RSA_COEFFICIENT1, OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
		OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
	};
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *n[RSA_NUMBERS] = { NULL };
	EVP_PKEY *pkey = NULL;
	bool ok = build;

	for (int i = 0; ok && i < RSA_IN_FILE; i++)
		ok = read_number(r, &n[i]);
	ok = ok && BN_num_bits(n[RSA_N]) <= KEY_RSA_BITS_MAX && complete_rsa(n);
	for (int i = 0; ok && i < RSA_NUMBERS; i++)
		ok = OSSL_PARAM_BLD_push_BN(build, names[i], n[i]) == 1;
	if (ok)
		pkey = from_params(EVP_PKEY_RSA, build);
	for (int i = 0; i < RSA_NUMBERS; i++)
		BN_clear_free(n[i]);
	OSSL_PARAM_BLD_free(build);
	return pkey;
}

static EVP_PKEY *read_kind(struct wire_reader *r, struct bytes type)
{
	if (wire_is(type, "ssh-ed25519"))
		return read_ed25519(r);
	if (wire_is(type, "ssh-rsa"))
		return read_rsa(r);
	for (size_t i = 0; i < ARRAY_SIZE(key_curves); i++)
		if (wire_is(type, key_curves[i].type))
			return read_ec(r, &key_curves[i]);
	return NULL;
}

static enum err read_private(struct bytes b, struct ssh_key *k, const char **ret_why)
{
	struct wire_reader r = { b.p, b.len, false };
	uint32_t first = wire_u32(&r), second = wire_u32(&r);
	EVP_PKEY *pkey;
	enum err e;

	if (r.bad || first != second)
		return ERR_AUTH;
	pkey = read_kind(&r, wire_string(&r));
	ERR_clear_error();
	*ret_why = "damaged";
	if (!pkey)
		return ERR_FORMAT;
	e = key_public_of(pkey, &k->pub, ret_why);
	if (e == OK)
		k->private = pkey;
	else
		EVP_PKEY_free(pkey);
	return e;
}

/* Kinds that can be told before it is unlocked. */
static enum err check_kind(struct bytes pub, const char **ret_why)
{
	char type[64];

	*ret_why = "damaged";
	if (!ssh_key_type(pub, type))
		return ERR_FORMAT;
	if (strncmp(type, "sk-", 3) == 0)
		*ret_why = "a security key is used by way of ssh-agent: ssh-add it";
	else if (strcmp(type, "ssh-dss") == 0)
		*ret_why = "DSA is not used any more: make another key with ssh-keygen";
	else
		return OK;
	return ERR_UNSUPPORTED;
}

static enum err read_openssh(struct bytes b, const char *passphrase, struct ssh_key *k, const char **ret_why)
{
	struct ssh_blob clear = { 0 };
	struct envelope en = { 0 };
	enum err e = read_envelope(b, &en, ret_why);

	if (e != OK)
		return e;
	e = ssh_blob_set(&k->pub, en.pub);
	if (e == OK)
		e = check_kind(en.pub, ret_why);
	if (e == OK)
		e = unlock(&en, passphrase, &clear);
	if (e == OK)
		e = read_private(ssh_blob_view(&clear), k, ret_why);
	ssh_blob_fini(&clear);
	if (e == ERR_AUTH && !en.cipher)
		e = ERR_FORMAT; /* it has no passphrase that could be wrong */
	if (e == ERR_AUTH)
		*ret_why = passphrase ? "wrong passphrase" : "it needs a passphrase";
	else if (e == ERR_NOMEM)
		*ret_why = err_text(e);
	return e;
}

/* ---- files ---- */

static const char *find(struct bytes file, const char *what)
{
	return memmem(file.p, file.len, what, strlen(what));
}

/* What is told by its first line to be nothing for us. */
static const struct {
	const char *begin, *why;
} foreign[] = {
	{ "PuTTY-User-Key-File", "a key of PuTTY (puttygen -O private-openssh converts it)" },
	{ "BEGIN SSH2 ", "a key of ssh.com (ssh-keygen -i converts it)" },
	{ "BEGIN DSA PRIVATE KEY", "DSA is not used any more: make another key with ssh-keygen" },
};

static enum err check_file(struct bytes file, const char **ret_why)
{
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		*ret_why = foreign[i].why;
		if (find(file, foreign[i].begin))
			return ERR_UNSUPPORTED;
	}
	*ret_why = ssh_key_is_public(file) ? "a public key, whose private half is not in ssh-agent" : "not a private key";
	return find(file, "-----BEGIN ") && file.len <= INT32_MAX ? OK : ERR_FORMAT;
}

enum err ssh_key_read(struct bytes file, const char *passphrase, struct ssh_key *ret, const char **ret_why)
{
	static const char begin[] = "-----BEGIN OPENSSH PRIVATE KEY-----", end[] = "-----END OPENSSH PRIVATE KEY-----";
	enum err e = check_file(file, ret_why);
	struct ssh_blob b = { 0 };
	const char *p, *stop;

	if (e != OK)
		return e;
	p = find(file, begin);
	if (!p)
		return read_pem(file, passphrase, ret, ret_why);
	p += sizeof(begin) - 1;
	stop = find((struct bytes){ (const uint8_t *)p, file.len - (size_t)(p - (const char *)file.p) }, end);
	*ret_why = "damaged";
	e = stop ? key_decode_base64(p, stop, &b) : ERR_FORMAT;
	if (e == OK)
		e = read_openssh(ssh_blob_view(&b), passphrase, ret, ret_why);
	ssh_blob_fini(&b);
	return e;
}
