/*
 * ssh/ask.c - see ask.h.
 *
 * A key is unlocked once for all connections of the worker. Whichever waiting command can ask is asked; when it goes
 * away, another one is. The passphrase is tried here, in the worker: its hash takes a while, and nobody else is held up. The
 * hub is told the right one and keeps it for the next worker.
 */
#include "ssh/ask.h"

#include <stdio.h>
#include <string.h>

#include "ssh/job.h"

#define UNLOCK_CPU_SECONDS 60

static uint32_t index_of(const struct ssh_asker *a, const struct ssh_ident *id)
{
	return (uint32_t)(id - a->setup->ids);
}

/* @passphrase "": what is it? Otherwise it is this one. */
static void tell_secret(struct ssh_asker *a, const struct ssh_ident *id, const char *passphrase)
{
	uint8_t type = SSH_C_SECRET;
	struct ssh_buf b = { 0 };

	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, index_of(a, id)) == OK &&
	    ssh_put_string(&b, passphrase, strlen(passphrase)) == OK)
		a->tell_hub(a->ctx, &b);
	ssh_buf_fini(&b);
}

static void give_up(struct ssh_ident *id, const char *why)
{
	id->unlock = UNLOCK_FAILED;
	snprintf(id->why, sizeof(id->why), "%s", why);
}

static enum err try(struct ssh_asker *a, struct ssh_ident *id, const char *passphrase)
{
	enum err e;

	cpu_watch_grant(a->cpu, UNLOCK_CPU_SECONDS);
	e = ssh_ident_try(id, passphrase);
	if (e == OK)
		id->unlock = UNLOCK_IDLE;
	else if (e != ERR_AUTH)
		id->unlock = UNLOCK_FAILED;
	return e;
}

void ssh_ask_hub_answer(struct ssh_asker *a, uint32_t ident, const char *passphrase)
{
	struct ssh_ident *id = ident < a->setup->n_ids ? &a->setup->ids[ident] : NULL;

	if (!id || id->unlock != UNLOCK_HUB)
		return;
	id->n_wrong = 0;
	if (!passphrase || try(a, id, passphrase) == ERR_AUTH)
		id->unlock = UNLOCK_PERSON;
}

/* ---- the person ---- */

static bool waits_for(const struct ssh_job *j, const struct ssh_ident *id)
{
	bool can = j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL || j->kind == SSH_F_LOGIN || j->kind == SSH_F_GET ||
		   j->kind == SSH_F_PUT;

	return can && j->state == JOB_OPEN && !j->in_eof && j->conn && j->conn->auth.locked == id;
}

static struct ssh_job *find_job(const struct ssh_asker *a, const struct ssh_ident *id, bool asked)
{
	list_for_each(it, a->jobs) {
		struct ssh_job *j = container_of(it, struct ssh_job, link);

		if (asked ? j->asked_for == id && j->state == JOB_OPEN && !j->in_eof : waits_for(j, id))
			return j;
	}
	return NULL;
}

static void take_answer(struct ssh_asker *a, struct ssh_ident *id, struct ssh_job *j)
{
	j->answered = false;
	if (!j->has_answer) {
		j->asked_for = NULL;
		give_up(id, "it needs a passphrase, and none was given (a terminal is needed, or ssh-add it)");
		return;
	}
	switch (try(a, id, (const char *)j->answer.p)) {
	case OK:
		tell_secret(a, id, (const char *)j->answer.p);
		j->asked_for = NULL;
		break;
	case ERR_AUTH:
		j->asked_for = NULL;
		if (++id->n_wrong >= SSH_ASK_TRIES)
			give_up(id, "wrong passphrase, three times");
		else
			ssh_job_ask(j, id);
		break;
	default:
		j->asked_for = NULL;
		break;
	}
	ssh_blob_fini(&j->answer);
}

static bool ask_person(struct ssh_asker *a, struct ssh_ident *id)
{
	struct ssh_job *j = find_job(a, id, true);

	if (j && j->answered) {
		take_answer(a, id, j);
		return true;
	}
	if (j)
		return false;
	j = find_job(a, id, false);
	if (j)
		ssh_job_ask(j, id);
	else
		give_up(id, "it needs a passphrase, and nobody is there to ask");
	return true;
}

/* ---- all of it ---- */

static void tell_agent(struct ssh_asker *a, struct ssh_conn *c)
{
	uint8_t type = SSH_C_AGENT;
	struct ssh_buf b = { 0 };

	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, c->id) == OK &&
	    ssh_put_string(&b, c->auth.request.p + c->auth.request.off, ssh_buf_used(&c->auth.request)) == OK)
		a->tell_hub(a->ctx, &b);
	ssh_buf_fini(&b);
	ssh_buf_fini(&c->auth.request);
}

bool ssh_ask_step(struct ssh_asker *a)
{
	bool changed = false;

	list_for_each(it, a->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (ssh_buf_used(&c->auth.request) > 0)
			tell_agent(a, c);
	}
	for (size_t i = 0; i < a->setup->n_ids; i++) {
		struct ssh_ident *id = &a->setup->ids[i];

		if (id->unlock == UNLOCK_WANTED) {
			id->unlock = UNLOCK_HUB;
			tell_secret(a, id, "");
		} else if (id->unlock == UNLOCK_PERSON) {
			changed |= ask_person(a, id);
		}
	}
	return changed;
}
