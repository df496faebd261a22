/* test/lib/flows.c - see flows.h. */
#include "test/lib/flows.h"

static void on_from(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;

	f->failed |= ev == NET_TCP_ERROR;
	if (ev == NET_TCP_CONNECTED || ev == NET_TCP_WRITABLE)
		netpair_fill(c, 1 << 20);
}

static void on_to(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	struct flow *f = ctx;

	if (ev == NET_TCP_READABLE)
		f->got += netpair_drain(c);
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct flows *r = ctx;
	struct flow *f = &r->flows[r->n_accepted++];

	assert_int_equal(net_syn_accept(syn, on_to, f, &f->to), OK);
}

void flows_begin(struct flows *r, const struct path *path, uint64_t seed)
{
	flows_begin_limits(r, path, seed, &(struct net_config){ .pool = path->units ? pktpool_new(path->units) : NULL });
}

void flows_begin_limits(struct flows *r, const struct path *path, uint64_t seed, const struct net_config *limits)
{
	memset(r, 0, sizeof(*r));
	netpair_init_limits(&r->p, seed, limits);
	r->p.delay = (nsec_t)(path->ms * 1e6);
	r->p.rate_bps = (uint64_t)(path->mbps * 1e6);
	r->p.bottleneck = path->queue;
	r->p.tick = (nsec_t)(path->tick_ms * 1e6);
	r->p.late = (nsec_t)(path->late_ms * 1e6);
	if (path->stall_ms > 0)
		r->p.stall_every = path->stall_every_ms > 0 ? (nsec_t)(path->stall_every_ms * 1e6) : 30 * NSEC_PER_MSEC;
	r->p.stall_for = (nsec_t)(path->stall_ms * 1e6);
	assert_int_equal(net_tcp_listen(r->p.b.nif, 22, FLOWS_MAX, on_syn, r, &r->l), OK);
}

/* One at a time, so that the n-th dialled is the n-th accepted. */
void flows_add(struct flows *r, const struct path *path, const char *congestion)
{
	struct endpoint to = { ip_addr_v4(10, 99, 0, 2), 22, 0 };
	uint32_t loss = r->p.loss_ppm;

	r->p.loss_ppm = r->p.reorder_ppm = 0;
	assert_int_equal(net_if_set_congestion(r->p.a.nif, congestion ? congestion : "cubic"), OK);
	assert_int_equal(net_tcp_dial(r->p.a.nif, &to, on_from, &r->flows[r->n], &r->flows[r->n].from), OK);
	r->n++;
	while (r->n_accepted < r->n || !net_tcp_is_connected(r->flows[r->n - 1].from))
		netpair_run(&r->p, NSEC_PER_MSEC, NULL, NULL);
	r->p.loss_ppm = MAX(loss, path->loss_ppm);
	r->p.reorder_ppm = path->reorder_ppm;
}

void flows_end(struct flows *r)
{
	for (size_t i = 0; i < r->n; i++) {
		assert_false(r->flows[i].failed);
		net_tcp_abort(r->flows[i].from);
		net_tcp_abort(r->flows[i].to);
	}
	net_listener_close(r->l);
	netpair_fini(&r->p);
}

double flows_mbps(uint64_t bytes, double seconds)
{
	return (double)bytes * 8 / seconds / 1e6;
}

double flows_upload(const struct path *path, double *ret_least)
{
	unsigned seconds = path->seconds ? path->seconds : 10, n = MAX(path->n_seeds, 1u);
	uint64_t got = 0, dropped = 0, least = UINT64_MAX;
	struct net_stats st = { 0 };
	static struct flows r;

	for (unsigned seed = 0; seed < n; seed++) {
		flows_begin(&r, path, 100 + seed);
		flows_add(&r, path, path->congestion);
		netpair_run(&r.p, seconds * NSEC_PER_SEC, NULL, NULL);
		got += r.flows[0].got;
		least = MIN(least, r.flows[0].got);
		dropped += r.p.a.n_dropped;
		net_get_stats(&st);
		flows_end(&r);
	}
	print_message("%-42s %7.1f Mb/s (least %.1f)  dropped %llu; last: resent %llu recoveries %llu undone %llu\n", path->name,
		      flows_mbps(got, seconds) / n, flows_mbps(least, seconds), (unsigned long long)dropped / n,
		      (unsigned long long)st.n_resent, (unsigned long long)st.n_recoveries, (unsigned long long)st.n_undone);
	if (ret_least)
		*ret_least = flows_mbps(least, seconds);
	return flows_mbps(got, seconds) / n;
}

unsigned flows_reach_floors(const struct path *paths, size_t n)
{
	unsigned n_below = 0;

	for (size_t i = 0; i < n; i++)
		if (flows_upload(&paths[i], NULL) < paths[i].least_mbps) {
			print_message("below its floor of %.0f Mb/s\n", paths[i].least_mbps);
			n_below++;
		}
	return n_below;
}
