/* A session with files, from the command's end: the bytes as what a worker says of four operations that run. */
#include "operator/fs_client.h"

#include <sys/socket.h>

#include "base/text.h"
#include "test/fuzz/fuzz.h"

struct seen {
	unsigned n_done;
	size_t n_bytes;
};

static void on_event(void *ctx, const struct fs_event *ev)
{
	struct seen *s = ctx;

	ASSERT(s->n_done == 0); /* nothing comes after the end */
	if (ev->type == SSH_F_OP_DONE) {
		s->n_done++;
		ASSERT(ev->error < ERR_N && ev->message);
		for (const char *p = ev->message; *p;)
			ASSERT(!text_is_control(text_next(p, &p)));
		return;
	}
	if (ev->type == SSH_F_OP_BYTES || ev->type == SSH_F_OP_ENTRY)
		for (size_t i = 0; i < ev->data.len; i++)
			s->n_bytes += ev->data.p[i] & 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum ssh_op ops[] = { SSH_OP_GET, SSH_OP_FIND, SSH_OP_DF, SSH_OP_REALPATH };
	struct seen seen[ARRAY_SIZE(ops)] = { 0 };
	struct fs_client fc = { .s = { .fd = -1 } };
	int fds[2];

	fuzz_quiet();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		abort();
	ASSERT(fs_client_begin(&fc, fds[0]) == OK);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		ASSERT(fs_client_start(&fc, &(struct fs_request){ .op = ops[i], .path = "a" }, on_event, &seen[i]) == (int)i);
	if (size > 0 && send(fds[1], data, size, 0) != (ssize_t)size)
		abort();
	shutdown(fds[1], SHUT_WR);
	for (int i = 0; i < 100 && fc.n_running > 0; i++)
		fs_client_turn(&fc, 0);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		ASSERT(seen[i].n_done == 1);
	fs_client_close(&fc);
	close(fds[1]);
	return 0;
}
