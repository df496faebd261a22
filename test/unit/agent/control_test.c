/* The control port over a real tunnel: what is answered, to whom, and what ends a connection. */
#include "agent/agent_internal.h"
#include "agent/control_client.h"
#include "agent/control_wire.h"
#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

#define NONCE "000102030405060708090a0b0c0d0e0f"
#define PING "{\"v\":1,\"op\":\"ping\",\"nonce\":\"" NONCE "\"}\n"

static struct tunpair pair;
static struct agent agent;
static char got[65536];
static size_t n_got;

static void on_tcp(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	n_got += net_tcp_read(c, got + n_got, sizeof(got) - 1 - n_got);
	got[n_got] = '\0';
}

static struct net_tcp *open_control(enum err *ret_e)
{
	struct net_tcp *c = tunpair_dial(&pair, "10.99.0.2:19821", ret_e);

	n_got = 0;
	got[0] = '\0';
	if (c)
		net_tcp_set_fn(c, on_tcp, NULL);
	return c;
}

static bool has_line(void *ctx)
{
	return strchr(got, '\n') || net_tcp_at_eof(ctx) || net_tcp_error(ctx) != OK;
}

static bool has_ended(void *ctx)
{
	return net_tcp_at_eof(ctx) || net_tcp_error(ctx) != OK;
}

static const char *ask(struct net_tcp *c, const char *text)
{
	n_got = 0;
	got[0] = '\0';
	assert_int_equal(net_tcp_write(c, text, strlen(text)), strlen(text));
	tunnel_kick(pair.hub);
	tunpair_run(&pair, has_line, c, 3 * NSEC_PER_SEC);
	return got;
}

static struct net_tcp *must_open(void)
{
	enum err e;
	struct net_tcp *c = open_control(&e);

	assert_non_null(c);
	return c;
}

/* The handle dies with the call. */
static void drop(struct net_tcp *c)
{
	net_tcp_abort(c);
	tunnel_kick(pair.hub);
	tunpair_rest(&pair, 0);
}

#define PONG "{\"v\":1,\"ok\":true,\"nonce\":\"" NONCE "\"}\n"

static bool has_two_pongs(void *ctx)
{
	return n_got >= 2 * strlen(PONG);
}

static void ping_echoes_its_nonce(void **state)
{
	uint8_t nonce[AGENT_CONTROL_NONCE_LEN] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
	struct net_tcp *c = must_open();
	json_t *j;

	assert_string_equal(ask(c, PING), PONG);
	assert_int_equal(agent_control_reply_parse(got, strlen(got), &j), OK);
	assert_true(agent_control_is_pong(j, nonce));
	nonce[15] ^= 1;
	assert_false(agent_control_is_pong(j, nonce));
	json_decref(j);
	/* The same connection again, and two at once. */
	assert_non_null(strstr(ask(c, "{\"v\":1,\"op\":\"version\"}\n"), "\"version\":\"v"));
	ask(c, PING PING);
	assert_true(tunpair_run(&pair, has_two_pongs, NULL, 3 * NSEC_PER_SEC));
	assert_int_equal(n_got, 2 * strlen(PONG));
	drop(c);
}

static json_t *ask_json(struct net_tcp *c, const char *text)
{
	json_t *j;

	ask(c, text);
	assert_int_equal(agent_control_reply_parse(got, n_got, &j), OK);
	return j;
}

static void health_and_status(void **state)
{
	struct net_tcp *c = must_open();
	json_t *j, *health;

	agent.health.vpn_connected = true;
	agent.health.rebuild_count = 7;
	j = ask_json(c, "{\"v\":1,\"op\":\"health\"}\n");
	health = json_object_get(j, "health");
	assert_string_equal(json_string_value(json_object_get(health, "status")), "ok");
	assert_int_equal(json_integer_value(json_object_get(health, "rebuild_count")), 7);
	json_decref(j);
	j = ask_json(c, "{\"v\":1,\"op\":\"status\"}\n");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "status"), "port")), tunnel_port(pair.agent));
	assert_non_null(json_object_get(j, "health"));
	json_decref(j);
	drop(c);
}

/* Hubs with one key hear of each other, never of themselves; the one that was silent longest is forgotten. */
static void hubs_hear_of_each_other(void **state)
{
	struct net_tcp *c = must_open();
	char line[128];
	json_t *j, *hubs;

	memset(agent.holders, 0, sizeof(agent.holders));
	assert_non_null(strstr(ask(c, "{\"v\":1,\"op\":\"hubs\",\"since\":1000}\n"), "\"hubs\":[]"));
	assert_non_null(strstr(ask(c, "{\"v\":1,\"op\":\"hubs\",\"since\":1000}\n"), "\"hubs\":[]"));
	j = ask_json(c, "{\"v\":1,\"op\":\"hubs\",\"since\":2000,\"brief\":true}\n");
	hubs = json_object_get(j, "hubs");
	assert_int_equal(json_array_size(hubs), 1);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(hubs, 0), "since")), 1000);
	assert_true(json_is_false(json_object_get(json_array_get(hubs, 0), "brief")));
	assert_non_null(strstr(json_string_value(json_object_get(json_array_get(hubs, 0), "from")), "127.0.0.1:"));
	assert_in_range(json_integer_value(json_object_get(json_array_get(hubs, 0), "ago_ms")), 0, 5000);
	json_decref(j);
	for (unsigned since = 3000; since <= 12000; since += 1000) {
		snprintf(line, sizeof(line), "{\"v\":1,\"op\":\"hubs\",\"since\":%u}\n", since);
		j = ask_json(c, line);
		assert_int_equal(json_array_size(json_object_get(j, "hubs")), MIN(since / 1000 - 1, AGENT_HOLDERS_MAX - 1));
		json_decref(j);
	}
	drop(c);
}

static void wrong_lines(void **state)
{
	static const struct {
		const char *line, *want;
		bool goes_on;
	} rows[] = {
		{ "{\"v\":1,\"op\":\"reboot\"}\n", "ERR_UNSUPPORTED", true },
		{ "{\"v\":2,\"op\":\"ping\"}\n", "ERR_VERSION", true },
		{ "{\"v\":1}\n", "ERR_UNSUPPORTED", true },
		{ "{\"v\":1,\"op\":\"ping\"}\n", "ERR_FORMAT", false },
		{ "{\"v\":1,\"op\":\"ping\",\"nonce\":\"0001\"}\n", "ERR_FORMAT", false },
		{ "{\"v\":1,\"op\":\"hubs\"}\n", "ERR_FORMAT", false },
		{ "{\"v\":1,\"op\":\"hubs\",\"since\":-1}\n", "ERR_FORMAT", false },
		{ "{\"op\":\"ping\"}\n", "ERR_FORMAT", false },
		{ "[]\n", "ERR_FORMAT", false },
		{ "GET / HTTP/1.1\n", "ERR_FORMAT", false },
		{ "\n", "ERR_FORMAT", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_tcp *c = must_open();

		if (!strstr(ask(c, rows[i].line), rows[i].want))
			fail_msg("row %zu: \"%s\"", i, got);
		if (rows[i].goes_on)
			assert_non_null(strstr(ask(c, PING), NONCE));
		else
			assert_true(tunpair_run(&pair, has_ended, c, NSEC_PER_SEC));
		drop(c);
	}
}

static void an_endless_line_is_cut_off(void **state)
{
	struct net_tcp *c = must_open();
	char line[2048];

	memset(line, 'x', sizeof(line));
	net_tcp_write(c, line, sizeof(line));
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, has_ended, c, NSEC_PER_SEC));
	assert_int_equal(n_got, 0);
	drop(c);
}

static void requests_of_a_connection_are_counted(void **state)
{
	struct net_tcp *c = must_open();
	int n = 0;

	while (n < 200 && strstr(ask(c, PING), NONCE))
		n++;
	assert_int_equal(n, 100);
	drop(c);
}

static bool one_is_free(void *ctx)
{
	return agent.n_controls < 4;
}

static void a_peers_fifth_connection_is_refused(void **state)
{
	struct net_tcp *c[4];
	enum err e;

	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		c[i] = must_open();
	assert_null(open_control(&e));
	assert_int_equal(e, ERR_REFUSED);
	/* By its other address it is the same peer. */
	assert_null(tunpair_dial(&pair, "[fd00::2]:19821", &e));
	assert_int_equal(e, ERR_REFUSED);
	net_tcp_abort(c[0]);
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, one_is_free, NULL, NSEC_PER_SEC));
	c[0] = must_open();
	assert_non_null(strstr(ask(c[0], PING), NONCE));
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		drop(c[i]);
	assert_true(tunpair_run(&pair, one_is_free, NULL, NSEC_PER_SEC));
}

struct pinged {
	bool over;
	enum err e;
};

static void on_pinged(void *ctx, enum err e, const json_t *reply)
{
	*(struct pinged *)ctx = (struct pinged){ true, e };
}

static bool is_over(void *ctx)
{
	return ((struct pinged *)ctx)->over;
}

static enum err ping(const char *addr)
{
	static const struct agent_control_request req = { .op = AGENT_CONTROL_PING };
	struct agent_ask *p;
	struct pinged r = { 0 };
	struct ip_addr ip;

	assert_int_equal(ip_addr_parse(addr, &ip), OK);
	assert_int_equal(agent_ask_start(pair.loop, pair.hub, &ip, &req, os_now() + NSEC_PER_SEC, on_pinged, &r, &p), OK);
	assert_true(tunpair_run(&pair, is_over, &r, 3 * NSEC_PER_SEC));
	return r.e;
}

/* Somebody on that port who does not speak as we do. */
static const char *impostor_says;

static void on_impostor(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	char buf[512];

	if (ev == NET_TCP_ERROR || net_tcp_at_eof(c)) {
		net_tcp_close(c);
		return;
	}
	if (net_tcp_read(c, buf, sizeof(buf)) > 0 && impostor_says)
		net_tcp_write(c, impostor_says, strlen(impostor_says));
}

static void on_impostor_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct net_tcp *c;

	assert_int_equal(net_syn_accept(syn, on_impostor, NULL, &c), OK);
}

static void the_operators_side(void **state)
{
	static const struct {
		const char *says;
		enum err want;
	} rows[] = {
		{ NULL, ERR_TIMEOUT },
		{ "{\"v\":1,\"ok\":true,\"nonce\":\"" NONCE "\"}\n", ERR_AUTH }, /* an answer to an older ping */
		{ "{\"v\":1,\"ok\":true}\n", ERR_AUTH },
		{ "{\"v\":2,\"ok\":true}\n", ERR_VERSION },
		{ "{\"v\":1,\"ok\":false,\"error\":\"ERR_UNSUPPORTED\"}\n", ERR_UNSUPPORTED },
		{ "SSH-2.0-x\n", ERR_FORMAT },
	};
	static char endless[4096];
	struct net_listener *impostor;

	assert_int_equal(ping("10.99.0.2"), OK);
	assert_int_equal(ping("fd00::2"), OK);
	assert_int_equal(ping("10.99.0.7"), ERR_NO_ROUTE);
	agent_control_close(&agent);
	assert_int_equal(ping("10.99.0.2"), ERR_REFUSED);
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), AGENT_CONTROL_PORT, 4, on_impostor_syn, NULL, &impostor), OK);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum err e;

		impostor_says = rows[i].says;
		e = ping("10.99.0.2");
		if (e != rows[i].want)
			fail_msg("row %zu: %s", i, err_name(e));
	}
	memset(endless, 'x', sizeof(endless) - 1);
	impostor_says = endless;
	assert_int_equal(ping("10.99.0.2"), ERR_PROTOCOL);
	net_listener_close(impostor);
	assert_int_equal(agent_control_open(&agent), OK);
}

/* In WireGuard's tables, as `wg set` could put it there, but not in the file. */
static void only_configured_peers_are_answered(void **state)
{
	size_t n = agent.cfg.n_peers;
	enum err e;

	agent.cfg.n_peers = 0;
	assert_null(open_control(&e));
	assert_int_equal(e, ERR_REFUSED);
	agent.cfg.n_peers = n;
	drop(must_open());
}

static int start(void **state)
{
	tunpair_open(&pair, NULL);
	agent.loop = pair.loop;
	agent.tunnel = pair.agent;
	agent.cfg.n_peers = 1;
	agent.cfg.peers[0] = pair.to_hub;
	list_init(&agent.controls);
	list_init(&agent.forwards);
	agent_monitor_init(&agent);
	return agent_control_open(&agent) == OK ? 0 : -1;
}

static int stop(void **state)
{
	agent_control_close(&agent);
	tunpair_close(&pair);
	return 0;
}

static void notices(void **state)
{
	static const char *const others[] = { "", "{}", "[]", "{\"v\":2,\"notice\":\"draining\"}", "{\"v\":1,\"notice\":\"x\"}",
					      "{\"v\":1,\"notice\":7}", "{\"v\":1,\"notice\":\"draining\"" };
	char *text = agent_control_draining();

	assert_non_null(text);
	assert_true(agent_control_is_draining(text, strlen(text)));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(agent_control_is_draining(others[i], strlen(others[i])));
	free(text);
}

/* The error of a reload names the file as it is called, and may be cut anywhere. */
static void a_report_survives_what_is_no_text(void **state)
{
	struct agent_health h = { .ssh = AGENT_SSH_REACHABLE };
	json_t *j;

	strcpy(h.last_config_error, "/etc/caf\xe9/agent.yaml:1:1: \xc3");
	j = agent_health_json(&h, os_now());
	assert_non_null(j);
	assert_string_equal(json_string_value(json_object_get(j, "last_config_error")), "/etc/caf?/agent.yaml:1:1: ?");
	json_decref(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notices),
		cmocka_unit_test(ping_echoes_its_nonce),
		cmocka_unit_test(health_and_status),
		cmocka_unit_test(hubs_hear_of_each_other),
		cmocka_unit_test(wrong_lines),
		cmocka_unit_test(an_endless_line_is_cut_off),
		cmocka_unit_test(requests_of_a_connection_are_counted),
		cmocka_unit_test(a_peers_fifth_connection_is_refused),
		cmocka_unit_test(the_operators_side),
		cmocka_unit_test(only_configured_peers_are_answered),
		cmocka_unit_test(a_report_survives_what_is_no_text),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
