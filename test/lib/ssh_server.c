/* test/lib/ssh_server.c - see ssh_server.h. */
#include "test/lib/ssh_server.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/endian.h"
#include "ssh/frame.h"

#define BANNER "SSH-2.0-test_server"
#define PACKET_MAX 300000

enum { MSG_DISCONNECT = 1, MSG_IGNORE = 2, MSG_SERVICE_REQUEST = 5, MSG_SERVICE_ACCEPT = 6, MSG_EXT_INFO = 7, MSG_KEXINIT = 20,
       MSG_NEWKEYS = 21, MSG_ECDH_INIT = 30, MSG_ECDH_REPLY = 31, MSG_USERAUTH_REQUEST = 50, MSG_USERAUTH_FAILURE = 51,
       MSG_USERAUTH_SUCCESS = 52, MSG_USERAUTH_BANNER = 53, MSG_USERAUTH_PK_OK = 60, MSG_CHANNEL_OPEN = 90,
       MSG_CHANNEL_CONFIRM = 91, MSG_CHANNEL_OPEN_FAILURE = 92, MSG_WINDOW = 93, MSG_CHANNEL_DATA = 94, MSG_CHANNEL_EOF = 96,
       MSG_CHANNEL_CLOSE = 97, MSG_CHANNEL_REQUEST = 98, MSG_CHANNEL_SUCCESS = 99, MSG_CHANNEL_FAILURE = 100 };

/* One direction. */
struct way {
	bool on, gcm, etm;
	size_t key_len;
	uint8_t key[32], iv[16], mac_key[32];
	uint32_t seq;
	EVP_CIPHER_CTX *ctr;
};

struct server {
	const struct ssh_server *o;
	struct way in, out;
	char client_banner[256];
	struct ssh_buf client_init, server_init; /* payloads of KEXINIT */
	uint8_t packet[PACKET_MAX];
	uint8_t hash[32];
	char cipher[64], mac[64];
};

NORETURN static void over(void)
{
	_exit(0);
}

static void must(bool ok)
{
	if (!ok)
		over();
}

static void put_raw(struct server *s, const void *p, size_t len)
{
	const uint8_t *at = p;

	while (len > 0) {
		ssize_t n = send(s->o->fd, at, len, MSG_NOSIGNAL);

		must(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

static void get_raw(struct server *s, void *p, size_t len)
{
	uint8_t *at = p;

	while (len > 0) {
		ssize_t n = read(s->o->fd, at, len);

		must(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

/* ---- payloads ---- */

static void add(struct ssh_buf *b, const void *p, size_t len)
{
	must(ssh_buf_add(b, p, len) == OK);
}

static void add8(struct ssh_buf *b, uint8_t v)
{
	add(b, &v, 1);
}

static void add32(struct ssh_buf *b, uint32_t v)
{
	uint8_t p[4];

	put_be32(p, v);
	add(b, p, 4);
}

static void add_string(struct ssh_buf *b, const void *p, size_t len)
{
	add32(b, (uint32_t)len);
	add(b, p, len);
}

static void add_text(struct ssh_buf *b, const char *s)
{
	add_string(b, s, strlen(s));
}

/* ---- packets ---- */

static void hmac(const struct way *w, const uint8_t *p, size_t len, uint8_t out[32])
{
	struct ssh_buf b = { 0 };
	unsigned n = 32;

	add32(&b, w->seq);
	add(&b, p, len);
	must(HMAC(EVP_sha256(), w->mac_key, 32, b.p, ssh_buf_used(&b), out, &n) != NULL);
	ssh_buf_fini(&b);
}

static void gcm(struct way *w, bool seal, const uint8_t aad[4], uint8_t *p, size_t len, uint8_t tag[16])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	must(EVP_CipherInit_ex(c, w->key_len == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(), NULL, w->key, w->iv, seal) == 1);
	if (!seal)
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, 16, tag);
	must(EVP_CipherUpdate(c, NULL, &n, aad, 4) == 1 && EVP_CipherUpdate(c, p, &n, p, (int)len) == 1);
	must(EVP_CipherFinal_ex(c, p, &n) == 1);
	if (seal)
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, tag);
	EVP_CIPHER_CTX_free(c);
	put_be64(w->iv + 4, get_be64(w->iv + 4) + 1);
}

static void ctr(struct way *w, uint8_t *p, size_t len)
{
	int n;

	must(EVP_CipherUpdate(w->ctr, p, &n, p, (int)len) == 1);
}

static void send_payload(struct server *s, const uint8_t *payload, size_t len)
{
	struct way *w = &s->out;
	size_t block = w->on ? 16 : 8, clear = w->on && (w->gcm || w->etm) ? 4 : 0;
	size_t pad = block - (5 + len - clear) % block, total;
	struct ssh_buf b = { 0 };
	uint8_t mac[32];

	pad += pad < 4 ? block : 0;
	total = 1 + len + pad;
	add32(&b, (uint32_t)total);
	add8(&b, (uint8_t)pad);
	add(&b, payload, len);
	memset(ssh_buf_room(&b, pad), 0, pad);
	b.len += pad;
	if (w->on && s->o->fault == SERVER_CRYPTED_HUGE && clear)
		put_be32(b.p, 0xfffffff0u);
	if (w->on && s->o->fault == SERVER_CRYPTED_TINY && clear)
		put_be32(b.p, 0);
	/* Shorter than a block, with a MAC that is right. */
	if (w->on && s->o->fault == SERVER_CRYPTED_SHORT && clear) {
		total = 4;
		put_be32(b.p, 4);
		b.len = 8;
	}
	if (w->on && w->gcm) {
		gcm(w, true, b.p, b.p + 4, total, mac);
		mac[0] ^= s->o->fault == SERVER_BAD_TAG;
		add(&b, mac, 16);
	} else if (w->on) {
		if (!w->etm)
			hmac(w, b.p, b.len, mac);
		ctr(w, b.p + clear, b.len - clear);
		if (w->etm)
			hmac(w, b.p, b.len, mac);
		mac[0] ^= s->o->fault == SERVER_BAD_TAG;
		add(&b, mac, 32);
	}
	put_raw(s, b.p, b.len);
	w->seq++;
	ssh_buf_fini(&b);
}

static void send_buf(struct server *s, struct ssh_buf *b)
{
	send_payload(s, b->p, ssh_buf_used(b));
	ssh_buf_fini(b);
}

/* The payload of the next packet, in @packet. */
static size_t recv_payload(struct server *s)
{
	struct way *w = &s->in;
	uint8_t *p = s->packet, mac[32];
	size_t first = !w->on ? 4 : w->gcm || w->etm ? 4 : 16, total, len;

	get_raw(s, p, first);
	if (w->on && first == 16)
		ctr(w, p, 16);
	total = get_be32(p);
	must(total >= 5 && total < PACKET_MAX - 64);
	get_raw(s, p + first, 4 + total - first);
	if (w->on && w->gcm) {
		get_raw(s, mac, 16);
		gcm(w, false, p, p + 4, total, mac);
	} else if (w->on) {
		get_raw(s, mac, 32);
		ctr(w, p + first, 4 + total - first);
	}
	w->seq++;
	len = total - 1 - p[4];
	memmove(p, p + 5, len);
	return len;
}

/* The next packet of @type; others are passed over. */
static size_t await(struct server *s, uint8_t type)
{
	size_t len;

	do
		len = recv_payload(s);
	while (s->packet[0] != type);
	return len;
}

/* ---- before the key exchange ---- */

static void endless(struct server *s, const char *text)
{
	for (;;)
		put_raw(s, text, strlen(text));
}

static void drip(struct server *s)
{
	for (;;) {
		put_raw(s, "x", 1);
		poll(NULL, 0, 200);
	}
}

static void raw_packet(struct server *s, uint32_t len, uint8_t type)
{
	uint8_t p[64] = { 0 };

	put_be32(p, len);
	p[4] = 6;
	p[5] = type;
	put_raw(s, p, 16);
}

static void greet(struct server *s)
{
	size_t n = 0;

	if (s->o->preamble)
		put_raw(s, s->o->preamble, strlen(s->o->preamble));
	if (s->o->fault == SERVER_CLOSE_AT_ONCE)
		over();
	if (s->o->fault == SERVER_SILENT)
		for (;;)
			pause();
	if (s->o->fault == SERVER_DRIP)
		drip(s);
	if (s->o->fault == SERVER_ENDLESS_LINE)
		endless(s, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	if (s->o->fault == SERVER_ENDLESS_LINES)
		endless(s, "welcome to a friendly host, please wait a little longer\r\n");
	if (s->o->fault == SERVER_NUL_BANNER)
		put_raw(s, "SSH-2.0-\0\0\r\n", 12);
	put_raw(s, BANNER "\r\n", strlen(BANNER) + 2);
	if (s->o->fault == SERVER_CLOSE_BANNER)
		over();
	do
		get_raw(s, s->client_banner + n, 1);
	while (s->client_banner[n] != '\n' && ++n < sizeof(s->client_banner) - 1);
	s->client_banner[n > 0 && s->client_banner[n - 1] == '\r' ? n - 1 : n] = '\0';
}

static void break_early(struct server *s)
{
	static const uint8_t ignore[] = { MSG_IGNORE, 0, 0, 0, 0 }, newkeys[] = { MSG_NEWKEYS };
	uint8_t junk[4096];

	switch (s->o->fault) {
	case SERVER_GARBAGE:
		for (int i = 0; i < 16; i++) {
			RAND_bytes(junk, sizeof(junk));
			put_raw(s, junk, sizeof(junk));
		}
		over();
	case SERVER_HUGE_PACKET:
		raw_packet(s, 0xfffffffcu, MSG_KEXINIT);
		pause();
		break;
	case SERVER_TINY_PACKET:
		raw_packet(s, 1, MSG_KEXINIT);
		pause();
		break;
	case SERVER_NEWKEYS_FIRST:
		send_payload(s, newkeys, 1);
		pause();
		break;
	case SERVER_IGNORE_FIRST:
		send_payload(s, ignore, sizeof(ignore));
		break;
	case SERVER_ENDLESS_IGNORE:
		for (;;)
			send_payload(s, ignore, sizeof(ignore));
	case SERVER_SHORT_KEXINIT:
		send_payload(s, (const uint8_t *)"\24abcdefghijklmnop\0\0\377\377x", 22);
		pause();
		break;
	default:
		break;
	}
}

/* ---- key exchange ---- */

static void send_kexinit(struct server *s)
{
	struct ssh_buf *b = &s->server_init;
	char kex[128];
	uint8_t cookie[16];

	snprintf(kex, sizeof(kex), "curve25519-sha256%s", s->o->strict ? ",kex-strict-s-v00@openssh.com" : "");
	RAND_bytes(cookie, sizeof(cookie));
	add8(b, MSG_KEXINIT);
	add(b, cookie, sizeof(cookie));
	add_text(b, kex);
	add_text(b, "ssh-ed25519");
	for (int i = 0; i < 2; i++)
		add_text(b, s->o->ciphers);
	for (int i = 0; i < 2; i++)
		add_text(b, s->o->macs);
	add_text(b, "none");
	add_text(b, "none");
	add_text(b, "");
	add_text(b, "");
	add8(b, 0);
	add32(b, 0);
	send_payload(s, b->p, ssh_buf_used(b));
}

/* The client's list number @n (0 the key exchange, 2 its cipher, 4 its MAC). */
static struct bytes client_list(const struct server *s, int n)
{
	const uint8_t *p = s->client_init.p + 17;

	for (; n > 0; n--)
		p += 4 + get_be32(p);
	return (struct bytes){ p + 4, get_be32(p) };
}

static bool list_has(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, name, len) == 0 && (p[len] == ',' || !p[len]))
			return true;
	return false;
}

/* The first of the client's that is in ours. */
static void choose(struct bytes theirs, const char *ours, char ret[64])
{
	char list[1024], *at = list, *name;

	must(theirs.len < sizeof(list));
	memcpy(list, theirs.p, theirs.len);
	list[theirs.len] = '\0';
	ret[0] = '\0';
	while ((name = strsep(&at, ",")) && !ret[0])
		if (list_has(ours, name))
			snprintf(ret, 64, "%s", name);
}

static void add_mpint(struct ssh_buf *b, const uint8_t *p, size_t len)
{
	while (len > 0 && *p == 0) {
		p++;
		len--;
	}
	add32(b, (uint32_t)(len + (len > 0 && *p >= 0x80)));
	if (len > 0 && *p >= 0x80)
		add8(b, 0);
	add(b, p, len);
}

static EVP_PKEY *new_key(int type, uint8_t public_key[32])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(type, NULL);
	EVP_PKEY *key = NULL;
	size_t len = 32;

	must(EVP_PKEY_keygen_init(c) == 1 && EVP_PKEY_keygen(c, &key) == 1 &&
	     EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1);
	EVP_PKEY_CTX_free(c);
	return key;
}

static void derive(const struct server *s, const struct ssh_buf *secret, char letter, uint8_t *out)
{
	struct ssh_buf b = { 0 };
	unsigned n;

	add(&b, secret->p, ssh_buf_used(secret));
	add(&b, s->hash, 32);
	add8(&b, (uint8_t)letter);
	add(&b, s->hash, 32);
	EVP_Digest(b.p, ssh_buf_used(&b), out, &n, EVP_sha256(), NULL);
	ssh_buf_fini(&b);
}

static void set_way(struct server *s, struct way *w, const struct ssh_buf *secret, const char letters[3], bool encrypt)
{
	uint8_t iv[32];

	w->gcm = strstr(s->cipher, "gcm") != NULL;
	w->etm = strstr(s->mac, "etm") != NULL && !w->gcm;
	w->key_len = strstr(s->cipher, "128") ? 16 : 32;
	derive(s, secret, letters[0], iv);
	memcpy(w->iv, iv, 16);
	derive(s, secret, letters[1], w->key);
	derive(s, secret, letters[2], w->mac_key);
	if (!w->gcm) {
		w->ctr = EVP_CIPHER_CTX_new();
		EVP_CipherInit_ex(w->ctr, w->key_len == 16 ? EVP_aes_128_ctr() : EVP_aes_256_ctr(), NULL, w->key, w->iv,
				  encrypt);
	}
}

static void hash_exchange(struct server *s, struct bytes host_key, const uint8_t *client, const uint8_t *server,
			  const struct ssh_buf *secret)
{
	struct ssh_buf b = { 0 };
	unsigned n;

	add_text(&b, s->client_banner);
	add_text(&b, BANNER);
	add_string(&b, s->client_init.p, ssh_buf_used(&s->client_init));
	add_string(&b, s->server_init.p, ssh_buf_used(&s->server_init));
	add_string(&b, host_key.p, host_key.len);
	add_string(&b, client, 32);
	add_string(&b, server, 32);
	add(&b, secret->p, ssh_buf_used(secret));
	EVP_Digest(b.p, ssh_buf_used(&b), s->hash, &n, EVP_sha256(), NULL);
	ssh_buf_fini(&b);
}

static void make_host_key(struct server *s, EVP_PKEY **ret_key, struct ssh_buf *blob)
{
	/* The same in every process: a server that is dialled twice is one host. */
	static const uint8_t seed[32] = "a host key for tests, not secret";
	uint8_t public_key[32];
	size_t len = 32;

	*ret_key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, 32);
	must(*ret_key && EVP_PKEY_get_raw_public_key(*ret_key, public_key, &len) == 1);
	if (s->o->fault == SERVER_EMPTY_HOST_KEY)
		return;
	add_text(blob, s->o->fault == SERVER_BAD_HOST_KEY ? "ssh-ed25519\n@x" : "ssh-ed25519");
	add_string(blob, public_key, s->o->fault == SERVER_BAD_HOST_KEY ? 7 : 32);
}

static void send_reply(struct server *s, EVP_PKEY *key, const struct ssh_buf *blob, const uint8_t point[32])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	struct ssh_buf b = { 0 }, sig = { 0 };
	uint8_t raw[64];
	size_t len = sizeof(raw);

	must(EVP_DigestSignInit(c, NULL, NULL, NULL, key) == 1 && EVP_DigestSign(c, raw, &len, s->hash, 32) == 1);
	EVP_MD_CTX_free(c);
	raw[5] ^= s->o->fault == SERVER_BAD_SIGNATURE;
	add_text(&sig, "ssh-ed25519");
	add_string(&sig, raw, len);
	add8(&b, MSG_ECDH_REPLY);
	add_string(&b, blob->p, ssh_buf_used(blob));
	add_string(&b, point, 32);
	add_string(&b, sig.p, ssh_buf_used(&sig));
	send_buf(s, &b);
	ssh_buf_fini(&sig);
}

static void exchange_keys(struct server *s)
{
	struct ssh_buf blob = { 0 }, secret = { 0 };
	uint8_t point[32], theirs[32], shared[32];
	size_t len = await(s, MSG_ECDH_INIT);
	EVP_PKEY *mine = new_key(EVP_PKEY_X25519, point), *peer, *host;
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(mine, NULL);

	must(len == 37);
	memcpy(theirs, s->packet + 5, 32);
	peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, theirs, 32);
	len = 32;
	must(EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_derive_set_peer(c, peer) == 1 && EVP_PKEY_derive(c, shared, &len) == 1);
	add_mpint(&secret, shared, 32);
	make_host_key(s, &host, &blob);
	if (s->o->fault == SERVER_ZERO_POINT)
		memset(point, 0, sizeof(point));
	hash_exchange(s, (struct bytes){ blob.p, ssh_buf_used(&blob) }, theirs, point, &secret);
	send_reply(s, host, &blob, point);
	if (s->o->fault == SERVER_CLOSE_REPLY)
		over();
	send_payload(s, (const uint8_t *)"\25", 1);
	set_way(s, &s->out, &secret, "BDF", true);
	s->out.on = true;
	if (s->o->strict)
		s->out.seq = 0;
	await(s, MSG_NEWKEYS);
	set_way(s, &s->in, &secret, "ACE", false);
	s->in.on = true;
	if (s->o->strict)
		s->in.seq = 0;
	if (s->o->fault == SERVER_CLOSE_NEWKEYS)
		over();
}

static void key_exchange(struct server *s)
{
	char text[160];
	size_t len;

	break_early(s);
	send_kexinit(s);
	if (s->o->fault == SERVER_CLOSE_KEXINIT)
		over();
	len = await(s, MSG_KEXINIT);
	add(&s->client_init, s->packet, len);
	choose(client_list(s, 2), s->o->ciphers, s->cipher);
	choose(client_list(s, 4), s->o->macs, s->mac);
	snprintf(text, sizeof(text), "%s %s\n", s->cipher, strstr(s->cipher, "gcm") ? "-" : s->mac);
	if (s->o->report_fd >= 0)
		must(write(s->o->report_fd, text, strlen(text)) > 0);
	exchange_keys(s);
}

/* ---- login ---- */

static void send_ext_info(struct server *s)
{
	struct ssh_buf b = { 0 };

	if (s->o->fault != SERVER_EXT_INFO_COUNT && s->o->fault != SERVER_EXT_INFO_LENGTH)
		return;
	add8(&b, MSG_EXT_INFO);
	add32(&b, s->o->fault == SERVER_EXT_INFO_COUNT ? 0xffffffffu : 2);
	add32(&b, s->o->fault == SERVER_EXT_INFO_LENGTH ? 0xfffffff0u : 3);
	add(&b, "abc", 3);
	send_buf(s, &b);
}

static void login(struct server *s)
{
	struct ssh_buf b = { 0 };
	bool signed_now = false;

	send_ext_info(s);
	await(s, MSG_SERVICE_REQUEST);
	if (s->o->fault == SERVER_CLOSE_SERVICE)
		over();
	add8(&b, MSG_SERVICE_ACCEPT);
	add_text(&b, "ssh-userauth");
	send_buf(s, &b);
	while (!signed_now) {
		size_t at = 1, skip;

		await(s, MSG_USERAUTH_REQUEST);
		if (s->o->fault == SERVER_CLOSE_LOGIN)
			over();
		if (s->o->fault == SERVER_BANNER_ESCAPES) {
			add8(&b, MSG_USERAUTH_BANNER);
			add_text(&b, "\033]0;owned\007\033[2J");
			add_text(&b, "");
			send_buf(s, &b);
		}
		if (s->o->fault == SERVER_REFUSE_LOGIN || s->o->fault == SERVER_BANNER_ESCAPES) {
			add8(&b, MSG_USERAUTH_FAILURE);
			add_text(&b, "publickey,\033[31mred");
			add8(&b, 0);
			send_buf(s, &b);
			continue;
		}
		/* user, service, method, bool, algorithm, key */
		for (int i = 0; i < 3; i++) {
			skip = get_be32(s->packet + at);
			at += 4 + skip;
		}
		signed_now = s->packet[at] == 1;
		if (!signed_now) {
			size_t alg = get_be32(s->packet + at + 1), key = get_be32(s->packet + at + 5 + alg);

			add8(&b, MSG_USERAUTH_PK_OK);
			add_string(&b, s->packet + at + 5, alg);
			add_string(&b, s->packet + at + 9 + alg, key);
			send_buf(s, &b);
		}
	}
	send_payload(s, (const uint8_t *)"\64", 1);
}

/* ---- the channel ---- */

static void send_channel(struct server *s, uint8_t type, uint32_t channel, const char *data, size_t len)
{
	struct ssh_buf b = { 0 };

	add8(&b, type);
	add32(&b, channel);
	if (data)
		add_string(&b, data, len);
	send_buf(s, &b);
}

static void send_status(struct server *s, uint32_t channel, uint32_t status)
{
	struct ssh_buf b = { 0 };

	add8(&b, MSG_CHANNEL_REQUEST);
	add32(&b, channel);
	add_text(&b, "exit-status");
	add8(&b, 0);
	if (s->o->fault != SERVER_SHORT_STATUS)
		add32(&b, status);
	send_buf(s, &b);
}

static void send_signal(struct server *s, uint32_t channel)
{
	struct ssh_buf b = { 0 };

	add8(&b, MSG_CHANNEL_REQUEST);
	add32(&b, channel);
	add_text(&b, "exit-signal");
	add8(&b, 0);
	add_text(&b, "KILL");
	add8(&b, 0);
	add_text(&b, "");
	add_text(&b, "");
	send_buf(s, &b);
}

static uint32_t open_channel(struct server *s)
{
	uint32_t window = s->o->fault == SERVER_ZERO_WINDOW ? 0 : s->o->fault == SERVER_HUGE_WINDOW ? UINT32_MAX : 65536;
	uint32_t packet = s->o->fault == SERVER_HUGE_WINDOW ? UINT32_MAX : 32768, channel;
	struct ssh_buf b = { 0 };

	await(s, MSG_CHANNEL_OPEN);
	channel = get_be32(s->packet + 5 + get_be32(s->packet + 1));
	if (s->o->fault == SERVER_NO_CHANNEL_ANSWER)
		for (;;)
			recv_payload(s);
	if (s->o->fault == SERVER_CLOSE_CHANNEL_OPEN)
		over();
	if (s->o->fault == SERVER_REFUSE_CHANNEL) {
		add8(&b, MSG_CHANNEL_OPEN_FAILURE);
		add32(&b, channel);
		add32(&b, 1);
		add_text(&b, "\033[31mno");
		add_text(&b, "");
		send_buf(s, &b);
		for (;;)
			recv_payload(s);
	}
	add8(&b, MSG_CHANNEL_CONFIRM);
	add32(&b, channel);
	add32(&b, 0);
	add32(&b, window);
	add32(&b, packet);
	send_buf(s, &b);
	return channel;
}

/* Takes what the command gets until its end; windows are opened again. */
static size_t take_input(struct server *s)
{
	size_t n = 0, granted = 0;

	for (;;) {
		struct ssh_buf b = { 0 };

		recv_payload(s);
		if (s->packet[0] == MSG_CHANNEL_EOF)
			return n;
		if (s->packet[0] != MSG_CHANNEL_DATA)
			continue;
		n += get_be32(s->packet + 5);
		if (n < granted + 16384 || s->o->fault == SERVER_HUGE_WINDOW)
			continue;
		add8(&b, MSG_WINDOW);
		add32(&b, 0);
		add32(&b, (uint32_t)(n - granted));
		granted = n;
		send_buf(s, &b);
	}
}

static void flood(struct server *s, uint32_t channel)
{
	static char block[32000];
	bool window = s->o->fault == SERVER_FLOOD_WINDOW;

	for (int i = 0; i < (window ? 2000 : 4500); i++)
		send_channel(s, window ? MSG_CHANNEL_DATA : 200, channel, block, sizeof(block));
}

static void misbehave(struct server *s, uint32_t channel)
{
	struct ssh_buf b = { 0 };

	switch (s->o->fault) {
	case SERVER_FLOOD_WINDOW:
	case SERVER_FLOOD_UNKNOWN:
		flood(s, channel);
		break;
	case SERVER_CLOSE_OUTPUT:
		send_channel(s, MSG_CHANNEL_DATA, channel, "half", 4);
		over();
	case SERVER_OTHER_CHANNEL:
		send_channel(s, MSG_CHANNEL_DATA, channel + 77, "x", 1);
		send_channel(s, MSG_WINDOW, UINT32_MAX, NULL, 0);
		send_channel(s, MSG_CHANNEL_CLOSE, channel + 77, NULL, 0);
		break;
	case SERVER_DISCONNECT_TEXT:
		add8(&b, MSG_DISCONNECT);
		add32(&b, 2);
		add_text(&b, "\033]0;owned\007go away");
		add_text(&b, "");
		send_buf(s, &b);
		over();
	default:
		break;
	}
}

static void run_command(struct server *s, uint32_t channel)
{
	char text[64];
	size_t n;

	await(s, MSG_CHANNEL_REQUEST);
	if (s->o->fault == SERVER_CLOSE_EXEC)
		over();
	if (s->o->fault == SERVER_ZERO_WINDOW) {
		poll(NULL, 0, 300);
		send_payload(s, (const uint8_t *)"\135\0\0\0\0\0\0\100\0", 9);
	}
	send_channel(s, s->o->fault == SERVER_REFUSE_COMMAND ? MSG_CHANNEL_FAILURE : MSG_CHANNEL_SUCCESS, channel, NULL, 0);
	n = take_input(s);
	snprintf(text, sizeof(text), "got %zu\n", n);
	send_channel(s, MSG_CHANNEL_DATA, channel, text, strlen(text));
	misbehave(s, channel);
	if (s->o->fault == SERVER_SLOW_COMMAND)
		poll(NULL, 0, 2500);
	if (s->o->fault == SERVER_EXIT_SIGNAL)
		send_signal(s, channel);
	else if (s->o->fault != SERVER_NO_STATUS)
		send_status(s, channel, 7);
	send_channel(s, MSG_CHANNEL_EOF, channel, NULL, 0);
	if (s->o->fault == SERVER_DATA_AFTER_EOF)
		for (int i = 0; i < 10; i++)
			send_channel(s, MSG_CHANNEL_DATA, channel, "late", 4);
	send_channel(s, MSG_CHANNEL_CLOSE, channel, NULL, 0);
	for (;;)
		recv_payload(s);
}

void ssh_server_run(const struct ssh_server *o)
{
	static struct server s;

	s.o = o;
	alarm(60);
	greet(&s);
	key_exchange(&s);
	login(&s);
	run_command(&s, open_channel(&s));
	over();
}
