/*
 * test/unit/netstack/tiny_test.c - a peer that asks for segments of a byte, or never opens its window: what is queued for it takes
 * memory by its bytes, not by its segments.
 */
#include <malloc.h>

#include "base/endian.h"
#include "test/lib/netpair.h"
#include "test/lib/netwrite.h"

#define CHUNK 65536
#define MUCH (64u << 20)

/* A sanitizer's heap tells no sizes. */
#ifdef __SANITIZE_ADDRESS__
#define HEAP_TELLS false
#else
#define HEAP_TELLS true
#endif

static struct world {
	struct netpair p;
	struct net_tcp *c;
	uint32_t ack;
	uint64_t got;
	bool failed, writable;
} w;

static void on_event(void *ctx, struct net_tcp *c, enum net_tcp_event ev)
{
	w.failed |= ev == NET_TCP_ERROR;
	w.writable |= ev == NET_TCP_WRITABLE;
}

static void on_syn(void *ctx, struct net_syn *syn, const struct endpoint *remote)
{
	assert_int_equal(net_syn_accept(syn, on_event, NULL, &w.c), OK);
}

static void say(uint8_t flags, uint16_t mss, uint16_t window)
{
	uint8_t p[44] = { 0x45 };
	size_t opts = mss ? 4 : 0;

	put_be16(p + 2, (uint16_t)(40 + opts));
	p[8] = 64;
	p[9] = 6;
	memcpy(p + 12, "\x0a\x63\x00\x01\x0a\x63\x00\x02", 8);
	put_be16(p + 20, 4000);
	put_be16(p + 22, 22);
	put_be32(p + 24, flags & 0x02 ? 1000 : 1001);
	put_be32(p + 28, w.ack);
	p[32] = (uint8_t)((20 + opts) / 4 << 4);
	p[33] = flags;
	put_be16(p + 34, window);
	put_be32(p + 40, 0x02040000u | mss);
	netpair_inject(&w.p, &w.p.b, p, 40 + opts);
	net_flush();
}

static void hear(void)
{
	for (const struct netlink_pkt *k = w.p.b.first; k; k = k->next) {
		const uint8_t *tcp = k->data + 20;
		uint32_t len = (uint32_t)(k->len - 20) - (uint32_t)(tcp[12] >> 4) * 4, seq = get_be32(tcp + 4);

		if (tcp[13] & 0x02) {
			w.ack = seq + 1;
		} else if (seq == w.ack) {
			w.ack += len;
			w.got += len;
		}
	}
	netpair_drop_queue(&w.p.b);
}

static void pass(nsec_t t)
{
	for (nsec_t end = w.p.now + t; w.p.now < end;) {
		w.p.now += NSEC_PER_MSEC;
		net_expire(w.p.now);
		hear();
	}
}

static void begin(uint16_t mss, uint16_t window, struct net_listener **l)
{
	memset(&w, 0, sizeof(w));
	netpair_init(&w.p, 7);
	w.p.unwatched = true;
	assert_int_equal(net_tcp_listen(w.p.b.nif, 22, 8, on_syn, NULL, l), OK);
	say(0x02, mss, window);
	hear();
	pass(10 * NSEC_PER_MSEC);
	say(0x10, 0, window);
	assert_non_null(w.c);
}

static void end(struct net_listener *l)
{
	assert_false(w.failed);
	net_tcp_abort(w.c);
	net_listener_close(l);
	hear();
	netpair_fini(&w.p);
}

/* As much as it takes. Return: bytes. */
static size_t fill(void)
{
	static uint8_t block[CHUNK];
	size_t n, sum = 0;

	while (sum < MUCH && (n = net_write_mixed(w.c, block, sizeof(block))) > 0)
		sum += n;
	return sum;
}

static void queue_for(uint16_t mss, uint16_t window)
{
	struct net_listener *l;
	size_t before, took, used;

	begin(mss, window, &l);
	net_rest();
	before = mallinfo2().uordblks;
	took = fill();
	hear();
	used = mallinfo2().uordblks - before;
	print_message("segments of %u, window of %u: %zu bytes are queued and take %zu KiB\n", mss, window, took, used >> 10);
	assert_true(took > 0);
	assert_true(!HEAP_TELLS || used <= 2 * took + (1u << 20));
	/* It is served all the same. */
	if (window > 1000) {
		for (int i = 0; i < 3000 && w.got < took; i++) {
			pass(10 * NSEC_PER_MSEC);
			say(0x10, 0, window);
			hear();
		}
		assert_int_equal(w.got, took);
		assert_true(w.writable);
	}
	end(l);
}

static void what_is_queued_takes_memory_by_its_bytes(void **state)
{
	static const struct {
		uint16_t mss, window;
	} peers[] = { { 1, 65535 }, { 64, 65535 }, { 400, 65535 }, { 536, 65535 }, { 1380, 65535 }, { 1380, 0 }, { 1380, 2 }, { 1380, 300 } };

	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		queue_for(peers[i].mss, peers[i].window);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_queued_takes_memory_by_its_bytes),
	};

	return RUN_TESTS(tests);
}
