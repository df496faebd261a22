/*
 * base/encode.c - keys as text.
 *
 * Keys are secrets: the base64 and hex here use libsodium's, whose tables do not depend on the data.
 */
#include "base/encode.h"

#include <sodium.h>
#include <string.h>

const char *key_to_base64(const uint8_t key[KEY_LEN], char buf[KEY_STR_MAX])
{
	return sodium_bin2base64(buf, KEY_STR_MAX, key, KEY_LEN, sodium_base64_VARIANT_ORIGINAL);
}

/* libsodium's decoder takes some bytes beyond ASCII for digits. */
static bool is_ascii(const char *s, size_t len)
{
	uint8_t all = 0;

	for (size_t i = 0; i < len; i++)
		all |= (uint8_t)s[i];
	return all < 0x80;
}

enum err key_from_base64(const char *s, uint8_t ret_key[KEY_LEN])
{
	uint8_t key[KEY_LEN];
	size_t len = 0;
	enum err e = ERR_FORMAT;

	if (strnlen(s, KEY_STR_MAX) == KEY_STR_MAX - 1 && is_ascii(s, KEY_STR_MAX - 1) &&
	    sodium_base642bin(key, sizeof(key), s, KEY_STR_MAX - 1, NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) == 0 &&
	    len == KEY_LEN) {
		memcpy(ret_key, key, KEY_LEN);
		e = OK;
	}
	sodium_memzero(key, sizeof(key));
	return e;
}

char *hex_encode(const uint8_t *p, size_t len, char *buf)
{
	return sodium_bin2hex(buf, len * 2 + 1, p, len);
}

enum err hex_decode(const char *s, uint8_t *ret, size_t len)
{
	size_t got = 0;
	const char *end = NULL;

	if (strnlen(s, len * 2 + 1) != len * 2)
		return ERR_FORMAT;
	if (sodium_hex2bin(ret, len, s, len * 2, NULL, &got, &end) != 0 || got != len ||
	    end != s + len * 2)
		return ERR_FORMAT;
	return OK;
}
