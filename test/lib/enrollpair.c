#include "test/lib/enrollpair.h"

#include <string.h>

void enrollpair_init(struct enrollpair *p, uint64_t seed)
{
	uint8_t key[KEY_LEN];

	memset(p, 0, sizeof(*p));
	rng_seeded_init(&p->rng, seed);
	rng_bytes(&p->rng.rng, key, sizeof(key));
	enroll_self(key, &p->operator);
	enroll_secret(p->operator.priv, p->secret);
	for (size_t i = 0; i < ENROLLPAIR_AGENTS; i++) {
		rng_bytes(&p->rng.rng, key, sizeof(key));
		enroll_self(key, &p->agents[i].self);
		p->agents[i].last = ENROLL_LOST;
	}
	p->wall = ENROLLPAIR_WALL;
	strcpy(p->token.host_id, "web1");
	memcpy(p->token.operator_key, p->operator.pub, KEY_LEN);
	p->token.enroll_port = ENROLL_PORT;
	p->token.has_nonce = true;
	p->token.expires = ENROLLPAIR_WALL + 3600;
	rng_bytes(&p->rng.rng, p->token.nonce, ENROLL_NONCE_LEN);
	ASSERT(enroll_token_encode(&p->token, p->secret, p->text) == OK);
	strcpy(p->invite.host_id, "web1");
	memcpy(p->invite.nonce, p->token.nonce, ENROLL_NONCE_LEN);
	enroll_id(p->token.nonce, p->invite.id);
	p->invite.expires = p->token.expires;
}

void enrollpair_drop(struct enrollpair *p, size_t i)
{
	struct enrollpair_agent *a = &p->agents[i];

	if (!a->running)
		return;
	a->running = false;
	enroll_client_end(&a->client);
	a->last = a->client.code;
	enroll_client_fini(&a->client);
	enroll_server_fini(&a->server);
}

void enrollpair_fini(struct enrollpair *p)
{
	enrollpair_crash(p);
}

void enrollpair_crash(struct enrollpair *p)
{
	for (size_t i = 0; i < ENROLLPAIR_AGENTS; i++)
		enrollpair_drop(p, i);
}

void enrollpair_start(struct enrollpair *p, size_t i)
{
	struct enrollpair_agent *a = &p->agents[i];
	struct enroll_request req = { .os = "linux", .listen_port = 51820 };

	enrollpair_drop(p, i);
	strcpy(req.token, p->text);
	ASSERT(enroll_client_init(&a->client, &p->token, &a->self, &req, &p->rng.rng) == OK);
	enroll_server_init(&a->server, &p->operator, &p->rng.rng, 0);
	a->running = true;
	a->n_sent = 0;
}

/* Judges what is on the disk, then writes once. */
void enrollpair_commit(struct enrollpair *p, struct enroll_server *s)
{
	struct enroll_reply reply = { .state = "active" };
	bool again;

	strcpy(reply.host_id, "web1");
	reply.code = enroll_decide(&p->invite, p->secret, s->request, s->agent, false, p->wall, &again);
	if (reply.code == ENROLL_OK && !again) {
		struct enroll_invite next = p->invite;

		next.used = true;
		memcpy(next.agent, s->agent, KEY_LEN);
		p->invite = next;
		p->n_hosts++;
	}
	if (reply.code == ENROLL_OK) {
		reply.n_addrs = reply.n_operator_addrs = 1;
		reply.addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, 2), 24 };
		reply.operator_addrs[0] = ip_addr_v4(10, 99, 0, 1);
	}
	enroll_server_reply(s, &reply, "");
}

static void to_server(struct enrollpair *p, struct enrollpair_agent *a)
{
	struct bytes out = enroll_client_output(&a->client);
	struct enroll_invites all = { &p->invite, 1 };

	if (a->n_sent + out.len <= sizeof(a->sent)) {
		memcpy(a->sent + a->n_sent, out.p, out.len);
		a->n_sent += out.len;
	}
	enroll_server_input(&a->server, &all, out);
	enroll_client_sent(&a->client, out.len);
}

static void to_client(struct enrollpair_agent *a)
{
	struct bytes out = enroll_server_output(&a->server);

	enroll_client_input(&a->client, out);
	enroll_server_sent(&a->server, out.len);
}

bool enrollpair_step(struct enrollpair *p, size_t i)
{
	struct enrollpair_agent *a = &p->agents[i];

	if (!a->running)
		return false;
	if (a->server.state == ENROLL_SERVER_COMMIT)
		enrollpair_commit(p, &a->server);
	else if (enroll_client_output(&a->client).len > 0)
		to_server(p, a);
	else if (enroll_server_output(&a->server).len > 0)
		to_client(a);
	if (a->client.state == ENROLL_CLIENT_DONE) {
		if (a->client.code == ENROLL_OK) {
			a->stored = true;
			a->config = a->client.reply;
		}
		enrollpair_drop(p, i);
	}
	return true;
}

void enrollpair_replay(struct enrollpair *p, size_t i)
{
	struct enroll_invites all = { &p->invite, 1 };
	struct enroll_server s;

	enroll_server_init(&s, &p->operator, &p->rng.rng, 0);
	enroll_server_input(&s, &all, (struct bytes){ p->agents[i].sent, p->agents[i].n_sent });
	ASSERT(s.state != ENROLL_SERVER_COMMIT);
	enroll_server_fini(&s);
}

void enrollpair_check(const struct enrollpair *p)
{
	ASSERT(p->n_hosts <= 1);
	ASSERT(p->invite.used == (p->n_hosts == 1));
	for (size_t i = 0; i < ENROLLPAIR_AGENTS; i++)
		if (p->agents[i].stored)
			ASSERT(p->invite.used && memcmp(p->invite.agent, p->agents[i].self.pub, KEY_LEN) == 0);
}
