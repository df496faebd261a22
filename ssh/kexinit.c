/* ssh/kexinit.c - see kexinit.h. */
#include "ssh/kexinit.h"

#include <string.h>

#include "base/endian.h"

#define MSG_KEXINIT 20
#define COOKIE_LEN 16
#define HEAD_LEN (4 + 1 + 1 + COOKIE_LEN + 4) /* packet length, padding length, type, cookie, length of the list */

/* What follows the server's version string; empty when that is not whole. */
static struct bytes after_version(struct bytes b)
{
	for (;;) {
		const uint8_t *nl = b.len ? memchr(b.p, '\n', b.len) : NULL;
		bool version = b.len >= 4 && memcmp(b.p, "SSH-", 4) == 0;

		if (!nl)
			return (struct bytes){ NULL, 0 };
		b.len -= (size_t)(nl + 1 - b.p);
		b.p = nl + 1;
		if (version)
			return b;
	}
}

static bool list_has(const char *list, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	for (const char *end = list + len; list < end;) {
		const char *comma = memchr(list, ',', (size_t)(end - list));
		size_t one = (size_t)((comma ? comma : end) - list);

		if (one == name_len && memcmp(list, name, one) == 0)
			return true;
		list += one + 1;
	}
	return false;
}

bool ssh_kexinit_offers(struct bytes seen, const char *name)
{
	struct bytes b = after_version(seen);
	uint32_t packet_len, list_len;

	if (b.len < HEAD_LEN || b.p[5] != MSG_KEXINIT)
		return false;
	packet_len = get_be32(b.p);
	list_len = get_be32(b.p + HEAD_LEN - 4);
	/* The list lies in the packet, and the packet in what was seen of it. */
	if (packet_len < HEAD_LEN - 4 || list_len > packet_len - (HEAD_LEN - 4) || list_len > b.len - HEAD_LEN)
		return false;
	return list_has((const char *)b.p + HEAD_LEN, list_len, name);
}
