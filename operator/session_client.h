/*
 * operator/session_client.h - a command's side of ssh/session.h: frames out and in over one socket, with poll().
 *
 * Inherited standard streams are never made non-blocking: other programs share them. Reading waits for poll(); writing to
 * them may block, which is their reader's backpressure.
 */
#ifndef OPERATOR_SESSION_CLIENT_H
#define OPERATOR_SESSION_CLIENT_H

#include "ssh/frame.h"

struct cli;

struct session {
	int fd;
	struct ssh_buf in, out;
	bool ready, over;
	uint64_t size;  /* GET: of the file; UINT64_MAX unknown */
	uint32_t mode;
	bool stdout_eof;
	int exit_status;          /* -1: none */
	char exit_signal[32];
	enum err error;           /* of our own or the worker */
	char message[800];
};

/* What came on @type (STDOUT, STDERR); false = it could not be passed on: the session is closed. */
typedef bool (*session_data_fn)(void *ctx, enum ssh_frame type, struct bytes data);

void session_init(struct session *s, int fd);
void session_fini(struct session *s);
/** session_start() - the first frame; @number: deadline, mode or port */
MUST_CHECK enum err session_start(struct session *s, enum ssh_frame kind, const char *arg, uint32_t number);
MUST_CHECK enum err session_send(struct session *s, enum ssh_frame type, const void *p, size_t len);
/** session_pump() - send and receive what goes without blocking; sets over, error, exit_* */
void session_pump(struct session *s, session_data_fn fn, void *ctx);
short session_poll_events(const struct session *s);
/** session_ecode() - the code in the table of errors for s->error */
unsigned session_ecode(const struct session *s);
/** session_open() - hub_client_open and _session, errors printed; OK gives the socket */
MUST_CHECK enum err session_open(struct cli *cli, const char *host, struct session *s);

#endif
