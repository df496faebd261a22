/*
 * ssh/frame.h - byte queues, and frames on them: u32 length, u8 type, body (ssh/session.h).
 *
 * Also the messages between hub and worker, which are frames without the length (a SEQPACKET socket keeps borders).
 */
#ifndef SSH_FRAME_H
#define SSH_FRAME_H

#include "base/err.h"
#include "base/types.h"
#include "ssh/session.h"

/* No queue grows beyond it: whoever fills one asks for its length first, and this is for whom it does not. */
#define SSH_BUF_MAX ((size_t)64 << 20)

/* A byte queue; [off, len) is what is in it. Zero-initialise; ssh_buf_fini() wipes. */
struct ssh_buf {
	uint8_t *p;
	size_t off, len, cap;
};

void ssh_buf_fini(struct ssh_buf *b);
static inline size_t ssh_buf_used(const struct ssh_buf *b)
{
	return b->len - b->off;
}
/** ssh_buf_room() - make room for @len more; return: where they go, NULL without memory. A block given up is wiped. */
uint8_t *ssh_buf_room(struct ssh_buf *b, size_t len);
MUST_CHECK enum err ssh_buf_add(struct ssh_buf *b, const void *p, size_t len);
void ssh_buf_drop(struct ssh_buf *b, size_t len);
/** ssh_buf_release() - give the memory of an empty one back */
static inline void ssh_buf_release(struct ssh_buf *b)
{
	if (ssh_buf_used(b) == 0)
		ssh_buf_fini(b);
}

/** ssh_frame_add() - one frame, its body of up to two parts; ERR_TOO_LONG: together above SSH_FRAME_MAX */
MUST_CHECK enum err ssh_frame_add(struct ssh_buf *b, enum ssh_frame type, struct bytes a, struct bytes c);
/** ssh_frame_next() - the first whole frame; views into @b. OK; ERR_AGAIN: more bytes are needed; ERR_PROTOCOL. */
MUST_CHECK enum err ssh_frame_next(const struct ssh_buf *b, uint8_t *ret_type, struct bytes *ret_body,
				   size_t *ret_total);

/* A reader with a sticky failure: read all, then look at @bad once. */
struct ssh_reader {
	const uint8_t *p;
	size_t len;
	bool bad;
};
uint32_t ssh_read_u32(struct ssh_reader *r);
/** ssh_read_err() - an error as a u32; a number that we do not have is bad, and ERR_PROTOCOL */
enum err ssh_read_err(struct ssh_reader *r);
/** ssh_read_string() - a view; without a NUL after it */
struct bytes ssh_read_string(struct ssh_reader *r);
/** ssh_read_text() - copied with its NUL; too long, or one inside, is bad */
void ssh_read_text(struct ssh_reader *r, char *ret, size_t size);
MUST_CHECK enum err ssh_put_u32(struct ssh_buf *b, uint32_t v);
/** ssh_put_string() - ERR_TOO_LONG: its length does not fit into 32 bits */
MUST_CHECK enum err ssh_put_string(struct ssh_buf *b, const void *p, size_t len);

/* hub -> worker and back; the first byte of a message */
enum ssh_control {
	SSH_C_CONFIG = 'C',  /* u32 version; string host, user, known key types; u64 file_size_max, list_max; string root; u32 idle_s;
			      * u32 has_agent; u32 n; n x (string path, string why not, files: string private, string public, string certificate) */
	SSH_C_DIALED = 'D',  /* u32 dial, u32 err, string message ("": none); with a descriptor when OK */
	SSH_C_SESSION = 'S', /* u32 session; with a descriptor */
	SSH_C_VERDICT = 'K', /* u32 dial, u32 err, string message */
	SSH_C_AGENT_SAID = 'A', /* u32 dial, u32 err, string answer without its length */
	SSH_C_SECRET_IS = 'P',  /* u32 identity, string passphrase ("" = not known) */
	SSH_C_RETIRE = 'R',  /* the host goes down: connections take nothing new, idle ones are closed */
	SSH_C_DIAL = 'd',    /* worker: u32 dial */
	SSH_C_OUTCOME = 'o', /* worker: u32 dial, u32 err: logged in, or why not (ERR_CLOSED: dropped unheard); once a dial */
	SSH_C_HOST_KEY = 'k', /* worker: u32 dial, string type, string blob; once a dial */
	SSH_C_IDLE = 'i',     /* worker: u32 sessions that it ever got, all over for idle_s: it may be ended */
	SSH_C_COUNTS = 'n',   /* worker: u32 connections, sessions, file sessions among them, file sessions that ended */
	SSH_C_TAKEN = 't',    /* worker: u32 session: it is begun, and for no other worker any more (handover.h) */
	SSH_C_AGENT = 'a',    /* worker: u32 dial, string request with its length */
	SSH_C_SECRET = 'p',   /* worker: u32 identity, string passphrase: that is it; "": what is it? */
};
#define SSH_IDENT_PATH_MAX 4095     /* bytes of an identity's path: as the system has it */
#define SSH_ROOT_MAX 1023           /* bytes of ssh.session_root */
#define SSH_CONTROL_MAX (128 * 1024)
#define SSH_CONTROL_VERSION 8       /* of these messages: hub and worker may be of two installations */
#define SSH_WORKER_OTHER_VERSION 83 /* the exit status of a worker that finds another one */
#define SSH_WORKER_NO_SANDBOX 84    /* of one that may not lock itself in */
#define SSH_BLOB_MAX 16384
#define SSH_PASSPHRASE_MAX 1023

/* What a worker has, for status. */
struct ssh_counts {
	uint32_t n_connections, n_sessions, n_file_sessions;
	uint32_t n_files_ended; /* file sessions, since it began */
};

/* What a worker asks of the hub, or tells; views into the message. */
struct ssh_question {
	enum ssh_control kind; /* SSH_C_DIAL, _OUTCOME, _HOST_KEY, _IDLE, _TAKEN, _AGENT, _SECRET or _COUNTS */
	uint32_t id;           /* of the dial; TAKEN: of the session; IDLE: the sessions that it got; SECRET: the identity */
	enum err outcome;
	struct ssh_counts counts;
	char type[64];         /* of the host key, one word, and the first string of the blob */
	struct bytes blob;     /* AGENT: the request; SECRET: the passphrase, without a NUL in it */
};
/** ssh_question_decode() - ERR_PROTOCOL for anything else: the worker may have become a stranger's */
MUST_CHECK enum err ssh_question_decode(struct bytes msg, struct ssh_question *ret);

#endif
