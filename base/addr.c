/*
 * base/addr.c - addresses as text and back.
 *
 * inet_pton and inet_ntop do the work on one address: they are pure functions of the C library.
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && a->scope_id == b->scope_id && ip_addr_equal(&a->ip, &b->ip);
}

struct ip_addr ip_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct ip_addr){ .family = IP_V4, .b = { a, b, c, d } };
}

unsigned ip_addr_bits(const struct ip_addr *a)
{
	return a->family == IP_V6 ? 128 : 32;
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
	unsigned whole = p->bits / 8, rest = p->bits % 8;

	if (p->ip.family != a->family || memcmp(p->ip.b, a->b, whole) != 0)
		return false;
	return rest == 0 || ((p->ip.b[whole] ^ a->b[whole]) >> (8 - rest)) == 0;
}

void ip_prefix_mask(struct ip_prefix *p)
{
	unsigned bits = p->bits;

	for (unsigned i = 0; i < sizeof(p->ip.b); i++) {
		unsigned keep = bits > i * 8 ? MIN(bits - i * 8, 8u) : 0;

		p->ip.b[i] &= (uint8_t)(0xff00u >> keep);
	}
}

bool ip_addr_is_multicast(const struct ip_addr *a)
{
	return a->family == IP_V6 ? a->b[0] == 0xff : (a->b[0] & 0xf0) == 0xe0;
}

bool ip_addr_is_loopback(const struct ip_addr *a)
{
	static const uint8_t v6_loopback[16] = { [15] = 1 };

	return a->family == IP_V6 ? memcmp(a->b, v6_loopback, 16) == 0 : a->b[0] == 127;
}

bool ip_addr_is_unspecified(const struct ip_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, 16) == 0;
}

enum err ip_addr_parse(const char *s, struct ip_addr *ret)
{
	struct ip_addr a = { 0 };

	if (inet_pton(AF_INET, s, a.b) == 1)
		a.family = IP_V4;
	else if (inet_pton(AF_INET6, s, a.b) == 1)
		a.family = IP_V6;
	else
		return ERR_FORMAT;
	*ret = a;
	return OK;
}

/* Decimal digits only, no sign, no space, no leading zero run that hides a long number. */
static enum err parse_number(const char *s, unsigned long max, unsigned long *ret)
{
	unsigned long v = 0;

	if (*s == '\0' || strlen(s) > 10)
		return ERR_FORMAT;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return ERR_FORMAT;
		v = v * 10 + (unsigned long)(*s - '0');
	}
	if (v > max)
		return ERR_RANGE;
	*ret = v;
	return OK;
}

enum err ip_prefix_parse(const char *s, struct ip_prefix *ret)
{
	char text[IP_ADDR_STR_MAX];
	const char *slash = strchr(s, '/');
	size_t len = slash ? (size_t)(slash - s) : strlen(s);
	struct ip_prefix p = { 0 };
	unsigned long bits;
	enum err e;

	if (len >= sizeof(text))
		return ERR_FORMAT;
	memcpy(text, s, len);
	text[len] = '\0';
	e = ip_addr_parse(text, &p.ip);
	if (e != OK)
		return e;
	bits = ip_addr_bits(&p.ip);
	if (slash) {
		e = parse_number(slash + 1, bits, &bits);
		if (e != OK)
			return e;
	}
	p.bits = (uint8_t)bits;
	*ret = p;
	return OK;
}

/* "addr%scope" inside the brackets of an IPv6 endpoint. */
static enum err parse_scoped(char *text, struct endpoint *ret)
{
	char *pct = strchr(text, '%');
	unsigned long scope = 0;
	enum err e;

	if (pct) {
		*pct = '\0';
		e = parse_number(pct + 1, UINT32_MAX, &scope);
		if (e != OK)
			return e;
	}
	e = ip_addr_parse(text, &ret->ip);
	if (e == OK && pct && ret->ip.family != IP_V6)
		e = ERR_FORMAT;
	ret->scope_id = (uint32_t)scope;
	return e;
}

enum err endpoint_parse(const char *s, struct endpoint *ret)
{
	char text[ENDPOINT_STR_MAX];
	const char *colon = strrchr(s, ':');
	struct endpoint ep = { 0 };
	unsigned long port;
	bool bracket = s[0] == '[';
	size_t len;
	enum err e;

	if (!colon || colon == s)
		return ERR_FORMAT;
	len = (size_t)(colon - s);
	if (bracket) {
		if (len < 3 || s[len - 1] != ']')
			return ERR_FORMAT;
		s++;
		len -= 2;
	}
	if (len >= sizeof(text))
		return ERR_FORMAT;
	memcpy(text, s, len);
	text[len] = '\0';
	e = parse_scoped(text, &ep);
	if (e != OK)
		return e;
	if (bracket != (ep.ip.family == IP_V6))
		return ERR_FORMAT;
	e = parse_number(colon + 1, 65535, &port);
	if (e != OK)
		return e;
	ep.port = (uint16_t)port;
	*ret = ep;
	return OK;
}

const char *ip_addr_format(const struct ip_addr *a, char buf[IP_ADDR_STR_MAX])
{
	if (a->family == IP_NONE ||
	    !inet_ntop(a->family == IP_V6 ? AF_INET6 : AF_INET, a->b, buf, IP_ADDR_STR_MAX))
		snprintf(buf, IP_ADDR_STR_MAX, "none");
	return buf;
}

const char *ip_prefix_format(const struct ip_prefix *p, char buf[PREFIX_STR_MAX])
{
	char ip[IP_ADDR_STR_MAX];

	snprintf(buf, PREFIX_STR_MAX, "%s/%u", ip_addr_format(&p->ip, ip), p->bits);
	return buf;
}

const char *endpoint_format(const struct endpoint *e, char buf[ENDPOINT_STR_MAX])
{
	char ip[IP_ADDR_STR_MAX];

	ip_addr_format(&e->ip, ip);
	if (e->ip.family != IP_V6)
		snprintf(buf, ENDPOINT_STR_MAX, "%s:%u", ip, e->port);
	else if (e->scope_id)
		snprintf(buf, ENDPOINT_STR_MAX, "[%s%%%u]:%u", ip, (unsigned)e->scope_id, e->port);
	else
		snprintf(buf, ENDPOINT_STR_MAX, "[%s]:%u", ip, e->port);
	return buf;
}
