/* A kernel that refuses segmentation on one path: nothing is lost, the gauges tell, and a path that comes back is tried again. */
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "os/udp_internal.h"
#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

#define UDP_SEGMENT_TYPE 103
#define EACH (1u << 20)

static struct tunpair pair;
static struct net_tcp *from, *to;
static uint64_t want, written, got;
static bool refusing;
static unsigned n_long; /* runs in one call that the kernel took */
static uint8_t block[65536];

static ssize_t some_refused(int fd, const struct msghdr *m, int flags)
{
	bool is_run = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR((struct msghdr *)m, c))
		is_run |= c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT_TYPE;
	if (is_run && refusing) {
		errno = EMSGSIZE;
		return -1;
	}
	n_long += is_run;
	return sendmsg(fd, m, flags);
}

static int64_t gauge(const struct tunnel *t, const char *name)
{
	struct tunnel_gauge all[64];
	size_t n = tunnel_gauges(t, all, ARRAY_SIZE(all));

	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].value;
	fail_msg("no gauge %s", name);
	return -1;
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	size_t n = net_tcp_readable(c);

	net_tcp_consume(c, n);
	got += n;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_to, NULL, &to), OK);
}

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	size_t n;

	assert_true(ev != NET_TCP_ERROR);
	do {
		n = net_tcp_write(c, block, MIN(sizeof(block), (size_t)(want - written)));
		written += n;
	} while (n > 0 && written < want);
}

static bool all_arrived(void *ctx)
{
	return got == want;
}

static void send_a_mebibyte(void)
{
	want += EACH;
	on_from(NULL, from, NET_TCP_WRITABLE);
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, all_arrived, NULL, 10 * NSEC_PER_SEC));
}

static bool hub_knows_the_place(void *ctx)
{
	struct wg_device *dev = tunnel_device(pair.hub);
	struct wg_peer_info info;

	return wg_peer_get_info(dev, wg_peer_find(dev, &pair.to_agent.key), os_now(), &info) &&
	       info.endpoint.port == tunnel_port(pair.agent);
}

/* The agent's socket moves, and the hub hears of it by what comes from there. */
static void move_agent(uint16_t port)
{
	assert_int_equal(tunnel_set_port(pair.agent, port), OK);
	assert_true(tunpair_run(&pair, hub_knows_the_place, NULL, 10 * NSEC_PER_SEC));
}

static void a_path_that_comes_back_is_tried_again(void **state)
{
	struct net_listener *l;
	uint16_t first;
	enum err e;

	tunpair_open(&pair, NULL);
	first = tunnel_port(pair.agent);
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 22, 4, on_syn, NULL, &l), OK);
	from = tunpair_dial(&pair, "10.99.0.2:22", &e);
	assert_non_null(from);
	net_tcp_set_fn(from, on_from, NULL);
	if (!gauge(pair.hub, "gso"))
		skip();

	os_udp_sendmsg = some_refused;
	refusing = true;
	send_a_mebibyte();
	assert_int_equal(gauge(pair.hub, "gso_off_paths"), 1);
	assert_int_equal(gauge(pair.hub, "gso_refused"), 1);
	assert_int_equal(n_long, 0);

	/* Elsewhere it works; what was learned of the old place stays until the peer is there again. */
	refusing = false;
	move_agent(0);
	send_a_mebibyte();
	assert_true(n_long > 0);
	assert_int_equal(gauge(pair.hub, "gso_off_paths"), 1);
	move_agent(first);
	n_long = 0;
	send_a_mebibyte();
	assert_int_equal(gauge(pair.hub, "gso_off_paths"), 0);
	assert_true(n_long > 0);

	os_udp_sendmsg = sendmsg;
	net_tcp_abort(from);
	net_tcp_abort(to);
	net_listener_close(l);
	tunpair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_path_that_comes_back_is_tried_again) };

	return RUN_TESTS(tests);
}
