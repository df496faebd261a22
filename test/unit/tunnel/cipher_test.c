/* The cipher provider follows the traffic: libsodium while it is quiet, the measured one from a burst on, kept on disk. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/wait.h>
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

/* Is the library of @want mapped? Nobody is counted up by the question. */
static bool is_loaded(void)
{
	void *so = strcmp(want, "libIPSec_MB") == 0 ? dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_NOLOAD) : &pair;

	if (so && so != &pair)
		dlclose(so);
	return so;
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

/* A process of its own comes to use @name: what is known here is the process's. */
static void assert_a_new_process_uses(const char *name)
{
	const char *measured = want;
	int status;
	pid_t pid;

	want = name;
	pid = fork();
	if (pid == 0) {
		bool ok;

		open_pair();
		burst();
		ok = tunpair_run(&pair, has_changed, pair.hub, 5 * NSEC_PER_SEC);
		close_pair();
		_exit(!ok);
	}
	want = measured;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* In the state file, in the line "aead NAME PRINT": another name, or, without one, another print. */
static void change_kept(const char *name)
{
	char *text, *line, *end, changed[8192];
	size_t len;

	assert_int_equal(os_file_read(path, 4096, &text, &len), OK);
	line = strstr(text, "\naead ");
	assert_non_null(line);
	end = strchr(line + 1, '\n');
	if (name) {
		snprintf(changed, sizeof(changed), "%.*s\naead %s%s", (int)(line - text), text, name,
			 strchr(line + strlen("\naead "), ' '));
	} else {
		end[-1] = end[-1] == '1' ? '2' : '1';
		snprintf(changed, sizeof(changed), "%s", text);
	}
	free(text);
	assert_int_equal(os_file_write_atomic(path, changed, strlen(changed), 0600), OK);
}

/* What was measured is used by the next process, and measured anew for another machine or build. */
static void a_measurement_is_kept(void **state)
{
	const char *other = strcmp(want, "libcrypto") == 0 ? "libIPSec_MB" : "libcrypto";

	if (strcmp(want, "libsodium") == 0 || !wg_aead_name_is_available(other))
		skip();
	assert_a_new_process_uses(want);
	change_kept(other);
	assert_a_new_process_uses(other);
	change_kept(NULL);
	assert_a_new_process_uses(want);
	unlink(path);
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
	assert_true(is_loaded());
	close_pair();
	/* libcrypto stays for good once it is in. */
	if (strcmp(want, "libIPSec_MB") == 0)
		assert_false(is_loaded());
}

/* One tunnel lets go of the library that another was told to use. */
static void a_forced_one_is_not_unloaded_by_another(void **state)
{
	struct tunnel_config cfg = { .n_addrs = 1, .aead = want };
	struct tunnel *forced;

	open_pair();
	memset(cfg.private_key.b, 9, KEY_LEN);
	assert_int_equal(ip_prefix_parse("10.98.0.1/24", &cfg.addrs[0]), OK);
	assert_int_equal(tunnel_open(pair.loop, &cfg, &forced), OK);
	burst();
	assert_string_equal(tunnel_aead(pair.hub), want);
	tunnel_close(pair.hub);
	pair.hub = NULL;
	net_listener_close(listener);
	tunnel_close(pair.agent);
	pair.agent = NULL;
	assert_true(is_loaded());
	tunnel_close(forced);
	tunpair_close(&pair);
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
		cmocka_unit_test(a_measurement_is_kept), /* first: this process has not measured yet */
		cmocka_unit_test(a_burst_brings_the_fastest),
		cmocka_unit_test(it_is_quiet_at_first_again),
		cmocka_unit_test(a_forced_one_is_not_unloaded_by_another),
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
