/* What changes under a running connection: addresses, the port, and everything at once. */
#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

static struct tunpair pair;
static struct net_listener *listener;
static struct net_tcp *served; /* the agent's end of the last connection */
static enum err served_error;

static void on_served(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	if (ev == NET_TCP_ERROR && c == served)
		served_error = net_tcp_error(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	served_error = OK;
	assert_int_equal(net_syn_accept(syn, on_served, NULL, &served), OK);
}

static void on_client(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
}

static struct net_tcp *connect_to(const char *remote)
{
	enum err e;
	struct net_tcp *c = tunpair_dial(&pair, remote, &e);

	if (!c)
		fail_msg("%s: %s", remote, err_text(e));
	net_tcp_set_fn(c, on_client, NULL);
	return c;
}

static bool served_has_byte(void *ctx)
{
	return net_tcp_readable(served) > 0;
}

/* A byte gets through, within a time that no timeout of TCP fits into. */
static void assert_alive(struct net_tcp *c)
{
	char byte;

	assert_int_equal(net_tcp_write(c, "x", 1), 1);
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, served_has_byte, NULL, 3 * NSEC_PER_SEC));
	assert_int_equal(net_tcp_read(served, &byte, 1), 1);
}

static void drop(struct net_tcp *c)
{
	net_tcp_abort(c);
	net_tcp_close(served);
	tunnel_kick(pair.hub);
}

static bool client_failed(void *ctx)
{
	return net_tcp_error(ctx) != OK;
}

static void addresses(const char *const *text, size_t n)
{
	struct ip_prefix addrs[4];

	for (size_t i = 0; i < n; i++)
		assert_int_equal(ip_prefix_parse(text[i], &addrs[i]), OK);
	assert_int_equal(tunnel_set_addrs(pair.agent, addrs, n), OK);
}

static void allow_third(void)
{
	struct tunnel_peer *p = &pair.to_agent;

	p->n_allowed = 3;
	assert_int_equal(ip_prefix_parse("10.99.0.3/32", &p->allowed[2]), OK);
	assert_int_equal(tunnel_set_peers(pair.hub, p, 1), OK);
}

static void an_address_more_disturbs_nobody(void **state)
{
	struct net_tcp *c = connect_to("10.99.0.2:7"), *third;

	allow_third();
	addresses((const char *[]){ "10.99.0.2/24", "10.99.0.3/24" }, 2);
	assert_alive(c);
	drop(c);
	third = connect_to("10.99.0.3:7");
	assert_alive(third);
	drop(third);
}

static void what_stands_on_a_lost_address_is_reset(void **state)
{
	struct net_tcp *c = connect_to("10.99.0.2:7");
	enum err e;

	addresses((const char *[]){ "10.99.0.3/24", "fd00::2/64" }, 2);
	assert_int_equal(served_error, ERR_CLOSED);
	assert_true(tunpair_run(&pair, client_failed, c, 2 * NSEC_PER_SEC));
	assert_int_equal(net_tcp_error(c), ERR_RESET);
	drop(c);
	pair.patience = NSEC_PER_SEC; /* nobody has it */
	assert_null(tunpair_dial(&pair, "10.99.0.2:7", &e));
	pair.patience = 20 * NSEC_PER_SEC;
	c = connect_to("[fd00::2]:7");
	assert_alive(c);
	addresses((const char *[]){ "10.99.0.2/24", "fd00::2/64" }, 2);
	assert_alive(c);
	drop(c);
	drop(connect_to("10.99.0.2:7"));
	assert_int_equal(tunnel_set_addrs(pair.agent, NULL, 0), ERR_RANGE);
}

static wg_peer_id only_peer(struct tunnel *t)
{
	return wg_peer_next(tunnel_device(t), 0);
}

static bool both_up(void *ctx)
{
	return wg_peer_is_up(tunnel_device(pair.hub), only_peer(pair.hub), os_now()) &&
	       wg_peer_is_up(tunnel_device(pair.agent), only_peer(pair.agent), os_now());
}

static void a_connection_outlives_a_rebuild(void **state)
{
	struct net_tcp *c = connect_to("10.99.0.2:7");
	struct wg_peer_info info;
	struct endpoint nowhere = { .ip = ip_addr_v4(127, 0, 0, 1), .port = 9 };

	assert_alive(c);
	wg_peer_set_endpoint(tunnel_device(pair.agent), only_peer(pair.agent), &nowhere, os_now());
	assert_int_equal(tunnel_rebuild(pair.agent), OK);
	assert_false(wg_peer_is_up(tunnel_device(pair.agent), only_peer(pair.agent), os_now()));
	assert_true(tunpair_run(&pair, both_up, NULL, 3 * NSEC_PER_SEC));
	assert_true(wg_peer_get_info(tunnel_device(pair.agent), only_peer(pair.agent), os_now(), &info));
	assert_true(endpoint_equal(&info.endpoint, &pair.to_hub.endpoint));
	assert_alive(c);
	drop(c);
}

/* The simulator found two initiations in one turn: the peer answers the first, which is forgotten, and drops the second. */
static void a_rebuild_with_data_waiting_starts_one_handshake(void **state)
{
	struct net_tcp *c = connect_to("10.99.0.2:7");
	struct wg_private_key key = *wg_device_private(tunnel_device(pair.agent));

	assert_alive(c);
	/* A peer takes one initiation in 20 ms. */
	tunpair_rest(&pair, 30 * NSEC_PER_MSEC);
	wg_device_set_private(tunnel_device(pair.agent), &key, os_now());
	assert_int_equal(net_tcp_write(served, "z", 1), 1);
	net_flush();
	assert_int_equal(tunnel_rebuild(pair.agent), OK);
	assert_true(tunpair_run(&pair, both_up, NULL, 3 * NSEC_PER_SEC));
	assert_alive(c);
	drop(c);
}

static uint16_t free_port(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	close(fd);
	return ntohs(sin.sin_port);
}

/* Without a descriptor to be had a rebuild leaves the tunnel silent; the next one brings everything back. */
static void a_rebuild_without_descriptors_is_repeated(void **state)
{
	struct rlimit old, few;
	struct net_tcp *c;
	uint16_t port = free_port();

	assert_int_equal(tunnel_set_port(pair.agent, port), OK);
	c = connect_to("10.99.0.2:7");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){ 3, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_not_equal(tunnel_rebuild(pair.agent), OK);
	assert_int_equal(tunnel_port(pair.agent), 0);
	assert_int_equal(net_tcp_write(c, "y", 1), 1);
	tunnel_kick(pair.hub);
	assert_false(tunpair_run(&pair, served_has_byte, NULL, 300 * NSEC_PER_MSEC));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(tunnel_rebuild(pair.agent), OK);
	assert_int_equal(tunnel_port(pair.agent), port);
	assert_true(tunpair_run(&pair, both_up, NULL, 3 * NSEC_PER_SEC));
	assert_true(tunpair_run(&pair, served_has_byte, NULL, 3 * NSEC_PER_SEC));
	assert_alive(c);
	drop(c);
}

static int start(void **state)
{
	tunpair_open(&pair, NULL);
	return net_tcp_listen(tunnel_if(pair.agent), 7, 10, on_syn, NULL, &listener) == OK ? 0 : -1;
}

static int stop(void **state)
{
	net_listener_close(listener);
	tunpair_close(&pair);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_more_disturbs_nobody),
		cmocka_unit_test(what_stands_on_a_lost_address_is_reset),
		cmocka_unit_test(a_connection_outlives_a_rebuild),
		cmocka_unit_test(a_rebuild_with_data_waiting_starts_one_handshake),
		cmocka_unit_test(a_rebuild_without_descriptors_is_repeated),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
