/* ssh/fs.c - see fs.h: SFTP on one channel of a connection. */
#include "ssh/fs.h"

#include <stdlib.h>

#include "ssh/conn.h"

/*
 * The window is what may be under way to us: 16 MiB carry 2.5 Gb/s at 50 ms. Packets of 32 KiB are what every server
 * sends, whatever is announced.
 */
#define FS_WINDOW (16u << 20)
#define FS_PACKET 32768
#define FS_READ_SIZE (128 * 1024)
#define FS_WRITE_SIZE 32000

struct ssh_fs {
	LIBSSH2_CHANNEL *channel;
	struct sftp_client client;
	bool asked;      /* the subsystem was */
	bool started;    /* the client was */
	enum err error;  /* it could not be opened */
};

struct sftp_client *ssh_fs_client(struct ssh_fs *f)
{
	return &f->client;
}

nsec_t ssh_fs_deadline(const struct ssh_fs *f)
{
	return f->started ? sftp_client_deadline(&f->client) : NSEC_NEVER;
}

void ssh_fs_free(struct ssh_fs *f)
{
	if (!f)
		return;
	if (f->started)
		sftp_client_fini(&f->client);
	free(f);
}

void ssh_fs_close(struct ssh_conn *c)
{
	struct ssh_fs *f = c->fs;

	if (!f)
		return;
	c->fs = NULL;
	if (f->channel)
		ssh_conn_close_channel(c, f->channel);
	ssh_fs_free(f);
}

/* The library's answer to something that may have to be called again. */
static enum err library_err(struct ssh_conn *c)
{
	return libssh2_session_last_errno(c->session) == LIBSSH2_ERROR_EAGAIN ? ERR_AGAIN : ERR_UNSUPPORTED;
}

bool ssh_fs_usable(const struct ssh_fs *f)
{
	return f->error == OK && f->started && f->client.ready && f->client.error == OK;
}

bool ssh_fs_failed(const struct ssh_fs *f)
{
	return f->error != OK || (f->started && f->client.error != OK);
}

static enum err open_channel(struct ssh_conn *c, nsec_t now)
{
	struct ssh_fs *f = c->fs;
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

static enum err ask_subsystem(struct ssh_conn *c)
{
	struct ssh_fs *f = c->fs;

	/* Its standard error would fill the window unread. */
	libssh2_channel_handle_extended_data2(f->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_IGNORE);
	if (libssh2_channel_process_startup(f->channel, "subsystem", 9, "sftp", 4) != 0)
		return library_err(c);
	f->asked = true;
	return OK;
}

static void step_open(struct ssh_conn *c, nsec_t now)
{
	struct ssh_fs *f = c->fs;
	enum err e = OK;

	if (!f->channel)
		e = open_channel(c, now);
	if (e == OK && !f->asked)
		e = ask_subsystem(c);
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
		step_open(c, now);
	if (f->error != OK) {
		*ret_why = f->error == ERR_FULL ? "the server opened no channel for SFTP" :
						  "the server offers no file transfer (SFTP)";
		return f->error;
	}
	if (!f->started)
		return ERR_AGAIN;
	*ret_why = f->client.message;
	if (f->client.error != OK)
		return f->client.error;
	return f->client.ready ? OK : ERR_AGAIN;
}

static bool write_out(struct ssh_conn *c, struct ssh_fs *f)
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
			sftp_client_fail(&f->client, ERR_RESET, "the server ended its SFTP");
		break;
	}
	return moved;
}

bool ssh_fs_step(struct ssh_conn *c, nsec_t now)
{
	struct ssh_fs *f = c->fs;
	bool moved;

	if (!f || f->error != OK || c->state != SSH_READY)
		return false;
	if (!f->started)
		step_open(c, now);
	if (!f->started || f->client.error != OK)
		return false;
	moved = write_out(c, f);
	moved |= read_in(c, f, now);
	/* Answers make new requests. */
	moved |= write_out(c, f);
	sftp_client_expire(&f->client, now);
	c->hungry |= sftp_client_pending(&f->client) > 0 || !f->client.ready;
	return moved;
}
