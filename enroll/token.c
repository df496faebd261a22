/*
 * enroll/token.c - see token.h.
 *
 * The text is cut into its two parts, each decoded whole into a buffer of fixed size, then the JSON is read field by
 * field into a local token which becomes the caller's at the very end. Unknown fields are skipped, so that a later
 * release can add some; a greater version is refused.
 */
#include "enroll/token.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "base/text.h"
#include "wg/hash.h"

#define SIG_LEN crypto_auth_hmacsha256_BYTES
#define SUM_LEN 4
#define JSON_MAX 2048
#define BASE64 sodium_base64_VARIANT_URLSAFE_NO_PADDING

static const struct bytes nothing;

struct parts {
	uint8_t json[JSON_MAX];
	size_t json_len;
	uint8_t sig[SIG_LEN + SUM_LEN];
};

static struct bytes label(const char *s)
{
	return wg_bytes(s, strlen(s));
}

void enroll_secret(const uint8_t private_key[KEY_LEN], uint8_t ret[KEY_LEN])
{
	wg_kdf(ret, NULL, NULL, private_key, label("nefia invite signature v1"));
}

void enroll_id(const uint8_t nonce[ENROLL_NONCE_LEN], uint8_t ret[ENROLL_ID_LEN])
{
	uint8_t hash[WG_HASH_LEN];

	wg_hash(hash, label("nefia invite id v1"), wg_bytes(nonce, ENROLL_NONCE_LEN), nothing);
	memcpy(ret, hash, ENROLL_ID_LEN);
}

const char *enroll_nonce_prefix(const uint8_t nonce[ENROLL_NONCE_LEN], char buf[9])
{
	return hex_encode(nonce, 4, buf);
}

static void checksum(const struct parts *p, uint8_t ret[SUM_LEN])
{
	uint8_t hash[WG_HASH_LEN];

	wg_hash(hash, label("nefia token"), wg_bytes(p->json, p->json_len), wg_bytes(p->sig, SIG_LEN));
	memcpy(ret, hash, SUM_LEN);
}

/* ---- writing ---- */

enum err enroll_token_encode(const struct enroll_token *t, const uint8_t secret[KEY_LEN], char ret[ENROLL_TOKEN_MAX])
{
	char key[KEY_STR_MAX], ep[ENDPOINT_STR_MAX], nonce[2 * ENROLL_NONCE_LEN + 1];
	struct parts p;
	json_t *j;
	size_t n;

	hex_encode(t->nonce, ENROLL_NONCE_LEN, nonce);
	/* host_id first: the text of every token begins with the same letters. */
	j = json_pack("{s:s, s:i, s:s, s:s, s:s, s:i, s:s, s:I}", "host_id", t->host_id, "version", ENROLL_TOKEN_VERSION,
		      "vpn_addr", t->vpn_addr, "operator_public_key", key_to_base64(t->operator_key, key), "endpoint",
		      endpoint_is_set(&t->endpoint) ? endpoint_format(&t->endpoint, ep) : "", "enroll_port",
		      (int)t->enroll_port, "nonce", t->has_nonce ? nonce : "", "expires", (json_int_t)t->expires);
	if (!j)
		return ERR_NOMEM;
	if (t->reusable)
		json_object_set_new(j, "reusable", json_true());
	if (t->session[0])
		json_object_set_new(j, "session", json_string(t->session));
	p.json_len = json_dumpb(j, (char *)p.json, sizeof(p.json), JSON_COMPACT);
	json_decref(j);
	if (p.json_len == 0 || p.json_len > sizeof(p.json))
		return ERR_TOO_LONG;
	crypto_auth_hmacsha256(p.sig, p.json, p.json_len, secret);
	checksum(&p, p.sig + SIG_LEN);
	sodium_bin2base64(ret, ENROLL_TOKEN_MAX - 64, p.json, p.json_len, BASE64);
	n = strlen(ret);
	ret[n++] = '.';
	sodium_bin2base64(ret + n, ENROLL_TOKEN_MAX - n, p.sig, sizeof(p.sig), BASE64);
	sodium_memzero(&p, sizeof(p));
	sodium_memzero(nonce, sizeof(nonce));
	return OK;
}

/* ---- reading ---- */

static enum err split(const char *text, struct parts *ret)
{
	size_t len = strnlen(text, ENROLL_TOKEN_MAX), sig_len;
	const char *dot = memchr(text, '.', len), *end;
	const char *blanks = " \t\r\n";

	if (len == ENROLL_TOKEN_MAX || !dot)
		return ERR_FORMAT;
	if (sodium_base642bin(ret->json, sizeof(ret->json), text, (size_t)(dot - text), blanks, &ret->json_len, &end, BASE64) != 0 ||
	    end != dot)
		return ERR_FORMAT;
	if (sodium_base642bin(ret->sig, sizeof(ret->sig), dot + 1, len - (size_t)(dot + 1 - text), blanks, &sig_len, &end, BASE64) != 0 ||
	    end != text + len || sig_len != sizeof(ret->sig))
		return ERR_FORMAT;
	return OK;
}

/* A string field into @buf; absent counts as empty. False: another type, too long, or a byte that no terminal should see. */
static bool text_field(const json_t *j, const char *name, char *buf, size_t size)
{
	const json_t *v = json_object_get(j, name);
	const char *s = v ? json_string_value(v) : "";

	if (!s || strlen(s) >= size || (v && strlen(s) != json_string_length(v)) || text_has_control(s))
		return false;
	memcpy(buf, s, strlen(s) + 1);
	return true;
}

static bool nonce_field(const json_t *j, struct enroll_token *t)
{
	char hex[2 * ENROLL_NONCE_LEN + 1];

	if (!text_field(j, "nonce", hex, sizeof(hex)))
		return false;
	t->has_nonce = hex[0] != '\0';
	return !t->has_nonce || hex_decode(hex, t->nonce, ENROLL_NONCE_LEN) == OK;
}

static bool fields(const json_t *j, struct enroll_token *t)
{
	char key[KEY_STR_MAX], ep[ENDPOINT_STR_MAX];
	const json_t *port = json_object_get(j, "enroll_port"), *expires = json_object_get(j, "expires");
	struct ip_addr ip;

	if (!text_field(j, "host_id", t->host_id, sizeof(t->host_id)) ||
	    !text_field(j, "vpn_addr", t->vpn_addr, sizeof(t->vpn_addr)) ||
	    !text_field(j, "session", t->session, sizeof(t->session)) ||
	    !text_field(j, "operator_public_key", key, sizeof(key)) || !text_field(j, "endpoint", ep, sizeof(ep)) ||
	    !nonce_field(j, t))
		return false;
	t->reusable = json_is_true(json_object_get(j, "reusable"));
	if (!json_is_integer(port) || json_integer_value(port) < 1 || json_integer_value(port) > 65535 ||
	    !json_is_integer(expires) || json_integer_value(expires) < 0)
		return false;
	t->enroll_port = (uint16_t)json_integer_value(port);
	t->expires = (uint64_t)json_integer_value(expires);
	return key_from_base64(key, t->operator_key) == OK && (!ep[0] || endpoint_parse(ep, &t->endpoint) == OK) &&
	       (!t->vpn_addr[0] || ip_addr_parse(t->vpn_addr, &ip) == OK);
}

enum err enroll_token_decode(const char *text, struct enroll_token *ret)
{
	struct enroll_token t = { .enroll_port = 0 };
	struct parts p;
	uint8_t sum[SUM_LEN];
	json_t *j = NULL;
	enum err e = split(text, &p);

	if (e == OK) {
		checksum(&p, sum);
		e = memcmp(sum, p.sig + SIG_LEN, SUM_LEN) == 0 ? OK : ERR_FORMAT;
	}
	if (e == OK) {
		j = json_loadb((const char *)p.json, p.json_len, JSON_REJECT_DUPLICATES, NULL);
		e = json_is_object(j) ? OK : ERR_FORMAT;
	}
	if (e == OK && json_integer_value(json_object_get(j, "version")) > ENROLL_TOKEN_VERSION)
		e = ERR_VERSION;
	if (e == OK)
		e = fields(j, &t) ? OK : ERR_FORMAT;
	json_decref(j);
	if (e == OK)
		*ret = t;
	sodium_memzero(&t, sizeof(t));
	sodium_memzero(&p, sizeof(p));
	return e;
}

bool enroll_token_is_signed(const char *text, const uint8_t secret[KEY_LEN])
{
	struct parts p;
	bool is = split(text, &p) == OK && crypto_auth_hmacsha256_verify(p.sig, p.json, p.json_len, secret) == 0;

	sodium_memzero(&p, sizeof(p));
	return is;
}

/* ---- codes ---- */

#define TEXT(name, number, text, hint) [number] = text,
static const char *const texts[] = { ENROLL_CODE_LIST(TEXT) };
#undef TEXT
#define HINT(name, number, text, hint) [number] = hint,
static const char *const hints[] = { ENROLL_CODE_LIST(HINT) };
#undef HINT

const char *enroll_code_text(enum enroll_code c)
{
	return texts[(unsigned)c < ENROLL_CODE_N ? c : ENROLL_VALIDATION];
}

const char *enroll_code_hint(enum enroll_code c)
{
	return hints[(unsigned)c < ENROLL_CODE_N ? c : ENROLL_VALIDATION];
}
