/* test/unit/operator/status_test.c - labels and marks of `nefia vpn status`. */
#include "operator/status.h"
#include "test/lib/testing.h"

static char *printed(const struct status *s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	status_print(f, s);
	fclose(f);
	return text;
}

static void test_not_probed(void **state)
{
	static const struct status_peer peers[] = {
		{ .host = "my-server", .addr = "10.99.0.2", .age_s = 125 },
		{ .host = "staging", .addr = "10.99.0.3", .age_s = 12 * 60 },
		{ .host = "old", .addr = "10.99.0.4", .age_s = 45 * 60 },
		{ .host = "mac-dev", .addr = "10.99.0.5", .pending = true, .age_s = STATUS_NEVER },
	};
	struct status s = { .peers = peers, .n_peers = 4, .magic_dns = true, .domain = "nefia",
			    .operator_addr = "10.99.0.1" };
	char *text = printed(&s);

	assert_string_equal(text, "VPN: enabled (not probed)\n"
				  "Peers:\n"
				  "  my-server 10.99.0.2 last handshake: 2m ago\n"
				  "  staging 10.99.0.3 last handshake: 12m ago [WARN]\n"
				  "  old 10.99.0.4 last handshake: 45m ago [STALE]\n"
				  "  mac-dev 10.99.0.5 pending\n"
				  "\n"
				  "Troubleshooting: 1 stale peer detected. Run 'nefia vpn status --live --ping' to investigate.\n"
				  "\n"
				  "MagicDNS: active (.nefia, 5 records)\n"
				  "  operator.nefia -> 10.99.0.1\n"
				  "  my-server.nefia -> 10.99.0.2\n"
				  "  staging.nefia -> 10.99.0.3\n"
				  "  old.nefia -> 10.99.0.4\n"
				  "  mac-dev.pending.nefia -> 10.99.0.5\n");
	free(text);
}

static void test_live(void **state)
{
	static const struct status_peer peers[] = {
		{ .host = "a", .addr = "10.99.0.2", .age_s = 3, .endpoint = "192.0.2.1:51820", .rx_bytes = 1023,
		  .tx_bytes = 1536, .up = true, .path = "direct", .pinged = true, .reachable = true, .ping_ms = 1.25 },
		{ .host = "b", .addr = "10.99.0.3", .age_s = STATUS_NEVER, .pinged = true, .ping_error = "timed out" },
	};
	struct status s = { .live = true, .pinged = true, .peers = peers, .n_peers = 2, .domain = "nefia" };
	char *text = printed(&s);

	assert_string_equal(text, "VPN: enabled (live)\n"
				  "Peers:\n"
				  "  a 10.99.0.2 last handshake: 3s ago\n"
				  "    endpoint: 192.0.2.1:51820\n"
				  "    transfer: 1023 B received, 1.50 KiB sent\n"
				  "    path: direct\n"
				  "    ping: reachable (1.2 ms)\n"
				  "  b 10.99.0.3 last handshake: never [STALE]\n"
				  "    endpoint: (unknown)\n"
				  "    transfer: 0 B received, 0 B sent\n"
				  "    path: (none) (down)\n"
				  "    ping: unreachable (timed out)\n"
				  "\n"
				  "Troubleshooting: 1 stale peer detected. Run 'nefia hub logs' to investigate.\n");
	free(text);
}

static void test_breaker(void **state)
{
	static const struct status_peer peers[] = {
		{ .host = "a", .addr = "10.99.0.2", .breaker = "open", .breaker_error = "ERR_REFUSED", .failures = 5, .next_attempt_s = 7,
		  .breaker_reason = "no SSH server answers there" },
		{ .host = "b", .addr = "10.99.0.3", .breaker = "open", .breaker_reason = "x", .failures = 6 },
		{ .host = "c", .addr = "10.99.0.4", .breaker = "half-open", .breaker_reason = "x", .failures = 7 },
		{ .host = "d", .addr = "10.99.0.5", .breaker = "closed", .breaker_reason = "y", .failures = 1 },
	};
	struct status s = { .peers = peers, .n_peers = 4, .domain = "nefia" };
	char *text = printed(&s);
	json_t *o = status_json(&s), *list = json_object_get(o, "peers"), *b = json_object_get(json_array_get(list, 0), "ssh_breaker");

	assert_non_null(strstr(text, "    ssh: circuit breaker open after 5 failures in a row: no SSH server answers there; next attempt in 7 s, "
				     "at once: nefia hub retry a\n"));
	/* Its time has come, and nobody has tried yet. */
	assert_non_null(strstr(text, "    ssh: circuit breaker half open after 6 failures in a row: x; the next command tries\n"));
	assert_non_null(strstr(text, "    ssh: circuit breaker half open after 7 failures in a row: x; the next command tries\n"));
	assert_non_null(strstr(text, "    ssh: 1 failure in a row: y\n"));
	assert_string_equal(json_string_value(json_object_get(b, "state")), "open");
	assert_string_equal(json_string_value(json_object_get(b, "reason")), "ERR_REFUSED");
	assert_int_equal(json_integer_value(json_object_get(b, "next_attempt_s")), 7);
	b = json_object_get(json_array_get(list, 2), "ssh_breaker");
	assert_true(json_is_null(json_object_get(b, "next_attempt_s")));
	json_decref(o);
	free(text);
}

static void test_mark_borders(void **state)
{
	static const struct {
		uint64_t age_s;
		const char *mark, *age;
	} rows[] = {
		{ 0, "", "0s ago" },	      { 59, "", "59s ago" },	      { 60, "", "1m ago" },
		{ 300, "", "5m ago" },	      { 301, "WARN", "5m ago" },      { 1800, "WARN", "30m ago" },
		{ 1801, "STALE", "30m ago" }, { 7199, "STALE", "119m ago" },  { 7200, "STALE", "2h ago" },
		{ 172800, "STALE", "2d ago" }, { STATUS_NEVER, "STALE", "never" },
	};
	char buf[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct status_peer p = { .age_s = rows[i].age_s };

		assert_string_equal(status_mark(&p), rows[i].mark);
		assert_string_equal(status_age(rows[i].age_s, buf), rows[i].age);
	}
}

static void test_json(void **state)
{
	static const struct status_peer peers[] = {
		{ .host = "a", .addr = "10.99.0.2", .age_s = 3 },
		{ .host = "b", .addr = "10.99.0.3", .age_s = STATUS_NEVER },
	};
	struct status s = { .peers = peers, .n_peers = 2, .magic_dns = true, .domain = "nefia",
			    .operator_addr = "10.99.0.1" };
	json_t *udp = json_pack("{s:i}", "gso", 1), *o;
	json_t *list;

	o = status_json(&s);
	assert_null(json_object_get(o, "udp"));
	json_decref(o);
	s.udp = udp;
	o = status_json(&s);
	list = json_object_get(o, "peers");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "udp"), "gso")), 1);
	assert_int_equal(json_integer_value(json_object_get(o, "version")), 1);
	assert_int_equal(json_integer_value(json_object_get(o, "stale")), 1);
	assert_true(json_is_false(json_object_get(o, "probed")));
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "last_handshake_age_s")), 3);
	assert_true(json_is_null(json_object_get(json_array_get(list, 1), "last_handshake_age_s")));
	assert_null(json_object_get(json_array_get(list, 0), "endpoint"));
	assert_int_equal(json_array_size(json_object_get(json_object_get(o, "magic_dns"), "records")), 3);
	json_decref(o);
	json_decref(udp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_probed),
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_breaker),
		cmocka_unit_test(test_mark_borders),
		cmocka_unit_test(test_json),
	};

	return RUN_TESTS(tests);
}
