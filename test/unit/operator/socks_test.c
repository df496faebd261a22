/* SOCKS5 dialogues, each cut into reads in every way; what is refused, with which answer. */
#include "operator/socks.h"
#include "test/lib/testing.h"

#define B(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

struct dialogue {
	const char *login;
	const uint8_t *in;
	size_t n_in;
	const uint8_t *out;
	size_t n_out;
	enum socks_state end;
	const char *host;
	uint16_t port;
	size_t rest; /* bytes behind it that are the client's data */
};

static const struct dialogue dialogues[] = {
	{ NULL, B(5, 1, 0, 5, 1, 0, 1, 192, 0, 2, 7, 0, 80), B(5, 0), SOCKS_DONE, "192.0.2.7", 80, 0 },
	{ NULL, B(5, 1, 0, 5, 1, 0, 3, 2, 'd', 'b', 0x15, 0x38, 'x', 'y'), B(5, 0), SOCKS_DONE, "db", 5432, 2 },
	{ NULL, B(5, 2, 2, 0, 5, 1, 0, 4, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0xbb), B(5, 0), SOCKS_DONE,
	  "fd00::7", 443, 0 },
	/* only a user name is offered, and anybody's will do */
	{ NULL, B(5, 1, 2, 1, 1, 'u', 1, 'p', 5, 1, 0, 3, 1, 'h', 0, 1), B(5, 2, 1, 0), SOCKS_DONE, "h", 1, 0 },
	{ "u:pw", B(5, 2, 0, 2, 1, 1, 'u', 2, 'p', 'w', 5, 1, 0, 3, 1, 'h', 0, 1), B(5, 2, 1, 0), SOCKS_DONE, "h", 1, 0 },
	{ "u:pw", B(5, 1, 2, 1, 1, 'u', 2, 'p', 'x'), B(5, 2, 1, 1), SOCKS_REFUSED, NULL, 0, 0 },
	{ "u:pw", B(5, 1, 2, 1, 2, 'u', ':', 1, 'p'), B(5, 2, 1, 1), SOCKS_REFUSED, NULL, 0, 0 },
	{ "u:pw", B(5, 1, 2, 1, 0, 0), B(5, 2, 1, 1), SOCKS_REFUSED, NULL, 0, 0 },
	{ "u:pw", B(5, 1, 0), B(5, 0xff), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 0), B(5, 0xff), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 1), B(5, 0xff), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 0, 5, 2, 0, 1, 1, 2, 3, 4, 0, 80), B(5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 0, 5, 1, 0, 9, 1, 2, 3, 4, 0, 80), B(5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 0, 0), B(5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 0, 5, 1, 0, 3, 0, 0, 80), B(5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 0, 5, 1, 0, 3, 3, 'a', 0, 'b', 0, 80), B(5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(5, 1, 0, 5, 1, 0, 3, 2, '/', 'x', 0, 80), B(5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0), SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B(4, 1, 0, 80), NULL, 0, SOCKS_REFUSED, NULL, 0, 0 },
	{ NULL, B('G', 'E', 'T'), NULL, 0, SOCKS_REFUSED, NULL, 0, 0 },
};

static void run(const struct dialogue *d, size_t cut)
{
	uint8_t out[64];
	size_t n_out = 0, at = 0;
	struct socks s;

	socks_init(&s, d->login);
	while (at < d->n_in && s.state < SOCKS_DONE) {
		size_t take = d->n_in - at < cut ? d->n_in - at : cut, used, n;

		socks_input(&s, d->in + at, take, &used, out + n_out, &n);
		assert_true(used <= take && n <= SOCKS_OUT_MAX);
		at += used;
		n_out += n;
		if (used < take)
			break;
	}
	assert_int_equal(s.state, d->end);
	assert_int_equal(n_out, d->n_out);
	if (n_out)
		assert_memory_equal(out, d->out, n_out);
	if (d->end != SOCKS_DONE)
		return;
	assert_string_equal(s.host, d->host);
	assert_int_equal(s.port, d->port);
	assert_int_equal(d->n_in - at, d->rest);
}

static void dialogues_however_they_are_cut(void **state)
{
	for (size_t i = 0; i < sizeof(dialogues) / sizeof(dialogues[0]); i++)
		for (size_t cut = 1; cut <= 30; cut++)
			run(&dialogues[i], cut);
}

/* Every prefix asks for more, and says nothing final. */
static void half_a_dialogue_waits(void **state)
{
	const struct dialogue *d = &dialogues[4];

	for (size_t len = 0; len + 1 < d->n_in; len++) {
		uint8_t out[SOCKS_OUT_MAX];
		size_t used, n;
		struct socks s;

		socks_init(&s, d->login);
		assert_true(socks_input(&s, d->in, len, &used, out, &n) < SOCKS_DONE);
		assert_int_equal(used, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialogues_however_they_are_cut),
		cmocka_unit_test(half_a_dialogue_waits),
	};

	return RUN_TESTS(tests);
}
