/*
 * ssh/worker_hub.c - the worker and its hub: what is asked and told, and what comes.
 *
 * The hub is trusted, and so it is only looked at whether a message is whole; a message of a kind that is not known is a newer
 * hub's and is passed over. Identities and passphrases come this way, so each message is wiped after its use.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/loop.h"
#include "os/stream.h"
#include "ssh/job.h"
#include "ssh/worker_process.h"

#define COUNTS_AFTER (100 * NSEC_PER_MSEC) /* a change is told: off the way of what caused it, and with others */

/* ---- asked and told ---- */

/* A hub that is busy is waited for: all that we do needs it. */
void ssh_process_tell(void *ctx, const struct ssh_buf *msg)
{
	struct ssh_process *p = ctx;
	struct pollfd room = { p->ctl, POLLOUT, 0 };
	enum err e;

	while ((e = os_send_fds(p->ctl, msg->p + msg->off, ssh_buf_used(msg), NULL, 0)) == ERR_AGAIN)
		if (poll(&room, 1, -1) < 0 && errno != EINTR)
			break;
	if (e != OK)
		p->over = true;
}

void ssh_process_ask_dial(struct ssh_process *p, uint32_t id)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_DIAL;

	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, id) == OK)
		ssh_process_tell(p, &b);
	ssh_buf_fini(&b);
}

/* The hub ends us, unless it has sent a session that we have not seen. */
void ssh_process_tell_idle(struct ssh_process *p)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_IDLE;

	p->idle_told = true;
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, p->n_sessions) == OK)
		ssh_process_tell(p, &b);
	ssh_buf_fini(&b);
}

/* How the way to the host went, for its breaker; once a connection. */
void ssh_process_tell_outcome(struct ssh_process *p, struct ssh_conn *c, enum err e)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_OUTCOME;

	if (c->told)
		return;
	c->told = true;
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, c->id) == OK && ssh_put_u32(&b, (uint32_t)e) == OK)
		ssh_process_tell(p, &b);
	ssh_buf_fini(&b);
}

/* Return: when to look again. */
nsec_t ssh_process_tell_counts(struct ssh_process *p)
{
	const uint32_t n[] = { p->counts.n_connections, p->counts.n_sessions, p->counts.n_file_sessions, p->counts.n_files_ended };
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_COUNTS;
	enum err e;

	if (memcmp(&p->counts, &p->told, sizeof(p->told)) == 0)
		return p->counts_at = NSEC_NEVER;
	if (p->counts_at == NSEC_NEVER)
		p->counts_at = p->now + COUNTS_AFTER;
	if (p->now < p->counts_at)
		return p->counts_at;
	e = ssh_buf_add(&b, &type, 1);
	for (size_t i = 0; i < ARRAY_SIZE(n) && e == OK; i++)
		e = ssh_put_u32(&b, n[i]);
	if (e == OK)
		ssh_process_tell(p, &b);
	ssh_buf_fini(&b);
	p->told = p->counts;
	return p->counts_at = NSEC_NEVER;
}

void ssh_process_ask_host_key(struct ssh_process *p, struct ssh_conn *c)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_HOST_KEY;
	char key_type[64];
	struct bytes blob;

	if (!ssh_conn_host_key(c, key_type, &blob)) {
		ssh_conn_fail(c, ERR_PROTOCOL, "the server's host key is malformed");
		return;
	}
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, c->id) == OK &&
	    ssh_put_string(&b, key_type, strlen(key_type)) == OK &&
	    ssh_put_string(&b, blob.p, blob.len) == OK)
		ssh_process_tell(p, &b);
	ssh_buf_fini(&b);
}

/* ---- what comes ---- */

static void take_config(struct ssh_process *p, struct ssh_reader *r)
{
	/* The hub is older or newer than the program that it started again. */
	if (ssh_read_u32(r) != SSH_CONTROL_VERSION)
		_exit(SSH_WORKER_OTHER_VERSION);
	p->configured = ssh_setup_read(r, &p->setup);
	p->over = !p->configured;
	p->idle_ns = p->setup.idle_s * NSEC_PER_SEC;
}

static struct ssh_conn *find_conn(struct ssh_process *p, uint32_t id)
{
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (c->id == id)
			return c;
	}
	return NULL;
}

static void take_dialed(struct ssh_process *p, struct ssh_reader *r, int *fd)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = ssh_read_err(r);
	char message[400];

	ssh_read_text(r, message, sizeof(message));
	if (!c || c->state != SSH_DIALING || r->bad)
		return;
	if (e == OK && *fd >= 0) {
		ssh_conn_start(c, *fd);
		*fd = -1;
	} else if (e != OK && message[0]) {
		ssh_conn_fail(c, e, "%s", message);
	} else if (e == ERR_REFUSED) {
		ssh_conn_fail(c, ERR_REFUSED, "the host refused the connection: no SSH server answers there");
	} else {
		ssh_conn_fail(c, e == OK ? ERR_INTERNAL : e, "no connection through the tunnel: %s", err_text(e));
	}
}

static void take_verdict(struct ssh_process *p, struct ssh_reader *r)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = ssh_read_err(r);
	char message[512];

	ssh_read_text(r, message, sizeof(message));
	if (c && !r->bad)
		ssh_conn_verdict(c, e, message);
}

static void take_agent(struct ssh_process *p, struct ssh_reader *r)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = ssh_read_err(r);
	struct bytes answer = ssh_read_string(r);

	if (c && !r->bad)
		ssh_auth_agent_answer(c, e, answer);
}

static void take_secret(struct ssh_process *p, struct ssh_reader *r)
{
	uint32_t ident = ssh_read_u32(r);
	char passphrase[SSH_PASSPHRASE_MAX + 1];

	ssh_read_text(r, passphrase, sizeof(passphrase));
	if (!r->bad)
		ssh_ask_hub_answer(&p->asker, ident, passphrase[0] ? passphrase : NULL);
	explicit_bzero(passphrase, sizeof(passphrase));
}

/* The hub gives what we do not say to have to the next worker: it must know before anything is done. */
bool ssh_process_tell_taken(void *ctx, uint32_t session)
{
	struct ssh_process *p = ctx;
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_TAKEN;

	/* A hub that has closed its ear may have given it away already. */
	if (p->over)
		return false;
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, session) == OK)
		ssh_process_tell(p, &b);
	else
		p->over = true;
	ssh_buf_fini(&b);
	return !p->over;
}

static void take_session(struct ssh_process *p, struct ssh_reader *r, int *fd)
{
	uint32_t number = ssh_read_u32(r);
	struct ssh_job *j = *fd >= 0 ? ssh_job_new(*fd, number, &p->setup, &p->taker) : NULL;

	p->n_sessions++;
	p->idle_told = false;
	if (!j) {
		/* No descriptor was free for it, or no memory: its command is not to wait for us. */
		(void)!ssh_process_tell_taken(p, number);
		return;
	}
	*fd = -1;
	if (p->n_jobs >= N_JOBS_MAX) {
		ssh_job_conn_dead(j, ERR_FULL, "too many sessions with this host at once");
		ssh_job_pump(j);
		ssh_job_free(j);
		return;
	}
	list_add_tail(&p->jobs, &j->link);
	p->n_jobs++;
}

static void retire_all(struct ssh_process *p)
{
	list_for_each(it, &p->conns)
		container_of(it, struct ssh_conn, link)->retired = true;
}

void ssh_process_take_message(struct ssh_process *p)
{
	static uint8_t buf[SSH_CONTROL_MAX];
	int fds[OS_FDS_MAX], fd = -1;
	size_t n = 0, n_fds = 0;
	struct ssh_reader r;
	enum err e = os_recv_fds(p->ctl, buf, sizeof(buf), &n, fds, &n_fds);

	if (e == ERR_AGAIN)
		return;
	if (e != OK || n == 0) {
		p->over = true;
		return;
	}
	if (n_fds > 0)
		fd = fds[0];
	for (size_t i = 1; i < n_fds; i++)
		close(fds[i]);
	r = (struct ssh_reader){ buf + 1, n - 1, false };
	if (buf[0] == SSH_C_CONFIG && !p->configured)
		take_config(p, &r);
	else if (buf[0] == SSH_C_DIALED)
		take_dialed(p, &r, &fd);
	else if (buf[0] == SSH_C_VERDICT)
		take_verdict(p, &r);
	else if (buf[0] == SSH_C_RETIRE)
		retire_all(p);
	else if (buf[0] == SSH_C_SESSION)
		take_session(p, &r, &fd);
	else if (buf[0] == SSH_C_AGENT_SAID)
		take_agent(p, &r);
	else if (buf[0] == SSH_C_SECRET_IS)
		take_secret(p, &r);
	if (fd >= 0)
		close(fd);
	explicit_bzero(buf, n);
}
