/*
 * ssh/conn.h - inside the worker: one libssh2 connection to the host.
 *
 *	DIALING    the hub was asked for a virtual connection
 *	HANDSHAKE  key exchange
 *	HOST_KEY   the hub is asked whether this key is the host's
 *	AUTH       the identities, one after the other
 *	READY
 *	DEAD       @error says why; its jobs are told
 *
 * libssh2 may not be called for something else while a packet is half sent. So our send hook takes everything into a queue,
 * and callers look at its length before they produce more.
 */
#ifndef SSH_CONN_H
#define SSH_CONN_H

#include <libssh2.h>
#include <libssh2_sftp.h>

#include "base/list.h"
#include "ssh/frame.h"

#define N_IDENTITIES_MAX 16
#define CONN_OUT_MAX (512 * 1024)
#define CONN_CHANNELS_MAX 10 /* sshd's default MaxSessions */

struct ssh_key_text {
	char path[256];
	char *pem;
	size_t len;
};

struct ssh_setup {
	char host[64], user[64];
	struct ssh_key_text keys[N_IDENTITIES_MAX];
	size_t n_keys;
};

enum ssh_conn_state { SSH_DIALING, SSH_HANDSHAKE, SSH_HOST_KEY, SSH_AUTH, SSH_READY, SSH_DEAD };

struct ssh_conn {
	struct list link;
	const struct ssh_setup *setup;
	enum ssh_conn_state state;
	uint32_t id;
	int fd; /* -1 until dialled */
	LIBSSH2_SESSION *session;
	LIBSSH2_SFTP *sftp;
	struct ssh_buf out;      /* towards the server */
	nsec_t deadline;         /* of everything before READY */
	char seen[8192];         /* the server's first bytes, for its KEXINIT */
	size_t n_seen;
	bool restricted;         /* no EtM: the server has no strict key exchange */
	bool eof;
	size_t next_key;
	char tried[512];         /* which identities failed, and why */
	unsigned n_channels;
	void *opening;           /* the job that opens a channel; one at a time */
	void *file_job;          /* the job that uses SFTP; one at a time */
	enum err error;
	char message[768];
};

struct ssh_conn *ssh_conn_new(const struct ssh_setup *setup, uint32_t id, nsec_t now, bool restricted);
void ssh_conn_free(struct ssh_conn *c);
/** ssh_conn_start() - @fd is the way to the server */
void ssh_conn_start(struct ssh_conn *c, int fd);
/** ssh_conn_host_key() - the key to judge, in HOST_KEY */
bool ssh_conn_host_key(const struct ssh_conn *c, const char **ret_type, struct bytes *ret_blob);
/** ssh_conn_verdict() - the hub's answer */
void ssh_conn_verdict(struct ssh_conn *c, enum err e, const char *message);
/** ssh_conn_step() - go on as far as the bytes allow. Return: did the state change? */
bool ssh_conn_step(struct ssh_conn *c, nsec_t now);
/** ssh_conn_flush() - send what is queued */
void ssh_conn_flush(struct ssh_conn *c);
void ssh_conn_fail(struct ssh_conn *c, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** ssh_conn_is_vulnerable() - Terrapin: would this choice be open to it without strict key exchange? */
bool ssh_conn_is_vulnerable(const char *cipher, const char *mac);

#endif
