/*
 * ssh/known_hosts.c - see known_hosts.h.
 *
 * A line is [marker] names type key [comment]. What cannot be read is no entry: a line with an
 * unknown marker, or one of the first protocol (a number where the type is). A list of names
 * matches when one of its patterns does and no pattern with '!' in front; letters of both cases are
 * the same. A hashed name stands alone and has no patterns.
 *
 * Where OpenSSH would ask a person we refuse: a host known by a certificate authority alone
 * (certificates are not checked, so its line must not count as a plain key either), and a key of
 * another type than those known.
 */
#include "ssh/known_hosts.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define NAME_MAX_LEN 255

struct field {
	const char *p;
	size_t len;
};

enum marker { MARKER_NONE, MARKER_REVOKED, MARKER_CA, MARKER_BAD };

struct line {
	enum marker marker;
	struct field names, type, key;
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

/* ---- names ---- */

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

/*
 * '*' and '?' against a name in lower case. Only the last '*' is ever tried again, so that the time
 * is the product of the lengths at worst, whatever the file says.
 */
static bool pattern_match(struct field pattern, const char *name)
{
	const char *p = pattern.p, *end = p + pattern.len, *star = NULL, *resume = NULL;

	while (*name) {
		if (p < end && *p == '*') {
			star = ++p;
			resume = name;
		} else if (p < end && (*p == '?' || tolower((uint8_t)*p) == *name)) {
			p++;
			name++;
		} else if (star) {
			p = star;
			name = ++resume;
		} else {
			return false;
		}
	}
	while (p < end && *p == '*')
		p++;
	return p == end;
}

static bool list_match(struct field list, const char *name)
{
	bool found = false;

	for (const char *p = list.p, *end = list.p + list.len; p < end;) {
		const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
		bool negated = *p == '!';
		struct field one = { p + negated, (size_t)(stop - p) - negated };

		p = comma ? comma + 1 : end;
		if (one.len == 0 || !pattern_match(one, name))
			continue;
		if (negated)
			return false;
		found = true;
	}
	return found;
}

bool known_hosts_name_matches(struct bytes list, const char *name)
{
	struct field f = { (const char *)list.p, list.len };
	char low[NAME_MAX_LEN + 1];
	size_t len = strlen(name);

	if (len == 0 || len > NAME_MAX_LEN || f.len == 0)
		return false;
	for (size_t i = 0; i <= len; i++)
		low[i] = (char)tolower((uint8_t)name[i]);
	if (f.p[0] == '|')
		return f.len > 3 && memcmp(f.p, "|1|", 3) == 0 && hashed_match(f, low);
	return list_match(f, low);
}

/* ---- lines ---- */

static enum marker read_marker(struct field f)
{
	return is(f, "@revoked") ? MARKER_REVOKED : is(f, "@cert-authority") ? MARKER_CA : MARKER_BAD;
}

/* False when there is no entry in it. */
static bool read_line(const char *p, const char *end, struct line *ret)
{
	const char *at = p;
	struct field first = next_field(&at, end);
	bool marked = first.len > 0 && first.p[0] == '@';

	if (first.len == 0 || first.p[0] == '#')
		return false;
	ret->marker = marked ? read_marker(first) : MARKER_NONE;
	ret->names = marked ? next_field(&at, end) : first;
	ret->type = next_field(&at, end);
	ret->key = next_field(&at, end);
	if (ret->key.len > 0 && ret->key.p[ret->key.len - 1] == '\r')
		ret->key.len--;
	return ret->marker != MARKER_BAD && ret->key.len > 0 && !isdigit((uint8_t)ret->type.p[0]);
}

/* What is known under one name. */
struct verdict {
	bool match, mismatch, ca;
	unsigned line, revoked_line;
};

static struct verdict judge(struct bytes file, const char *name, const char *type, const char *blob_b64)
{
	const char *p = (const char *)file.p, *end = p + file.len;
	struct verdict v = { 0 };

	for (unsigned number = 1; p < end; number++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
		struct line l;
		bool entry = read_line(p, stop, &l);

		p = nl ? nl + 1 : end;
		if (!entry || !known_hosts_name_matches((struct bytes){ (const uint8_t *)l.names.p, l.names.len }, name))
			continue;
		if (l.marker == MARKER_REVOKED) {
			if (is(l.key, blob_b64) && !v.revoked_line)
				v.revoked_line = number;
		} else if (l.marker == MARKER_CA) {
			v.ca = true;
		} else if (is(l.type, type) && is(l.key, blob_b64)) {
			v.match = true;
		} else if (!v.mismatch) {
			v.mismatch = true;
			v.line = number;
		}
	}
	return v;
}

enum known_host known_hosts_check(struct bytes file, const char *const *names, const char *type, const char *blob_b64,
				  unsigned *ret_line)
{
	enum known_host found = KNOWN_HOST_UNKNOWN;
	unsigned line = 0;

	for (; *names; names++) {
		struct verdict v = judge(file, *names, type, blob_b64);

		if (v.revoked_line) {
			*ret_line = v.revoked_line;
			return KNOWN_HOST_REVOKED;
		}
		if (found == KNOWN_HOST_MATCH || found == KNOWN_HOST_MISMATCH)
			continue;
		if (v.match) {
			found = KNOWN_HOST_MATCH;
		} else if (v.mismatch) {
			found = KNOWN_HOST_MISMATCH;
			line = v.line;
		} else if (v.ca) {
			found = KNOWN_HOST_CA_ONLY;
		}
	}
	*ret_line = line;
	return found;
}

static bool speaks_of_any(const struct line *l, const char *const *names)
{
	for (; *names; names++)
		if (known_hosts_name_matches((struct bytes){ (const uint8_t *)l->names.p, l->names.len }, *names))
			return true;
	return false;
}

static void add_type(struct field type, char ret[256])
{
	size_t used = strlen(ret);
	char one[64];

	if (type.len == 0 || type.len >= sizeof(one))
		return;
	for (size_t i = 0; i < type.len; i++)
		if (!isalnum((uint8_t)type.p[i]) && !strchr("-@.", type.p[i]))
			return;
	snprintf(one, sizeof(one), "%.*s", (int)type.len, type.p);
	for (const char *p = ret; *p; p += strcspn(p, ","), p += *p == ',')
		if (strcspn(p, ",") == type.len && memcmp(p, one, type.len) == 0)
			return;
	if (used + type.len + 2 < 256)
		snprintf(ret + used, 256 - used, "%s%s", used ? "," : "", one);
}

void known_hosts_types(struct bytes file, const char *const *names, char ret[256])
{
	const char *p = (const char *)file.p, *end = p + file.len;

	ret[0] = '\0';
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)), *stop = nl ? nl : end;
		struct line l;

		if (read_line(p, stop, &l) && l.marker == MARKER_NONE && speaks_of_any(&l, names))
			add_type(l.type, ret);
		p = nl ? nl + 1 : end;
	}
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
