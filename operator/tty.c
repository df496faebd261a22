/*
 * operator/tty.c - see tty.h.
 *
 * The settings are kept in statics, because a handler of a deadly signal must reach them: tcsetattr() is safe there. Handlers
 * restore and then let the signal do what it does. SIGKILL cannot be caught by anybody; the hub's end is an end of our
 * session like any other.
 */
#include "operator/tty.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t is_raw, is_saved;

static const int deadly[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM };

void tty_restore(void)
{
	int before = errno;

	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	is_raw = 0;
	errno = before;
}

static void on_deadly(int signum)
{
	/* Nothing is waited for: output that the terminal does not take must not hold us. */
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	is_raw = 0;
	raise(signum); /* SA_RESETHAND: what it does by itself */
}

/* What whoever started us has ignored (nohup) does not end us. */
static void catch_deadly(void)
{
	struct sigaction sa = { .sa_handler = on_deadly, .sa_flags = (int)SA_RESETHAND }, before;

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		if (sigaction(deadly[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(deadly[i], &sa, NULL);
}

enum err tty_raw(void)
{
	struct termios raw;

	if (!is_saved) {
		if (tcgetattr(STDIN_FILENO, &saved) != 0)
			return err_from_errno(errno);
		is_saved = 1;
		catch_deadly();
		atexit(tty_restore);
	}
	raw = saved;
	raw.c_iflag |= IGNPAR;
	raw.c_iflag &= ~(tcflag_t)(ISTRIP | INLCR | IGNCR | ICRNL | IXON | IXANY | IXOFF | IUCLC);
	raw.c_lflag &= ~(tcflag_t)(ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHONL | IEXTEN);
	raw.c_oflag &= ~(tcflag_t)OPOST;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0)
		return err_from_errno(errno);
	is_raw = 1;
	return OK;
}

void tty_size(uint32_t *ret_columns, uint32_t *ret_rows)
{
	struct winsize w = { 0 };

	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &w) != 0)
		w.ws_col = w.ws_row = 0;
	*ret_columns = w.ws_col ? w.ws_col : 80;
	*ret_rows = w.ws_row ? w.ws_row : 24;
}

/* ---- RFC 4254, section 8 ---- */

#define OP_END 0
#define OP_ISPEED 128
#define OP_OSPEED 129

/* Those that people and programs set; not all there are, because libssh2 takes 256 bytes of modes and name together. */
static const struct {
	uint8_t op;
	int index;
} chars[] = {
	{ 1, VINTR },  { 2, VQUIT }, { 3, VERASE }, { 4, VKILL },     { 5, VEOF },     { 6, VEOL },
	{ 8, VSTART }, { 9, VSTOP }, { 10, VSUSP }, { 12, VREPRINT }, { 13, VWERASE }, { 14, VLNEXT },
};

enum { INPUT, LOCAL, OUTPUT, CONTROL };

static const struct {
	uint8_t op;
	int where;
	tcflag_t flag;
} flags[] = {
	{ 33, INPUT, ISTRIP }, { 34, INPUT, INLCR },   { 35, INPUT, IGNCR },   { 36, INPUT, ICRNL },  { 38, INPUT, IXON },
	{ 39, INPUT, IXANY },  { 40, INPUT, IXOFF },   { 41, INPUT, IMAXBEL }, { 42, INPUT, IUTF8 },  { 50, LOCAL, ISIG },
	{ 51, LOCAL, ICANON }, { 53, LOCAL, ECHO },    { 54, LOCAL, ECHOE },   { 55, LOCAL, ECHOK },  { 56, LOCAL, ECHONL },
	{ 57, LOCAL, NOFLSH }, { 58, LOCAL, TOSTOP },  { 59, LOCAL, IEXTEN },  { 60, LOCAL, ECHOCTL }, { 61, LOCAL, ECHOKE },
	{ 70, OUTPUT, OPOST }, { 72, OUTPUT, ONLCR },  { 73, OUTPUT, OCRNL },  { 91, CONTROL, CS8 },  { 92, CONTROL, PARENB },
};

static_assert((ARRAY_SIZE(chars) + ARRAY_SIZE(flags) + 2) * 5 + 1 <= TTY_MODES_MAX, "libssh2 takes no more");

static enum err put_mode(struct ssh_buf *b, uint8_t op, uint32_t value)
{
	uint8_t p[5] = { op, (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value };

	return ssh_buf_add(b, p, sizeof(p));
}

static uint32_t baud(speed_t s)
{
	static const struct {
		speed_t code;
		uint32_t rate;
	} speeds[] = { { B1200, 1200 },	  { B2400, 2400 },   { B4800, 4800 },	{ B9600, 9600 },
		       { B19200, 19200 }, { B38400, 38400 }, { B57600, 57600 }, { B115200, 115200 } };

	for (size_t i = 0; i < ARRAY_SIZE(speeds); i++)
		if (speeds[i].code == s)
			return speeds[i].rate;
	return 38400;
}

enum err tty_modes(struct ssh_buf *ret)
{
	static const uint8_t end = OP_END;
	struct termios t;
	enum err e = OK;

	if (is_saved)
		t = saved;
	else if (tcgetattr(STDIN_FILENO, &t) != 0)
		return ssh_buf_add(ret, &end, 1);
	for (size_t i = 0; e == OK && i < ARRAY_SIZE(chars); i++) {
		cc_t c = t.c_cc[chars[i].index];

		e = put_mode(ret, chars[i].op, c == _POSIX_VDISABLE ? 255 : c);
	}
	for (size_t i = 0; e == OK && i < ARRAY_SIZE(flags); i++) {
		tcflag_t set[] = { t.c_iflag, t.c_lflag, t.c_oflag, t.c_cflag };

		e = put_mode(ret, flags[i].op, (set[flags[i].where] & flags[i].flag) == flags[i].flag);
	}
	if (e == OK)
		e = put_mode(ret, OP_ISPEED, baud(cfgetispeed(&t)));
	if (e == OK)
		e = put_mode(ret, OP_OSPEED, baud(cfgetospeed(&t)));
	return e == OK ? ssh_buf_add(ret, &end, 1) : e;
}

/* ---- escapes ---- */

void tty_escapes_init(struct tty_escapes *e, int c)
{
	*e = (struct tty_escapes){ .c = c, .line_start = true };
}

static enum tty_escape meaning(uint8_t c)
{
	switch (c) {
	case '.':
		return TTY_ESCAPE_END;
	case '?':
		return TTY_ESCAPE_HELP;
	case 'Z' - '@':
		return TTY_ESCAPE_SUSPEND;
	default:
		return TTY_ESCAPE_NONE;
	}
}

enum tty_escape tty_escapes_take(struct tty_escapes *e, const uint8_t *p, size_t len, size_t *ret_used, uint8_t *out,
				 size_t *ret_len)
{
	enum tty_escape found = TTY_ESCAPE_NONE;
	size_t i = 0, n = 0;

	while (i < len && found == TTY_ESCAPE_NONE) {
		uint8_t c = p[i++];

		if (e->pending) {
			e->pending = false;
			found = meaning(c);
			if (found != TTY_ESCAPE_NONE) {
				e->line_start = true;
				break;
			}
			/* Not ours: both go on, a doubled one once. */
			if (c != e->c)
				out[n++] = (uint8_t)e->c;
		} else if (e->line_start && c == e->c) {
			e->pending = true;
			continue;
		}
		out[n++] = c;
		e->line_start = c == '\r' || c == '\n';
	}
	*ret_used = i;
	*ret_len = n;
	return found;
}
