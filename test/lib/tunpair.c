#include "test/lib/tunpair.h"

#include <string.h>

#include "os/loop.h"
#include "test/lib/calm.h"

int tunpair_workers = TUNNEL_WORKERS_OFF;

static void on_tick(void *ctx)
{
	struct tunpair *p = ctx;

	/* A limit is of calm time, where the wall's is over. */
	bool over = os_now() >= p->end && (calm_now() >= p->calm_end || os_now() >= p->end + 60 * NSEC_PER_SEC);

	if (p->until(p->ctx) || over)
		os_loop_stop(p->loop);
	else
		os_timer_set(&p->tick, os_now() + NSEC_PER_MSEC);
}

bool tunpair_run(struct tunpair *p, bool (*fn)(void *ctx), void *ctx, nsec_t limit)
{
	p->until = fn;
	p->ctx = ctx;
	p->end = os_now() + limit;
	p->calm_end = calm_now() + (int64_t)limit;
	os_timer_set(&p->tick, os_now());
	os_loop_run(p->loop);
	os_timer_cancel(&p->tick);
	return fn(ctx);
}

static bool is_rested(void *ctx)
{
	return os_now() >= *(nsec_t *)ctx;
}

void tunpair_rest(struct tunpair *p, nsec_t span)
{
	nsec_t end = os_now() + span;

	tunpair_run(p, is_rested, &end, span);
}

static void open_one(struct tunpair *p, uint8_t key, const char *v4, const char *v6, const char *state_file,
		     struct tunnel **ret, struct tunnel_peer *ret_as_peer)
{
	struct tunnel_config cfg = { .n_addrs = 2, .state_file = state_file, .aead_workers = TUNNEL_WORKERS_OFF };

	if (ret == &p->hub)
		cfg.aead_workers = tunpair_workers;

	memset(cfg.private_key.b, key, KEY_LEN);
	ASSERT(ip_prefix_parse(v4, &cfg.addrs[0]) == OK && ip_prefix_parse(v6, &cfg.addrs[1]) == OK);
	ASSERT(tunnel_open(p->loop, &cfg, ret) == OK);
	*ret_as_peer = (struct tunnel_peer){ .n_allowed = 2 };
	wg_public_from_private(&cfg.private_key, &ret_as_peer->key);
	ASSERT(ip_prefix_parse(v4, &ret_as_peer->allowed[0]) == OK);
	ASSERT(ip_prefix_parse(v6, &ret_as_peer->allowed[1]) == OK);
	ret_as_peer->allowed[0].bits = 32;
	ret_as_peer->allowed[1].bits = 128;
	ret_as_peer->endpoint = (struct endpoint){ .ip = ip_addr_v4(127, 0, 0, 1), .port = tunnel_port(*ret) };
}

void tunpair_open(struct tunpair *p, const char *hub_state)
{
	memset(p, 0, sizeof(*p));
	p->patience = 20 * NSEC_PER_SEC;
	p->loop = os_loop_new();
	ASSERT(p->loop);
	os_timer_init(&p->tick, p->loop, on_tick, p);
	open_one(p, 9, "10.99.0.1/24", "fd00::1/64", hub_state, &p->hub, &p->to_hub);
	open_one(p, 17, "10.99.0.2/24", "fd00::2/64", NULL, &p->agent, &p->to_agent);
	ASSERT(tunnel_add_peer(p->hub, &p->to_agent) == OK);
	ASSERT(tunnel_add_peer(p->agent, &p->to_hub) == OK);
}

void tunpair_close(struct tunpair *p)
{
	os_timer_cancel(&p->tick);
	tunnel_close(p->hub);
	tunnel_close(p->agent);
	os_loop_free(p->loop);
}

struct dialled {
	bool over;
	enum err e;
	struct net_tcp *c;
};

static void on_dialled(void *ctx, enum err e, struct net_tcp *c)
{
	*(struct dialled *)ctx = (struct dialled){ true, e, c };
}

static bool is_over(void *ctx)
{
	return ((struct dialled *)ctx)->over;
}

struct net_tcp *tunpair_dial(struct tunpair *p, const char *remote, enum err *ret_e)
{
	struct dialled d = { 0 };
	struct tunnel_dial *dial;
	struct endpoint ep;

	ASSERT(endpoint_parse(remote, &ep) == OK);
	ASSERT(tunnel_dial_start(p->hub, &ep, os_now() + p->patience, on_dialled, &d, &dial) == OK);
	tunpair_run(p, is_over, &d, p->patience + NSEC_PER_SEC);
	*ret_e = d.e;
	return d.c;
}
