/*
 * A session between a command and the SSH worker, from both ends: the bytes as what a worker says to the command, and as what
 * a command says to the worker before it has a connection.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "operator/session_client.h"
#include "ssh/job_internal.h"
#include "ssh/setup.h"
#include "test/fuzz/fuzz.h"

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	ASSERT(type == SSH_F_STDOUT || type == SSH_F_STDERR || (type == SSH_F_STDOUT_EOF && data.len == 0));
	*(size_t *)ctx += data.len;
	return data.len == 0 || data.p[0] != 0xee;
}

static int pair_with(const uint8_t *data, size_t size)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		abort();
	if (size > 0 && send(fds[1], data, size, 0) != (ssize_t)size)
		abort();
	close(fds[1]);
	return fds[0];
}

static void as_command(const uint8_t *data, size_t size)
{
	struct session s;
	size_t got = 0;

	session_init(&s, pair_with(data, size));
	for (int i = 0; i < 100 && !s.over; i++)
		session_pump(&s, on_data, &got);
	ASSERT(s.over && got <= size);
	ASSERT(strnlen(s.message, sizeof(s.message)) < sizeof(s.message));
	ASSERT(s.exit_status >= 0 || s.exit_signal[0] || s.error != OK || size > 0);
	(void)session_ecode(&s);
	session_fini(&s);
}

static bool take(void *ctx, uint32_t session)
{
	*(uint32_t *)ctx = session;
	return true;
}

static void as_worker(const uint8_t *data, size_t size)
{
	const struct ssh_setup setup = { .file_size_max = 1 << 20, .list_max = 1000, .root = { size & 1 ? '/' : '\0', 'r', '\0' } };
	uint32_t taken = 0;
	const struct ssh_taker taker = { take, &taken };
	struct ssh_job *j = ssh_job_new(pair_with(data, size), 7, &setup, &taker);

	if (!j)
		abort();
	ssh_job_step(j, 0);
	/* What waits for a connection has nothing taken out of its socket, until it begins. */
	ASSERT(taken == 7 || ((j->state == JOB_WAIT_CONN || j->in_eof) && !j->arg && ssh_buf_used(&j->in) == 0));
	if (j->state == JOB_WAIT_CONN)
		ASSERT(!ssh_job_begin(j, 0) || j->arg);
	for (int i = 0; i < 100 && j->state != JOB_DONE; i++)
		ssh_job_step(j, i * NSEC_PER_SEC);
	ASSERT(j->state == JOB_DONE);
	ssh_job_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_quiet();
	if (size > 32768)
		return 0;
	as_command(data, size);
	as_worker(data, size);
	return 0;
}
