/*
 * operator/fs_client.h - a command's side of ssh/fs_session.h: many file operations at once over one session.
 *
 * An operation is started with a function that hears what comes of it, last of all SSH_F_OP_DONE, exactly once, also when
 * the connection is lost. Events come out of fs_client_turn() alone, never out of the call that starts an operation.
 */
#ifndef OPERATOR_FS_CLIENT_H
#define OPERATOR_FS_CLIENT_H

#include "operator/session_client.h"
#include "ssh/fs_session.h"

struct cli;
struct hub_client;

struct fs_request {
	enum ssh_op op;
	const char *path, *second;  /* second: of MV, SYMLINK, LINK */
	uint64_t offset, length;    /* GET; FIND: @length is the depth, 0 = no limit */
	uint32_t mode, flags;
	uint64_t source;            /* PUT */
	struct ssh_attr attr;       /* SETSTAT; PUT: its times */
};

/* Which members count follows from @type. Views, valid during the call. */
struct fs_event {
	enum ssh_frame type;        /* SSH_F_OP_INFO, _ENTRY, _BYTES, _MORE, _DONE */
	struct ssh_attr attr;       /* INFO, ENTRY */
	struct ssh_fs_space space;  /* INFO of DF */
	struct bytes data;          /* ENTRY: the name; BYTES */
	uint64_t offset;            /* BYTES */
	uint32_t credit;            /* MORE */
	enum err error;             /* DONE */
	const char *message;        /* DONE, for people */
};
typedef void (*fs_event_fn)(void *ctx, const struct fs_event *ev);

struct fs_slot {
	fs_event_fn fn; /* NULL: free */
	void *ctx;
	enum ssh_op op;
};

struct fs_client {
	struct cli *cli;
	char host[64];
	struct hub_client *hub;
	struct session s;
	struct fs_slot slots[SSH_FS_OPS_MAX];
	unsigned n_running;
};

/** fs_client_open() - a session with @host. Return: 0, or an exit status after a message. */
MUST_CHECK int fs_client_open(struct fs_client *fc, struct cli *cli, const char *host);
/** fs_client_attach() - the same through a hub that runs already; says nothing, asks nothing. fs_client_close() it in any case */
MUST_CHECK enum err fs_client_attach(struct fs_client *fc, struct cli *cli, const char *host, nsec_t timeout);
/** fs_client_begin() - on a session that stands, whose worker knows nothing of it yet; @fd is given away */
MUST_CHECK enum err fs_client_begin(struct fs_client *fc, int fd);
/** fs_client_reopen() - another session after one that was lost; no message. What ran has been told. */
MUST_CHECK enum err fs_client_reopen(struct fs_client *fc);
/** fs_client_close() - operations that still run are forgotten without a word */
void fs_client_close(struct fs_client *fc);
/** fs_client_start() - Return: its id; -1 when SSH_FS_OPS_MAX run, or the session is over */
int fs_client_start(struct fs_client *fc, const struct fs_request *rq, fs_event_fn fn, void *ctx);
/** fs_client_wait_room() - turns until one more may be started; false: the session is over */
bool fs_client_wait_room(struct fs_client *fc);
/** fs_client_queue() - as fs_client_start(), after fs_client_wait_room(); on failure @fn hears DONE at once */
void fs_client_queue(struct fs_client *fc, const struct fs_request *rq, fs_event_fn fn, void *ctx);
/** fs_client_data(), fs_client_eof() - the bytes of a PUT and their end */
void fs_client_data(struct fs_client *fc, int id, uint64_t offset, const void *p, size_t len);
void fs_client_eof(struct fs_client *fc, int id, uint64_t size);
void fs_client_cancel(struct fs_client *fc, int id);
/** fs_client_drop() - nothing more is heard of it, and it is cancelled */
void fs_client_drop(struct fs_client *fc, int id);
/** fs_client_turn() - wait up to @timeout_ms (-1: for ever) for something to happen, and tell it. A signal ends it early. */
void fs_client_turn(struct fs_client *fc, int timeout_ms);
/** fs_client_wait() - turns until nothing runs */
void fs_client_wait(struct fs_client *fc);
static inline bool fs_client_is_over(const struct fs_client *fc)
{
	return fc->s.over;
}

/* The answer of fs_client_call(): what INFO or the first ENTRY said. */
struct fs_answer {
	enum err error;
	char message[600];
	struct ssh_attr attr;
	struct ssh_fs_space space;
	char name[SSH_PATH_MAX + 1];
	bool done;
};
/** fs_client_call() - one operation to its end. Return: its error. */
enum err fs_client_call(struct fs_client *fc, const struct fs_request *rq, struct fs_answer *ret);
/** fs_client_ecode() - the code for an operation's error, in the table of errors */
unsigned fs_client_ecode(enum err e);

#endif
