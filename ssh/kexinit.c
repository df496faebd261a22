/*
 * ssh/kexinit.c - see kexinit.h.
 *
 * The SSH library negotiates, but tells neither whether the server offered strict key exchange (terrapin.c asks that) nor what
 * was missing when nothing fits. So the message is read a second time here.
 */
#include "ssh/kexinit.h"

#include <stdio.h>
#include <string.h>

#include "base/endian.h"

#define MSG_KEXINIT 20
#define COOKIE_BYTES 16
#define SHOWN_MAX 160 /* of a server's list */

/* The length of the identification line with its end; 0 when the bytes do not begin with it. */
static size_t skip_banner(struct bytes first, const char *banner)
{
	size_t len = strlen(banner);

	if (len < 4 || memcmp(banner, "SSH-", 4) != 0 || first.len < len + 1 || memcmp(first.p, banner, len) != 0)
		return 0;
	if (first.p[len] == '\r')
		len++;
	return len < first.len && first.p[len] == '\n' ? len + 1 : 0;
}

bool ssh_kexinit_parse(struct bytes first, const char *banner, struct ssh_kexinit *ret)
{
	size_t at = skip_banner(first, banner), len, left;
	const uint8_t *p = first.p + at;
	struct ssh_kexinit k;

	/* u32 length, u8 padding, u8 type, cookie, lists */
	if (at == 0 || first.len - at < 6 + COOKIE_BYTES)
		return false;
	len = get_be32(p);
	if (p[5] != MSG_KEXINIT || len > first.len - at - 4 || len < 2 + COOKIE_BYTES)
		return false;
	p += 6 + COOKIE_BYTES;
	left = len - 2 - COOKIE_BYTES;
	for (size_t i = 0; i < N_KEX_LISTS; i++) {
		if (left < 4 || get_be32(p) > left - 4)
			return false;
		k.lists[i] = (struct bytes){ p + 4, get_be32(p) };
		p += 4 + k.lists[i].len;
		left -= 4 + k.lists[i].len;
	}
	*ret = k;
	return true;
}

bool ssh_kexinit_has(struct bytes list, const char *name, size_t want)
{
	while (list.len > 0) {
		const uint8_t *comma = memchr(list.p, ',', list.len);
		size_t n = comma ? (size_t)(comma - list.p) : list.len;

		if (n == want && memcmp(list.p, name, n) == 0)
			return true;
		list.p += n + (comma != NULL);
		list.len -= n + (comma != NULL);
	}
	return false;
}

/* The first of ours that the server has: that is the one which is chosen. NULL: none. */
static const char *choose(struct bytes theirs, const char *ours, size_t *ret_len)
{
	for (const char *p = ours; *p; p += strcspn(p, ","), p += *p == ',') {
		*ret_len = strcspn(p, ",");
		if (ssh_kexinit_has(theirs, p, *ret_len))
			return p;
	}
	return NULL;
}

/* Ciphers that are their own MAC make the list of MACs idle (RFC 5647). */
static bool needs_mac(const struct ssh_kexinit *k, const char *const ours[N_KEX_LISTS], enum ssh_kex_list cipher)
{
	size_t len;
	const char *chosen = choose(k->lists[cipher], ours[cipher], &len);

	return chosen && !memmem(chosen, len, "gcm", 3);
}

bool ssh_kexinit_mismatch(const struct ssh_kexinit *k, const char *const ours[N_KEX_LISTS], char *ret, size_t size)
{
	static const char *const words[N_KEX_LISTS] = {
		"key exchange", "host key algorithm", "cipher", "cipher", "MAC", "MAC", "compression", "compression"
	};

	for (size_t i = 0; i < N_KEX_LISTS; i++) {
		struct bytes theirs = k->lists[i];
		size_t len;

		if (choose(theirs, ours[i], &len))
			continue;
		if ((i == KEX_MACS_CS || i == KEX_MACS_SC) && !needs_mac(k, ours, i - KEX_MACS_CS + KEX_CIPHERS_CS))
			continue;
		snprintf(ret, size, "no %s in common: the server has %.*s%s, we have %s", words[i], (int)MIN(theirs.len, SHOWN_MAX),
			 (const char *)theirs.p, theirs.len > SHOWN_MAX ? "..." : "", ours[i]);
		return true;
	}
	return false;
}
