/*
 * ssh/worker_main.c - the worker process: one poll loop over the hub, the connections and the jobs.
 *
 * It starts with one descriptor (the hub), gets everything else as messages, and enters its sandbox before a byte of the
 * server is read.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "os/loop.h"
#include "os/proc.h"
#include "os/stream.h"
#include "ssh/job.h"
#include "ssh/listen.h"
#include "ssh/worker.h"

#define N_JOBS_MAX 256
#define N_CONNS_MAX 32
#define N_POLL (1 + N_CONNS_MAX + N_JOBS_MAX)

struct process {
	bool moved; /* a queue was drained in this turn */
	int ctl;
	struct ssh_setup setup;
	bool configured, over;
	struct list conns, jobs;
	size_t n_conns, n_jobs;
	uint32_t next_id;
	nsec_t now;
};

/* ---- hub ---- */

static void tell_hub(struct process *p, const struct ssh_buf *msg)
{
	if (os_send_fds(p->ctl, msg->p + msg->off, ssh_buf_used(msg), NULL, 0) != OK)
		p->over = true;
}

static void ask_dial(struct process *p, uint32_t id)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_DIAL;

	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, id) == OK)
		tell_hub(p, &b);
	ssh_buf_fini(&b);
}

static void ask_host_key(struct process *p, struct ssh_conn *c)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_HOST_KEY;
	const char *key_type;
	struct bytes blob;

	if (!ssh_conn_host_key(c, &key_type, &blob)) {
		ssh_conn_fail(c, ERR_PROTOCOL, "the server has no host key");
		return;
	}
	/* Its length stands before it in the blob, big-endian, and the library has checked it. */
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, c->id) == OK &&
	    ssh_put_string(&b, key_type, MIN((size_t)blob.p[3], blob.len - 4)) == OK &&
	    ssh_put_string(&b, blob.p, blob.len) == OK)
		tell_hub(p, &b);
	ssh_buf_fini(&b);
}

static void take_config(struct process *p, struct ssh_reader *r)
{
	struct ssh_setup *s = &p->setup;
	uint32_t n;

	ssh_read_text(r, s->host, sizeof(s->host));
	ssh_read_text(r, s->user, sizeof(s->user));
	n = ssh_read_u32(r);
	for (uint32_t i = 0; i < n && i < N_IDENTITIES_MAX && !r->bad; i++) {
		struct ssh_key_text *k = &s->keys[s->n_keys];
		struct bytes pem;

		ssh_read_text(r, k->path, sizeof(k->path));
		pem = ssh_read_string(r);
		k->pem = r->bad ? NULL : strndup((const char *)pem.p, pem.len);
		k->len = pem.len;
		if (k->pem)
			s->n_keys++;
	}
	p->configured = !r->bad;
	p->over = r->bad;
}

static struct ssh_conn *find_conn(struct process *p, uint32_t id)
{
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (c->id == id)
			return c;
	}
	return NULL;
}

static void take_dialed(struct process *p, struct ssh_reader *r, int *fd)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = (enum err)ssh_read_u32(r);

	if (!c || c->state != SSH_DIALING)
		return;
	if (e == OK && *fd >= 0) {
		ssh_conn_start(c, *fd);
		*fd = -1;
	} else if (e == ERR_REFUSED) {
		ssh_conn_fail(c, ERR_REFUSED, "the host refused the connection: no SSH server answers there");
	} else {
		ssh_conn_fail(c, e == OK ? ERR_INTERNAL : e, "no connection through the tunnel: %s", err_text(e));
	}
}

static void take_verdict(struct process *p, struct ssh_reader *r)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = (enum err)ssh_read_u32(r);
	char message[512];

	ssh_read_text(r, message, sizeof(message));
	if (c && !r->bad)
		ssh_conn_verdict(c, e, message);
}

static void take_session(struct process *p, int *fd)
{
	struct ssh_job *j = *fd >= 0 && p->n_jobs < N_JOBS_MAX ? ssh_job_new(*fd) : NULL;

	if (!j)
		return;
	*fd = -1;
	list_add_tail(&p->jobs, &j->link);
	p->n_jobs++;
}

static void take_message(struct process *p)
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
	else if (buf[0] == SSH_C_SESSION)
		take_session(p, &fd);
	if (fd >= 0)
		close(fd);
	explicit_bzero(buf, n);
}

/* ---- connections for jobs ---- */

static struct ssh_conn *dial(struct process *p, bool restricted)
{
	struct ssh_conn *c = p->n_conns < N_CONNS_MAX ? ssh_conn_new(&p->setup, ++p->next_id, p->now, restricted) : NULL;

	if (!c)
		return NULL;
	list_add_tail(&p->conns, &c->link);
	p->n_conns++;
	ask_dial(p, c->id);
	return c;
}

static unsigned n_jobs_of(const struct process *p, const struct ssh_conn *c)
{
	unsigned n = c->sftp ? 1 : 0;

	list_for_each(it, &((struct process *)p)->jobs)
		n += container_of(it, struct ssh_job, link)->conn == c;
	return n;
}

/* A connection with a free channel, or a new one. */
static void find_connection(struct process *p, struct ssh_job *j)
{
	if (j->kind == SSH_F_ACCEPT) {
		j->conn = ssh_listen_conn(j->number);
		j->state = JOB_OPEN;
		if (!j->conn)
			ssh_job_conn_dead(j, ERR_CLOSED, "nobody listens there any more");
		return;
	}
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (c->state != SSH_DEAD && n_jobs_of(p, c) < CONN_CHANNELS_MAX) {
			j->conn = c;
			j->state = JOB_OPEN;
			return;
		}
	}
	j->conn = dial(p, false);
	if (j->conn)
		j->state = JOB_OPEN;
	else
		ssh_job_conn_dead(j, ERR_FULL, "too many SSH connections to this host at once");
}

/* Its jobs fail with it, except when it only ended to be dialled again with other algorithms. */
static void bury(struct process *p, struct ssh_conn *c)
{
	struct ssh_conn *again = c->error == ERR_AGAIN ? dial(p, true) : NULL;

	list_for_each(it, &p->jobs) {
		struct ssh_job *j = container_of(it, struct ssh_job, link);

		if (j->conn != c)
			continue;
		if (again)
			j->conn = again;
		else
			ssh_job_conn_dead(j, c->error, c->message);
	}
	ssh_listen_conn_dead(c);
	ssh_conn_free(c);
	p->n_conns--;
}

static void step_all(struct process *p)
{
	list_for_each_safe(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (ssh_conn_step(c, p->now) && c->state == SSH_HOST_KEY)
			ask_host_key(p, c);
		if (c->state == SSH_READY && c->eof)
			ssh_conn_fail(c, ERR_RESET, "the server closed the connection");
	}
	list_for_each_safe(it2, &p->jobs) {
		struct ssh_job *j = container_of(it2, struct ssh_job, link);

		if (j->state == JOB_WAIT_CONN)
			find_connection(p, j);
		ssh_job_step(j, p->now);
		if (j->state == JOB_WAIT_CONN) {
			find_connection(p, j);
			ssh_job_step(j, p->now);
		}
		if (j->state == JOB_DONE && (ssh_buf_used(&j->out) == 0 || j->in_eof)) {
			ssh_job_free(j);
			p->n_jobs--;
		}
	}
	list_for_each_safe(it3, &p->conns) {
		struct ssh_conn *c = container_of(it3, struct ssh_conn, link);

		size_t before = ssh_buf_used(&c->out);

		ssh_conn_flush(c);
		p->moved |= ssh_buf_used(&c->out) < before;
		if (c->state == SSH_DEAD)
			bury(p, c);
	}
}

static nfds_t collect(struct process *p, struct pollfd *pf, int *ret_timeout)
{
	nfds_t n = 0;
	nsec_t next = NSEC_NEVER;

	pf[n++] = (struct pollfd){ p->ctl, POLLIN, 0 };
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (c->state < SSH_READY)
			next = nsec_min(next, c->deadline);
		if (c->fd >= 0)
			pf[n++] = (struct pollfd){ c->fd, (short)(POLLIN | (ssh_buf_used(&c->out) ? POLLOUT : 0)), 0 };
	}
	list_for_each(it2, &p->jobs) {
		struct ssh_job *j = container_of(it2, struct ssh_job, link);
		short ev;

		/* One whose connection died just now looks for another at once; no descriptor would wake it. */
		p->moved |= j->moved || j->state == JOB_WAIT_CONN;
		j->moved = false;
		ev = (short)((ssh_job_wants_read(j) ? POLLIN : 0) | (ssh_buf_used(&j->out) ? POLLOUT : 0));

		if (n < N_POLL)
			pf[n++] = (struct pollfd){ j->fd, ev, 0 };
	}
	/* Room was made: what had stopped for want of it goes on, though no descriptor will tell. */
	if (p->moved)
		next = 0;
	p->moved = false;
	*ret_timeout = next == NSEC_NEVER ? -1 :
		       next <= p->now	  ? 0 :
					    (int)((next - p->now) / NSEC_PER_MSEC + 1);
	return n;
}

/* What the libraries load or open at first use must be there before the sandbox. */
static bool warm_up(void)
{
	uint8_t byte[32];
	unsigned len;

	return OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 && libssh2_init(0) == 0 &&
	       RAND_bytes(byte, sizeof(byte)) == 1 && RAND_priv_bytes(byte, sizeof(byte)) == 1 &&
	       EVP_Digest(byte, sizeof(byte), byte, &len, EVP_sha256(), NULL) == 1 && os_now() != 0;
}

int ssh_worker_main(int ctl_fd)
{
	static struct process p;
	static struct pollfd pf[N_POLL];
	struct os_sandbox sandbox = { .mem_bytes_max = (size_t)2 << 30 };

	p = (struct process){ .ctl = ctl_fd };
	list_init(&p.conns);
	list_init(&p.jobs);
	if (!warm_up())
		return 1;
	if (os_sandbox_worker(&sandbox) != OK)
		return 1;
	while (!p.over) {
		int timeout;
		nfds_t n;

		p.now = os_now();
		step_all(&p);
		n = collect(&p, pf, &timeout);
		if (poll(pf, n, timeout) < 0 && errno != EINTR)
			return 1;
		p.now = os_now();
		if (pf[0].revents)
			take_message(&p);
	}
	_exit(0);
}
