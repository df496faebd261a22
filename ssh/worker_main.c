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
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "os/loop.h"
#include "os/proc.h"
#include "ssh/job.h"
#include "ssh/worker.h"
#include "ssh/worker_internal.h"
#include "ssh/worker_process.h"

#define TURN_CPU_SECONDS 5
#define IDLE_DEFAULT 600
#define GIVE_BACK_AFTER (1 * NSEC_PER_SEC)
#define N_POLL (1 + N_CONNS_MAX + N_JOBS_MAX)

/* With no session for long, the hub is told. Return: when to look again. */
static nsec_t check_idle(struct ssh_process *p)
{
	nsec_t due;

	if (p->n_jobs > 0 || !p->configured || p->idle_told) {
		p->idle_since = p->now;
		p->swollen |= p->n_jobs > 0;
		return NSEC_NEVER;
	}
	if (p->swollen && p->now >= p->idle_since + GIVE_BACK_AFTER) {
		p->swollen = false;
		ssh_process_give_back(p);
	}
	if (p->refused && p->n_conns == 0) {
		ssh_process_tell_idle(p);
		return NSEC_NEVER;
	}
	due = p->idle_since + (p->idle_ns ? p->idle_ns : IDLE_DEFAULT * NSEC_PER_SEC);
	if (p->now < due)
		return p->swollen ? p->idle_since + GIVE_BACK_AFTER : due;
	ssh_process_tell_idle(p);
	return NSEC_NEVER;
}

/* ---- what is polled ---- */

static short conn_events(const struct ssh_conn *c)
{
	return (short)((ssh_conn_listens(c) ? POLLIN : 0) | (ssh_buf_used(&c->out) ? POLLOUT : 0));
}

/*
 * A command that is killed while we do not read from it (it gave more than the server takes) has gone all the same: poll() says
 * so whether asked or not, again and again.
 */
static void note_hangups(struct ssh_process *p, const struct pollfd *pf, nfds_t n)
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

static nfds_t collect(struct ssh_process *p, struct pollfd *pf, int *ret_timeout)
{
	nsec_t next = nsec_min(nsec_min(check_idle(p), ssh_process_close_spare(p)), ssh_process_tell_counts(p));
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

/* ---- the process ---- */

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
	static struct ssh_process p;
	static struct pollfd pf[N_POLL];
	struct os_sandbox sandbox = { .mem_bytes_max = (size_t)1 << 30 };

	p = (struct ssh_process){ .ctl = ctl_fd, .cpu.seconds = TURN_CPU_SECONDS, .counts_at = NSEC_NEVER };
	list_init(&p.conns);
	list_init(&p.jobs);
	p.taker = (struct ssh_taker){ ssh_process_tell_taken, &p };
	p.asker = (struct ssh_asker){ &p.setup, &p.conns, &p.jobs, &p.cpu, ssh_process_tell, &p };
	raise_descriptors();
	os_set_name("nefia-ssh"); /* in ps: what was forked has its parent's words */
	if (os_sandbox_worker(&sandbox) != OK)
		return SSH_WORKER_NO_SANDBOX;
	while (!p.over) {
		int timeout;
		nfds_t n;

		p.now = os_now();
		cpu_watch_turn(&p.cpu, p.now);
		ssh_process_step(&p);
		n = collect(&p, pf, &timeout);
		if (poll(pf, n, timeout) < 0 && errno != EINTR)
			return 1;
		p.now = os_now();
		note_hangups(&p, pf, n);
		if (pf[0].revents)
			ssh_process_take_message(&p);
	}
	_exit(0);
}

int ssh_worker_main(int ctl_fd)
{
	return ssh_worker_warm_up() ? ssh_worker_run(ctl_fd) : SSH_WORKER_NO_SANDBOX;
}
