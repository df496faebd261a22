/*
 * ssh/worker.c - the hub's side of a worker: its process, its questions.
 *
 * The hub owns known_hosts: the worker asks with the key, the hub looks, remembers a new one, or
 * refuses. The worker's messages are read with the same care as a stranger's, for that is what it
 * may have become.
 */
#include "ssh/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/list.h"
#include "base/log.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/stream.h"
#include "ssh/fs_session.h"
#include "ssh/known_hosts.h"
#include "ssh/nursery.h"
#include "ssh/worker_internal.h"

#define KNOWN_HOSTS_MAX (4u << 20)
#define LOCK_TRIES 2 /* seconds that the hub may stand still for it */
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
	char host[64], vpn_addr[64], known_hosts[4096];
	struct os_child *child;  /* NULL: not born yet */
	struct ssh_birth *birth; /* under way */
	int ctl;
	struct os_watch *watch;
	struct os_timer end_timer;
	char why[128];
	bool ended;
	bool has_asked;         /* anything: it understood its configuration */
	unsigned n_dials;       /* asked for and not answered */
	unsigned n_questions;   /* host keys that it may still ask about: one for each connection that it got */
	uint32_t n_sessions;    /* given to it, ever */
	nsec_t minute;
	unsigned n_this_minute; /* dials */
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
	char why[128];

	if (exit_code < 0 && !term_signal)
		snprintf(why, sizeof(why), w->has_asked ? "it ended, why is not known" :
			 "it ended at once: is the program that it is started from of the same version?");
	else if (term_signal == SIGSYS)
		snprintf(why, sizeof(why), "it tried what its sandbox forbids");
	else if (term_signal == SIGPROF || term_signal == SIGXCPU)
		snprintf(why, sizeof(why), "the server made it compute without end");
	else if (exit_code == SSH_WORKER_OTHER_VERSION)
		snprintf(why, sizeof(why), "another version of the program is installed: restart the hub");
	else if (term_signal)
		snprintf(why, sizeof(why), "killed by signal %d", term_signal);
	else
		snprintf(why, sizeof(why), "ended with status %d", exit_code);
	end(w, why);
}

/* ---- host keys ---- */

static enum err remember(struct ssh_worker *w, const char *old, size_t old_len, const char *type, const char *b64)
{
	struct ssh_buf b = { 0 };
	char line[24000];
	int len = snprintf(line, sizeof(line), "%s%s.nefia,%s %s %s\n", old_len > 0 && old[old_len - 1] != '\n' ? "\n" : "",
			   w->host, w->vpn_addr, type, b64);
	enum err e = len < (int)sizeof(line) ? ssh_buf_add(&b, old, old_len) : ERR_TOO_LONG;

	if (e == OK)
		e = ssh_buf_add(&b, line, (size_t)len);
	if (e == OK)
		e = os_file_write_atomic(w->known_hosts, b.p, ssh_buf_used(&b), 0600);
	ssh_buf_fini(&b);
	return e;
}

static enum err judge(struct ssh_worker *w, const char *type, struct bytes blob, char *why, size_t size)
{
	char name[80], fingerprint[64], *file = NULL, *b64 = malloc(blob.len / 3 * 4 + 8);
	const char *names[] = { name, w->vpn_addr, NULL };
	size_t len = 0;
	unsigned line = 0;
	enum err e = os_file_read(w->known_hosts, KNOWN_HOSTS_MAX, &file, &len);

	snprintf(name, sizeof(name), "%s.nefia", w->host);
	known_hosts_fingerprint(blob, fingerprint);
	if (!b64 || (e != OK && e != ERR_NOT_FOUND)) {
		snprintf(why, size, "%s: %s", w->known_hosts, err_text(b64 ? e : ERR_NOMEM));
		free(b64);
		return ERR_IO;
	}
	EVP_EncodeBlock((uint8_t *)b64, blob.p, (int)blob.len);
	switch (known_hosts_check((struct bytes){ (uint8_t *)file, len }, names, type, b64, &line)) {
	case KNOWN_HOST_MATCH:
		e = OK;
		break;
	case KNOWN_HOST_UNKNOWN:
		e = remember(w, file ? file : "", len, type, b64);
		snprintf(why, size, "%s: the host key could not be stored: %s", w->known_hosts, err_text(e));
		if (e == OK && w->cfg.on_host_key)
			w->cfg.on_host_key(w->cfg.ctx, w, true, fingerprint);
		break;
	case KNOWN_HOST_REVOKED:
		e = ERR_HOST_KEY;
		snprintf(why, size, "%s:%u: the key %s of %s is revoked", w->known_hosts, line, fingerprint, w->host);
		break;
	case KNOWN_HOST_CA_ONLY:
		e = ERR_HOST_KEY;
		snprintf(why, size, "%s: %s is known by @cert-authority only, and certificates are not checked yet",
			 w->known_hosts, w->host);
		break;
	case KNOWN_HOST_MISMATCH:
		e = ERR_HOST_KEY;
		snprintf(why, size,
			 "the host key of %s is now %s (%s), which is not the one in %s:%u. Somebody may be in between "
			 "(man in the middle), or the host was installed anew",
			 w->host, fingerprint, type, w->known_hosts, line);
		break;
	}
	if (e == ERR_HOST_KEY && w->cfg.on_host_key)
		w->cfg.on_host_key(w->cfg.ctx, w, false, fingerprint);
	free(file);
	free(b64);
	return e;
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

/* In order, as far as it takes them. */
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
	if (e != OK && e != ERR_AGAIN)
		end(w, "it does not listen any more");
	if (!w->ended)
		os_watch_set(w->watch, OS_READ | (w->n_queued ? OS_WRITE : 0));
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
		os_watch_set(w->watch, OS_READ | OS_WRITE);
		return;
	}
	if (e != OK)
		end(w, "it does not listen any more");
	ssh_buf_fini(b);
	if (fd >= 0)
		close(fd);
}

static void answer_host_key(struct ssh_worker *w, const struct ssh_question *q)
{
	char lock_path[4200], why[512] = "";
	struct os_lock *lock = NULL;
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_VERDICT;
	enum err e;

	if (w->n_questions == 0) {
		end(w, "it asked about more host keys than it has connections");
		return;
	}
	w->n_questions--;
	snprintf(lock_path, sizeof(lock_path), "%s.lock", w->known_hosts);
	e = os_lock_take(lock_path, LOCK_TRIES, &lock);
	if (e == OK)
		e = judge(w, q->type, q->blob, why, sizeof(why));
	else
		snprintf(why, sizeof(why), "%s: %s", lock_path, err_text(e));
	os_lock_free(lock);
	if (ssh_buf_add(&b, &kind, 1) == OK && ssh_put_u32(&b, q->id) == OK && ssh_put_u32(&b, (uint32_t)e) == OK &&
	    ssh_put_string(&b, why, strlen(why)) == OK)
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

static void on_ready(void *ctx, int events)
{
	static uint8_t buf[SSH_CONTROL_MAX];
	struct ssh_worker *w = ctx;
	int fds[OS_FDS_MAX];
	size_t n = 0, n_fds = 0;
	struct ssh_question q;
	enum err e;

	if (events & OS_WRITE)
		flush(w);
	if (w->ended)
		return;
	e = os_recv_fds(w->ctl, buf, sizeof(buf), &n, fds, &n_fds);

	if (e == ERR_AGAIN)
		return;
	for (size_t i = 0; i < n_fds; i++)
		close(fds[i]); /* it has none to give */
	if (e != OK || n == 0) {
		os_watch_set(w->watch, 0); /* on_exit_child() tells why */
		return;
	}
	w->has_asked = true;
	if (ssh_question_decode((struct bytes){ buf, n }, &q) != OK)
		end(w, "it sent a malformed message");
	else if (q.kind == SSH_C_DIAL)
		pass_dial(w, q.id);
	else if (q.kind == SSH_C_OUTCOME && w->cfg.on_outcome)
		w->cfg.on_outcome(w->cfg.ctx, w, q.id, q.outcome);
	else if (q.kind == SSH_C_HOST_KEY)
		answer_host_key(w, &q);
	else if (q.kind == SSH_C_IDLE && q.id == w->n_sessions)
		end(w, NULL); /* idle, and no session is on the way to it */
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

enum err ssh_worker_attach(struct ssh_worker *w, int fd)
{
	uint8_t kind = SSH_C_SESSION;
	/* Behind what waits already. */
	enum err e = w->ended ? ERR_CLOSED : w->n_queued ? ERR_AGAIN : os_send_fds(w->ctl, &kind, 1, &fd, 1);

	close(fd);
	w->n_sessions += e == OK;
	return e;
}

/* ---- start ---- */

static void known_types(const struct ssh_worker *w, char ret[256])
{
	char name[80], *file = NULL;
	const char *names[] = { name, w->vpn_addr, NULL };
	size_t len = 0;

	ret[0] = '\0';
	snprintf(name, sizeof(name), "%s.nefia", w->host);
	/* Unreadable: judge() will say so. */
	if (os_file_read(w->known_hosts, KNOWN_HOSTS_MAX, &file, &len) == OK)
		known_hosts_types((struct bytes){ (uint8_t *)file, len }, names, ret);
	free(file);
}

static enum err send_config(struct ssh_worker *w, const struct ssh_worker_config *cfg)
{
	struct ssh_buf b = { 0 };
	uint8_t kind = SSH_C_CONFIG;
	enum err e = ssh_buf_add(&b, &kind, 1);
	char types[256];

	known_types(w, types);
	if (e == OK)
		e = ssh_put_u32(&b, SSH_CONTROL_VERSION);

	if (e == OK)
		e = ssh_put_string(&b, cfg->host, strlen(cfg->host));
	if (e == OK)
		e = ssh_put_string(&b, cfg->user, strlen(cfg->user));
	if (e == OK)
		e = ssh_put_string(&b, types, strlen(types));
	if (e == OK)
		e = ssh_put_u64(&b, cfg->file_size_max);
	if (e == OK)
		e = ssh_put_u32(&b, cfg->idle_s);
	if (e == OK)
		e = ssh_put_u32(&b, (uint32_t)cfg->n_ids);
	for (size_t i = 0; i < cfg->n_ids && e == OK; i++) {
		e = ssh_put_string(&b, cfg->ids[i].path, strlen(cfg->ids[i].path));
		if (e == OK)
			e = ssh_put_string(&b, cfg->ids[i].pem, cfg->ids[i].len);
	}
	if (e == OK)
		e = os_send_fds(w->ctl, b.p, ssh_buf_used(&b), NULL, 0);
	ssh_buf_fini(&b);
	return e;
}

/* The environment holds other programs' secrets. What the loader and the sanitizers need is left. */
static void worker_env(const char *env[8])
{
	static const char *const keep[] = { "LD_LIBRARY_PATH=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=" };
	size_t n = 0;

	for (char **e = environ; *e; e++)
		for (size_t i = 0; i < ARRAY_SIZE(keep) && n < 7; i++)
			if (strncmp(*e, keep[i], strlen(keep[i])) == 0)
				env[n++] = *e;
	env[n] = NULL;
}

/* It may write nowhere: what it had to say would be a server's words on our terminal. Sanitizers report there. */
#ifdef __SANITIZE_ADDRESS__
#define WORKER_STDERR 2
#else
#define WORKER_STDERR -1
#endif

enum err ssh_worker_spawn(struct os_loop *loop, const struct ssh_program *from, const char *arg, int fd, os_exit_fn fn, void *ctx,
			  struct os_child **ret)
{
	const char *argv[] = { from->program ? from->program : os_self_path(), arg, NULL }, *env[8];
	struct os_spawn sp = { .argv = argv, .env = env, .fds = { -1, -1, WORKER_STDERR, fd }, .n_fds = 4, .orphan = from->is_guest };

	worker_env(env);
	return os_child_spawn(loop, &sp, fn, ctx, ret);
}

static void on_born(void *ctx, pid_t pid, int pidfd)
{
	struct ssh_worker *w = ctx;

	w->birth = NULL;
	if (pid == 0 || os_child_adopt(w->loop, pid, pidfd, w->cfg.is_guest, on_exit_child, w, &w->child) != OK)
		end(w, "it could not be started");
}

static enum err give_birth(struct ssh_worker *w, int child_fd)
{
	struct ssh_program from = { w->cfg.program, w->cfg.is_guest };

	if (w->cfg.nursery)
		return ssh_nursery_fork(w->cfg.nursery, child_fd, on_born, w, &w->birth);
	return ssh_worker_spawn(w->loop, &from, "ssh-worker", child_fd, on_exit_child, w, &w->child);
}

enum err ssh_worker_start(struct os_loop *loop, const struct ssh_worker_config *cfg, struct ssh_worker **ret)
{
	struct ssh_worker *w = calloc(1, sizeof(*w));
	int pair[2];
	enum err e;

	if (!w)
		return ERR_NOMEM;
	*w = (struct ssh_worker){ .loop = loop, .cfg = *cfg, .ctl = -1 };
	snprintf(w->host, sizeof(w->host), "%s", cfg->host);
	snprintf(w->vpn_addr, sizeof(w->vpn_addr), "%s", cfg->vpn_addr);
	snprintf(w->known_hosts, sizeof(w->known_hosts), "%s", cfg->known_hosts);
	list_init(&w->queue);
	os_timer_init(&w->end_timer, loop, on_end_timer, w);
	e = os_seqpacket_pair(pair);
	if (e == OK) {
		w->ctl = pair[0];
		e = give_birth(w, pair[1]);
		close(pair[1]);
	}
	if (e == OK)
		e = os_watch_new(loop, w->ctl, on_ready, w, &w->watch);
	if (e == OK)
		e = send_config(w, cfg);
	if (e != OK) {
		ssh_worker_free(w);
		return e;
	}
	os_watch_set(w->watch, OS_READ);
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
	os_watch_free(w->watch);
	ssh_birth_drop(w->birth);
	os_child_free(w->child);
	if (w->ctl >= 0)
		close(w->ctl);
	free(w);
}
