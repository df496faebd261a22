/* known_hosts as several processes have it: many who learn, ssh-keygen beside them, somebody who holds the lock. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "os/file.h"
#include "os/loop.h"
#include "ssh/host_key.h"
#include "ssh/wire.h"
#include "test/lib/calm.h"
#include "test/lib/testing.h"

static char dir[] = "/tmp/nefia-hostkey-XXXXXX";
static char file[64];
static char why[512];

/* A key of its own for each @n. */
static struct bytes key(uint8_t buf[64], unsigned n)
{
	struct wire_writer w = { buf, 0 };
	uint8_t k[32] = { (uint8_t)n, (uint8_t)(n >> 8), 7 };

	wire_put_string(&w, "ssh-ed25519", 11);
	wire_put_string(&w, k, sizeof(k));
	return (struct bytes){ buf, w.len };
}

static enum err judge(const char *host, unsigned n, bool *is_new)
{
	uint8_t buf[64];
	char addr[48];
	struct host_key_asked q = { file, host, addr, "ssh-ed25519", key(buf, n) };

	snprintf(addr, sizeof(addr), "10.99.%s", host);
	why[0] = '\0';
	return host_key_judge(&q, why, sizeof(why), is_new);
}

/* As a hub does: again until it may. */
static enum err judge_patiently(const char *host, unsigned n)
{
	bool is_new;
	enum err e;

	for (int i = 0; i < 2000 && (e = judge(host, n, &is_new)) == ERR_AGAIN; i++)
		usleep(1000 + (unsigned)rand() % 2000);
	return e;
}

static size_t count(const char *what, size_t *ret_lines)
{
	char *text, *p;
	size_t len, n = 0, lines = 0;

	if (os_file_read(file, 1 << 20, &text, &len) != OK)
		return 0;
	for (p = text; *what && (p = strstr(p, what)); p++)
		n++;
	for (p = text; *p; p++)
		lines += *p == '\n';
	if (ret_lines)
		*ret_lines = lines;
	free(text);
	return n;
}

static void put(const char *text)
{
	assert_int_equal(os_file_write_atomic(file, text, strlen(text), 0600), OK);
}

static void verdicts(void **state)
{
	char line[256], b64[128];
	uint8_t buf[64];
	struct bytes k = key(buf, 1);
	bool is_new;

	unlink(file);
	assert_int_equal(judge("a", 1, &is_new), OK);
	assert_true(is_new);
	assert_int_equal(judge("a", 1, &is_new), OK);
	assert_false(is_new);
	assert_int_equal(judge("a", 2, &is_new), ERR_HOST_KEY);
	assert_non_null(strstr(why, "man in the middle"));
	EVP_EncodeBlock((uint8_t *)b64, k.p, (int)k.len);
	snprintf(line, sizeof(line), "# no end of line\n@revoked * ssh-ed25519 %s", b64);
	put(line);
	assert_int_equal(judge("b", 1, &is_new), ERR_HOST_KEY);
	assert_non_null(strstr(why, ":2: the key"));
	assert_non_null(strstr(why, "is revoked"));
	/* Another one is added behind the line without its end. */
	assert_int_equal(judge("c", 3, &is_new), OK);
	assert_int_equal(count("\nc.nefia,10.99.c ssh-ed25519 ", NULL), 1);
	assert_int_equal(judge("b", 1, &is_new), ERR_HOST_KEY);
	snprintf(line, sizeof(line), "@cert-authority *.nefia ssh-ed25519 %s\n", b64);
	put(line);
	assert_int_equal(judge("d", 4, &is_new), ERR_HOST_KEY);
	assert_non_null(strstr(why, "d is known by @cert-authority only"));
	assert_non_null(strstr(why, "SHA256:"));
}

static void a_held_lock_holds_nobody_up(void **state)
{
	struct os_lock *lock;
	char path[80];
	bool is_new;
	int64_t t;

	unlink(file);
	assert_int_equal(judge("known", 1, &is_new), OK);
	snprintf(path, sizeof(path), "%s.lock", file);
	assert_int_equal(os_lock_take(path, 1, &lock), OK);
	t = calm_now();
	assert_int_equal(judge("new", 2, &is_new), ERR_AGAIN);
	assert_int_equal(judge("known", 1, &is_new), OK); /* reading needs none */
	assert_int_equal(judge("known", 3, &is_new), ERR_HOST_KEY);
	assert_true(calm_now() - t < 400 * (int64_t)NSEC_PER_MSEC);
	os_lock_free(lock);
	assert_int_equal(judge("new", 2, &is_new), OK);
	assert_true(is_new);
}

#define N_PROCESSES 12
#define N_HOSTS 10

/* Every process meets all hosts, in an order of its own. */
static void learn_all(unsigned seed)
{
	srand(seed);
	for (unsigned i = 0; i < N_HOSTS; i++) {
		unsigned n = (i * 7 + seed) % N_HOSTS;
		char host[32];

		snprintf(host, sizeof(host), "host%u", n);
		if (judge_patiently(host, n) != OK)
			_exit(1);
	}
	_exit(0);
}

static void start_all(pid_t pids[N_PROCESSES])
{
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			learn_all(i + 1);
	}
}

static void wait_all(const pid_t pids[N_PROCESSES])
{
	for (unsigned i = 0; i < N_PROCESSES; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
}

static void many_who_learn_write_one_line_a_host(void **state)
{
	pid_t pids[N_PROCESSES];
	size_t lines;

	put("ignored ssh-ed25519 AAAA");
	start_all(pids);
	wait_all(pids);
	count("", &lines);
	assert_int_equal(lines, N_HOSTS + 1);
	for (unsigned i = 0; i < N_HOSTS; i++) {
		char want[64];

		snprintf(want, sizeof(want), "\nhost%u.nefia,10.99.host%u ssh-ed25519 ", i, i);
		assert_int_equal(count(want, NULL), 1);
	}
}

/* ssh adds lines without our lock: none of them and none of ours is lost. */
static void lines_that_ssh_adds_stay(void **state)
{
	pid_t pids[N_PROCESSES];
	size_t lines;

	unlink(file);
	start_all(pids);
	for (unsigned i = 0; i < 200; i++) {
		char line[64];

		snprintf(line, sizeof(line), "by-ssh%u ssh-ed25519 AAAA\n", i);
		assert_int_equal(os_file_append(file, line, strlen(line), 0600), OK);
	}
	wait_all(pids);
	assert_int_equal(count("by-ssh", &lines), 200);
	assert_int_equal(lines, 200 + N_HOSTS);
}

/* ssh-keygen replaces the file: what we hold true stays true, and no line is ever a part of one. */
static void beside_ssh_keygen(void **state)
{
	char cmd[256];
	pid_t pids[N_PROCESSES];
	char *text, *save = NULL;
	size_t len;

	if (system("command -v ssh-keygen >/dev/null") != 0)
		skip();
	unlink(file);
	start_all(pids);
	snprintf(cmd, sizeof(cmd), "for i in 1 2 3 4 5 6 7 8; do ssh-keygen -q -R host$i.nefia -f %s; done >/dev/null 2>&1", file);
	for (int i = 0; i < 3; i++)
		assert_true(system(cmd) >= 0);
	wait_all(pids);
	/* What it took away, or what went into a file that it had read before, is learned again. */
	for (unsigned i = 0; i < N_HOSTS; i++) {
		char host[32];

		snprintf(host, sizeof(host), "host%u", i);
		assert_int_equal(judge_patiently(host, i), OK);
		assert_int_equal(judge_patiently(host, i + 100), ERR_HOST_KEY);
	}
	assert_int_equal(os_file_read(file, 1 << 20, &text, &len), OK);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char name[64], type[32], blob[128];

		if (sscanf(l, "%63s %31s %127s", name, type, blob) != 3 || strcmp(type, "ssh-ed25519") != 0 || strlen(blob) != 68)
			fail_msg("a damaged line: %s", l);
	}
	free(text);
	snprintf(cmd, sizeof(cmd), "ssh-keygen -q -H -f %s >/dev/null 2>&1", file);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(count(".nefia", NULL), 0);
	assert_int_equal(judge_patiently("host1", 1), OK); /* hashed, and known */
	assert_int_equal(judge_patiently("host1", 2), ERR_HOST_KEY);
}

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/known_hosts", dir);
	return 0;
}

static int remove_dir(void **state)
{
	char cmd[96];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(a_held_lock_holds_nobody_up),
		cmocka_unit_test(many_who_learn_write_one_line_a_host),
		cmocka_unit_test(lines_that_ssh_adds_stay),
		cmocka_unit_test(beside_ssh_keygen),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
