/*
 * ssh/sftp_client.h - the client side of SFTP as a machine: requests in, packets out; packets in,
 * answers out.
 *
 * No I/O: whoever owns the channel moves @out to the server and gives what comes to
 * sftp_client_input(). Any number of requests of any number of files is under way at once; each has
 * a callback that is called exactly once.
 */
#ifndef SSH_SFTP_CLIENT_H
#define SSH_SFTP_CLIENT_H

#include "ssh/sftp.h"

#define SFTP_CALLS_MAX 2048
#define SFTP_OUT_MAX (1024 * 1024) /* when more waits in @out, produce no more */
#define SFTP_SILENCE_MAX (60 * NSEC_PER_SEC)
#define SFTP_SILENCE_SLOW (600 * NSEC_PER_SEC) /* while a file is synced or closed, which may take a disk long */

/*
 * The answer to a call; @tag is the caller's. When the connection ends first, @r is NULL.
 */
typedef void (*sftp_reply_fn)(void *ctx, uint64_t tag, const struct sftp_reply *r);

struct sftp_call {
	sftp_reply_fn fn; /* NULL: free */
	void *ctx;
	uint64_t tag;
	uint16_t generation;
	bool slow;
	nsec_t asked;
};

/*
 * How many bytes of reads are worth having under way. A server reads ahead into its memory whatever it is asked for, and OpenSSH's
 * becomes slow by that, so it is to be what the way carries and a little more: it is doubled as long as a round of it
 * brings less than half of it as what rate and round trip say is on the way.
 */
#define SFTP_AHEAD_MIN (2u << 20)
#define SFTP_AHEAD_MAX (32u << 20)

struct sftp_ahead {
	uint64_t bytes;       /* that may be under way */
	uint64_t round_bytes; /* that came in this round */
	nsec_t round_began;
	nsec_t rtt;           /* the least that an answer took; 0: none yet */
};

struct sftp_client {
	struct ssh_buf out, in;
	bool ready;          /* the server answered INIT (and the limits) */
	enum err error;      /* other than OK: over */
	char message[200];
	bool has[SFTP_X_N];
	size_t read_max, write_max; /* bytes of one request */
	struct sftp_call calls[SFTP_CALLS_MAX];
	uint16_t free_list[SFTP_CALLS_MAX];
	size_t n_free, n_slow;
	struct sftp_ahead ahead;
	nsec_t heard;        /* when the server last said something, or was first asked after a pause */
};

/** sftp_client_init() - begins with INIT in @out */
MUST_CHECK enum err sftp_client_init(struct sftp_client *c, nsec_t now);
/** sftp_client_fini() - calls that are under way are told with NULL */
void sftp_client_fini(struct sftp_client *c);
/** sftp_client_call() - ERR_FULL: too many under way; ERR_CLOSED: it is over; else as sftp_encode() */
MUST_CHECK enum err sftp_client_call(struct sftp_client *c, nsec_t now, const struct sftp_request *rq, sftp_reply_fn fn,
				     void *ctx, uint64_t tag);
/** sftp_client_forget() - @ctx is not to be called any more; handles that still come for it are closed */
void sftp_client_forget(struct sftp_client *c, const void *ctx);
/** sftp_client_input() - take packets from @in (where the owner has put them) and call back */
void sftp_client_input(struct sftp_client *c, nsec_t now);
/** sftp_client_fail() - it is over: every call is told */
void sftp_client_fail(struct sftp_client *c, enum err e, const char *message);
/** sftp_client_deadline() - when sftp_client_expire() is due; NSEC_NEVER when nothing is asked */
nsec_t sftp_client_deadline(const struct sftp_client *c);
void sftp_client_expire(struct sftp_client *c, nsec_t now);
/** sftp_client_room() - may more requests be made? */
bool sftp_client_room(const struct sftp_client *c);
size_t sftp_client_pending(const struct sftp_client *c);

#endif
