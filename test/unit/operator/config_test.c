#include <stdio.h>

#include "operator/config.h"
#include "test/lib/testing.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define HEAD "version: 1\nvpn:\n  private_key: " KEY "\n  address: 10.99.0.1/24\n"
#define HOST(id, group, tag, addr)                                                                 \
	"- id: " id "\n  group: " group "\n  tags: [" tag "]\n  vpn:\n    addr: " addr "\n    public_key: " KEY "\n"

static const char three[] = HEAD "hosts:\n" HOST("a", "web", "x", "10.99.0.2") HOST("b", "web", "y", "10.99.0.4")
	HOST("c", "db", "x", "10.99.0.5");

static void selectors_and_addresses(void **state)
{
	static const struct {
		const char *selector;
		size_t want;
	} rows[] = { { "a", 1 }, { "web", 2 }, { "group:web", 2 }, { "tag:x", 2 }, { "x,web", 3 }, { "all", 3 }, { "a,a", 1 },
		     { "nobody", 0 }, { "a,nobody", 0 }, { "group:x", 0 } };
	const struct host_config *hosts[3];
	char why[256], miss[64], text[64];
	struct config c;
	struct ip_addr next, want;

	assert_int_equal(config_parse("n.yaml", three, strlen(three), &c, why, sizeof(why)), OK);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(text, sizeof(text), "%s", rows[i].selector);
		if (config_select(&c, text, hosts, miss) != rows[i].want)
			fail_msg("selector %s", text);
	}
	assert_int_equal(config_next_addr(&c, &next), OK);
	assert_int_equal(ip_addr_parse("10.99.0.3", &want), OK);
	assert_memory_equal(&next, &want, sizeof(want));
	config_free(&c);
}

static void a_newer_version_is_refused(void **state)
{
	struct config c;
	char why[256];

	assert_int_not_equal(config_parse("n.yaml", "version: 2\n", 11, &c, why, sizeof(why)), OK);
	assert_non_null(strstr(why, "n.yaml:1:10:"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(selectors_and_addresses),
		cmocka_unit_test(a_newer_version_is_refused),
	};

	return RUN_TESTS(tests);
}
