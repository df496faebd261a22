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

#include "ssh/kexinit.h"

bool terrapin_strict_kex(struct bytes first, const char *banner)
{
	static const char name[] = "kex-strict-s-v00@openssh.com";
	struct ssh_kexinit k;

	return ssh_kexinit_parse(first, banner, &k) && ssh_kexinit_has(k.lists[KEX_METHODS], name, sizeof(name) - 1);
}

bool terrapin_is_open(const char *cipher, const char *mac)
{
	if (cipher && strstr(cipher, "gcm"))
		return false;
	return !cipher || !mac || strstr(cipher, "chacha20") || strstr(cipher, "-cbc") || strstr(mac, "-etm");
}
