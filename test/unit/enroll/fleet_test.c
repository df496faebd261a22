/*
 * A thousand agents enroll at one operator, in any order of what can go wrong: connections cut, the operator killed between any two
 * steps, agents killed, several attempts of one agent at once, messages doubled, attempts replayed, tokens stolen. The disks are
 * structs; what is not on them dies with its process.
 *
 * Whatever happens: an invite makes one host, once; who has a configuration is who the operator has stored; and when the
 * faults end, everybody who may enroll has. SEED=n build/test/unit/enroll/fleet_test replays one world.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/rng.h"
#include "enroll/client.h"
#include "enroll/server.h"
#include "test/lib/testing.h"

#define N_AGENTS 1000
#define N_THIEVES 50 /* who hold the tokens of the first so many agents */
#define N_RUNNING 200
#define N_SEEDS 3
#define WALL 1700000000
#define ACTIONS_EACH 16

struct agent {
	struct noise_static self; /* on its disk */
	bool stored;              /* likewise: its configuration */
	char host_id[ENROLL_HOST_ID_MAX + 1];
	size_t token;
	enum enroll_code last;
};

struct attempt {
	bool running;
	size_t agent;
	struct enroll_client client;
	struct enroll_server server;
	uint8_t sent[4096]; /* what a listener has */
	size_t n_sent;
};

static struct world {
	struct rng_seeded rng;
	struct noise_static operator;
	uint8_t secret[KEY_LEN];
	char (*tokens)[ENROLL_TOKEN_MAX];
	struct enroll_token *t;
	struct agent agents[N_AGENTS + N_THIEVES];
	struct attempt run[N_RUNNING];
	/* the operator's disk */
	struct enroll_invite invites[N_AGENTS];
	unsigned n_stored[N_AGENTS]; /* writes that made a host, by the invite's number */
	unsigned n_attempts, n_crashes, n_replays, n_doubled, n_again;
} *w;

static struct enroll_invites all(void)
{
	return (struct enroll_invites){ w->invites, N_AGENTS };
}

/* "h17" -> 17 */
static size_t number_of(const struct enroll_invite *inv)
{
	return strtoul(inv->host_id + 1, NULL, 10);
}

/* ---- the world ---- */

static void make_invite(size_t i)
{
	struct enroll_token *t = &w->t[i];
	struct enroll_invite *inv = &w->invites[i];

	snprintf(t->host_id, sizeof(t->host_id), "h%zu", i);
	memcpy(t->operator_key, w->operator.pub, KEY_LEN);
	t->enroll_port = ENROLL_PORT;
	t->has_nonce = true;
	t->expires = WALL + 3600;
	rng_bytes(&w->rng.rng, t->nonce, ENROLL_NONCE_LEN);
	ASSERT(enroll_token_encode(t, w->secret, w->tokens[i]) == OK);
	snprintf(inv->host_id, sizeof(inv->host_id), "%s", t->host_id);
	memcpy(inv->nonce, t->nonce, ENROLL_NONCE_LEN);
	enroll_id(t->nonce, inv->id);
	inv->expires = t->expires;
}

static void new_world(uint64_t seed)
{
	struct enroll_invites s;
	uint8_t key[KEY_LEN];

	w = calloc(1, sizeof(*w));
	ASSERT(w);
	w->tokens = calloc(N_AGENTS, sizeof(w->tokens[0]));
	w->t = calloc(N_AGENTS, sizeof(w->t[0]));
	ASSERT(w->tokens && w->t);
	rng_seeded_init(&w->rng, seed);
	rng_bytes(&w->rng.rng, key, sizeof(key));
	enroll_self(key, &w->operator);
	enroll_secret(w->operator.priv, w->secret);
	for (size_t i = 0; i < N_AGENTS; i++)
		make_invite(i);
	s = all();
	enroll_invites_sort(&s);
	for (size_t i = 0; i < ARRAY_SIZE(w->agents); i++) {
		rng_bytes(&w->rng.rng, key, sizeof(key));
		enroll_self(key, &w->agents[i].self);
		w->agents[i].token = i % N_AGENTS;
		w->agents[i].last = ENROLL_LOST;
	}
}

static void end_attempt(struct attempt *a)
{
	if (!a->running)
		return;
	a->running = false;
	enroll_client_end(&a->client);
	w->agents[a->agent].last = a->client.code;
	enroll_client_fini(&a->client);
	enroll_server_fini(&a->server);
}

static void end_world(void)
{
	for (size_t i = 0; i < N_RUNNING; i++)
		end_attempt(&w->run[i]);
	free(w->tokens);
	free(w->t);
	free(w);
}

/* ---- what must always hold ---- */

static const struct enroll_invite *invite_of(const struct agent *g)
{
	const struct enroll_invites s = all();
	uint8_t id[ENROLL_ID_LEN];

	enroll_id(w->t[g->token].nonce, id);
	return enroll_invites_find(&s, id);
}

static void check_agent(const struct agent *g)
{
	const struct enroll_invite *inv = invite_of(g);

	ASSERT(w->n_stored[g->token] <= 1 && inv->used == (w->n_stored[g->token] == 1));
	if (!g->stored)
		return;
	ASSERT(inv->used && memcmp(inv->agent, g->self.pub, KEY_LEN) == 0);
	ASSERT(strcmp(g->host_id, inv->host_id) == 0);
}

/* ---- steps ---- */

static void start(size_t agent)
{
	struct enroll_request req = { .os = "linux", .listen_port = 51820 };
	struct agent *g = &w->agents[agent];
	struct attempt *a = &w->run[rng_below(&w->rng.rng, N_RUNNING)];

	end_attempt(a);
	strcpy(req.token, w->tokens[g->token]);
	ASSERT(enroll_client_init(&a->client, &w->t[g->token], &g->self, &req, &w->rng.rng) == OK);
	enroll_server_init(&a->server, &w->operator, &w->rng.rng, 0);
	a->running = true;
	a->agent = agent;
	a->n_sent = 0;
	w->n_attempts++;
}

/* Peeked at before; verified again on what the disk has now; one write. */
static void commit(struct attempt *a)
{
	const struct enroll_invites s = all();
	struct enroll_invite *inv = (struct enroll_invite *)enroll_invites_find(&s, a->server.id), next;
	struct enroll_reply reply = { .state = "active" };
	bool again;

	ASSERT(inv);
	reply.code = enroll_decide(inv, w->secret, a->server.request, a->server.agent, false, WALL, &again);
	if (reply.code == ENROLL_OK && !again) {
		next = *inv;
		next.used = true;
		memcpy(next.agent, a->server.agent, KEY_LEN);
		*inv = next;
		w->n_stored[number_of(inv)]++;
	}
	w->n_again += reply.code == ENROLL_OK && again;
	if (reply.code == ENROLL_OK) {
		strcpy(reply.host_id, inv->host_id);
		reply.n_addrs = reply.n_operator_addrs = 1;
		reply.addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, (uint8_t)(number_of(inv) >> 8), (uint8_t)number_of(inv)), 16 };
		reply.operator_addrs[0] = ip_addr_v4(10, 99, 255, 1);
	}
	enroll_server_reply(&a->server, &reply, "");
}

static size_t piece_of(size_t len, size_t max)
{
	size_t n = 1 + rng_below(&w->rng.rng, 2 * len + 1); /* often all of it */

	return MIN(n, MIN(len, max));
}

/* A piece of what waits, in either direction. @twice: the network doubles it. */
static void carry(struct attempt *a, bool twice)
{
	const struct enroll_invites s = all();
	struct bytes out = enroll_client_output(&a->client);
	uint8_t piece[4096];
	size_t n;

	if (out.len > 0) {
		n = piece_of(out.len, sizeof(piece));
		memcpy(piece, out.p, n);
		if (a->n_sent + n <= sizeof(a->sent)) {
			memcpy(a->sent + a->n_sent, piece, n);
			a->n_sent += n;
		}
		enroll_client_sent(&a->client, n);
		for (int k = 0; k <= twice; k++)
			enroll_server_input(&a->server, &s, (struct bytes){ piece, n });
		return;
	}
	out = enroll_server_output(&a->server);
	n = piece_of(out.len, sizeof(piece));
	memcpy(piece, out.p, n);
	enroll_server_sent(&a->server, n);
	for (int k = 0; k <= twice; k++)
		enroll_client_input(&a->client, (struct bytes){ piece, n });
}

static void step(struct attempt *a, bool twice)
{
	struct agent *g = &w->agents[a->agent];

	if (a->server.state == ENROLL_SERVER_COMMIT)
		commit(a);
	else if (enroll_client_output(&a->client).len + enroll_server_output(&a->server).len > 0)
		carry(a, twice);
	else
		enroll_client_end(&a->client); /* nobody has anything to say any more */
	if (a->client.state != ENROLL_CLIENT_DONE)
		return;
	if (a->client.code == ENROLL_OK) {
		g->stored = true;
		strcpy(g->host_id, a->client.reply.host_id);
	}
	end_attempt(a);
	check_agent(g);
}

static void kill_operator(void)
{
	for (size_t i = 0; i < N_RUNNING; i++)
		end_attempt(&w->run[i]);
	w->n_crashes++;
}

static void kill_agent(size_t agent)
{
	for (size_t i = 0; i < N_RUNNING; i++)
		if (w->run[i].agent == agent)
			end_attempt(&w->run[i]);
}

/* A listener sends all that one attempt sent, to the operator: it gets nowhere near a commit. */
static void replay(const struct attempt *a)
{
	const struct enroll_invites s_all = all();
	struct enroll_server s;

	enroll_server_init(&s, &w->operator, &w->rng.rng, 0);
	enroll_server_input(&s, &s_all, (struct bytes){ a->sent, a->n_sent });
	ASSERT(s.state != ENROLL_SERVER_COMMIT);
	enroll_server_fini(&s);
	w->n_replays++;
}

static void act(void)
{
	struct rng *r = &w->rng.rng;
	struct attempt *a = &w->run[rng_below(r, N_RUNNING)];
	unsigned dice = (unsigned)rng_below(r, 1000);

	if (dice < 1) {
		kill_operator();
	} else if (dice < 20) {
		kill_agent(rng_below(r, ARRAY_SIZE(w->agents)));
	} else if (dice < 60) {
		replay(a);
	} else if (dice < 100) {
		end_attempt(a);
	} else if (!a->running || dice < 120) {
		start(rng_below(r, ARRAY_SIZE(w->agents))); /* also who has enrolled already, or is about to */
	} else {
		w->n_doubled += dice < 140;
		step(a, dice < 140);
	}
}

static enum enroll_code run_to_end(size_t agent)
{
	struct attempt *a;

	kill_agent(agent);
	start(agent);
	for (a = w->run; !(a->running && a->agent == agent); a++)
		;
	while (a->running)
		step(a, false);
	return w->agents[agent].last;
}

/* Who has no configuration yet runs the command again. */
static void settle(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(w->agents); i++) {
		struct agent *g = &w->agents[i];
		enum enroll_code c = g->stored ? ENROLL_OK : run_to_end(i);

		ASSERT(c == ENROLL_OK || (c == ENROLL_USED && (i < N_THIEVES || i >= N_AGENTS)));
		check_agent(g);
	}
	for (size_t i = 0; i < N_AGENTS; i++)
		ASSERT(w->n_stored[i] == 1);
	for (size_t i = 0; i < N_THIEVES; i++)
		ASSERT(w->agents[i].stored != w->agents[N_AGENTS + i].stored);
}

static char replay_line[100];

static void tell_replay(int signum)
{
	ssize_t n = write(STDERR_FILENO, replay_line, strlen(replay_line));

	signal(SIGABRT, SIG_DFL);
	raise(n < 0 ? SIGKILL : SIGABRT);
}

static void a_thousand_agents(void **state)
{
	const char *text = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t first = text ? strtoull(text, NULL, 0) : 1, n = text ? 1 : many ? strtoull(many, NULL, 0) : N_SEEDS;

	signal(SIGABRT, tell_replay);
	for (uint64_t seed = first; seed < first + n; seed++) {
		unsigned n_before = 0;

		snprintf(replay_line, sizeof(replay_line), "SEED=%llu build/test/unit/enroll/fleet_test\n", (unsigned long long)seed);
		new_world(seed);
		for (unsigned i = 0; i < ACTIONS_EACH * N_AGENTS; i++)
			act();
		for (size_t i = 0; i < N_AGENTS; i++)
			n_before += w->n_stored[i];
		settle();
		printf("seed %llu: %u attempts, %u enrolled in the storm, %u told again, %u crashes of the operator, %u replays, %u doubled\n",
		       (unsigned long long)seed, w->n_attempts, n_before, w->n_again, w->n_crashes, w->n_replays, w->n_doubled);
		ASSERT(w->n_crashes > 0 && w->n_again > 0 && w->n_doubled > 0 && n_before > N_AGENTS / 10);
		end_world();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_thousand_agents) };

	return RUN_TESTS(tests);
}
