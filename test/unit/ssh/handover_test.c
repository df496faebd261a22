/*
 * Sessions on their way to a worker, over the sockets that hub and worker have: what is taken, what waits, what another may have.
 * The worker is this test.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "os/stream.h"
#include "ssh/frame.h"
#include "ssh/handover.h"
#include "test/lib/testing.h"

static struct ssh_handover h;
static int ctl[2];

static int set_up(void **state)
{
	ssh_handover_init(&h);
	return os_seqpacket_pair(ctl) != OK;
}

static int tear_down(void **state)
{
	ssh_handover_fini(&h);
	close(ctl[0]);
	close(ctl[1]);
	return 0;
}

/* A command's session with a word in it; *ret_far is the command's end. */
static struct ssh_handed *session(const char *word, int *ret_far)
{
	int pair[2];

	assert_int_equal(os_socketpair(pair), OK);
	*ret_far = pair[1];
	assert_int_equal(send(pair[1], word, strlen(word), 0), strlen(word));
	return ssh_handed_new(pair[0]);
}

/* As a worker gets it, with its number; -1: nothing is there. */
static int get(int from, uint32_t *ret_number)
{
	int fds[OS_FDS_MAX];
	uint8_t msg[5];
	size_t n, n_fds;

	if (os_recv_fds(from, msg, sizeof(msg), &n, fds, &n_fds) != OK)
		return -1;
	assert_int_equal(n, 5);
	assert_int_equal(msg[0], SSH_C_SESSION);
	assert_int_equal(n_fds, 1);
	*ret_number = get_le32(msg + 1);
	return fds[0];
}

static void assert_says(int fd, const char *word)
{
	char text[64] = "";

	assert_int_equal(recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT), strlen(word));
	assert_string_equal(text, word);
}

static void what_is_taken_is_let_go(void **state)
{
	static const char *const words[] = { "one", "two", "three" };
	struct ssh_handed *left;
	uint32_t numbers[3];
	int far[3], fds[3];

	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(ssh_handover_give(&h, ctl[0], session(words[i], &far[i])), OK);
		fds[i] = get(ctl[1], &numbers[i]);
		assert_says(fds[i], words[i]);
		close(fds[i]);
	}
	/* In whatever order they begin. */
	assert_int_equal(ssh_handover_taken(&h, numbers[2]), OK);
	assert_int_equal(ssh_handover_taken(&h, numbers[0]), OK);
	left = container_of(list_first(&h.sessions), struct ssh_handed, link);
	assert_true(left->number == numbers[1] && h.sessions.prev == &left->link);
	/* Nobody has the two any more: their commands see the end. */
	assert_int_equal(recv(far[0], &(char){ 0 }, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(far[2], &(char){ 0 }, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(far[1], &(char){ 0 }, 1, MSG_DONTWAIT), -1);
	for (size_t i = 0; i < 3; i++)
		close(far[i]);
}

static void a_worker_cannot_take_what_it_was_not_given(void **state)
{
	int far;

	uint32_t number = 1;

	assert_int_equal(ssh_handover_taken(&h, number), ERR_PROTOCOL);
	assert_int_equal(ssh_handover_give(&h, ctl[0], session("one", &far)), OK);
	close(get(ctl[1], &number));
	assert_int_equal(ssh_handover_taken(&h, number + 1), ERR_PROTOCOL);
	assert_int_equal(ssh_handover_taken(&h, number - 1), ERR_PROTOCOL);
	assert_int_equal(ssh_handover_taken(&h, number), OK);
	assert_int_equal(ssh_handover_taken(&h, number), ERR_PROTOCOL);
	close(far);
}

static void what_a_dead_worker_had_is_whole_for_the_next(void **state)
{
	struct list left;
	int far, other[2], fd;
	uint32_t number;

	list_init(&left);
	assert_int_equal(ssh_handover_give(&h, ctl[0], session("true", &far)), OK);
	close(ctl[1]); /* with the session in its queue, as a killed worker's */
	ssh_handover_leave(&h, &left);
	assert_int_equal(os_seqpacket_pair(other), OK);
	ctl[1] = other[1];
	close(ctl[0]);
	ctl[0] = other[0];
	assert_int_equal(ssh_handover_give(&h, ctl[0], container_of(list_first(&left), struct ssh_handed, link)), OK);
	fd = get(ctl[1], &number);
	assert_says(fd, "true");
	close(fd);
	close(far);
}

/* More are left than the next worker's socket holds: they wait, where a new one is told to come again. */
static void what_was_given_before_waits(void **state)
{
	struct ssh_handed *s = NULL;
	int n = 0, n_got = 0, far, fd;
	uint32_t number;
	enum err e = OK;

	while (e == OK && n++ < 5000) {
		s = session("x", &far);
		close(far);
		e = ssh_handover_give(&h, ctl[0], s);
	}
	assert_int_equal(e, ERR_AGAIN);
	assert_false(ssh_handover_waits(&h));
	s->n_workers = 1;
	assert_int_equal(ssh_handover_give(&h, ctl[0], s), OK);
	assert_true(ssh_handover_waits(&h));
	assert_int_equal(ssh_handover_push(&h, ctl[0]), ERR_AGAIN);
	/* What was not sent cannot have been taken, whatever number it is to have. */
	assert_int_equal(ssh_handover_taken(&h, s->number), ERR_PROTOCOL);
	/* Nor does one come before those that wait. */
	fd = get(ctl[1], &number);
	close(fd);
	assert_int_equal(ssh_handover_taken(&h, number), OK);
	s = session("late", &far);
	assert_int_equal(ssh_handover_give(&h, ctl[0], s), ERR_AGAIN);
	ssh_handed_free(s);
	close(far);
	while ((fd = get(ctl[1], &number)) >= 0 || ssh_handover_waits(&h)) {
		if (fd >= 0) {
			close(fd);
			assert_int_equal(ssh_handover_taken(&h, number), OK);
			n_got++;
		}
		(void)!ssh_handover_push(&h, ctl[0]);
	}
	assert_int_equal(n_got, n - 1); /* one before the loop */
	assert_true(list_empty(&h.sessions));
}

static void a_command_is_told_why_it_has_no_worker(void **state)
{
	uint8_t frame[256];
	struct ssh_buf b = { 0 };
	struct ssh_reader r;
	struct bytes body;
	size_t total;
	uint8_t type;
	char text[64];
	ssize_t n;
	int far;

	ssh_handed_refuse(session("true", &far), ERR_CLOSED, "no processes left");
	n = recv(far, frame, sizeof(frame), MSG_DONTWAIT);
	assert_true(n > 0);
	assert_int_equal(ssh_buf_add(&b, frame, (size_t)n), OK);
	assert_int_equal(ssh_frame_next(&b, &type, &body, &total), OK);
	assert_int_equal(type, SSH_F_ERROR);
	r = (struct ssh_reader){ body.p, body.len, false };
	assert_int_equal(ssh_read_err(&r), ERR_CLOSED);
	ssh_read_text(&r, text, sizeof(text));
	assert_string_equal(text, "no processes left");
	/* And nothing more comes. (Its own word was not read: that is a reset.) */
	assert_true(recv(far, frame, sizeof(frame), MSG_DONTWAIT) <= 0);
	ssh_buf_fini(&b);
	close(far);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(what_is_taken_is_let_go),
		T(a_worker_cannot_take_what_it_was_not_given),
		T(what_a_dead_worker_had_is_whole_for_the_next),
		T(what_was_given_before_waits),
		T(a_command_is_told_why_it_has_no_worker),
	};

	return RUN_TESTS(tests);
}
