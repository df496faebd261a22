#include <stdio.h>

#include "agent/config.h"
#include "test/lib/testing.h"

#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define OTHER "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define OWN "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="
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
	assert_int_equal(cfg.aead_workers, TUNNEL_WORKERS_AUTO);
	assert_int_equal(parse(GOOD "aead_workers: off\n"), OK);
	assert_int_equal(cfg.aead_workers, TUNNEL_WORKERS_OFF);
}

/* Every field N-AGT-19 to 38 in one file, with values of every form. */
static void all_fields(void **state)
{
	assert_int_equal(parse("version: 1\nprivate_key: keyring:agent-key\nlisten_port: 0\naddress: 10.99.0.2/24\n"
			       "dns: [10.99.0.1, 'fd00::1']\nssh_addr: unix:/run/sshd.sock\naead: libsodium\naead_workers: 3\ncongestion: bbr\n"
			       "update_server_url: https://updates.example/x\nagent_token: keyring:agent-token\n"
			       "agent_token_expires_at: 2026-06-01T00:00:00+02:00\nhost_id: web-1\n"
			       "stun_servers: ['stun.example.org:3478', '192.0.2.1:3478', '[2001:db8::1]:3478']\n"
			       "endpoint_refresh: 5m\ncloud_api_base: https://cloud.example\n"
			       "derp_servers:\n- url: wss://relay.example/derp\n  region: eu\n- {url: 'ws://localhost:8080/derp'}\n"
			       "derp_auto_select: false\nderp_probe_interval: 1h\n"
			       "beacons:\n  disk_usage:\n    enabled: true\n    interval: 5m\n    warning_percent: 80\n"
			       "    critical_percent: 90\n    paths: [/, /home]\n"
			       "  service_check: {enabled: true, interval: 30s, services: [nginx, postgresql]}\n"
			       "  scripts:\n  - name: custom-check\n    command: /opt/scripts/check.sh\n    interval: 10m\n"
			       PEERS "  endpoint: 192.0.2.7:51820\n"),
			 OK);
	assert_string_equal(cfg.keyring_item, "agent-key");
	assert_int_equal(cfg.listen_port, 0);
	assert_string_equal(cfg.ssh_addr, "unix:/run/sshd.sock");
	assert_string_equal(cfg.host_id, "web-1");
	assert_string_equal(cfg.aead, "libsodium");
	assert_int_equal(cfg.aead_workers, 3);
	assert_string_equal(cfg.congestion, "bbr");
	assert_true(endpoint_is_set(&cfg.peers[0].endpoint));
	assert_string_equal(cfg.later, "dns, update_server_url, agent_token, agent_token_expires_at, stun_servers, "
				       "endpoint_refresh, cloud_api_base, derp_servers, derp_auto_select, "
				       "derp_probe_interval, beacons");
}

static void empty_means_default(void **state)
{
	assert_int_equal(parse(GOOD "dns: []\nstun_servers:\nendpoint_refresh: ''\nderp_servers: []\nbeacons:\n"
			       "cloud_api_base: ''\nderp_probe_interval: ''\nagent_token_expires_at:\n"),
			 OK);
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
		{ "private_key: 'keyring:a b'\naddress: 10.99.0.2/24\n" PEERS,
		  "a.yaml:1:14: private_key is not a keyring reference" },
		{ "private_key: 'keyring:'\naddress: 10.99.0.2/24\n" PEERS,
		  "a.yaml:1:14: private_key is not a keyring reference" },
		{ "private_key: AAAA\naddress: 10.99.0.2/24\n" PEERS, "a.yaml:1:14: private_key is not a key" },
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
		{ GOOD "cloud_api_base: https://\n", "a.yaml:6:17: cloud_api_base must begin" },
		{ GOOD "update_server_url: ftp://x\n", "a.yaml:6:20: update_server_url must begin with https://" },
		{ GOOD "listen_port: -1\n", "a.yaml:6:14: " },
		{ GOOD "listen_port: [1]\n", "a.yaml:6:14: " },
		{ GOOD "dns: [10.99.0.1, dns.example]\n", "a.yaml:6:18: dns is not an IP address" },
		{ GOOD "ssh_addr: myhost:22\n", "a.yaml:6:11: ssh_addr must be" },
		{ GOOD "ssh_addr: 127.0.0.1\n", "a.yaml:6:11: ssh_addr must be" },
		{ GOOD "ssh_addr: 127.0.0.1:0\n", "a.yaml:6:11: ssh_addr must be" },
		{ GOOD "ssh_addr: [1, 2]\n", "a.yaml:6:11: " },
		{ GOOD "aead: rot13\n", "a.yaml:6:7: aead is not known" },
		{ GOOD "aead_workers: 9\n", "a.yaml:6:15: aead_workers must be auto, off or a number from 1 to 8" },
		{ GOOD "aead_workers: 0\n", "aead_workers must be" },
		{ GOOD "aead_workers: 11\n", "aead_workers must be" },
		{ GOOD "aead_workers: some\n", "aead_workers must be" },
		{ GOOD "congestion: vegas\n", "a.yaml:6:13: congestion is not known" },
		{ GOOD "agent_token: 'keyring:a/b'\n", "a.yaml:6:14: agent_token is not a keyring reference" },
		{ GOOD "agent_token_expires_at: 2026-06-01\n", "a.yaml:6:25: agent_token_expires_at is not a time" },
		{ GOOD "agent_token_expires_at: 2026-13-01T00:00:00Z\n", "a.yaml:6:25: agent_token_expires_at" },
		{ GOOD "agent_token_expires_at: 2026-06-01T00:00:00.Z\n", "a.yaml:6:25: agent_token_expires_at" },
		{ GOOD "stun_servers: [stun.example]\n", "a.yaml:6:16: stun_servers expects HOST:PORT" },
		{ GOOD "stun_servers: ['stun.example:0']\n", "a.yaml:6:16: stun_servers expects HOST:PORT" },
		{ GOOD "stun_servers: {a: b}\n", "a.yaml:6:15: stun_servers must be a value or a list" },
		{ GOOD "endpoint_refresh: 5\n", "a.yaml:6:19: endpoint_refresh is not a duration" },
		{ GOOD "derp_servers: wss://x\n", "a.yaml:6:15: derp_servers must be a list" },
		{ GOOD "derp_servers:\n- region: eu\n", "a.yaml:7:3: the relay's url is missing" },
		{ GOOD "derp_servers:\n- url: https://x\n", "a.yaml:7:8: url must begin with wss://" },
		{ GOOD "derp_servers:\n- [x]\n", "a.yaml:7:3: a mapping is expected" },
		{ GOOD "derp_auto_select: maybe\n", "a.yaml:6:19: derp_auto_select must be true or false" },
		{ GOOD "beacons: [x]\n", "a.yaml:6:10: a mapping is expected" },
		{ GOOD "beacons:\n  disk_usage:\n    warning_percent: 101\n", "a.yaml:8:22: warning_percent" },
		{ GOOD "beacons:\n  disk_usage:\n    warning_percent: 95\n", "a.yaml:8:5: warning_percent (95) is above" },
		{ GOOD "beacons:\n  disk_usage:\n    interval: 0s\n", "a.yaml:8:15: interval must be more than 0" },
		{ GOOD "beacons:\n  service_check:\n    enabled: 1\n", "a.yaml:8:14: enabled must be true or false" },
		{ GOOD "beacons:\n  service_check:\n    services: [[a]]\n", "a.yaml:8:16: " },
		{ GOOD "beacons:\n  scripts:\n  - name: x\n", "a.yaml:8:5: the script's command is missing" },
		{ GOOD "beacons:\n  scripts:\n  - command: /x\n", "a.yaml:8:5: the script's name is missing" },
		{ GOOD "- public_key: " KEY "\n  vpn_addr: 10.99.0.9\n", "a.yaml:6:3: this peer's public_key is in the list already" },
		{ GOOD "- public_key: " OTHER "\n  vpn_addr: 10.99.0.1\n", "a.yaml:6:3: this peer's vpn_addr is another's" },
		{ GOOD "- public_key: " OWN "\n  vpn_addr: 10.99.0.9\n", "a.yaml:6:3: this peer's public_key is the agent's own" },
		{ GOOD "- public_key: " OTHER "\n  vpn_addr: 10.99.0.9\n  endpoint: 1.2.3.4\n", "a.yaml:8:13: endpoint is not" },
		{ GOOD "- public_key: " OTHER "\n  vpn_addr: hub\n", "a.yaml:7:13: vpn_addr is not an IP address" },
		{ GOOD "version: 2\n", "a.yaml:6:10: version 2 is newer" },
		{ "private_key: [\n", "a.yaml:" },
		{ "", "a.yaml:1:1: " },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (parse(rows[i].text) == OK)
			fail_msg("row %zu: taken: %s", i, rows[i].text);
		if (!strstr(why, rows[i].want))
			fail_msg("row %zu: want \"%s\", got \"%s\"", i, rows[i].want, why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(all_fields),
		cmocka_unit_test(empty_means_default),
		cmocka_unit_test(lists_and_later_fields),
		cmocka_unit_test(each_failure_has_its_place_and_words),
	};

	return RUN_TESTS(tests);
}
