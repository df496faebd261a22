/*
 * ssh/worker_main.c - the worker process: one poll loop over the hub, the connections and the jobs.
 *
 * It starts with one descriptor (the hub), gets everything else as messages, and enters its sandbox
 * before a byte of the server is read.
 *
 * A turn that computes for more than TURN_CPU_SECONDS is a defect, or a server's doing: a timer of
 * CPU time, set anew by every turn, kills the process, which the hub tells its users. So a loop
 * without end in a library stalls nobody for long.
 */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "os/loop.h"
#include "os/proc.h"
#include "os/stream.h"
#include "ssh/ask.h"
#include "ssh/cpu_watch.h"
#include "ssh/job.h"
#include "ssh/listen.h"
#include "ssh/worker.h"
#include "ssh/worker_internal.h"

#define N_JOBS_MAX 1100 /* a thousand forwards, and some */
#define TURN_CPU_SECONDS 5
#define IDLE_DEFAULT 600
#define GIVE_BACK_AFTER (1 * NSEC_PER_SEC)
#define ATTEMPTS_MAX 4 /* to connect to a server that drops us unheard */
#define RETRY_MIN (200 * NSEC_PER_MSEC)
#define N_CONNS_MAX 32
#define COUNTS_AFTER (100 * NSEC_PER_MSEC) /* a change is told: off the way of what caused it, and with others */
#define SPARE_IDLE (60 * NSEC_PER_SEC)
#define N_POLL (1 + N_CONNS_MAX + N_JOBS_MAX)

struct process {
	bool moved; /* a queue was drained in this turn */
	int ctl;
	struct ssh_setup setup;
	bool configured, over;
	struct list conns, jobs;
	size_t n_conns, n_jobs;
	nfds_t first_job; /* of what is polled */
	uint32_t next_id;
	uint64_t file_size_max;
	nsec_t now, idle_ns, idle_since;
	struct cpu_watch cpu;
	struct ssh_asker asker;
	uint32_t n_sessions; /* that came, ever */
	struct ssh_counts counts, told; /* for the hub's status */
	nsec_t counts_at; /* when they are told; NSEC_NEVER: they are */
	bool idle_told, swollen; /* memory of sessions is still held */
	bool refused; /* a login failed: the next worker reads the keys anew */
};

/* ---- hub ---- */

static void tell_hub(void *ctx, const struct ssh_buf *msg)
{
	struct process *p = ctx;

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

/* The hub ends us, unless it has sent a session that we have not seen. */
static void tell_idle(struct process *p)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_IDLE;

	p->idle_told = true;
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, p->n_sessions) == OK)
		tell_hub(p, &b);
	ssh_buf_fini(&b);
}

/* How the way to the host went, for its breaker; once a connection. */
static void tell_outcome(struct process *p, struct ssh_conn *c, enum err e)
{
	struct ssh_buf b = { 0 };
	uint8_t type = SSH_C_OUTCOME;

	if (c->told)
		return;
	c->told = true;
	if (ssh_buf_add(&b, &type, 1) == OK && ssh_put_u32(&b, c->id) == OK && ssh_put_u32(&b, (uint32_t)e) == OK)
		tell_hub(p, &b);
	ssh_buf_fini(&b);
}

/* Return: when to look again. */
static nsec_t tell_counts(struct process *p)
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
		tell_hub(p, &b);
	ssh_buf_fini(&b);
	p->told = p->counts;
	return p->counts_at = NSEC_NEVER;
}

static void ask_host_key(struct process *p, struct ssh_conn *c)
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
		tell_hub(p, &b);
	ssh_buf_fini(&b);
}

static void take_config(struct process *p, struct ssh_reader *r)
{
	/* The hub is older or newer than the program that it started again. */
	if (ssh_read_u32(r) != SSH_CONTROL_VERSION)
		_exit(SSH_WORKER_OTHER_VERSION);
	p->configured = ssh_setup_read(r, &p->setup);
	p->over = !p->configured;
	p->file_size_max = p->setup.file_size_max;
	p->idle_ns = p->setup.idle_s * NSEC_PER_SEC;
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

static void take_verdict(struct process *p, struct ssh_reader *r)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = (enum err)ssh_read_u32(r);
	char message[512];

	ssh_read_text(r, message, sizeof(message));
	if (c && !r->bad)
		ssh_conn_verdict(c, e, message);
}

static void take_agent(struct process *p, struct ssh_reader *r)
{
	struct ssh_conn *c = find_conn(p, ssh_read_u32(r));
	enum err e = (enum err)ssh_read_u32(r);
	struct bytes answer = ssh_read_string(r);

	if (c && !r->bad)
		ssh_auth_agent_answer(c, e, answer);
}

static void take_secret(struct process *p, struct ssh_reader *r)
{
	uint32_t ident = ssh_read_u32(r);
	char passphrase[SSH_PASSPHRASE_MAX + 1];

	ssh_read_text(r, passphrase, sizeof(passphrase));
	if (!r->bad)
		ssh_ask_hub_answer(&p->asker, ident, passphrase[0] ? passphrase : NULL);
	explicit_bzero(passphrase, sizeof(passphrase));
}

static void take_session(struct process *p, int *fd)
{
	struct ssh_job *j = *fd >= 0 ? ssh_job_new(*fd, p->file_size_max, p->setup.root[0] ? p->setup.root : NULL) : NULL;

	p->n_sessions++;
	p->idle_told = false;
	if (!j)
		return;
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

static void retire_all(struct process *p)
{
	list_for_each(it, &p->conns)
		container_of(it, struct ssh_conn, link)->retired = true;
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
	else if (buf[0] == SSH_C_RETIRE)
		retire_all(p);
	else if (buf[0] == SSH_C_SESSION)
		take_session(p, &fd);
	else if (buf[0] == SSH_C_AGENT_SAID)
		take_agent(p, &r);
	else if (buf[0] == SSH_C_SECRET_IS)
		take_secret(p, &r);
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
	return c;
}

/* Once more after a moment, within the deadline of the first attempt. */
static struct ssh_conn *dial_again(struct process *p, const struct ssh_conn *old)
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
static void count_users(struct process *p)
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

static bool has_place(const struct process *p, const struct ssh_conn *c, const struct ssh_job *j)
{
	if (c->state == SSH_DEAD || c->retired || c->eof || ssh_conn_is_stuck(c, p->now) || ssh_conn_is_silent(c, p->now))
		return false;
	if (ssh_job_is_file(j) && c->fs)
		return c->n_file_users < CONN_FILE_USERS_MAX && (c->state != SSH_READY || !ssh_fs_failed(c->fs));
	if (is_direct(j))
		return c->n_direct_users < CONN_DIRECT_MAX;
	return ssh_conn_sessions(c) < c->sessions_max;
}

static void join(struct process *p, struct ssh_job *j, struct ssh_conn *c)
{
	j->conn = c;
	j->state = JOB_OPEN;
	count_user(c, j);
	ssh_conn_ask(c, p->now);
}

/* A connection with a free channel, or a new one. */
static void find_connection(struct process *p, struct ssh_job *j)
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

/* Its jobs fail with it, except when it is to be dialled again, with other algorithms or later. */
static void bury(struct process *p, struct ssh_conn *c)
{
	struct ssh_conn *again;

	tell_outcome(p, c, ssh_conn_was_dropped(c) ? ERR_CLOSED : c->error);
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

static void step_jobs(struct process *p)
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

static void step_all(struct process *p)
{
	count_users(p);
	list_for_each_safe(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		if (c->state == SSH_DIALING && p->now >= c->dial_at) {
			c->dial_at = NSEC_NEVER;
			ask_dial(p, c->id);
		}
		if (ssh_conn_step(c, p->now) && c->state == SSH_HOST_KEY)
			ask_host_key(p, c);
		/* The way there is well also where a person is waited for: the server took a key. */
		if (c->state == SSH_READY || (c->state == SSH_AUTH && ssh_auth_is_accepted(&c->auth)))
			tell_outcome(p, c, OK);
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
static nsec_t close_spare(struct process *p)
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
static void give_back(struct process *p)
{
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		ssh_buf_release(&c->in);
		ssh_buf_release(&c->out);
		ssh_fs_release(c);
	}
	malloc_trim(0);
}

/* With no session for long, the hub is told. Return: when to look again. */
static nsec_t check_idle(struct process *p)
{
	nsec_t due;

	if (p->n_jobs > 0 || !p->configured || p->idle_told) {
		p->idle_since = p->now;
		p->swollen |= p->n_jobs > 0;
		return NSEC_NEVER;
	}
	if (p->swollen && p->now >= p->idle_since + GIVE_BACK_AFTER) {
		p->swollen = false;
		give_back(p);
	}
	if (p->refused && p->n_conns == 0) {
		tell_idle(p);
		return NSEC_NEVER;
	}
	due = p->idle_since + (p->idle_ns ? p->idle_ns : IDLE_DEFAULT * NSEC_PER_SEC);
	if (p->now < due)
		return p->swollen ? p->idle_since + GIVE_BACK_AFTER : due;
	tell_idle(p);
	return NSEC_NEVER;
}

static short conn_events(const struct ssh_conn *c)
{
	return (short)((ssh_conn_listens(c) ? POLLIN : 0) | (ssh_buf_used(&c->out) ? POLLOUT : 0));
}

/*
 * A command that is killed while we do not read from it (it gave more than the server takes) has gone all the same: poll() says
 * so whether asked or not, again and again.
 */
static void note_hangups(struct process *p, const struct pollfd *pf, nfds_t n)
{
	nfds_t i = p->first_job;

	list_for_each(it, &p->jobs) {
		struct ssh_job *j = container_of(it, struct ssh_job, link);

		if (i == n)
			return;
		j->in_eof |= pf[i].revents & (POLLHUP | POLLERR) && !(pf[i].events & POLLIN);
		i++;
	}
}

static nfds_t collect(struct process *p, struct pollfd *pf, int *ret_timeout)
{
	nsec_t next = nsec_min(nsec_min(check_idle(p), close_spare(p)), tell_counts(p));
	nfds_t n = 0;

	pf[n++] = (struct pollfd){ p->ctl, POLLIN, 0 };
	list_for_each(it, &p->conns) {
		struct ssh_conn *c = container_of(it, struct ssh_conn, link);

		next = nsec_min(next, ssh_conn_next(c));
		if (c->fs)
			next = nsec_min(next, ssh_fs_deadline(c->fs));
		if (c->fd >= 0 && conn_events(c))
			pf[n++] = (struct pollfd){ c->fd, conn_events(c), 0 };
	}
	p->first_job = n;
	list_for_each(it2, &p->jobs) {
		struct ssh_job *j = container_of(it2, struct ssh_job, link);
		short ev = (short)((ssh_job_wants_read(j) ? POLLIN : 0) | (ssh_buf_used(&j->out) ? POLLOUT : 0));

		/* One whose connection died just now looks for another at once; no descriptor would wake it. */
		p->moved |= j->moved || j->state == JOB_WAIT_CONN;
		j->moved = false;
		next = nsec_min(next, ssh_job_next(j));
		if (n < N_POLL)
			pf[n++] = (struct pollfd){ j->in_eof ? -1 : j->fd, ev, 0 };
	}
	/* Room was made: what had stopped for want of it goes on, though no descriptor will tell. */
	if (p->moved)
		next = 0;
	p->moved = false;
	*ret_timeout = next == NSEC_NEVER ? -1 :
		       next <= p->now	  ? 0 :
					    (int)MIN((next - p->now) / NSEC_PER_MSEC + 1, (nsec_t)INT32_MAX);
	return n;
}

/* What the libraries load or open at first use must be there before the sandbox. */
bool ssh_worker_warm_up(void)
{
	uint8_t byte[32];
	unsigned len;

	return os_sandbox_prepare() == OK && OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) == 1 && libssh2_init(0) == 0 &&
	       RAND_bytes(byte, sizeof(byte)) == 1 && RAND_priv_bytes(byte, sizeof(byte)) == 1 &&
	       EVP_Digest(byte, sizeof(byte), byte, &len, EVP_sha256(), NULL) == 1 && os_now() != 0;
}

/* A descriptor for each session and connection; the usual 1,024 are not enough for a thousand forwards. */
static void raise_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur >= N_POLL + 64)
		return;
	lim.rlim_cur = MIN(lim.rlim_max, (rlim_t)(N_POLL + 64));
	setrlimit(RLIMIT_NOFILE, &lim);
}

int ssh_worker_run(int ctl_fd)
{
	static struct process p;
	static struct pollfd pf[N_POLL];
	struct os_sandbox sandbox = { .mem_bytes_max = (size_t)1 << 30 };

	p = (struct process){ .ctl = ctl_fd, .cpu.seconds = TURN_CPU_SECONDS, .counts_at = NSEC_NEVER };
	list_init(&p.conns);
	list_init(&p.jobs);
	p.asker = (struct ssh_asker){ &p.setup, &p.conns, &p.jobs, &p.cpu, tell_hub, &p };
	raise_descriptors();
	os_set_name("nefia-ssh"); /* in ps: what was forked has its parent's words */
	if (os_sandbox_worker(&sandbox) != OK)
		return SSH_WORKER_NO_SANDBOX;
	while (!p.over) {
		int timeout;
		nfds_t n;

		p.now = os_now();
		cpu_watch_turn(&p.cpu, p.now);
		step_all(&p);
		n = collect(&p, pf, &timeout);
		if (poll(pf, n, timeout) < 0 && errno != EINTR)
			return 1;
		p.now = os_now();
		note_hangups(&p, pf, n);
		if (pf[0].revents)
			take_message(&p);
	}
	_exit(0);
}

int ssh_worker_main(int ctl_fd)
{
	return ssh_worker_warm_up() ? ssh_worker_run(ctl_fd) : SSH_WORKER_NO_SANDBOX;
}
