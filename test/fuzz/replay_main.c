/*
 * test/fuzz/replay_main.c - runs a fuzz target without libFuzzer.
 *
 * Every file of the target's corpus (test/fuzz/corpus/<noun>/ for <noun>_fuzz), then REPLAY_RUNS seeded mutations
 * of them (REPLAY_SEED; the same seed gives the same inputs). Without a corpus the mutations start from nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MAX_FILES 512
#define MAX_LEN   4096

static struct {
	uint8_t bytes[MAX_LEN];
	size_t len;
} seeds[MAX_FILES];
static size_t n_seeds;
static uint64_t state;

/* splitmix64 */
static uint64_t next(void)
{
	uint64_t z = (state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static unsigned long number(const char *name, unsigned long fallback)
{
	const char *s = getenv(name);

	return s ? strtoul(s, NULL, 0) : fallback;
}

/* The bytes live on the heap in their exact length, so that ASan sees a read past their end. */
static void run(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, bytes, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
}

static void load(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[1024];

	while (d && (e = readdir(d)) && n_seeds < MAX_FILES) {
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		f = fopen(path, "rb");
		if (!f)
			continue;
		seeds[n_seeds].len = fread(seeds[n_seeds].bytes, 1, MAX_LEN, f);
		n_seeds++;
		fclose(f);
	}
	if (d)
		closedir(d);
}

static void mutate(void)
{
	uint8_t buf[MAX_LEN];
	size_t len = 0;

	if (n_seeds && next() % 8) {
		size_t pick = next() % n_seeds;

		len = seeds[pick].len;
		memcpy(buf, seeds[pick].bytes, len);
	} else {
		len = next() % 256;
		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)next();
	}
	for (uint64_t n = 1 + next() % 6; n && len; n--)
		buf[next() % len] = next() % 2 ? (uint8_t)next() : (uint8_t)(0xff * (next() % 2));
	if (len && next() % 4 == 0)
		len = next() % (len + 1);
	run(buf, len);
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	unsigned long runs = number("REPLAY_RUNS", 5000);
	char dir[512];

	name = name ? name + 1 : argv[0];
	snprintf(dir, sizeof(dir), "test/fuzz/corpus/%.*s", (int)(strlen(name) - strlen("_fuzz")), name);
	load(argc > 1 ? argv[1] : dir);
	state = number("REPLAY_SEED", 1);
	printf("%s: %zu corpus files, %lu mutations, seed %llu\n", name, n_seeds, runs, (unsigned long long)state);
	fflush(stdout);
	run(NULL, 0);
	for (size_t i = 0; i < n_seeds; i++)
		run(seeds[i].bytes, seeds[i].len);
	for (unsigned long i = 0; i < runs; i++)
		mutate();
	return 0;
}
