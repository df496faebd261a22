/*
 * tunnel/state.h - what a tunnel remembers on disk: the timestamp watermark, the peers' last endpoints, the cipher measured.
 *
 * The watermark that is stored lies ahead of the timestamps in use, so that most initiations need no write: a
 * restart begins after it. The file is versioned text, one "key value" a line; unknown keys are ignored.
 */
#ifndef TUNNEL_STATE_H
#define TUNNEL_STATE_H

#include "wg/wg.h"

#define TUNNEL_STATE_PEERS 1024

struct tunnel_state_peer {
	struct wg_public_key key;
	struct endpoint endpoint;
	uint64_t last_handshake_wall; /* Unix ns; 0 = never */
};

#define TUNNEL_AEAD_MAX 24 /* of a provider's name, with its NUL */

struct tunnel_state {
	const char *path; /* NULL = nothing is kept */
	uint64_t watermark;    /* on disk; ns since 1970 */
	uint64_t written_wall; /* when that was */
	uint64_t owed;	       /* a timestamp that was sent while the disk was full; 0 = none */
	char aead[TUNNEL_AEAD_MAX]; /* the fastest cipher provider for aead_print; empty: not measured */
	uint64_t aead_print;
	struct tunnel_state_peer *peers;
	size_t n_peers;
	bool dirty, failed; /* failed: the last write, which was told */
	nsec_t next_write;
};

/** tunnel_state_load() - a missing file is an empty state. ERR_VERSION: newer than we know; it is left alone. */
MUST_CHECK enum err tunnel_state_load(struct tunnel_state *s, const char *path);
/** tunnel_state_parse() - the file's text, which is cut up; lines that do not parse are left out */
MUST_CHECK enum err tunnel_state_parse(struct tunnel_state *s, char *text);
/**
 * tunnel_state_first() - the timestamp after which this process begins, at wall clock @wall
 *
 * The watermark; but while that lies ahead of the clock, as much above it as time has passed since it was written: a
 * process that cannot write (a full disk) leaves it as it was, and the next one must not repeat its timestamps.
 */
uint64_t tunnel_state_first(const struct tunnel_state *s, uint64_t wall);
void tunnel_state_fini(struct tunnel_state *s);
/** tunnel_state_cover() - the watermark on disk reaches @timestamp from here on */
MUST_CHECK enum err tunnel_state_cover(struct tunnel_state *s, uint64_t timestamp);
/** tunnel_state_note() - a peer's endpoint or handshake; written at most each 10 s by tunnel_state_flush() */
void tunnel_state_note(struct tunnel_state *s, const struct wg_public_key *key, const struct endpoint *ep,
		       uint64_t handshake_wall);
const struct tunnel_state_peer *tunnel_state_find(const struct tunnel_state *s, const struct wg_public_key *key);
/** tunnel_state_aead() - what was measured for the machine and build that @print names; NULL: nothing */
const char *tunnel_state_aead(const struct tunnel_state *s, uint64_t print);
void tunnel_state_set_aead(struct tunnel_state *s, const char *name, uint64_t print);
/** tunnel_state_flush() - write when something changed; @now = NSEC_NEVER: at once */
void tunnel_state_flush(struct tunnel_state *s, nsec_t now);

#endif
