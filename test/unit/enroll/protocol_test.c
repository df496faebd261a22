/* The enrollment protocol: the good case, an active attacker on every byte, and every order of steps and faults. */
#include <signal.h>
#include <unistd.h>

#include "test/lib/enrollpair.h"
#include "test/lib/testing.h"

static enum enroll_code run(struct enrollpair *p, size_t i)
{
	enrollpair_start(p, i);
	while (enrollpair_step(p, i))
		enrollpair_check(p);
	return p->agents[i].last;
}

static void enrolls(void **state)
{
	struct enrollpair p;

	enrollpair_init(&p, 1);
	assert_int_equal(run(&p, 0), ENROLL_OK);
	assert_true(p.agents[0].stored);
	assert_string_equal(p.agents[0].config.host_id, "web1");
	assert_int_equal(p.agents[0].config.addrs[0].bits, 24);
	enrollpair_fini(&p);
}

static void same_key_same_answer(void **state)
{
	struct enrollpair p;

	enrollpair_init(&p, 2);
	assert_int_equal(run(&p, 0), ENROLL_OK);
	for (int i = 0; i < 3; i++) {
		struct enroll_reply before = p.agents[0].config;

		p.wall += 3000; /* also after the token has expired */
		assert_int_equal(run(&p, 0), ENROLL_OK);
		assert_memory_equal(&before, &p.agents[0].config, sizeof(before));
	}
	assert_int_equal(p.n_hosts, 1);
	assert_int_equal(run(&p, 1), ENROLL_USED);
	assert_false(p.agents[1].stored);
	enrollpair_fini(&p);
}

static void expired(void **state)
{
	struct enrollpair p;

	enrollpair_init(&p, 3);
	p.wall = p.token.expires;
	assert_int_equal(run(&p, 0), ENROLL_EXPIRED);
	p.wall--;
	assert_int_equal(run(&p, 0), ENROLL_OK);
	enrollpair_fini(&p);
}

static void other_tokens(void **state)
{
	struct enrollpair p;
	struct enroll_token t;
	uint8_t forged[KEY_LEN];

	enrollpair_init(&p, 4);
	t = p.token;
	enroll_secret((const uint8_t[KEY_LEN]){ 9 }, forged);
	/* of the right invite, but signed by somebody else */
	assert_int_equal(enroll_token_encode(&t, forged, p.text), OK);
	assert_int_equal(run(&p, 0), ENROLL_SIGNATURE);
	/* signed, but for another host */
	strcpy(t.host_id, "web2");
	assert_int_equal(enroll_token_encode(&t, p.secret, p.text), OK);
	assert_int_equal(run(&p, 0), ENROLL_VALIDATION);
	/* signed, without a nonce */
	t = p.token;
	t.has_nonce = false;
	assert_int_equal(enroll_token_encode(&t, p.secret, p.text), OK);
	assert_int_equal(run(&p, 0), ENROLL_NO_NONCE);
	/* of an invite that is gone */
	assert_int_equal(enroll_token_encode(&p.token, p.secret, p.text), OK);
	p.token.nonce[3] ^= 1;
	assert_int_equal(run(&p, 0), ENROLL_VALIDATION);
	p.token.nonce[3] ^= 1;
	p.invite.revoked = true;
	assert_int_equal(run(&p, 0), ENROLL_VALIDATION);
	assert_int_equal(p.n_hosts, 0);
	enrollpair_fini(&p);
}

/* Whoever has not the operator's key learns nothing: the request is not sent to it. */
static void another_operator(void **state)
{
	struct enrollpair p;
	struct noise_static other;

	enrollpair_init(&p, 5);
	enroll_self((const uint8_t[KEY_LEN]){ 1, 2, 3 }, &other);
	p.operator = other;
	assert_int_equal(run(&p, 0), ENROLL_VALIDATION); /* it cannot even read the hello */
	assert_int_equal(p.agents[0].n_sent, sizeof(struct enroll_hello));
	enrollpair_fini(&p);
}

/* One bit of any message changed by somebody in between: no host, no configuration, and the token still works. */
static size_t alter(uint64_t seed, size_t message, size_t byte)
{
	struct enrollpair p;
	struct enroll_invites all;
	struct bytes out;
	uint8_t buf[16384];
	size_t len = 0;

	enrollpair_init(&p, seed);
	all = (struct enroll_invites){ &p.invite, 1 };
	enrollpair_start(&p, 0);
	for (size_t m = 0; m <= message && p.agents[0].running; m++) {
		struct enrollpair_agent *a = &p.agents[0];

		if (a->server.state == ENROLL_SERVER_COMMIT)
			enrollpair_step(&p, 0);
		if (m < message) {
			enrollpair_step(&p, 0);
			continue;
		}
		out = m % 2 ? enroll_server_output(&a->server) : enroll_client_output(&a->client);
		len = out.len;
		if (byte >= len)
			break;
		memcpy(buf, out.p, len);
		buf[byte] ^= (uint8_t)(1u << (byte % 8));
		if (m % 2) {
			enroll_server_sent(&a->server, len);
			enroll_client_input(&a->client, (struct bytes){ buf, len });
		} else {
			enroll_client_sent(&a->client, len);
			enroll_server_input(&a->server, &all, (struct bytes){ buf, len });
			assert_int_not_equal(a->server.state, ENROLL_SERVER_COMMIT);
		}
		for (int i = 0; i < 8 && enrollpair_step(&p, 0); i++)
			;
		assert_false(a->stored);
	}
	enrollpair_drop(&p, 0);
	assert_true(p.agents[0].last != ENROLL_OK);
	enrollpair_check(&p);
	assert_int_equal(run(&p, 0), ENROLL_OK);
	assert_int_equal(p.n_hosts, 1);
	enrollpair_fini(&p);
	return len;
}

static void every_byte_altered(void **state)
{
	for (size_t message = 0; message < 4; message++) {
		size_t len = 1;

		for (size_t byte = 0; byte < len; byte++)
			len = alter(6, message, byte);
		assert_true(len > 50);
	}
}

/* Cut anywhere, a message is waited for; byte by byte it is the same as at once. */
static void every_cut(void **state)
{
	struct enrollpair p;
	struct enroll_invites all;
	struct enrollpair_agent *a;

	enrollpair_init(&p, 7);
	all = (struct enroll_invites){ &p.invite, 1 };
	enrollpair_start(&p, 0);
	a = &p.agents[0];
	for (int turn = 0; turn < 2; turn++) {
		struct bytes out = enroll_client_output(&a->client);

		for (size_t i = 0; i < out.len; i++)
			enroll_server_input(&a->server, &all, (struct bytes){ out.p + i, 1 });
		enroll_client_sent(&a->client, out.len);
		if (a->server.state == ENROLL_SERVER_COMMIT)
			enrollpair_step(&p, 0);
		out = enroll_server_output(&a->server);
		for (size_t i = 0; i < out.len; i++)
			enroll_client_input(&a->client, (struct bytes){ out.p + i, 1 });
		enroll_server_sent(&a->server, out.len);
	}
	assert_int_equal(a->client.state, ENROLL_CLIENT_DONE);
	assert_int_equal(a->client.code, ENROLL_OK);
	enrollpair_fini(&p);
}

/* What an eavesdropper has recorded is worth nothing. */
static void replayed(void **state)
{
	struct enrollpair p;

	enrollpair_init(&p, 8);
	enrollpair_start(&p, 0);
	for (int i = 0; i < 6; i++) {
		enrollpair_replay(&p, 0);
		enrollpair_step(&p, 0);
		enrollpair_check(&p);
	}
	enrollpair_replay(&p, 0);
	assert_true(p.agents[0].stored);
	enrollpair_fini(&p);
}

/* The token is nowhere on the wire, nor is the nonce, nor the agent's key. */
static void nothing_in_the_clear(void **state)
{
	struct enrollpair p;
	struct enrollpair_agent *a = &p.agents[0];

	enrollpair_init(&p, 9);
	assert_int_equal(run(&p, 0), ENROLL_OK);
	assert_true(a->n_sent > strlen(p.text));
	assert_null(memmem(a->sent, a->n_sent, p.text, 12));
	assert_null(memmem(a->sent, a->n_sent, p.token.nonce, 8));
	assert_null(memmem(a->sent, a->n_sent, a->self.pub, 8));
	enrollpair_fini(&p);
}

/* Too long, too early, too late. */
static void limits(void **state)
{
	struct enrollpair p;
	struct enroll_invites all;
	struct enrollpair_agent *a = &p.agents[0];
	uint8_t junk[256] = { 0xff, 0xff, 0xff, 0xff };

	enrollpair_init(&p, 10);
	all = (struct enroll_invites){ &p.invite, 1 };
	enrollpair_start(&p, 0);
	assert_int_equal(a->server.deadline, ENROLL_HELLO_MAX);
	enrollpair_step(&p, 0);
	assert_int_equal(a->server.state, ENROLL_SERVER_REQUEST);
	assert_int_equal(a->server.deadline, ENROLL_TOTAL_MAX);
	enroll_server_input(&a->server, &all, (struct bytes){ junk, 4 });
	assert_int_equal(a->server.state, ENROLL_SERVER_CLOSING);
	assert_true(a->server.in.cap < 1024);
	enrollpair_step(&p, 0); /* the answer arrives */
	enroll_client_input(&a->client, (struct bytes){ junk, 4 }); /* a reply of 4 GiB */
	assert_int_equal(a->client.code, ENROLL_BAD_OPERATOR);
	enrollpair_start(&p, 0);
	enroll_server_expire(&a->server);
	assert_int_equal(a->server.state, ENROLL_SERVER_CLOSING);
	enrollpair_start(&p, 0);
	enroll_server_input(&a->server, &all, (struct bytes){ junk, sizeof(junk) });
	assert_int_equal(a->server.state, ENROLL_SERVER_CLOSING);
	assert_false(enroll_server_is_known(&a->server));
	enrollpair_start(&p, 0);
	enroll_server_refuse(&a->server, ENROLL_RATE, "");
	while (enrollpair_step(&p, 0))
		if (enroll_client_output(&a->client).len == 0 && enroll_server_output(&a->server).len == 0)
			break;
	assert_int_equal(a->last, ENROLL_RATE);
	enrollpair_fini(&p);
}

/* An agent or operator of another time says so. */
static void versions(void **state)
{
	struct enrollpair p;
	struct enroll_hello h;
	struct enroll_answer answer;
	struct enroll_channel agent = { .version = 0 }, operator = { .version = 0 };
	uint8_t key[KEY_LEN];

	enrollpair_init(&p, 11);
	assert_int_equal(enroll_hello_write(&agent, &p.agents[0].self, p.operator.pub, p.token.nonce, &p.rng.rng, &h), OK);
	h.version_min = h.version_max = ENROLL_VERSION_MAX + 1;
	assert_int_equal(enroll_hello_read(&operator, &p.operator, &h, &p.rng.rng, key, &answer), ERR_VERSION);
	h.version_min = 2;
	h.version_max = 1;
	assert_int_equal(enroll_hello_read(&operator, &p.operator, &h, &p.rng.rng, key, &answer), ERR_VERSION);
	/* Talked down in between: the prologue differs. */
	h.version_min = ENROLL_VERSION_MIN;
	h.version_max = ENROLL_VERSION_MAX + 1;
	assert_int_equal(enroll_hello_read(&operator, &p.operator, &h, &p.rng.rng, key, &answer), ERR_AUTH);
	h.version_max = ENROLL_VERSION_MAX;
	assert_int_equal(enroll_hello_read(&operator, &p.operator, &h, &p.rng.rng, key, &answer), OK);
	answer.version++;
	assert_int_equal(enroll_answer_read(&agent, &p.agents[0].self, &answer), ERR_AUTH);
	enrollpair_fini(&p);
}

static void fleet(void **state)
{
	struct enroll_invite inv = { .n_uses_max = 2, .expires = ENROLLPAIR_WALL + 1 };
	struct enrollpair p;
	struct enroll_request req = { .host_id = "node" };
	bool again;

	enrollpair_init(&p, 12);
	p.token.reusable = true;
	p.token.host_id[0] = '\0';
	memcpy(inv.nonce, p.token.nonce, ENROLL_NONCE_LEN);
	assert_int_equal(enroll_token_encode(&p.token, p.secret, req.token), OK);
	for (inv.n_used = 0; inv.n_used < 2; inv.n_used++) {
		assert_int_equal(enroll_decide(&inv, p.secret, &req, p.agents[0].self.pub, false, p.wall, &again), ENROLL_OK);
		assert_false(again);
	}
	assert_int_equal(enroll_decide(&inv, p.secret, &req, p.agents[0].self.pub, false, p.wall, &again), ENROLL_USED);
	assert_int_equal(enroll_decide(&inv, p.secret, &req, p.agents[0].self.pub, true, p.wall, &again), ENROLL_OK);
	assert_true(again);
	enrollpair_fini(&p);
}

/* ---- every order ---- */

enum { STEP_A, STEP_B, DROP_A, CRASH, RESTART_A, REPLAY_A, N_ACTIONS };

static void act(struct enrollpair *p, unsigned action)
{
	switch (action) {
	case STEP_A:
	case STEP_B:
		if (!p->agents[action].running)
			enrollpair_start(p, action);
		enrollpair_step(p, action);
		break;
	case DROP_A:
		enrollpair_drop(p, 0);
		break;
	case CRASH:
		enrollpair_crash(p);
		break;
	case RESTART_A:
		enrollpair_start(p, 0);
		break;
	default:
		enrollpair_replay(p, 0);
	}
	enrollpair_check(p);
}

/* Whatever was before, once the faults end one agent has the host and the others are told so. */
static void settle(struct enrollpair *p)
{
	unsigned n_ok = 0;

	for (size_t i = 0; i < ENROLLPAIR_AGENTS; i++) {
		enum enroll_code c = run(p, i);

		ASSERT(c == ENROLL_OK || c == ENROLL_USED);
		n_ok += c == ENROLL_OK;
	}
	ASSERT(n_ok == 1 && p->n_hosts == 1);
}

/* Every sequence of @depth actions after each possible beginning of A's attempt. */
static void every_order(void **state)
{
	enum { DEPTH = 3, STEPS = 6 };
	struct enrollpair p;

	for (unsigned start = 0; start < STEPS; start++) {
		for (unsigned code = 0; code < N_ACTIONS * N_ACTIONS * N_ACTIONS; code++) {
			unsigned rest = code;

			enrollpair_init(&p, code);
			for (unsigned i = 0; i < start; i++)
				act(&p, STEP_A);
			for (unsigned i = 0; i < DEPTH; i++, rest /= N_ACTIONS)
				act(&p, rest % N_ACTIONS);
			settle(&p);
			enrollpair_fini(&p);
		}
	}
}

static char replay[100];

static void tell_replay(int signum)
{
	ssize_t n = write(STDERR_FILENO, replay, strlen(replay));

	signal(SIGABRT, SIG_DFL);
	raise(n < 0 ? SIGKILL : SIGABRT);
}

static void random_orders(void **state)
{
	const char *text = getenv("SEED");
	uint64_t first = text ? strtoull(text, NULL, 0) : 1, n = text ? 1 : 500;
	struct enrollpair p;

	signal(SIGABRT, tell_replay);
	for (uint64_t seed = first; seed < first + n; seed++) {
		struct rng_seeded r;

		/* stays the last line when an assertion ends the program */
		snprintf(replay, sizeof(replay), "SEED=%llu build/test/unit/enroll/protocol_test", (unsigned long long)seed);
		rng_seeded_init(&r, seed);
		enrollpair_init(&p, seed);
		for (int i = 0; i < 40; i++) {
			size_t agent = rng_below(&r.rng, ENROLLPAIR_AGENTS);

			if (rng_chance(&r.rng, 40000))
				enrollpair_crash(&p);
			else if (rng_chance(&r.rng, 100000))
				enrollpair_drop(&p, agent);
			else if (rng_chance(&r.rng, 50000))
				enrollpair_replay(&p, agent);
			else if (!p.agents[agent].running)
				enrollpair_start(&p, agent);
			else
				enrollpair_step(&p, agent);
			enrollpair_check(&p);
		}
		settle(&p);
		enrollpair_fini(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enrolls), cmocka_unit_test(same_key_same_answer), cmocka_unit_test(expired),
		cmocka_unit_test(other_tokens), cmocka_unit_test(another_operator), cmocka_unit_test(every_byte_altered),
		cmocka_unit_test(every_cut), cmocka_unit_test(replayed), cmocka_unit_test(nothing_in_the_clear),
		cmocka_unit_test(limits), cmocka_unit_test(versions), cmocka_unit_test(fleet), cmocka_unit_test(every_order),
		cmocka_unit_test(random_orders),
	};

	return RUN_TESTS(tests);
}
