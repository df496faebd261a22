/* base/endian.h - integers in and out of byte strings, without alignment. */
#ifndef BASE_ENDIAN_H
#define BASE_ENDIAN_H

#include <endian.h>
#include <string.h>

#include "base/types.h"

#define ENDIAN_DEFINE(suffix, type, conv_in, conv_out)                                             \
	static inline type get_##suffix(const void *p)                                             \
	{                                                                                          \
		type v;                                                                            \
		memcpy(&v, p, sizeof(v));                                                          \
		return conv_in(v);                                                                 \
	}                                                                                          \
	static inline void put_##suffix(void *p, type v)                                           \
	{                                                                                          \
		v = conv_out(v);                                                                   \
		memcpy(p, &v, sizeof(v));                                                          \
	}

ENDIAN_DEFINE(be16, uint16_t, be16toh, htobe16)
ENDIAN_DEFINE(be32, uint32_t, be32toh, htobe32)
ENDIAN_DEFINE(be64, uint64_t, be64toh, htobe64)
ENDIAN_DEFINE(le16, uint16_t, le16toh, htole16)
ENDIAN_DEFINE(le32, uint32_t, le32toh, htole32)
ENDIAN_DEFINE(le64, uint64_t, le64toh, htole64)

#endif
