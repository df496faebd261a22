/*
 * lib/worker.c - where the SSH worker is: a program cannot start "itself" when it is somebody else's.
 *
 * The worker is the nefia program with a hidden first argument: its own process, sandboxed, with an address space in which
 * nothing of the host program was ever mapped. A fork of the host program without exec would be neither (and its other
 * threads' locks would stay taken), so the program is looked for.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/internal.h"

static bool take(char ret[PATH_MAX], const char *folder, size_t len, const char *name)
{
	int n = snprintf(ret, PATH_MAX, "%.*s/%s", (int)len, folder, name);
	struct stat st;

	/* A folder may be "executable" too. */
	if (n > 0 && n < PATH_MAX && access(ret, X_OK) == 0 && stat(ret, &st) == 0 && S_ISREG(st.st_mode))
		return true;
	ret[0] = '\0';
	return false;
}

/* Beside the library, as `make install` and as a build tree have it. */
static bool beside_us(char ret[PATH_MAX])
{
	static const char *const places[] = { "../bin/nefia", "../libexec/nefia", "nefia" };
	const char *slash;
	Dl_info info;

	if (!dladdr((void *)lib_worker_find, &info) || !info.dli_fname)
		return false;
	slash = strrchr(info.dli_fname, '/');
	for (size_t i = 0; slash && i < ARRAY_SIZE(places); i++)
		if (take(ret, info.dli_fname, (size_t)(slash - info.dli_fname), places[i]))
			return true;
	return false;
}

static bool in_path(char ret[PATH_MAX])
{
	const char *path = getenv("PATH");

	while (path && *path) {
		size_t len = strcspn(path, ":");

		/* An empty part is the working folder, where we do not look. */
		if (len > 0 && take(ret, path, len, "nefia"))
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

void lib_worker_find(const char *named, char ret[PATH_MAX])
{
	const char *env = getenv("NEFIA_WORKER");

	if (!named || !*named)
		named = env && *env ? env : NULL;
	if (named)
		snprintf(ret, PATH_MAX, "%s", named);
	else if (!beside_us(ret) && !in_path(ret))
		ret[0] = '\0';
}
