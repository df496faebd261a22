/* Asking a hub or agent for `nefia wg`: answers in pieces, interrupted, broken off; and what they say. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operator/wg_socket.h"
#include "operator/wg_view.h"
#include "test/lib/testing.h"

static void on_alarm(int signum)
{
}

/* A process that answers @pieces, one every 50 ms, and closes. */
static int served_by(const char *const *pieces, pid_t *ret_pid)
{
	char request[64];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	*ret_pid = fork();
	if (*ret_pid == 0) {
		close(pair[0]);
		if (read(pair[1], request, sizeof(request)) <= 0)
			_exit(1);
		for (; *pieces; pieces++) {
			usleep(50000);
			if (write(pair[1], *pieces, strlen(*pieces)) < 0)
				_exit(1);
		}
		_exit(0);
	}
	close(pair[1]);
	return pair[0];
}

static bool ask(const char *const *pieces, struct ssh_buf *ret)
{
	pid_t pid;
	int fd = served_by(pieces, &pid), status;
	bool r = wg_socket_ask(fd, "get=1\n\n", ret);

	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return r;
}

/* As Ctrl-Z and fg do to a call with a time limit. */
static void signals_do_not_break_an_answer(void **state)
{
	static const char *const pieces[] = { "listen_port=7\n", "errno=0\n", "\n", NULL };
	struct itimerval often = { { 0, 7000 }, { 0, 7000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }; /* no SA_RESTART */
	struct ssh_buf b = { 0 };
	bool r;

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	r = ask(pieces, &b);
	setitimer(ITIMER_REAL, &never, NULL);
	assert_true(r);
	assert_string_equal((char *)b.p, "listen_port=7\nerrno=0\n");
	ssh_buf_fini(&b);
}

static void an_answer_without_its_end_is_none(void **state)
{
	static const char *const pieces[] = { "listen_port=7\nerrno=0\n", NULL }, *const nothing[] = { NULL };
	struct ssh_buf b = { 0 };

	assert_false(ask(pieces, &b));
	ssh_buf_fini(&b);
	assert_false(ask(nothing, &b));
	ssh_buf_fini(&b);
}

static void what_it_says(void **state)
{
	char text[] = "private_key=e84b5a6d2717c1003a13b431570353dbaca9146cf150c5f8575680feba52027a\nlisten_port=12912\n"
		      "public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33\n"
		      "preshared_key=188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52\n"
		      "allowed_ip=192.168.4.4/32\nallowed_ip=192.168.4.5/32\nendpoint=[abcd:23::33%2]:51820\n"
		      "public_key=58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376\ntx_bytes=38333\n"
		      "public_key=662e14fd594556f522604703340351258903b64f35553763f19426ab2a515c58\nrx_bytes=2224\nerrno=0\n";
	struct wg_view v;

	wg_view_read(text, &v);
	assert_int_equal(v.error, 0);
	assert_string_equal(v.private_key, "6EtabScXwQA6E7QxVwNT26ypFGzxUMX4V1aA/rpSAno=");
	assert_int_equal(v.port, 12912);
	assert_int_equal(v.n_peers, 3);
	assert_string_equal(v.peers[0].psk, "GIUVCT6VL18i6GXO8wEucvi18LWYrAMJ1drM47cPz1I=");
	assert_string_equal(v.peers[0].allowed, "192.168.4.4/32, 192.168.4.5/32");
	assert_string_equal(v.peers[0].endpoint, "[abcd:23::33%2]:51820");
	assert_true(v.peers[1].tx == 38333 && v.peers[1].allowed == NULL && v.peers[2].rx == 2224);
	wg_view_free(&v);
}

static void errors(void **state)
{
	static const struct {
		const char *text;
		int error;
	} rows[] = { { "errno=-22\n", EINVAL }, { "errno=22\n", EINVAL }, { "errno=99999\n", EIO }, { "", EPROTO }, { "a\n", EPROTO } };
	struct wg_view v;
	char text[32];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(text, sizeof(text), "%s", rows[i].text);
		wg_view_read(text, &v);
		assert_int_equal(v.error, rows[i].error);
		wg_view_free(&v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signals_do_not_break_an_answer),
		cmocka_unit_test(an_answer_without_its_end_is_none),
		cmocka_unit_test(what_it_says),
		cmocka_unit_test(errors),
	};

	return RUN_TESTS(tests);
}
