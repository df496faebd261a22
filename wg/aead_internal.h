/* wg/aead_internal.h - the entries of the provider table. */
#ifndef WG_AEAD_INTERNAL_H
#define WG_AEAD_INTERNAL_H

#include "wg/aead.h"

extern const struct wg_aead wg_aead_openssl;
extern const struct wg_aead wg_aead_ipsecmb;

#endif
