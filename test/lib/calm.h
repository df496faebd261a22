/*
 * test/lib/calm.h - a clock that stands still while anybody waits for a processor or a disk, as calm_ms of clock.sh: for
 * "at once" and "within a second" of a program that is let run. It is the monotonic clock where the kernel keeps no account.
 */
#ifndef TEST_CALM_H
#define TEST_CALM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static inline uint64_t calm_stalled(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t us = 0;

	if (!f)
		return 0;
	if (fscanf(f, "some avg10=%*s avg60=%*s avg300=%*s total=%" SCNu64, &us) != 1)
		us = 0;
	fclose(f);
	return us;
}

/** calm_now() - nanoseconds since some moment. It may go back a little: who waits for both is counted twice. */
static inline int64_t calm_now(void)
{
	int64_t us = (int64_t) calm_stalled("/proc/pressure/cpu") + (int64_t)calm_stalled("/proc/pressure/io");
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - us * 1000;
}

#endif
