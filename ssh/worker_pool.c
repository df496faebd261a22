/*
 * ssh/worker_pool.c - the worker's connections to its host, and the jobs on them.
 *
 * A job gets a place on a connection that stands or is on its way, else a new one is dialled. A connection that dies
 * takes its jobs with it, unless nothing ran on it yet and another attempt is worth it: a busy sshd that dropped us unheard,
 * or a server without strict key exchange, which is dialled again with the algorithms that need none. Who uses what is
 * counted anew in every turn, never kept up.
 */
#include <malloc.h>

#include "os/loop.h"
#include "ssh/job.h"
#include "ssh/listen.h"
#include "ssh/worker_process.h"

#define ATTEMPTS_MAX 4 /* to connect to a server that drops us unheard */
#define RETRY_MIN (200 * NSEC_PER_MSEC)
#define SPARE_IDLE (60 * NSEC_PER_SEC)

static struct ssh_conn *dial(struct ssh_process *p, bool restricted)
{
	struct ssh_conn *c = p->n_conns < N_CONNS_MAX ? ssh_conn_new(&p->setup, ++p->next_id, p->now, restricted) : NULL;

	if (!c)
		return NULL;
	list_add_tail(&p->conns, &c->link);
	p->n_conns++;
	return c;
}

/* Once more after a moment, within the deadline of the first attempt. */
static struct ssh_conn *dial_again(struct ssh_process *p, const struct ssh_conn *old)
{
	struct ssh_conn *c = NULL;

	if (ssh_conn_was_dropped(old) && old->n_attempts + 1 < ATTEMPTS_MAX)
		c = dial(p, old->restricted);
	if (!c)
		return NULL;
	c->n_attempts = old->n_attempts + 1;
	c->deadline = old->deadline;
	c->dial_at = p->now + (RETRY_MIN << old->n_attempts) + rng_below(os_rng(), RETRY_MIN);
	return c;
}

/* ---- users ---- */

/* What takes none of the sessions that a server allows. */
static bool is_direct(const struct ssh_job *j)
{
	return j->kind == SSH_F_DIRECT || j->kind == SSH_F_LISTEN || j->kind == SSH_F_ACCEPT || j->kind == SSH_F_LOGIN;
}

static void count_user(struct ssh_conn *c, const struct ssh_job *j)
{
	c->n_users++;
	c->n_file_users += ssh_job_is_file(j);
	c->n_direct_users += is_direct(j);
}

/* How many use each connection, and what for. */
static void count_users(struct ssh_process *p)
{
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		c->n_users = c->n_file_users = c->n_direct_users = 0;
	}
	p->counts.n_connections = (uint32_t)p->n_conns;
	p->counts.n_sessions = (uint32_t)p->n_jobs;
	p->counts.n_file_sessions = 0;
	list_for_each(it2, &p->jobs) {
		struct ssh_job *j = container_of(it2, struct ssh_job, link);

		p->counts.n_file_sessions += ssh_job_is_file(j);
		if (j->conn)
			count_user(j->conn, j);
	}
}

static bool has_place(const struct ssh_process *p, const struct ssh_conn *c, const struct ssh_job *j)
{
	if (c->state == SSH_DEAD || c->retired || c->eof || ssh_conn_is_stuck(c, p->now) || ssh_conn_is_silent(c, p->now))
		return false;
	if (ssh_job_is_file(j) && c->fs)
		return c->n_file_users < CONN_FILE_USERS_MAX && (c->state != SSH_READY || !ssh_fs_failed(c->fs));
	if (is_direct(j))
		return c->n_direct_users < CONN_DIRECT_MAX;
	return ssh_conn_sessions(c) < c->sessions_max;
}

static void join(struct ssh_process *p, struct ssh_job *j, struct ssh_conn *c)
{
	j->conn = c;
	j->state = JOB_OPEN;
	count_user(c, j);
	ssh_conn_ask(c, p->now);
}

/* A connection with a free channel, or a new one. */
static void find_connection(struct ssh_process *p, struct ssh_job *j)
{
	struct ssh_conn *c;

	if (j->kind == SSH_F_ACCEPT) {
		c = ssh_listen_conn(j->number);
		if (c)
			join(p, j, c);
		else
			ssh_job_conn_dead(j, ERR_CLOSED, "nobody listens there any more");
		return;
	}
	list_for_each(it, &p->conns) {
		c = container_of(it, struct ssh_conn, link);
		if (has_place(p, c, j)) {
			join(p, j, c);
			return;
		}
	}
	c = dial(p, false);
	if (c)
		join(p, j, c);
	else
		ssh_job_conn_dead(j, ERR_FULL, "too many SSH connections to this host at once");
}

/* ---- turns ---- */

/* Its jobs fail with it, except when it is to be dialled again, with other algorithms or later. */
static void bury(struct ssh_process *p, struct ssh_conn *c)
{
	struct ssh_conn *again;

	ssh_process_tell_outcome(p, c, ssh_conn_was_dropped(c) ? ERR_CLOSED : c->error);
	again = c->error == ERR_AGAIN ? dial(p, true) : dial_again(p, c);
	list_for_each(it, &p->jobs) {
		struct ssh_job *j = container_of(it, struct ssh_job, link);

		if (j->conn != c)
			continue;
		if (again)
			j->conn = again;
		else
			ssh_job_conn_dead(j, c->error, c->message);
	}
	p->refused |= c->error == ERR_AUTH;
	ssh_listen_conn_dead(c);
	ssh_conn_free(c);
	p->n_conns--;
}

static void step_jobs(struct ssh_process *p)
{
	list_for_each_safe(it, &p->jobs) {
		struct ssh_job *j = container_of(it, struct ssh_job, link);

		ssh_job_step(j, p->now);
		if (j->state == JOB_WAIT_CONN) {
			find_connection(p, j);
			ssh_job_step(j, p->now);
		}
		if (j->state == JOB_DONE && (ssh_buf_used(&j->out) == 0 || j->in_eof)) {
			p->counts.n_files_ended += ssh_job_is_file(j);
			ssh_job_free(j);
			p->n_jobs--;
		}
	}
}

void ssh_process_step(struct ssh_process *p)
{
	count_users(p);
	list_for_each_safe(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (c->state == SSH_DIALING && p->now >= c->dial_at) {
			c->dial_at = NSEC_NEVER;
			ssh_process_ask_dial(p, c->id);
		}
		if (ssh_conn_step(c, p->now) && c->state == SSH_HOST_KEY)
			ssh_process_ask_host_key(p, c);
		/* The way there is well also where a person is waited for: the server took a key. */
		if (c->state == SSH_READY || (c->state == SSH_AUTH && ssh_auth_is_accepted(&c->auth)))
			ssh_process_tell_outcome(p, c, OK);
		/* Answers of SFTP first: jobs go on with what they free. */
		p->moved |= ssh_fs_step(c, p->now);
	}
	step_jobs(p);
	p->moved |= ssh_ask_step(&p->asker);
	count_users(p);
	list_for_each_safe(it2, &p->conns) {
		struct ssh_conn *c = container_of(it2, struct ssh_conn, link);
		size_t before;

		if (c->n_file_users == 0 && c->fs && !ssh_fs_usable(c->fs))
			ssh_fs_close(c);
		ssh_fs_step(c, p->now);
		before = ssh_buf_used(&c->out);
		ssh_conn_flush(c);
		p->moved |= ssh_buf_used(&c->out) < before;
		if (c->state == SSH_DEAD)
			bury(p, c);
	}
}

/* Beyond the first, connections stay only as long as there is a use for them. Return: when to look again. */
nsec_t ssh_process_close_spare(struct ssh_process *p)
{
	nsec_t next = NSEC_NEVER;
	size_t n = p->n_conns;

	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (n < 2 || c->state != SSH_READY || c->idle_since == NSEC_NEVER)
			continue;
		if (p->now >= c->idle_since + SPARE_IDLE) {
			ssh_conn_fail(c, ERR_CLOSED, "not needed any more");
			n--;
		} else {
			next = nsec_min(next, c->idle_since + SPARE_IDLE);
		}
	}
	return next;
}

/* What the last sessions needed goes back to the system: a hundred idle workers are to be small. */
void ssh_process_give_back(struct ssh_process *p)
{
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		ssh_buf_release(&c->in);
		ssh_buf_release(&c->out);
		ssh_fs_release(c);
	}
	malloc_trim(0);
}
