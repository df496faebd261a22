/*
 * ssh/fs.c - see fs.h: SFTP on one channel of a connection, and on more where that is faster.
 *
 * A server lets so many bytes be under way on a channel: OpenSSH 2 MiB, which at a round trip of 50 ms are 40 MB/s, whatever the
 * line. When the first channel has had bytes to send and no window for LIMITED_AFTER (and some round trips), another one is
 * opened, up to FS_LANES_MAX; where the round trip is short the window is not the limit, but the server, and nothing is
 * gained. A channel that cannot be had is no error: then there are no more.
 */
#include "ssh/fs.h"

#include <stdlib.h>

#include "ssh/conn.h"

/*
 * The window is what may be under way to us: 32 MiB carry 5 Gb/s at 50 ms. Packets of 32 KiB are what every server
 * sends, whatever is announced.
 */
#define FS_WINDOW (32u << 20)
#define FS_PACKET 32768
#define FS_READ_SIZE (128 * 1024)
#define FS_WRITE_SIZE 32000
#define LIMITED_AFTER (30 * NSEC_PER_MSEC)
#define LIMITED_RTT (4 * NSEC_PER_MSEC) /* shorter: the window is not what holds */

struct ssh_fs {
	LIBSSH2_CHANNEL *channel;
	struct sftp_client client;
	bool asked;      /* the subsystem was */
	bool started;    /* the client was */
	enum err error;  /* it could not be opened */
	nsec_t limited_since; /* there were bytes, and no window; 0: not so */
	struct ssh_fs *more[FS_LANES_MAX - 1]; /* of the first alone; the last may be on its way */
	unsigned n_more;
	bool no_more;    /* the server gave us one less than we asked for */
	struct fs_lanes lanes; /* those that are open */
};

struct sftp_client *ssh_fs_client(struct ssh_fs *f)
{
	return &f->client;
}

nsec_t ssh_fs_deadline(const struct ssh_fs *f)
{
	nsec_t next = f->started ? sftp_client_deadline(&f->client) : NSEC_NEVER;

	for (unsigned i = 0; i < f->lanes.n; i++)
		next = nsec_min(next, sftp_client_deadline(f->lanes.v[i]));
	return next;
}

const struct fs_lanes *ssh_fs_lanes(const struct ssh_fs *f)
{
	return &f->lanes;
}

unsigned ssh_fs_n_channels(const struct ssh_fs *f)
{
	return f ? 1 + f->n_more : 0;
}

void ssh_fs_free(struct ssh_fs *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < f->n_more; i++)
		ssh_fs_free(f->more[i]);
	if (f->started)
		sftp_client_fini(&f->client);
	free(f);
}

static void close_lane(struct ssh_conn *c, struct ssh_fs *f)
{
	ssh_conn_abandon_open(c, f);
	if (f->channel)
		ssh_conn_close_channel(c, f->channel);
	ssh_fs_free(f);
}

static void close_lanes(struct ssh_conn *c, struct ssh_fs *f)
{
	while (f->n_more > 0)
		close_lane(c, f->more[--f->n_more]);
	f->lanes.n = 0;
}

void ssh_fs_close(struct ssh_conn *c)
{
	struct ssh_fs *f = c->fs;

	if (!f)
		return;
	c->fs = NULL;
	close_lanes(c, f);
	close_lane(c, f);
}

void ssh_fs_release(struct ssh_conn *c)
{
	struct ssh_fs *f = c->fs;

	if (!f)
		return;
	close_lanes(c, f);
	ssh_buf_release(&f->client.in);
	ssh_buf_release(&f->client.out);
}

/* The library's answer to something that may have to be called again. */
static enum err library_err(struct ssh_conn *c)
{
	return libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_EAGAIN ? ERR_AGAIN : ERR_FORBIDDEN;
}

bool ssh_fs_usable(const struct ssh_fs *f)
{
	return f->error == OK && f->started && f->client.ready && f->client.error == OK;
}

bool ssh_fs_failed(const struct ssh_fs *f)
{
	return f->error != OK || (f->started && f->client.error != OK);
}

static enum err open_channel(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	enum err e;

	if (!ssh_conn_begin_open(c, f, now))
		return ERR_AGAIN;
	f->channel = libssh2_channel_open_ex(c->session, "session", 7, FS_WINDOW, FS_PACKET, NULL, 0);
	e = f->channel ? OK : library_err(c);
	if (e != ERR_AGAIN && !f->channel && libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_CHANNEL_FAILURE)
		e = ERR_FULL;
	if (e != ERR_AGAIN)
		ssh_conn_end_open(c, f);
	return e;
}

static enum err ask_subsystem(struct ssh_conn *c, struct ssh_fs *f)
{
	/* Its standard error would fill the window unread. */
	libssh2_channel_handle_extended_data2(f->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
	if (libssh2_channel_process_startup(f->channel, "subsystem", 9, "sftp", 4) != 0)
		return library_err(c);
	f->asked = true;
	return OK;
}

static void step_open(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	enum err e = OK;

	if (!f->channel)
		e = open_channel(c, f, now);
	if (e == OK && !f->asked)
		e = ask_subsystem(c, f);
	if (e == OK) {
		f->started = true;
		e = sftp_client_init(&f->client, now);
	}
	if (e != ERR_AGAIN)
		f->error = e;
	c->hungry = true;
}

enum err ssh_fs_open(struct ssh_conn *c, nsec_t now, const char **ret_why)
{
	struct ssh_fs *f = c->fs;

	*ret_why = "out of memory";
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return ERR_NOMEM;
		c->fs = f;
	}
	if (!f->started && f->error == OK)
		step_open(c, f, now);
	if (f->error != OK) {
		*ret_why = f->error == ERR_FULL ? "the server opens no session for SFTP (MaxSessions)" :
						  "the server offers no file transfer (Subsystem sftp)";
		return f->error;
	}
	if (!f->started)
		return ERR_AGAIN;
	*ret_why = f->client.message;
	if (f->client.error != OK)
		return f->client.error;
	return f->client.ready ? OK : ERR_AGAIN;
}

static void note_limit(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	if (ssh_buf_used(&f->client.out) == 0)
		f->limited_since = 0;
	else if (f->limited_since == 0 && libssh2_channel_window_write(f->channel) == 0)
		f->limited_since = now;
}

static bool write_out(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	struct ssh_buf *b = &f->client.out;
	bool moved = false;

	while (ssh_buf_used(b) > 0 && ssh_buf_used(&c->out) < CONN_OUT_MAX) {
		size_t len = MIN(ssh_buf_used(b), (size_t)FS_WRITE_SIZE);
		ssize_t n = libssh2_channel_write_ex(f->channel, 0, (char *)b->p + b->off, len);

		if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
			break;
		if (n < 0) {
			sftp_client_fail(&f->client, ERR_RESET, "the server ended its SFTP");
			break;
		}
		ssh_buf_drop(b, (size_t)n);
		moved = true;
	}
	note_limit(c, f, now);
	return moved;
}

static bool read_in(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	struct ssh_buf *b = &f->client.in;
	bool moved = false;

	while (f->client.error == OK) {
		uint8_t *to = ssh_buf_room(b, FS_READ_SIZE);
		ssize_t n = to ? libssh2_channel_read_ex(f->channel, 0, (char *)to, FS_READ_SIZE) : LIBSSH2_ERROR_ALLOC;

		if (n > 0) {
			b->len += (size_t)n;
			sftp_client_input(&f->client, now);
			moved = true;
			continue;
		}
		if (n != LIBSSH2_ERROR_EAGAIN && n != 0)
			sftp_client_fail(&f->client, ERR_RESET, "reading from the server failed");
		else if (libssh2_channel_eof(f->channel) == 1 || c->eof)
			sftp_client_fail(&f->client, f->client.ready || c->eof ? ERR_RESET : ERR_FORBIDDEN, f->client.ready || c->eof ?
					 "the server ended its SFTP" : "the server's SFTP ended at once (is it installed there?)");
		break;
	}
	return moved;
}

static bool step_channel(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	bool moved;

	if (f->error != OK)
		return false;
	if (!f->started)
		step_open(c, f, now);
	if (!f->started || f->client.error != OK)
		return false;
	moved = write_out(c, f, now);
	moved |= read_in(c, f, now);
	/* Answers make new requests. */
	moved |= write_out(c, f, now);
	sftp_client_expire(&f->client, now);
	c->hungry |= sftp_client_pending(&f->client) > 0 || !f->client.ready;
	return moved;
}

/* ---- more channels ---- */

static bool want_another(const struct ssh_conn *c, const struct ssh_fs *f, nsec_t now)
{
	const struct ssh_fs *last = f->n_more ? f->more[f->n_more - 1] : f;
	nsec_t rtt = f->client.ahead.rtt, patience = rtt * 2 > LIMITED_AFTER ? rtt * 2 : LIMITED_AFTER;

	return !f->no_more && !c->retired && f->n_more < FS_LANES_MAX - 1 && !c->opening && rtt >= LIMITED_RTT && ssh_fs_usable(f) &&
	       ssh_fs_usable(last) && last->limited_since && now >= last->limited_since + patience &&
	       ssh_conn_sessions(c) < c->sessions_max;
}

static bool step_lanes(struct ssh_conn *c, struct ssh_fs *f, nsec_t now)
{
	bool moved = false;

	if (want_another(c, f, now)) {
		f->more[f->n_more] = calloc(1, sizeof(*f));
		if (f->more[f->n_more])
			f->n_more++;
	}
	for (unsigned i = 0; i < f->n_more; i++)
		moved |= step_channel(c, f->more[i], now);
	/* The last one did not open: that is the limit. */
	if (f->n_more > f->lanes.n && ssh_fs_failed(f->more[f->n_more - 1])) {
		f->no_more = true;
		close_lane(c, f->more[--f->n_more]);
	}
	if (f->n_more > f->lanes.n && ssh_fs_usable(f->more[f->n_more - 1])) {
		f->lanes.v[f->lanes.n] = &f->more[f->lanes.n]->client;
		f->lanes.n++;
	}
	return moved;
}

bool ssh_fs_step(struct ssh_conn *c, nsec_t now)
{
	struct ssh_fs *f = c->fs;
	bool moved;

	if (!f || f->error != OK || c->state != SSH_READY)
		return false;
	moved = step_channel(c, f, now);
	if (f->started && f->client.error == OK)
		moved |= step_lanes(c, f, now);
	return moved;
}
