/*
 * A hostile SSH server: the input is what it sends from the first byte on, to our connection with libssh2 under it, in pieces
 * of the size that the first octet says. The client fails with a message; and only a first packet that holds it offers
 * strict key exchange.
 */
#include <sys/socket.h>

#include "os/loop.h"
#include "ssh/conn.h"
#include "ssh/terrapin.h"
#include "test/fuzz/fuzz.h"

/* libssh2 1.11.1 forgets OpenSSL objects, 600 bytes, when an exchange fails half way; the worker that it is in ends soon. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void); /* the runtime looks for it */
const char *__lsan_default_suppressions(void)
{
	return "leak:libcrypto.so\n";
}

static void serve(const uint8_t *data, size_t size, size_t step)
{
	nsec_t now = os_now();
	static struct ssh_setup setup = { .host = "web1", .user = "root" };
	struct ssh_conn *c = ssh_conn_new(&setup, 1, now, data[0] & 1);
	int fds[2];

	if (!c || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		abort();
	ssh_conn_start(c, fds[0]);
	for (size_t off = 0; off < size && c->state != SSH_DEAD; off += step) {
		if (send(fds[1], data + off, MIN(step, size - off), 0) < 0)
			abort();
		ssh_conn_step(c, now);
		ssh_conn_verdict(c, OK, "");
	}
	shutdown(fds[1], SHUT_WR);
	for (int i = 0; i < 8 && c->state != SSH_DEAD; i++) {
		ssh_conn_step(c, i < 7 ? now : now + 100 * NSEC_PER_SEC);
		ssh_conn_verdict(c, OK, "");
	}
	ASSERT(c->state == SSH_DEAD && c->message[0]);
	ssh_conn_free(c);
	close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char name[] = "kex-strict-s-v00@openssh.com";
	char banner[256] = "";
	static bool ready;

	fuzz_quiet();
	if (!ready && libssh2_init(0) != 0)
		abort();
	ready = true;
	if (size < 2)
		return 0;
	for (size_t i = 1; i < MIN(size, sizeof(banner)) && data[i] >= ' '; i++)
		banner[i - 1] = (char)data[i];
	if (terrapin_strict_kex((struct bytes){ data + 1, size - 1 }, banner))
		ASSERT(memmem(data + 1, size - 1, name, sizeof(name) - 1));
	serve(data + 1, size - 1, (size_t)data[0] * 16 + 1);
	return 0;
}
