/*
 * ssh/conn.h - inside the worker: one libssh2 connection to the host.
 *
 *	DIALING    the hub was asked for a virtual connection
 *	HANDSHAKE  key exchange
 *	HOST_KEY   the hub is asked whether this key is the host's
 *	AUTH       the identities, one after the other (auth.h)
 *	READY
 *	DEAD       @error says why; its jobs are told
 *
 * libssh2 may not be called for something else while a packet is half sent. So our send hook takes
 * everything into a queue, and callers look at its length before they produce more.
 */
#ifndef SSH_CONN_H
#define SSH_CONN_H

#include <libssh2.h>

#include "base/list.h"
#include "ssh/auth.h"
#include "ssh/frame.h"
#include "ssh/health.h"

#define CONN_OUT_MAX (512 * 1024)
#define CONN_CHANNELS_MAX 10 /* sshd's default MaxSessions */
#define CONN_DIRECT_MAX 50   /* direct TCP channels are no sessions; their windows of 2 MiB fit CONN_MEMORY_MAX */
#define CONN_FILE_USERS_MAX 64 /* sessions that share one SFTP channel */
#define CONN_OPEN_TIMEOUT (15 * NSEC_PER_SEC)
#define CONN_MEMORY_MAX ((size_t)128 << 20) /* what libssh2 may hold for one connection: all windows full, and a half */

enum ssh_conn_state { SSH_DIALING, SSH_HANDSHAKE, SSH_HOST_KEY, SSH_AUTH, SSH_READY, SSH_DEAD };

struct ssh_conn {
	struct list link;
	struct ssh_setup *setup;
	enum ssh_conn_state state;
	uint32_t id;
	int fd; /* -1 until dialled */
	LIBSSH2_SESSION *session;
	struct ssh_fs *fs;       /* file operations on this connection; NULL without */
	struct ssh_buf out;      /* towards the server */
	struct ssh_buf in;       /* from it, not yet taken by the library */
	size_t turn_bytes;       /* that the library may still take in this turn */
	size_t memory;           /* that the library holds */
	bool starved;            /* it was refused more */
	nsec_t now, deadline;    /* of everything before READY */
	nsec_t dial_at;          /* the hub is asked then; NSEC_NEVER: it was */
	unsigned n_attempts;     /* connections before this one that the server dropped unheard */
	uint8_t seen[8192];      /* the server's first bytes, for its KEXINIT */
	size_t n_seen, n_early;  /* bytes kept there; bytes before READY */
	bool restricted;         /* no EtM: the server has no strict key exchange */
	struct ssh_health health;
	nsec_t idle_since;       /* READY and nobody there; NSEC_NEVER: in use */
	size_t n_idle_bytes;     /* that came since the last ping or use */
	bool told;               /* the hub knows how the login went */
	bool eof, hungry;        /* the server ended; a job waits for what it sends */
	bool retired;            /* takes no new jobs; ends with the last */
	unsigned sessions_max;   /* channels that the server lets us have */
	unsigned n_users, n_file_users, n_direct_users; /* jobs on it, counted by the worker in every turn */
	struct ssh_auth auth;
	unsigned n_closing;
	struct list closing;     /* channels whose end the server has not confirmed */
	void *opening;           /* the job that opens a channel; one at a time */
	nsec_t opening_since;
	enum err error;
	char message[SSH_ERROR_TEXT_MAX];
};

struct ssh_conn *ssh_conn_new(struct ssh_setup *setup, uint32_t id, nsec_t now, bool restricted);
void ssh_conn_free(struct ssh_conn *c);
/** ssh_conn_start() - @fd is the way to the server */
void ssh_conn_start(struct ssh_conn *c, int fd);
/** ssh_conn_host_key() - the key to judge, in HOST_KEY; false: there is none, or it is malformed */
bool ssh_conn_host_key(const struct ssh_conn *c, char ret_type[64], struct bytes *ret_blob);
/** ssh_conn_verdict() - the hub's answer */
void ssh_conn_verdict(struct ssh_conn *c, enum err e, const char *message);
/** ssh_conn_step() - go on as far as the bytes allow. Return: did the state change? */
bool ssh_conn_step(struct ssh_conn *c, nsec_t now);
/** ssh_conn_flush() - send what is queued */
void ssh_conn_flush(struct ssh_conn *c);
void ssh_conn_fail(struct ssh_conn *c, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** ssh_conn_fail_by_library() - with the reason that libssh2 has */
void ssh_conn_fail_by_library(struct ssh_conn *c, const char *what);
/** ssh_conn_set_patience() - so long from now until READY; 0: as when it was dialled */
void ssh_conn_set_patience(struct ssh_conn *c, nsec_t patience);
/** ssh_conn_ended() - has the server closed it? Looks while nothing else reads. */
bool ssh_conn_ended(struct ssh_conn *c);
/** ssh_conn_alloc() - memory for the library, which frees it */
void *ssh_conn_alloc(struct ssh_conn *c, size_t len);
/** ssh_conn_close_channel() - give a channel up; never blocks, the connection waits for the server's confirmation */
void ssh_conn_close_channel(struct ssh_conn *c, LIBSSH2_CHANNEL *channel);
/** ssh_conn_begin_open() - may @job open a channel now? One does at a time. */
bool ssh_conn_begin_open(struct ssh_conn *c, void *job, nsec_t now);
/** ssh_conn_end_open() - the library gave an answer */
void ssh_conn_end_open(struct ssh_conn *c, void *job);
/** ssh_conn_abandon_open() - @job leaves; if it was opening, the library still is: no channel can be opened here again */
void ssh_conn_abandon_open(struct ssh_conn *c, void *job);
/** ssh_conn_sessions() - session channels that are open or about to be */
unsigned ssh_conn_sessions(const struct ssh_conn *c);
/** ssh_conn_refused_open() - the server lets us have no more session channels than there are */
void ssh_conn_refused_open(struct ssh_conn *c);
/** ssh_conn_was_dropped() - closed before the server named itself, as a busy sshd does (MaxStartups): worth another attempt */
bool ssh_conn_was_dropped(const struct ssh_conn *c);
/** ssh_conn_is_stuck() - a channel is being opened for long: others better take another connection */
bool ssh_conn_is_stuck(const struct ssh_conn *c, nsec_t now);
/** ssh_conn_ask() - somebody is about to use it: ask whether the server is there, if it was silent */
void ssh_conn_ask(struct ssh_conn *c, nsec_t now);
/** ssh_conn_is_silent() - asked, and no answer so far: others better take another connection */
bool ssh_conn_is_silent(const struct ssh_conn *c, nsec_t now);
/** ssh_conn_listens() - are bytes of the server wanted now? */
bool ssh_conn_listens(const struct ssh_conn *c);
/** ssh_conn_next() - when to step although no byte came */
nsec_t ssh_conn_next(const struct ssh_conn *c);

#endif
