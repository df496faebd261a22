/* base/version.h - what --version says. The build sets these; a plain compiler run gets the defaults. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#if __has_include(<nefia_version.h>)
#include <nefia_version.h>
#endif

#ifndef NEFIA_VERSION
#define NEFIA_VERSION "0.1.0"
#endif
#ifndef NEFIA_COMMIT
#define NEFIA_COMMIT "unknown"
#endif
#ifndef NEFIA_BUILD_DATE
#define NEFIA_BUILD_DATE "unknown"
#endif

#endif
