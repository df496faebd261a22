/* Keys as ssh-keygen and OpenSSL write them, in every kind and envelope; and what they sign. */
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "os/file.h"
#include "ssh/agent.h"
#include "ssh/key.h"
#include "test/lib/testing.h"

static char dir[] = "/tmp/nefia-keys-XXXXXX";

static bool have_keygen(void)
{
	return system("command -v ssh-keygen >/dev/null") == 0;
}

PRINTF_LIKE(1, 2) static int sh(const char *fmt, ...)
{
	char cmd[1024], line[800];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	snprintf(cmd, sizeof(cmd), "cd %s && { %s; } </dev/null >/dev/null 2>&1", dir, line);
	return system(cmd);
}

/* The content of a file in @dir, to be freed. */
static struct bytes slurp(const char *name)
{
	char path[256], *text;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(os_file_read(path, 1 << 20, &text, &len), OK);
	return (struct bytes){ (uint8_t *)text, len };
}

static enum err read_key(const char *name, const char *passphrase, struct ssh_key *k, const char **why)
{
	struct bytes file = slurp(name);
	enum err e;

	*k = (struct ssh_key){ 0 };
	*why = "";
	e = ssh_key_read(file, passphrase, k, why);
	free((void *)file.p);
	return e;
}

static void assert_public(const struct ssh_key *k, const char *name)
{
	struct bytes file = slurp(name);
	struct ssh_blob pub = { 0 };

	assert_int_equal(ssh_key_read_public(file, &pub), OK);
	assert_int_equal(k->pub.len, pub.len);
	assert_memory_equal(k->pub.p, pub.p, pub.len);
	ssh_blob_fini(&pub);
	free((void *)file.p);
}

/* ECDSA: two numbers back into DER. */
static void to_der(struct ssh_blob *sig)
{
	struct wire_reader r = { sig->p, sig->len, false };
	struct bytes a = wire_string(&r), b = wire_string(&r);
	ECDSA_SIG *s = ECDSA_SIG_new();
	uint8_t *der = NULL;
	int len;

	assert_false(r.bad);
	assert_int_equal(r.len, 0);
	assert_false(a.p[0] & 0x80 || b.p[0] & 0x80);
	ECDSA_SIG_set0(s, BN_bin2bn(a.p, (int)a.len, NULL), BN_bin2bn(b.p, (int)b.len, NULL));
	len = i2d_ECDSA_SIG(s, &der);
	assert_int_equal(ssh_blob_set(sig, (struct bytes){ der, (size_t)len }), OK);
	OPENSSL_free(der);
	ECDSA_SIG_free(s);
}

static void assert_signs(const struct ssh_key *k, const char *algorithm, const char *digest)
{
	static const struct bytes data = { (const uint8_t *)"what is signed", 14 };
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct ssh_blob sig;

	assert_int_equal(ssh_key_sign(k, algorithm, data, &sig), OK);
	if (strncmp(algorithm, "ecdsa", 5) == 0)
		to_der(&sig);
	assert_int_equal(EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, k->private, NULL), 1);
	assert_int_equal(EVP_DigestVerify(ctx, sig.p, sig.len, data.p, data.len), 1);
	EVP_MD_CTX_free(ctx);
	ssh_blob_fini(&sig);
}

static const struct kind {
	const char *name, *args, *algorithm, *digest;
} kinds[] = {
	{ "ed", "-t ed25519", "ssh-ed25519", NULL },
	{ "ec256", "-t ecdsa -b 256", "ecdsa-sha2-nistp256", "SHA256" },
	{ "ec384", "-t ecdsa -b 384", "ecdsa-sha2-nistp384", "SHA384" },
	{ "ec521", "-t ecdsa -b 521", "ecdsa-sha2-nistp521", "SHA512" },
	{ "rsa", "-t rsa -b 2048", "rsa-sha2-512", "SHA512" },
};

static void every_kind_in_every_format(void **state)
{
	static const char *const formats[] = { "RFC4716", "PEM", "PKCS8" };
	struct ssh_key k;
	const char *why;

	if (!have_keygen())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct kind *kd = &kinds[i];

		assert_int_equal(sh("ssh-keygen -q %s -N '' -f %s", kd->args, kd->name), 0);
		for (size_t f = 0; f < 2 * ARRAY_SIZE(formats); f++) {
			const char *pass = f % 2 ? "pass phrase" : "";

			assert_int_equal(sh("cp %s k && ssh-keygen -q -p -P '' -N '%s' -m %s -f k", kd->name, pass, formats[f / 2]), 0);
			if (*pass) {
				assert_int_equal(read_key("k", NULL, &k, &why), ERR_AUTH);
				assert_string_equal(why, "it needs a passphrase");
				ssh_key_fini(&k);
				assert_int_equal(read_key("k", "pass phrasE", &k, &why), ERR_AUTH);
				assert_string_equal(why, "wrong passphrase");
				assert_null(k.private);
				ssh_key_fini(&k);
			}
			if (read_key("k", *pass ? pass : NULL, &k, &why) != OK)
				fail_msg("%s %s '%s': %s", kd->name, formats[f / 2], pass, why);
			assert_signs(&k, kd->algorithm, kd->digest);
			ssh_key_fini(&k);
			assert_int_equal(read_key("k", *pass ? pass : NULL, &k, &why), OK);
			{
				char pub[64];

				snprintf(pub, sizeof(pub), "%s.pub", kd->name);
				assert_public(&k, pub);
			}
			ssh_key_fini(&k);
		}
	}
}

static void keys_of_openssl(void **state)
{
	struct ssh_key k;
	const char *why;

	if (!have_keygen() || system("command -v openssl >/dev/null") != 0)
		skip();
	assert_int_equal(sh("openssl genpkey -algorithm ed25519 -out o"), 0);
	assert_int_equal(read_key("o", NULL, &k, &why), OK);
	assert_signs(&k, "ssh-ed25519", NULL);
	ssh_key_fini(&k);
	assert_int_equal(sh("openssl ecparam -name prime256v1 -genkey -noout -conv_form compressed -out o"), 0);
	assert_int_equal(read_key("o", NULL, &k, &why), OK);
	assert_int_equal(k.pub.len, 4 + 19 + 4 + 8 + 4 + 65);
	ssh_key_fini(&k);
	assert_int_equal(sh("openssl ecparam -name secp256k1 -genkey -noout -out o"), 0);
	assert_int_equal(read_key("o", NULL, &k, &why), ERR_UNSUPPORTED);
	ssh_key_fini(&k);
	assert_int_equal(sh("openssl genpkey -algorithm x25519 -out o"), 0);
	assert_int_equal(read_key("o", NULL, &k, &why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "kind"));
	ssh_key_fini(&k);
}

static void every_cipher_of_openssh(void **state)
{
	static const char *const ciphers[] = { "aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-cbc", "aes256-cbc", "3des-cbc",
					       "aes128-gcm@openssh.com", "aes256-gcm@openssh.com" };
	struct ssh_key k;
	const char *why;

	if (!have_keygen())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		assert_int_equal(sh("rm -f c; ssh-keygen -q -t ed25519 -N secret -Z %s -f c", ciphers[i]), 0);
		assert_int_equal(read_key("c", NULL, &k, &why), ERR_AUTH);
		assert_public(&k, "c.pub"); /* it is known although the key is locked */
		ssh_key_fini(&k);
		assert_int_equal(read_key("c", "secreT", &k, &why), ERR_AUTH);
		ssh_key_fini(&k);
		if (read_key("c", "secret", &k, &why) != OK)
			fail_msg("%s: %s", ciphers[i], why);
		assert_signs(&k, "ssh-ed25519", NULL);
		ssh_key_fini(&k);
	}
	assert_int_equal(sh("rm -f c; ssh-keygen -q -t ed25519 -N secret -Z chacha20-poly1305@openssh.com -f c"), 0);
	assert_int_equal(read_key("c", "secret", &k, &why), ERR_UNSUPPORTED);
	assert_non_null(strstr(why, "cipher"));
	ssh_key_fini(&k);
}

static void what_is_not_used_says_why(void **state)
{
	static const struct {
		const char *text, *why;
		enum err e;
	} rows[] = {
		{ "PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen", ERR_UNSUPPORTED },
		{ "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n", "ssh-keygen -i", ERR_UNSUPPORTED },
		{ "-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n", "DSA", ERR_UNSUPPORTED },
		{ "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "damaged", ERR_FORMAT },
		{ "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "damaged", ERR_FORMAT },
		{ "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged", ERR_FORMAT },
		{ "hello\n", "not a private key", ERR_FORMAT },
		{ "", "not a private key", ERR_FORMAT },
		{ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGYT0w7pkrDOs4qkeHO0PQ8jYRmHOwHvq0ZvdIdNnlN1\n", "public key", ERR_FORMAT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ssh_key k = { 0 };
		const char *why = "";

		assert_int_equal(ssh_key_read((struct bytes){ (const uint8_t *)rows[i].text, strlen(rows[i].text) }, NULL, &k, &why),
				 rows[i].e);
		if (!strstr(why, rows[i].why))
			fail_msg("'%s' is refused with: %s", rows[i].text, why);
		ssh_key_fini(&k);
	}
}

static void a_key_signs_only_as_it_should(void **state)
{
	static const char *const wrong[] = { "ssh-rsa", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-dss", "" };
	struct ssh_blob sig;
	struct ssh_key k;
	const char *why;

	if (!have_keygen())
		skip();
	assert_int_equal(read_key("ed", NULL, &k, &why), OK);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(ssh_key_sign(&k, wrong[i], (struct bytes){ 0 }, &sig), ERR_UNSUPPORTED);
	ssh_key_fini(&k);
	assert_int_equal(read_key("rsa", NULL, &k, &why), OK);
	assert_int_equal(ssh_key_sign(&k, "ssh-rsa", (struct bytes){ 0 }, &sig), ERR_UNSUPPORTED); /* SHA-1 */
	assert_signs(&k, "rsa-sha2-256", "SHA256");
	ssh_key_fini(&k);
	assert_int_equal(read_key("ec384", NULL, &k, &why), OK);
	assert_int_equal(ssh_key_sign(&k, "ecdsa-sha2-nistp256", (struct bytes){ 0 }, &sig), ERR_UNSUPPORTED);
	ssh_key_fini(&k);
}

static void certificates_belong_to_their_keys(void **state)
{
	struct ssh_blob cert = { 0 };
	struct ssh_key k;
	const char *why;

	if (!have_keygen())
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		char name[64];
		struct bytes file;

		assert_int_equal(sh("ssh-keygen -q -s ed -I me -n root %s.pub", kinds[i].name), 0);
		snprintf(name, sizeof(name), "%s-cert.pub", kinds[i].name);
		file = slurp(name);
		assert_int_equal(ssh_key_read_public(file, &cert), OK);
		free((void *)file.p);
		for (size_t n = 0; n < ARRAY_SIZE(kinds); n++) {
			assert_int_equal(read_key(kinds[n].name, NULL, &k, &why), OK);
			assert_int_equal(ssh_key_is_certificate_of(ssh_blob_view(&cert), ssh_blob_view(&k.pub)), n == i);
			ssh_key_fini(&k);
		}
	}
	ssh_blob_fini(&cert);
}

/* Every byte flipped and every length: read or refused, never more. */
static void damaged_files(void **state)
{
	static const char *const names[] = { "ed", "ec256", "rsa" };
	const char *why;

	if (!have_keygen())
		skip();
	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		struct bytes file = slurp(names[n]);
		uint8_t *copy = malloc(file.len);

		/* Without its last line's end it is whole. */
		for (size_t i = 0; i < file.len - 1; i += n == 2 ? 7 : 1) {
			struct ssh_key k = { 0 };

			memcpy(copy, file.p, file.len);
			copy[i] ^= 1u << (i % 8);
			if (ssh_key_read((struct bytes){ copy, file.len }, NULL, &k, &why) == OK)
				assert_non_null(k.private);
			ssh_key_fini(&k);
			if (ssh_key_read((struct bytes){ file.p, i }, NULL, &k, &why) == OK)
				fail_msg("%zu bytes of %s are a key", i, names[n]);
			ssh_key_fini(&k);
		}
		free(copy);
		free((void *)file.p);
	}
}

/* ---- the agent's messages ---- */

static void put(struct wire_writer *w, const char *s)
{
	wire_put_string(w, s, strlen(s));
}

static struct bytes login(uint8_t buf[512], const char *user, const char *service, const char *algorithm, struct bytes blob)
{
	struct wire_writer w = { buf, 0 };

	put(&w, "01234567890123456789012345678901");
	wire_put_u8(&w, 50);
	put(&w, user);
	put(&w, service);
	put(&w, "publickey");
	wire_put_u8(&w, 1);
	put(&w, algorithm);
	wire_put_string(&w, blob.p, blob.len);
	return (struct bytes){ buf, w.len };
}

static bool may(struct bytes blob, struct bytes data, const char *user)
{
	struct ssh_buf b = { 0 };
	bool r;

	assert_int_equal(ssh_agent_put_sign(&b, blob, data, "ssh-ed25519"), OK);
	r = ssh_agent_may_ask((struct bytes){ b.p, ssh_buf_used(&b) }, user);
	ssh_buf_fini(&b);
	return r;
}

static void the_agent_signs_logins_and_nothing_else(void **state)
{
	uint8_t a[64], b[64], buf[512];
	struct wire_writer wa = { a, 0 }, wb = { b, 0 };
	struct bytes key, other, l;
	struct ssh_buf list = { 0 };

	put(&wa, "ssh-ed25519");
	put(&wa, "a");
	put(&wb, "ssh-ed25519");
	put(&wb, "b");
	key = (struct bytes){ a, wa.len };
	other = (struct bytes){ b, wb.len };
	l = login(buf, "me", "ssh-connection", "ssh-ed25519", key);
	assert_true(may(key, l, "me"));
	assert_false(may(key, l, "you"));
	assert_false(may(other, l, "me"));
	assert_false(may(key, (struct bytes){ l.p, l.len - 1 }, "me"));
	assert_false(may(key, login(buf, "me", "ssh-other", "ssh-ed25519", key), "me"));
	assert_false(may(key, (struct bytes){ (const uint8_t *)"any text", 8 }, "me"));
	assert_int_equal(ssh_agent_put_list(&list), OK);
	assert_true(ssh_agent_may_ask((struct bytes){ list.p, ssh_buf_used(&list) }, "me"));
	list.p[list.off + 4] = 17; /* add a key */
	assert_false(ssh_agent_may_ask((struct bytes){ list.p, ssh_buf_used(&list) }, "me"));
	ssh_buf_fini(&list);
}

static void answers_of_the_agent(void **state)
{
	static const uint8_t failure[] = { 5 }, none[] = { 12, 0, 0, 0, 0 }, many[] = { 12, 255, 255, 255, 255 };
	struct ssh_agent_key keys[SSH_AGENT_KEYS_MAX];
	uint8_t buf[256], inner[128];
	struct wire_writer in = { inner, 0 }, w = { buf, 0 };
	struct bytes sig;
	size_t n = 9;

	assert_int_equal(ssh_agent_read_keys((struct bytes){ failure, 1 }, keys, &n), ERR_REFUSED);
	assert_int_equal(ssh_agent_read_keys((struct bytes){ many, 5 }, keys, &n), ERR_PROTOCOL);
	assert_int_equal(ssh_agent_read_keys((struct bytes){ none, 5 }, keys, &n), OK);
	assert_int_equal(n, 0);
	put(&in, "sk-ssh-ed25519@openssh.com");
	put(&in, "signature");
	wire_put_u8(&in, 1);
	wire_put_u32(&in, 7);
	wire_put_u8(&w, 14);
	wire_put_string(&w, inner, in.len);
	assert_int_equal(ssh_agent_read_signature((struct bytes){ buf, w.len }, "sk-ssh-ed25519@openssh.com", &sig), OK);
	assert_int_equal(sig.len, 4 + 9 + 1 + 4);
	assert_int_equal(ssh_agent_read_signature((struct bytes){ buf, w.len }, "ssh-ed25519", &sig), ERR_UNSUPPORTED);
	assert_int_equal(ssh_agent_read_signature((struct bytes){ failure, 1 }, "ssh-ed25519", &sig), ERR_REFUSED);
	for (size_t i = 0; i < w.len; i++)
		assert_int_equal(ssh_agent_read_signature((struct bytes){ buf, i }, "sk-ssh-ed25519@openssh.com", &sig), ERR_PROTOCOL);
}

static int make_dir(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	return sh("rm -rf %s", dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_in_every_format),
		cmocka_unit_test(keys_of_openssl),
		cmocka_unit_test(every_cipher_of_openssh),
		cmocka_unit_test(what_is_not_used_says_why),
		cmocka_unit_test(a_key_signs_only_as_it_should),
		cmocka_unit_test(certificates_belong_to_their_keys),
		cmocka_unit_test(damaged_files),
		cmocka_unit_test(the_agent_signs_logins_and_nothing_else),
		cmocka_unit_test(answers_of_the_agent),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
