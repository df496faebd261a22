/* base/err.h - every error that a function of ours can return, with its text. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/types.h"

/* X(name, text for a person) */
#define ERR_LIST(X)                                                                                \
	X(OK, "success")                                                                           \
	X(ERR_NOMEM, "out of memory")                                                              \
	X(ERR_INVALID, "invalid argument")                                                         \
	X(ERR_FORMAT, "malformed input")                                                           \
	X(ERR_RANGE, "value out of range")                                                         \
	X(ERR_TOO_LONG, "too long")                                                                \
	X(ERR_FULL, "limit reached")                                                               \
	X(ERR_AGAIN, "not now")                                                                    \
	X(ERR_TIMEOUT, "timed out")                                                                \
	X(ERR_CLOSED, "closed")                                                                    \
	X(ERR_RESET, "connection reset")                                                           \
	X(ERR_REFUSED, "connection refused")                                                       \
	X(ERR_UNREACHABLE, "unreachable")                                                          \
	X(ERR_NO_ROUTE, "no route")                                                                \
	X(ERR_NOT_FOUND, "not found")                                                              \
	X(ERR_EXISTS, "already exists")                                                            \
	X(ERR_IN_USE, "in use")                                                                    \
	X(ERR_PERMISSION, "permission denied")                                                     \
	X(ERR_AUTH, "authentication failed")                                                       \
	X(ERR_REPLAY, "replayed")                                                                  \
	X(ERR_FLOOD, "too many")                                                                   \
	X(ERR_STALE, "expired")                                                                    \
	X(ERR_HOST_KEY, "host key mismatch")                                                       \
	X(ERR_IS_FOLDER, "is a folder")                                                            \
	X(ERR_TARGET, "the target cannot be reached from there")                                   \
	X(ERR_ALGORITHM, "no algorithm in common")                                                 \
	X(ERR_FORBIDDEN, "not allowed by the server")                                              \
	X(ERR_PROTOCOL, "protocol violation")                                                      \
	X(ERR_VERSION, "incompatible version")                                                     \
	X(ERR_NO_SPACE, "no space left on device")                                                 \
	X(ERR_IO, "input/output error")                                                            \
	X(ERR_UNSUPPORTED, "not supported")                                                        \
	X(ERR_PAUSED, "paused after failures")                                                     \
	X(ERR_LIST_LIMIT, "more is listed than the limit allows")                                   \
	X(ERR_CANCELLED, "cancelled")                                                              \
	X(ERR_INTERNAL, "internal error")                                                          \
	X(ERR_NOT_FOLDER, "a part of the path is no folder")

enum err {
#define ERR_ENUM(name, text) name,
	ERR_LIST(ERR_ENUM)
#undef ERR_ENUM
	ERR_N
};

/** err_name() - "ERR_TIMEOUT"; for logs and tests */
const char *err_name(enum err e);
/** err_text() - "timed out"; for people */
const char *err_text(enum err e);
/** err_from_errno() - the nearest enum err of an errno value; ERR_IO when there is none */
enum err err_from_errno(int errnum);

#endif
