/*
 * ssh/worker.c - the hub's side of a worker: its process, its questions.
 *
 * The hub owns known_hosts: the worker asks with the key, the hub looks, remembers a new one, or
 * refuses. The worker's messages are read with the same care as a stranger's, for that is what it
 * may have become.
 */
#include "ssh/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/log.h"
#include "os/proc.h"
#include "os/stream.h"
#include "ssh/agent.h"
#include "ssh/handover.h"
#include "ssh/host_key.h"
#include "ssh/known_hosts.h"
#include "ssh/nursery.h"
#include "ssh/setup.h"
#include "ssh/worker_internal.h"

#define QUESTION_PAUSE (20 * NSEC_PER_MSEC)
#define QUESTION_MAX (5 * NSEC_PER_SEC) /* for the lock of known_hosts; the connection has 15 */
#define DIALS_MAX 32    /* under way; the worker's own limit */
#define DIALS_A_MINUTE 120

#define QUEUE_MAX 128  /* messages: more than dials and questions that it may have under way */

/* A message that did not fit into the socket; its descriptor is ours until it has left. */
struct waiting {
	struct list link;
	struct ssh_buf b;
	int fd; /* -1 none */
};

struct ssh_worker {
	struct list queue; /* struct waiting: a worker that is busy for a moment */
	unsigned n_queued;
	struct os_loop *loop;
	struct ssh_worker_config cfg;
	char host[64], user[64], vpn_addr[64], known_hosts[4096];
	char *ids[N_IDENTITIES_MAX]; /* their paths */
	size_t n_ids;
	struct os_child *child;  /* NULL: not born yet */
	struct ssh_birth *birth; /* under way */
	int ctl;
	struct os_watch *watch;
	struct os_timer end_timer, question_timer;
	struct list questions;  /* struct question: host keys that wait for known_hosts */
	char why[160];
	bool ended;
	bool is_gone;           /* its end of the socket is closed */
	bool has_asked;         /* anything: it understood its configuration */
	unsigned n_dials;       /* asked for and not answered */
	unsigned n_questions;   /* host keys that it may still ask about: one for each connection that it got */
	struct ssh_handover sessions; /* given to it, and not begun yet */
	nsec_t minute;
	unsigned n_this_minute; /* dials */
	struct ssh_counts counts;
};

/* ---- end ---- */

static void on_end_timer(void *ctx)
{
	struct ssh_worker *w = ctx;

	w->cfg.on_end(w->cfg.ctx, w, w->why[0] ? w->why : NULL);
}

static void end(struct ssh_worker *w, const char *why)
{
	if (w->ended)
		return;
	w->ended = true;
	snprintf(w->why, sizeof(w->why), "%s", why ? why : "");
	os_watch_set(w->watch, 0);
	os_timer_set(&w->end_timer, 0);
}

static void on_exit_child(void *ctx, int exit_code, int term_signal)
{
	struct ssh_worker *w = ctx;
	char why[sizeof(w->why)];

	if (exit_code < 0 && !term_signal)
		snprintf(why, sizeof(why), w->has_asked ? "it ended, why is not known" :
			 "it ended at once: is the program that it is started from of the same version?");
	else if (term_signal == SIGSYS)
		snprintf(why, sizeof(why), "it tried what its sandbox forbids");
	else if (term_signal == SIGPROF || term_signal == SIGXCPU)
		snprintf(why, sizeof(why), "the server made it compute without end");
	else if (exit_code == SSH_WORKER_OTHER_VERSION)
		snprintf(why, sizeof(why), "another version of the program is installed: restart the hub");
	else if (exit_code == SSH_WORKER_NO_SANDBOX)
		snprintf(why, sizeof(why), "its sandbox is refused here: prctl and seccomp must be allowed");
	else if (term_signal)
		snprintf(why, sizeof(why), "killed by signal %d", term_signal);
	else
		snprintf(why, sizeof(why), "ended with status %d", exit_code);
	end(w, why);
}

/* It is heard no more. How it ended comes to on_exit_child() or on_born(), also of one that would live on. */
static void gone(struct ssh_worker *w)
{
	os_watch_set(w->watch, 0);
	if (w->child)
		os_child_kill(w->child, SIGKILL);
	w->is_gone = true;
}

/* ---- to the worker ---- */

static void waiting_free(struct ssh_worker *w, struct waiting *m)
{
	ssh_buf_fini(&m->b);
	if (m->fd >= 0)
		close(m->fd);
	list_del(&m->link);
	w->n_queued--;
	free(m);
}

static enum err send_now(struct ssh_worker *w, const struct ssh_buf *b, const int *fd)
{
	return os_send_fds(w->ctl, b->p + b->off, ssh_buf_used(b), fd, *fd >= 0 ? 1 : 0);
}

static void watch(struct ssh_worker *w)
{
	if (!w->ended && !w->is_gone)
		os_watch_set(w->watch, OS_READ | (w->n_queued || ssh_handover_waits(&w->sessions) ? OS_WRITE : 0));
}

/* In order, as far as it takes them; sessions are bound to no order with the rest. */
static void flush(struct ssh_worker *w)
{
	struct list *it;
	enum err e = OK;

	while (e == OK && (it = list_first(&w->queue))) {
		struct waiting *m = container_of(it, struct waiting, link);

		e = send_now(w, &m->b, &m->fd);
		if (e == OK)
			waiting_free(w, m);
	}
	if (e == OK)
		e = ssh_handover_push(&w->sessions, w->ctl);
	if (e != OK && e != ERR_AGAIN)
		end(w, "it does not listen any more");
	watch(w);
}

/* Takes @b and @fd (-1: none). What a busy worker has no room for waits; one that never takes it is as good as dead. */
static void send_buf(struct ssh_worker *w, struct ssh_buf *b, int fd)
{
	enum err e = w->n_queued ? ERR_AGAIN : send_now(w, b, &fd);
	struct waiting *m = e == ERR_AGAIN && !w->ended && w->n_queued < QUEUE_MAX ? calloc(1, sizeof(*m)) : NULL;

	if (m) {
		*m = (struct waiting){ .b = *b, .fd = fd };
		list_add_tail(&w->queue, &m->link);
		w->n_queued++;
		watch(w);
		return;
	}
	if (e != OK)
		end(w, "it does not listen any more");
	ssh_buf_fini(b);
	if (fd >= 0)
		close(fd);
}

/* ---- host keys ---- */

/* A key that was asked about and could not be judged at once, because another process writes known_hosts. */
struct question {
	struct list link;
	nsec_t until;
	uint32_t id;
	char type[64];
	struct ssh_blob blob;
};

static void drop_question(struct question *q)
{
	list_del(&q->link);
	ssh_blob_fini(&q->blob);
	free(q);
}

static void send_verdict(struct ssh_worker *w, uint32_t id, enum err e, const char *why)
{
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_VERDICT;

	if (ssh_buf_add(&b, &kind, 1) == OK && ssh_put_u32(&b, id) == OK && ssh_put_u32(&b, (uint32_t)e) == OK &&
	    ssh_put_string(&b, why, strlen(why)) == OK)
		send_buf(w, &b, -1);
}

/* False: not yet. */
static bool judge(struct ssh_worker *w, uint32_t id, const char *type, struct bytes blob, bool is_last)
{
	struct host_key_asked q = { w->known_hosts, w->host, w->vpn_addr, type, blob };
	char why[512] = "", fingerprint[64];
	bool is_new = false;
	enum err e = host_key_judge(&q, why, sizeof(why), &is_new);

	if (e == ERR_AGAIN && !is_last)
		return false;
	known_hosts_fingerprint(blob, fingerprint);
	if ((is_new || e == ERR_HOST_KEY) && w->cfg.on_host_key)
		w->cfg.on_host_key(w->cfg.ctx, w, is_new, fingerprint);
	send_verdict(w, id, e == ERR_AGAIN ? ERR_IN_USE : e, why);
	return true;
}

static void on_questions(void *ctx)
{
	struct ssh_worker *w = ctx;
	nsec_t now = os_loop_now(w->loop);

	list_for_each_safe(it, &w->questions) {
		struct question *q = container_of(it, struct question, link);

		if (judge(w, q->id, q->type, ssh_blob_view(&q->blob), now >= q->until))
			drop_question(q);
	}
	if (!list_empty(&w->questions))
		os_timer_set(&w->question_timer, now + QUESTION_PAUSE);
}

static void judge_later(struct ssh_worker *w, const struct ssh_question *asked)
{
	struct question *q = calloc(1, sizeof(*q));
	nsec_t now = os_loop_now(w->loop);

	if (!q || ssh_blob_set(&q->blob, asked->blob) != OK) {
		free(q);
		send_verdict(w, asked->id, ERR_NOMEM, err_text(ERR_NOMEM));
		return;
	}
	q->id = asked->id;
	q->until = now + QUESTION_MAX;
	memcpy(q->type, asked->type, sizeof(q->type));
	list_add_tail(&w->questions, &q->link);
	os_timer_set(&w->question_timer, now + QUESTION_PAUSE);
}

static void answer_host_key(struct ssh_worker *w, const struct ssh_question *q)
{
	if (w->n_questions == 0) {
		end(w, "it asked about more host keys than it has connections");
		return;
	}
	w->n_questions--;
	if (!judge(w, q->id, q->type, q->blob, false))
		judge_later(w, q);
}

/* ---- keys ---- */

void ssh_worker_agent_said(struct ssh_worker *w, uint32_t dial_id, enum err e, struct bytes answer)
{
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_AGENT_SAID;

	if (ssh_buf_add(&b, &kind, 1) == OK && ssh_put_u32(&b, dial_id) == OK && ssh_put_u32(&b, (uint32_t)e) == OK &&
	    ssh_put_string(&b, answer.p, e == OK ? answer.len : 0) == OK)
		send_buf(w, &b, -1);
}

/* It may try to log in with nothing but the user's name and a key that the agent has. */
static void pass_to_agent(struct ssh_worker *w, const struct ssh_question *q)
{
	if (!w->cfg.on_agent || !ssh_agent_may_ask(q->blob, w->user))
		end(w, "it asked ssh-agent for something else than a login");
	else
		w->cfg.on_agent(w->cfg.ctx, w, q->id, q->blob);
}

static void answer_secret(struct ssh_worker *w, const struct ssh_question *q)
{
	const char *path = q->id < w->n_ids ? w->ids[q->id] : NULL, *known = NULL;
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_SECRET_IS;

	if (!path) {
		end(w, "it asked about a key that it does not have");
		return;
	}
	if (q->blob.len > 0) {
		if (w->cfg.keep_secret)
			w->cfg.keep_secret(w->cfg.ctx, path, q->blob);
		return;
	}
	if (w->cfg.secret)
		known = w->cfg.secret(w->cfg.ctx, path);
	if (!known)
		known = "";
	if (ssh_buf_add(&b, &kind, 1) == OK && ssh_put_u32(&b, q->id) == OK && ssh_put_string(&b, known, strlen(known)) == OK)
		send_buf(w, &b, -1);
}

/* ---- messages ---- */

/* A worker that was taken over may ask without end: it gets no more than it needs. */
static void pass_dial(struct ssh_worker *w, uint32_t id)
{
	nsec_t now = os_loop_now(w->loop);

	if (now >= w->minute + 60 * NSEC_PER_SEC) {
		w->minute = now;
		w->n_this_minute = 0;
	}
	if (w->n_dials >= DIALS_MAX || ++w->n_this_minute > DIALS_A_MINUTE) {
		end(w, "it asked for too many connections");
		return;
	}
	w->n_dials++;
	w->cfg.on_dial(w->cfg.ctx, w, id);
}

static void answer_question(struct ssh_worker *w, const struct ssh_question *q)
{
	if (q->kind == SSH_C_DIAL)
		pass_dial(w, q->id);
	else if (q->kind == SSH_C_OUTCOME && w->cfg.on_outcome)
		w->cfg.on_outcome(w->cfg.ctx, w, q->id, q->outcome);
	else if (q->kind == SSH_C_HOST_KEY)
		answer_host_key(w, q);
	else if (q->kind == SSH_C_AGENT)
		pass_to_agent(w, q);
	else if (q->kind == SSH_C_SECRET)
		answer_secret(w, q);
	else if (q->kind == SSH_C_COUNTS)
		w->counts = q->counts;
	else if (q->kind == SSH_C_TAKEN && ssh_handover_taken(&w->sessions, q->id) != OK)
		end(w, "it took a session that it does not have");
	else if (q->kind == SSH_C_IDLE && q->id == w->sessions.n_sent && !ssh_handover_waits(&w->sessions))
		end(w, NULL); /* idle, and no session is on the way to it */
}

static uint8_t received[SSH_CONTROL_MAX];

/* OK with @ret, which is valid until the next, and *ret_n bytes in all; ERR_AGAIN: nothing; ERR_CLOSED: no more will come; ERR_PROTOCOL. */
static enum err receive(struct ssh_worker *w, struct ssh_question *ret, size_t *ret_n)
{
	int fds[OS_FDS_MAX];
	size_t n_fds = 0;
	enum err e;

	/* A reset says that it died without having read all of ours. It comes before what the worker said, and is no end of that. */
	do
		e = os_recv_fds(w->ctl, received, sizeof(received), ret_n, fds, &n_fds);
	while (e == ERR_RESET);
	if (e == ERR_AGAIN)
		return e;
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]); /* it has none to give */
	if (e != OK || *ret_n == 0)
		return ERR_CLOSED;
	return ssh_question_decode((struct bytes){ received, *ret_n }, ret);
}

static void on_ready(void *ctx, int events)
{
	struct ssh_worker *w = ctx;
	struct ssh_question q = { 0 };
	size_t n = 0;
	enum err e;

	if (events & OS_WRITE)
		flush(w);
	if (w->ended)
		return;
	e = receive(w, &q, &n);
	w->has_asked |= n > 0;
	if (e == OK)
		answer_question(w, &q);
	else if (e == ERR_PROTOCOL)
		end(w, "it sent a malformed message");
	else if (e == ERR_CLOSED)
		gone(w);
	if (q.kind == SSH_C_SECRET)
		explicit_bzero(received, n);
}

void ssh_worker_dialed(struct ssh_worker *w, uint32_t dial_id, enum err e, const char *why, int fd)
{
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_DIALED;

	w->n_dials -= w->n_dials > 0;
	w->n_questions += e == OK;
	if (ssh_buf_add(&b, &kind, 1) == OK && ssh_put_u32(&b, dial_id) == OK && ssh_put_u32(&b, (uint32_t)e) == OK &&
	    ssh_put_string(&b, why ? why : "", why ? strlen(why) : 0) == OK)
		send_buf(w, &b, e == OK ? fd : -1);
	else if (e == OK)
		close(fd);
}

const struct ssh_counts *ssh_worker_counts(const struct ssh_worker *w)
{
	return &w->counts;
}

void ssh_worker_retire(struct ssh_worker *w)
{
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_RETIRE;

	/* It is said again every second; once is enough for one that is busy. */
	if (w->ended || w->n_queued)
		return;
	if (ssh_buf_add(&b, &kind, 1) == OK)
		send_buf(w, &b, -1);
}

enum err ssh_worker_attach(struct ssh_worker *w, struct ssh_handed *s)
{
	enum err e = OK;

	if (w->ended)
		ssh_handover_keep(&w->sessions, s);
	else
		e = ssh_handover_give(&w->sessions, w->ctl, s);
	if (e == ERR_CLOSED)
		gone(w);
	watch(w);
	return e == ERR_CLOSED ? OK : e;
}

void ssh_worker_leave(struct ssh_worker *w, struct list *ret)
{
	struct ssh_question q;
	size_t n = 0;
	enum err e = OK;

	w->ended = true;
	os_watch_set(w->watch, 0);
	os_recv_stop(w->ctl);
	while (e == OK || e == ERR_PROTOCOL) {
		e = receive(w, &q, &n);
		if (e == OK && q.kind == SSH_C_TAKEN && ssh_handover_taken(&w->sessions, q.id) != OK)
			break;
	}
	explicit_bzero(received, sizeof(received));
	ssh_handover_leave(&w->sessions, ret);
}

/* ---- start ---- */

static enum err send_config(struct ssh_worker *w, const struct ssh_worker_config *cfg)
{
	struct ssh_buf b = { 0 };
	char types[256];
	enum err e;

	host_key_types(w->known_hosts, w->host, w->vpn_addr, types);
	e = ssh_worker_put_config(&b, cfg, types);
	if (e == OK)
		e = os_send_fds(w->ctl, b.p, ssh_buf_used(&b), NULL, 0);
	ssh_buf_fini(&b);
	return e;
}

static void on_born(void *ctx, enum err e, pid_t pid, int pidfd)
{
	struct ssh_worker *w = ctx;
	char why[sizeof(w->why)];

	w->birth = NULL;
	if (e == OK)
		e = os_child_adopt(w->loop, pid, pidfd, w->cfg.is_guest, on_exit_child, w, &w->child);
	if (e == OK)
		return;
	snprintf(why, sizeof(why), "it could not be started: %s", ssh_worker_start_text(e));
	end(w, why);
}

static enum err give_birth(struct ssh_worker *w, int child_fd)
{
	struct ssh_program from = { w->cfg.program, w->cfg.is_guest };

	if (w->cfg.nursery)
		return ssh_nursery_fork(w->cfg.nursery, child_fd, on_born, w, &w->birth);
	return ssh_worker_spawn(w->loop, &from, "ssh-worker", child_fd, on_exit_child, w, &w->child);
}

/* The rest of the identities is not ours to keep. */
static void keep_paths(struct ssh_worker *w, const struct ssh_worker_config *cfg)
{
	w->cfg.ids = NULL;
	for (size_t i = 0; i < cfg->n_ids && i < N_IDENTITIES_MAX; i++)
		w->ids[w->n_ids++] = strdup(cfg->ids[i].path);
}

static struct ssh_worker *new_worker(struct os_loop *loop, const struct ssh_worker_config *cfg)
{
	struct ssh_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct ssh_worker){ .loop = loop, .cfg = *cfg, .ctl = -1 };
	snprintf(w->host, sizeof(w->host), "%s", cfg->host);
	snprintf(w->user, sizeof(w->user), "%s", cfg->user);
	snprintf(w->vpn_addr, sizeof(w->vpn_addr), "%s", cfg->vpn_addr);
	snprintf(w->known_hosts, sizeof(w->known_hosts), "%s", cfg->known_hosts);
	keep_paths(w, cfg);
	list_init(&w->queue);
	list_init(&w->questions);
	ssh_handover_init(&w->sessions);
	os_timer_init(&w->end_timer, loop, on_end_timer, w);
	os_timer_init(&w->question_timer, loop, on_questions, w);
	return w;
}

enum err ssh_worker_start(struct os_loop *loop, const struct ssh_worker_config *cfg, struct ssh_worker **ret)
{
	struct ssh_worker *w = new_worker(loop, cfg);
	int pair[2];
	enum err e;

	if (!w)
		return ERR_NOMEM;
	e = os_seqpacket_pair(pair);
	if (e == OK) {
		w->ctl = pair[0];
		e = give_birth(w, pair[1]);
		close(pair[1]);
	}
	if (e == OK)
		e = os_watch_new(loop, w->ctl, on_ready, w, &w->watch);
	/* It died meanwhile, or what it was to come from: that comes to on_end() like any other death. */
	if (e == OK && (e = send_config(w, cfg)) == ERR_CLOSED) {
		gone(w);
		e = OK;
	}
	if (e != OK) {
		ssh_worker_free(w);
		return e;
	}
	watch(w);
	*ret = w;
	return OK;
}

void ssh_worker_free(struct ssh_worker *w)
{
	if (!w)
		return;
	os_timer_cancel(&w->end_timer);
	while (w->n_queued)
		waiting_free(w, container_of(list_first(&w->queue), struct waiting, link));
	os_timer_cancel(&w->question_timer);
	list_for_each_safe(it, &w->questions)
		drop_question(container_of(it, struct question, link));
	os_watch_free(w->watch);
	ssh_birth_drop(w->birth);
	os_child_free(w->child);
	if (w->ctl >= 0)
		close(w->ctl);
	ssh_handover_fini(&w->sessions);
	for (size_t i = 0; i < w->n_ids; i++)
		free(w->ids[i]);
	free(w);
}
