/* ssh/job.h - inside the worker: one session of a command, from its first frame to the last. */
#ifndef SSH_JOB_H
#define SSH_JOB_H

#include "ssh/conn.h"
#include "ssh/fs.h"

/*
 * Who is told that a session begins. Before that the hub may give it to another worker, and here nothing is taken out of its socket
 * or put in; false: it cannot be told, and the session must stay as it is.
 */
struct ssh_taker {
	bool (*take)(void *ctx, uint32_t session);
	void *ctx;
};

enum ssh_job_state { JOB_NEW, JOB_WAIT_CONN, JOB_OPEN, JOB_START, JOB_RUN, JOB_FINISH, JOB_CLOSE, JOB_DONE };

struct ssh_job {
	bool moved;   /* output left since the loop last looked */
	bool retried; /* on a second connection already */
	struct list link;
	int fd;
	const struct ssh_taker *taker;
	uint32_t session; /* its number, for the taker */
	bool taken;
	enum ssh_job_state state;
	enum ssh_frame kind;
	char *arg; /* command, path or host; NULL: the first frame was not taken out yet */
	uint32_t number; /* mode or port */
	struct ssh_conn *conn;
	LIBSSH2_CHANNEL *channel;
	struct fs_session fs;   /* file kinds, from JOB_RUN on */
	const struct ssh_setup *setup;
	struct ssh_buf in, out; /* from and to the command */
	struct ssh_buf data;    /* towards the host */
	struct ssh_buf request; /* SHELL: what stands behind the command in the first frame */
	unsigned n_requested;   /* SHELL: steps of the start that are done */
	char signal[32];        /* to be sent; "" none */
	bool in_eof;            /* the command has gone */
	struct ssh_ident *asked_for; /* it was asked for this key's passphrase */
	bool answered, has_answer;
	struct ssh_blob answer;      /* with a NUL behind it */
	bool data_eof, data_eof_sent, out_eof_told, want_close, closing;
	nsec_t deadline;        /* of JOB_OPEN, JOB_START and JOB_CLOSE */
};

/** ssh_job_new() - of the session @number at @fd; @setup and @taker stay, and count from the first frame on. NULL: no memory, @fd stays. */
struct ssh_job *ssh_job_new(int fd, uint32_t number, const struct ssh_setup *setup, const struct ssh_taker *taker);
/** ssh_job_free() - takes it, if it was not: nobody else is to have it */
void ssh_job_free(struct ssh_job *j);
/** ssh_job_step() - as far as it goes without blocking; JOB_DONE with an empty @out ends it */
void ssh_job_step(struct ssh_job *j, nsec_t now);
/** ssh_job_pump() - what waits for the command, to its socket */
void ssh_job_pump(struct ssh_job *j);
/** ssh_job_conn_dead() - its connection ended */
void ssh_job_conn_dead(struct ssh_job *j, enum err e, const char *message);
/** ssh_job_ask() - ask its person for a passphrase; the answer will be in @answered, @answer */
void ssh_job_ask(struct ssh_job *j, struct ssh_ident *id);
/** ssh_job_wants_read() - is there room for more from the command? */
bool ssh_job_wants_read(const struct ssh_job *j);
bool ssh_job_is_file(const struct ssh_job *j);
/** ssh_job_next() - when to step although nothing happened */
nsec_t ssh_job_next(const struct ssh_job *j);

#endif
