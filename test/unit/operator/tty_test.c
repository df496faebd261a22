/* Escape sequences, however the keys are cut into reads; terminal modes as RFC 4254 has them; raw and back on a pty. */
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "operator/tty.h"
#include "test/lib/testing.h"

/* What goes to the remote side of @keys, with E, S, H in brackets for what is ours; @cut bytes a read. */
static void typed(const char *keys, int c, size_t cut, char *ret, size_t size)
{
	static const char *const names[] = { "", "[E]", "[S]", "[H]" };
	struct tty_escapes e;
	size_t len = strlen(keys), n = 0;

	tty_escapes_init(&e, c);
	while (len > 0) {
		size_t take = len < cut ? len : cut, left = take;

		while (left > 0) {
			uint8_t out[128];
			size_t used, got;
			enum tty_escape what = tty_escapes_take(&e, (const uint8_t *)keys, left, &used, out, &got);

			assert_true(used > 0 && used <= left && got <= used + 1);
			n += (size_t)snprintf(ret + n, size - n, "%.*s%s", (int)got, (const char *)out, names[what]);
			keys += used;
			left -= used;
			len -= used;
		}
	}
}

static void escapes_are_found_however_they_are_cut(void **state)
{
	static const struct {
		const char *keys, *want;
		int c;
	} cases[] = {
		{ "ls\r", "ls\r", '~' },
		{ "~.", "[E]", '~' },
		{ "ls ~.\r", "ls ~.\r", '~' },
		{ "ls\r~.", "ls\r[E]", '~' },
		{ "ls\n~?~.", "ls\n[H][E]", '~' },
		{ "~~.\r", "~.\r", '~' },
		{ "~x\r~\x1a", "~x\r[S]", '~' },
		{ "~", "", '~' },
		{ "a~~\r", "a~~\r", '~' },
		{ "~.", "~.", -1 },
		{ "\r%.", "\r[E]", '%' },
		{ "\r~.", "\r~.", '%' },
		{ "~\r~.", "~\r[E]", '~' },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t cut = 1; cut < 8; cut++) {
			char got[128] = "";

			typed(cases[i].keys, cases[i].c, cut, got, sizeof(got));
			assert_string_equal(got, cases[i].want);
		}
	}
}

static int master, slave;

static int open_pty(void **state)
{
	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	return 0;
}

static int close_pty(void **state)
{
	close(master);
	close(slave);
	return 0;
}

static void modes_are_encoded(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct ssh_buf b = { 0 };
		bool erase = false, echo = false, end;
		struct termios t;

		dup2(slave, STDIN_FILENO);
		tcgetattr(STDIN_FILENO, &t);
		t.c_cc[VERASE] = 8;
		t.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(STDIN_FILENO, TCSANOW, &t);
		if (tty_modes(&b) != OK)
			_exit(1);
		for (size_t i = 0; i + 5 <= b.len; i += 5) {
			erase |= b.p[i] == 3 && b.p[i + 4] == 8;
			echo |= b.p[i] == 53 && b.p[i + 4] == 0;
		}
		end = b.len % 5 == 1 && b.p[b.len - 1] == 0;
		_exit(erase && echo && end ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

/* As under nohup. */
static void what_was_ignored_stays_ignored(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct sigaction hup, term;

		signal(SIGHUP, SIG_IGN);
		dup2(slave, STDIN_FILENO);
		if (tty_raw() != OK || sigaction(SIGHUP, NULL, &hup) != 0 || sigaction(SIGTERM, NULL, &term) != 0)
			_exit(1);
		tty_restore();
		_exit(hup.sa_handler == SIG_IGN && term.sa_handler != SIG_DFL ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

/* A process that has it raw and dies by @signum (0: exits) leaves it as it was. */
static void dies_by(int signum)
{
	struct termios before, raw, after;
	int status, ready[2];
	char c;
	pid_t pid;

	assert_int_equal(tcgetattr(slave, &before), 0);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		dup2(slave, STDIN_FILENO);
		if (tty_raw() != OK || write(ready[1], "r", 1) != 1)
			_exit(1);

		for (int i = 0; signum && i < 500; i++)
			usleep(10000);
		exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	if (signum) {
		assert_int_equal(tcgetattr(slave, &raw), 0);
		assert_int_equal(raw.c_lflag & (ICANON | ECHO | ISIG), 0);
		kill(pid, signum);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(signum ? WTERMSIG(status) : WEXITSTATUS(status), signum);
	assert_int_equal(tcgetattr(slave, &after), 0);
	assert_int_equal(before.c_iflag, after.c_iflag);
	assert_int_equal(before.c_oflag, after.c_oflag);
	assert_int_equal(before.c_lflag, after.c_lflag);
	assert_memory_equal(before.c_cc, after.c_cc, sizeof(before.c_cc));
	close(ready[0]);
	close(ready[1]);
}

static void the_terminal_is_as_it_was(void **state)
{
	static const int signals[] = { 0, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGSEGV, SIGABRT };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		dies_by(signals[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(escapes_are_found_however_they_are_cut),
		cmocka_unit_test_setup_teardown(modes_are_encoded, open_pty, close_pty),
		cmocka_unit_test_setup_teardown(what_was_ignored_stays_ignored, open_pty, close_pty),
		cmocka_unit_test_setup_teardown(the_terminal_is_as_it_was, open_pty, close_pty),
	};

	return RUN_TESTS(tests);
}
