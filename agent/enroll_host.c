/*
 * agent/enroll_host.c - the keys of this machine's SSH server, for the operator to know it by.
 *
 * The keys are asked of the server that ssh_addr names (by ssh-keyscan), not read from files: so they are those that the
 * operator will meet.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "agent/enroll.h"
#include "agent/program.h"

/* ---- the SSH server's keys ---- */

static void take_key(struct agent_enroll *a, const char *line, size_t len)
{
	const char *space = memchr(line, ' ', len);
	size_t key_len = space ? len - (size_t)(space + 1 - line) : 0;

	if (line[0] == '#' || key_len == 0 || key_len >= ENROLL_HOST_KEY_LEN || a->req.n_host_keys == ENROLL_HOST_KEYS_MAX)
		return;
	memcpy(a->req.host_keys[a->req.n_host_keys], space + 1, key_len);
	a->req.host_keys[a->req.n_host_keys++][key_len] = '\0';
}

void agent_enroll_host_keys(struct agent_enroll *a)
{
	char host[256], out[8192];
	const char *colon = strrchr(a->ssh_addr, ':');
	char *argv[] = { "ssh-keyscan", "-T", "2", "-p", colon ? (char *)colon + 1 : "22", host, NULL };
	size_t len = colon ? (size_t)(colon - a->ssh_addr) : strlen(a->ssh_addr);

	if (len >= 2 && a->ssh_addr[0] == '[')
		snprintf(host, sizeof(host), "%.*s", (int)len - 2, a->ssh_addr + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)len, a->ssh_addr);
	if (!host[0] || host[0] == '-' || agent_program_run(argv, out, sizeof(out)) != 0)
		return;
	for (const char *p = out; *p;) {
		size_t n = strcspn(p, "\n");

		take_key(a, p, n);
		p += n + (p[n] == '\n');
	}
}

bool agent_enroll_fingerprint(const char *key, char ret[64])
{
	uint8_t blob[ENROLL_HOST_KEY_LEN], hash[crypto_hash_sha256_BYTES];
	const char *b64 = strchr(key, ' ');
	size_t len;

	if (!b64 || sodium_base642bin(blob, sizeof(blob), b64 + 1, strlen(b64 + 1), NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
		return false;
	crypto_hash_sha256(hash, blob, len);
	strcpy(ret, "SHA256:");
	sodium_bin2base64(ret + 7, 57, hash, sizeof(hash), sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
	return true;
}
