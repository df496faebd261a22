/*
 * A conversation of version 1, recorded when it was made (version1.txt): the bytes of an agent of then are understood by the operator
 * of today, and those of an operator of then by the agent of today. The file is never written again; a version 2 gets one of
 * its own beside it.
 */
#include "enroll/client.h"
#include "enroll/decide.h"
#include "enroll/server.h"
#include "test/lib/testing.h"
#include "wg/hash.h"

#define FILE_NAME "test/unit/enroll/version1.txt"
#define FIELD_MAX 4096

/* Gives its bytes whatever is asked, again and again: a key of its own for each side, and no order of draws matters. */
struct fixed {
	struct rng rng;
	uint8_t b;
};

static void fill(struct rng *rng, void *buf, size_t len)
{
	memset(buf, container_of(rng, struct fixed, rng)->b, len);
}

static struct fixed agent_dice = { { fill }, 0x51 }, operator_dice = { { fill }, 0x62 };

struct recorded {
	uint8_t operator_key[KEY_LEN], agent_key[KEY_LEN];
	char token[ENROLL_TOKEN_MAX];
	uint8_t message[4][FIELD_MAX]; /* hello, answer, request, reply */
	size_t len[4];
};

static const char *const names[4] = { "hello", "answer", "request", "reply" };

static size_t read_hex(const char *text, uint8_t *ret)
{
	size_t n = 0;

	for (unsigned byte; n < FIELD_MAX && sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
		ret[n] = (uint8_t)byte;
	return n;
}

static void load(struct recorded *r)
{
	static char line[3 * FIELD_MAX], name[16], text[2 * FIELD_MAX + 1];
	FILE *f = fopen(FILE_NAME, "re");

	if (!f)
		fail_msg("%s: run from the repository's root", FILE_NAME);
	memset(r, 0, sizeof(*r));
	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || sscanf(line, "%15s %8192s", name, text) != 2)
			continue;
		if (strcmp(name, "operator") == 0)
			assert_int_equal(read_hex(text, r->operator_key), KEY_LEN);
		else if (strcmp(name, "agent") == 0)
			assert_int_equal(read_hex(text, r->agent_key), KEY_LEN);
		else if (strcmp(name, "token") == 0)
			snprintf(r->token, sizeof(r->token), "%s", text);
		for (size_t i = 0; i < 4; i++)
			if (strcmp(name, names[i]) == 0)
				r->len[i] = read_hex(text, r->message[i]);
	}
	fclose(f);
	assert_int_equal(r->len[0], sizeof(struct enroll_hello));
	assert_int_equal(r->len[1], sizeof(struct enroll_answer));
}

static struct bytes message(const struct recorded *r, size_t i)
{
	return (struct bytes){ r->message[i], r->len[i] };
}

static void invite_of(const struct enroll_token *t, struct enroll_invite *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->nonce, t->nonce, ENROLL_NONCE_LEN);
	enroll_id(t->nonce, ret->id);
	ret->expires = t->expires;
	strcpy(ret->host_id, t->host_id);
}

static void check_request(const struct enroll_request *req, const struct recorded *r)
{
	assert_string_equal(req->token, r->token);
	assert_string_equal(req->host_id, "its-own-name");
	assert_string_equal(req->os, "linux");
	assert_string_equal(req->version, "0.1.0");
	assert_int_equal(req->listen_port, 51820);
	assert_int_equal(req->n_host_keys, 1);
	assert_string_equal(req->host_keys[0], "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhc2U2NA==");
}

static void make_reply(struct enroll_reply *ret)
{
	memset(ret, 0, sizeof(*ret));
	strcpy(ret->host_id, "web1");
	strcpy(ret->state, "active");
	ret->n_addrs = ret->n_operator_addrs = ret->n_derp_servers = 1;
	ret->addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, 2), 24 };
	ret->operator_addrs[0] = ip_addr_v4(10, 99, 0, 1);
	strcpy(ret->derp_servers[0], "wss://relay.example/derp");
	assert_int_equal(endpoint_parse("203.0.113.10:51820", &ret->endpoint), OK);
	ret->max_file_size = 1 << 20;
}

/* ---- an agent of then, an operator of today ---- */

static void an_old_agent(void **state)
{
	struct enroll_token t;
	struct noise_static self;
	struct enroll_invite inv;
	struct enroll_invites all = { &inv, 1 };
	struct enroll_server s;
	uint8_t secret[KEY_LEN];
	struct recorded r;
	bool again;

	load(&r);
	enroll_self(r.operator_key, &self);
	enroll_secret(self.priv, secret);
	assert_int_equal(enroll_token_decode(r.token, &t), OK);
	assert_true(enroll_token_is_signed(r.token, secret));
	invite_of(&t, &inv);
	enroll_server_init(&s, &self, &operator_dice.rng, 0);
	enroll_server_input(&s, &all, message(&r, 0));
	assert_int_equal(s.state, ENROLL_SERVER_REQUEST);
	enroll_server_sent(&s, enroll_server_output(&s).len);
	enroll_server_input(&s, &all, message(&r, 2));
	assert_int_equal(s.state, ENROLL_SERVER_COMMIT);
	check_request(s.request, &r);
	assert_int_equal(enroll_decide(&inv, secret, s.request, s.agent, false, t.expires - 1, &again), ENROLL_OK);
	enroll_server_fini(&s);
}

/* ---- an operator of then, an agent of today ---- */

static void start_agent(struct enroll_client *c, struct noise_static *self, struct enroll_token *t, const struct recorded *r)
{
	static struct enroll_request req;

	memset(&req, 0, sizeof(req));
	enroll_self(r->agent_key, self);
	assert_int_equal(enroll_client_check(r->token, 1, t), ENROLL_OK);
	strcpy(req.token, r->token);
	strcpy(req.host_id, "its-own-name");
	strcpy(req.os, "linux");
	strcpy(req.version, "0.1.0");
	req.listen_port = 51820;
	req.n_host_keys = 1;
	strcpy(req.host_keys[0], "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJhc2U2NA==");
	assert_int_equal(enroll_client_init(c, t, self, &req, &agent_dice.rng), OK);
}

static void an_old_operator(void **state)
{
	struct enroll_reply want;
	struct noise_static self;
	struct enroll_token t;
	struct enroll_client c;
	struct recorded r;

	load(&r);
	start_agent(&c, &self, &t, &r);
	enroll_client_sent(&c, enroll_client_output(&c).len);
	enroll_client_input(&c, message(&r, 1));
	assert_int_equal(c.state, ENROLL_CLIENT_REPLY);
	enroll_client_input(&c, message(&r, 3));
	assert_int_equal(c.state, ENROLL_CLIENT_DONE);
	assert_int_equal(c.code, ENROLL_OK);
	make_reply(&want);
	assert_string_equal(c.reply.host_id, want.host_id);
	assert_string_equal(c.reply.state, want.state);
	assert_memory_equal(c.reply.addrs, want.addrs, sizeof(want.addrs));
	assert_memory_equal(c.reply.operator_addrs, want.operator_addrs, sizeof(want.operator_addrs));
	assert_true(endpoint_equal(&c.reply.endpoint, &want.endpoint));
	assert_string_equal(c.reply.derp_servers[0], want.derp_servers[0]);
	assert_int_equal(c.reply.max_file_size, want.max_file_size);
	enroll_client_fini(&c);
}

/* As every version has it: the mac does not depend on the range that is offered. */
static void sign_again(struct enroll_hello *h, const uint8_t nonce[ENROLL_NONCE_LEN])
{
	static const char label[] = "nefia invite mac v1";
	uint8_t key[WG_HASH_LEN];

	wg_hash(key, wg_bytes(label, sizeof(label) - 1), wg_bytes(nonce, ENROLL_NONCE_LEN), (struct bytes){ 0 });
	wg_mac(h->mac, key, sizeof(key), wg_bytes(h, offsetof(struct enroll_hello, mac)));
}

/* ---- a later one of either, with fields and versions that nobody knows yet ---- */

static void refused_with_a_reason(void **state)
{
	struct enroll_answer later = { .type = ENROLL_REFUSAL, .version = 9, .code = ENROLL_VERSION };
	struct noise_static self;
	struct enroll_token t;
	struct enroll_client c;
	struct enroll_server s;
	struct enroll_invite inv;
	struct enroll_invites all = { &inv, 1 };
	const struct enroll_answer *refusal;
	struct enroll_hello h;
	struct enroll_channel channel;
	struct recorded r;

	load(&r);
	start_agent(&c, &self, &t, &r);
	memcpy(later.magic, ENROLL_MAGIC, sizeof(later.magic));
	enroll_client_input(&c, (struct bytes){ (const uint8_t *)&later, sizeof(later) });
	assert_int_equal(c.code, ENROLL_VERSION);
	enroll_client_fini(&c);
	/* An agent that speaks 8 and 9 alone: refused, with our greatest. */
	invite_of(&t, &inv);
	enroll_self(r.agent_key, &self);
	memset(&channel, 0, sizeof(channel));
	assert_int_equal(enroll_hello_write(&channel, &self, t.operator_key, t.nonce, &agent_dice.rng, &h), OK);
	h.version_min = 8;
	h.version_max = 9;
	sign_again(&h, t.nonce);
	enroll_self(r.operator_key, &self);
	enroll_server_init(&s, &self, &operator_dice.rng, 0);
	enroll_server_input(&s, &all, (struct bytes){ (const uint8_t *)&h, sizeof(h) });
	assert_int_equal(s.state, ENROLL_SERVER_CLOSING);
	assert_int_equal(s.code, ENROLL_VERSION);
	refusal = (const void *)enroll_server_output(&s).p;
	assert_int_equal(enroll_server_output(&s).len, sizeof(*refusal));
	assert_int_equal(refusal->code, ENROLL_VERSION);
	assert_int_equal(refusal->version, ENROLL_VERSION_MAX);
	enroll_server_fini(&s);
}

/* ---- how it was recorded ---- */

static void put(FILE *f, const char *name, struct bytes b)
{
	fprintf(f, "%s ", name);
	for (size_t i = 0; i < b.len; i++)
		fprintf(f, "%02x", b.p[i]);
	fputc('\n', f);
}

static int record(void)
{
	struct recorded r = { .operator_key = { 1, 2, 3, 4 }, .agent_key = { 5, 6, 7, 8 } };
	struct enroll_token t = { .host_id = "web1", .vpn_addr = "10.99.0.2", .enroll_port = 19820, .has_nonce = true, .expires = 4000000000u,
				  .nonce = { 0xa0, 0xa1, 0xa2 } };
	struct noise_static self, agent;
	struct enroll_invite inv;
	struct enroll_invites all = { &inv, 1 };
	uint8_t secret[KEY_LEN];
	struct enroll_reply reply;
	struct enroll_client c;
	struct enroll_server s;
	FILE *f = fopen(FILE_NAME, "wex");

	if (!f)
		return 1;
	enroll_self(r.operator_key, &self);
	enroll_secret(self.priv, secret);
	memcpy(t.operator_key, self.pub, KEY_LEN);
	if (endpoint_parse("203.0.113.10:51820", &t.endpoint) != OK || enroll_token_encode(&t, secret, r.token) != OK)
		return 1;
	fprintf(f, "# One enrollment, protocol version 1: both private keys, the token, and what went over the wire. See compat_test.c.\n");
	put(f, "operator", (struct bytes){ r.operator_key, KEY_LEN });
	put(f, "agent", (struct bytes){ r.agent_key, KEY_LEN });
	fprintf(f, "token %s\n", r.token);
	invite_of(&t, &inv);
	start_agent(&c, &agent, &t, &r);
	enroll_server_init(&s, &self, &operator_dice.rng, 0);
	for (size_t i = 0; i < 4; i++) {
		struct bytes out = i % 2 ? enroll_server_output(&s) : enroll_client_output(&c);

		put(f, names[i], out);
		if (i % 2) {
			enroll_client_input(&c, out);
			enroll_server_sent(&s, out.len);
		} else {
			enroll_server_input(&s, &all, out);
			enroll_client_sent(&c, out.len);
		}
		if (s.state == ENROLL_SERVER_COMMIT) {
			make_reply(&reply);
			enroll_server_reply(&s, &reply, "");
		}
	}
	return fclose(f) == 0 && c.code == ENROLL_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_old_agent), cmocka_unit_test(an_old_operator), cmocka_unit_test(refused_with_a_reason),
	};

	return argc == 2 && strcmp(argv[1], "record") == 0 ? record() : RUN_TESTS(tests);
}
