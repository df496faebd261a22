/*
 * ssh/conn.c - see conn.h.
 *
 * The server is a stranger until its key is judged, and may be hostile after. What holds it:
 *   - before READY: one deadline for everything, looked at for each piece that the library reads, and at most EARLY_MAX bytes;
 *   - in every turn of the loop: at most TURN_MAX bytes go into the library, which otherwise reads as long as there is
 *     something, so that a flood cannot keep the worker from its clock and its other connections;
 *   - the library's memory is counted and ends the connection at CONN_MEMORY_MAX;
 *   - a turn that computes without end is ended by the worker's CPU watch (worker_main.c).
 * A connection that nobody uses reads at most IDLE_MAX bytes from one ping to the next: the answers, the server's own
 * pings, its end.
 */
#include "ssh/conn.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/loop.h"
#include "ssh/fs.h"
#include "ssh/kexinit.h"
#include "ssh/terrapin.h"

#define CONNECT_TIMEOUT (15 * NSEC_PER_SEC)
#define CLOSE_TIMEOUT (30 * NSEC_PER_SEC)
#define STUCK_AFTER (1 * NSEC_PER_SEC)
#define OPEN_GIVE_UP (60 * NSEC_PER_SEC)
#define EARLY_MAX (256 * 1024)
#define IDLE_MAX (64 * 1024)
#define READ_SIZE (64 * 1024)
#define IDLE_READ_SIZE 4096
#define TURN_MAX (8 * 1024 * 1024)
#define WIPE_MAX 4096 /* blocks up to here may hold keys and are wiped; before READY all are */

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

/* A channel given up before the server confirmed its end. */
struct closing {
	struct list link;
	LIBSSH2_CHANNEL *channel;
	nsec_t deadline;
};

void ssh_clean_text(char *s)
{
	for (; *s; s++)
		if ((uint8_t)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

void ssh_conn_fail(struct ssh_conn *c, enum err e, const char *fmt, ...)
{
	va_list ap;

	if (c->state == SSH_DEAD)
		return;
	va_start(ap, fmt);
	vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
	ssh_clean_text(c->message);
	c->error = e;
	c->state = SSH_DEAD;
}

/* ---- hooks: the memory of libssh2 ---- */

/* In front of each block: its size. */
union head {
	size_t len;
	max_align_t align;
};

static void *on_alloc(size_t len, void **abstract)
{
	struct ssh_conn *c = *abstract;
	union head *h;

	if (len > CONN_MEMORY_MAX || c->memory + len > CONN_MEMORY_MAX) {
		c->starved = true;
		return NULL;
	}
	h = malloc(sizeof(*h) + len);
	if (!h)
		return NULL;
	h->len = len;
	c->memory += sizeof(*h) + len;
	return h + 1;
}

void *ssh_conn_alloc(struct ssh_conn *c, size_t len)
{
	void *abstract = c;

	return on_alloc(len, &abstract);
}

static void on_free(void *p, void **abstract)
{
	struct ssh_conn *c = *abstract;
	union head *h = p;

	if (!p)
		return;
	h--;
	c->memory -= sizeof(*h) + h->len;
	if (h->len <= WIPE_MAX || c->state != SSH_READY)
		explicit_bzero(p, h->len);
	free(h);
}

static void *on_realloc(void *p, size_t len, void **abstract)
{
	void *to = on_alloc(len, abstract);

	if (to && p) {
		memcpy(to, p, MIN(len, ((union head *)p)[-1].len));
		on_free(p, abstract);
	}
	return to;
}

/* ---- hooks: the transport of libssh2 ---- */

static ssize_t on_send(libssh2_socket_t fd, const void *buf, size_t len, int flags, void **abstract)
{
	struct ssh_conn *c = *abstract;

	return c->state != SSH_DEAD && ssh_buf_add(&c->out, buf, len) == OK ? (ssize_t)len : -ENOMEM;
}

/* Reads once from the socket; false: nothing there, or the end (@eof). */
static bool fill(struct ssh_conn *c)
{
	/* What comes without a user is short, and a hundred idle workers are to be small. */
	size_t size = c->state == SSH_READY && c->n_users == 0 ? IDLE_READ_SIZE : READ_SIZE;
	uint8_t *to = ssh_buf_room(&c->in, size);
	ssize_t n;

	if (!to || c->fd < 0 || c->eof)
		return false;
	n = recv(c->fd, to, size, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		c->eof = true;
		return false;
	}
	c->in.len += (size_t)n;
	ssh_health_heard(&c->health, c->now);
	return true;
}

/* The limits before anybody is logged in; false when one is hit. */
static bool early_ok(struct ssh_conn *c, const uint8_t *p, size_t len)
{
	size_t take = MIN(len, sizeof(c->seen) - c->n_seen);

	memcpy(c->seen + c->n_seen, p, take);
	c->n_seen += take;
	c->n_early += len;
	if (c->n_early > EARLY_MAX)
		ssh_conn_fail(c, ERR_PROTOCOL, "the server sent more than %d KiB before the login", EARLY_MAX / 1024);
	else if ((c->n_early & 1023) < len && os_now() >= c->deadline)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server did not finish the handshake in time");
	return c->state != SSH_DEAD;
}

static ssize_t on_recv(libssh2_socket_t fd, void *buf, size_t len, int flags, void **abstract)
{
	struct ssh_conn *c = *abstract;

	if (c->state == SSH_DEAD)
		return -ECONNRESET;
	len = MIN(len, c->turn_bytes);
	if (len == 0)
		return -EAGAIN;
	if (ssh_buf_used(&c->in) == 0 && !fill(c))
		/* Ready, the end is told by @eof when all that came before it is used; the library would forget that. */
		return c->eof && c->state < SSH_READY ? 0 : -EAGAIN;
	len = MIN(len, ssh_buf_used(&c->in));
	memcpy(buf, c->in.p + c->in.off, len);
	ssh_buf_drop(&c->in, len);
	c->turn_bytes -= len;
	if (c->state < SSH_READY && !early_ok(c, buf, len))
		return -ECONNRESET;
	return (ssize_t)len;
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
		/* What waited behind the rest of a long queue has left only now. */
		if (c->health.asked)
			ssh_health_asked(&c->health, c->now);
	}
}

/* ---- life ---- */

struct ssh_conn *ssh_conn_new(struct ssh_setup *setup, uint32_t id, nsec_t now, bool restricted)
{
	struct ssh_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->setup = setup;
	c->id = id;
	c->fd = -1;
	c->now = now;
	c->deadline = now + CONNECT_TIMEOUT;
	c->dial_at = now;
	c->idle_since = NSEC_NEVER;
	c->restricted = restricted;
	c->sessions_max = CONN_CHANNELS_MAX;
	list_init(&c->link);
	list_init(&c->closing);
	return c;
}

void ssh_conn_free(struct ssh_conn *c)
{
	/* The server learns of the end by the closed connection: no goodbye that could block. Dead, the hooks refuse all. */
	c->state = SSH_DEAD;
	ssh_fs_free(c->fs);
	ssh_auth_fini(&c->auth);
	list_for_each_safe(it, &c->closing)
		free(container_of(it, struct closing, link));
	if (c->session)
		for (int i = 0; i < 1000 && libssh2_session_free(c->session) == LIBSSH2_ERROR_EAGAIN; i++)
			;
	if (c->fd >= 0)
		close(c->fd);
	ssh_buf_fini(&c->out);
	ssh_buf_fini(&c->in);
	list_del(&c->link);
	free(c);
}

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

static bool set_methods(struct ssh_conn *c)
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

void ssh_conn_start(struct ssh_conn *c, int fd)
{
	c->fd = fd;
	c->session = libssh2_session_init_ex(on_alloc, on_free, on_realloc, c);
	if (!c->session || !set_methods(c)) {
		ssh_conn_fail(c, ERR_INTERNAL, "the SSH library does not know the algorithms that we need");
		return;
	}
	libssh2_session_callback_set2(c->session, LIBSSH2_CALLBACK_SEND, (libssh2_cb_generic *)on_send);
	libssh2_session_callback_set2(c->session, LIBSSH2_CALLBACK_RECV, (libssh2_cb_generic *)on_recv);
	libssh2_session_set_blocking(c->session, 0);
	c->state = SSH_HANDSHAKE;
}

/* ---- channels ---- */

static void confirm_closed(struct ssh_conn *c)
{
	list_for_each_safe(it, &c->closing) {
		struct closing *cl = container_of(it, struct closing, link);

		if (c->state == SSH_DEAD)
			return; /* they go with the session */
		if (libssh2_channel_free(cl->channel) == LIBSSH2_ERROR_EAGAIN) {
			c->hungry = true;
			c->retired |= c->now >= cl->deadline;
			continue;
		}
		list_del(&cl->link);
		free(cl);
		c->n_closing--;
	}
}

void ssh_conn_close_channel(struct ssh_conn *c, LIBSSH2_CHANNEL *channel)
{
	struct closing *cl;

	if (c->state != SSH_READY || libssh2_channel_free(channel) != LIBSSH2_ERROR_EAGAIN)
		return;
	cl = calloc(1, sizeof(*cl));
	if (!cl) {
		c->retired = true;
		return;
	}
	cl->channel = channel;
	cl->deadline = c->now + CLOSE_TIMEOUT;
	list_add_tail(&c->closing, &cl->link);
	c->n_closing++;
}

bool ssh_conn_begin_open(struct ssh_conn *c, void *job, nsec_t now)
{
	if (c->opening && c->opening != job)
		return false;
	if (!c->opening)
		c->opening_since = now;
	c->opening = job;
	return true;
}

void ssh_conn_end_open(struct ssh_conn *c, void *job)
{
	if (c->opening == job)
		c->opening = NULL;
}

void ssh_conn_abandon_open(struct ssh_conn *c, void *job)
{
	if (c->opening != job)
		return;
	c->opening = c;
	c->retired = true;
}

void ssh_conn_refused_open(struct ssh_conn *c)
{
	unsigned sessions = ssh_conn_sessions(c);

	c->sessions_max = sessions > 1 ? sessions - 1 : 1;
}

unsigned ssh_conn_sessions(const struct ssh_conn *c)
{
	return c->n_users - c->n_file_users - c->n_direct_users + ssh_fs_n_channels(c->fs) + c->n_closing;
}

/* Did a line begin with SSH-? Before it a server may say what it likes, as sshd does: "Exceeded MaxStartups". */
static bool is_identified(const struct ssh_conn *c)
{
	for (size_t i = 0; i + 4 <= c->n_seen; i++)
		if ((i == 0 || c->seen[i - 1] == '\n') && memcmp(c->seen + i, "SSH-", 4) == 0)
			return true;
	return false;
}

bool ssh_conn_was_dropped(const struct ssh_conn *c)
{
	return c->state == SSH_DEAD && c->error == ERR_RESET && c->fd >= 0 && !is_identified(c);
}

bool ssh_conn_is_stuck(const struct ssh_conn *c, nsec_t now)
{
	return c->opening && c->state == SSH_READY && now >= c->opening_since + STUCK_AFTER;
}

/* ---- steps ---- */

void ssh_conn_fail_by_library(struct ssh_conn *c, const char *what)
{
	char *text = NULL;
	size_t n = 0; /* of its first line */

	libssh2_session_last_error(c->session, &text, NULL, 0);
	while (n < MIN(c->n_seen, 100U) && !strchr("\r\n", c->seen[n]))
		n++;
	if (c->eof && !is_identified(c) && n > 0)
		ssh_conn_fail(c, ERR_RESET, "%s: the server closed the connection, saying \"%.*s\"", what, (int)n,
			      (const char *)c->seen);
	else if (c->eof)
		ssh_conn_fail(c, ERR_RESET, "%s: the server closed the connection", what);
	else
		ssh_conn_fail(c, ERR_PROTOCOL, "%s: %s", what, text && *text ? text : "unknown reason");
}

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

static void step_handshake(struct ssh_conn *c)
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

bool ssh_conn_ended(struct ssh_conn *c)
{
	while (ssh_buf_used(&c->in) < IDLE_MAX && fill(c))
		;
	return c->eof;
}

void ssh_conn_set_patience(struct ssh_conn *c, nsec_t patience)
{
	c->deadline = c->now + (patience ? patience : CONNECT_TIMEOUT);
}

/* ---- health ---- */

static void ping(struct ssh_conn *c)
{
	/* Answers to requests come in order, and an opening listener waits for its own. */
	if (c->opening)
		return;
	if (libssh2_session_ping(c->session) == 0)
		ssh_health_asked(&c->health, c->now);
}

void ssh_conn_ask(struct ssh_conn *c, nsec_t now)
{
	c->now = now;
	if (c->state == SSH_READY && ssh_health_wants_ask(&c->health, now, true))
		ping(c);
}

bool ssh_conn_is_silent(const struct ssh_conn *c, nsec_t now)
{
	return c->state == SSH_READY && ssh_health_is_silent(&c->health, now);
}

bool ssh_conn_listens(const struct ssh_conn *c)
{
	/* What nobody takes is left to the kernel, and the server waits. */
	if (c->eof)
		return false;
	/* While a person or the agent is waited for: its end, and no more than a little. */
	if (c->state == SSH_AUTH && ssh_auth_waits(&c->auth))
		return ssh_buf_used(&c->in) == 0;
	return c->state < SSH_READY || (c->n_users == 0 ? c->n_idle_bytes < IDLE_MAX : c->hungry);
}

/* While we do not listen, silence says nothing. */
static void check_health(struct ssh_conn *c, bool listened)
{
	if (!listened) {
		ssh_health_heard(&c->health, c->now);
	} else if (ssh_health_is_dead(&c->health, c->now)) {
		ssh_conn_fail(c, ERR_RESET, "the connection was lost: no answer for %u s",
			      (unsigned)((c->now - c->health.heard) / NSEC_PER_SEC));
	} else if (ssh_health_wants_ask(&c->health, c->now, false)) {
		c->n_idle_bytes = 0;
		ping(c);
	}
}

/* In READY with nobody there: its answers, its own pings, its end. */
static void step_idle(struct ssh_conn *c)
{
	size_t before;

	if (c->idle_since == NSEC_NEVER) {
		c->idle_since = c->now;
		c->n_idle_bytes = 0;
	}
	c->turn_bytes = before = IDLE_MAX - c->n_idle_bytes;
	if (before > 0 && libssh2_session_read(c->session) != 0)
		ssh_conn_fail_by_library(c, "an idle connection ended");
	else if (before > 0 && ssh_buf_used(&c->in) == 0 && c->eof)
		ssh_conn_fail(c, ERR_RESET, "the server closed the connection");
	c->n_idle_bytes += before - c->turn_bytes;
	c->turn_bytes = TURN_MAX;
	ssh_buf_release(&c->in);
}

bool ssh_conn_step(struct ssh_conn *c, nsec_t now)
{
	enum ssh_conn_state before = c->state;
	bool listened = ssh_conn_listens(c) || c->eof;

	c->now = now;
	c->turn_bytes = TURN_MAX;
	if (c->state == SSH_HANDSHAKE)
		step_handshake(c);
	if (c->state == SSH_AUTH)
		ssh_auth_step(c);
	if (c->state < SSH_READY && now >= c->deadline)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server did not answer in time");
	if (c->state == SSH_READY && before != SSH_READY)
		ssh_health_heard(&c->health, now);
	else if (c->state == SSH_READY)
		check_health(c, listened);
	if (c->n_users > 0)
		c->idle_since = NSEC_NEVER;
	else if (c->state == SSH_READY)
		step_idle(c);
	c->hungry = false;
	if (c->state == SSH_READY)
		confirm_closed(c);
	if (c->opening && now >= c->opening_since + OPEN_GIVE_UP)
		c->retired = true;
	if (c->retired && c->n_users == 0)
		ssh_conn_fail(c, ERR_TIMEOUT, "the SSH server does not answer");
	ssh_conn_flush(c);
	return c->state != before;
}

nsec_t ssh_conn_next(const struct ssh_conn *c)
{
	if (c->state < SSH_READY)
		return nsec_min(c->deadline, c->dial_at);
	if (c->state != SSH_READY)
		return NSEC_NEVER;
	/* The library stopped at the turn's limit, and there may be more. */
	if (c->turn_bytes == 0)
		return 0;
	return nsec_min(ssh_health_next(&c->health, c->now),
			c->opening || !list_empty(&c->closing) ? c->now + NSEC_PER_SEC : NSEC_NEVER);
}
