/*
 * ssh/fs_session.h - file operations over one session of ssh/session.h: many at once, each with a
 * number of its own.
 *
 *	command                                   worker
 *	SSH_F_FS    u32 version              ->
 *	                                     <-   SSH_F_READY (SFTP answers) or SSH_F_ERROR (the session is over)
 *	SSH_F_OP    u32 id, u8 op, ...       ->   (do not wait for READY: send at once)
 *	                                     <-   SSH_F_OP_INFO, _ENTRY, _BYTES, _MORE: by the operation
 *	SSH_F_OP_DATA, SSH_F_OP_EOF          ->   (PUT)
 *	SSH_F_OP_CANCEL  u32 id              ->
 *	                                     <-   SSH_F_OP_DONE: exactly once for each SSH_F_OP, unless the session ends
 *	                                          before with SSH_F_ERROR
 *
 * An id is free again after its DONE. At most SSH_FS_OPS_MAX run at once; more are answered with
 * ERR_FULL. Paths are bytes as the server has them (no encoding, no NUL), at most SSH_PATH_MAX;
 * relative ones start at the login folder. Everything is little endian; strings are u32 length and
 * bytes. Closing the socket abandons what runs: a PUT that may be resumed leaves its partial file,
 * others leave nothing.
 */
#ifndef SSH_FS_SESSION_H
#define SSH_FS_SESSION_H

#include "ssh/frame.h"

#define SSH_FS_OPS_MAX 64
#define SSH_PATH_MAX 4096
#define SSH_PUT_CREDIT (1024 * 1024) /* bytes of OP_DATA that may be sent before the first OP_MORE */
#define SSH_PUT_TAIL (64 * 1024)     /* bytes of a partial file that are shown for comparison */

/* The values are the protocol: never renumber. After "u32 id, u8 op" of SSH_F_OP: */
enum ssh_op {
	SSH_OP_GET = 1,   /* path, u64 offset, u64 length (UINT64_MAX: to the end). INFO, BYTES in rising order, DONE */
	SSH_OP_PUT = 2,   /* path, u32 mode, u32 flags, u64 source, u32 atime, u32 mtime; see below */
	SSH_OP_LS = 3,    /* path. ENTRY each (without "." and ".."; unordered), DONE */
	SSH_OP_FIND = 4,  /* path, u32 depth (0: no limit). ENTRY with an empty name for @path itself, then each with the
			   * path below it, folders before what
			   * is in them; symbolic links are not followed. A folder that cannot be read does not end it:
			   * DONE then carries the first such error */
	SSH_OP_STAT = 5,  /* path. INFO (symbolic links followed), DONE */
	SSH_OP_LSTAT = 6, /* path. INFO, DONE */
	SSH_OP_RM = 7,    /* path, u32 flags (SSH_RM_*). DONE */
	SSH_OP_MKDIR = 8, /* path, u32 mode, u32 flags (SSH_MKDIR_*). DONE */
	SSH_OP_MV = 9,    /* path, string to, u32 flags (SSH_MV_*). DONE */
	SSH_OP_SETSTAT = 10, /* path, attributes as below: those whose SSH_ATTR_ bit is set are set (chmod, touch). DONE */
	SSH_OP_DF = 11,      /* path. INFO with struct ssh_fs_space, DONE; ERR_UNSUPPORTED without the extension */
	SSH_OP_REALPATH = 12, /* path. ENTRY with the resolved path, DONE */
	SSH_OP_READLINK = 13, /* path. ENTRY with where it points, DONE */
	SSH_OP_SYMLINK = 14,  /* path (the link), string target. DONE */
	SSH_OP_LINK = 15,     /* path (the new name), string target (what is there). DONE */
};

/*
 * PUT: the bytes arrive in a file beside @path, named "PATH.nefia-SOURCE.part" with @source in 16
 * hex digits: with SSH_PUT_RESUME choose it from what identifies the source (size, time, inode),
 * else the worker draws it. At the end it gets its mode and times, is fsynced where the server can,
 * and takes the place of @path in one step.
 *
 * OP_DATA: u32 id, u64 offset, bytes (at most SSH_DATA_MAX less the head; offsets rise; what is
 * left out is a hole). OP_EOF: u32 id, u64 size of the whole. OP_MORE: u32 id, u32 bytes that may
 * be sent beyond those granted before.
 *
 * With SSH_PUT_RESUME a partial file of the same @source is kept: INFO tells how much of it has no gaps,
 * BYTES the last bytes of that (up to SSH_PUT_TAIL). Compare them with the source; when they are equal go on from
 * there, else say so by an empty OP_DATA at 0, and start there. Send data after INFO, not before; without a partial file INFO tells size
 * 0. Abandoned, it leaves the partial file for the next time.
 */
enum {
	SSH_PUT_RESUME = 1,
	SSH_PUT_TIMES = 2,     /* set atime and mtime */
	SSH_PUT_NO_REPLACE = 4, /* ERR_EXISTS when @path is there */
	SSH_PUT_NO_SYNC = 8,   /* do not wait until it is on the disk */
	SSH_RM_RECURSIVE = 1,  /* folders with what is in them; symbolic links are removed, never followed */
	SSH_RM_FORCE = 2,      /* what is not there is no error */
	SSH_MKDIR_PARENTS = 1, /* those above it as well; being there is no error */
	SSH_MKDIR_MAY_EXIST = 2, /* a folder that is there is no error */
	SSH_MKDIR_OPEN_UP = 4, /* one that is there is made ours to read, write and enter, if it may be */
	SSH_MV_NO_REPLACE = 1, /* ERR_EXISTS when @to is there; else it is replaced in one step where the server can */
};

/* Attributes: u32 which (SSH_ATTR_*), u64 size, u32 uid, u32 gid, u32 mode (with the type), u32 atime, u32 mtime. */
#define SSH_ATTR_BYTES 32
enum { SSH_ATTR_SIZE = 1, SSH_ATTR_OWNER = 2, SSH_ATTR_MODE = 4, SSH_ATTR_TIMES = 8 };

struct ssh_attr {
	uint32_t which;
	uint64_t size;
	uint32_t uid, gid, mode, atime, mtime;
};

/* df, all u64 in this order: bytes of the file system, free, free for this user; files, free files */
struct ssh_fs_space {
	uint64_t size, free, avail, files, files_free;
};
#define SSH_SPACE_BYTES 40

/*
 * Bodies from the worker, after u32 id: OP_INFO: attributes (DF: space). OP_ENTRY: string name,
 * attributes (of a link itself). OP_BYTES: u64 offset, bytes. OP_DONE: u32 enum err, string
 * message.
 */
MUST_CHECK enum err ssh_put_u64(struct ssh_buf *b, uint64_t v);
MUST_CHECK enum err ssh_put_attr(struct ssh_buf *b, const struct ssh_attr *a);
uint64_t ssh_read_u64(struct ssh_reader *r);
uint8_t ssh_read_u8(struct ssh_reader *r);
void ssh_read_attr(struct ssh_reader *r, struct ssh_attr *ret);
void ssh_read_space(struct ssh_reader *r, struct ssh_fs_space *ret);

#endif
