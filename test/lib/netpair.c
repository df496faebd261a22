/* test/lib/netpair.c - see netpair.h. */
#include "test/lib/netpair.h"

#include "base/endian.h"

/* A checksum written the slow way, so that it can disagree with the one under test. */
static uint32_t slow_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t pseudo(const uint8_t *p, bool v6, size_t l4_len)
{
	uint32_t sum = v6 ? slow_sum(p + 8, 32, 0) : slow_sum(p + 12, 8, 0);

	return sum + (uint32_t)l4_len + (v6 ? p[6] : p[9]);
}

const char *wirecheck(const uint8_t *p, size_t len, size_t mtu)
{
	bool v6 = len > 0 && p[0] >> 4 == 6;
	size_t head = v6 ? 40 : 20;
	uint8_t proto;

	if (len < head || (!v6 && p[0] != 0x45))
		return "header";
	if (len > mtu)
		return "longer than the MTU";
	if ((v6 ? 40u + get_be16(p + 4) : get_be16(p + 2)) != len)
		return "length field";
	if (!v6 && slow_sum(p, 20, 0) != 0xffff)
		return "IP checksum";
	proto = v6 ? p[6] : p[9];
	if (proto != 6 && proto != 17 && proto != 1 && proto != 58)
		return "protocol";
	if (proto == 1)
		return slow_sum(p + 20, len - 20, 0) == 0xffff ? NULL : "ICMP checksum";
	if (slow_sum(p + head, len - head, pseudo(p, v6, len - head)) != 0xffff)
		return "transport checksum";
	if (proto == 6 && len - head - (size_t)(p[head + 12] >> 4) * 4 > mtu - head - 20)
		return "segment larger than the MSS";
	return NULL;
}

/* When a packet of @len leaves the bottleneck; NSEC_NEVER: its queue is full. */
static nsec_t through_bottleneck(struct netside *s, size_t len)
{
	struct netpair *p = s->pair;
	nsec_t unit = 1420ULL * 8 * NSEC_PER_SEC / p->rate_bps;

	s->busy_until = MAX(s->busy_until, p->now);
	if (s->busy_until - p->now > p->bottleneck * unit) {
		s->n_dropped++;
		return NSEC_NEVER;
	}
	s->busy_until += len * 8 * NSEC_PER_SEC / p->rate_bps;
	return s->busy_until;
}

/* Options of a SYN over IPv4; what is struck out becomes NOPs. (Who opens what was sealed looks at no checksum.) */
static void strike_sack(uint8_t *p, size_t len)
{
	uint8_t *end = p + len;

	if (p[0] != 0x45 || p[9] != 6 || !(p[33] & 0x02))
		return;
	for (uint8_t *o = p + 40; o + 1 < end && *o != 0; o += *o == 1 ? 1 : o[1])
		if (*o == 4)
			o[0] = o[1] = 1;
}

static enum net_output side_output(void *ctx, const struct iovec *iov, int iovcnt, size_t len)
{
	struct netside *s = ctx;
	struct netpair *p = s->pair;
	struct netlink_pkt *k;
	const char *why;

	if (p->queue_max && s->n_queued >= p->queue_max)
		return NET_OUTPUT_BLOCKED;
	k = malloc(sizeof(*k));
	k->next = NULL;
	k->len = 0;
	for (int i = 0; i < iovcnt; i++) {
		memcpy(k->data + k->len, iov[i].iov_base, iov[i].iov_len);
		k->len += iov[i].iov_len;
	}
	assert_int_equal(k->len, len);
	why = wirecheck(k->data, k->len, 1420);
	if (!why && !p->unwatched && (s == &p->a || s == &p->b))
		why = wirewatch_packet(&p->watch, s == &p->b, k->data, k->len);
	if (why) {
		print_message("wire: %s\n", why);
		s->n_bad++;
	}
	s->n_sent++;
	if (p->no_sack)
		strike_sack(k->data, k->len);
	if (rng_chance(&p->rng.rng, p->burst_ppm))
		s->burst_until = p->now + p->burst;
	if ((p->len_max && len > p->len_max) || s->drop_next > 0 || p->now < s->burst_until || rng_chance(&p->rng.rng, p->loss_ppm)) {
		s->drop_next -= s->drop_next > 0;
		free(k);
		return NET_OUTPUT_OK;
	}
	k->at = p->rate_bps ? through_bottleneck(s, k->len) : p->now;
	if (k->at == NSEC_NEVER) {
		free(k);
		return NET_OUTPUT_OK;
	}
	k->at += p->delay + (rng_chance(&p->rng.rng, p->reorder_ppm) ? 3 * NSEC_PER_MSEC : 0);
	*s->last = k;
	s->last = &k->next;
	s->n_queued++;
	return NET_OUTPUT_OK;
}

void netpair_inject(struct netpair *p, struct netside *to, const void *data, size_t len)
{
	struct pktbuf *pb = pktbuf_alloc(p->pool, NULL);

	if (!pb)
		return;
	memcpy(pb->data, data, len);
	pb->len = (uint16_t)len;
	net_if_input(to->nif, &pb, 1);
}

static nsec_t handed_over_at(const struct netpair *p, const struct netlink_pkt *k)
{
	return p->tick ? (k->at + p->tick - 1) / p->tick * p->tick : k->at;
}

static struct pktbuf *to_unit(struct netside *to, const struct netlink_pkt *k)
{
	struct pktbuf *pb = pktbuf_alloc(to->pair->pool, to->charged);

	if (!pb)
		return NULL;
	memcpy(pb->data, k->data, k->len);
	pb->len = (uint16_t)k->len;
	return pb;
}

/* The next packet that is due; NULL: none is. */
static struct netlink_pkt *take_due(struct netpair *p, struct netside *from)
{
	for (struct netlink_pkt **at = &from->first; *at; at = &(*at)->next) {
		struct netlink_pkt *k = *at;

		if (handed_over_at(p, k) > p->now) {
			if (!p->reorder_ppm)
				return NULL;
			continue;
		}
		*at = k->next;
		if (!k->next)
			from->last = at;
		from->n_queued--;
		return k;
	}
	return NULL;
}

/* With @late the side to which @from sends is woken some time after the first packet that waits for it. */
static bool is_awake(struct netpair *p, struct netside *from)
{
	if (!p->late || !from->first)
		return true;
	if (!from->wake_at)
		from->wake_at = from->first->at + rng_below(&p->rng.rng, p->late);
	return p->now >= from->wake_at;
}

/* Delivers what is due; return: anything? */
static bool deliver(struct netpair *p, struct netside *from, struct netside *to)
{
	struct pktbuf *batch[32];
	struct netlink_pkt *k;
	size_t n = 0, n_max = p->tick || p->late ? ARRAY_SIZE(batch) : 1;
	bool any = false;

	if (!is_awake(p, from))
		return false;
	/* Input may append to either queue: looked at anew each time. */
	while ((k = take_due(p, from))) {
		int copies = 1 + rng_chance(&p->rng.rng, p->dup_ppm);

		while (copies-- > 0) {
			batch[n] = to_unit(to, k);
			n += batch[n] != NULL;
			if (n == n_max) {
				net_if_input(to->nif, batch, n);
				n = 0;
			}
		}
		free(k);
		any = true;
	}
	if (n > 0)
		net_if_input(to->nif, batch, n);
	from->wake_at = any ? 0 : from->wake_at;
	if (any && net_if_is_blocked(from->nif))
		net_if_resume(from->nif);
	return any;
}

static nsec_t next_arrival(const struct netside *s)
{
	nsec_t at = NSEC_NEVER;

	for (const struct netlink_pkt *k = s->first; k && (k == s->first || s->pair->reorder_ppm); k = k->next)
		at = nsec_min(at, handed_over_at(s->pair, k));
	return MAX(at, s->wake_at);
}

/* The process gets no processor for a while: packets and timers wait. */
static nsec_t stall(struct netpair *p, nsec_t next)
{
	if (!p->stall_every || next < p->next_stall)
		return next;
	p->next_stall = next + rng_below(&p->rng.rng, 2 * p->stall_every);
	return next + rng_below(&p->rng.rng, p->stall_for);
}

bool netpair_run(struct netpair *p, nsec_t limit, bool (*done)(void *ctx), void *ctx)
{
	nsec_t end = p->now + limit;

	for (;;) {
		nsec_t next;

		net_set_now(p->now);
		while ((int)deliver(p, &p->a, &p->b) | (int)deliver(p, &p->b, &p->a))
			;
		net_flush();
		if (done && done(ctx))
			return true;
		next = nsec_min(net_deadline(), nsec_min(next_arrival(&p->a), next_arrival(&p->b)));
		next = MAX(next, p->now + 10 * NSEC_PER_USEC);
		if (next <= end)
			next = stall(p, next);
		if (next > end) {
			p->now = end;
			net_set_now(end);
			return done == NULL;
		}
		p->now = next;
		net_expire(p->now);
	}
}

static void side_init(struct netpair *p, struct netside *s, uint8_t last)
{
	struct net_if_config cfg = { .n_addrs = 2, .output = side_output, .ctx = s, .answer_echo = true, .reset_closed = true };

	s->pair = p;
	s->last = &s->first;
	cfg.addrs[0] = (struct ip_prefix){ ip_addr_v4(10, 99, 0, last), 24 };
	cfg.addrs[1] = (struct ip_prefix){ { IP_V6, { 0xfd, [15] = last } }, 64 };
	assert_int_equal(net_if_open(&cfg, &s->nif), OK);
}

void netpair_open_twin(struct netpair *p, struct netside *s, uint8_t last)
{
	side_init(p, s, last);
}

void netpair_reopen(struct netpair *p, struct netside *s, const struct net_if_config *cfg)
{
	struct net_if_config own = *cfg;

	own.output = side_output;
	own.ctx = s;
	assert_int_equal(net_if_open(&own, &s->nif), OK);
}

void netpair_init(struct netpair *p, uint64_t seed)
{
	netpair_init_limits(p, seed, &(struct net_config){ 0 });
}

void netpair_init_limits(struct netpair *p, uint64_t seed, const struct net_config *limits)
{
	struct net_config cfg = *limits;

	memset(p, 0, sizeof(*p));
	rng_seeded_init(&p->rng, seed);
	p->now = 1000 * NSEC_PER_SEC;
	p->delay = 100 * NSEC_PER_USEC;
	p->pool = cfg.pool ? cfg.pool : pktpool_new(16384);
	cfg.rng = &p->rng.rng;
	cfg.pool = p->pool;
	assert_int_equal(net_init(&cfg, p->now), OK);
	side_init(p, &p->a, 1);
	side_init(p, &p->b, 2);
}

void netpair_drop_queue(struct netside *s)
{
	while (s->first) {
		struct netlink_pkt *k = s->first;

		s->first = k->next;
		free(k);
	}
	s->last = &s->first;
}

static void side_fini(struct netside *s)
{
	net_if_close(s->nif);
	netpair_drop_queue(s);
	assert_int_equal(s->n_bad, 0);
}

void netpair_fini(struct netpair *p)
{
	side_fini(&p->a);
	side_fini(&p->b);
	net_fini();
	wirewatch_fini(&p->watch);
	pktpool_free(p->pool);
}

void netpair_fill(struct net_tcp *c, size_t chunk)
{
	static const uint8_t block[1 << 20];

	ASSERT(chunk <= sizeof(block));
	while (net_tcp_write(c, block, chunk) == chunk)
		;
}

size_t netpair_drain(struct net_tcp *c)
{
	struct iovec iov[32];
	size_t total = 0;
	int n;

	while ((n = net_tcp_peek(c, iov, ARRAY_SIZE(iov))) > 0) {
		size_t sum = 0;

		for (int i = 0; i < n; i++)
			sum += iov[i].iov_len;
		net_tcp_consume(c, sum);
		total += sum;
	}
	return total;
}
