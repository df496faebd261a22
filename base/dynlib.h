/* base/dynlib.h - libraries that are used where the machine has them. */
#ifndef BASE_DYNLIB_H
#define BASE_DYNLIB_H

#include <dlfcn.h>
#include <stddef.h>

/**
 * dynlib_open() - dlopen(), or NULL in a static program
 *
 * A static program has a C library of its own; one that it loaded would bring a second, of whatever version is there.
 */
static inline void *dynlib_open(const char *name)
{
#ifdef NEFIA_STATIC
	return NULL;
#else
	return dlopen(name, RTLD_NOW | RTLD_LOCAL);
#endif
}

static inline void *dynlib_find(void *lib, const char *name)
{
#ifdef NEFIA_STATIC
	return NULL;
#else
	return lib ? dlsym(lib, name) : NULL;
#endif
}

static inline void dynlib_close(void *lib)
{
#ifndef NEFIA_STATIC
	if (lib)
		dlclose(lib);
#endif
}

#endif
