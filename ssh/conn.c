/* ssh/conn.c - see conn.h. */
#include "ssh/conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "ssh/kexinit.h"

#define CONNECT_TIMEOUT (15 * NSEC_PER_SEC)
#define CPU_SECONDS_BEFORE_READY 5

static const char kex_list[] = "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256";
static const char key_list[] = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,"
			       "rsa-sha2-512,rsa-sha2-256";
static const char cipher_list[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,aes256-ctr";
static const char mac_list[] = "hmac-sha2-256-etm@openssh.com,hmac-sha2-256";
static const char mac_list_restricted[] = "hmac-sha2-256";

void ssh_conn_fail(struct ssh_conn *c, enum err e, const char *fmt, ...)
{
	va_list ap;

	if (c->state == SSH_DEAD)
		return;
	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
	c->error = e;
	c->state = SSH_DEAD;
}

/* A server that makes the library spin before it is trusted ends this process, not the hub. */
static void limit_cpu(unsigned seconds)
{
	struct itimerval it = { .it_value = { seconds, 0 } };

	setitimer(ITIMER_PROF, &it, NULL);
}

/* ---- hooks: the transport of libssh2 ---- */

static ssize_t on_send(libssh2_socket_t fd, const void *buf, size_t len, int flags, void **abstract)
{
	struct ssh_conn *c = *abstract;

	return ssh_buf_add(&c->out, buf, len) == OK ? (ssize_t)len : -ENOMEM;
}

static ssize_t on_recv(libssh2_socket_t fd, void *buf, size_t len, int flags, void **abstract)
{
	struct ssh_conn *c = *abstract;
	ssize_t n = recv(c->fd, buf, len, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		c->eof = true;
	if (n > 0 && c->state == SSH_HANDSHAKE && c->n_seen < sizeof(c->seen)) {
		size_t take = MIN((size_t)n, sizeof(c->seen) - c->n_seen);

		memcpy(c->seen + c->n_seen, buf, take);
		c->n_seen += take;
	}
	return n;
}

void ssh_conn_flush(struct ssh_conn *c)
{
	while (c->fd >= 0 && ssh_buf_used(&c->out) > 0) {
		ssize_t n = send(c->fd, c->out.p + c->out.off, ssh_buf_used(&c->out), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			ssh_conn_fail(c, ERR_RESET, "the connection was lost");
			return;
		}
		ssh_buf_drop(&c->out, (size_t)n);
	}
}

/* ---- life ---- */

struct ssh_conn *ssh_conn_new(const struct ssh_setup *setup, uint32_t id, nsec_t now, bool restricted)
{
	struct ssh_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->setup = setup;
	c->id = id;
	c->fd = -1;
	c->deadline = now + CONNECT_TIMEOUT;
	c->restricted = restricted;
	list_init(&c->link);
	return c;
}

void ssh_conn_free(struct ssh_conn *c)
{
	/* The server learns of the end by the closed connection: no goodbye that could block. */
	if (c->session)
		libssh2_session_free(c->session);
	if (c->fd >= 0)
		close(c->fd);
	ssh_buf_fini(&c->out);
	list_del(&c->link);
	free(c);
}

static bool set_methods(struct ssh_conn *c)
{
	static const struct {
		int which;
		const char *list;
	} prefs[] = {
		{ LIBSSH2_METHOD_KEX, kex_list },	   { LIBSSH2_METHOD_HOSTKEY, key_list },
		{ LIBSSH2_METHOD_CRYPT_CS, cipher_list }, { LIBSSH2_METHOD_CRYPT_SC, cipher_list },
		{ LIBSSH2_METHOD_COMP_CS, "none" },	   { LIBSSH2_METHOD_COMP_SC, "none" },
	};
	const char *macs = c->restricted ? mac_list_restricted : mac_list;

	for (size_t i = 0; i < ARRAY_SIZE(prefs); i++)
		if (libssh2_session_method_pref(c->session, prefs[i].which, prefs[i].list) != 0)
			return false;
	return libssh2_session_method_pref(c->session, LIBSSH2_METHOD_MAC_CS, macs) == 0 &&
	       libssh2_session_method_pref(c->session, LIBSSH2_METHOD_MAC_SC, macs) == 0;
}

void ssh_conn_start(struct ssh_conn *c, int fd)
{
	c->fd = fd;
	c->session = libssh2_session_init_ex(NULL, NULL, NULL, c);
	if (!c->session || !set_methods(c)) {
		ssh_conn_fail(c, ERR_INTERNAL, "the SSH library does not know the algorithms that we need");
		return;
	}
	libssh2_session_callback_set2(c->session, LIBSSH2_CALLBACK_SEND, (libssh2_cb_generic *)on_send);
	libssh2_session_callback_set2(c->session, LIBSSH2_CALLBACK_RECV, (libssh2_cb_generic *)on_recv);
	libssh2_session_set_blocking(c->session, 0);
	limit_cpu(CPU_SECONDS_BEFORE_READY);
	c->state = SSH_HANDSHAKE;
}

/* ---- steps ---- */

bool ssh_conn_is_vulnerable(const char *cipher, const char *mac)
{
	if (cipher && strstr(cipher, "gcm"))
		return false;
	return !cipher || !mac || strstr(cipher, "chacha20") || strstr(mac, "-etm");
}

static bool has_strict_kex(const struct ssh_conn *c)
{
	return ssh_kexinit_offers((struct bytes){ (const uint8_t *)c->seen, c->n_seen }, "kex-strict-s-v00@openssh.com");
}

static void fail_by_library(struct ssh_conn *c, const char *what)
{
	char *text = NULL;

	libssh2_session_last_error(c->session, &text, NULL, 0);
	if (c->eof)
		ssh_conn_fail(c, ERR_RESET, "%s: the server closed the connection", what);
	else
		ssh_conn_fail(c, ERR_PROTOCOL, "%s: %s", what, text && *text ? text : "unknown reason");
}

static void step_handshake(struct ssh_conn *c)
{
	int r = libssh2_session_handshake(c->session, 1000000);

	if (r == LIBSSH2_ERROR_EAGAIN)
		return;
	if (r != 0) {
		fail_by_library(c, "SSH key exchange failed");
		return;
	}
	if (!has_strict_kex(c) &&
	    (ssh_conn_is_vulnerable(libssh2_session_methods(c->session, LIBSSH2_METHOD_CRYPT_CS),
				    libssh2_session_methods(c->session, LIBSSH2_METHOD_MAC_CS)) ||
	     ssh_conn_is_vulnerable(libssh2_session_methods(c->session, LIBSSH2_METHOD_CRYPT_SC),
				    libssh2_session_methods(c->session, LIBSSH2_METHOD_MAC_SC)))) {
		/* ERR_AGAIN asks the worker to dial once more with the restricted lists. */
		ssh_conn_fail(c, c->restricted ? ERR_PROTOCOL : ERR_AGAIN,
			      "the server offers no algorithms that are safe without strict key exchange");
		return;
	}
	c->state = SSH_HOST_KEY;
}

bool ssh_conn_host_key(const struct ssh_conn *c, const char **ret_type, struct bytes *ret_blob)
{
	size_t len;
	int type;
	const char *blob = libssh2_session_hostkey(c->session, &len, &type);

	if (!blob || len < 8)
		return false;
	/* The blob begins with its type as a string, which known_hosts writes in front of it. */
	*ret_type = blob + 4;
	*ret_blob = (struct bytes){ (const uint8_t *)blob, len };
	return true;
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

static void note_refused(struct ssh_conn *c, const struct ssh_key_text *key)
{
	size_t used = strlen(c->tried);
	char *text = NULL;
	int r = libssh2_session_last_error(c->session, &text, NULL, 0);

	snprintf(c->tried + used, sizeof(c->tried) - used, "%s%s: %s", used ? "; " : "", key->path,
		 r == LIBSSH2_ERROR_AUTHENTICATION_FAILED || r == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED ?
			 "refused by the server" :
		 r == LIBSSH2_ERROR_FILE ? "not readable as a key without passphrase" :
		 text ? text : "unknown reason");
}

static void step_auth(struct ssh_conn *c)
{
	const struct ssh_setup *s = c->setup;

	while (c->next_key < s->n_keys) {
		const struct ssh_key_text *key = &s->keys[c->next_key];
		int r = libssh2_userauth_publickey_frommemory(c->session, s->user, strlen(s->user), NULL, 0, key->pem,
							      key->len, NULL);

		if (r == LIBSSH2_ERROR_EAGAIN)
			return;
		if (r == 0) {
			limit_cpu(0);
			c->state = SSH_READY;
			return;
		}
		if (r == LIBSSH2_ERROR_SOCKET_DISCONNECT || r == LIBSSH2_ERROR_SOCKET_RECV || c->eof) {
			fail_by_library(c, "login failed");
			return;
		}
		note_refused(c, key);
		c->next_key++;
	}
	if (s->n_keys == 0)
		ssh_conn_fail(c, ERR_AUTH, "no identity file is configured or readable (ssh.identities)");
	else
		ssh_conn_fail(c, ERR_AUTH, "user %s, tried %s", s->user, c->tried);
}

bool ssh_conn_step(struct ssh_conn *c, nsec_t now)
{
	enum ssh_conn_state before = c->state;

	if (c->state == SSH_HANDSHAKE)
		step_handshake(c);
	if (c->state == SSH_AUTH)
		step_auth(c);
	if (c->state < SSH_READY && now >= c->deadline)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server did not answer in time");
	ssh_conn_flush(c);
	return c->state != before;
}
