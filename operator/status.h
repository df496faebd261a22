/* operator/status.h - what `nefia vpn status` shows, as text and as JSON. */
#ifndef OPERATOR_STATUS_H
#define OPERATOR_STATUS_H

#include <jansson.h>
#include <stdio.h>

#include "base/types.h"

#define STATUS_NEVER UINT64_MAX
#define STATUS_WARN_S (5 * 60)
#define STATUS_STALE_S (30 * 60)

struct status_peer {
	const char *host;
	const char *addr;
	bool pending;        /* no key yet, not approved yet, or revoked: nothing is expected of it */
	const char *state;   /* then: which; NULL = "pending" */
	uint64_t age_s;      /* since its last handshake; STATUS_NEVER */
	/* with --live */
	const char *endpoint; /* NULL = unknown */
	uint64_t rx_bytes, tx_bytes;
	bool up;
	const char *path;    /* NULL = none */
	/* from a running hub, after failed logins */
	json_t *ssh; /* connections and sessions of the host's SSH worker; NULL = not known */
	const char *breaker; /* "open", "half-open", "closed"; NULL = nothing failed */
	const char *breaker_error, *breaker_reason;
	unsigned failures;   /* in a row */
	uint64_t next_attempt_s; /* from now; "open" */
	/* with --ping */
	bool pinged, reachable;
	double ping_ms;
	const char *ping_error;
};

struct status {
	bool live, pinged;
	const struct status_peer *peers;
	size_t n_peers;
	bool magic_dns;
	const char *domain;
	const char *operator_addr; /* NULL = none yet */
	/* another hub with our key; NULL = none is known */
	const char *rival, *rival_host;
	uint64_t rival_age_s;
	bool rival_brief, stands_back;
	json_t *udp;               /* the hub's gauges; NULL = it was not asked. Borrowed */
};

/** status_mark() - "", "WARN" or "STALE" */
const char *status_mark(const struct status_peer *p);
/** status_age() - "never", "12s ago", "2m ago", "3h ago", "4d ago" into @buf */
const char *status_age(uint64_t age_s, char buf[32]);
void status_print(FILE *f, const struct status *s);
/** status_json() - the same as an object; NULL when out of memory */
json_t *status_json(const struct status *s);

#endif
