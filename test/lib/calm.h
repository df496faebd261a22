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

/** calm_now() - nanoseconds since some moment */
static inline uint64_t calm_now(void)
{
	uint64_t us = calm_stalled("/proc/pressure/cpu") + calm_stalled("/proc/pressure/io");
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - us * 1000u;
}

#endif
