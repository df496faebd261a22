/* ssh/known_hosts.c - see known_hosts.h; the format is that of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT. */
#include "ssh/known_hosts.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

struct field {
	const char *p;
	size_t len;
};

static struct field next_field(const char **at, const char *end)
{
	struct field f;

	while (*at < end && (**at == ' ' || **at == '\t'))
		++*at;
	f.p = *at;
	while (*at < end && **at != ' ' && **at != '\t')
		++*at;
	f.len = (size_t)(*at - f.p);
	return f;
}

static bool is(struct field f, const char *s)
{
	return f.len == strlen(s) && memcmp(f.p, s, f.len) == 0;
}

static bool decode(struct field f, uint8_t *out, size_t want)
{
	uint8_t buf[64];
	int n;

	if (f.len == 0 || f.len > 44 || f.len % 4)
		return false;
	n = EVP_DecodeBlock(buf, (const uint8_t *)f.p, (int)f.len);
	/* EVP_DecodeBlock counts the padding as bytes. */
	if (n < (int)want || n > (int)want + 2)
		return false;
	memcpy(out, buf, want);
	return true;
}

/* "|1|salt|hash": HMAC-SHA1 of the name under the salt. */
static bool hashed_match(struct field pattern, const char *name)
{
	const char *bar = memchr(pattern.p + 3, '|', pattern.len - 3);
	struct field salt, hash;
	uint8_t s[20], want[20], got[20];
	unsigned len = 0;

	if (!bar)
		return false;
	salt = (struct field){ pattern.p + 3, (size_t)(bar - pattern.p) - 3 };
	hash = (struct field){ bar + 1, pattern.len - (size_t)(bar + 1 - pattern.p) };
	return decode(salt, s, 20) && decode(hash, want, 20) &&
	       HMAC(EVP_sha1(), s, 20, (const uint8_t *)name, strlen(name), got, &len) && memcmp(got, want, 20) == 0;
}

static bool name_matches(struct field list, const char *name)
{
	if (list.len > 3 && memcmp(list.p, "|1|", 3) == 0)
		return hashed_match(list, name);
	for (const char *p = list.p, *end = list.p + list.len; p < end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		struct field one = { p, (size_t)((comma ? comma : end) - p) };

		if (is(one, name))
			return true;
		p = comma ? comma + 1 : end;
	}
	return false;
}

static bool any_name_matches(struct field list, const char *const *names)
{
	for (; *names; names++)
		if (name_matches(list, *names))
			return true;
	return false;
}

enum known_host known_hosts_check(struct bytes file, const char *const *names, const char *type, const char *blob_b64,
				  unsigned *ret_line)
{
	const char *p = (const char *)file.p, *end = p + file.len;
	enum known_host found = KNOWN_HOST_UNKNOWN;
	bool ca = false;

	for (unsigned line = 1; p < end; line++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end, *at = p;
		struct field first = next_field(&at, stop), hosts = first, key_type, blob;
		bool marked = first.len > 0 && first.p[0] == '@';

		p = nl ? nl + 1 : end;
		if (first.len == 0 || first.p[0] == '#')
			continue;
		if (marked)
			hosts = next_field(&at, stop);
		key_type = next_field(&at, stop);
		blob = next_field(&at, stop);
		if (blob.len > 0 && blob.p[blob.len - 1] == '\r')
			blob.len--;
		if (!any_name_matches(hosts, names) && !(marked && is(hosts, "*")))
			continue;
		if (marked && is(first, "@revoked")) {
			if (is(blob, blob_b64)) {
				*ret_line = line;
				return KNOWN_HOST_REVOKED;
			}
		} else if (marked) {
			ca = true;
		} else if (is(key_type, type) && is(blob, blob_b64)) {
			found = KNOWN_HOST_MATCH;
		} else if (found == KNOWN_HOST_UNKNOWN) {
			found = KNOWN_HOST_MISMATCH;
			*ret_line = line;
		}
	}
	return found == KNOWN_HOST_UNKNOWN && ca ? KNOWN_HOST_CA_ONLY : found;
}

void known_hosts_fingerprint(struct bytes blob, char ret[64])
{
	uint8_t hash[32], text[48];
	unsigned len = 0;

	EVP_Digest(blob.p, blob.len, hash, &len, EVP_sha256(), NULL);
	EVP_EncodeBlock(text, hash, sizeof(hash));
	text[43] = '\0'; /* without the padding */
	snprintf(ret, 64, "SHA256:%s", (char *)text);
}
