/*
 * test/unit/tunnel/torture_test.c - every allocation of a tunnel's work fails, one after the other (test/lib/shortage.h): of the
 * heap, of the stack's memory, of packet units. Two tunnels over loopback, with a session that stands.
 *
 * A call that says no must leave nothing behind. Two programs that are bridged to each other get every byte and the end, or are
 * told; and what is begun afterwards works. No block may be left. The handshake's own allocations are wg/torture_test's.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "os/stream.h"
#include "test/lib/shortage.h"
#include "test/lib/tunpair.h"
#include "tunnel/tunnel_internal.h"

#define BYTES 60000u
#define LIMIT (20 * NSEC_PER_SEC)
#define FASTER 20 /* two seconds of shortage are a tenth of one */

static struct tunpair pair;
static char folder[TEST_FOLDER_MAX];
static bool machine_has_v6;

/* A program at one end: writes BYTES and its end, reads what comes. */
struct program {
	struct os_stream *s;
	struct tunnel_bridge *b;
	uint8_t salt, from_salt;
	size_t sent, got;
	bool shut, eof, reset, bridged, told;
	enum err told_error;
};
static struct program near_end, far_end;
static struct net_listener *listener;
static struct tunnel_dial *dial;
static bool dial_over;

static nsec_t faster_clock(void)
{
	return os_now() * FASTER;
}

static uint8_t pattern(uint8_t salt, size_t i)
{
	return (uint8_t)(salt + i * 131 + (i >> 8) * 7);
}

static void take(struct program *p)
{
	uint8_t buf[4096];
	size_t n;
	enum err e;

	while (!p->eof && !p->reset && (e = os_stream_read(p->s, buf, sizeof(buf), &n)) != ERR_AGAIN) {
		p->reset = e != OK;
		p->eof = e == OK && n == 0;
		for (size_t i = 0; e == OK && i < n; i++, p->got++)
			assert_int_equal(buf[i], pattern(p->from_salt, p->got));
	}
}

static void give(struct program *p)
{
	uint8_t buf[4096];
	enum err e = OK;

	while (p->sent < BYTES && e == OK) {
		struct iovec iov = { buf, MIN(sizeof(buf), BYTES - p->sent) };
		size_t n = 0;

		for (size_t i = 0; i < iov.iov_len; i++)
			buf[i] = pattern(p->salt, p->sent + i);
		e = os_stream_writev(p->s, &iov, 1, &n);
		p->sent += e == OK ? n : 0;
		p->reset |= e != OK && e != ERR_AGAIN;
	}
	if (p->sent == BYTES && !p->shut) {
		os_stream_shutdown(p->s);
		p->shut = true;
	}
}

static void on_program(void *ctx, struct os_stream *s, int events)
{
	struct program *p = ctx;

	take(p);
	if (!p->reset)
		give(p);
	os_stream_want(s, (p->eof || p->reset ? 0 : OS_READ) | (p->shut || p->reset ? 0 : OS_WRITE));
}

static void on_bridge(void *ctx, struct tunnel_bridge *b, enum err e)
{
	struct program *p = ctx;

	p->b = NULL;
	p->told = true;
	p->told_error = e;
}

/* The program is the test's own, and takes its memory before. Return: the bridge's end of the pair. */
static int start_program(struct program *p, uint8_t salt, uint8_t from_salt)
{
	int fds[2];

	*p = (struct program){ .salt = salt, .from_salt = from_salt };
	assert_int_equal(os_socketpair(fds), OK);
	assert_int_equal(os_stream_new(pair.loop, fds[0], on_program, p, &p->s), OK);
	os_stream_want(p->s, OS_READ | OS_WRITE);
	return fds[1];
}

static int near_fd, far_fd;

static void bridge(struct program *p, struct tunnel *t, int *fd, struct net_tcp *c)
{
	enum err e = tunnel_bridge_start(pair.loop, t, *fd, c, on_bridge, p, &p->b);

	p->bridged = e == OK;
	if (e == OK) {
		*fd = -1;
		return;
	}
	assert_int_equal(e, ERR_NOMEM);
	net_tcp_abort(c);
	tunnel_kick(t);
}

static void on_early(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct net_tcp *c;

	if (far_fd < 0 || net_syn_accept(syn, on_early, NULL, &c) != OK)
		return;
	bridge(&far_end, pair.agent, &far_fd, c);
}

static void on_dialled(void *ctx, enum err e, struct net_tcp *c)
{
	dial = NULL;
	dial_over = true;
	if (e == OK)
		bridge(&near_end, pair.hub, &near_fd, c);
	else
		assert_true(shortage.n_failed > 0);
}

static bool program_is_over(const struct program *p)
{
	return p->reset || (p->eof && p->shut);
}

static bool is_over(void *ctx)
{
	if (dial_over && !near_end.bridged && !far_end.b)
		return true;
	return near_end.told && (far_end.told || !far_end.bridged) && program_is_over(&near_end);
}

/* Whoever was told that all went well has all of it. */
static void check(const struct program *p, const struct program *other)
{
	if (p->eof && !p->reset && other->shut && other->bridged && other->told && other->told_error == OK && p->told_error == OK)
		assert_int_equal(p->got, BYTES);
	if (shortage.n_failed == 0) {
		assert_int_equal(p->got, BYTES);
		assert_true(p->eof && p->told && p->told_error == OK);
	}
}

static void exchange(void)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };

	shortage.exempt = true;
	near_fd = start_program(&near_end, 3, 90);
	far_fd = start_program(&far_end, 90, 3);
	shortage.exempt = false;
	dial_over = false;
	if (tunnel_dial_start(pair.hub, &to, os_now() + LIMIT, on_dialled, NULL, &dial) == OK)
		assert_true(tunpair_run(&pair, is_over, NULL, LIMIT));
	else
		assert_true(shortage.n_failed > 0);
	check(&near_end, &far_end);
	check(&far_end, &near_end);
	shortage.exempt = true;
	tunnel_bridge_abort(near_end.b);
	tunnel_bridge_abort(far_end.b);
	for (int i = 0; i < 2; i++) {
		struct program *p = i ? &far_end : &near_end;
		int fd = i ? far_fd : near_fd;

		if (fd >= 0)
			close(fd);
		os_stream_close(p->s);
	}
	shortage.exempt = false;
}

static bool has_session(void *ctx)
{
	wg_peer_id peer = wg_peer_next(tunnel_device(pair.hub), 0);

	return wg_peer_is_up(tunnel_device(pair.hub), peer, os_now());
}

static void open_pair(void)
{
	wg_peer_id peer;

	tunpair_open(&pair, NULL);
	assert_int_equal(net_tcp_listen(tunnel_if(pair.agent), 22, 4, on_syn, NULL, &listener), OK);
	peer = wg_peer_next(tunnel_device(pair.hub), 0);
	wg_peer_connect(tunnel_device(pair.hub), peer, os_now());
	tunnel_kick(pair.hub);
	assert_true(tunpair_run(&pair, has_session, NULL, LIMIT));
}

static void close_pair(void)
{
	net_listener_close(listener);
	tunpair_close(&pair);
}

static unsigned programs_talk(unsigned fail, bool lasts)
{
	long before = shortage.n_live;

	open_pair();
	shortage_begin(0, fail, lasts);
	exchange();
	shortage_end();
	/* Memory is back: so is everything. */
	shortage.n_failed = 0;
	exchange();
	close_pair();
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void bridged_programs(void **state)
{
	/* Those after it cost TCP's timeouts: two minutes. */
	shortage_torture("bridged_programs", programs_talk, getenv("LONG") ? 2 : 1);
}

/* ---- made, and changed ---- */

static unsigned make(unsigned fail, bool lasts)
{
	long before = shortage.n_live;
	struct tunnel_config cfg = { .n_addrs = 1, .aead_workers = TUNNEL_WORKERS_OFF };
	struct tunnel_peer peer = { .key = { { 5 } }, .n_allowed = 2 };
	struct os_loop *loop = os_loop_new();
	struct tunnel *t = NULL;
	enum err e;

	memset(cfg.private_key.b, 9, KEY_LEN);
	assert_int_equal(ip_prefix_parse("10.99.0.1/24", &cfg.addrs[0]), OK);
	assert_int_equal(ip_prefix_parse("10.99.0.7/32", &peer.allowed[0]), OK);
	assert_int_equal(ip_prefix_parse("10.99.8.0/24", &peer.allowed[1]), OK);
	shortage_begin(0, fail, lasts);
	e = tunnel_open(loop, &cfg, &t);
	assert_true(e == OK || (e == ERR_NOMEM && shortage.n_failed > 0));
	shortage.until = 0;
	if (e != OK)
		assert_int_equal(tunnel_open(loop, &cfg, &t), OK);
	if (tunnel_set_peers(t, &peer, 1) != OK) {
		assert_true(shortage.n_failed > 0);
		shortage.until = 0;
		assert_int_equal(tunnel_set_peers(t, &peer, 1), OK);
	}
	assert_int_equal(wg_route(tunnel_device(t), &peer.allowed[1].ip), wg_peer_find(tunnel_device(t), &peer.key));
	/* Not of one family because there was no memory for the other. */
	assert_int_equal(os_udp_has(t->udp, IP_V6), machine_has_v6);
	shortage_end();
	tunnel_close(t);
	os_loop_free(loop);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void a_tunnel_is_made(void **state)
{
	shortage_torture("a_tunnel_is_made", make, 2);
}

/* ---- the user's interface ---- */

static char answer[4096];
static size_t answer_len;
static bool answered, hung_up;

static void on_answer(void *ctx, struct os_stream *s, int events)
{
	size_t n;
	enum err e;

	while ((e = os_stream_read(s, answer + answer_len, sizeof(answer) - 1 - answer_len, &n)) == OK && n > 0)
		answer_len += n;
	answer[answer_len] = '\0';
	answered = strstr(answer, "errno=");
	hung_up = e != ERR_AGAIN;
	os_stream_want(s, hung_up ? 0 : OS_READ);
}

static bool is_answered(void *ctx)
{
	return hung_up;
}

static void ask(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct os_stream *s;
	struct iovec iov = { (char *)"get=1\n\n", 7 };
	size_t n;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	shortage.exempt = true;
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(os_stream_new(pair.loop, fd, on_answer, NULL, &s), OK);
	shortage.exempt = false;
	os_stream_want(s, OS_READ);
	answer_len = answered = hung_up = 0;
	assert_int_equal(os_stream_writev(s, &iov, 1, &n), OK);
	/* At once: an answer, or the end. */
	assert_true(tunpair_run(&pair, is_answered, NULL, 2 * NSEC_PER_SEC));
	assert_true(answered || shortage.n_failed > 0);
	assert_true(!answered || strstr(answer, "allowed_ip=10.99.0.2/32\n"));
	os_stream_close(s);
}

static unsigned users_ask(unsigned fail, bool lasts)
{
	long before = shortage.n_live;
	struct tunnel_uapi *u = NULL;
	enum err e;

	tunpair_open(&pair, NULL);
	shortage_begin(0, fail, lasts);
	e = tunnel_uapi_open(pair.loop, pair.hub, folder, NULL, "wg", &u);
	assert_true(e == OK || (e == ERR_NOMEM && shortage.n_failed > 0));
	if (e != OK) {
		shortage.until = 0;
		assert_int_equal(tunnel_uapi_open(pair.loop, pair.hub, folder, NULL, "wg", &u), OK);
	}
	ask(tunnel_uapi_path(u));
	shortage_end();
	shortage.n_failed = 0;
	ask(tunnel_uapi_path(u));
	tunnel_uapi_close(u);
	tunpair_close(&pair);
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void the_users_interface(void **state)
{
	shortage_torture("the_users_interface", users_ask, 2);
}

/* What the process takes once, it has from here on. */
static int warm(void **state)
{
	shortage.clock = faster_clock;
	test_folder_make(folder, "torture");
	open_pair();
	machine_has_v6 = os_udp_has(pair.hub->udp, IP_V6);
	exchange();
	close_pair();
	return 0;
}

static int clean(void **state)
{
	return test_folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHORTAGE_TEST(a_tunnel_is_made),
		SHORTAGE_TEST(the_users_interface),
		SHORTAGE_TEST(bridged_programs),
	};

	return cmocka_run_group_tests(tests, warm, clean);
}
