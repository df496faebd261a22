/* test/fuzz/fuzz.h - what the targets share. A target must be deterministic and leave nothing behind. */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_drop_line(enum log_level level, const char *line)
{
}

/** fuzz_quiet() - what the code under test logs and prints to stderr goes nowhere; sanitizers still speak */
static inline void fuzz_quiet(void)
{
	static bool done;
	FILE *null = done ? NULL : fopen("/dev/null", "we");

	log_set(LOG_ERROR, fuzz_drop_line);
	if (null)
		stderr = null;
	done = true;
}

/** fuzz_text() - the input as a C string of its exact size on the heap, cut at its first NUL; free it */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *s = strndup(size ? (const char *)data : "", size);

	if (!s)
		abort();
	return s;
}

/** fuzz_file() - the input as a file in memory. Return: its path, good until the next call */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
	static char path[32];
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || ftruncate(fd, 0) != 0 || (size && pwrite(fd, data, size, 0) != (ssize_t)size))
		abort();
	return path;
}

#endif
