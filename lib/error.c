/*
 * lib/error.c - errors as the library's users see them: a number that never changes its meaning, and words for this time.
 *
 * enum err is the program's own and may be renumbered; nefia.h's numbers are an interface. The words are a buffer of each
 * thread, so that no call needs an object to complain to.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/version.h"
#include "lib/internal.h"

static __thread char detail[600];

static const int numbers[ERR_N] = {
	[OK] = NEFIA_OK,
	[ERR_NOMEM] = NEFIA_ERR_NOMEM,
	[ERR_INVALID] = NEFIA_ERR_INVALID,
	[ERR_FORMAT] = NEFIA_ERR_FORMAT,
	[ERR_RANGE] = NEFIA_ERR_RANGE,
	[ERR_TOO_LONG] = NEFIA_ERR_TOO_LONG,
	[ERR_FULL] = NEFIA_ERR_FULL,
	[ERR_AGAIN] = NEFIA_ERR_AGAIN,
	[ERR_TIMEOUT] = NEFIA_ERR_TIMEOUT,
	[ERR_CLOSED] = NEFIA_ERR_CLOSED,
	[ERR_RESET] = NEFIA_ERR_RESET,
	[ERR_REFUSED] = NEFIA_ERR_REFUSED,
	[ERR_UNREACHABLE] = NEFIA_ERR_UNREACHABLE,
	[ERR_NO_ROUTE] = NEFIA_ERR_NO_ROUTE,
	[ERR_NOT_FOUND] = NEFIA_ERR_NOT_FOUND,
	[ERR_EXISTS] = NEFIA_ERR_EXISTS,
	[ERR_IN_USE] = NEFIA_ERR_IN_USE,
	[ERR_PERMISSION] = NEFIA_ERR_PERMISSION,
	[ERR_AUTH] = NEFIA_ERR_AUTH,
	[ERR_REPLAY] = NEFIA_ERR_PROTOCOL,
	[ERR_FLOOD] = NEFIA_ERR_FULL,
	[ERR_STALE] = NEFIA_ERR_TIMEOUT,
	[ERR_HOST_KEY] = NEFIA_ERR_HOST_KEY,
	[ERR_IS_FOLDER] = NEFIA_ERR_INVALID,
	[ERR_NOT_FOLDER] = NEFIA_ERR_INVALID,
	[ERR_TARGET] = NEFIA_ERR_REFUSED,
	[ERR_ALGORITHM] = NEFIA_ERR_ALGORITHM,
	[ERR_FORBIDDEN] = NEFIA_ERR_FORBIDDEN,
	[ERR_PROTOCOL] = NEFIA_ERR_PROTOCOL,
	[ERR_VERSION] = NEFIA_ERR_VERSION,
	[ERR_NO_SPACE] = NEFIA_ERR_NO_SPACE,
	[ERR_IO] = NEFIA_ERR_IO,
	[ERR_UNSUPPORTED] = NEFIA_ERR_UNSUPPORTED,
	[ERR_PAUSED] = NEFIA_ERR_PAUSED,
	[ERR_CANCELLED] = NEFIA_ERR_CANCELLED,
	[ERR_LIST_LIMIT] = NEFIA_ERR_FULL,
	[ERR_INTERNAL] = NEFIA_ERR_INTERNAL,
};

static int number_of(enum err e)
{
	/* One that the table has not must not look like success. */
	return e == OK || ((unsigned)e < ERR_N && numbers[e]) ? numbers[e] : NEFIA_ERR_INTERNAL;
}

const char *nefia_strerror(int error)
{
	switch (error) {
	case NEFIA_ERR_FORKED:
		return "the tunnel belongs to the parent process";
	case NEFIA_ERR_NO_WORKER:
		return "the nefia program, which is the SSH worker, was not found";
	case NEFIA_ERR_NO_HUB:
		return "no hub is running";
	case NEFIA_ERR_FULL: /* several of ours are one of these */
		return err_text(ERR_FULL);
	case NEFIA_ERR_INVALID:
		return err_text(ERR_INVALID);
	case NEFIA_ERR_REFUSED:
		return err_text(ERR_REFUSED);
	case NEFIA_ERR_PROTOCOL:
		return err_text(ERR_PROTOCOL);
	case NEFIA_ERR_TIMEOUT:
		return err_text(ERR_TIMEOUT);
	default:
		break;
	}
	for (int e = OK; e < ERR_N; e++)
		if (numbers[e] == error)
			return err_text((enum err)e);
	return "unknown error";
}

const char *nefia_error_detail(void)
{
	return detail;
}

int lib_fail_as(int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	return error;
}

int lib_fail(enum err e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	return number_of(e);
}

int lib_fail_client(enum err e, const struct hub_client *hc)
{
	return lib_fail(e, "%s", hub_client_message(hc));
}

const char *nefia_version(void)
{
	return NEFIA_VERSION;
}

int nefia_version_number(void)
{
	return NEFIA_VERSION_MAJOR << 16 | NEFIA_VERSION_MINOR << 8 | NEFIA_VERSION_PATCH;
}

/* ---- time ---- */

nsec_t lib_deadline(int timeout_ms)
{
	return timeout_ms < 0 ? NSEC_NEVER : timeout_ms == 0 ? 0 : os_now() + (nsec_t)timeout_ms * NSEC_PER_MSEC;
}

nsec_t lib_left(nsec_t deadline, nsec_t max)
{
	nsec_t now = os_now();

	if (deadline == NSEC_NEVER)
		return max;
	return deadline <= now ? 0 : MIN(deadline - now, max);
}

void lib_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

bool lib_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, nsec_t left)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	left += (nsec_t)until.tv_nsec;
	until.tv_sec += (time_t)(left / NSEC_PER_SEC);
	until.tv_nsec = (long)(left % NSEC_PER_SEC);
	return pthread_cond_timedwait(cond, lock, &until) != ETIMEDOUT;
}
