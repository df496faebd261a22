/*
 * agent/secret_service.c - secrets in the desktop's Secret Service (GNOME Keyring, KWallet), through libsecret.
 *
 * The library and all that it brings are loaded in a child process, which hands the secret over a pipe and ends: the agent
 * stays small, and a service that waits for somebody to type a password is left after 5 s. Where the library or the
 * session bus is missing (servers, containers, the static build) the answer is ERR_UNSUPPORTED.
 *
 * The few functions used are declared here by their documented prototypes.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/keyring.h"
#include "base/dynlib.h"
#include "os/loop.h"
#include "os/task.h"

#define PATIENCE_MS 5000
#define LABEL "Nefia agent"

/* What the child says first. */
enum answer { ANSWER_OK = 'o', ANSWER_NOT_FOUND = 'n', ANSWER_UNSUPPORTED = 'u' };

struct schema {
	const char *name;
	int flags;
	struct {
		const char *name;
		int type; /* 0 = string */
	} attributes[32];
	int reserved;
	void *reserved_pointers[7];
};

static const struct schema schema = { "ai.nefia.agent", 0, { { "item", 0 }, { NULL, 0 } }, 0, { NULL } };

struct lib {
	char *(*lookup)(const struct schema *s, void *cancel, void **error, ...);
	int (*store)(const struct schema *s, const char *collection, const char *label, const char *password, void *cancel,
		     void **error, ...);
};

static bool load(struct lib *lib)
{
	void *so = getenv("DBUS_SESSION_BUS_ADDRESS") ? dynlib_open("libsecret-1.so.0") : NULL;

	if (!so)
		return false;
	*(void **)&lib->lookup = dynlib_find(so, "secret_password_lookup_sync");
	*(void **)&lib->store = dynlib_find(so, "secret_password_store_sync");
	return lib->lookup && lib->store;
}

/* ---- in the child ---- */

static void say(int fd, enum answer a, const char *secret)
{
	char text[AGENT_SECRET_MAX + 1];
	size_t len = secret ? strlen(secret) : 0;

	if (len >= AGENT_SECRET_MAX)
		len = 0;
	text[0] = (char)a;
	memcpy(text + 1, secret ? secret : "", len);
	if (write(fd, text, len + 1) < 0)
		_exit(1);
}

NORETURN static void child(int fd, const char *item, const char *to_store)
{
	struct lib lib;
	void *error = NULL;
	char *secret;

	alarm(PATIENCE_MS / 1000 + 1);
	if (!load(&lib)) {
		say(fd, ANSWER_UNSUPPORTED, NULL);
	} else if (to_store) {
		int done = lib.store(&schema, NULL, LABEL, to_store, NULL, &error, "item", item, NULL);

		say(fd, done && !error ? ANSWER_OK : ANSWER_UNSUPPORTED, NULL);
	} else {
		secret = lib.lookup(&schema, NULL, &error, "item", item, NULL);
		say(fd, secret ? ANSWER_OK : error ? ANSWER_UNSUPPORTED : ANSWER_NOT_FOUND, secret);
	}
	_exit(0);
}

/* ---- in the agent ---- */

/* All that the child writes, until it ends or time is up. Return: how many bytes. */
static size_t listen_to(int fd, char *buf, size_t size)
{
	nsec_t end = os_now() + PATIENCE_MS * NSEC_PER_MSEC;
	size_t len = 0;

	while (len < size && os_now() < end) {
		struct pollfd p = { fd, POLLIN, 0 };
		ssize_t n;

		if (poll(&p, 1, (int)((end - os_now()) / NSEC_PER_MSEC) + 1) <= 0)
			continue;
		n = read(fd, buf + len, size - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	return len;
}

static enum err ask(const char *item, const char *to_store, char ret[AGENT_SECRET_MAX])
{
	char buf[AGENT_SECRET_MAX + 1];
	int fds[2];
	size_t len;
	pid_t pid;
	enum err e = ERR_UNSUPPORTED;

	if (pipe(fds) != 0)
		return err_from_errno(errno);
	pid = os_fork_quiet();
	if (pid == 0) {
		close(fds[0]);
		child(fds[1], item, to_store);
	}
	close(fds[1]);
	len = pid > 0 ? listen_to(fds[0], buf, sizeof(buf) - 1) : 0;
	close(fds[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	if (len > 0 && buf[0] == ANSWER_NOT_FOUND)
		e = ERR_NOT_FOUND;
	if (len > 0 && buf[0] == ANSWER_OK) {
		e = OK;
		if (ret)
			memcpy(ret, buf + 1, len - 1);
		if (ret)
			ret[len - 1] = '\0';
	}
	explicit_bzero(buf, sizeof(buf));
	return e;
}

enum err agent_secret_service_get(const char *item, char ret[AGENT_SECRET_MAX])
{
	return ask(item, NULL, ret);
}

enum err agent_secret_service_set(const char *item, const char *secret)
{
	return ask(item, secret, NULL);
}
