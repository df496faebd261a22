/*
 * operator/askpass.c - see askpass.h.
 *
 * The terminal is /dev/tty, whatever standard input and output are. Its echo is off for the time of one question, and comes
 * back however that ends: signals are held by a handler of ours and raised again afterwards; after a suspension the question
 * is put once more. Fifty hosts that want the same key ask us fifty times, and the person once.
 */
#include "operator/askpass.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/text.h"

#define KEYS_MAX 20

static const int held[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
static volatile sig_atomic_t caught;
static bool forbidden;

/* What the person said so far. */
static struct said {
	char path[SSH_IDENT_PATH_MAX + 1];
	char text[SSH_PASSPHRASE_MAX + 1];
	unsigned n_asked;
	bool is_refused;
} said[KEYS_MAX];

void askpass_forbid(void)
{
	forbidden = true;
}

static int open_tty(void)
{
	return forbidden ? -1 : open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
}

bool askpass_possible(void)
{
	int fd = open_tty();

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void on_held(int signum)
{
	caught = signum;
}

static void hold(struct sigaction old[ARRAY_SIZE(held)])
{
	struct sigaction sa = { .sa_handler = on_held }; /* without SA_RESTART: it ends the wait */

	caught = 0;
	for (size_t i = 0; i < ARRAY_SIZE(held); i++) {
		sigaction(held[i], NULL, &old[i]);
		if (old[i].sa_handler != SIG_IGN)
			sigaction(held[i], &sa, NULL);
	}
}

static void let_go(const struct sigaction old[ARRAY_SIZE(held)])
{
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		sigaction(held[i], &old[i], NULL);
}

/* A line into @ret, as much of it as there is room for. False: a signal, or the end. */
static bool read_line(int fd, char *ret, size_t size)
{
	struct pollfd p = { fd, POLLIN, 0 };
	size_t len = 0;
	char c;

	while (!caught) {
		ssize_t n = poll(&p, 1, -1) > 0 ? read(fd, &c, 1) : -1;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		if (c == '\n' || c == '\r') {
			ret[len] = '\0';
			return true;
		}
		if (len < size - 1)
			ret[len++] = c;
	}
	return false;
}

static bool ask_once(int fd, const char *prompt, char *ret, size_t size)
{
	struct sigaction before[ARRAY_SIZE(held)];
	struct termios old, quiet;
	bool ok = false;

	if (tcgetattr(fd, &old) != 0)
		return false;
	hold(before);
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	if (tcsetattr(fd, TCSAFLUSH, &quiet) == 0) {
		if (write(fd, prompt, strlen(prompt)) > 0)
			ok = read_line(fd, ret, size);
		tcsetattr(fd, TCSAFLUSH, &old);
		ok = write(fd, "\n", 1) == 1 && ok;
	}
	let_go(before);
	if (!ok)
		explicit_bzero(ret, size);
	return ok;
}

bool askpass_read(const char *prompt, char *ret, size_t size)
{
	int fd = open_tty(), signum = 0;
	bool ok;

	if (fd < 0)
		return false;
	do {
		ok = ask_once(fd, prompt, ret, size);
		signum = caught;
		caught = 0;
		if (signum)
			raise(signum);
	} while (!ok && signum == SIGTSTP);
	close(fd);
	return ok;
}

/* ---- keys ---- */

static void forget(void)
{
	explicit_bzero(said, sizeof(said));
}

static struct said *find(const char *path)
{
	for (size_t i = 0; i < KEYS_MAX; i++) {
		if (!said[i].path[0]) {
			if (i == 0)
				atexit(forget);
			snprintf(said[i].path, sizeof(said[i].path), "%s", path);
		}
		if (strcmp(said[i].path, path) == 0)
			return &said[i];
	}
	return NULL;
}

const char *askpass_key(const char *path, unsigned n_wrong)
{
	struct said *s = find(path);
	char prompt[400];

	if (!s || s->is_refused)
		return NULL;
	if (s->n_asked > n_wrong)
		return s->text;
	snprintf(prompt, sizeof(prompt), "%sPassphrase for key '%s': ", n_wrong ? "Wrong passphrase. " : "", path);
	/* It comes from the worker. */
	text_clean(prompt);
	s->n_asked++;
	s->is_refused = !askpass_read(prompt, s->text, sizeof(s->text)) || !s->text[0];
	return s->is_refused ? NULL : s->text;
}
