/*
 * lib/exec.c - commands on a host: a process to read from and write to, and one call for the whole.
 *
 * A process is a session of the host's SSH worker (session.c). Its deadline is told to the worker too, which ends the command
 * there; ours comes a little later, so that the worker's word is heard.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "lib/internal.h"
#include "ssh/frame.h"

#define OUTPUT_MAX ((size_t)64 << 20)
#define WORD_OF_WORKER (2 * NSEC_PER_SEC)
#define CHUNK 65536

struct nefia_process {
	struct lib_session *session;
	nsec_t deadline; /* of the whole; NSEC_NEVER: none */
};

static nsec_t sooner(const struct nefia_process *p, int timeout_ms)
{
	nsec_t deadline = lib_deadline(timeout_ms);

	return deadline ? MIN(deadline, p->deadline) : 0;
}

static int start(struct nefia *n, const char *host, const struct nefia_exec_options *opt, struct nefia_process **ret)
{
	struct nefia_process *p = calloc(1, sizeof(*p));
	struct lib_session_options so = { .kind = SSH_F_EXEC, .arg = opt->command,
					  .number = opt->timeout_ms > 0 ? (uint32_t)opt->timeout_ms : 0 };
	int r;

	if (!p)
		return lib_fail(ERR_NOMEM, "out of memory");
	p->deadline = opt->timeout_ms > 0 ? nsec_add(lib_deadline(opt->timeout_ms), WORD_OF_WORKER) : NSEC_NEVER;
	r = lib_session_open(n, host, &so, p->deadline, &p->session);
	if (r != NEFIA_OK) {
		free(p);
		return r;
	}
	*ret = p;
	return NEFIA_OK;
}

int nefia_exec_start(struct nefia *n, const char *host, const struct nefia_exec_options *opt, struct nefia_process **ret)
{
	struct nefia_exec_options o;
	int r = opt ? lib_sized(opt, opt->size, &o, sizeof(o)) : lib_fail(ERR_INVALID, "no command is given");

	if (r == NEFIA_OK && (!host || !o.command || !ret))
		r = lib_fail(ERR_INVALID, "a host and a command are needed");
	if (r == NEFIA_OK)
		r = lib_enter(n);
	if (r != NEFIA_OK)
		return r;
	r = start(n, host, &o, ret);
	lib_leave(n);
	return r;
}

int nefia_process_fd(const struct nefia_process *p)
{
	return lib_session_poll_fd(p->session);
}

ssize_t nefia_process_read(struct nefia_process *p, int *ret_which, void *buf, size_t len, int timeout_ms)
{
	return lib_session_read(p->session, ret_which, buf, len, sooner(p, timeout_ms));
}

ssize_t nefia_process_write(struct nefia_process *p, const void *buf, size_t len, int timeout_ms)
{
	return lib_session_write(p->session, buf, len, sooner(p, timeout_ms));
}

int nefia_process_end_input(struct nefia_process *p)
{
	return lib_session_end_input(p->session);
}

int nefia_process_signal(struct nefia_process *p, const char *name)
{
	return name ? lib_session_signal(p->session, name) : lib_fail(ERR_INVALID, "no signal is given");
}

int nefia_process_status(struct nefia_process *p, int *ret_status, char *ret_signal)
{
	return lib_session_status(p->session, ret_status, ret_signal);
}

void nefia_process_free(struct nefia_process *p)
{
	if (!p)
		return;
	lib_session_free(p->session);
	free(p);
}

/* ---- the whole in one call ---- */

struct run {
	struct nefia_process *p;
	const uint8_t *input;
	size_t input_left, output_max;
	bool input_ended;
	struct ssh_buf out, err;
};

/* What there is room for; the end once. A command that reads no more is none of our business: its status is. */
static int feed(struct run *r)
{
	ssize_t n = 0;
	int e;

	if (r->input_ended)
		return NEFIA_OK;
	if (r->input_left > 0)
		n = nefia_process_write(r->p, r->input, MIN(r->input_left, (size_t)CHUNK), 0);
	if (n > 0) {
		r->input += n;
		r->input_left -= (size_t)n;
	}
	if (n == NEFIA_ERR_CLOSED)
		r->input_ended = true;
	if (r->input_left > 0 || r->input_ended)
		return n < 0 && n != NEFIA_ERR_AGAIN && n != NEFIA_ERR_CLOSED ? (int)n : NEFIA_OK;
	r->input_ended = true;
	e = nefia_process_end_input(r->p);
	return e == NEFIA_ERR_CLOSED ? NEFIA_OK : e;
}

static int collect(struct run *r, const void *p, size_t len, int which)
{
	struct ssh_buf *b = which == 2 ? &r->err : &r->out;

	if (ssh_buf_used(&r->out) + ssh_buf_used(&r->err) + len > r->output_max)
		return lib_fail(ERR_FULL, "the command wrote more than %zu bytes", r->output_max);
	return ssh_buf_add(b, p, len) == OK ? NEFIA_OK : lib_fail(ERR_NOMEM, "out of memory");
}

static int run_to_end(struct run *r, uint8_t *chunk)
{
	for (;;) {
		/* While input is left nothing is waited for here, but below, for room as well as for bytes. */
		int which, e = feed(r);
		ssize_t n = e == NEFIA_OK ? nefia_process_read(r->p, &which, chunk, CHUNK, r->input_ended ? NEFIA_FOREVER : 0) : e;

		if (n == NEFIA_ERR_AGAIN) {
			e = lib_session_wait(r->p->session, r->p->deadline);
			if (e != NEFIA_OK)
				return e;
		} else if (n < 0) {
			return (int)n;
		} else if (n == 0) {
			return NEFIA_OK;
		} else {
			e = collect(r, chunk, (size_t)n, which);
			if (e != NEFIA_OK)
				return e;
		}
	}
}

/* The bytes with a NUL after them, the caller's. */
static int give(struct ssh_buf *b, char **ret, size_t *ret_len)
{
	size_t len = ssh_buf_used(b);
	char *text = malloc(len + 1);

	if (!text)
		return lib_fail(ERR_NOMEM, "out of memory");
	if (len > 0)
		memcpy(text, b->p + b->off, len);
	text[len] = '\0';
	*ret = text;
	*ret_len = len;
	return NEFIA_OK;
}

static int finish(struct run *r, struct nefia_exec_result *ret)
{
	struct nefia_exec_result res = NEFIA_EXEC_RESULT_INIT;
	int e = nefia_process_status(r->p, &res.exit_status, res.exit_signal);

	if (e == NEFIA_OK)
		e = give(&r->out, &res.out, &res.out_len);
	if (e == NEFIA_OK)
		e = give(&r->err, &res.err, &res.err_len);
	if (e != NEFIA_OK) {
		free(res.out);
		return e;
	}
	*ret = res;
	return NEFIA_OK;
}

int nefia_exec(struct nefia *n, const char *host, const struct nefia_exec_options *opt, struct nefia_exec_result *ret)
{
	struct run r = { 0 };
	uint8_t *chunk;
	int e;

	if (!ret || ret->size < sizeof(*ret))
		return lib_fail(ERR_INVALID, "the result's size is too small: use NEFIA_EXEC_RESULT_INIT");
	e = nefia_exec_start(n, host, opt, &r.p);
	if (e != NEFIA_OK)
		return e;
	r.input = opt->input;
	r.input_left = opt->input ? opt->input_len : 0;
	r.output_max = opt->output_max ? opt->output_max : OUTPUT_MAX;
	chunk = malloc(CHUNK);
	e = chunk ? run_to_end(&r, chunk) : lib_fail(ERR_NOMEM, "out of memory");
	if (e == NEFIA_OK)
		e = finish(&r, ret);
	ssh_buf_fini(&r.out);
	ssh_buf_fini(&r.err);
	free(chunk);
	nefia_process_free(r.p);
	return e;
}

void nefia_exec_free(struct nefia_exec_result *r)
{
	if (!r)
		return;
	free(r->out);
	free(r->err);
	r->out = r->err = NULL;
	r->out_len = r->err_len = 0;
}
