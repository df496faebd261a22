/*
 * ssh/ask.h - inside the worker: what it asks of others to log in. Passphrases: of the hub, which may know them, then of the
 * person at a command that waits for the connection. Lists and signatures: of the agent, through the hub.
 */
#ifndef SSH_ASK_H
#define SSH_ASK_H

#include "ssh/conn.h"
#include "ssh/cpu_watch.h"

#define SSH_ASK_TRIES 3

struct ssh_asker {
	struct ssh_setup *setup;
	struct list *conns; /* struct ssh_conn */
	struct list *jobs;  /* struct ssh_job */
	struct cpu_watch *cpu;
	void (*tell_hub)(void *ctx, const struct ssh_buf *msg);
	void *ctx;
};

/** ssh_ask_step() - send what is to be asked, take what was answered. Return: did something change? */
bool ssh_ask_step(struct ssh_asker *a);
/** ssh_ask_hub_answer() - SSH_C_SECRET_IS; @passphrase NULL: the hub knows none */
void ssh_ask_hub_answer(struct ssh_asker *a, uint32_t ident, const char *passphrase);

#endif
