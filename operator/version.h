/* operator/version.h - what `nefia --version` says. */
#ifndef OPERATOR_VERSION_H
#define OPERATOR_VERSION_H

#ifndef NEFIA_VERSION
#define NEFIA_VERSION "0.1.0"
#endif

#endif
