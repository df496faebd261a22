/*
 * operator/cmd_shell.c - `nefia shell HOST [COMMAND...]`: a terminal at a host, as ssh has it.
 *
 * With a terminal on standard input, the host gives one too: ours is raw then, and each key goes there. Without, or with
 * --no-tty, it is a plain stream. A new size is told to the host, and after SIGCONT the terminal is made raw again; both
 * signals reach the loop by a pipe. Every way out restores the terminal, deadly signals in their handlers (tty.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "operator/askpass.h"
#include "operator/exec.h"
#include "operator/hub_client.h"
#include "operator/session_client.h"
#include "operator/tty.h"
#include "os/file.h"

#define ATTACH_MAX (20 * NSEC_PER_SEC)
#define N_ENV_MAX 32

extern char **environ;

struct shell {
	struct cli *cli;
	const char *host;
	struct session s;
	struct tty_escapes escapes;
	bool has_tty, is_raw, input_over, left;
	enum err output_error;
};

struct shell_flags {
	bool tty, no_tty;
	int escape;
};

static const char *option_escape(const char *value, void *field)
{
	int *c = field;

	*c = strcmp(value, "none") == 0 ? -1 : (unsigned char)value[0];
	return *c == -1 || (value[0] && !value[1]) ? NULL : "one character, or none";
}

const struct cli_option shell_options[] = {
	{ "tty", 't', NULL, "a terminal there, although standard input is none", option_flag,
	  offsetof(struct shell_flags, tty) },
	{ "no-tty", 'T', NULL, "no terminal there", option_flag, offsetof(struct shell_flags, no_tty) },
	{ "escape", 'e', "CHAR", "begins escape sequences; ~ unless given, or none", option_escape,
	  offsetof(struct shell_flags, escape) },
	{ .name = NULL },
};

/* ---- signals ---- */

static int wake[2] = { -1, -1 };

static void on_signal(int signum)
{
	int saved = errno;
	char c = (char)signum;

	if (write(wake[1], &c, 1) < 0)
		errno = saved; /* full: the loop is on its way */
	errno = saved;
}

static bool catch_signals(void)
{
	static const int caught[] = { SIGWINCH, SIGCONT };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(caught); i++)
		sigaction(caught[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	return true;
}

static void send_size(struct shell *sh)
{
	uint8_t body[8];
	uint32_t columns, rows;

	tty_size(&columns, &rows);
	put_le32(body, columns);
	put_le32(body + 4, rows);
	if (sh->has_tty && session_send(&sh->s, SSH_F_WINDOW, body, sizeof(body)) != OK)
		sh->left = true;
}

static void make_raw(struct shell *sh)
{
	if (sh->has_tty && isatty(STDIN_FILENO))
		sh->is_raw = tty_raw() == OK;
}

static void take_signals(struct shell *sh)
{
	char c;

	while (read(wake[0], &c, 1) == 1) {
		if (c == SIGCONT && sh->s.ready)
			make_raw(sh);
		send_size(sh);
	}
}

/* ---- the session ---- */

static bool on_data(void *ctx, enum ssh_frame type, struct bytes data)
{
	struct shell *sh = ctx;

	sh->output_error = os_write_all(type == SSH_F_STDERR ? STDERR_FILENO : STDOUT_FILENO, data.p, data.len);
	return sh->output_error == OK;
}

static bool is_sent(const char *variable)
{
	return strncmp(variable, "LANG=", 5) == 0 || strncmp(variable, "LC_", 3) == 0;
}

static enum err put_environment(struct ssh_buf *b)
{
	uint32_t n = 0;
	enum err e;

	for (char **v = environ; *v; v++)
		n += n < N_ENV_MAX && is_sent(*v) && strchr(*v, '=');
	e = ssh_put_u32(b, n);
	for (char **v = environ; e == OK && *v && n > 0; v++) {
		const char *value = strchr(*v, '=');

		if (!value || !is_sent(*v))
			continue;
		e = ssh_put_string(b, *v, (size_t)(value - *v));
		if (e == OK)
			e = ssh_put_string(b, value + 1, strlen(value + 1));
		n--;
	}
	return e;
}

static enum err put_start(const struct shell *sh, const char *command, struct ssh_buf *b)
{
	const char *term = getenv("TERM");
	struct ssh_buf modes = { 0 };
	uint32_t columns, rows;
	enum err e = tty_modes(&modes);

	tty_size(&columns, &rows);
	term = term && *term && strlen(term) <= TTY_TERM_MAX ? term : "dumb";
	if (e == OK)
		e = ssh_put_u32(b, SSH_SESSION_VERSION);
	if (e == OK)
		e = ssh_put_string(b, command, strlen(command));
	if (e == OK)
		e = ssh_put_u32(b, sh->has_tty);
	if (e == OK)
		e = ssh_put_string(b, term, strlen(term));
	if (e == OK)
		e = ssh_put_u32(b, columns);
	if (e == OK)
		e = ssh_put_u32(b, rows);
	if (e == OK)
		e = ssh_put_string(b, modes.p + modes.off, ssh_buf_used(&modes));
	if (e == OK)
		e = put_environment(b);
	ssh_buf_fini(&modes);
	return e;
}

static enum err start(struct shell *sh, const char *command)
{
	struct ssh_buf b = { 0 };
	enum err e = put_start(sh, command, &b);

	if (e == OK)
		e = session_send(&sh->s, SSH_F_SHELL, b.p + b.off, ssh_buf_used(&b));
	ssh_buf_fini(&b);
	return e;
}

/* ---- keys ---- */

static void suspend(struct shell *sh)
{
	tty_restore();
	sh->is_raw = false;
	kill(0, SIGTSTP); /* the whole job, as the terminal would; SIGCONT makes it raw again */
}

static void run_escape(struct shell *sh, enum tty_escape what)
{
	static const char help[] = "~?\r\n"
				   "  ~.   end the session\r\n"
				   "  ~^Z  suspend nefia\r\n"
				   "  ~~   send ~\r\n"
				   "  ~?   this list\r\n"
				   "(the first character after a line's end)\r\n";

	if (what == TTY_ESCAPE_END)
		sh->left = true;
	else if (what == TTY_ESCAPE_SUSPEND)
		suspend(sh);
	else if (what == TTY_ESCAPE_HELP && os_write_all(STDERR_FILENO, help, sizeof(help) - 1) != OK)
		sh->left = true;
}

static void take_keys(struct shell *sh, const uint8_t *p, size_t len)
{
	uint8_t out[4097];

	while (len > 0 && !sh->left) {
		size_t used, n;
		enum tty_escape what = tty_escapes_take(&sh->escapes, p, len, &used, out, &n);

		if (n > 0 && session_send(&sh->s, SSH_F_STDIN, out, n) != OK)
			sh->left = true;
		run_escape(sh, what);
		p += used;
		len -= used;
	}
}

static void take_input(struct shell *sh)
{
	uint8_t buf[4096];
	ssize_t n;

	if (!sh->is_raw) {
		sh->input_over = !session_feed(&sh->s, STDIN_FILENO, NULL);
		return;
	}
	n = read(STDIN_FILENO, buf, sizeof(buf));
	if (n > 0)
		take_keys(sh, buf, (size_t)n);
	else if (n == 0 || (errno != EINTR && errno != EAGAIN))
		sh->left = true; /* the terminal is gone */
}

static void loop(struct shell *sh)
{
	bool was_ready = false;

	while (!sh->s.over && !sh->left) {
		bool reads = !sh->input_over && session_has_room(&sh->s);
		struct pollfd pf[3] = { { sh->s.fd, session_poll_events(&sh->s), 0 },
					{ wake[0], POLLIN, 0 },
					{ reads ? STDIN_FILENO : -1, POLLIN, 0 } };

		if (poll(pf, 3, -1) < 0 && errno != EINTR)
			return;
		if (pf[1].revents)
			take_signals(sh);
		if (pf[2].revents)
			take_input(sh);
		session_pump(&sh->s, on_data, sh);
		/* Not before: until then Ctrl-C ends us, and a question could be asked here. */
		if (sh->s.ready && !was_ready && !sh->s.over) {
			was_ready = true;
			make_raw(sh);
			send_size(sh);
		}
	}
}

/* ---- the command ---- */

static int outcome(const struct shell *sh)
{
	struct exec_host h = { .s = sh->s }; /* statuses as exec has them */

	if (sh->left) {
		if (sh->has_tty)
			fprintf(stderr, "Session with %s ended.\n", sh->host);
		return EXEC_STATUS_OUR_FAILURE;
	}
	if (sh->output_error == ERR_CLOSED)
		return EXEC_STATUS_SIGNAL + SIGPIPE;
	if (sh->output_error != OK)
		return cli_error(sh->cli, 1041, "the output: %s", err_text(sh->output_error)), EXEC_STATUS_OUR_FAILURE;
	if (sh->s.error != OK)
		return cli_error(sh->cli, session_ecode(&sh->s), "%s: %s", sh->host, sh->s.message),
		       EXEC_STATUS_OUR_FAILURE;
	return exec_exit_code(&h);
}

static int run(struct shell *sh, const char *command)
{
	struct hub_client *hc;
	int fd = -1, r = EXEC_STATUS_OUR_FAILURE;
	enum err e;

	if (!catch_signals() || hub_client_open(sh->cli, true, &hc) != OK)
		return r;
	if (hub_client_session(hc, sh->host, ATTACH_MAX, &fd) != OK) {
		cli_hub_error(sh->cli, hc, sh->host, 1015);
		goto out;
	}
	session_init(&sh->s, fd);
	sh->s.on_ask = askpass_key;
	e = start(sh, command);
	if (e == OK) {
		loop(sh);
		tty_restore();
		r = outcome(sh);
	} else {
		cli_error(sh->cli, 1036, "%s: the session could not be begun (TERM, LANG and LC_* go with it): %s", sh->host, err_text(e));
	}
	session_fini(&sh->s);
out:
	hub_client_close(hc);
	return r;
}

int cmd_shell(struct cli *cli, int argc, char **argv)
{
	struct shell_flags flags = { .escape = '~' };
	static char command[EXEC_COMMAND_MAX];
	struct shell sh = { .cli = cli };
	int r;

	if (options_parse(cli, &argc, argv, &flags) != 0)
		return EXIT_USAGE;
	if (!exec_join_words(command, sizeof(command), argc - 2, argv + 2))
		return cli_usage(cli, "the command is longer than %d bytes", EXEC_COMMAND_MAX);
	if (!cli_host(cli, argv[1], &r))
		return EXEC_STATUS_OUR_FAILURE;
	sh.host = argv[1];
	sh.has_tty = flags.tty || (!flags.no_tty && isatty(STDIN_FILENO));
	tty_escapes_init(&sh.escapes, flags.escape);
	return run(&sh, command);
}
