/*
 * operator/session_client.h - a command's side of ssh/session.h: frames out and in over one socket, with poll().
 *
 * Inherited standard streams are never made non-blocking: other programs share them. Reading waits for poll(); writing to
 * them may block, which is their reader's backpressure.
 */
#ifndef OPERATOR_SESSION_CLIENT_H
#define OPERATOR_SESSION_CLIENT_H

#include "operator/hub_client.h"
#include "ssh/frame.h"

struct session {
	int fd;
	struct ssh_buf in, out;
	bool ready, over;
	uint64_t size;  /* GET: of the file; UINT64_MAX unknown */
	uint32_t mode;
	bool stdout_eof;
	bool is_file; /* a file is transferred */
	bool input_failed;        /* what was fed to it could not be read: @message */
	int exit_status;          /* -1: none */
	char exit_signal[32];
	enum err error;           /* of our own or the worker */
	char message[SSH_ERROR_TEXT_MAX];
	/* The passphrase of a locked key, askpass_key(); NULL: nobody is asked */
	const char *(*on_ask)(const char *path, unsigned n_wrong);
	/* What the worker has to say to people; NULL: to standard error. */
	void (*on_note)(void *ctx, struct bytes text);
	void *note_ctx;
	void (*on_frame)(void *ctx, uint8_t type, struct bytes body); /* of SSH_F_FS: every SSH_F_OP_* that comes; or NULL */
};

/* What came on @type (STDOUT, STDERR; STDOUT_EOF: nothing more will); false = it could not be passed on: the session is
 * closed. */
typedef bool (*session_data_fn)(void *ctx, enum ssh_frame type, struct bytes data);

void session_init(struct session *s, int fd);
void session_fini(struct session *s);
/** session_start() - the first frame; @number: deadline, mode or port */
MUST_CHECK enum err session_start(struct session *s, enum ssh_frame kind, const char *arg, uint32_t number);
MUST_CHECK enum err session_send(struct session *s, enum ssh_frame type, const void *p, size_t len);
/** session_flush() - send what goes without blocking; what was sent is heard although the session is closed next */
void session_flush(struct session *s);
/** session_pump() - send and receive what goes without blocking; sets over, error, exit_* */
void session_pump(struct session *s, session_data_fn fn, void *ctx);
short session_poll_events(const struct session *s);
/**
 * session_feed() - read @fd once, pass it on as STDIN or STDIN_EOF
 * Return: false at its end (told) or on an error, which ends the session; @ret_n: bytes read, may be NULL.
 */
bool session_feed(struct session *s, int fd, size_t *ret_n);
/** session_has_room() - may more be fed? */
bool session_has_room(const struct session *s);
/**
 * session_run() - until it is over
 * @in_fd: fed to it; -1 = nothing
 * @fn:    what came; @fed (may be NULL): so many bytes were fed
 */
void session_run(struct session *s, int in_fd, session_data_fn fn, void (*fed)(void *ctx, size_t n), void *ctx);
/**
 * session_login() - have the host's worker log in now, and ask the person what it takes
 *
 * For sessions that cannot ask themselves: forwards, and file operations (SSH_F_FS). Does nothing where nobody could be asked.
 * Return: OK; else why, in ret_why, and 0 or a code of the table of errors.
 */
MUST_CHECK enum err session_login(struct hub_client *hc, const char *host, char ret_why[SSH_ERROR_TEXT_MAX], unsigned *ret_ecode);
/** session_ecode() - the code in the table of errors for s->error */
unsigned session_ecode(const struct session *s);
/** session_ecode_of() - the same for an error; @is_file: of a file operation */
unsigned session_ecode_of(enum err e, bool is_file);

#endif
