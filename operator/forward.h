/*
 * operator/forward.h - what the files of `nefia forward` share: listeners of this process, and their connections.
 *
 * Each connection is a session with the host's SSH worker, which makes it a channel of a pooled SSH connection: a thousand of
 * them are a few connections to the agent. The hub only hands out the sessions; should it end, the next connection
 * finds or starts another, and the ports stay open meanwhile.
 */
#ifndef OPERATOR_FORWARD_H
#define OPERATOR_FORWARD_H

#include "base/list.h"
#include "operator/cmd.h"
#include "operator/forward_spec.h"
#include "operator/hub_client.h"
#include "os/loop.h"
#include "os/stream.h"
#include "ssh/frame.h"

#define FORWARDS_MAX 64
#define FORWARD_CONNS_MAX 4096
#define FORWARD_GREETING_MAX (30 * NSEC_PER_SEC) /* from the connection to the end of its SOCKS request */
#define FORWARD_GREETINGS_MAX 256                /* that have not ended; one more, and the oldest gives way */

enum forward_kind { FORWARD_LOCAL, FORWARD_DYNAMIC, FORWARD_REMOTE };

struct forward_run;

/* One argument of the person's. */
struct forward {
	struct forward_run *run;
	enum forward_kind kind;
	struct forward_spec spec;
	struct os_listener *listener; /* LOCAL, DYNAMIC */
	/* REMOTE: the session that holds the port there */
	struct os_stream *session;
	struct ssh_buf up, rx;
	struct os_timer again;
	uint32_t id;        /* of the listener, for those who accept; 0 = it does not listen now */
	unsigned n_waiting; /* sessions that wait for a connection */
	bool was_ready;
};

struct forward_run {
	struct cli *cli;
	struct hub_client *hc;
	struct os_loop *loop;
	const char *host;
	const char *login; /* of SOCKS clients, "user:password"; NULL = none */
	int code;          /* our exit code */
	bool is_kept;      /* the process of a hub, with which it ends: it starts no other */
	nsec_t idle;       /* a connection that carries nothing for so long is closed; 0 = never */
	struct forward forwards[FORWARDS_MAX];
	size_t n_forwards;
	struct list conns;
	size_t n_conns, n_greetings;
	struct os_timer sweep;
	nsec_t sweep_at; /* when it is due; NSEC_NEVER: nothing will be */
};

/* ---- forward_run.c ---- */
/** forward_run() - listen and carry until a signal comes. Return: the exit code. */
int forward_run(struct forward_run *r);
/** forward_session() - a session with the host's worker; the hub is looked for again when it has gone. Says why not. */
MUST_CHECK enum err forward_session(struct forward_run *r, int *ret_fd);

/* ---- forward_conn.c ---- */
/** forward_conn_accept() - a connection came in at @f; @fd is given away */
void forward_conn_accept(struct forward *f, int fd);
/** forward_conn_await() - a session that waits for a connection at @f's port there, and carries it to the target here */
void forward_conn_await(struct forward *f);
/** forward_conns_drop_waiting() - those of @f that still wait */
void forward_conns_drop_waiting(struct forward *f);
/**
 * forward_conns_sweep() - close those that are idle, and those whose greeting takes too long
 * Return: when to be called again; NSEC_NEVER: when another connection has come
 */
nsec_t forward_conns_sweep(struct forward_run *r, nsec_t now);
void forward_conns_close(struct forward_run *r);

/* ---- forward_remote.c ---- */
/** forward_remote_start() - have the server listen; kept until forward_remote_stop(), also when the connection is lost */
void forward_remote_start(struct forward *f);
void forward_remote_stop(struct forward *f);
/** forward_remote_refill() - enough sessions wait for connections */
void forward_remote_refill(struct forward *f);
/** forward_frame() - the first frame of a session: version, text, number */
MUST_CHECK enum err forward_frame(struct ssh_buf *to, enum ssh_frame type, const char *text, uint32_t number);

#endif
