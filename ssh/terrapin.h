/* ssh/terrapin.h - is a connection open to prefix truncation (CVE-2023-48795)? Pure. */
#ifndef SSH_TERRAPIN_H
#define SSH_TERRAPIN_H

#include "base/types.h"

/**
 * terrapin_strict_kex() - did the server offer strict key exchange?
 * @first:  the first bytes that came, as they came
 * @banner: its identification line as the SSH library took it, without the line's end
 *
 * Only what the exchange hash covers counts: the bytes must begin with that very line, and the
 * packet after it must be KEXINIT. Lines in front of it, or a packet in between, could be an
 * attacker's; then the answer is false.
 */
bool terrapin_strict_kex(struct bytes first, const char *banner);
/** terrapin_is_open() - would this choice be open to it without strict key exchange? */
bool terrapin_is_open(const char *cipher, const char *mac);

#endif
