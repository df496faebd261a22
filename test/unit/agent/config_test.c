#include <stdio.h>

#include "agent/config.h"
#include "test/lib/testing.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define PEERS "peers:\n- public_key: " KEY "\n  vpn_addr: 10.99.0.1\n"
#define GOOD "private_key: " KEY "\naddress: 10.99.0.2/24\n" PEERS

static struct agent_config cfg;
static char why[512];

static enum err parse(const char *text)
{
	return agent_config_parse("a.yaml", text, strlen(text), &cfg, why, sizeof(why));
}

static void defaults(void **state)
{
	assert_int_equal(parse(GOOD), OK);
	assert_int_equal(cfg.listen_port, 51820);
	assert_string_equal(cfg.ssh_addr, "127.0.0.1:22");
	assert_int_equal(cfg.n_peers, 1);
	assert_int_equal(cfg.peers[0].n_allowed, 1);
	assert_int_equal(cfg.peers[0].allowed[0].bits, 32);
	assert_string_equal(cfg.later, "");
}

static void lists_and_later_fields(void **state)
{
	assert_int_equal(parse("private_key: " KEY "\naddress: [10.99.0.2/24, 'fd00::2/64']\ndns: [10.99.0.1]\n"
			       "agent_token: x\nderp_probe_interval: 30s\npeers:\n- public_key: " KEY
			       "\n  vpn_addr: [10.99.0.1, 'fd00::1']\n  preshared_key: " KEY "\n"),
			 OK);
	assert_int_equal(cfg.n_addrs, 2);
	assert_int_equal(cfg.peers[0].allowed[1].bits, 128);
	assert_int_equal(cfg.peers[0].psk.b[1], 1);
	assert_string_equal(cfg.later, "dns, agent_token, derp_probe_interval");
}

static void each_failure_has_its_place_and_words(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "address: 10.99.0.2/24\n" PEERS, "private_key is missing" },
		{ "private_key: keyring:x\naddress: 10.99.0.2/24\n" PEERS, "a.yaml:1:14: private_key names a keyring" },
		{ "private_key: " KEY "\naddress: 10.99.0.2\n" PEERS, "a.yaml:2:10: address is not valid" },
		{ "private_key: " KEY "\n" PEERS, "address is missing" },
		{ "private_key: " KEY "\naddress: 10.99.0.2/24\npeers: []\n", "a.yaml:3:8: at least one peer" },
		{ "private_key: " KEY "\naddress: 10.99.0.2/24\npeers:\n- vpn_addr: 10.99.0.1\n",
		  "a.yaml:4:3: the peer's public_key is missing" },
		{ "private_key: " KEY "\naddress: 10.99.0.2/24\npeers:\n- public_key: " KEY "\n",
		  "a.yaml:4:3: the peer's vpn_addr is missing" },
		{ GOOD "listen_port: 65536\n", "a.yaml:6:14: " },
		{ GOOD "derp_probe_interval: soon\n", "a.yaml:6:22: derp_probe_interval is not a duration" },
		{ GOOD "derp_probe_interval: 29s\n", "a.yaml:6:22: derp_probe_interval must be at least 30s" },
		{ GOOD "cloud_api_base: http://x\n", "a.yaml:6:17: cloud_api_base must begin" },
		{ GOOD "version: 2\n", "a.yaml:6:10: version 2 is newer" },
		{ "private_key: [\n", "a.yaml:" },
		{ "", "a.yaml:1:1: " },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_not_equal(parse(rows[i].text), OK);
		if (!strstr(why, rows[i].want))
			fail_msg("row %zu: want \"%s\", got \"%s\"", i, rows[i].want, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(lists_and_later_fields),
		cmocka_unit_test(each_failure_has_its_place_and_words),
	};

	return RUN_TESTS(tests);
}
