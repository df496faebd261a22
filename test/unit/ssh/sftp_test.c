/* The SFTP codec and machine: layouts byte by byte, and servers that answer late, short, in another order, or wrongly. */
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "base/rng.h"
#include "test/lib/sftp_rig.h"
#include "test/lib/testing.h"

static struct bytes text(const char *s)
{
	return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void requests_have_their_layout(void **state)
{
	static const struct {
		struct sftp_request rq;
		const char *want;
		size_t len;
	} rows[] = {
		{ { .type = SFTP_INIT }, "\0\0\0\5\1\0\0\0\3", 9 },
		{ { .type = SFTP_OPEN, .path = { (const uint8_t *)"ab", 2 }, .flags = 26, .attr = { .which = 4, .mode = 0600 } },
		  "\0\0\0\27\3\0\0\0\3\0\0\0\2ab\0\0\0\32\0\0\0\4\0\0\1\200", 27 },
		{ { .type = SFTP_READ, .path = { (const uint8_t *)"h", 1 }, .offset = 0x0102030405060708, .len = 9 },
		  "\0\0\0\26\5\0\0\0\3\0\0\0\1h\1\2\3\4\5\6\7\10\0\0\0\11", 26 },
		{ { .type = SFTP_WRITE, .path = { (const uint8_t *)"h", 1 }, .offset = 1, .second = { (const uint8_t *)"xyz", 3 } },
		  "\0\0\0\31\6\0\0\0\3\0\0\0\1h\0\0\0\0\0\0\0\1\0\0\0\3xyz", 29 },
		{ { .type = SFTP_FSETSTAT,
		    .path = { (const uint8_t *)"h", 1 },
		    .attr = { .which = 15, .size = 1, .uid = 2, .gid = 3, .mode = 4, .atime = 5, .mtime = 6 } },
		  "\0\0\0\52\12\0\0\0\3\0\0\0\1h\0\0\0\17\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5\0\0\0\6", 46 },
		{ { .type = SFTP_RENAME, .path = { (const uint8_t *)"a", 1 }, .second = { (const uint8_t *)"b", 1 } },
		  "\0\0\0\17\22\0\0\0\3\0\0\0\1a\0\0\0\1b", 19 },
		{ { .type = SFTP_EXTENDED, .ext = SFTP_X_FSYNC, .path = { (const uint8_t *)"h", 1 } },
		  "\0\0\0\37\310\0\0\0\3\0\0\0\21fsync@openssh.com\0\0\0\1h", 35 },
		{ { .type = SFTP_EXTENDED, .ext = SFTP_X_LIMITS }, "\0\0\0\33\310\0\0\0\3\0\0\0\22limits@openssh.com", 31 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ssh_buf b = { 0 };

		assert_int_equal(sftp_encode(&b, 3, &rows[i].rq), OK);
		assert_int_equal(ssh_buf_used(&b), rows[i].len);
		assert_memory_equal(b.p, rows[i].want, rows[i].len);
		ssh_buf_fini(&b);
	}
}

static void requests_too_long_are_refused(void **state)
{
	static const uint8_t zero[SFTP_PACKET_MAX];
	struct sftp_request rq = { .type = SFTP_WRITE, .path = { zero, 4 }, .second = { zero, SFTP_PACKET_MAX - 25 } };
	struct ssh_buf b = { 0 };

	assert_int_equal(sftp_encode(&b, 1, &rq), OK);
	rq.second.len++;
	assert_int_equal(sftp_encode(&b, 1, &rq), ERR_TOO_LONG);
	rq.second.len = SIZE_MAX;
	assert_int_equal(sftp_encode(&b, 1, &rq), ERR_TOO_LONG);
	assert_int_equal(ssh_buf_used(&b), 4 + SFTP_PACKET_MAX);
	ssh_buf_fini(&b);
}

/* Each reply, whole and cut at every length: only the whole one is believed (the open-ended ones from their end on). */
static void replies_cut_anywhere_are_refused(void **state)
{
	static const struct {
		const char *p;
		size_t len, least;
	} rows[] = {
		{ "\145\0\0\0\7\0\0\0\4\0\0\0\7Failure\0\0\0\0", 24, 9 },
		{ "\146\0\0\0\7\0\0\0\4hand", 13, 13 },
		{ "\147\0\0\0\7\0\0\0\3xyz", 12, 12 },
		{ "\151\0\0\0\7\0\0\0\17\0\0\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\1\244\0\0\0\5\0\0\0\6", 37, 37 },
		{ "\151\0\0\0\7\200\0\0\0\0\0\0\1\0\0\0\1a\0\0\0\1b", 23, 23 },
		{ "\150\0\0\0\7\0\0\0\1", 9, 9 },
	};
	struct sftp_reply r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t len = 0; len <= rows[i].len; len++) {
			enum err e = sftp_decode((struct bytes){ (const uint8_t *)rows[i].p, len }, &r);

			assert_int_equal(e, len >= rows[i].least ? OK : ERR_PROTOCOL);
			if (e == OK)
				assert_int_equal(r.id, 7);
		}
	assert_int_equal(sftp_decode(text("\3\0\0\0\7"), &r), ERR_PROTOCOL);
	assert_int_equal(sftp_decode((struct bytes){ (const uint8_t *)"\147\0\0\0\7\0\0\0\3xyz!", 13 }, &r), ERR_PROTOCOL);
	assert_int_equal(sftp_decode((struct bytes){ (const uint8_t *)"\151\0\0\0\7\0\0\0\20", 9 }, &r), ERR_PROTOCOL);
}

static void packets_of_a_bad_length_are_refused(void **state)
{
	static const struct {
		uint32_t len;
		enum err want;
	} rows[] = { { 0, ERR_PROTOCOL }, { 4, ERR_PROTOCOL }, { 5, ERR_AGAIN }, { SFTP_PACKET_MAX, ERR_AGAIN },
		     { SFTP_PACKET_MAX + 1, ERR_PROTOCOL }, { UINT32_MAX, ERR_PROTOCOL } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ssh_buf b = { 0 };
		struct bytes packet;
		uint8_t head[4];
		size_t total;

		put_be32(head, rows[i].len);
		assert_int_equal(ssh_buf_add(&b, head, 4), OK);
		assert_int_equal(sftp_next(&b, &packet, &total), rows[i].want);
		ssh_buf_fini(&b);
	}
}

/* ---- a server of our own ---- */

#define FILE_SIZE 700001

enum fault { NONE, WRONG_ID, TWICE, WRONG_TYPE, TOO_LONG, NO_BYTES, SHRINKS, SLASH, DOTS, ENDLESS_TREE, GARBAGE, HUGE_HANDLE,
	     EMPTY_LIST, SILENT, FLIPS, DOTS_FOR_EVER, FILES_FOR_EVER, LONG_LINK,
	     MANY_AT_ONCE, WRITES, SAME, N_FAULTS };

struct server {
	struct rng_seeded rng;
	enum fault fault;
	bool greeted, shuffled;
	struct {
		uint32_t id, len;
		uint64_t offset;
		uint8_t type;
		char path[300]; /* of REALPATH */
	} held[64];
	size_t n_held;
	unsigned n_lists;
	/* WRITES: what is asked, a word each, with the path of OPEN; what stands in the target's place */
	char log[2000];
	uint16_t place_mode; /* 0: nothing */
	bool no_folders;     /* it opens none */
	bool read_early;     /* SAME: before what was opened had been looked at again */
	bool led_out; /* FLIPS: what was opened last was not what its name says */
};

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 31 ^ offset >> 9);
}

static void answer(struct rig *r, uint8_t type, uint32_t id, const void *p, size_t len)
{
	uint8_t head[9];

	put_be32(head, (uint32_t)(5 + len));
	head[4] = type;
	put_be32(head + 5, id);
	assert_int_equal(ssh_buf_add(&r->client.in, head, 9), OK);
	assert_int_equal(ssh_buf_add(&r->client.in, p, len), OK);
}

static void answer_status(struct rig *r, uint32_t id, uint32_t status)
{
	uint8_t p[4];

	put_be32(p, status);
	answer(r, SFTP_STATUS, id, p, 4);
}

static void answer_read(struct server *s, struct rig *r, uint32_t id, uint64_t offset, uint32_t len)
{
	static uint8_t p[4 + SFTP_PACKET_MAX];
	uint64_t size = s->fault == SHRINKS ? FILE_SIZE / 2 : FILE_SIZE;

	if (offset >= size) {
		answer_status(r, id, SFTP_EOF);
		return;
	}
	len = (uint32_t)MIN((uint64_t)len, size - offset);
	if (s->shuffled && rng_below(&s->rng.rng, 3) == 0)
		len = 1 + rng_below(&s->rng.rng, len);
	if (s->fault == TOO_LONG)
		len += 1;
	if (s->fault == NO_BYTES)
		len = 0;
	put_be32(p, len);
	for (uint32_t i = 0; i < len; i++)
		p[4 + i] = byte_at(offset + i);
	answer(r, s->fault == WRONG_TYPE ? SFTP_HANDLE : SFTP_DATA, s->fault == WRONG_ID ? id + 1 : id, p,
	       s->fault == WRONG_TYPE ? 4 + MIN(len, 200u) : 4 + len);
	if (s->fault == TWICE)
		answer(r, SFTP_DATA, id, p, 4 + len);
}

#define MANY 5000

/* One list with more names than requests may be under way. */
static void answer_many(struct rig *r, uint32_t id)
{
	static const uint8_t name[] = { 0, 0, 0, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0200, 0244 };
	static uint8_t p[4 + MANY * sizeof(name)];

	put_be32(p, MANY);
	for (size_t i = 0; i < MANY; i++)
		memcpy(p + 4 + i * sizeof(name), name, sizeof(name));
	answer(r, SFTP_NAME, id, p, sizeof(p));
}

static void answer_long_link(struct rig *r, uint32_t id)
{
	static uint8_t p[8 + 70000 + 8] = { 0, 0, 0, 1 };

	put_be32(p + 4, 70000);
	memset(p + 8, 'x', 70000);
	answer(r, SFTP_NAME, id, p, sizeof(p));
}

static void answer_list(struct server *s, struct rig *r, uint32_t id)
{
	static const struct {
		enum fault fault;
		const char *p;
		size_t len;
	} lists[] = {
		{ SLASH, "\0\0\0\1\0\0\0\6../etc\0\0\0\0\0\0\0\4\0\0\100\355", 26 },
		{ DOTS, "\0\0\0\2\0\0\0\2..\0\0\0\0\0\0\0\4\0\0\100\355\0\0\0\1.\0\0\0\0\0\0\0\4\0\0\100\355", 39 },
		{ ENDLESS_TREE, "\0\0\0\1\0\0\0\1d\0\0\0\0\0\0\0\4\0\0\100\355", 21 },
		{ EMPTY_LIST, "\0\0\0\0", 4 },
		{ DOTS_FOR_EVER, "\0\0\0\1\0\0\0\1.\0\0\0\0\0\0\0\4\0\0\100\355", 21 },
		{ FILES_FOR_EVER, "\0\0\0\1\0\0\0\4name\0\0\0\0\0\0\0\4\0\0\200\244", 24 },
		{ GARBAGE, "\377\377\377\377\0\0\0\1x", 9 },
	};

	bool for_ever = s->fault == EMPTY_LIST || s->fault == DOTS_FOR_EVER || s->fault == FILES_FOR_EVER;

	if (s->fault == MANY_AT_ONCE && s->n_lists++ == 0) {
		answer_many(r, id);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (lists[i].fault == s->fault && (s->n_lists++ % 2 == 0 || for_ever)) {
			answer(r, SFTP_NAME, id, lists[i].p, lists[i].len);
			return;
		}
	answer_status(r, id, SFTP_EOF);
}

/* The path itself, or one that a link leads to. */
static void answer_real(struct server *s, struct rig *r, uint32_t id, const char *path)
{
	bool is_link = strlen(path) > 4 && rng_below(&s->rng.rng, s->fault == FLIPS ? 2 : 3) == 0;
	uint8_t p[320] = { 0, 0, 0, 1 };
	size_t len = strlen(path);

	memcpy(p + 8, path, len);
	if (is_link)
		p[8 + len++] = 'x';
	put_be32(p + 4, (uint32_t)len);
	answer(r, SFTP_NAME, id, p, 8 + len + 8);
}

static void note_request(struct server *s, uint8_t type, const uint8_t *text)
{
	size_t len = strlen(s->log);

	snprintf(s->log + len, sizeof(s->log) - len, "%s%.*s ", type == SFTP_OPEN ? "open:" : type == SFTP_REMOVE ? "remove:" : "",
		 type == SFTP_OPEN || type == SFTP_REMOVE || type == SFTP_EXTENDED ? (int)get_be32(text) : 0, (const char *)text + 4);
}

static void answer_place(struct server *s, struct rig *r, uint32_t id)
{
	uint8_t mode[8] = { 0, 0, 0, 4 };

	put_be32(mode + 4, s->place_mode);
	if (s->place_mode)
		answer(r, SFTP_ATTRS, id, mode, sizeof(mode));
	else
		answer_status(r, id, SFTP_NO_SUCH_FILE);
}

static void answer_one(struct server *s, struct rig *r, size_t i)
{
	static const uint8_t handle[300] = { 0, 0, 0, 1, 'h' }, huge[300] = { 0, 0, 1, 1 };
	static const uint8_t folder[] = { 0, 0, 0, 4, 0, 0, 0100, 0355 };
	uint8_t attr[12] = { 0, 0, 0, 1 };
	uint32_t id = s->held[i].id;

	put_be64(attr + 4, FILE_SIZE);
	if (s->fault == FLIPS && s->held[i].type == SFTP_OPEN)
		s->led_out = rng_below(&s->rng.rng, 2) == 0;
	if (s->fault == FLIPS && s->held[i].type == SFTP_LSTAT)
		attr[11] += rng_below(&s->rng.rng, 2) == 0;
	if (s->fault == FLIPS && s->held[i].type == SFTP_FSTAT)
		attr[11] += s->led_out;
	if (s->fault == WRITES && s->held[i].type == SFTP_LSTAT)
		answer_place(s, r, id);
	else if (s->no_folders && s->held[i].type == SFTP_OPEN && strcmp(s->held[i].path, "dir") == 0)
		answer_status(r, id, SFTP_FAILURE);
	else if (s->held[i].type == SFTP_OPEN || s->held[i].type == SFTP_OPENDIR)
		answer(r, SFTP_HANDLE, id, s->fault == HUGE_HANDLE ? huge : handle, s->fault == HUGE_HANDLE ? 261 : 5);
	else if (s->held[i].type == SFTP_FSTAT)
		answer(r, SFTP_ATTRS, id, attr, sizeof(attr));
	else if (s->held[i].type == SFTP_LSTAT && (s->fault == FLIPS || s->fault == SAME))
		answer(r, SFTP_ATTRS, id, attr, sizeof(attr));
	else if (s->held[i].type == SFTP_LSTAT)
		answer(r, SFTP_ATTRS, id, folder, sizeof(folder));
	else if (s->held[i].type == SFTP_READ)
		answer_read(s, r, id, s->held[i].offset, s->held[i].len);
	else if (s->held[i].type == SFTP_REALPATH)
		answer_real(s, r, id, s->held[i].path);
	else if (s->held[i].type == SFTP_READLINK && s->fault == LONG_LINK)
		answer_long_link(r, id);
	else if (s->held[i].type == SFTP_READDIR)
		answer_list(s, r, id);
	else
		answer_status(r, id, SFTP_OK);
	s->held[i] = s->held[--s->n_held];
}

static void serve(void *ctx, struct rig *r)
{
	struct server *s = ctx;
	struct bytes packet;
	size_t total;

	if (!s->greeted && s->fault == WRITES)
		answer(r, SFTP_VERSION, 3, "\0\0\0\21fsync@openssh.com\0\0\0\0011\0\0\0\30posix-rename@openssh.com\0\0\0\0011", 59);
	else if (!s->greeted)
		answer(r, SFTP_VERSION, 3, "", 0);
	else if (s->fault == SILENT)
		r->now += 10 * NSEC_PER_SEC;
	s->greeted = true;
	while (s->n_held < ARRAY_SIZE(s->held) && sftp_next(&r->client.out, &packet, &total) == OK) {
		const uint8_t *p = packet.p;

		s->held[s->n_held].type = p[0];
		s->held[s->n_held].id = get_be32(p + 1);
		if (p[0] == SFTP_READ) {
			s->held[s->n_held].offset = get_be64(p + 10);
			s->held[s->n_held].len = get_be32(p + 18);
		}
		for (size_t i = 0; i < s->n_held && p[0] == SFTP_READ; i++)
			s->read_early |= s->held[i].type == SFTP_LSTAT || s->held[i].type == SFTP_REALPATH;
		if (s->fault == WRITES && p[0] != SFTP_INIT)
			note_request(s, p[0], p + 5);
		if (p[0] == SFTP_REALPATH || p[0] == SFTP_OPEN)
			snprintf(s->held[s->n_held].path, sizeof(s->held[0].path), "%.*s", (int)get_be32(p + 5), (const char *)p + 9);
		s->n_held += p[0] != SFTP_INIT;
		ssh_buf_drop(&r->client.out, total);
	}
	for (uint32_t n = 1 + rng_below(&s->rng.rng, 8); n > 0 && s->n_held > 0 && s->fault != SILENT; n--)
		answer_one(s, r, s->shuffled ? rng_below(&s->rng.rng, (uint32_t)s->n_held) : 0);
	sftp_client_expire(&r->client, r->now);
}

static struct rig rig;

static void answers_in_any_order_make_the_same_file(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct server s = { .shuffled = true };
		struct rig_result *res;

		rng_seeded_init(&s.rng, seed);
		rig_open_fake(&rig, serve, &s);
		rig_get(&rig, 1, "f", 0, UINT64_MAX);
		res = rig_wait(&rig, 1);
		if (res->error != OK || ssh_buf_used(&res->bytes) != FILE_SIZE)
			fail_msg("seed %llu: %s, %zu bytes", (unsigned long long)seed, res->message, ssh_buf_used(&res->bytes));
		for (uint64_t i = 0; i < FILE_SIZE; i++)
			if (res->bytes.p[i] != byte_at(i))
				fail_msg("seed %llu: byte %llu differs", (unsigned long long)seed, (unsigned long long)i);
		rig_close(&rig);
	}
}

static void faulty_servers_end_in_an_error(void **state)
{
	static const struct {
		enum fault fault;
		enum ssh_op op;
		enum err want;
	} rows[] = {
		{ NONE, SSH_OP_GET, OK },
		{ WRONG_ID, SSH_OP_GET, ERR_PROTOCOL },
		{ TWICE, SSH_OP_GET, ERR_PROTOCOL },
		{ WRONG_TYPE, SSH_OP_GET, ERR_PROTOCOL },
		{ TOO_LONG, SSH_OP_GET, ERR_PROTOCOL },
		{ NO_BYTES, SSH_OP_GET, ERR_PROTOCOL },
		{ SHRINKS, SSH_OP_GET, ERR_IO },
		{ HUGE_HANDLE, SSH_OP_GET, ERR_PROTOCOL },
		{ SILENT, SSH_OP_GET, ERR_TIMEOUT },
		{ SLASH, SSH_OP_FIND, ERR_PROTOCOL },
		{ SLASH, SSH_OP_LS, ERR_PROTOCOL },
		{ DOTS, SSH_OP_FIND, OK },
		{ GARBAGE, SSH_OP_LS, ERR_PROTOCOL },
		{ EMPTY_LIST, SSH_OP_LS, ERR_PROTOCOL },
		{ DOTS_FOR_EVER, SSH_OP_LS, ERR_PROTOCOL },
		{ LONG_LINK, SSH_OP_READLINK, ERR_PROTOCOL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct server s = { .fault = rows[i].fault };
		struct rig_result *res;
		struct ssh_buf f = { 0 };

		rng_seeded_init(&s.rng, i + 1);
		rig_open_fake(&rig, serve, &s);
		assert_int_equal(ssh_put_u64(&f, 0), OK);
		assert_int_equal(ssh_put_u64(&f, UINT64_MAX), OK);
		rig_op(&rig, 1, rows[i].op, "f", &f);
		res = rig_wait(&rig, 1);
		if (res->error != rows[i].want)
			fail_msg("row %zu: %s (%s)", i, err_name(res->error), res->message);
		for (size_t k = 0; k < res->n_entries; k++)
			assert_true(rows[i].fault == DOTS || rows[i].fault == DOTS_FOR_EVER ? *res->entries[k].name == '\0' :
							    !strchr(res->entries[k].name, '/'));
		rig_close(&rig);
	}
}

/* A tree that a server invents without end is left at a depth. */
static void endless_trees_end(void **state)
{
	struct server s = { .fault = ENDLESS_TREE };
	struct ssh_buf f = { 0 };
	struct rig_result *res;

	rng_seeded_init(&s.rng, 1);
	rig_open_fake(&rig, serve, &s);
	assert_int_equal(ssh_put_u32(&f, SSH_RM_RECURSIVE), OK);
	rig_op(&rig, 1, SSH_OP_RM, "f", &f);
	res = rig_wait(&rig, 1);
	assert_int_equal(res->error, ERR_LIST_LIMIT);
	assert_non_null(strstr(res->message, "256"));
	rig_close(&rig);
}

/* Names without end, listed, found or to be removed: told which limit it was. Trees as wide as one entry a folder count too. */
static void endless_lists_end(void **state)
{
	static const struct {
		enum fault fault;
		enum ssh_op op;
		uint64_t max;
		const char *says;
	} rows[] = {
		{ FILES_FOR_EVER, SSH_OP_LS, 400, "more than 400 names" },
		{ FILES_FOR_EVER, SSH_OP_FIND, 400, "more than 400 names" },
		{ FILES_FOR_EVER, SSH_OP_RM, 1000, "more than 1000 names" },
		{ DOTS_FOR_EVER, SSH_OP_FIND, 1, "more than 1 names" },
		{ ENDLESS_TREE, SSH_OP_FIND, 30, "more than 30 names" },
		{ LONG_LINK, SSH_OP_REALPATH, 0, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct server s = { .fault = rows[i].fault };
		struct ssh_buf f = { 0 };
		struct rig_result *res;

		rng_seeded_init(&s.rng, 1);
		rig_open_fake(&rig, serve, &s);
		rig.session.list_max = rows[i].max;
		assert_int_equal(ssh_put_u32(&f, rows[i].op == SSH_OP_RM), OK);
		rig_op(&rig, 1, rows[i].op, "f", &f);
		res = rig_wait(&rig, 1);
		assert_int_equal(res->error, rows[i].says ? ERR_LIST_LIMIT : OK);
		if (rows[i].says)
			assert_non_null(strstr(res->message, rows[i].says));
		if (rows[i].says)
			assert_non_null(strstr(res->message, "ssh.max_list_entries"));
		rig_close(&rig);
	}
}

/* The limit is the session's, whatever number of folders is listed in it; and of bytes too. */
static void a_session_has_one_limit(void **state)
{
	struct server s = { .fault = DOTS };
	struct ssh_buf f = { 0 };

	rng_seeded_init(&s.rng, 1);
	rig_open_fake(&rig, serve, &s);
	rig.session.list_max = 5;
	for (int i = 0; i < 3; i++) {
		rig_op(&rig, 1, SSH_OP_LS, "f", &f);
		assert_int_equal(rig_wait(&rig, 1)->error, i < 2 ? OK : ERR_LIST_LIMIT);
	}
	rig.session.list_max = 1000;
	s.n_lists = 0;
	rig.session.listed_bytes = 1001 * FS_NAME_BYTES;
	rig_op(&rig, 1, SSH_OP_LS, "f", &f);
	assert_int_equal(rig_wait(&rig, 1)->error, ERR_LIST_LIMIT);
	assert_non_null(strstr(rig.results[1].message, "256000 bytes of names"));
	rig_close(&rig);
}

static void more_files_are_removed_than_may_be_under_way(void **state)
{
	struct server s = { .fault = MANY_AT_ONCE };
	struct ssh_buf f = { 0 };

	rng_seeded_init(&s.rng, 1);
	rig_open_fake(&rig, serve, &s);
	assert_int_equal(ssh_put_u32(&f, SSH_RM_RECURSIVE), OK);
	rig_op(&rig, 1, SSH_OP_RM, "f", &f);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_int_equal(rig.session.n_listed, MANY);
	rig_close(&rig);
}

/* In a session root each folder is opened and looked at: a server may answer the second question first, and with a refusal. */
static void roots_are_walked_in_any_order(void **state)
{
	unsigned n_refused = 0;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct server s = { .fault = ENDLESS_TREE, .shuffled = true };
		struct ssh_buf f = { 0 };
		struct rig_result *res;

		rng_seeded_init(&s.rng, seed);
		rig_open_fake(&rig, serve, &s);
		rig.session.root = "/r";
		assert_int_equal(ssh_put_u32(&f, 20), OK);
		rig_op(&rig, 1, SSH_OP_FIND, "f", &f);
		res = rig_wait(&rig, 1);
		if (res->error != OK && res->error != ERR_PERMISSION)
			fail_msg("seed %llu: %s (%s)", (unsigned long long)seed, err_name(res->error), res->message);
		n_refused += res->error == ERR_PERMISSION;
		rig_close(&rig);
	}
	assert_true(n_refused > 0);
}

/* The looks at what was opened may be answered in any order as well: judged together, and only then is it read. */
static void looks_are_judged_when_all_are_in(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct server s = { .fault = SAME, .shuffled = true };
		struct rig_result *res;

		rng_seeded_init(&s.rng, seed);
		rig_open_fake(&rig, serve, &s);
		rig.session.root = "/r";
		rig_get(&rig, 1, "f", 0, UINT64_MAX);
		res = rig_wait(&rig, 1);
		if (res->error != OK || s.read_early)
			fail_msg("seed %llu: %s", (unsigned long long)seed, s.read_early ? "read before it was looked at" : res->message);
		rig_close(&rig);
	}
}

/*
 * Somebody at the host turns the folder into a link to elsewhere and back, blindly: at each request it is the one or the other. What
 * was opened elsewhere is read one time in 65,536 of those.
 */
static void flipping_a_folder_leaves_a_root_nowhere(void **state)
{
	unsigned n_led_out = 0, n_read = 0;

	for (uint64_t seed = 1; seed <= 2000; seed++) {
		struct server s = { .fault = FLIPS };

		rng_seeded_init(&s.rng, seed);
		rig_open_fake(&rig, serve, &s);
		rig.session.root = "/r";
		rig_get(&rig, 1, "file", 0, 10);
		n_read += rig_wait(&rig, 1)->error == OK && s.led_out;
		n_led_out += s.led_out;
		rig_close(&rig);
	}
	assert_true(n_led_out > 400);
	assert_true(n_read <= 1);
}

static struct rig_result *put(struct server *s, uint64_t seed, uint32_t flags)
{
	s->fault = WRITES;
	rng_seeded_init(&s->rng, seed);
	rig_open_fake(&rig, serve, s);
	while (!rig.client.ready)
		assert_true(rig_pump(&rig));
	rig_put(&rig, 1, "dir/f", 0644, flags, 1, 0);
	rig_data(&rig, 1, 0, "abc", 3);
	rig_eof(&rig, 1, 3);
	return rig_wait(&rig, 1);
}

/* Its name is synced behind the rename, where that is asked for and the server opens folders. */
static void a_put_lasts(void **state)
{
	static const struct {
		uint32_t flags;
		bool no_folders;
		const char *end;
	} rows[] = {
		{ 0, false, "fsync@openssh.com  posix-rename@openssh.com open:dir fsync@openssh.com " },
		{ 0, true, "fsync@openssh.com  posix-rename@openssh.com open:dir " },
		{ SSH_PUT_NO_SYNC, false, "posix-rename@openssh.com " },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct server s = { .no_folders = rows[i].no_folders };
		size_t len = strlen(rows[i].end);

		assert_int_equal(put(&s, i, rows[i].flags)->error, OK);
		if (strlen(s.log) < len || strcmp(s.log + strlen(s.log) - len, rows[i].end) != 0)
			fail_msg("row %zu: %s", i, s.log);
		while (!fs_session_idle(&rig.session))
			assert_true(rig_pump(&rig));
		rig_close(&rig);
	}
}

/* Whenever the answer comes: what is neither a file nor a link stays, and nothing is left beside it. */
static void a_put_replaces_files_and_links_alone(void **state)
{
	static const struct {
		uint16_t mode;
		enum err want;
	} rows[] = {
		{ 0, OK }, { 0100644, OK }, { 0120777, OK }, { 0040755, ERR_IS_FOLDER }, { 0020666, ERR_INVALID },
		{ 0060660, ERR_INVALID }, { 0010644, ERR_INVALID }, { 0140755, ERR_INVALID },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (uint64_t seed = 1; seed <= 20; seed++) {
			struct server s = { .place_mode = rows[i].mode, .shuffled = true };

			assert_int_equal(put(&s, seed, 0)->error, rows[i].want);
			while (!fs_session_idle(&rig.session))
				assert_true(rig_pump(&rig));
			assert_int_equal(strstr(s.log, "posix-rename") != NULL, rows[i].want == OK);
			assert_int_equal(strstr(s.log, "remove:dir/f.nefia-") != NULL, rows[i].want != OK);
			assert_null(strstr(s.log, "remove:dir/f "));
			rig_close(&rig);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_have_their_layout),
		cmocka_unit_test(requests_too_long_are_refused),
		cmocka_unit_test(replies_cut_anywhere_are_refused),
		cmocka_unit_test(packets_of_a_bad_length_are_refused),
		cmocka_unit_test(answers_in_any_order_make_the_same_file),
		cmocka_unit_test(faulty_servers_end_in_an_error),
		cmocka_unit_test(endless_trees_end),
		cmocka_unit_test(endless_lists_end),
		cmocka_unit_test(a_session_has_one_limit),
		cmocka_unit_test(more_files_are_removed_than_may_be_under_way),
		cmocka_unit_test(roots_are_walked_in_any_order),
		cmocka_unit_test(a_put_lasts),
		cmocka_unit_test(a_put_replaces_files_and_links_alone),
		cmocka_unit_test(looks_are_judged_when_all_are_in),
		cmocka_unit_test(flipping_a_folder_leaves_a_root_nowhere),
	};

	return RUN_TESTS(tests);
}
