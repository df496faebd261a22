/* wg/dh_internal.h - the entries of the table of X25519 providers. */
#ifndef WG_DH_INTERNAL_H
#define WG_DH_INTERNAL_H

#include "wg/dh.h"

extern const struct wg_dh_provider wg_dh_ifma;

#endif
