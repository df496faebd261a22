/* base/addr.h - IP addresses, prefixes and UDP endpoints, without any kernel type. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include "base/err.h"
#include "base/types.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

/* An address in network byte order; unused bytes are zero, so that memcmp and hashing work. */
struct ip_addr {
	uint8_t family; /* enum ip_family */
	uint8_t b[16];
};

struct ip_prefix {
	struct ip_addr ip;
	uint8_t bits;
};

struct endpoint {
	struct ip_addr ip;
	uint16_t port;     /* host byte order; 0 = none */
	uint32_t scope_id; /* IPv6 link-local interface, else 0 */
};

/* Where a datagram goes to or came from: the remote end, and our own address of it (sticky source;
 * local.family IP_NONE = let the kernel choose). */
struct path_addr {
	struct endpoint remote;
	struct ip_addr local;
	uint32_t ifindex;
};

#define IP_ADDR_STR_MAX 46
#define ENDPOINT_STR_MAX 66
#define PREFIX_STR_MAX 50

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
static inline bool endpoint_is_set(const struct endpoint *e)
{
	return e->ip.family != IP_NONE && e->port != 0;
}
struct ip_addr ip_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
/** ip_addr_bits() - 32 or 128 */
unsigned ip_addr_bits(const struct ip_addr *a);
/** ip_prefix_contains() - families equal and the first bits of @a those of @p */
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
/** ip_prefix_mask() - clear the host bits */
void ip_prefix_mask(struct ip_prefix *p);
bool ip_addr_is_multicast(const struct ip_addr *a);
bool ip_addr_is_loopback(const struct ip_addr *a);
bool ip_addr_is_unspecified(const struct ip_addr *a);

/* Parsers take a NUL-terminated text, accept exactly the whole of it, and write on success only.
 * Return: OK; ERR_FORMAT; ERR_RANGE (prefix length or port). */
enum err ip_addr_parse(const char *s, struct ip_addr *ret);
/** ip_prefix_parse() - "10.99.0.2/24"; without a length the whole address. Host bits are kept. */
enum err ip_prefix_parse(const char *s, struct ip_prefix *ret);
/** endpoint_parse() - "1.2.3.4:51820", "[fe80::1%3]:51820"; numeric only */
enum err endpoint_parse(const char *s, struct endpoint *ret);

/* Formatters return @buf. IPv6 is written as in RFC 5952. */
const char *ip_addr_format(const struct ip_addr *a, char buf[IP_ADDR_STR_MAX]);
const char *ip_prefix_format(const struct ip_prefix *p, char buf[PREFIX_STR_MAX]);
const char *endpoint_format(const struct endpoint *e, char buf[ENDPOINT_STR_MAX]);

#endif
