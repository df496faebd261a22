/*
 * A peer that opens with a window of nothing, or of one byte, and then with little: whatever it says, our writes go on and
 * reach it in order, and no assertion is met. (lwIP 2.2.1 met one: what was queued at full size was larger than the half of
 * the window that came.) Found by the fuzz target net_input.
 */
#include "base/endian.h"
#include "test/lib/netpair.h"

/* A peer made by hand: what it received, and what it says next. */
struct hand {
	struct netpair p;
	struct net_tcp *c;
	bool failed;
	uint32_t seq, ack; /* its own, and what it acknowledges */
	uint8_t got[4096];
	size_t n_got;
};

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	((struct hand *)ctx)->failed |= ev == NET_TCP_ERROR;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	struct hand *h = ctx;

	assert_int_equal(net_syn_accept(syn, on_event, h, &h->c), OK);
}

static void say(struct hand *h, uint8_t flags, uint16_t window)
{
	uint8_t pkt[40] = { 0x45 };

	put_be16(pkt + 2, sizeof(pkt));
	pkt[8] = 64;
	pkt[9] = 6;
	memcpy(pkt + 12, (uint8_t[]){ 10, 99, 0, 1, 10, 99, 0, 2 }, 8);
	put_be16(pkt + 20, 4000);
	put_be16(pkt + 22, 22);
	put_be32(pkt + 24, h->seq);
	put_be32(pkt + 28, h->ack);
	pkt[32] = 5 << 4;
	pkt[33] = flags;
	put_be16(pkt + 34, window);
	net_set_now(h->p.now);
	netpair_inject(&h->p, &h->p.b, pkt, sizeof(pkt));
	net_flush();
}

/* Takes in what b sent, in order; lets the clock go on. */
static void receive(struct hand *h, unsigned ms)
{
	struct netlink_pkt *pkt;

	for (unsigned i = 0; i < ms; i++) {
		for (pkt = h->p.b.first; pkt; pkt = pkt->next) {
			size_t head = 20 + (size_t)(pkt->data[32] >> 4) * 4, len = pkt->len - head;
			uint32_t seq = get_be32(pkt->data + 24);

			if (pkt->data[33] & 2)
				h->ack = seq + 1;
			else if (len > 0 && seq == h->ack && h->n_got + len <= sizeof(h->got)) {
				memcpy(h->got + h->n_got, pkt->data + head, len);
				h->n_got += len;
				h->ack += (uint32_t)len;
			}
		}
		netpair_drop_queue(&h->p.b);
		h->p.now += NSEC_PER_MSEC;
		net_set_now(h->p.now);
		net_expire(h->p.now);
		net_flush();
	}
}

static void open_with(struct hand *h, uint16_t window, struct net_listener **l)
{
	memset(h, 0, sizeof(*h));
	netpair_init(&h->p, 7);
	assert_int_equal(net_tcp_listen(h->p.b.nif, 22, 8, on_syn, h, l), OK);
	h->seq = 1000;
	say(h, 2, window);
	receive(h, 3);
	h->seq++;
	say(h, 16, window);
	receive(h, 3);
	assert_non_null(h->c);
}

static void close_all(struct hand *h, struct net_listener *l)
{
	net_tcp_abort(h->c);
	net_listener_close(l);
	netpair_drop_queue(&h->p.b);
	netpair_fini(&h->p);
}

static void writes_go_on(uint16_t first, uint16_t then)
{
	static uint8_t data[3000];
	struct net_listener *l;
	struct hand h;
	size_t sent = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	open_with(&h, first, &l);
	sent += net_tcp_write(h.c, data, 1000);
	receive(&h, 3);
	/* The window opens a little; each write now meets the segment that was queued before. */
	for (int i = 0; i < 4000 && h.n_got < sizeof(data); i++) {
		say(&h, 16, then);
		if (sent < sizeof(data))
			sent += net_tcp_write(h.c, data + sent, sizeof(data) - sent < 700 ? sizeof(data) - sent : 700);
		receive(&h, 30);
	}
	assert_false(h.failed);
	assert_int_equal(h.n_got, sizeof(data));
	assert_memory_equal(h.got, data, sizeof(data));
	close_all(&h, l);
}

static void a_window_that_opens_a_little(void **state)
{
	static const uint16_t firsts[] = { 0, 1, 2, 300 }, thens[] = { 100, 300, 1000, 65535 };

	for (size_t i = 0; i < ARRAY_SIZE(firsts); i++)
		for (size_t k = 0; k < ARRAY_SIZE(thens); k++)
			writes_go_on(firsts[i], thens[k]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_window_that_opens_a_little),
	};

	return RUN_TESTS(tests);
}
