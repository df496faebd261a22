/* operator/forward_spec.h - what a person writes for a forward: [BIND:]PORT:TARGET:PORT, and Unix sockets on either end. */
#ifndef OPERATOR_FORWARD_SPEC_H
#define OPERATOR_FORWARD_SPEC_H

#include "base/err.h"
#include "base/types.h"

#define FORWARD_HOST_MAX 256

/* One end: a host and port, or the path of a Unix socket (its first character is a slash; the port is 0). */
struct forward_end {
	char host[FORWARD_HOST_MAX]; /* a name or address without brackets */
	uint16_t port;
};

struct forward_spec {
	struct forward_end listen; /* its host is 127.0.0.1 unless given */
	struct forward_end target; /* empty where only a listening end is written */
};

/**
 * forward_spec_parse() - one argument
 * @with_target: TARGET:PORT must follow; else only [BIND:]PORT or /PATH is expected
 *
 *	8080:db:5432   [::1]:8080:[fd00::7]:80   *:8080:db:5432   /tmp/x.sock:db:5432   8080:/run/x.sock
 *
 * Port 0 to listen on means any; "*" every address, "localhost" 127.0.0.1.
 * Return: OK; ERR_FORMAT; ERR_TOO_LONG.
 */
MUST_CHECK enum err forward_spec_parse(const char *arg, bool with_target, struct forward_spec *ret);
bool forward_end_is_path(const struct forward_end *e);
#define FORWARD_END_STR_MAX (FORWARD_HOST_MAX + 10)
/** forward_end_format() - "db:5432", "[fd00::7]:80", "/run/x.sock". Return: @buf. */
const char *forward_end_format(const struct forward_end *e, char buf[FORWARD_END_STR_MAX]);

#endif
