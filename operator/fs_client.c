/*
 * operator/fs_client.c - see fs_client.h.
 *
 * An id is the index of a slot: the protocol lets it be used again after its DONE. When the session ends, whatever still runs
 * is told by a DONE of our own.
 */
#include "operator/fs_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/text.h"
#include "operator/cmd.h"
#include "operator/hub_attach.h"

#define SESSION_TIMEOUT (20 * NSEC_PER_SEC)

static const struct bytes nothing;

static void on_frame(void *ctx, uint8_t type, struct bytes body);

/* ---- life ---- */

enum err fs_client_begin(struct fs_client *fc, int fd)
{
	uint8_t version[4];

	session_init(&fc->s, fd);
	fc->s.is_file = true;
	fc->s.on_frame = on_frame;
	put_le32(version, SSH_SESSION_VERSION);
	return session_send(&fc->s, SSH_F_FS, version, sizeof(version));
}

static enum err begin(struct fs_client *fc, nsec_t timeout)
{
	int fd = -1;
	enum err e = hub_client_session(fc->hub, fc->host, timeout, &fd);

	return e == OK ? fs_client_begin(fc, fd) : e;
}

int fs_client_open(struct fs_client *fc, struct cli *cli, const char *host)
{
	char why[SSH_ERROR_TEXT_MAX];
	unsigned ecode = 0;
	int r;

	*fc = (struct fs_client){ .cli = cli, .s = { .fd = -1, .over = true } };
	if (!cli_host(cli, host, &r))
		return r;
	snprintf(fc->host, sizeof(fc->host), "%s", host);
	if (hub_client_open(cli, true, &fc->hub) != OK)
		return EXIT_FAILED;
	if (session_login(fc->hub, fc->host, why, &ecode) != OK) {
		fs_client_close(fc);
		return cli_error(cli, ecode ? ecode : 1015, "%s: %s", host, why);
	}
	if (begin(fc, SESSION_TIMEOUT) != OK) {
		r = cli_hub_error(cli, fc->hub, host, 1015);
		fs_client_close(fc);
		return r;
	}
	return 0;
}

enum err fs_client_attach(struct fs_client *fc, struct cli *cli, const char *host, nsec_t timeout)
{
	enum err e;

	*fc = (struct fs_client){ .cli = cli, .s = { .fd = -1, .over = true } };
	snprintf(fc->host, sizeof(fc->host), "%s", host);
	e = hub_attach(cli->home, cli->config, false, &fc->hub);
	return e == OK ? begin(fc, timeout) : e;
}

enum err fs_client_reopen(struct fs_client *fc)
{
	struct hub_client *hub;

	session_fini(&fc->s);
	/* The hub may be the one that went: then another is started. */
	if (!hub_client_is_connected(fc->hub)) {
		if (hub_client_open(fc->cli, true, &hub) != OK)
			return ERR_CLOSED;
		hub_client_close(fc->hub);
		fc->hub = hub;
	}
	return begin(fc, SESSION_TIMEOUT);
}

void fs_client_close(struct fs_client *fc)
{
	session_fini(&fc->s);
	if (fc->hub)
		hub_client_close(fc->hub);
	fc->hub = NULL;
}

/* ---- events ---- */

static void tell(struct fs_client *fc, struct fs_slot *slot, const struct fs_event *ev)
{
	struct fs_slot to = *slot;

	if (ev->type == SSH_F_OP_DONE) {
		slot->fn = NULL;
		fc->n_running--;
	}
	to.fn(to.ctx, ev);
}

static void tell_lost(struct fs_client *fc)
{
	const struct fs_event ev = { .type = SSH_F_OP_DONE,
				     .error = fc->s.error ? fc->s.error : ERR_CLOSED,
				     .message = fc->s.message };

	for (size_t i = 0; i < SSH_FS_OPS_MAX; i++)
		if (fc->slots[i].fn)
			tell(fc, &fc->slots[i], &ev);
}

static bool take_done(struct ssh_reader *r, struct fs_event *ev, char text[600])
{
	ev->error = ssh_read_err(r);
	ssh_read_text(r, text, 600);
	text_clean(text); /* the worker did so too, unless a server has taken it over */
	ev->message = text;
	return !r->bad;
}

static bool read_event(struct ssh_reader *r, enum ssh_op op, struct fs_event *ev, char text[600])
{
	switch (ev->type) {
	case SSH_F_OP_INFO:
		if (op == SSH_OP_DF)
			ssh_read_space(r, &ev->space);
		else
			ssh_read_attr(r, &ev->attr);
		break;
	case SSH_F_OP_ENTRY:
		ev->data = ssh_read_string(r);
		ssh_read_attr(r, &ev->attr);
		break;
	case SSH_F_OP_BYTES:
		ev->offset = ssh_read_u64(r);
		ev->data = (struct bytes){ r->p, r->len };
		break;
	case SSH_F_OP_MORE:
		ev->credit = ssh_read_u32(r);
		break;
	case SSH_F_OP_DONE:
		return take_done(r, ev, text);
	default:
		return false; /* a newer worker's */
	}
	return !r->bad;
}

static void on_frame(void *ctx, uint8_t type, struct bytes body)
{
	struct fs_client *fc = ctx;
	struct ssh_reader r = { body.p, body.len, false };
	uint32_t id = ssh_read_u32(&r);
	struct fs_event ev = { .type = (enum ssh_frame)type };
	char text[600];

	if (id < SSH_FS_OPS_MAX && fc->slots[id].fn && read_event(&r, fc->slots[id].op, &ev, text))
		tell(fc, &fc->slots[id], &ev);
}

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	return true; /* none of its frames is a file operation's */
}

void fs_client_turn(struct fs_client *fc, int timeout_ms)
{
	struct pollfd pf = { fc->s.fd, session_poll_events(&fc->s), 0 };

	if (!fc->s.over && poll(&pf, 1, timeout_ms) > 0)
		session_pump(&fc->s, on_data, fc);
	if (fc->s.over)
		tell_lost(fc);
}

void fs_client_wait(struct fs_client *fc)
{
	while (fc->n_running > 0)
		fs_client_turn(fc, -1);
}

/* ---- starting ---- */

static enum err add_fields(struct ssh_buf *b, const struct fs_request *rq)
{
	enum err e = OK;

	switch (rq->op) {
	case SSH_OP_GET:
		e = ssh_put_u64(b, rq->offset);
		return e == OK ? ssh_put_u64(b, rq->length) : e;
	case SSH_OP_PUT:
		e = ssh_put_u32(b, rq->mode);
		if (e == OK)
			e = ssh_put_u32(b, rq->flags);
		if (e == OK)
			e = ssh_put_u64(b, rq->source);
		if (e == OK)
			e = ssh_put_u32(b, rq->attr.atime);
		return e == OK ? ssh_put_u32(b, rq->attr.mtime) : e;
	case SSH_OP_FIND:
		return ssh_put_u32(b, (uint32_t)rq->length);
	case SSH_OP_RM:
		return ssh_put_u32(b, rq->flags);
	case SSH_OP_MKDIR:
		e = ssh_put_u32(b, rq->mode);
		return e == OK ? ssh_put_u32(b, rq->flags) : e;
	case SSH_OP_MV:
		e = ssh_put_string(b, rq->second, strlen(rq->second));
		return e == OK ? ssh_put_u32(b, rq->flags) : e;
	case SSH_OP_SETSTAT:
		return ssh_put_attr(b, &rq->attr);
	case SSH_OP_SYMLINK:
	case SSH_OP_LINK:
		return ssh_put_string(b, rq->second, strlen(rq->second));
	default:
		return OK;
	}
}

static enum err send_request(struct fs_client *fc, uint32_t id, const struct fs_request *rq)
{
	uint8_t op = (uint8_t)rq->op;
	struct ssh_buf b = { 0 };
	enum err e = ssh_put_u32(&b, id);

	if (e == OK)
		e = ssh_buf_add(&b, &op, 1);
	if (e == OK)
		e = ssh_put_string(&b, rq->path, strlen(rq->path));
	if (e == OK)
		e = add_fields(&b, rq);
	if (e == OK)
		e = session_send(&fc->s, SSH_F_OP, b.p, ssh_buf_used(&b));
	ssh_buf_fini(&b);
	return e;
}

int fs_client_start(struct fs_client *fc, const struct fs_request *rq, fs_event_fn fn, void *ctx)
{
	uint32_t id = 0;

	while (id < SSH_FS_OPS_MAX && fc->slots[id].fn)
		id++;
	if (fc->s.over || id == SSH_FS_OPS_MAX || send_request(fc, id, rq) != OK)
		return -1;
	fc->slots[id] = (struct fs_slot){ fn, ctx, rq->op };
	fc->n_running++;
	return (int)id;
}

bool fs_client_wait_room(struct fs_client *fc)
{
	while (fc->n_running == SSH_FS_OPS_MAX && !fc->s.over)
		fs_client_turn(fc, -1);
	return !fc->s.over;
}

void fs_client_queue(struct fs_client *fc, const struct fs_request *rq, fs_event_fn fn, void *ctx)
{
	struct fs_event lost = { .type = SSH_F_OP_DONE };

	if (fs_client_wait_room(fc) && fs_client_start(fc, rq, fn, ctx) >= 0)
		return;
	lost.error = fc->s.over ? fc->s.error ? fc->s.error : ERR_CLOSED : ERR_NOMEM;
	lost.message = fc->s.over ? fc->s.message : err_text(ERR_NOMEM);
	fn(ctx, &lost);
}

void fs_client_data(struct fs_client *fc, int id, uint64_t offset, const void *p, size_t len)
{
	uint8_t head[12];

	put_le32(head, (uint32_t)id);
	put_le64(head + 4, offset);
	if (ssh_frame_add(&fc->s.out, SSH_F_OP_DATA, (struct bytes){ head, sizeof(head) }, (struct bytes){ p, len }) != OK)
		fs_client_cancel(fc, id);
}

static void send_short(struct fs_client *fc, enum ssh_frame type, int id, struct bytes more)
{
	uint8_t head[4];

	put_le32(head, (uint32_t)id);
	if (ssh_frame_add(&fc->s.out, type, (struct bytes){ head, sizeof(head) }, more) != OK)
		fc->s.over = true; /* no memory for thirty bytes */
}

void fs_client_eof(struct fs_client *fc, int id, uint64_t size)
{
	uint8_t number[8];

	put_le64(number, size);
	send_short(fc, SSH_F_OP_EOF, id, (struct bytes){ number, sizeof(number) });
}

void fs_client_cancel(struct fs_client *fc, int id)
{
	send_short(fc, SSH_F_OP_CANCEL, id, nothing);
}

static void on_dropped(void *ctx, const struct fs_event *ev)
{
}

void fs_client_drop(struct fs_client *fc, int id)
{
	fc->slots[id].fn = on_dropped;
	fs_client_cancel(fc, id);
}

/* ---- one after the other ---- */

static void on_answer(void *ctx, const struct fs_event *ev)
{
	struct fs_answer *a = ctx;

	if (ev->type == SSH_F_OP_INFO) {
		a->attr = ev->attr;
		a->space = ev->space;
	} else if (ev->type == SSH_F_OP_ENTRY && ev->data.len < sizeof(a->name) && !a->name[0]) {
		memcpy(a->name, ev->data.p, ev->data.len);
		a->name[ev->data.len] = '\0';
	} else if (ev->type == SSH_F_OP_DONE) {
		a->error = ev->error;
		snprintf(a->message, sizeof(a->message), "%s", ev->message);
		a->done = true;
	}
}

enum err fs_client_call(struct fs_client *fc, const struct fs_request *rq, struct fs_answer *ret)
{
	*ret = (struct fs_answer){ .error = ERR_CLOSED };
	fs_client_queue(fc, rq, on_answer, ret);
	while (!ret->done)
		fs_client_turn(fc, -1);
	return ret->error;
}

unsigned fs_client_ecode(enum err e)
{
	const struct session s = { .error = e, .is_file = true };

	return session_ecode(&s);
}
