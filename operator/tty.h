/*
 * operator/tty.h - the person's terminal: raw while a remote program has it, as it was afterwards, whatever ends us.
 */
#ifndef OPERATOR_TTY_H
#define OPERATOR_TTY_H

#include "base/err.h"
#include "ssh/frame.h"

/** tty_raw() - standard input's terminal, until tty_restore(); signals that end us restore it too */
MUST_CHECK enum err tty_raw(void);
/** tty_restore() - as it was; may be called at any time and twice, from a signal handler too */
void tty_restore(void);
/** tty_size() - 80 x 24 when it is not known */
void tty_size(uint32_t *ret_columns, uint32_t *ret_rows);
#define TTY_MODES_MAX 200
#define TTY_TERM_MAX 56 /* of $TERM */
/** tty_modes() - its settings before tty_raw(), as RFC 4254 section 8 encodes them */
MUST_CHECK enum err tty_modes(struct ssh_buf *ret);

/*
 * Escape sequences: a character of the person's own after a line's end (or at the beginning), as ssh has them.
 *
 *	~.   end the session       ~^Z  suspend us
 *	~?   list these            ~~   the character itself
 */
enum tty_escape { TTY_ESCAPE_NONE, TTY_ESCAPE_END, TTY_ESCAPE_SUSPEND, TTY_ESCAPE_HELP };

struct tty_escapes {
	int c;           /* the character; -1 = there is none */
	bool line_start; /* initially true */
	bool pending;    /* the character came and waits for the next */
};

void tty_escapes_init(struct tty_escapes *e, int c);
/**
 * tty_escapes_take() - what was typed, up to the first escape sequence
 * @p:     taken from its front: *ret_used bytes
 * @out:   room for len + 1 bytes: what goes to the remote side; *ret_len of them
 */
enum tty_escape tty_escapes_take(struct tty_escapes *e, const uint8_t *p, size_t len, size_t *ret_used, uint8_t *out,
				 size_t *ret_len);

#endif
