/*
 * os/cores.c - see cores.h.
 *
 * /proc/stat counts idle time in ticks of 10 ms for each core: good for a tenth of a second and more. A service whose /proc has
 * processes only does not see it. Time waited for a core is schedstat's, in ns.
 */
#include "os/cores.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>


#define PATH_MAX_OURS 512

/* ---- how many ---- */

/* "200000 100000": the quota and its period; "max": none. Return: whole cores, at least 1; 0: no quota. */
static unsigned cores_of_quota(const char *folder)
{
	char path[PATH_MAX_OURS + 64];
	uint64_t quota, period;
	unsigned cores = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", folder);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%" SCNu64 " %" SCNu64, &quota, &period) == 2 && period > 0)
		cores = MAX((unsigned)(quota / period), 1U);
	fclose(f);
	return cores;
}

/* "0::/user.slice/nefia.service": ours in the one hierarchy */
static bool our_group(char ret[PATH_MAX_OURS])
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX_OURS];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strncmp(line, "0::/", 4) == 0;
	if (f)
		fclose(f);
	if (found) {
		line[strcspn(line, "\n")] = '\0';
		snprintf(ret, PATH_MAX_OURS, "%s", line + 3);
	}
	return found;
}

unsigned os_cores_allowed(void)
{
	char group[PATH_MAX_OURS];
	unsigned cores = 1;
	cpu_set_t set;
	char *end;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cores = MAX((unsigned)CPU_COUNT(&set), 1U);
	if (!our_group(group))
		return cores;
	/* The group's own, and those of all above it. */
	do {
		unsigned quota = cores_of_quota(group);

		if (quota)
			cores = MIN(cores, quota);
		end = strrchr(group, '/');
		if (end)
			*end = '\0';
	} while (end);
	return cores;
}

/* ---- how busy ---- */

/* "cpu3 user nice system idle iowait ...": in ticks */
static uint64_t idle_ticks(const char *line, const cpu_set_t *set)
{
	uint64_t idle = 0, iowait = 0;
	unsigned cpu;

	/* The first line is the sum of all. */
	if (line[3] < '0' || line[3] > '9')
		return 0;
	if (sscanf(line, "cpu%u %*u %*u %*u %" SCNu64 " %" SCNu64, &cpu, &idle, &iowait) < 2 || cpu >= CPU_SETSIZE ||
	    !CPU_ISSET(cpu, set))
		return 0;
	return idle + iowait;
}

bool os_cores_idle(nsec_t *ret)
{
	long per_second = sysconf(_SC_CLK_TCK);
	uint64_t ticks = 0;
	cpu_set_t set;
	char line[512];
	FILE *f;

	if (per_second <= 0 || sched_getaffinity(0, sizeof(set), &set) != 0)
		return false;
	f = fopen("/proc/stat", "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f) && strncmp(line, "cpu", 3) == 0)
		ticks += idle_ticks(line, &set);
	fclose(f);
	*ret = ticks * (NSEC_PER_SEC / (uint64_t)per_second);
	return true;
}

bool os_thread_delay(nsec_t *ret)
{
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	bool found;

	if (!f)
		return false;
	found = fscanf(f, "%*u %" SCNu64, ret) == 1;
	fclose(f);
	return found;
}
