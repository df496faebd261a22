/*
 * ssh/shell.c - a terminal at the host.
 *
 * The requests are sent one after the other, because each may want to wait. How far we are is kept in n_requested: first the
 * variables, then the terminal, then the shell. The frame is read anew each time; what it has was checked by the reader.
 */
#include "ssh/shell.h"

#include <string.h>

#define N_ENV_MAX 64

struct request {
	bool has_tty;
	struct bytes term, modes;
	uint32_t columns, rows, n_env;
};

static struct request read_request(struct ssh_reader *r)
{
	struct request q;

	q.has_tty = ssh_read_u32(r) != 0;
	q.term = ssh_read_string(r);
	q.columns = ssh_read_u32(r);
	q.rows = ssh_read_u32(r);
	q.modes = ssh_read_string(r);
	q.n_env = ssh_read_u32(r);
	return q;
}

/* The variable number @n; the ones before it are skipped. */
static int send_variable(struct ssh_job *j, struct ssh_reader *r, uint32_t n)
{
	struct bytes name, value;
	int e;

	do {
		name = ssh_read_string(r);
		value = ssh_read_string(r);
	} while (n-- > 0 && !r->bad);
	if (r->bad)
		return LIBSSH2_ERROR_INVAL;
	e = libssh2_channel_setenv_ex(j->channel, (const char *)name.p, (unsigned)name.len, (const char *)value.p,
				      (unsigned)value.len);
	return e == LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED ? 0 : e;
}

static int send_terminal(struct ssh_job *j, const struct request *q)
{
	return libssh2_channel_request_pty_ex(j->channel, (const char *)q->term.p, (unsigned)q->term.len,
					      (const char *)q->modes.p, (unsigned)q->modes.len, (int)q->columns,
					      (int)q->rows, 0, 0);
}

int ssh_shell_start(struct ssh_job *j)
{
	for (;;) {
		struct ssh_reader r = { j->request.p + j->request.off, ssh_buf_used(&j->request), false };
		struct request q = read_request(&r);
		int e;

		if (r.bad || q.n_env > N_ENV_MAX)
			return LIBSSH2_ERROR_INVAL;
		if (j->n_requested < q.n_env)
			e = send_variable(j, &r, j->n_requested);
		else if (j->n_requested == q.n_env)
			e = q.has_tty ? send_terminal(j, &q) : 0;
		else
			return libssh2_channel_process_startup(j->channel, j->arg[0] ? "exec" : "shell",
							       j->arg[0] ? 4 : 5, j->arg[0] ? j->arg : NULL,
							       (unsigned)strlen(j->arg));
		if (e != 0)
			return e;
		j->n_requested++;
	}
}

void ssh_shell_resize(struct ssh_job *j, struct bytes body)
{
	struct ssh_reader r = { body.p, body.len, false };
	uint32_t columns = ssh_read_u32(&r), rows = ssh_read_u32(&r);

	/* Our send hook takes all of it, so this does not wait. One that comes before the terminal stands is not needed. */
	if (!r.bad && j->channel && j->state == JOB_RUN && j->kind == SSH_F_SHELL)
		libssh2_channel_request_pty_size_ex(j->channel, (int)columns, (int)rows, 0, 0);
}
