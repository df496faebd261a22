/*
 * operator/hub_key.c - what a worker needs to log in and may not fetch itself: identities, passphrases, ssh-agent.
 *
 * Files are read here, because the worker is sandboxed before it could open one; the texts are wiped as soon as they were
 * handed over. A passphrase that a worker found right is kept until the hub ends, for the next worker; it is never written
 * anywhere. The agent is the one of the command that came last (its SSH_AUTH_SOCK), else the hub's own; worker.c has looked
 * at each question, so that nothing but a login of this user is signed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "operator/hub_internal.h"
#include "ssh/agent.h"
#include "ssh/key.h"

#define PRIVATE_MAX (32 * 1024)
#define PUBLIC_MAX (16 * 1024)
#define SECRETS_MAX 64
#define AGENT_DIAL_MAX (3 * NSEC_PER_SEC)
#define AGENT_LIST_MAX (4 * NSEC_PER_SEC)
#define AGENT_SIGN_MAX (115 * NSEC_PER_SEC) /* it may ask for a confirmation, or a touch */
#define AGENT_ASKS_MAX 32                   /* of one worker at once */

/* ---- identities ---- */

static enum err read_file(const char *path, size_t max, struct bytes *ret)
{
	char *text;
	size_t len;
	enum err e = os_file_read(path, max, &text, &len);

	if (e == OK)
		*ret = (struct bytes){ (uint8_t *)text, len };
	return e;
}

static void drop_file(struct bytes *b)
{
	if (b->p)
		sodium_memzero((void *)b->p, b->len);
	free((void *)b->p);
	*b = (struct bytes){ NULL, 0 };
}

/* @path with @suffix, when there is such a file and it is read. */
static void read_beside(const char *path, const char *suffix, struct bytes *ret)
{
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%s%s", path, suffix) < PATH_MAX && read_file(name, PUBLIC_MAX, ret) != OK)
		*ret = (struct bytes){ NULL, 0 };
}

/* A public key is named: the private one is in the agent, or in the file without .pub. */
static void take_public(struct ssh_identity *id, char base[PATH_MAX])
{
	unsigned mode, uid;
	size_t len = strlen(base);

	id->public = id->private;
	id->private = (struct bytes){ NULL, 0 };
	if (len > 4 && strcmp(base + len - 4, ".pub") == 0)
		base[len - 4] = '\0';
	else
		return;
	if (os_file_mode(base, &mode, &uid) == OK && !(mode & 077) && read_file(base, PRIVATE_MAX, &id->private) != OK)
		id->private = (struct bytes){ NULL, 0 };
}

static void read_identity(const char *path, struct ssh_identity *id)
{
	char base[PATH_MAX];
	unsigned mode, uid;
	enum err e;

	*id = (struct ssh_identity){ .path = path };
	if (strcmp(path, HUB_AGENT) == 0)
		return;
	snprintf(base, sizeof(base), "%s", path);
	e = os_file_mode(path, &mode, &uid);
	if (e == OK)
		e = read_file(path, PRIVATE_MAX, &id->private);
	if (e == OK && ssh_key_is_public(id->private))
		take_public(id, base);
	else if (e == OK && (mode & 077))
		id->why = "others may read it (chmod 600 it)";
	if (!id->public.len)
		read_beside(base, ".pub", &id->public);
	read_beside(base, "-cert.pub", &id->certificate);
	/* Without the file, its public half may still name a key of the agent. */
	if (e != OK && !(e == ERR_NOT_FOUND && id->public.len))
		id->why = err_text(e);
	if (id->why)
		drop_file(&id->private);
}

static size_t identity_bytes(const struct ssh_identity *id)
{
	return strlen(id->path) + id->private.len + id->public.len + id->certificate.len + 256;
}

static void drop_identity(struct ssh_identity *id)
{
	drop_file(&id->private);
	drop_file(&id->public);
	drop_file(&id->certificate);
}

size_t hub_identities_read(const struct hub_host *hh, struct ssh_identity ids[HUB_IDENTITIES_MAX], char why[HUB_WHY_MAX])
{
	size_t n_usable = 0, bytes = 0;

	why[0] = '\0';
	for (size_t i = 0; i < hh->n_ids; i++) {
		size_t used = strlen(why);

		read_identity(hh->ids[i], &ids[i]);
		if (bytes + identity_bytes(&ids[i]) > SSH_IDENTITIES_BYTES_MAX) {
			drop_identity(&ids[i]);
			ids[i].why = "the files of all identities together are too large";
		}
		bytes += identity_bytes(&ids[i]);
		if (!ids[i].why) {
			n_usable += strcmp(ids[i].path, HUB_AGENT) != 0 || hub_agent_path(hh);
			continue;
		}
		snprintf(why + used, HUB_WHY_MAX - used, "%s%s: %s", used ? "; " : "", ids[i].path, ids[i].why);
		log_info("identity not used path=%s reason=%s", ids[i].path, ids[i].why);
	}
	return n_usable;
}

void hub_identities_wipe(struct ssh_identity *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		drop_identity(&ids[i]);
}

/* ---- passphrases ---- */

struct hub_secret {
	struct list link;
	char *path;
	char text[SSH_PASSPHRASE_MAX + 1];
};

static void secret_free(struct hub_secret *s)
{
	list_del(&s->link);
	free(s->path);
	sodium_memzero(s->text, sizeof(s->text));
	free(s);
}

static struct hub_secret *secret_find(struct hub *h, const char *path)
{
	list_for_each(it, &h->secrets) {
		struct hub_secret *s = container_of(it, struct hub_secret, link);

		if (strcmp(s->path, path) == 0)
			return s;
	}
	return NULL;
}

const char *hub_secret_of(struct hub *h, const char *path)
{
	struct hub_secret *s = secret_find(h, path);

	return s ? s->text : NULL;
}

void hub_secret_keep(struct hub *h, const char *path, struct bytes passphrase)
{
	struct hub_secret *s = secret_find(h, path);

	if (s)
		secret_free(s);
	else if (h->n_secrets >= SECRETS_MAX)
		secret_free(container_of(h->secrets.next, struct hub_secret, link));
	else
		h->n_secrets++;
	s = calloc(1, sizeof(*s));
	if (s)
		s->path = strdup(path);
	if (!s || !s->path || passphrase.len > SSH_PASSPHRASE_MAX) {
		free(s ? s->path : NULL);
		free(s);
		h->n_secrets--;
		return;
	}
	memcpy(s->text, passphrase.p, passphrase.len);
	list_add_tail(&h->secrets, &s->link);
}

void hub_secrets_wipe(struct hub *h)
{
	list_for_each_safe(it, &h->secrets)
		secret_free(container_of(it, struct hub_secret, link));
	h->n_secrets = 0;
}

/* ---- ssh-agent ---- */

struct hub_ask {
	struct list link;
	struct hub_host *host;
	uint32_t dial_id;
	struct os_dial *dial;
	struct os_stream *stream;
	struct os_timer timer;
	struct ssh_buf out, in;
};

const char *hub_agent_path(const struct hub_host *hh)
{
	const char *own = getenv("SSH_AUTH_SOCK");

	return hh->agent ? hh->agent : own && *own ? own : NULL;
}

void hub_agent_set(struct hub_host *hh, const char *path)
{
	char *copy = path && path[0] == '/' ? strdup(path) : NULL;

	if (!copy)
		return;
	free(hh->agent);
	hh->agent = copy;
}

static void ask_free(struct hub_ask *a)
{
	list_del(&a->link);
	a->host->n_asks--;
	os_timer_cancel(&a->timer);
	if (a->dial)
		os_dial_cancel(a->dial);
	if (a->stream)
		os_stream_close(a->stream);
	ssh_buf_fini(&a->out);
	ssh_buf_fini(&a->in);
	free(a);
}

static void ask_done(struct hub_ask *a, enum err e, struct bytes answer)
{
	if (a->host->worker)
		ssh_worker_agent_said(a->host->worker, a->dial_id, e, answer);
	ask_free(a);
}

static void on_ask_timer(void *ctx)
{
	ask_done(ctx, ERR_TIMEOUT, (struct bytes){ NULL, 0 });
}

static enum err ask_write(struct hub_ask *a)
{
	enum err e = OK;

	while (e == OK && ssh_buf_used(&a->out) > 0) {
		struct iovec iov = { a->out.p + a->out.off, ssh_buf_used(&a->out) };
		size_t n = 0;

		e = os_stream_writev(a->stream, &iov, 1, &n);
		ssh_buf_drop(&a->out, n);
	}
	return e == ERR_AGAIN ? OK : e;
}

/* OK: the answer is whole; ERR_AGAIN: more is to come */
static enum err ask_read(struct hub_ask *a, size_t *ret_total)
{
	for (;;) {
		uint8_t *to = ssh_buf_room(&a->in, 4096);
		size_t n = 0;
		enum err e = to ? os_stream_read(a->stream, to, 4096, &n) : ERR_NOMEM;

		if (e == OK && n == 0)
			e = ERR_CLOSED;
		if (e != OK)
			return e;
		a->in.len += n;
		e = ssh_agent_whole((struct bytes){ a->in.p, ssh_buf_used(&a->in) }, ret_total);
		if (e != ERR_AGAIN)
			return e;
	}
}

static void on_ask(void *ctx, struct os_stream *s, int events)
{
	struct hub_ask *a = ctx;
	size_t total = 0;
	enum err e = ask_write(a);

	if (e == OK)
		e = ask_read(a, &total);
	if (e == ERR_AGAIN)
		os_stream_want(s, OS_READ | (ssh_buf_used(&a->out) ? OS_WRITE : 0));
	else if (e == OK)
		ask_done(a, OK, (struct bytes){ a->in.p + 4, total - 4 });
	else
		ask_done(a, e, (struct bytes){ NULL, 0 });
}

/* Somebody else's socket learns nothing of our keys. */
static bool is_ours(int fd)
{
	unsigned uid;

	return os_peer_uid(fd, &uid, NULL) && (uid == getuid() || uid == 0);
}

static void on_agent_dialed(void *ctx, enum err e, int fd)
{
	struct hub_ask *a = ctx;

	a->dial = NULL;
	if (e == OK && !is_ours(fd)) {
		close(fd);
		e = ERR_PERMISSION;
	} else if (e == OK) {
		e = os_stream_new(a->host->hub->loop, fd, on_ask, a, &a->stream);
		if (e != OK)
			close(fd);
	}
	if (e == OK) {
		os_stream_want(a->stream, OS_READ | OS_WRITE);
		return;
	}
	log_info("ssh-agent does not answer host=%s error=%s", a->host->peer.name, err_name(e));
	ask_done(a, e, (struct bytes){ NULL, 0 });
}

void hub_agent_ask(struct hub_host *hh, uint32_t dial_id, struct bytes request)
{
	const char *path = hub_agent_path(hh);
	struct os_loop *loop = hh->hub->loop;
	struct hub_ask *a = path && hh->n_asks < AGENT_ASKS_MAX ? calloc(1, sizeof(*a)) : NULL;
	nsec_t now = os_loop_now(loop);
	char target[PATH_MAX + 8];
	enum err e;

	if (!a) {
		ssh_worker_agent_said(hh->worker, dial_id, ERR_NOT_FOUND, (struct bytes){ NULL, 0 });
		return;
	}
	a->host = hh;
	a->dial_id = dial_id;
	list_add_tail(&hh->asks, &a->link);
	hh->n_asks++;
	os_timer_init(&a->timer, loop, on_ask_timer, a);
	os_timer_set(&a->timer, now + (request.len > 5 ? AGENT_SIGN_MAX : AGENT_LIST_MAX));
	snprintf(target, sizeof(target), "unix:%s", path);
	e = ssh_buf_add(&a->out, request.p, request.len);
	if (e == OK)
		e = os_dial_start(loop, target, now + AGENT_DIAL_MAX, on_agent_dialed, a, &a->dial);
	if (e != OK)
		ask_done(a, e, (struct bytes){ NULL, 0 });
}

void hub_agent_cancel(struct hub_host *hh)
{
	list_for_each_safe(it, &hh->asks)
		ask_free(container_of(it, struct hub_ask, link));
}
