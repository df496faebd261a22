/*
 * A put over several channels (ssh/fs_put.c) against OpenSSH's own sftp-server, one process a channel: what order writes may
 * take, what a partial file may lack, and what is left when one of the channels ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "os/file.h"
#include "test/lib/sftp_rig.h"
#include "test/lib/testing.h"

#define N_LANES 3
#define SIZE ((size_t)112 << 20) /* SPAN, what waits to be sent, and more */
#define SPAN ((size_t)32 << 20) /* what the end of a partial file may lack: PUT_SPAN */
#define PIECE 100000
#define SOURCE 0x51ab
#define PARTIAL "file.nefia-00000000000051ab.part"

static struct rig rig;
static uint8_t *content;
static bool here; /* is there an sftp-server? */
static size_t fed; /* bytes of the put that were given to the session */

static int open_rig(void **state)
{
	struct rng_seeded rng;

	content = malloc(SIZE);
	assert_non_null(content);
	rng_seeded_init(&rng, 11);
	rng_bytes(&rng.rng, content, SIZE);
	here = rig_open(&rig);
	for (int i = 0; i < N_LANES && here; i++)
		rig_add_lane(&rig);
	return 0;
}

static int close_rig(void **state)
{
	if (here)
		rig_close(&rig);
	free(content);
	return 0;
}

#define NEED_SERVER()                                                                                                  \
	do {                                                                                                           \
		if (!here)                                                                                             \
			skip();                                                                                        \
	} while (0)

static const char *path_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
	return path;
}

/* The first @len bytes of the file are the source's, and it is @size long. */
static void assert_begins(const char *name, size_t len, size_t size)
{
	char *got;
	size_t got_len;

	assert_int_equal(os_file_read(path_of(name), SIZE, &got, &got_len), OK);
	assert_int_equal(got_len, size);
	assert_memory_equal(got, content, len);
	free(got);
}

static void write_old(void)
{
	FILE *f = fopen(path_of("file"), "w");

	assert_non_null(f);
	assert_int_equal(fwrite("old", 1, 3, f), 3);
	fclose(f);
}

static void assert_old(void)
{
	char *got;
	size_t len;

	assert_int_equal(os_file_read(path_of("file"), 100, &got, &len), OK);
	assert_int_equal(len, 3);
	free(got);
}

static bool is_there(const char *name)
{
	return access(path_of(name), F_OK) == 0;
}

static struct rig_result *begin(uint32_t flags)
{
	fed = 0;
	rig_put(&rig, 1, "file", 0640, flags | SSH_PUT_TIMES, SOURCE, 1234567890);
	while (flags & SSH_PUT_RESUME && !rig.results[1].has_info)
		assert_true(rig_pump(&rig));
	return &rig.results[1];
}

/* What the credit allows, up to @size. Return: something was given. */
static bool feed(size_t size)
{
	struct rig_result *res = &rig.results[1];
	size_t n = (size_t)MIN(MIN(res->credit, (uint64_t)PIECE), (uint64_t)(size - fed));

	if (n == 0 || res->done)
		return false;
	rig_data(&rig, 1, fed, content + fed, n);
	res->credit -= n;
	fed += n;
	return true;
}

/* Until everything up to @size was given to the session. */
static void feed_all(size_t size)
{
	while (fed < size && !rig.results[1].done)
		if (!feed(size))
			assert_true(rig_pump(&rig));
}

/* Until everything up to @size was given, or neither a byte nor an answer moves any more for want of a channel that is held. */
static void feed_until_stuck(size_t size)
{
	for (int still = 0; still < 200 && fed < size;) {
		size_t before = fed;
		bool busy = !rig.held && sftp_client_pending(&rig.client) > 0;

		while (feed(size))
			;
		for (int i = 0; i < N_LANES; i++)
			busy |= !rig.lane[i].held && rig.lane[i].client.error == OK && sftp_client_pending(&rig.lane[i].client) > 0;
		if (busy)
			assert_true(rig_pump(&rig));
		else
			fs_session_step(&rig.session, rig.now);
		still = busy || fed > before ? 0 : still + 1;
	}
}

/* Stops the channel when a piece of the file is on its way through it. */
static void hold_while_writing(struct rig_lane *lane)
{
	uint64_t from = lane->n_sent;

	while (lane->n_sent < from + PIECE || sftp_client_pending(&lane->client) == 0)
		if (!feed(SIZE / 2))
			assert_true(rig_pump(&rig));
	lane->held = true;
}

static void settle(void)
{
	for (int i = 0; i < N_LANES; i++)
		rig.lane[i].held = false;
	rig.held = false;
	while (!fs_session_idle(&rig.session))
		assert_true(rig_pump(&rig));
}

/* Every channel carries some of it, and what arrives is whole, with its mode and its time. */
static void all_channels_carry_one_file(void **state)
{
	struct stat st;

	NEED_SERVER();
	write_old();
	begin(0);
	feed_all(SIZE);
	assert_old();
	rig_eof(&rig, 1, SIZE);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_begins("file", SIZE, SIZE);
	for (int i = 0; i < N_LANES; i++)
		assert_true(rig.lane[i].n_sent > SIZE / 20);
	assert_int_equal(stat(path_of("file"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_mtime, 1234567890);
	settle();
	assert_int_equal(sftp_client_pending(&rig.client), 0);
}

/* A channel that is behind: the file takes its place, and gets its time, only when that one has written too. */
static void the_slowest_channel_is_waited_for(void **state)
{
	struct stat st;

	NEED_SERVER();
	write_old();
	begin(0);
	feed_all(SIZE / 4);
	hold_while_writing(&rig.lane[1]);
	feed_all(SIZE / 4 + SPAN / 2);
	rig_eof(&rig, 1, fed);
	while (sftp_client_pending(&rig.client) + sftp_client_pending(&rig.lane[0].client) +
	       sftp_client_pending(&rig.lane[2].client) > 0)
		assert_true(rig_pump(&rig));
	for (int i = 0; i < 5; i++)
		fs_session_step(&rig.session, rig.now);
	assert_true(sftp_client_pending(&rig.lane[1].client) > 0);
	assert_false(rig.results[1].done);
	assert_old();
	rig.lane[1].held = false;
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_begins("file", fed, fed);
	assert_int_equal(stat(path_of("file"), &st), 0);
	assert_int_equal(st.st_mtime, 1234567890);
	settle();
}

/* What is to be resumed and is shorter than SPAN cannot be gone back in by that much: it is written through one channel. */
static void a_short_partial_file_has_no_gaps(void **state)
{
	uint64_t before[N_LANES];

	NEED_SERVER();
	for (int i = 0; i < N_LANES; i++)
		before[i] = rig.lane[i].n_sent;
	begin(SSH_PUT_RESUME);
	feed_all(SPAN / 2);
	for (int i = 0; i < N_LANES; i++)
		assert_true(rig.lane[i].n_sent == before[i]);
	rig_eof(&rig, 1, fed);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_begins("file", fed, fed);
	settle();
}

/*
 * One that stands still leaves a gap. The others go on no farther than SPAN beyond it, so that whoever resumes and goes back
 * by SPAN finds no gap before.
 */
static void a_gap_is_never_farther_back_than_it_may_be(void **state)
{
	struct rig_result *res;
	struct stat st;
	size_t from;

	NEED_SERVER();
	write_old();
	begin(SSH_PUT_RESUME);
	feed_all(SPAN + (4 << 20));
	hold_while_writing(&rig.lane[0]);
	feed_until_stuck(SIZE);
	assert_true(fed < SIZE);
	assert_int_equal(stat(path_of(PARTIAL), &st), 0);
	assert_true((size_t)st.st_size > SPAN + (8 << 20));
	/* The command goes, and that channel's server with all that was on its way to it. */
	rig_end_lane(&rig.lane[0]);
	fs_session_abandon(&rig.session, rig.now);
	settle();
	assert_old();
	assert_true(is_there(PARTIAL));
	res = begin(SSH_PUT_RESUME);
	from = (size_t)res->attr.size;
	assert_true(from > 0);
	assert_int_equal(stat(path_of(PARTIAL), &st), 0);
	assert_begins(PARTIAL, from, (size_t)st.st_size);
	while (ssh_buf_used(&res->bytes) == 0)
		assert_true(rig_pump(&rig));
	assert_memory_equal(res->bytes.p, content + res->first_offset, ssh_buf_used(&res->bytes));
	fed = from;
	feed_all(SIZE);
	rig_eof(&rig, 1, SIZE);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_begins("file", SIZE, SIZE);
	assert_false(is_there(PARTIAL));
	settle();
}

/* One channel's server dies in the middle: said, the old file stays; what may be resumed is there, else nothing. */
static void a_channel_that_ends_ends_the_put(void **state)
{
	static const uint32_t flags[] = { 0, SSH_PUT_RESUME };
	struct rig_result *res;

	NEED_SERVER();
	for (size_t k = 0; k < ARRAY_SIZE(flags); k++) {
		write_old();
		res = begin(flags[k]);
		feed_all(SPAN + SPAN / 2);
		hold_while_writing(&rig.lane[1 + k]);
		feed_all(SPAN + SPAN / 2 + (8 << 20));
		assert_true(sftp_client_pending(&rig.lane[1 + k].client) > 0);
		rig_end_lane(&rig.lane[1 + k]);
		assert_int_equal(rig_wait(&rig, 1)->error, ERR_RESET);
		assert_non_null(strstr(res->message, "file"));
		assert_non_null(strstr(res->message, "channel"));
		settle();
		assert_old();
		assert_int_equal(is_there(PARTIAL), flags[k] != 0);
	}
	/* All of the further ones are gone now: the first goes on with it alone, from what has no gaps. */
	res = begin(SSH_PUT_RESUME);
	assert_true(res->attr.size > 0);
	fed = (size_t)res->attr.size;
	feed_all(SIZE);
	rig_eof(&rig, 1, SIZE);
	assert_int_equal(rig_wait(&rig, 1)->error, OK);
	assert_begins("file", SIZE, SIZE);
	assert_false(is_there(PARTIAL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_channels_carry_one_file),
		cmocka_unit_test(the_slowest_channel_is_waited_for),
		cmocka_unit_test(a_short_partial_file_has_no_gaps),
		cmocka_unit_test(a_gap_is_never_farther_back_than_it_may_be),
		cmocka_unit_test(a_channel_that_ends_ends_the_put),
	};

	return cmocka_run_group_tests(tests, open_rig, close_rig);
}
