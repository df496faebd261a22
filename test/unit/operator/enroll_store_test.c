/* Invites in nefia.yaml: made, used once, given again; the person's text stays; a kill at any point leaves a whole file. */
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "operator/edit.h"
#include "operator/enroll_store.h"
#include "os/file.h"
#include "os/loop.h"
#include "test/lib/testing.h"

#define WALL 1700000000

static const char start[] = "version: 1\n"
			    "# mine\n"
			    "vpn:\n"
			    "  private_key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
			    "  address: 10.99.0.1/24\n"
			    "hosts:\n"
			    "  # the first one\n"
			    "  - id: old   # kept\n"
			    "    vpn: { addr: 10.99.0.2 }\n"
			    "\n"
			    "  # the end\n";

static char dir[TEST_FOLDER_MAX], file[96];

static int setup(void **state)
{
	test_folder_make(dir, "enroll_store");
	snprintf(file, sizeof(file), "%s/nefia.yaml", dir);
	assert_int_equal(os_file_write_atomic(file, start, strlen(start), 0600), OK);
	return 0;
}

static int teardown(void **state)
{
	return test_folder_remove(dir);
}

static void load(struct config *ret)
{
	char why[512] = "";

	if (config_load(file, ret, why, sizeof(why)) != OK)
		fail_msg("%s", why);
}

static bool file_has(const char *text)
{
	char *all;
	size_t len;
	bool has;

	assert_int_equal(os_file_read(file, 1 << 20, &all, &len), OK);
	has = strstr(all, text) != NULL;
	free(all);
	return has;
}

static enum err make(const char *host, bool again, struct invite_result *res)
{
	struct invite_request req = { .host_id = host, .os = "linux", .enroll_port = ENROLL_PORT, .ttl_s = 60, .wall = WALL,
				      .again = again, .rng = os_rng() };

	assert_int_equal(endpoint_parse("192.0.2.1:51820", &req.endpoint), OK);
	return invite_make(file, &req, res);
}

struct attempt {
	struct enroll_request req;
	uint8_t id[ENROLL_ID_LEN], agent[KEY_LEN];
	struct enroll_attempt a;
};

static enum enroll_code use(struct attempt *t, const char *token, uint8_t agent)
{
	struct enroll_token tok;

	memset(t, 0, sizeof(*t));
	strcpy(t->req.token, token);
	t->req.listen_port = 51820;
	memset(t->agent, agent, KEY_LEN);
	assert_int_equal(enroll_token_decode(token, &tok), OK);
	enroll_id(tok.nonce, t->id);
	t->a = (struct enroll_attempt){ .id = t->id, .agent = t->agent, .req = &t->req, .from = ip_addr_v4(198, 51, 100, 7), .wall = WALL };
	enroll_commit(file, &t->a);
	return t->a.reply.code;
}

static void once(void **state)
{
	struct invite_result res;
	struct attempt t;
	struct config c;
	const struct host_config *h;

	assert_int_equal(make("web", false, &res), OK);
	assert_string_equal(res.addr, "10.99.0.3");
	load(&c);
	h = config_host(&c, "web");
	assert_true(config_host_is_pending(h) && !config_host_is_active(h));
	config_free(&c);
	assert_int_equal(use(&t, res.token, 7), ENROLL_OK);
	assert_false(t.a.again);
	assert_string_equal(t.a.reply.host_id, "web");
	assert_int_equal(t.a.reply.addrs[0].bits, 24);
	load(&c);
	h = config_host(&c, "web");
	assert_true(config_host_is_active(h));
	assert_int_equal(h->public_key.b[5], 7);
	assert_int_equal(h->endpoint.port, 51820);
	assert_int_equal(h->endpoint.ip.b[3], 7);
	config_free(&c);
	assert_int_equal(use(&t, res.token, 7), ENROLL_OK);
	assert_true(t.a.again);
	assert_int_equal(use(&t, res.token, 8), ENROLL_USED);
	assert_true(file_has("# mine\n") && file_has("# the first one\n") && file_has("# kept\n") && file_has("# the end\n"));
}

static void reinvited(void **state)
{
	struct invite_result first, second;
	struct attempt t;

	assert_int_equal(make("web", false, &first), OK);
	assert_int_equal(make("web", false, &second), ERR_EXISTS);
	assert_int_equal(second.ecode, 1022);
	assert_int_equal(make("nobody", true, &second), ERR_NOT_FOUND);
	assert_int_equal(use(&t, first.token, 7), ENROLL_OK);
	assert_int_equal(make("web", true, &second), OK);
	assert_string_equal(first.addr, second.addr);
	assert_int_equal(use(&t, first.token, 7), ENROLL_VALIDATION); /* superseded */
	assert_int_equal(use(&t, second.token, 8), ENROLL_OK);
	/* a host that was entered by hand, in another form */
	assert_int_equal(make("old", true, &second), OK);
	assert_string_equal(second.addr, "10.99.0.2");
	assert_int_equal(use(&t, second.token, 9), ENROLL_OK);
}

static void revoked(void **state)
{
	struct invite_result res;
	struct attempt t;
	char why[256] = "";

	assert_int_equal(make("web", false, &res), OK);
	assert_int_equal(use(&t, res.token, 7), ENROLL_OK);
	assert_int_equal(enroll_set_state(file, "web", "pending-approval", "active", why, sizeof(why)), ERR_INVALID);
	assert_int_equal(enroll_set_state(file, "web", NULL, "revoked", why, sizeof(why)), OK);
	assert_int_equal(use(&t, res.token, 7), ENROLL_VALIDATION);
	assert_int_equal(enroll_set_state(file, "none", NULL, "revoked", why, sizeof(why)), ERR_NOT_FOUND);
}

/* One agent key is one host: its addresses would be those of two. */
static void a_key_of_another(void **state)
{
	struct invite_result a, b;
	struct attempt t;

	assert_int_equal(make("a", false, &a), OK);
	assert_int_equal(make("b", false, &b), OK);
	assert_int_equal(use(&t, a.token, 7), ENROLL_OK);
	assert_int_equal(use(&t, b.token, 7), ENROLL_VALIDATION);
	assert_non_null(strstr(t.a.why, "host a"));
	assert_int_equal(use(&t, b.token, 8), ENROLL_OK);
}

/* A full subnet is an error, and nothing is written. */
static void full(void **state)
{
	struct invite_result res;
	static const char small[] = "version: 1\nvpn:\n  private_key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
				    "  address: 10.99.0.1/30\n";

	assert_int_equal(os_file_write_atomic(file, small, strlen(small), 0600), OK);
	assert_int_equal(make("a", false, &res), OK);
	assert_int_equal(make("b", false, &res), ERR_FULL);
	assert_int_equal(res.ecode, 1024);
	assert_false(file_has("id: b"));
}

/* A fleet: so many keys, each its own host and address, each as often as it likes; nobody is active before approval. */
static void fleet(void **state)
{
	struct invite_request req = { .enroll_port = ENROLL_PORT, .ttl_s = 60, .wall = WALL, .max_uses = 3, .group = "web",
				      .rng = os_rng() };
	struct invite_result res;
	const struct host_config *h;
	struct attempt t;
	struct config c;
	char why[256] = "";

	assert_int_equal(invite_make(file, &req, &res), OK);
	for (uint8_t key = 20; key < 23; key++) {
		if (use(&t, res.token, key) != ENROLL_OK) fail_msg("%s", t.a.why);
		assert_string_equal(t.a.reply.state, "pending-approval");
		assert_string_equal(t.a.reply.host_id, key == 20 ? "host" : key == 21 ? "host-2" : "host-3");
		assert_int_equal(t.a.reply.addrs[0].ip.b[3], key - 20 + 3);
	}
	assert_int_equal(use(&t, res.token, 23), ENROLL_USED);
	assert_int_equal(use(&t, res.token, 21), ENROLL_OK);
	assert_true(t.a.again);
	assert_string_equal(t.a.reply.host_id, "host-2");
	load(&c);
	h = config_host(&c, "host-2");
	assert_false(config_host_is_active(h));
	assert_string_equal(h->group, "web");
	config_free(&c);
	assert_int_equal(enroll_set_state(file, "host-2", "pending-approval", "active", why, sizeof(why)), OK);
	assert_int_equal(use(&t, res.token, 21), ENROLL_OK);
	assert_string_equal(t.a.reply.state, "active");
	assert_int_equal(enroll_set_state(file, "host-2", NULL, "revoked", why, sizeof(why)), OK);
	assert_int_equal(use(&t, res.token, 21), ENROLL_VALIDATION);
	assert_true(file_has("# mine\n") && file_has("# the end\n"));
}

static void both_families(void **state)
{
	static const char both[] = "version: 1\nvpn:\n  private_key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
				   "  address: [10.99.0.1/24, \"fd00:9::1/64\"]\n";
	struct invite_result res;
	struct attempt t;

	assert_int_equal(os_file_write_atomic(file, both, strlen(both), 0600), OK);
	for (uint8_t i = 2; i < 5; i++) {
		char host[8];

		snprintf(host, sizeof(host), "h%u", i);
		assert_int_equal(make(host, false, &res), OK);
		assert_int_equal(use(&t, res.token, i), ENROLL_OK);
		assert_int_equal(t.a.reply.n_addrs, 2);
		assert_int_equal(t.a.reply.addrs[0].ip.b[3], i);
		assert_int_equal(t.a.reply.addrs[1].ip.b[15], i);
		assert_int_equal(t.a.reply.addrs[1].bits, 64);
		assert_int_equal(t.a.reply.n_operator_addrs, 2);
	}
}

/* When the lock is another's, the agent is told to come again, and nothing has changed. */
static void locked(void **state)
{
	struct invite_result res;
	struct os_lock *lock;
	struct attempt t;
	char path[128];

	assert_int_equal(make("web", false, &res), OK);
	snprintf(path, sizeof(path), "%s.lock", file);
	assert_int_equal(os_lock_take(path, 1, &lock), OK);
	assert_int_equal(use(&t, res.token, 7), ENROLL_BUSY);
	os_lock_free(lock);
	assert_int_equal(use(&t, res.token, 7), ENROLL_OK);
}

/* A child that invites and enrolls until it is killed at any moment. */
static void child(unsigned round)
{
	struct invite_result res;
	struct attempt t;
	char host[32];

	for (unsigned i = 0;; i++) {
		snprintf(host, sizeof(host), "h%u-%u", round, i % 3);
		if (make(host, i >= 3, &res) == OK)
			use(&t, res.token, (uint8_t)(1 + (round * 3 + i % 3) % 250));
	}
}

static void check_whole(void)
{
	struct config c;

	load(&c);
	assert_true(config_host(&c, "old") != NULL);
	for (size_t i = 0; i < c.n_hosts; i++) {
		assert_int_equal(c.hosts[i].n_addrs, 1);
		assert_true(c.hosts[i].has_key || !strcmp(c.hosts[i].state, "pending") || !strcmp(c.hosts[i].id, "old"));
		for (size_t k = 0; k < i; k++)
			assert_false(ip_addr_equal(&c.hosts[i].addrs[0], &c.hosts[k].addrs[0]));
	}
	config_free(&c);
}

static void killed(void **state)
{
	unsigned rounds = getenv("KILLS") ? (unsigned)atoi(getenv("KILLS")) : 60;
	struct rng *rng = os_rng();

	for (unsigned round = 0; round < rounds; round++) {
		struct timespec pause = { 0, (long)(rng_below(rng, 12000) * 1000) };
		pid_t pid = fork();

		if (pid == 0)
			child(round);
		nanosleep(&pause, NULL);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		check_whole();
	}
	assert_true(file_has("# mine\n") && file_has("# kept\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(once, setup, teardown),
		cmocka_unit_test_setup_teardown(reinvited, setup, teardown),
		cmocka_unit_test_setup_teardown(revoked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_key_of_another, setup, teardown),
		cmocka_unit_test_setup_teardown(full, setup, teardown),
		cmocka_unit_test_setup_teardown(fleet, setup, teardown),
		cmocka_unit_test_setup_teardown(both_families, setup, teardown),
		cmocka_unit_test_setup_teardown(locked, setup, teardown),
		cmocka_unit_test_setup_teardown(killed, setup, teardown),
	};

	return RUN_TESTS(tests);
}
