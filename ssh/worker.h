/*
 * ssh/worker.h - the SSH worker process of one host, seen from the hub.
 *
 * SSH runs beside the hub, not in it: the worker holds the libssh2 connection(s) to one host, is sandboxed
 * (os_sandbox_worker) and has neither files nor the tunnel's keys. The hub hands it, over a SEQPACKET socket,
 *   - virtual connections to the host's SSH port, one end of a socket pair each, when it asks to dial,
 *   - the answers about host keys (the hub owns known_hosts),
 *   - sessions: sockets on which a command (exec, fs, nc) speaks the protocol of ssh/session.h.
 * The worker is this program started again with the hidden first argument "ssh-worker"; a library names the program.
 */
#ifndef SSH_WORKER_H
#define SSH_WORKER_H

#include "base/err.h"
#include "base/types.h"
#include "os/loop.h"
#include "ssh/handover.h"

struct ssh_worker;

/* An entry of ssh.identities, with the files' contents: any of them empty, wiped by their owner after start. */
struct ssh_identity {
	const char *path;      /* for messages; "agent": all keys of ssh-agent */
	const char *why;       /* it cannot be used; NULL = it can */
	struct bytes private, public, certificate;
};
#define SSH_IDENTITIES_BYTES_MAX (100 * 1024) /* all of them together */

struct ssh_worker_config {
	const char *host;        /* host id, for messages and known_hosts names */
	const char *user;
	const char *vpn_addr;    /* numeric; second name in known_hosts */
	const struct ssh_identity *ids;
	size_t n_ids;
	const char *known_hosts; /* path, read and written by the hub */
	uint64_t file_size_max;  /* ssh.max_file_size_bytes: no more is read of any file; 0 = no limit */
	uint64_t list_max;       /* ssh.max_list_entries: names that one session may list; 0 = no limit */
	struct ssh_nursery *nursery; /* it comes from there; outlives it. NULL: started by itself */
	const char *program;     /* started as the worker, with the argument "ssh-worker"; NULL = this program */
	bool is_guest;           /* this process is another program's: nothing of the worker is seen as its child */
	const char *root;        /* ssh.session_root: absolute, at most SSH_ROOT_MAX; file operations stay in it. NULL or "" = none */
	unsigned idle_s;         /* end after so long without a session; 0 = 600 */
	/* The worker wants a connection to the host: answer with ssh_worker_dialed(). */
	void (*on_dial)(void *ctx, struct ssh_worker *w, uint32_t dial_id);
	/*
	 * How the login of a dial went: OK, or why not; ERR_CLOSED: dropped before it named itself. The worker may say it late, of
	 * dials that it never asked for, or never. NULL: nobody cares.
	 */
	void (*on_outcome)(void *ctx, struct ssh_worker *w, uint32_t dial_id, enum err e);
	/* It ended (idle, crashed, killed); free it. @why is for people, NULL = idle. */
	void (*on_end)(void *ctx, struct ssh_worker *w, const char *why);
	/* A host key was accepted for the first time, or refused; for the log. */
	void (*on_host_key)(void *ctx, struct ssh_worker *w, bool accepted, const char *fingerprint);
	bool has_agent;          /* on_agent() can be asked */
	/* @request to ssh-agent: answer with ssh_worker_agent_said(); of the dial @dial_id. */
	void (*on_agent)(void *ctx, struct ssh_worker *w, uint32_t dial_id, struct bytes request);
	/* The passphrase of the key at @path, NULL: not known. One that was found right is to be kept. Both may be NULL. */
	const char *(*secret)(void *ctx, const char *path);
	void (*keep_secret)(void *ctx, const char *path, struct bytes passphrase);
	void *ctx;
};

MUST_CHECK enum err ssh_worker_start(struct os_loop *loop, const struct ssh_worker_config *cfg,
				     struct ssh_worker **ret);
/** ssh_worker_dialed() - the answer to on_dial: @fd (given away) when @e is OK; else @why, for people (NULL: the usual text) */
void ssh_worker_dialed(struct ssh_worker *w, uint32_t dial_id, enum err e, const char *why, int fd);
/** ssh_worker_agent_said() - the answer to on_agent: @answer without its length when @e is OK */
void ssh_worker_agent_said(struct ssh_worker *w, uint32_t dial_id, enum err e, struct bytes answer);
/** ssh_worker_counts() - what it has, by its own word, a moment old at most */
const struct ssh_counts *ssh_worker_counts(const struct ssh_worker *w);
/** ssh_worker_retire() - the host goes down: nothing new on its connections, idle ones are closed now */
void ssh_worker_retire(struct ssh_worker *w);
/**
 * ssh_worker_attach() - give it a command's session; when it has gone, on_end() comes, where ssh_worker_leave() has it
 * Return: OK; ERR_AGAIN: it has as many before it as its socket holds, and @s stays the caller's.
 */
MUST_CHECK enum err ssh_worker_attach(struct ssh_worker *w, struct ssh_handed *s);
/** ssh_worker_leave() - the sessions that it can never take any more, to the end of @ret; then only ssh_worker_free() is left */
void ssh_worker_leave(struct ssh_worker *w, struct list *ret);
/** ssh_worker_start_text() - of ssh_worker_start(): why there is none, for people */
const char *ssh_worker_start_text(enum err e);
/** ssh_worker_free() - kill it when it still runs. Sessions that it has not taken are closed. */
void ssh_worker_free(struct ssh_worker *w);

/** ssh_worker_main() - the process itself; @ctl_fd is descriptor 3. Return: its exit code. */
int ssh_worker_main(int ctl_fd);

#endif
