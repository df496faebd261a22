/* Addresses, prefixes and endpoints as text: what is accepted is in range and survives being written and read again. */
#include "base/addr.h"
#include "test/fuzz/fuzz.h"

static void check_prefix(const char *s)
{
	struct ip_prefix p, again, masked;
	char buf[PREFIX_STR_MAX];

	if (ip_prefix_parse(s, &p) != OK)
		return;
	ASSERT(p.bits <= ip_addr_bits(&p.ip));
	ASSERT(ip_prefix_parse(ip_prefix_format(&p, buf), &again) == OK);
	ASSERT(again.bits == p.bits && ip_addr_equal(&again.ip, &p.ip));
	masked = p;
	ip_prefix_mask(&masked);
	ASSERT(ip_prefix_contains(&masked, &p.ip) && ip_prefix_contains(&p, &masked.ip));
}

static void check_endpoint(const char *s)
{
	struct endpoint ep, again;
	char buf[ENDPOINT_STR_MAX];

	if (endpoint_parse(s, &ep) != OK)
		return;
	ASSERT(endpoint_parse(endpoint_format(&ep, buf), &again) == OK);
	ASSERT(endpoint_equal(&ep, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *s = fuzz_text(data, size), buf[IP_ADDR_STR_MAX];
	struct ip_addr a, again;

	if (ip_addr_parse(s, &a) == OK) {
		ASSERT(a.family == IP_V4 || a.family == IP_V6);
		ASSERT(ip_addr_parse(ip_addr_format(&a, buf), &again) == OK && ip_addr_equal(&a, &again));
	}
	check_prefix(s);
	check_endpoint(s);
	free(s);
	return 0;
}
