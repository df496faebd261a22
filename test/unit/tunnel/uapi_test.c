/* The userspace API as bytes on its socket: what is answered, with which errno, and what the device holds after. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/loop.h"
#include "test/lib/testing.h"
#include "tunnel/tunnel_internal.h"

#define PEER "public_key=0707070707070707070707070707070707070707070707070707070707070707\n"

static char dir[] = "/tmp/uapi.XXXXXX", answer[8192];
static struct os_loop *loop;
static struct tunnel *tun;
static struct tunnel_uapi *uapi;
static struct os_timer tick;
static int client;
static size_t got;

/* Stops the loop once the answer has its empty line, or the other side has closed. */
static void on_tick(void *ctx)
{
	ssize_t n = recv(client, answer + got, sizeof(answer) - 1 - got, MSG_DONTWAIT);

	got += n > 0 ? (size_t)n : 0;
	answer[got] = '\0';
	if (n == 0 || strstr(answer, "\n\n"))
		os_loop_stop(loop);
	else
		os_timer_set(&tick, os_now() + NSEC_PER_SEC / 1000);
}

static int ask(const char *request)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const char *e;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", tunnel_uapi_path(uapi));
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(send(client, request, strlen(request), 0), (ssize_t)strlen(request));
	got = 0;
	os_timer_set(&tick, os_now());
	os_loop_run(loop);
	close(client);
	e = strstr(answer, "errno=");
	return e ? -atoi(e + 6) : -1; /* negative on the wire, as wireguard-go has it */
}

static int start(void **state)
{
	struct tunnel_config cfg = { .n_addrs = 1 };

	if (!mkdtemp(dir) || ip_prefix_parse("10.99.0.1/24", &cfg.addrs[0]) != OK)
		return -1;
	memset(cfg.private_key.b, 9, KEY_LEN);
	loop = os_loop_new();
	os_timer_init(&tick, loop, on_tick, NULL);
	return tunnel_open(loop, &cfg, &tun) == OK && tunnel_uapi_open(loop, tun, dir, NULL, "t", &uapi) == OK ? 0 : -1;
}

static int stop(void **state)
{
	tunnel_uapi_close(uapi);
	tunnel_close(tun);
	os_loop_free(loop);
	return rmdir(dir);
}

static void socket_is_ours_alone(void **state)
{
	struct stat st;

	assert_int_equal(stat(tunnel_uapi_path(uapi), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void errors(void **state)
{
	static const struct {
		const char *request;
		int want;
	} table[] = {
		{ "set=1\n\n", 0 },
		{ "set=1\nfwmark=0\n\n", 0 },
		{ "set=1\nfwmark=7\n\n", EOPNOTSUPP },
		{ "set=1\nfwmark=-1\n\n", EINVAL },
		{ "set=1\nlisten_port=0\n\n", 0 },
		{ "set=1\nlisten_port=65536\n\n", EINVAL },
		{ "set=1\nlisten_port=12x\n\n", EINVAL },
		{ "set=1\nlisten_port=\n\n", EINVAL },
		{ "set=1\nprivate_key=12\n\n", EINVAL },
		{ "set=1\nreplace_peers=yes\n\n", EINVAL },
		{ "set=1\nno equals sign\n\n", EPROTO },
		{ "set=1\ncolour=blue\n\n", EINVAL },
		{ "set=1\npublic_key=07\n\n", EINVAL },
		{ "set=1\n" PEER "remove=yes\n\n", EINVAL },
		{ "set=1\n" PEER "persistent_keepalive_interval=65536\n\n", EINVAL },
		{ "set=1\n" PEER "persistent_keepalive_interval=off\n\n", EINVAL },
		{ "set=1\n" PEER "allowed_ip=10.0.0.0/33\n\n", EINVAL },
		{ "set=1\n" PEER "endpoint=example:1\n\n", EINVAL },
		{ "set=1\n" PEER "protocol_version=2\n\n", EINVAL },
		{ "set=1\n" PEER "preshared_key=zz\n\n", EINVAL },
		{ "set=1\n" PEER "remove=true\n\n", 0 },
		{ "shout=1\n\n", EINVAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int r = ask(table[i].request);

		if (r != table[i].want)
			fail_msg("'%s': errno=%d, expected %d", table[i].request, r, table[i].want);
	}
}

static void what_is_set_is_got(void **state)
{
	assert_int_equal(ask("set=1\n" PEER "endpoint=[2001:db8::1]:9\nallowed_ip=10.9.0.0/16\nallowed_ip=fd00::/8\n"
			     "persistent_keepalive_interval=25\n\n"), 0);
	assert_int_equal(ask("get=1\n\n"), 0);
	assert_non_null(strstr(answer, PEER));
	assert_non_null(strstr(answer, "endpoint=[2001:db8::1]:9\n"));
	assert_non_null(strstr(answer, "allowed_ip=10.9.0.0/16\n"));
	assert_non_null(strstr(answer, "allowed_ip=fd00::/8\n"));
	assert_non_null(strstr(answer, "persistent_keepalive_interval=25\n"));
	assert_int_equal(ask("set=1\n" PEER "replace_allowed_ips=true\nallowed_ip=10.8.0.0/16\n\n"), 0);
	assert_int_equal(ask("get=1\n\n"), 0);
	assert_null(strstr(answer, "10.9.0.0"));
	assert_non_null(strstr(answer, "allowed_ip=10.8.0.0/16\n"));
	assert_int_equal(ask("set=1\nreplace_peers=true\n\n"), 0);
	assert_int_equal(ask("get=1\n\n"), 0);
	assert_null(strstr(answer, "public_key="));
}

/* update_only makes no peer; a bad line ends the set, what stood before it is done. */
static void partial_sets(void **state)
{
	assert_int_equal(ask("set=1\n" PEER "update_only=true\nallowed_ip=10.9.0.0/16\n\n"), 0);
	assert_int_equal(ask("get=1\n\n"), 0);
	assert_null(strstr(answer, "public_key="));
	assert_int_equal(ask("set=1\n" PEER "allowed_ip=10.9.0.0/16\ncolour=blue\nallowed_ip=10.8.0.0/16\n\n"), EINVAL);
	assert_int_equal(ask("get=1\n\n"), 0);
	assert_non_null(strstr(answer, "allowed_ip=10.9.0.0/16\n"));
	assert_null(strstr(answer, "10.8.0.0"));
}

static void port_moves(void **state)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	char request[64], want[64];
	int taken = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint16_t port;

	assert_int_equal(bind(taken, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(taken, (struct sockaddr *)&sin, &len), 0);
	port = ntohs(sin.sin_port);
	snprintf(request, sizeof(request), "set=1\nlisten_port=%u\n\n", port);
	assert_int_equal(ask(request), EADDRINUSE);
	close(taken);
	assert_int_equal(ask(request), 0);
	assert_int_equal(tunnel_port(tun), port);
	assert_int_equal(ask("get=1\n\n"), 0);
	snprintf(want, sizeof(want), "listen_port=%u\n", port);
	assert_non_null(strstr(answer, want));
}

/* What a set does has the time of its turn: an initiation that it starts is under way for what follows. */
static void a_set_is_of_its_turn(void **state)
{
	static const uint8_t pkt[20] = { 0x45, [3] = 20, [12] = 10, 99, 0, 1, 10, 8, 0, 1 };
	char request[] = "set=1\n" PEER "endpoint=127.0.0.1:9\nallowed_ip=10.8.0.0/16\npersistent_keepalive_interval=25\n";
	struct iovec iov = { (void *)pkt, sizeof(pkt) };
	struct wg_device_stats before, after;
	FILE *f = fopen("/dev/null", "w");

	wg_device_get_stats(tunnel_device(tun), &before);
	usleep(2000); /* the loop's time stands */
	tunnel_uapi_answer(tun, request, f);
	fclose(f);
	assert_int_equal(wg_device_send(tunnel_device(tun), os_loop_now(loop), &iov, 1, sizeof(pkt)), WG_SEND_STAGED);
	wg_device_get_stats(tunnel_device(tun), &after);
	assert_int_equal(after.n_handshakes_out, before.n_handshakes_out + 1);
	assert_int_equal(ask("set=1\nreplace_peers=true\n\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(socket_is_ours_alone), cmocka_unit_test(errors), cmocka_unit_test(what_is_set_is_got),
		cmocka_unit_test(partial_sets),		cmocka_unit_test(port_moves),
		cmocka_unit_test(a_set_is_of_its_turn),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
