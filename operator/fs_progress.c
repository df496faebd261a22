/*
 * operator/fs_progress.c - see fs_progress.h.
 *
 * The rate is smoothed over some seconds, so that the time left neither jumps nor clings to how it began; what was there
 * already when a copy was resumed is progress, but no rate.
 */
#include "operator/fs_progress.h"

#include <string.h>

#include "operator/fs_format.h"
#include "operator/fs_name.h"

#define INTERVAL (200 * NSEC_PER_MSEC)
#define SMOOTH 0.15 /* the share of the newest interval */
#define NAME_SHOWN 40

void fs_progress_init(struct fs_progress *p, bool on, nsec_t now)
{
	*p = (struct fs_progress){ .on = on, .began = now, .rate_at = now };
}

void fs_progress_file(struct fs_progress *p, const char *name)
{
	char shown[FS_SHOWN_MAX(sizeof(p->name))];
	size_t len = strlen(name);

	if (!p->on)
		return;
	/* The end tells more than the beginning; a character that is cut shows as its bytes. */
	fs_name_show(len > NAME_SHOWN ? name + len - NAME_SHOWN : name, shown);
	snprintf(p->name, sizeof(p->name), "%s", shown);
}

static void update_rate(struct fs_progress *p, nsec_t now)
{
	double seconds = (double)(now - p->rate_at) / 1e9, newest;

	if (now - p->rate_at < INTERVAL)
		return;
	newest = (double)(p->done - p->skipped - p->rate_done) / seconds;
	p->rate = p->rate > 0 ? p->rate + SMOOTH * (newest - p->rate) : newest;
	p->rate_at = now;
	p->rate_done = p->done - p->skipped;
}

void fs_progress_line(struct fs_progress *p, nsec_t now, char *ret, size_t size)
{
	char done[16], total[16], rate[16], left[32];
	size_t used;

	update_rate(p, now);
	if (p->files > 1)
		used = (size_t)snprintf(ret, size, "%u of %u%s files", p->files_done, p->files, p->counted ? "" : "+");
	else
		used = (size_t)snprintf(ret, size, "%s", p->name);
	used = MIN(used, size);
	used += (size_t)snprintf(ret + used, size - used, "  %s", fs_format_bytes(p->done, done));
	if (p->total > 0 && p->counted && used < size)
		used += (size_t)snprintf(ret + used, size - used, " of %s  %d %%", fs_format_bytes(p->total, total),
					 (int)(MIN(p->done, p->total) * 100.0 / (double)p->total));
	if (p->rate > 0 && used < size)
		used += (size_t)snprintf(ret + used, size - used, "  %s/s", fs_format_bytes((uint64_t)p->rate, rate));
	if (p->rate > 0 && p->counted && p->total > p->done && used < size)
		snprintf(ret + used, size - used, "  %s left",
			 fs_format_seconds((uint64_t)((double)(p->total - p->done) / p->rate), left));
}

void fs_progress_show(struct fs_progress *p, nsec_t now, bool last)
{
	char line[512], time[32], rate[16];
	double seconds = (double)(now - p->began) / 1e9;

	if (!p->on || (!last && now - p->shown < INTERVAL))
		return;
	p->shown = now;
	fs_progress_line(p, now, line, sizeof(line));
	if (last) { /* the mean, and the time that it took */
		p->rate = 0;
		fs_progress_line(p, p->rate_at, line, sizeof(line));
		fprintf(stderr, "\r%s  %s/s  in %s\033[K\n", line,
			fs_format_bytes(seconds > 0 ? (uint64_t)((double)(p->done - p->skipped) / seconds) : 0, rate),
			fs_format_seconds((uint64_t)(seconds + 0.5), time));
	} else {
		fprintf(stderr, "\r%s\033[K", line);
	}
	fflush(stderr);
}

void fs_progress_clear(const struct fs_progress *p)
{
	if (p->on && p->shown)
		fputs("\r\033[K", stderr);
}
