/* operator/fs_progress.h - how far a copy is, on a terminal. */
#ifndef OPERATOR_FS_PROGRESS_H
#define OPERATOR_FS_PROGRESS_H

#include <stdio.h>

#include "base/types.h"

struct fs_progress {
	bool on;               /* a terminal listens */
	bool counted;          /* the totals are whole */
	char name[256];        /* of the file that moves, as a terminal may show it */
	uint64_t done, total;  /* bytes */
	uint64_t skipped;      /* of @done, that were there already */
	unsigned files_done, files;
	nsec_t began, shown;
	nsec_t rate_at;        /* the rate is of the last seconds */
	uint64_t rate_done;
	double rate;           /* bytes a second; 0: not known yet */
};

void fs_progress_init(struct fs_progress *p, bool on, nsec_t now);
/** fs_progress_file() - another file begins */
void fs_progress_file(struct fs_progress *p, const char *name);
/** fs_progress_line() - what is shown at @now: "NAME  12 MiB of 1.0 GiB  1 %  34 MiB/s  0:30 left". Pure. */
void fs_progress_line(struct fs_progress *p, nsec_t now, char *ret, size_t size);
/** fs_progress_show() - when some time went by, or @last; the line is written over the one before */
void fs_progress_show(struct fs_progress *p, nsec_t now, bool last);
/** fs_progress_clear() - room for a message */
void fs_progress_clear(const struct fs_progress *p);

#endif
