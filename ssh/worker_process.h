/*
 * ssh/worker_process.h - inside the worker: the process, as its loop (worker_main.c), its talk with the hub (worker_hub.c)
 * and its pool (worker_pool.c) share it.
 */
#ifndef SSH_WORKER_PROCESS_H
#define SSH_WORKER_PROCESS_H

#include "ssh/ask.h"
#include "ssh/conn.h"
#include "ssh/cpu_watch.h"
#include "ssh/job.h"
#include "ssh/setup.h"

#define N_JOBS_MAX 1100 /* a thousand forwards, and some */
#define N_CONNS_MAX 32

struct ssh_process {
	bool moved; /* a queue was drained in this turn */
	int ctl;
	struct ssh_setup setup;
	bool configured, over;
	struct list conns, jobs;
	size_t n_conns, n_jobs;
	size_t first_job;  /* of what is polled */
	uint32_t next_id;
	nsec_t now, idle_ns, idle_since;
	struct cpu_watch cpu;
	struct ssh_asker asker;
	struct ssh_taker taker;
	uint32_t n_sessions; /* that came, ever */
	struct ssh_counts counts, told; /* for the hub's status */
	nsec_t counts_at; /* when they are told; NSEC_NEVER: they are */
	bool idle_told, swollen; /* memory of sessions is still held */
	bool refused; /* a login failed: the next worker reads the keys anew */
};

/* ---- worker_hub.c ---- */
/** ssh_process_tell() - a message for the hub; @ctx: the struct ssh_process, which is over when the hub does not take it */
void ssh_process_tell(void *ctx, const struct ssh_buf *msg);
/** ssh_process_tell_taken() - a session begins; @ctx as above. False: the hub does not hear it, and it must not. */
MUST_CHECK bool ssh_process_tell_taken(void *ctx, uint32_t session);
/** ssh_process_ask_dial() - a way to the host, for connection @id */
void ssh_process_ask_dial(struct ssh_process *p, uint32_t id);
/** ssh_process_ask_host_key() - is this its key? */
void ssh_process_ask_host_key(struct ssh_process *p, struct ssh_conn *c);
void ssh_process_tell_outcome(struct ssh_process *p, struct ssh_conn *c, enum err e);
void ssh_process_tell_idle(struct ssh_process *p);
nsec_t ssh_process_tell_counts(struct ssh_process *p);
/** ssh_process_take_message() - read one and do it */
void ssh_process_take_message(struct ssh_process *p);

/* ---- worker_pool.c ---- */
/** ssh_process_step() - connections and jobs, as far as they go without waiting */
void ssh_process_step(struct ssh_process *p);
nsec_t ssh_process_close_spare(struct ssh_process *p);
void ssh_process_give_back(struct ssh_process *p);

#endif
