/*
 * ssh/conn_kex.c - the key exchange: what we offer, what came of it, and the key that the server showed.
 *
 * Against Terrapin (doc/ssh.md) a first handshake that ends with encrypt-then-MAC and no strict key exchange is given up with
 * ERR_AGAIN, and the worker dials once more with the lists that need none (@restricted). libssh2 tells neither that nor why no
 * algorithm was agreed on: both are read out of the server's first bytes, which the transport keeps (@seen).
 */
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "ssh/conn_internal.h"
#include "ssh/kexinit.h"
#include "ssh/terrapin.h"

static const char kex_list[] = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256";
/* What a key of a type may sign with, and the type as known_hosts has it. */
static const char *const key_algs[][2] = {
	{ "ssh-ed25519", "ssh-ed25519" },
	{ "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256" },
	{ "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384" },
	{ "ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521" },
	{ "rsa-sha2-512", "ssh-rsa" },
	{ "rsa-sha2-256", "ssh-rsa" },
};
static const char cipher_list[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr";
static const char mac_list[] = "hmac-sha2-256-etm@openssh.com,hmac-sha2-256";
static const char sign_list[] = "rsa-sha2-512,rsa-sha2-256"; /* by RSA keys */
static const char mac_list_restricted[] = "hmac-sha2-256";

/* ---- offered ---- */

static bool is_known_type(const char *types, const char *type)
{
	size_t len = strlen(type);

	for (const char *p = types; *p; p += strcspn(p, ","), p += *p == ',')
		if (strcspn(p, ",") == len && memcmp(p, type, len) == 0)
			return true;
	return false;
}

/* Those first of which a key of the host is known: another would look like another host. */
static void list_key_algs(const struct ssh_setup *s, char ret[256])
{
	size_t n = 0;

	for (int known = 1; known >= 0; known--)
		for (size_t i = 0; i < ARRAY_SIZE(key_algs); i++)
			if (is_known_type(s->key_types, key_algs[i][1]) == known)
				n += (size_t)snprintf(ret + n, 256 - n, "%s%s", n ? "," : "", key_algs[i][0]);
}

static const char *our_macs(const struct ssh_conn *c)
{
	return c->restricted ? mac_list_restricted : mac_list;
}

bool ssh_conn_set_methods(struct ssh_conn *c)
{
	char keys[256];
	static const struct {
		int which;
		const char *list;
	} prefs[] = {
		{ LIBSSH2_METHOD_KEX, kex_list },	  { LIBSSH2_METHOD_CRYPT_CS, cipher_list },
		{ LIBSSH2_METHOD_CRYPT_SC, cipher_list }, { LIBSSH2_METHOD_COMP_CS, "none" },
		{ LIBSSH2_METHOD_COMP_SC, "none" },	  { LIBSSH2_METHOD_SIGN_ALGO, sign_list },
	};
	const char *macs = our_macs(c);

	list_key_algs(c->setup, keys);
	if (libssh2_session_method_pref(c->session, LIBSSH2_METHOD_HOSTKEY, keys) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(prefs); i++)
		if (libssh2_session_method_pref(c->session, prefs[i].which, prefs[i].list) != 0)
			return false;
	return libssh2_session_method_pref(c->session, LIBSSH2_METHOD_MAC_CS, macs) == 0 &&
	       libssh2_session_method_pref(c->session, LIBSSH2_METHOD_MAC_SC, macs) == 0;
}

/* ---- agreed on ---- */

static bool is_open_to_terrapin(const struct ssh_conn *c)
{
	LIBSSH2_SESSION *s = c->session;

	return terrapin_is_open(libssh2_session_methods(s, LIBSSH2_METHOD_CRYPT_CS),
				libssh2_session_methods(s, LIBSSH2_METHOD_MAC_CS)) ||
	       terrapin_is_open(libssh2_session_methods(s, LIBSSH2_METHOD_CRYPT_SC),
				libssh2_session_methods(s, LIBSSH2_METHOD_MAC_SC));
}

/* The library only says that it could not. */
static void fail_handshake(struct ssh_conn *c, const char *banner)
{
	char keys[256], why[SSH_ERROR_TEXT_MAX];
	const char *ours[N_KEX_LISTS] = { kex_list, keys, cipher_list, cipher_list, our_macs(c), our_macs(c), "none", "none" };
	struct ssh_kexinit k;

	list_key_algs(c->setup, keys);
	if (ssh_kexinit_parse((struct bytes){ c->seen, c->n_seen }, banner, &k) && ssh_kexinit_mismatch(&k, ours, why, sizeof(why)))
		ssh_conn_fail(c, ERR_ALGORITHM, "%s%s", why, c->restricted ? " for a server without strict key exchange" : "");
	else
		ssh_conn_fail_by_library(c, "SSH key exchange failed");
}

void ssh_conn_step_handshake(struct ssh_conn *c)
{
	int r = libssh2_session_handshake(c->session, 1000000);
	const char *banner = libssh2_session_banner_get(c->session);

	if (r == LIBSSH2_ERROR_EAGAIN)
		return;
	if (r != 0) {
		fail_handshake(c, banner ? banner : "");
		return;
	}
	if (!terrapin_strict_kex((struct bytes){ c->seen, c->n_seen }, banner ? banner : "") && is_open_to_terrapin(c)) {
		/* ERR_AGAIN asks the worker to dial once more with the restricted lists. */
		ssh_conn_fail(c, c->restricted ? ERR_PROTOCOL : ERR_AGAIN,
			      "the server offers no algorithms that are safe without strict key exchange");
		return;
	}
	c->state = SSH_HOST_KEY;
}

/* ---- the host key ---- */

/* The blob begins with its type as a string, which known_hosts writes in front of it. */
bool ssh_conn_host_key(const struct ssh_conn *c, char ret_type[64], struct bytes *ret_blob)
{
	size_t len, type_len;
	int type;
	const uint8_t *blob = (const uint8_t *)libssh2_session_hostkey(c->session, &len, &type);

	if (!blob || len < 4)
		return false;
	type_len = get_be32(blob);
	if (type_len == 0 || type_len > len - 4 || type_len > 63)
		return false;
	memcpy(ret_type, blob + 4, type_len);
	ret_type[type_len] = '\0';
	*ret_blob = (struct bytes){ blob, len };
	return strlen(ret_type) == type_len;
}

void ssh_conn_verdict(struct ssh_conn *c, enum err e, const char *message)
{
	if (c->state != SSH_HOST_KEY)
		return;
	if (e != OK)
		ssh_conn_fail(c, e, "%s", message);
	else
		c->state = SSH_AUTH;
}
