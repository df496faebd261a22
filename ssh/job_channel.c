/*
 * ssh/job_channel.c - a channel that runs: bytes both ways, signals, and how it ended.
 *
 * Nothing is read from the channel while what the command has not taken is long, and nothing written to it while the
 * connection's queue is.
 */
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "base/text.h"
#include "ssh/job_internal.h"

static void channel_write(struct ssh_job *j)
{
	while (ssh_buf_used(&j->data) > 0 && ssh_buf_used(&j->conn->out) < CONN_OUT_MAX) {
		size_t len = MIN(ssh_buf_used(&j->data), (size_t)JOB_CHUNK);
		ssize_t n = libssh2_channel_write_ex(j->channel, 0, (char *)j->data.p + j->data.off, len);

		if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
			return;
		if (n < 0) {
			/* The command closed its input: the rest has no reader. */
			ssh_buf_drop(&j->data, ssh_buf_used(&j->data));
			return;
		}
		ssh_buf_drop(&j->data, (size_t)n);
	}
	if (j->data_eof && !j->data_eof_sent && ssh_buf_used(&j->data) == 0 &&
	    libssh2_channel_send_eof(j->channel) != LIBSSH2_ERROR_EAGAIN)
		j->data_eof_sent = true;
}

static bool channel_read(struct ssh_job *j, int stream, enum ssh_frame type)
{
	char buf[JOB_CHUNK];
	ssize_t n;

	while (ssh_buf_used(&j->out) < ssh_job_queue_max(j)) {
		n = libssh2_channel_read_ex(j->channel, stream, buf, sizeof(buf));
		if (n <= 0)
			return n == LIBSSH2_ERROR_EAGAIN || n == 0;
		ssh_job_say(j, type, (struct bytes){ (uint8_t *)buf, (size_t)n }, job_nothing);
	}
	return true;
}

static void send_signal(struct ssh_job *j)
{
	if (j->signal[0] &&
	    libssh2_channel_signal_ex(j->channel, j->signal, strlen(j->signal)) != LIBSSH2_ERROR_EAGAIN)
		j->signal[0] = '\0';
}

void ssh_job_run_channel(struct ssh_job *j)
{
	if (!channel_read(j, 0, SSH_F_STDOUT) || !channel_read(j, 1, SSH_F_STDERR)) {
		ssh_job_fail_by_library(j, "reading from the server failed");
		return;
	}
	send_signal(j);
	channel_write(j);
	if (ssh_buf_used(&j->out) >= ssh_job_queue_max(j))
		return;
	if (libssh2_channel_eof(j->channel) != 1) {
		if (j->conn->eof)
			ssh_job_fail(j, ERR_RESET, "the server closed the connection");
		return;
	}
	if (!j->out_eof_told) {
		j->out_eof_told = true;
		ssh_job_say(j, SSH_F_STDOUT_EOF, job_nothing, job_nothing);
	}
	/* A direct connection may still carry bytes the other way. */
	if (j->kind != SSH_F_DIRECT || j->data_eof_sent || j->conn->eof)
		j->state = JOB_FINISH;
}

static void say_signal(struct ssh_job *j, const char *name)
{
	uint8_t len[4];
	char text[32];

	snprintf(text, sizeof(text), "%s", name);
	text_clean(text);
	put_le32(len, (uint32_t)strlen(text));
	ssh_job_say(j, SSH_F_EXIT_SIGNAL, (struct bytes){ len, 4 }, (struct bytes){ (uint8_t *)text, strlen(text) });
}

void ssh_job_finish_channel(struct ssh_job *j)
{
	bool has_status = j->kind == SSH_F_EXEC || j->kind == SSH_F_SHELL;
	char *signal_name = NULL;
	int status = 0;

	/* The exit status may come after the end of the output: wait for the close. */
	if (has_status && !j->conn->eof &&
	    libssh2_channel_wait_closed(j->channel) == LIBSSH2_ERROR_EAGAIN) {
		j->conn->hungry = true;
		return;
	}
	if (has_status) {
		status = libssh2_channel_get_exit_status(j->channel);
		libssh2_channel_get_exit_signal(j->channel, &signal_name, NULL, NULL, NULL, NULL, NULL);
	}
	if (signal_name) {
		say_signal(j, signal_name);
		libssh2_free(j->conn->session, signal_name);
	} else if (status < 0) {
		/* See third_party/libssh2-edit.sh: none came. */
		ssh_job_fail(j, ERR_RESET, "the server closed the channel without an exit status: how the command ended is unknown");
	} else {
		ssh_job_say_u32(j, SSH_F_EXIT, (uint32_t)status);
	}
	j->state = JOB_CLOSE;
}

void ssh_job_hang_up(struct ssh_job *j)
{
	/* It has vanished (kill -9) while the command runs: as at a terminal's end, or it would run on for nobody. */
	if (j->kind == SSH_F_EXEC && j->in_eof && !j->want_close && !j->signal[0] && libssh2_channel_eof(j->channel) != 1)
		snprintf(j->signal, sizeof(j->signal), "HUP");
	send_signal(j); /* or one that came together with the end */
}
