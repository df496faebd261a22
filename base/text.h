/* base/text.h - words of others, where they meet a terminal or JSON: read as UTF-8 as far as they are that. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/types.h"

#define TEXT_NOT_UTF8 0x110000u /* and the byte */

/**
 * text_next() - the character at @s, which is not at its end
 * @ret_end: behind it
 *
 * RFC 3629: overlong forms, surrogates and what lies beyond U+10FFFF are none. Total; never looks beyond the NUL.
 * Return: the character, or TEXT_NOT_UTF8 and a single byte that begins none.
 */
uint32_t text_next(const char *s, const char **ret_end);
/** text_is_utf8() - may it stand in JSON as it is? */
bool text_is_utf8(const char *s);
/** text_is_control() - control characters of ASCII and Latin-1, those that turn the direction of a line, and bytes of no character */
bool text_is_control(uint32_t c);
/** text_has_control() - is there one in it? */
bool text_has_control(const char *s);
/** text_clean() - make what a stranger wrote fit for a terminal and for JSON: each byte of a control character becomes '?' */
void text_clean(char *s);
/** text_make_utf8() - make it fit for JSON: a byte that is of no character becomes '?' */
void text_make_utf8(char *s);

#endif
