/* ssh/kexinit.h - a server's KEXINIT, read out of the first bytes that it sent. Pure. */
#ifndef SSH_KEXINIT_H
#define SSH_KEXINIT_H

#include <stddef.h>

#include "base/types.h"

/* RFC 4253 7.1, in the order of the message. */
enum ssh_kex_list {
	KEX_METHODS,
	KEX_HOST_KEYS,
	KEX_CIPHERS_CS,
	KEX_CIPHERS_SC,
	KEX_MACS_CS,
	KEX_MACS_SC,
	KEX_COMPRESSION_CS,
	KEX_COMPRESSION_SC,
	N_KEX_LISTS
};

struct ssh_kexinit {
	struct bytes lists[N_KEX_LISTS]; /* names with commas between them; they live as long as the bytes read */
};

/**
 * ssh_kexinit_parse() - the lists of algorithms
 * @first:  the first bytes that came, as they came
 * @banner: the server's identification line as the SSH library took it, without the line's end
 *
 * Only what the exchange hash covers counts: the bytes must begin with that very line, and the packet after it must be KEXINIT.
 * Lines in front of it, or a packet in between, could be an attacker's. Total. Return: was it all there?
 */
bool ssh_kexinit_parse(struct bytes first, const char *banner, struct ssh_kexinit *ret);

/** ssh_kexinit_has() - does @list have @name? */
bool ssh_kexinit_has(struct bytes list, const char *name, size_t len);

/**
 * ssh_kexinit_mismatch() - what client and server have nothing in common of, in words
 * @ours: our lists, in the same order; of MACs, those for ciphers that need one
 *
 * Return: false when nothing is missing. The names of the server's algorithms are in the text as they came.
 */
bool ssh_kexinit_mismatch(const struct ssh_kexinit *k, const char *const ours[N_KEX_LISTS], char *ret, size_t size);

#endif
