/* ssh/fs_internal.h - operations on files: what fs_op.c, fs_get.c, fs_put.c, fs_walk.c and fs_session.c share. */
#ifndef SSH_FS_INTERNAL_H
#define SSH_FS_INTERNAL_H

#include "ssh/fs.h"

#define GET_CHUNKS_MAX 256

struct fs_op;

/* What an operation does with an answer (never NULL, never once it is over), and when there may be more to ask. */
struct fs_op_type {
	void (*reply)(struct fs_op *op, uint64_t tag, const struct sftp_reply *r);
	void (*step)(struct fs_op *op);    /* may be NULL */
	void (*cleanup)(struct fs_op *op); /* it is over: requests that tidy up at the server; may be NULL */
	void (*free)(struct fs_op *op);    /* may be NULL */
};

/* A read under way, in the order of the file. */
struct fs_chunk {
	uint64_t offset;
	uint32_t len, got;
	uint8_t *data; /* came before its turn */
	bool answered, eof;
};

struct fs_get {
	uint64_t next, deliver, end; /* to ask for; to pass on; where it ends (UINT64_MAX: at the end of the file) */
	uint64_t size;               /* 0: unknown, read until the end */
	bool known;                  /* FSTAT was answered */
	uint64_t head, tail;         /* chunks [head, tail) are under way */
	uint64_t n_bytes;
	struct fs_chunk *ring;
};

/* The file, opened once more on another channel. */
struct fs_lane_file {
	struct sftp_client *client; /* NULL: not tried */
	uint8_t handle[SFTP_HANDLE_MAX];
	size_t handle_len;          /* 0: not open (yet), or not to be had */
};

#define PUT_WRITES_MAX 1024       /* under way, of one file */
#define PUT_SPAN (32u << 20)      /* from the first byte that may be missing to the last that may be there */

struct fs_put {
	uint64_t began[PUT_WRITES_MAX]; /* a ring: where each WRITE under way begins */
	bool answered[PUT_WRITES_MAX];
	uint64_t first, next; /* [first, next) are in the ring */
	struct fs_lane_file lane[FS_LANES_MAX - 1];
	unsigned n_lanes;      /* tried */
	uint32_t mode, flags, atime, mtime;
	uint64_t source, written, total;
	uint64_t there, old_size; /* bytes of a partial file; how many of them may be gone on from */
	char *temp;
	struct ssh_buf queue;  /* u64 offset, u32 len, bytes ... */
	bool eof, writable, finishing, keep_temp, made_temp, write_failed;
	unsigned n_unsure;     /* answers without which the file is not whole */
};

#define WALK_ACTIVE_MAX 8    /* folders read at once */
#define WALK_NODES_MAX 32768 /* folders known and not done */

/* A folder that is walked. It lives until everything in it is done. */
struct fs_node {
	struct list link; /* in the queue of folders to be opened, or of those to be read on */
	struct list all;
	struct fs_node *parent;
	unsigned n_open;  /* its own scan, its entries, its subfolders */
	unsigned depth;
	bool failed;      /* it could not be opened, or is not what it was */
	unsigned n_idle;  /* lists in a row without a name in them */
	unsigned n_asked; /* answers without which it is not read: of the opening, and in a session root of the look after it */
	uint8_t handle[SFTP_HANDLE_MAX];
	size_t handle_len;
	char path[];      /* below the start; "" for it */
};

struct fs_walk {
	struct list queue, wants, all;
	struct list doomed; /* files that are to be removed */
	unsigned n_active, n_nodes;
	uint32_t depth_max;
	bool remove;
	enum err first; /* error that did not end it */
	char why[400];
};

struct fs_op {
	struct list link;
	struct fs_session *s;
	const struct fs_op_type *type;
	uint32_t id;
	enum ssh_op kind;
	char *path, *second;
	unsigned n_calls;    /* answers that are still to come */
	bool over;           /* DONE was said */
	uint8_t handle[SFTP_HANDLE_MAX];
	size_t handle_len;
	uint32_t flags, mode;
	struct ssh_attr attr;
	enum sftp_status status; /* kept from a first attempt */
	uint64_t number[2];      /* GET: offset and length; FIND: depth */
	struct fs_confine *confine; /* while paths are resolved */
	const char *check_path;  /* what was opened, as long as it is looked at again */
	struct ssh_attr check_there, check_open; /* what is at check_path, and what the handle is */
	bool check_seen, check_differs; /* check_there was told; it was not the same each time */
	int check_tries;
	unsigned n_checks;       /* answers without which not a byte of it may move */
	unsigned n_looks;        /* of those, by the path, that are still to be asked for: */
	uint64_t coins;          /* of which kind, a bit for each */
	union {
		struct fs_get get;
		struct fs_put put;
		struct fs_walk walk;
	};
};

extern const struct fs_op_type fs_simple_type, fs_get_type, fs_put_type, fs_walk_type;

static inline struct bytes fs_str(const char *s)
{
	return (struct bytes){ (const uint8_t *)s, __builtin_strlen(s) };
}

/* ---- fs_op.c ---- */
/** fs_op_call() - one request; the answer goes to the type's reply(). When it cannot be made the operation fails. */
void fs_op_call(struct fs_op *op, const struct sftp_request *rq, uint64_t tag);
/** fs_op_call_through() - the same, through another channel than the session's first */
void fs_op_call_through(struct fs_op *op, struct sftp_client *c, const struct sftp_request *rq, uint64_t tag);
/** fs_op_on_path(), fs_op_on_handle() - the requests that are only a type and a path, or the handle */
void fs_op_on_path(struct fs_op *op, enum sftp_type type, const char *path, uint64_t tag);
void fs_op_on_handle(struct fs_op *op, enum sftp_type type, uint64_t tag);
/** fs_op_take_handle() - keep the handle of @r; false: it is none, and the operation failed: "@what PATH: why" */
bool fs_op_take_handle(struct fs_op *op, const struct sftp_reply *r, const char *what);
/** fs_op_expect_ok() - is @r a status of success? If not, the operation fails. */
bool fs_op_expect_ok(struct fs_op *op, const struct sftp_reply *r, const char *what);
void fs_op_done(struct fs_op *op);
void fs_op_fail(struct fs_op *op, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
/** fs_op_fail_reply() - "@what PATH: why", by the answer @r */
void fs_op_fail_reply(struct fs_op *op, const struct sftp_reply *r, const char *what);
/** fs_op_start_simple() - everything but GET, PUT, LS, FIND and recursive RM */
void fs_op_start_simple(struct fs_op *op);
bool fs_op_room(const struct fs_op *op);
/** fs_op_list() - a name of @len bytes came; false: more than the session may list, and the operation failed */
bool fs_op_list(struct fs_op *op, size_t len);

/* ---- fs_session.c ---- */
/** fs_op_begin() - by its kind, its paths resolved where they have to be */
void fs_op_begin(struct fs_op *op);

/* ---- fs_confine.c: session roots ---- */
#define FS_TAG_CHECK_REAL (UINT64_MAX - 10)
#define FS_TAG_CHECK_THERE (UINT64_MAX - 11)
#define FS_TAG_CHECK_OPEN (UINT64_MAX - 12)
static inline bool fs_tag_is_check(uint64_t tag)
{
	return tag <= FS_TAG_CHECK_REAL && tag >= FS_TAG_CHECK_OPEN;
}
/** fs_confine_start() - resolve the paths, then fs_op_begin(); or refuse */
void fs_confine_start(struct fs_op *op);
/**
 * fs_confine_check() - the handle was opened as @path (which stays): look again, and hold the operation until op->n_checks is 0
 * Return: false: there is no root, and nothing to look at. The type's step() is called when it may go on.
 */
bool fs_confine_check(struct fs_op *op, const char *path);
/** fs_confine_look_on() - ask for what there was no room for */
void fs_confine_look_on(struct fs_op *op);
void fs_confine_checked(struct fs_op *op, uint64_t tag, const struct sftp_reply *r);
/** fs_confine_is_same() - does the answer to REALPATH say @path itself? */
bool fs_confine_is_same(const struct sftp_reply *r, const char *path);

void fs_get_start(struct fs_op *op, uint64_t offset, uint64_t length);
void fs_put_start(struct fs_op *op);
/** fs_put_data(), fs_put_eof() - ERR_PROTOCOL: more than was granted, offsets that fall, data after the end */
MUST_CHECK enum err fs_put_data(struct fs_op *op, uint64_t offset, struct bytes data);
MUST_CHECK enum err fs_put_eof(struct fs_op *op, uint64_t size);
/** fs_walk_start() - LS, FIND, recursive RM, by the kind */
void fs_walk_start(struct fs_op *op, uint32_t depth_max);

/* ---- fs_session.c: towards the command ---- */
void fs_emit_attr(struct fs_op *op, const struct ssh_attr *a);
void fs_emit_space(struct fs_op *op, const struct ssh_fs_space *sp);
void fs_emit_entry(struct fs_op *op, struct bytes dir, struct bytes name, const struct ssh_attr *a);
void fs_emit_bytes(struct fs_op *op, uint64_t offset, struct bytes data);
void fs_emit_more(struct fs_op *op, uint32_t n_bytes);
void fs_emit_done(struct fs_op *op, enum err e, const char *message);

#endif
