/*
 * ssh/fs.h - inside the worker: file operations (ssh/fs_session.h) on one SFTP channel.
 *
 * Three layers: struct ssh_fs is the channel of a connection and the SFTP machine on it, shared by
 * all sessions there; struct fs_session is one command's session; struct fs_op (ssh/fs_internal.h)
 * is one of its operations. Sessions and operations are machines: frames and SFTP answers in,
 * frames and SFTP requests out, no I/O.
 */
#ifndef SSH_FS_H
#define SSH_FS_H

#include <libssh2.h>

#include "base/list.h"
#include "ssh/sftp_client.h"

#define FS_NAME_BYTES 256        /* of a path, as they are on the average at most */
#define FS_OUT_MAX (1024 * 1024) /* frames waiting for a command: when more, ask the server for no more */

/* ---- sessions ---- */

#define FS_LANES_MAX 6 /* SFTP channels of one connection; sshd's MaxSessions is 10 */

/*
 * Further channels of a connection, beside the first, opened while the server's window is what holds a PUT: each is another
 * machine, and another process at the server. A file is written through several; everything else goes through the first.
 */
struct fs_lanes {
	struct sftp_client *v[FS_LANES_MAX - 1];
	unsigned n;
};

struct fs_session {
	struct sftp_client *client;
	const struct fs_lanes *lanes; /* NULL: none, ever */
	struct ssh_buf *out;    /* frames for the command */
	uint64_t file_size_max; /* 0: no limit */
	uint64_t list_max;      /* names that may be listed, and FS_NAME_BYTES of them for each; 0: no limit */
	uint64_t n_listed, listed_bytes;
	const char *root;       /* the folder that nothing leaves; NULL: none. Stays */
	nsec_t now;
	struct list ops;
	unsigned n_ops, n_over; /* all; those that are only waiting for answers */
	uint64_t n_asked;       /* bytes of reads under way */
	bool stream;            /* one operation of SSH_F_GET or SSH_F_PUT, in those frames */
	uint64_t stream_sent;   /* bytes of PUT so far */
	uint64_t stream_credit;
	bool broken;            /* no memory for a frame: the session cannot go on */
};

void fs_session_init(struct fs_session *s, struct sftp_client *client, struct ssh_buf *out, uint64_t file_size_max);
/** fs_session_frame() - one frame of the command; ERR_PROTOCOL: malformed, end the session */
MUST_CHECK enum err fs_session_frame(struct fs_session *s, nsec_t now, uint8_t type, struct bytes body);
/** fs_session_stream() - SSH_F_GET or SSH_F_PUT as the only operation; then fs_session_stream_*() */
MUST_CHECK enum err fs_session_stream(struct fs_session *s, nsec_t now, enum ssh_frame kind, const char *path,
				      uint32_t mode);
/** fs_session_stream_data() - feed a PUT; @data is taken as far as it goes, @eof: nothing follows it */
void fs_session_stream_data(struct fs_session *s, nsec_t now, struct ssh_buf *data, bool eof);
/** fs_session_step() - ask for more, free what is done */
void fs_session_step(struct fs_session *s, nsec_t now);
/** fs_session_abandon() - the command has gone: nothing more is written to @out; step until fs_session_idle() */
void fs_session_abandon(struct fs_session *s, nsec_t now);
bool fs_session_idle(const struct fs_session *s);
/** fs_session_fini() - operations are freed, whatever their state; nothing is tidied up at the server */
void fs_session_fini(struct fs_session *s);

/* ---- the channel ---- */

struct ssh_conn;
struct ssh_fs;

/** ssh_fs_open() - is SFTP open on @c? Else it is begun. OK: it may be used; ERR_AGAIN; else it failed, @ret_why */
MUST_CHECK enum err ssh_fs_open(struct ssh_conn *c, nsec_t now, const char **ret_why);
/** ssh_fs_usable() - open, and not over */
bool ssh_fs_usable(const struct ssh_fs *f);
/** ssh_fs_failed() - over, or never to be opened */
bool ssh_fs_failed(const struct ssh_fs *f);
/** ssh_fs_step() - go on opening it, move bytes both ways. Return: did any move? */
bool ssh_fs_step(struct ssh_conn *c, nsec_t now);
struct sftp_client *ssh_fs_client(struct ssh_fs *f);
nsec_t ssh_fs_deadline(const struct ssh_fs *f);
const struct fs_lanes *ssh_fs_lanes(const struct ssh_fs *f);
/** ssh_fs_n_channels() - that it takes of the server's sessions; @f may be NULL */
unsigned ssh_fs_n_channels(const struct ssh_fs *f);
/** ssh_fs_release() - nobody uses it: give the further channels and the memory of empty queues back */
void ssh_fs_release(struct ssh_conn *c);
/** ssh_fs_close() - give the channel up while the connection lives */
void ssh_fs_close(struct ssh_conn *c);
/** ssh_fs_free() - the connection is over */
void ssh_fs_free(struct ssh_fs *f);

#endif
