/* The cipher provider follows the traffic: libsodium while it is quiet, the measured one from a burst on, kept on disk. */
#include <stdlib.h>
#include <unistd.h>

#include "os/file.h"
#include "test/lib/testing.h"
#include "test/lib/tunpair.h"

#define BURST (4 << 20)

static char dir[] = "/tmp/cipher.XXXXXX", path[64];
static struct tunpair pair;
static struct net_listener *listener;
static size_t n_received;
static const char *want; /* what a measurement here says */

static void on_served(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	static char buf[65536];
	size_t n;

	while ((n = net_tcp_read(c, buf, sizeof(buf))) > 0)
		n_received += n;
	if (ev == NET_TCP_ERROR)
		net_tcp_close(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct net_tcp *c;

	assert_int_equal(net_syn_accept(syn, on_served, NULL, &c), OK);
}

static void on_client(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	static const char zeros[65536];
	size_t *left = ctx, n;

	while (*left > 0 && (n = net_tcp_write(c, zeros, MIN(*left, sizeof(zeros)))) > 0)
		*left -= n;
}

static bool all_received(void *ctx)
{
	return n_received >= BURST;
}

static bool has_changed(void *ctx)
{
	return strcmp(tunnel_aead(ctx), want) == 0;
}

static void burst(void)
{
	size_t left = BURST;
	enum err e;
	struct net_tcp *c = tunpair_dial(&pair, "10.99.0.2:7", &e);

	assert_non_null(c);
	n_received = 0;
	net_tcp_set_fn(c, on_client, &left);
	on_client(&left, c, NET_TCP_WRITABLE);
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, all_received, NULL, 20 * NSEC_PER_SEC));
	net_tcp_abort(c);
	tunnel_kick(pair.hub);
}

static void open_pair(void)
{
	tunpair_open(&pair, path);
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 7, 10, on_syn, NULL, &listener), OK);
}

static void close_pair(void)
{
	net_listener_close(listener);
	tunpair_close(&pair);
}

static void a_burst_brings_the_fastest(void **state)
{
	char *text;
	size_t len;

	open_pair();
	assert_string_equal(tunnel_aead(pair.hub), "libsodium");
	burst();
	/* Both ends, whoever measured. */
	assert_true(tunpair_run(&pair, has_changed, pair.hub, 5 * NSEC_PER_SEC));
	burst();
	assert_true(tunpair_run(&pair, has_changed, pair.agent, 5 * NSEC_PER_SEC));
	close_pair();
	assert_int_equal(os_file_read(path, 65536, &text, &len), OK);
	if (strcmp(want, "libsodium") != 0) /* else nobody waited for the answer */
		assert_non_null(strstr(text, "\naead lib"));
	free(text);
}

static void it_is_quiet_at_first_again(void **state)
{
	open_pair();
	assert_string_equal(tunnel_aead(pair.hub), "libsodium");
	burst();
	assert_string_equal(tunnel_aead(pair.hub), want);
	close_pair();
}

static void a_forced_one_is_there_at_once_and_stays(void **state)
{
	struct os_loop *loop = os_loop_new();
	struct tunnel_config cfg = { .n_addrs = 1, .aead = want };
	struct tunnel *t;

	memset(cfg.private_key.b, 9, KEY_LEN);
	assert_int_equal(ip_prefix_parse("10.99.0.1/24", &cfg.addrs[0]), OK);
	assert_int_equal(tunnel_open(loop, &cfg, &t), OK);
	assert_string_equal(tunnel_aead(t), want);
	tunnel_close(t);
	cfg.aead = "rot13";
	assert_int_equal(tunnel_open(loop, &cfg, &t), ERR_UNSUPPORTED);
	os_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_brings_the_fastest),
		cmocka_unit_test(it_is_quiet_at_first_again),
		cmocka_unit_test(a_forced_one_is_there_at_once_and_stays),
	};
	int r;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/state", dir);
	want = wg_aead_pick(os_now);
	r = RUN_TESTS(tests);
	unlink(path);
	rmdir(dir);
	return r;
}
