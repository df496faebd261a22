/* base/err.c - the error table, and what happens on a failed assertion. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *name;
	const char *text;
} err_table[ERR_N] = {
#define ERR_ROW(n, t) [n] = { #n, t },
	ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

const char *err_name(enum err e)
{
	return (unsigned)e < ERR_N ? err_table[e].name : "ERR_?";
}

const char *err_text(enum err e)
{
	return (unsigned)e < ERR_N ? err_table[e].text : "unknown error";
}

static const struct {
	int errnum;
	enum err err;
} errno_map[] = {
	{ 0, OK },
	{ ENOMEM, ERR_NOMEM },
	{ EINVAL, ERR_INVALID },
	{ ENAMETOOLONG, ERR_TOO_LONG },
	{ EMSGSIZE, ERR_TOO_LONG },
	{ EMFILE, ERR_FULL },
	{ ENFILE, ERR_FULL },
	{ ENOBUFS, ERR_AGAIN },
	{ EAGAIN, ERR_AGAIN },
	{ ETOOMANYREFS, ERR_AGAIN }, /* descriptors on their way, not taken yet */
	{ EINTR, ERR_AGAIN },
	{ ETIMEDOUT, ERR_TIMEOUT },
	{ EPIPE, ERR_CLOSED },
	{ ECONNRESET, ERR_RESET },
	{ ECONNREFUSED, ERR_REFUSED },
	{ EHOSTUNREACH, ERR_UNREACHABLE },
	{ ENETUNREACH, ERR_NO_ROUTE },
	{ ENOENT, ERR_NOT_FOUND },
	{ EEXIST, ERR_EXISTS },
	{ EADDRINUSE, ERR_IN_USE },
	{ EBUSY, ERR_IN_USE },
	{ EACCES, ERR_PERMISSION },
	{ EPERM, ERR_PERMISSION },
	{ EROFS, ERR_PERMISSION },
	{ ENOTDIR, ERR_NOT_FOLDER },
	{ ENOSPC, ERR_NO_SPACE },
	{ EDQUOT, ERR_NO_SPACE },
	{ EFBIG, ERR_NO_SPACE },
	{ ENOSYS, ERR_UNSUPPORTED },
	{ EOPNOTSUPP, ERR_UNSUPPORTED },
	{ EAFNOSUPPORT, ERR_UNSUPPORTED },
};

enum err err_from_errno(int errnum)
{
	for (size_t i = 0; i < ARRAY_SIZE(errno_map); i++)
		if (errno_map[i].errnum == errnum)
			return errno_map[i].err;
	return ERR_IO;
}

NORETURN void assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "nefia: internal error: %s (%s:%d)\n", expr, file, line);
	abort();
}
