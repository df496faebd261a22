/*
 * ssh/terrapin.c - see terrapin.h.
 *
 * The SSH library does strict key exchange when the server offers it, but does not tell whether it
 * did. So the server's KEXINIT is read a second time here, out of the raw bytes. The attacker of
 * Terrapin sits on the way and may put bytes in front of the identification line and packets in
 * front of KEXINIT, none of which is authenticated; a look for the word anywhere would believe him.
 */
#include "ssh/terrapin.h"

#include <string.h>

#include "base/endian.h"

#define MSG_KEXINIT 20
#define COOKIE_BYTES 16

static bool list_has(const uint8_t *p, size_t len, const char *name)
{
	size_t want = strlen(name);

	while (len > 0) {
		const uint8_t *comma = memchr(p, ',', len);
		size_t n = comma ? (size_t)(comma - p) : len;

		if (n == want && memcmp(p, name, n) == 0)
			return true;
		p += n + (comma != NULL);
		len -= n + (comma != NULL);
	}
	return false;
}

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

bool terrapin_strict_kex(struct bytes first, const char *banner)
{
	size_t at = skip_banner(first, banner), len, list;
	const uint8_t *p = first.p + at;

	/* u32 length, u8 padding, u8 type, cookie, u32 length of the first list */
	if (at == 0 || first.len - at < 6 + COOKIE_BYTES + 4)
		return false;
	len = get_be32(p);
	list = get_be32(p + 6 + COOKIE_BYTES);
	if (p[5] != MSG_KEXINIT || len > first.len - at - 4 || len < 2 + COOKIE_BYTES + 4 ||
	    list > len - 2 - COOKIE_BYTES - 4)
		return false;
	return list_has(p + 6 + COOKIE_BYTES + 4, list, "kex-strict-s-v00@openssh.com");
}

bool terrapin_is_open(const char *cipher, const char *mac)
{
	if (cipher && strstr(cipher, "gcm"))
		return false;
	return !cipher || !mac || strstr(cipher, "chacha20") || strstr(cipher, "-cbc") || strstr(mac, "-etm");
}
