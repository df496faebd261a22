/*
 * The ways to an operator: their order, when an answer is final, what is told; and a second way beside the direct one, a
 * mailbox in this process through which the real machines talk, as a relay would carry them.
 */
#include "enroll/way.h"
#include "test/lib/enrollpair.h"
#include "test/lib/testing.h"

static struct enrollpair pair;
static struct enroll_request request;
static struct enroll_question question;
static char said[1024];

static void hear(void *ctx, const char *line)
{
	strcat(said, line);
	strcat(said, "\n");
}

static int setup(void **state)
{
	enrollpair_init(&pair, 31);
	assert_int_equal(endpoint_parse("203.0.113.10:51820", &pair.token.endpoint), OK);
	strcpy(pair.token.session, "a session at a relay");
	assert_int_equal(enroll_token_encode(&pair.token, pair.secret, pair.text), OK);
	memset(&request, 0, sizeof(request));
	strcpy(request.token, pair.text);
	strcpy(request.os, "linux");
	question = (struct enroll_question){ &pair.token, &pair.agents[0].self, &request, ENROLL_DIRECT_MAX };
	said[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	enrollpair_fini(&pair);
	return 0;
}

/* ---- a way that ends as the test wants ---- */

struct scripted {
	enum enroll_code code;
	bool is_authentic;
	unsigned n_asked;
};

static void ask_scripted(void *ctx, const struct enroll_question *q, struct enroll_outcome *ret)
{
	struct scripted *s = ctx;

	s->n_asked++;
	ret->code = s->code;
	ret->is_authentic = s->is_authentic;
}

static bool has_endpoint(const struct enroll_token *t)
{
	return endpoint_is_set(&t->endpoint);
}

static bool has_session(const struct enroll_token *t)
{
	return t->session[0] != '\0';
}

static struct enroll_way direct(struct scripted *s)
{
	return (struct enroll_way){ "direct connection", "Direct", "Validating invite token... OK\nKey exchange... OK\n",
				    "Enrollment successful!", has_endpoint, ask_scripted, s };
}

/* ---- the relay: a mailbox that holds whole messages, and passes on what fits ---- */

struct mailbox {
	bool is_down, alters;
	size_t n_passed;
};

#define PASSED_AT_ONCE 37

static void pass_to_server(struct mailbox *m, struct enroll_client *c, struct enroll_server *s)
{
	struct enroll_invites all = { &pair.invite, 1 };
	uint8_t piece[PASSED_AT_ONCE];
	struct bytes out = enroll_client_output(c);
	size_t n = MIN(out.len, sizeof(piece));

	memcpy(piece, out.p, n);
	if (m->alters && m->n_passed > 200)
		piece[0] ^= 1;
	enroll_client_sent(c, n);
	m->n_passed += n;
	enroll_server_input(s, &all, (struct bytes){ piece, n });
}

static void pass_to_client(struct enroll_client *c, struct enroll_server *s)
{
	struct bytes out = enroll_server_output(s);
	size_t n = MIN(out.len, (size_t)PASSED_AT_ONCE);

	enroll_client_input(c, (struct bytes){ out.p, n });
	enroll_server_sent(s, n);
}

static void ask_mailbox(void *ctx, const struct enroll_question *q, struct enroll_outcome *ret)
{
	struct mailbox *m = ctx;
	struct enroll_client c;
	struct enroll_server s;

	if (m->is_down)
		return;
	assert_int_equal(enroll_client_init(&c, q->token, q->self, q->request, &pair.rng.rng), OK);
	enroll_server_init(&s, &pair.operator, &pair.rng.rng, 0);
	while (c.state != ENROLL_CLIENT_DONE) {
		if (s.state == ENROLL_SERVER_COMMIT)
			enrollpair_commit(&pair, &s);
		else if (enroll_client_output(&c).len > 0)
			pass_to_server(m, &c, &s);
		else if (enroll_server_output(&s).len > 0)
			pass_to_client(&c, &s);
		else
			enroll_client_end(&c);
	}
	ret->code = c.code;
	ret->is_authentic = c.is_authentic;
	ret->reply = c.reply;
	enroll_client_fini(&c);
	enroll_server_fini(&s);
}

static struct enroll_way relay(struct mailbox *m)
{
	return (struct enroll_way){ "cloud relay", "Cloud relay", "", "Enrollment complete.", has_session, ask_mailbox, m };
}

static struct enroll_outcome go(struct scripted *s, struct mailbox *m)
{
	struct enroll_way ways[] = { direct(s), relay(m) };
	struct enroll_outcome o;

	said[0] = '\0';
	enroll_ways_ask(ways, ARRAY_SIZE(ways), &question, hear, NULL, &o);
	return o;
}

/* ---- tests ---- */

/* The transcript of the specification, word for word; "Connecting to ..." is the direct way's own line. */
static void through_the_relay(void **state)
{
	struct scripted lost = { .code = ENROLL_LOST };
	struct mailbox m = { 0 };
	struct enroll_outcome o = go(&lost, &m);

	assert_int_equal(o.code, ENROLL_OK);
	assert_string_equal(o.by->farewell, "Enrollment complete.");
	assert_string_equal(o.reply.host_id, "web1");
	assert_int_equal(o.reply.n_addrs, 1);
	assert_int_equal(pair.n_hosts, 1);
	assert_string_equal(said, "Direct connection failed. Trying cloud relay...\nCloud relay enrollment succeeded.\n");
	/* The direct way works again: the same key gets the same answer, and there is still one host. */
	assert_int_equal(go(&lost, &m).code, ENROLL_OK);
	assert_int_equal(pair.n_hosts, 1);
}

static void direct_first(void **state)
{
	struct scripted fine = { .code = ENROLL_OK, .is_authentic = true };
	struct mailbox m = { 0 };
	struct enroll_outcome o = go(&fine, &m);

	assert_int_equal(o.code, ENROLL_OK);
	assert_int_equal(m.n_passed, 0);
	assert_string_equal(o.by->noun, "Direct");
	assert_string_equal(said, "Direct enrollment succeeded.\nValidating invite token... OK\nKey exchange... OK\n");
}

/* What the operator said is final; what anybody may have said is not. */
static void only_an_authentic_answer_is_final(void **state)
{
	struct mailbox m = { 0 };

	for (enum enroll_code c = ENROLL_EXPIRED; c < ENROLL_CODE_N; c++) {
		struct scripted said_no = { .code = c, .is_authentic = true };

		m.n_passed = 0;
		assert_int_equal(go(&said_no, &m).code, c);
		assert_int_equal(m.n_passed, 0);
		said_no.is_authentic = false;
		assert_int_equal(go(&said_no, &m).code, ENROLL_OK);
		assert_true(m.n_passed > 0);
	}
}

/* Nobody answers: the failure that says most is told. */
static void the_telling_failure(void **state)
{
	struct scripted rate = { .code = ENROLL_RATE }, lost = { .code = ENROLL_LOST };
	struct mailbox down = { .is_down = true }, liar = { .alters = true };

	assert_int_equal(go(&rate, &down).code, ENROLL_RATE);
	assert_int_equal(go(&lost, &down).code, ENROLL_LOST);
	assert_string_equal(go(&lost, &down).by->noun, "Direct");
	/* A relay that changes what it carries is found out, and stores nothing. */
	assert_int_not_equal(go(&lost, &liar).code, ENROLL_OK);
	assert_int_equal(pair.n_hosts, 0);
}

static void what_the_token_has(void **state)
{
	struct scripted lost = { .code = ENROLL_LOST };
	struct mailbox m = { 0 };

	memset(&pair.token.endpoint, 0, sizeof(pair.token.endpoint));
	assert_int_equal(go(&lost, &m).code, ENROLL_OK);
	assert_int_equal(lost.n_asked, 0);
	assert_string_equal(said, "Cloud relay enrollment succeeded.\n");
	pair.token.session[0] = '\0';
	assert_null(go(&lost, &m).by);
	assert_int_equal(lost.n_asked, 0);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(through_the_relay), WITH(direct_first), WITH(only_an_authentic_answer_is_final), WITH(the_telling_failure),
		WITH(what_the_token_has),
	};

	return RUN_TESTS(tests);
}
