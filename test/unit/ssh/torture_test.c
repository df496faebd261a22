/*
 * test/unit/ssh/torture_test.c - every allocation of a session of file operations fails, one after the other
 * (test/lib/shortage.h), against OpenSSH's sftp-server, without and with a root that nothing leaves.
 *
 * Each operation ends: done, or with an error, or with its whole session. What is said to be done is done: a file is there to the
 * last byte, a folder is gone. A file that could not be written is not there. No block may be left.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "test/lib/sftp_rig.h"
#include "test/lib/shortage.h"

#define BYTES 150000u /* more than one request */

static struct rig r;
static bool gone; /* the session said that it cannot go on */
static uint8_t content[BYTES];
static bool confined;

/* Only what these three do is the product's: the rest is the rig's. */
enum err __real_fs_session_frame(struct fs_session *s, nsec_t now, uint8_t type, struct bytes body);
enum err __wrap_fs_session_frame(struct fs_session *s, nsec_t now, uint8_t type, struct bytes body);
void __real_fs_session_step(struct fs_session *s, nsec_t now);
void __wrap_fs_session_step(struct fs_session *s, nsec_t now);
void __real_sftp_client_input(struct sftp_client *c, nsec_t now);
void __wrap_sftp_client_input(struct sftp_client *c, nsec_t now);

/* What the worker does with an error: it ends the session. */
enum err __wrap_fs_session_frame(struct fs_session *s, nsec_t now, uint8_t type, struct bytes body)
{
	enum err e;

	shortage.exempt = false;
	e = __real_fs_session_frame(s, now, type, body);
	shortage.exempt = true;
	assert_true(e == OK || (e == ERR_NOMEM && shortage.n_failed > 0));
	gone |= e != OK;
	return OK;
}

void __wrap_fs_session_step(struct fs_session *s, nsec_t now)
{
	shortage.exempt = false;
	__real_fs_session_step(s, now);
	shortage.exempt = true;
}

void __wrap_sftp_client_input(struct sftp_client *c, nsec_t now)
{
	shortage.exempt = false;
	__real_sftp_client_input(c, now);
	shortage.exempt = true;
}

static nsec_t rig_clock(void)
{
	return r.now;
}

static bool is_over(void)
{
	return gone || r.session.broken || r.client.error != OK;
}

/* Return: is it done, and well? */
static bool ends_well(uint32_t id)
{
	struct rig_result *res = &r.results[id];

	while (!res->done && !is_over())
		assert_true(rig_pump(&r)); /* false: nothing moved for 5 s */
	assert_true((res->done && res->error == OK) || shortage.n_failed > 0);
	return res->done && res->error == OK;
}

static void put(uint32_t id, const char *name)
{
	struct rig_result *res = &r.results[id];
	char path[128];
	struct stat st;

	rig_put(&r, id, name, 0644, 0, 0, 0);
	for (size_t at = 0; at < BYTES && !res->done && !is_over();) {
		size_t n = (size_t)MIN(MIN(res->credit, (uint64_t)40000), (uint64_t)(BYTES - at));

		if (n == 0) {
			assert_true(rig_pump(&r));
			continue;
		}
		rig_data(&r, id, at, content + at, n);
		res->credit -= n;
		at += n;
	}
	if (!res->done && !is_over())
		rig_eof(&r, id, BYTES);
	snprintf(path, sizeof(path), "%s/%s", r.dir, name);
	if (ends_well(id))
		assert_true(stat(path, &st) == 0 && st.st_size == BYTES);
	else
		assert_true(stat(path, &st) != 0 || st.st_size == BYTES);
}

static void get(uint32_t id, const char *name)
{
	struct rig_result *res = &r.results[id];

	rig_get(&r, id, name, 0, UINT64_MAX);
	if (!ends_well(id))
		return;
	assert_int_equal(ssh_buf_used(&res->bytes), BYTES);
	assert_memory_equal(res->bytes.p + res->bytes.off, content, BYTES);
}

static bool op(uint32_t id, enum ssh_op kind, const char *path, const char *second, uint32_t a, uint32_t b, unsigned n)
{
	struct ssh_buf f = { 0 };

	if (second)
		assert_int_equal(ssh_put_string(&f, second, strlen(second)), OK);
	if (n > 0)
		assert_int_equal(ssh_put_u32(&f, a), OK);
	if (n > 1)
		assert_int_equal(ssh_put_u32(&f, b), OK);
	rig_op(&r, id, kind, path, &f);
	return ends_well(id);
}

static bool exists(const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", r.dir, name);
	return lstat(path, &st) == 0;
}

static void play(void)
{
	put(1, "a");
	if (is_over() || !exists("a"))
		return;
	get(2, "a");
	if (is_over())
		return;
	if (op(3, SSH_OP_MKDIR, "d/e/f", NULL, 0755, SSH_MKDIR_PARENTS, 2))
		assert_true(exists("d/e/f"));
	if (!is_over() && op(4, SSH_OP_MV, "a", "d/b", 0, 0, 1))
		assert_true(exists("d/b") && !exists("a"));
	if (!is_over() && op(5, SSH_OP_FIND, "d", NULL, 5, 0, 1))
		assert_true(rig_has_entry(&r.results[5], "e/f") || r.results[5].n_entries > 1);
	if (!is_over() && op(6, SSH_OP_RM, "d", NULL, SSH_RM_RECURSIVE, 0, 1))
		assert_true(!exists("d"));
}

static unsigned session(unsigned fail, bool lasts)
{
	long before = shortage.n_live;

	gone = false;
	shortage.exempt = true;
	assert_true(rig_open(&r));
	r.session.root = confined ? r.dir : NULL;
	shortage_begin(r.now, fail, lasts);
	play();
	shortage_end();
	/* The worker lets go of a session that cannot go on; the channel is for the next one too. */
	fs_session_abandon(&r.session, r.now);
	for (int i = 0; i < 200 && r.client.error == OK && !fs_session_idle(&r.session); i++)
		assert_true(rig_pump(&r));
	assert_true(fs_session_idle(&r.session) || r.client.error != OK);
	if (r.client.error == OK) {
		fs_session_init(&r.session, &r.client, &r.out, 0);
		r.session.root = confined ? r.dir : NULL;
		gone = false;
		shortage.n_failed = 0;
		put(7, "afterwards");
		get(8, "afterwards");
	}
	rig_close(&r);
	shortage.exempt = false;
	assert_int_equal(shortage.n_live, before);
	return shortage.n;
}

static void a_session(void **state)
{
	confined = false;
	shortage_torture("a_session", session, 2);
}

static void a_confined_session(void **state)
{
	confined = true;
	shortage_torture("a_confined_session", session, 2);
}

static int warm(void **state)
{
	for (size_t i = 0; i < BYTES; i++)
		content[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
	shortage.clock = rig_clock;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHORTAGE_TEST(a_session),
		SHORTAGE_TEST(a_confined_session),
	};

	return cmocka_run_group_tests(tests, warm, NULL);
}
