/* base/encode.h - base64 and hex, exact and total. */
#ifndef BASE_ENCODE_H
#define BASE_ENCODE_H

#include "base/err.h"
#include "base/types.h"

#define KEY_LEN 32
/* 44 characters and the NUL */
#define KEY_STR_MAX 45

/** key_to_base64() - 32 bytes as the 44 characters that WireGuard's tools show. Return: @buf. */
const char *key_to_base64(const uint8_t key[KEY_LEN], char buf[KEY_STR_MAX]);
/**
 * key_from_base64() - the reverse, in time that does not depend on the key
 *
 * As WireGuard's tools, refuses anything but 43 characters and one '='; unused low bits of the last
 * character must be zero. Return: OK; ERR_FORMAT.
 */
enum err key_from_base64(const char *s, uint8_t ret_key[KEY_LEN]);

/** hex_encode() - 2 * len characters and a NUL into @buf. Return: @buf. */
char *hex_encode(const uint8_t *p, size_t len, char *buf);
/** hex_decode() - exactly 2 * len hex digits, either case. Return: OK; ERR_FORMAT. */
enum err hex_decode(const char *s, uint8_t *ret, size_t len);

#endif
