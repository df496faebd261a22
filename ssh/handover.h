/*
 * ssh/handover.h - sessions with a worker that have not begun: given, and kept until it has said that it takes them.
 *
 * A worker may be killed at any moment, also before it was born, and while it logs in. What it has not taken is whole: no byte of
 * such a session was taken out of its socket or put in, nothing of its command has reached the host, and another worker may have it.
 */
#ifndef SSH_HANDOVER_H
#define SSH_HANDOVER_H

#include "base/err.h"
#include "base/list.h"

/* One session's socket; freed with ssh_handed_free() or _refuse() by whoever has it. */
struct ssh_handed {
	struct list link;
	int fd;
	unsigned n_workers; /* that it was given to */
	bool sent;          /* to the one that has it now */
	uint32_t number;    /* that it has there */
};
/** ssh_handed_new() - @fd is given away, also when there is no memory: NULL */
struct ssh_handed *ssh_handed_new(int fd);
void ssh_handed_free(struct ssh_handed *s);
/** ssh_handed_refuse() - tell its command @e and @why, and free it */
void ssh_handed_refuse(struct ssh_handed *s, enum err e, const char *why);

/* Of one worker. */
struct ssh_handover {
	struct list sessions; /* struct ssh_handed: given and not taken, those that were sent in front, in their order */
	uint32_t n_sent;      /* ever; the number of the last one */
};
void ssh_handover_init(struct ssh_handover *h);
/** ssh_handover_fini() - those that are left are closed */
void ssh_handover_fini(struct ssh_handover *h);
/**
 * ssh_handover_give() - @s to the worker at the other end of @ctl
 * Return: OK; ERR_AGAIN: it has as many before it as its socket holds, and @s was never given before: it stays the caller's. One
 * that another worker had waits here instead, for ssh_handover_push(). ERR_CLOSED: the worker has gone, @s is for the next.
 */
MUST_CHECK enum err ssh_handover_give(struct ssh_handover *h, int ctl, struct ssh_handed *s);
/** ssh_handover_keep() - the same for a worker that is known to have gone */
void ssh_handover_keep(struct ssh_handover *h, struct ssh_handed *s);
/** ssh_handover_push() - those that wait, as far as the worker takes them: OK, ERR_AGAIN, or ERR_CLOSED */
MUST_CHECK enum err ssh_handover_push(struct ssh_handover *h, int ctl);
/** ssh_handover_waits() - is there one that was not sent yet? */
bool ssh_handover_waits(const struct ssh_handover *h);
/** ssh_handover_taken() - the worker takes session @number; ERR_PROTOCOL: it was never sent that, or took it before */
MUST_CHECK enum err ssh_handover_taken(struct ssh_handover *h, uint32_t number);
/** ssh_handover_leave() - what is not taken, to the end of @ret: it is the caller's */
void ssh_handover_leave(struct ssh_handover *h, struct list *ret);

#endif
