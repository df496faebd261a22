/* File operations against OpenSSH's own sftp-server. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "os/file.h"
#include "test/lib/sftp_rig.h"
#include "test/lib/testing.h"

static struct rig rig;
static uint8_t content[5 * 1024 * 1024 + 17];

static int open_rig(void **state)
{
	struct rng_seeded rng;

	rng_seeded_init(&rng, 7);
	rng_bytes(&rng.rng, content, sizeof(content));
	*state = rig_open(&rig) ? &rig : NULL;
	return 0;
}

static int close_rig(void **state)
{
	if (*state)
		rig_close(&rig);
	return 0;
}

static const char *path_of(const char *name)
{
	static char path[4][256];
	static int i;

	i = (i + 1) % 4;
	snprintf(path[i], sizeof(path[i]), "%s/%s", rig.dir, name);
	return path[i];
}

static void write_local(const char *name, const void *p, size_t len)
{
	FILE *f = fopen(path_of(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	fclose(f);
}

static void assert_file(const char *name, const void *p, size_t len)
{
	size_t got_len;
	char *got;

	assert_int_equal(os_file_read(path_of(name), 64 << 20, &got, &got_len), OK);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, p, len);
	free(got);
}

static unsigned n_partials(void)
{
	char cmd[128];
	unsigned n = 99;
	FILE *f;

	snprintf(cmd, sizeof(cmd), "find %s -name '*.part' | wc -l", rig.dir);
	f = popen(cmd, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &n), 1);
	pclose(f);
	return n;
}

#define NEED_SERVER()                                                                                                  \
	do {                                                                                                           \
		if (!*state)                                                                                           \
			skip();                                                                                        \
	} while (0)

static void files_of_all_sizes_go_both_ways(void **state)
{
	static const size_t sizes[] = { 0, 1, 4096, 32768, 261119, 261120, 261121, 1000000, sizeof(content) };

	NEED_SERVER();
	assert_true(rig.client.has[SFTP_X_POSIX_RENAME] && rig.client.has[SFTP_X_FSYNC]);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct rig_result *res = rig_put_whole(&rig, 1, "file", content, sizes[i]);

		assert_int_equal(res->error, OK);
		assert_file("file", content, sizes[i]);
		rig_get(&rig, 2, "file", 0, UINT64_MAX);
		res = rig_wait(&rig, 2);
		assert_int_equal(res->error, OK);
		assert_true(res->attr.size == sizes[i]);
		assert_int_equal(ssh_buf_used(&res->bytes), sizes[i]);
		assert_memory_equal(res->bytes.p, content, sizes[i]);
	}
	assert_int_equal(n_partials(), 0);
}

/* With the partial file's ending behind it the name would be longer than names may be. */
static void the_longest_names_are_written_too(void **state)
{
	struct rig_result *res;
	char name[256];

	NEED_SERVER();
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	res = rig_put_whole(&rig, 1, name, content, 1000);
	assert_int_equal(res->error, OK);
	rig_get(&rig, 2, name, 0, UINT64_MAX);
	res = rig_wait(&rig, 2);
	assert_int_equal(res->error, OK);
	assert_int_equal(ssh_buf_used(&res->bytes), 1000);
	assert_int_equal(n_partials(), 0);
}

static void parts_of_a_file(void **state)
{
	static const struct {
		uint64_t offset, length;
		size_t want;
	} rows[] = { { 0, 10, 10 }, { 999990, UINT64_MAX, 10 }, { 999990, 100, 10 }, { 1000000, 5, 0 }, { 2000000, 5, 0 },
		     { 5, 0, 0 },   { 17, 700000, 700000 } };

	NEED_SERVER();
	write_local("part", content, 1000000);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig_result *res;

		rig_get(&rig, 1, "part", rows[i].offset, rows[i].length);
		res = rig_wait(&rig, 1);
		assert_int_equal(res->error, OK);
		assert_int_equal(ssh_buf_used(&res->bytes), rows[i].want);
		if (rows[i].want) {
			assert_true(res->first_offset == rows[i].offset);
			assert_memory_equal(res->bytes.p, content + rows[i].offset, rows[i].want);
		}
	}
	rig_get(&rig, 1, "/proc/self/status", 0, UINT64_MAX);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_memory_equal(rig.results[1].bytes.p, "Name:", 5);
}

static void many_at_once(void **state)
{
	char name[32];

	NEED_SERVER();
	for (uint32_t i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		rig_put(&rig, i, name, 0600, 0, i + 1, 0);
		rig_data(&rig, i, 0, content + i, 50000);
		rig_eof(&rig, i, 50000);
	}
	for (uint32_t i = 0; i < 60; i++)
		assert_int_equal(rig_wait(&rig, i)->error, OK);
	for (uint32_t i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "many-%u", i);
		rig_get(&rig, i, name, 0, UINT64_MAX);
	}
	for (uint32_t i = 0; i < 60; i++) {
		struct rig_result *res = rig_wait(&rig, i);

		assert_int_equal(res->error, OK);
		assert_int_equal(ssh_buf_used(&res->bytes), 50000);
		assert_memory_equal(res->bytes.p, content + i, 50000);
	}
}

static void one_too_many_is_refused(void **state)
{
	NEED_SERVER();
	for (uint32_t i = 0; i <= SSH_FS_OPS_MAX; i++)
		rig_put(&rig, i, "held", 0600, 0, i + 1, 0);
	assert_true(rig.results[SSH_FS_OPS_MAX].done || rig_wait(&rig, SSH_FS_OPS_MAX)->done);
	assert_int_equal(rig.results[SSH_FS_OPS_MAX].error, ERR_FULL);
	for (uint32_t i = 0; i < SSH_FS_OPS_MAX; i++) {
		struct ssh_buf b = { 0 };

		assert_int_equal(ssh_put_u32(&b, i), OK);
		assert_int_equal(fs_session_frame(&rig.session, rig.now, SSH_F_OP_CANCEL, (struct bytes){ b.p, 4 }), OK);
		ssh_buf_fini(&b);
		assert_int_equal(rig_wait(&rig, i)->error, ERR_CANCELLED);
	}
	while (!fs_session_idle(&rig.session))
		assert_true(rig_pump(&rig));
	assert_int_equal(n_partials(), 0);
}

static void mode_and_times_are_kept(void **state)
{
	struct stat st;

	NEED_SERVER();
	rig_put(&rig, 1, "kept", 0751, SSH_PUT_TIMES, 5, 1234567890);
	rig_data(&rig, 1, 0, "x", 1);
	rig_eof(&rig, 1, 1);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_int_equal(stat(path_of("kept"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
	assert_int_equal(st.st_mtime, 1234567890);
}

static void holes_stay_holes(void **state)
{
	struct stat st;

	NEED_SERVER();
	rig_put(&rig, 1, "sparse", 0644, 0, 6, 0);
	rig_data(&rig, 1, 100 << 20, "middle", 6);
	rig_eof(&rig, 1, 200 << 20);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_int_equal(stat(path_of("sparse"), &st), 0);
	assert_int_equal(st.st_size, 200 << 20);
	assert_true(st.st_blocks < 1000);
}

static void an_old_file_stays_until_the_new_is_whole(void **state)
{
	NEED_SERVER();
	write_local("old", "old", 3);
	rig_put(&rig, 1, "old", 0644, 0, 7, 0);
	rig_data(&rig, 1, 0, content, 300000);
	while (rig.results[1].credit < SSH_PUT_CREDIT + 300000 || sftp_client_pending(&rig.client) > 0)
		assert_true(rig_pump(&rig));
	assert_file("old", "old", 3);
	assert_int_equal(n_partials(), 1);
	fs_session_abandon(&rig.session, rig.now);
	while (!fs_session_idle(&rig.session))
		assert_true(rig_pump(&rig));
	assert_file("old", "old", 3);
	assert_int_equal(n_partials(), 0);
	/* Two of them at the same time do not meet: the last to end is what stays. */
	rig_put(&rig, 1, "old", 0644, 0, 7, 0);
	rig_put(&rig, 2, "old", 0644, 0, 7, 0);
	rig_data(&rig, 1, 0, "first", 5);
	rig_data(&rig, 2, 0, "new", 3);
	rig_eof(&rig, 1, 5);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_file("old", "first", 5);
	rig_eof(&rig, 2, 3);
	assert_int_equal(rig_wait(&rig, 2)->error, OK);
	assert_file("old", "new", 3);
	rig_put(&rig, 1, "old", 0644, SSH_PUT_NO_REPLACE, 8, 0);
	assert_int_equal(rig_wait(&rig, 1)->error, ERR_EXISTS);
	rig_put(&rig, 1, "other", 0644, SSH_PUT_NO_REPLACE, 8, 0);
	rig_eof(&rig, 1, 0);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_int_equal(n_partials(), 0);
}

/* Cut off in the middle, continued from what is shown to be there; and started anew where it differs. */
static void a_put_is_resumed(void **state)
{
	static const bool differs[] = { false, true };

	NEED_SERVER();
	for (size_t k = 0; k < ARRAY_SIZE(differs); k++) {
		struct rig_result *res = &rig.results[1];
		uint64_t size, from;

		rig_put(&rig, 1, "resumed", 0644, SSH_PUT_RESUME, 0xabcdef, 0);
		while (!res->has_info)
			assert_true(rig_pump(&rig));
		assert_true(res->attr.size == 0);
		rig_data(&rig, 1, 0, content, 250000);
		rig_data(&rig, 1, 250000, content + 250000, 200000);
		while (res->credit < SSH_PUT_CREDIT + 450000 || sftp_client_pending(&rig.client) > 0)
			assert_true(rig_pump(&rig));
		fs_session_abandon(&rig.session, rig.now);
		while (!fs_session_idle(&rig.session))
			assert_true(rig_pump(&rig));
		assert_int_equal(n_partials(), 1);
		if (differs[k])
			write_local("resumed.nefia-0000000000abcdef.part", content + 1, 600000);
		rig_put(&rig, 1, "resumed", 0640, SSH_PUT_RESUME, 0xabcdef, 0);
		while (!res->has_info || ssh_buf_used(&res->bytes) == 0)
			assert_true(rig_pump(&rig));
		size = res->attr.size;
		assert_true(size == (differs[k] ? 600000 : 450000));
		assert_int_equal(ssh_buf_used(&res->bytes), SSH_PUT_TAIL);
		assert_true(res->first_offset + SSH_PUT_TAIL == size);
		assert_int_equal(memcmp(res->bytes.p, content + res->first_offset, SSH_PUT_TAIL) != 0, differs[k]);
		/* The whole has 500,000 bytes: less than the partial file that differs. */
		from = differs[k] ? 0 : size;
		for (uint64_t at = from; at < 500000; at += 50000)
			rig_data(&rig, 1, at, content + at, 50000);
		rig_eof(&rig, 1, 500000);
		res = rig_wait(&rig, 1);
		assert_int_equal(res->error, OK);
		assert_file("resumed", content, 500000);
		assert_int_equal(n_partials(), 0);
	}
}

static void reading_has_a_limit(void **state)
{
	NEED_SERVER();
	write_local("large", content, 100001);
	rig.session.file_size_max = 100000;
	rig_get(&rig, 1, "large", 0, UINT64_MAX);
	assert_int_equal(rig_wait(&rig, 1)->error, ERR_TOO_LONG);
	assert_int_equal(ssh_buf_used(&rig.results[1].bytes), 0);
	assert_non_null(strstr(rig.results[1].message, "ssh.max_file_size_bytes"));
	rig_get(&rig, 1, "large", 99990, UINT64_MAX);
	assert_int_equal(rig_wait(&rig, 1)->error, ERR_TOO_LONG);
	rig_get(&rig, 1, "large", 0, 100000);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	/* A file that does not say its size is stopped on the way. */
	rig_get(&rig, 1, "/proc/kallsyms", 0, UINT64_MAX);
	assert_int_equal(rig_wait(&rig, 1)->error, ERR_TOO_LONG);
	assert_true(ssh_buf_used(&rig.results[1].bytes) <= 100000);
	rig.session.file_size_max = 0;
}

static void errors_are_told_by_name(void **state)
{
	static const struct {
		enum ssh_op op;
		const char *path;
		enum err want;
	} rows[] = {
		{ SSH_OP_GET, "missing", ERR_NOT_FOUND },	 { SSH_OP_GET, ".", ERR_INVALID },
		{ SSH_OP_STAT, "missing", ERR_NOT_FOUND },	 { SSH_OP_LSTAT, "missing/x", ERR_NOT_FOUND },
		{ SSH_OP_LS, "missing", ERR_NOT_FOUND },	 { SSH_OP_FIND, "missing", ERR_NOT_FOUND },
		{ SSH_OP_RM, "missing", ERR_NOT_FOUND },	 { SSH_OP_READLINK, "missing", ERR_NOT_FOUND },
		{ SSH_OP_DF, "missing", ERR_NOT_FOUND },	 { (enum ssh_op)99, "x", ERR_UNSUPPORTED },
		{ SSH_OP_PUT, "missing/x", ERR_NOT_FOUND },
	};

	NEED_SERVER();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ssh_buf f = { 0 };

		for (int k = 0; k < 8; k++)
			assert_int_equal(ssh_put_u32(&f, rows[i].op == SSH_OP_GET && k > 1 ? UINT32_MAX : 0), OK);
		rig_op(&rig, 1, rows[i].op, rows[i].path, &f);
		assert_int_equal(rig_wait(&rig, 1)->error, rows[i].want);
		if (rows[i].want != ERR_UNSUPPORTED)
			assert_non_null(strstr(rig.results[1].message, rows[i].path));
	}
}

static struct rig_result *simple(enum ssh_op op, const char *path, const char *second, int n_numbers, uint32_t a, uint32_t b)
{
	struct ssh_buf f = { 0 };

	if (second)
		assert_int_equal(ssh_put_string(&f, second, strlen(second)), OK);
	if (n_numbers > 0)
		assert_int_equal(ssh_put_u32(&f, a), OK);
	if (n_numbers > 1)
		assert_int_equal(ssh_put_u32(&f, b), OK);
	rig_op(&rig, 1, op, path, &f);
	return rig_wait(&rig, 1);
}

static void folders_are_made_listed_and_removed(void **state)
{
	struct rig_result *res;

	NEED_SERVER();
	assert_int_equal(simple(SSH_OP_MKDIR, "tree/a/b", NULL, 2, 0755, 0)->error, ERR_NOT_FOUND);
	assert_int_equal(simple(SSH_OP_MKDIR, "tree/a/b", NULL, 2, 0755, SSH_MKDIR_PARENTS)->error, OK);
	assert_int_equal(simple(SSH_OP_MKDIR, "tree/a/b", NULL, 2, 0755, SSH_MKDIR_PARENTS)->error, OK);
	assert_int_equal(simple(SSH_OP_MKDIR, "tree/a", NULL, 2, 0755, 0)->error, ERR_EXISTS);
	write_local("tree/one", "1", 1);
	write_local("tree/a/two words\nline", "22", 2);
	write_local("tree/a/b/\xff\xfe", "333", 3);
	assert_int_equal(mkdir(path_of("outside"), 0755), 0);
	write_local("outside/precious", "p", 1);
	assert_int_equal(symlink("../outside", path_of("tree/link")), 0);
	res = simple(SSH_OP_LS, "tree", NULL, 0, 0, 0);
	assert_int_equal(res->error, OK);
	assert_int_equal(res->n_entries, 3);
	assert_true(rig_has_entry(res, "a") && rig_has_entry(res, "one") && rig_has_entry(res, "link"));
	res = simple(SSH_OP_FIND, "tree", NULL, 1, 0, 0);
	assert_int_equal(res->error, OK);
	assert_int_equal(res->n_entries, 7);
	assert_true(rig_has_entry(res, "") && rig_has_entry(res, "a/two words\nline") && rig_has_entry(res, "a/b/\xff\xfe"));
	assert_int_equal(simple(SSH_OP_FIND, "tree", NULL, 1, 1, 0)->n_entries, 4);
	assert_int_equal(simple(SSH_OP_RM, "tree", NULL, 1, 0, 0)->error, ERR_IO);
	assert_non_null(strstr(rig.results[1].message, "a folder that is not empty"));
	assert_int_equal(simple(SSH_OP_RM, "tree", NULL, 1, SSH_RM_RECURSIVE, 0)->error, OK);
	assert_int_equal(access(path_of("tree"), F_OK), -1);
	assert_int_equal(access(path_of("outside/precious"), F_OK), 0);
	assert_int_equal(simple(SSH_OP_RM, "tree", NULL, 1, SSH_RM_RECURSIVE, 0)->error, ERR_NOT_FOUND);
	assert_int_equal(simple(SSH_OP_RM, "tree", NULL, 1, SSH_RM_RECURSIVE | SSH_RM_FORCE, 0)->error, OK);
	assert_int_equal(simple(SSH_OP_RM, "outside/precious", NULL, 1, SSH_RM_RECURSIVE, 0)->error, OK);
	assert_int_equal(simple(SSH_OP_RM, "outside", NULL, 1, 0, 0)->error, OK);
}

static void wide_and_deep_trees(void **state)
{
	char cmd[512];
	struct rig_result *res;

	NEED_SERVER();
	snprintf(cmd, sizeof(cmd),
		 "cd %s && mkdir w && cd w && for i in $(seq 20); do mkdir d$i; (cd d$i; touch $(seq 15); mkdir -p a/b/c/d/e); done",
		 rig.dir);
	assert_int_equal(system(cmd), 0);
	res = simple(SSH_OP_FIND, "w", NULL, 1, 0, 0);
	assert_int_equal(res->error, OK);
	assert_int_equal(res->n_entries, 1 + 20 * (1 + 15 + 5));
	for (size_t i = 0; i < res->n_entries; i++) {
		char *slash = strrchr(res->entries[i].name, '/');
		bool seen = false;

		/* Its folder was told before it. */
		for (size_t k = 0; k < i && slash; k++)
			seen |= strlen(res->entries[k].name) == (size_t)(slash - res->entries[i].name) &&
				strncmp(res->entries[k].name, res->entries[i].name, (size_t)(slash - res->entries[i].name)) == 0;
		assert_true(seen || !slash);
	}
	assert_int_equal(simple(SSH_OP_RM, "w", NULL, 1, SSH_RM_RECURSIVE, 0)->error, OK);
	assert_int_equal(access(path_of("w"), F_OK), -1);
}

static void the_rest(void **state)
{
	struct ssh_attr a = { .which = SSH_ATTR_MODE | SSH_ATTR_TIMES, .mode = 0640, .atime = 1000, .mtime = 2000 };
	struct ssh_buf f = { 0 };
	struct rig_result *res;
	struct stat st;

	NEED_SERVER();
	write_local("m1", "1", 1);
	write_local("m2", "2", 1);
	assert_int_equal(simple(SSH_OP_MV, "m1", "m2", 1, SSH_MV_NO_REPLACE, 0)->error, ERR_EXISTS);
	assert_int_equal(simple(SSH_OP_MV, "m1", "m2", 1, 0, 0)->error, OK);
	assert_file("m2", "1", 1);
	assert_int_equal(simple(SSH_OP_MV, "m2", "m3", 1, SSH_MV_NO_REPLACE, 0)->error, OK);
	assert_int_equal(ssh_put_attr(&f, &a), OK);
	rig_op(&rig, 1, SSH_OP_SETSTAT, "m3", &f);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_int_equal(stat(path_of("m3"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_mtime, 2000);
	assert_int_equal(simple(SSH_OP_SYMLINK, "s", "m3", 0, 0, 0)->error, OK);
	assert_string_equal(simple(SSH_OP_READLINK, "s", NULL, 0, 0, 0)->entries[0].name, "m3");
	res = simple(SSH_OP_LSTAT, "s", NULL, 0, 0, 0);
	assert_int_equal(res->attr.mode & 0170000, 0120000);
	res = simple(SSH_OP_STAT, "s", NULL, 0, 0, 0);
	assert_int_equal(res->attr.mode, 0100640);
	assert_true(res->attr.size == 1 && res->attr.mtime == 2000);
	assert_int_equal(simple(SSH_OP_LINK, "hard", "m3", 0, 0, 0)->error, OK);
	assert_int_equal(stat(path_of("hard"), &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_string_equal(simple(SSH_OP_REALPATH, "./s/../m3", NULL, 0, 0, 0)->entries[0].name, path_of("m3"));
	res = simple(SSH_OP_DF, ".", NULL, 0, 0, 0);
	assert_int_equal(res->error, OK);
	assert_true(res->space.size > 0 && res->space.avail <= res->space.size);
}

static void a_server_that_ends_ends_everything(void **state)
{
	NEED_SERVER();
	rig_get(&rig, 1, "large", 0, UINT64_MAX);
	rig_put(&rig, 2, "never", 0644, 0, 0, 0);
	kill(rig.pid, SIGKILL);
	assert_int_equal(rig_wait(&rig, 2)->error, ERR_RESET);
	assert_true(rig.results[1].done || rig_wait(&rig, 1)->done);
	rig_get(&rig, 3, "large", 0, UINT64_MAX);
	assert_int_equal(rig_wait(&rig, 3)->error, ERR_CLOSED);
}

/* ---- session roots ---- */

static char root_path[300];

static void make_root(void)
{
	char cmd[2000];

	snprintf(root_path, sizeof(root_path), "%s/root", rig.dir);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && rm -rf root out && mkdir -p root/sub root/deep/er out && echo in > root/sub/file && echo secret > out/secret && "
		 "ln -s ../out root/link && ln -s ../out/secret root/filelink && ln -s sub root/inside && ln -s /etc/passwd root/abs && "
		 "ln -s nowhere root/dangling && ln -s ../.. root/deep/up",
		 rig.dir);
	assert_int_equal(system(cmd), 0);
	rig.session.root = root_path;
}

static enum err run_op(enum ssh_op op, const char *path, const char *second, uint32_t number)
{
	struct ssh_buf f = { 0 };

	if (second)
		assert_int_equal(ssh_put_string(&f, second, strlen(second)), OK);
	for (int k = 0; k < 8; k++)
		assert_int_equal(ssh_put_u32(&f, op == SSH_OP_GET && k > 1 ? UINT32_MAX : op == SSH_OP_GET ? 0 : number), OK);
	rig_op(&rig, 1, op, path, &f);
	if (op == SSH_OP_PUT)
		rig_eof(&rig, 1, 0);
	return rig_wait(&rig, 1)->error;
}

/* Everything that would touch what is outside, by any way there: refused, and nothing there changes. */
static void nothing_leaves_a_session_root(void **state)
{
	static const enum ssh_op ops[] = { SSH_OP_GET, SSH_OP_PUT, SSH_OP_LS,	   SSH_OP_FIND, SSH_OP_STAT,	SSH_OP_LSTAT,
					   SSH_OP_RM,  SSH_OP_MKDIR, SSH_OP_SETSTAT, SSH_OP_DF,   SSH_OP_REALPATH, SSH_OP_READLINK };
	static const char *const paths[] = { "link/secret", "../out/secret", "sub/../../out/secret", "deep/up/out/secret", "/etc/passwd",
					     "link/../out/secret" };

	NEED_SERVER();
	make_root();
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		for (size_t k = 0; k < ARRAY_SIZE(paths); k++) {
			enum err e = run_op(ops[i], paths[k], NULL, 1);

			if (e != ERR_PERMISSION)
				fail_msg("operation %d on %s: %s", ops[i], paths[k], err_name(e));
			assert_non_null(strstr(rig.results[1].message, "ssh.session_root"));
			assert_int_equal(ssh_buf_used(&rig.results[1].bytes), 0);
		}
	assert_int_equal(run_op(SSH_OP_GET, "filelink", NULL, 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_GET, "abs", NULL, 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_LS, "link", NULL, 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_LS, "..", NULL, 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_MV, "sub/file", "link/taken", 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_MV, "link/secret", "taken", 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_LINK, "hard", "../out/secret", 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_SYMLINK, "new", "/etc", 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_SYMLINK, "new", "../out", 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_SYMLINK, "new", "x/../../out", 0), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_MKDIR, "link/a/b", NULL, SSH_MKDIR_PARENTS), ERR_PERMISSION);
	assert_int_equal(run_op(SSH_OP_MKDIR, "a/../../b", NULL, SSH_MKDIR_PARENTS), ERR_PERMISSION);
	assert_file("out/secret", "secret\n", 7);
	assert_int_equal(access(path_of("out/a"), F_OK), -1);
	assert_int_equal(n_partials(), 0);
	rig.session.root = NULL;
}

static void inside_a_session_root_everything_works(void **state)
{
	static const struct {
		enum ssh_op op;
		const char *path, *second;
		uint32_t number;
	} rows[] = {
		{ SSH_OP_GET, "sub/file", NULL, 0 },	     { SSH_OP_GET, "inside/file", NULL, 0 },	 { SSH_OP_LS, ".", NULL, 0 },
		{ SSH_OP_LS, "deep/..", NULL, 0 },	     { SSH_OP_FIND, ".", NULL, 0 },		 { SSH_OP_LSTAT, "link", NULL, 0 },
		{ SSH_OP_READLINK, "link", NULL, 0 },	     { SSH_OP_STAT, "", NULL, 0 },		 { SSH_OP_DF, ".", NULL, 0 },
		{ SSH_OP_MKDIR, "sub/new", NULL, 0 },	     { SSH_OP_MKDIR, "a/b/c", NULL, SSH_MKDIR_PARENTS },
		{ SSH_OP_MKDIR, "a//b/./c/", NULL, SSH_MKDIR_PARENTS },	     { SSH_OP_MKDIR, "inside/p/q", NULL, SSH_MKDIR_PARENTS },
		{ SSH_OP_SYMLINK, "sub/l", "../sub/file", 0 }, { SSH_OP_LINK, "hard", "sub/file", 0 },
		{ SSH_OP_MV, "sub/l", "inside/m", 0 },	     { SSH_OP_RM, "sub/m", NULL, 0 },		 { SSH_OP_RM, "link", NULL, 0 },
		{ SSH_OP_RM, "a", NULL, SSH_RM_RECURSIVE },  { SSH_OP_PUT, "inside/put", NULL, 0 },	 { SSH_OP_RM, "dangling", NULL, 0 },
	};
	char whole[400];

	NEED_SERVER();
	make_root();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum err e = run_op(rows[i].op, rows[i].path, rows[i].second, rows[i].number);

		if (e != OK)
			fail_msg("operation %d on %s: %s (%s)", rows[i].op, rows[i].path, err_name(e), rig.results[1].message);
	}
	assert_int_equal(access(path_of("root/sub/p/q"), F_OK), 0);
	assert_int_equal(access(path_of("root/sub/put"), F_OK), 0);
	assert_int_equal(access(path_of("root/a"), F_OK), -1);
	assert_int_equal(access(path_of("out/secret"), F_OK), 0);
	snprintf(whole, sizeof(whole), "%s/sub/file", root_path);
	assert_int_equal(run_op(SSH_OP_GET, whole, NULL, 0), OK);
	assert_int_equal(run_op(SSH_OP_GET, "sub/none", NULL, 0), ERR_NOT_FOUND);
	assert_int_equal(rig_put_whole(&rig, 1, "sub/large", content, sizeof(content))->error, OK);
	assert_file("root/sub/large", content, sizeof(content));
	rig.session.root = NULL;
}

/* Somebody at the host turns a folder into a link and back, while files in it are read and written. */
static void races_leave_a_session_root_nowhere(void **state)
{
	unsigned n_ok = 0;
	char cmd[400];
	pid_t pid;

	NEED_SERVER();
	make_root();
	snprintf(cmd, sizeof(cmd), "cp %s/out/secret %s/out/file; echo outside > %s/out/file", rig.dir, rig.dir, rig.dir);
	assert_int_equal(system(cmd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* It runs for ever: with a test that fails it ends too. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (chdir(root_path) != 0)
			_exit(1);
		for (unsigned i = 0;; i++) {
			if (rename("sub", "kept") != 0 || symlink("../out", "sub") != 0 || unlink("sub") != 0 || rename("kept", "sub") != 0)
				_exit(1);
			if (i % 8 == 0)
				usleep(500); /* some get through */
		}
	}
	for (int i = 0; i < 1000; i++) {
		enum err e = run_op(i % 2 ? SSH_OP_PUT : SSH_OP_GET, i % 2 ? "sub/made" : "sub/file", NULL, 0);
		const struct rig_result *res = &rig.results[1];

		n_ok += e == OK;
		if (i % 2 == 0 && e == OK)
			assert_memory_equal(res->bytes.p, "in\n", 3);
		assert_int_equal(access(path_of("out/made"), F_OK), -1);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(n_ok > 0);
	rig.session.root = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_all_sizes_go_both_ways), cmocka_unit_test(the_longest_names_are_written_too),
		cmocka_unit_test(parts_of_a_file),
		cmocka_unit_test(many_at_once),			   cmocka_unit_test(one_too_many_is_refused),
		cmocka_unit_test(mode_and_times_are_kept),	   cmocka_unit_test(holes_stay_holes),
		cmocka_unit_test(an_old_file_stays_until_the_new_is_whole),
		cmocka_unit_test(a_put_is_resumed),		   cmocka_unit_test(reading_has_a_limit),
		cmocka_unit_test(errors_are_told_by_name),	   cmocka_unit_test(folders_are_made_listed_and_removed),
		cmocka_unit_test(wide_and_deep_trees),		   cmocka_unit_test(the_rest),
		cmocka_unit_test(nothing_leaves_a_session_root),
		cmocka_unit_test(inside_a_session_root_everything_works),
		cmocka_unit_test(races_leave_a_session_root_nowhere),
		cmocka_unit_test(a_server_that_ends_ends_everything),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
