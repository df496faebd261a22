#include "base/endian.h"
#include "base/types.h"
#include "ssh/frame.h"
#include "test/lib/testing.h"

static struct bytes text(const char *s)
{
	return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

/* A frame is told only once its last byte is there, wherever it is cut. */
static void frames_survive_every_split(void **state)
{
	struct ssh_buf all = { 0 };
	struct bytes body;
	size_t total;
	uint8_t type;

	assert_int_equal(ssh_frame_add(&all, SSH_F_STDIN, text("hel"), text("lo")), OK);
	assert_int_equal(ssh_frame_add(&all, SSH_F_STDIN_EOF, text(""), text("")), OK);
	for (size_t cut = 0; cut <= all.len; cut++) {
		struct ssh_buf b = { 0 };

		assert_int_equal(ssh_buf_add(&b, all.p, cut), OK);
		if (cut < 10)
			assert_int_equal(ssh_frame_next(&b, &type, &body, &total), ERR_AGAIN);
		assert_int_equal(ssh_buf_add(&b, all.p + cut, all.len - cut), OK);
		assert_int_equal(ssh_frame_next(&b, &type, &body, &total), OK);
		assert_int_equal(type, SSH_F_STDIN);
		assert_int_equal(body.len, 5);
		assert_memory_equal(body.p, "hello", 5);
		ssh_buf_drop(&b, total);
		assert_int_equal(ssh_frame_next(&b, &type, &body, &total), OK);
		assert_int_equal(type, SSH_F_STDIN_EOF);
		assert_int_equal(body.len, 0);
		ssh_buf_drop(&b, total);
		assert_int_equal(ssh_buf_used(&b), 0);
		ssh_buf_fini(&b);
	}
	ssh_buf_fini(&all);
}

static void lengths_out_of_range_are_refused(void **state)
{
	static const struct {
		uint32_t len;
		enum err want;
	} rows[] = {
		{ 0, ERR_PROTOCOL },		     { 1, ERR_AGAIN },
		{ SSH_FRAME_MAX, ERR_AGAIN },	     { SSH_FRAME_MAX + 1, ERR_PROTOCOL },
		{ UINT32_MAX, ERR_PROTOCOL },	     { 0x80000000u, ERR_PROTOCOL },
	};
	struct bytes body;
	size_t total;
	uint8_t type;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ssh_buf b = { 0 };

		assert_int_equal(ssh_put_u32(&b, rows[i].len), OK);
		assert_int_equal(ssh_frame_next(&b, &type, &body, &total), rows[i].want);
		ssh_buf_fini(&b);
	}
}

static void a_short_body_is_bad_for_good(void **state)
{
	struct ssh_buf b = { 0 };

	assert_int_equal(ssh_put_string(&b, "name", 4), OK);
	assert_int_equal(ssh_put_u32(&b, 7), OK);
	for (size_t len = 0; len <= b.len; len++) {
		struct ssh_reader r = { .p = b.p, .len = len };
		char name[8];
		uint32_t v;

		ssh_read_text(&r, name, sizeof(name));
		v = ssh_read_u32(&r);
		assert_int_equal(r.bad, len < b.len);
		if (len < 8)
			assert_string_equal(name, "");
		assert_int_equal(v, len == b.len ? 7 : 0);
	}
	ssh_buf_fini(&b);
}

static void texts_too_long_or_with_a_nul_are_bad(void **state)
{
	static const struct {
		const char *p;
		size_t len;
		bool bad;
	} rows[] = { { "abc", 3, false }, { "abcd", 4, true }, { "a\0c", 3, true }, { "", 0, false } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ssh_buf b = { 0 };
		struct ssh_reader r;
		char out[4];

		assert_int_equal(ssh_put_string(&b, rows[i].p, rows[i].len), OK);
		r = (struct ssh_reader){ .p = b.p, .len = b.len };
		ssh_read_text(&r, out, sizeof(out));
		assert_int_equal(r.bad, rows[i].bad);
		assert_string_equal(out, rows[i].bad ? "" : rows[i].p);
		ssh_buf_fini(&b);
	}
}

static void lengths_that_do_not_fit_are_refused(void **state)
{
	static const uint8_t body[SSH_FRAME_MAX];
	struct ssh_buf b = { 0 };
	struct bytes all = { body, sizeof(body) - 1 }, one = { body, 1 };
	uint8_t type;
	size_t total;

	assert_int_equal(ssh_frame_add(&b, SSH_F_STDIN, all, (struct bytes){ NULL, 0 }), OK);
	assert_int_equal(ssh_frame_next(&b, &type, &(struct bytes){ NULL, 0 }, &total), OK);
	assert_int_equal(ssh_frame_add(&b, SSH_F_STDIN, all, one), ERR_TOO_LONG);
	assert_int_equal(ssh_frame_add(&b, SSH_F_STDIN, (struct bytes){ body, SIZE_MAX }, one), ERR_TOO_LONG);
	assert_int_equal(ssh_frame_add(&b, SSH_F_STDIN, one, (struct bytes){ body, SIZE_MAX }), ERR_TOO_LONG);
	assert_int_equal(ssh_put_string(&b, body, (size_t)UINT32_MAX + 1), ERR_TOO_LONG);
	assert_int_equal(ssh_buf_used(&b), 4 + sizeof(body));
	assert_null(ssh_buf_room(&b, SSH_BUF_MAX));
	assert_null(ssh_buf_room(&b, SIZE_MAX));
	ssh_buf_fini(&b);
}

/* How a login went is a number that we know, or no message at all. */
static void outcomes(void **state)
{
	struct ssh_question q;

	for (uint32_t e = 0; e < 2 * ERR_N; e++) {
		uint8_t msg[9] = { SSH_C_OUTCOME, 7, 0, 0, 0, (uint8_t)e };

		assert_int_equal(ssh_question_decode((struct bytes){ msg, 9 }, &q), e < ERR_N ? OK : ERR_PROTOCOL);
		if (e < ERR_N)
			assert_true(q.kind == SSH_C_OUTCOME && q.id == 7 && q.outcome == (enum err)e);
		for (size_t len = 0; len < 9; len++)
			assert_int_equal(ssh_question_decode((struct bytes){ msg, len }, &q), ERR_PROTOCOL);
	}
}

static void sessions_taken(void **state)
{
	const uint8_t msg[5] = { SSH_C_TAKEN, 1, 2, 0, 0 };
	struct ssh_question q;

	assert_int_equal(ssh_question_decode((struct bytes){ msg, sizeof(msg) }, &q), OK);
	assert_true(q.kind == SSH_C_TAKEN && q.id == 513);
	for (size_t len = 0; len < sizeof(msg); len++)
		assert_int_equal(ssh_question_decode((struct bytes){ msg, len }, &q), ERR_PROTOCOL);
}

static void counts(void **state)
{
	const uint8_t msg[17] = { SSH_C_COUNTS, 1, 0, 0, 0, 2, 1, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
	struct ssh_question q;

	assert_int_equal(ssh_question_decode((struct bytes){ msg, sizeof(msg) }, &q), OK);
	assert_int_equal(q.counts.n_connections, 1);
	assert_int_equal(q.counts.n_sessions, 258);
	assert_int_equal(q.counts.n_file_sessions, 3);
	assert_int_equal(q.counts.n_files_ended, UINT32_MAX);
	for (size_t len = 0; len < sizeof(msg); len++)
		assert_int_equal(ssh_question_decode((struct bytes){ msg, len }, &q), ERR_PROTOCOL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outcomes),
		cmocka_unit_test(sessions_taken),
		cmocka_unit_test(counts),
		cmocka_unit_test(frames_survive_every_split),
		cmocka_unit_test(lengths_out_of_range_are_refused),
		cmocka_unit_test(lengths_that_do_not_fit_are_refused),
		cmocka_unit_test(a_short_body_is_bad_for_good),
		cmocka_unit_test(texts_too_long_or_with_a_nul_are_bad),
	};

	return RUN_TESTS(tests);
}
