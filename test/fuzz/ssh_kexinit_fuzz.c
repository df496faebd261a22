/* A server's first bytes: lists within them, or nothing; what is missing is said in bounded words. */
#include "ssh/kexinit.h"

#include "test/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const ours[N_KEX_LISTS] = { "curve25519-sha256,ecdh-sha2-nistp256", "ssh-ed25519,rsa-sha2-256",
						       "aes128-gcm@openssh.com,aes128-ctr", "aes128-gcm@openssh.com,aes128-ctr",
						       "hmac-sha2-256", "hmac-sha2-256", "none", "none" };
	const uint8_t *end = size ? memchr(data, '\r', size) : NULL;
	char *banner = fuzz_text(data, end ? (size_t)(end - data) : 0), why[600];
	struct ssh_kexinit k;

	if (ssh_kexinit_parse((struct bytes){ data, size }, banner, &k)) {
		for (size_t i = 0; i < N_KEX_LISTS; i++)
			ASSERT(k.lists[i].p >= data && k.lists[i].len <= size && k.lists[i].p + k.lists[i].len <= data + size);
		if (ssh_kexinit_mismatch(&k, ours, why, sizeof(why)))
			ASSERT(strncmp(why, "no ", 3) == 0 && strlen(why) < 500);
		else
			ASSERT(ssh_kexinit_has(k.lists[KEX_COMPRESSION_CS], "none", 4));
	}
	free(banner);
	return 0;
}
