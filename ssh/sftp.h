/*
 * ssh/sftp.h - the packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's
 * extensions. Pure.
 *
 * A packet is u32 length, u8 type, body; numbers are big endian. Every request but INIT has an id,
 * which its reply repeats.
 */
#ifndef SSH_SFTP_H
#define SSH_SFTP_H

#include "ssh/fs_session.h"

#define SFTP_VERSION_OURS 3
#define SFTP_PACKET_MAX (256 * 1024) /* OpenSSH's own; longer ones are refused */
#define SFTP_HANDLE_MAX 256
#define SFTP_CHUNK_DEFAULT 32768     /* of a read or write that every server takes */

enum sftp_type {
	SFTP_INIT = 1, SFTP_VERSION = 2, SFTP_OPEN = 3, SFTP_CLOSE = 4, SFTP_READ = 5, SFTP_WRITE = 6,
	SFTP_LSTAT = 7, SFTP_FSTAT = 8, SFTP_SETSTAT = 9, SFTP_FSETSTAT = 10, SFTP_OPENDIR = 11,
	SFTP_READDIR = 12, SFTP_REMOVE = 13, SFTP_MKDIR = 14, SFTP_RMDIR = 15, SFTP_REALPATH = 16,
	SFTP_STAT = 17, SFTP_RENAME = 18, SFTP_READLINK = 19, SFTP_SYMLINK = 20,
	SFTP_STATUS = 101, SFTP_HANDLE = 102, SFTP_DATA = 103, SFTP_NAME = 104, SFTP_ATTRS = 105,
	SFTP_EXTENDED = 200, SFTP_EXTENDED_REPLY = 201,
};

enum sftp_status {
	SFTP_OK = 0, SFTP_EOF = 1, SFTP_NO_SUCH_FILE = 2, SFTP_PERMISSION_DENIED = 3, SFTP_FAILURE = 4,
	SFTP_BAD_MESSAGE = 5, SFTP_NO_CONNECTION = 6, SFTP_CONNECTION_LOST = 7, SFTP_OP_UNSUPPORTED = 8,
	/* of later versions, which some servers send all the same */
	SFTP_EXISTS = 11, SFTP_WRITE_PROTECT = 12, SFTP_NO_SPACE = 14, SFTP_QUOTA = 15,
};

enum { SFTP_F_READ = 1, SFTP_F_WRITE = 2, SFTP_F_APPEND = 4, SFTP_F_CREAT = 8, SFTP_F_TRUNC = 16, SFTP_F_EXCL = 32 };

/* The extensions that we use; a server says in VERSION which it has. */
enum sftp_ext { SFTP_X_POSIX_RENAME, SFTP_X_STATVFS, SFTP_X_FSYNC, SFTP_X_HARDLINK, SFTP_X_LIMITS, SFTP_X_N };

/* Which members count follows from @type; see the table in sftp.c. */
struct sftp_request {
	enum sftp_type type;
	enum sftp_ext ext;       /* of EXTENDED */
	struct bytes path;       /* or the handle */
	struct bytes second;     /* the new path, or what is written */
	uint64_t offset;
	uint32_t len, flags;
	struct ssh_attr attr;
};

struct sftp_client;

/* Views into the packet. */
struct sftp_reply {
	struct sftp_client *from; /* that it came through; not of sftp_decode() */
	enum sftp_type type;
	uint32_t id;             /* VERSION: the version */
	enum sftp_status status; /* STATUS; else SFTP_OK */
	struct bytes data;       /* DATA, HANDLE; the rest of VERSION, NAME and EXTENDED_REPLY */
	uint32_t n_names;
	struct ssh_attr attr;
};

struct sftp_limits {
	uint64_t packet, read, write, handles; /* 0: the server named none */
};

/** sftp_encode() - add one request to @b; ERR_TOO_LONG: it would be above SFTP_PACKET_MAX */
MUST_CHECK enum err sftp_encode(struct ssh_buf *b, uint32_t id, const struct sftp_request *rq);
/** sftp_next() - the first whole packet (a view into @b, without its length). OK, ERR_AGAIN, ERR_PROTOCOL */
MUST_CHECK enum err sftp_next(const struct ssh_buf *b, struct bytes *ret_packet, size_t *ret_total);
/** sftp_decode() - one reply. ERR_PROTOCOL: not a reply, or malformed */
MUST_CHECK enum err sftp_decode(struct bytes packet, struct sftp_reply *ret);
/** sftp_next_name() - take one entry off the data of NAME; false: malformed */
bool sftp_next_name(struct bytes *names, struct bytes *ret_name, struct ssh_attr *ret_attr);
/** sftp_next_ext() - take one extension off the data of VERSION; @ret is SFTP_X_N for one that we do not use */
bool sftp_next_ext(struct bytes *exts, enum sftp_ext *ret);
bool sftp_read_limits(struct bytes data, struct sftp_limits *ret);
bool sftp_read_space(struct bytes data, struct ssh_fs_space *ret);
/** sftp_err() - our error for a status; @ret_text for people */
enum err sftp_err(enum sftp_status s, const char **ret_text);

#endif
