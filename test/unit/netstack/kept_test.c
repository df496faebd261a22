/*
 * test/unit/netstack/kept_test.c - how many remote addresses are remembered when nothing with them is open any more, and which.
 *
 * A peer may have a whole /64 of addresses: each of them that once answered on a short path would stay for ten minutes.
 */
#include <malloc.h>

#include "netstack/net_internal.h"
#include "test/lib/netpair.h"

#define N_KEPT 256 /* as net_share_give() has it */
#define MANY 10000

/* A sanitizer's heap tells no sizes. */
#ifdef __SANITIZE_ADDRESS__
#define HEAP_TELLS false
#else
#define HEAP_TELLS true
#endif

static struct ip_addr nth(unsigned i)
{
	struct ip_addr ip = { .family = IP_V6, .b = { 0xfd, 0x99 } };

	ip.b[13] = (uint8_t)(i >> 16);
	ip.b[14] = (uint8_t)(i >> 8);
	ip.b[15] = (uint8_t)i;
	return ip;
}

/* A connection with it that found out how far away it is, and ended. */
static void come_and_go(struct net_if *nif, unsigned i)
{
	const struct ip_addr ip = nth(i);
	struct net_share *s = net_share_take(nif, &ip);

	assert_non_null(s);
	s->rtt_min = NSEC_PER_MSEC + i;
	net_share_give(nif, s);
}

/* Looks without touching: taking it would change who has been idle for longest. */
static bool is_kept(const struct net_if *nif, unsigned i)
{
	const struct ip_addr ip = nth(i);

	list_for_each(it, &((struct net_if *)nif)->idle_shares) {
		const struct net_share *s = container_of(it, struct net_share, idle);

		if (ip_addr_equal(&s->ip, &ip))
			return s->rtt_min == NSEC_PER_MSEC + i;
	}
	return false;
}

static size_t n_in_hash(const struct net_if *nif)
{
	size_t n = 0;

	for (size_t i = 0; i < NET_N_SHARES; i++)
		for (const struct net_share *s = nif->shares[i]; s; s = s->next)
			n++;
	return n;
}

static void the_longest_idle_goes_first(void **state)
{
	const struct ip_addr again = nth(0);
	struct net_share *s;
	struct netpair p;

	netpair_init(&p, 1);
	for (unsigned i = 0; i < N_KEPT; i++)
		come_and_go(p.a.nif, i);
	assert_int_equal(n_in_hash(p.a.nif), N_KEPT);
	/* It is in use again, so it is not idle, and what was learned is there. */
	s = net_share_take(p.a.nif, &again);
	assert_int_equal(s->rtt_min, NSEC_PER_MSEC);
	come_and_go(p.a.nif, N_KEPT);
	assert_int_equal(n_in_hash(p.a.nif), N_KEPT + 1);
	net_share_give(p.a.nif, s);
	assert_int_equal(n_in_hash(p.a.nif), N_KEPT);
	/* The first became the last; the second has been idle for longest now. */
	assert_true(is_kept(p.a.nif, 0));
	assert_false(is_kept(p.a.nif, 1));
	for (unsigned i = 2; i <= N_KEPT; i++)
		assert_true(is_kept(p.a.nif, i));
	netpair_fini(&p);
}

static void many_addresses_take_no_more_memory(void **state)
{
	struct netpair p;
	size_t before;

	netpair_init(&p, 2);
	for (unsigned i = 0; i < N_KEPT; i++)
		come_and_go(p.a.nif, i);
	before = mallinfo2().uordblks;
	for (unsigned i = N_KEPT; i < MANY; i++) {
		come_and_go(p.a.nif, i);
		assert_int_equal(p.a.nif->n_idle_shares, N_KEPT);
	}
	assert_int_equal(n_in_hash(p.a.nif), N_KEPT);
	for (unsigned i = MANY - N_KEPT; i < MANY; i++)
		assert_true(is_kept(p.a.nif, i));
	assert_true(!HEAP_TELLS || mallinfo2().uordblks <= before);
	netpair_fini(&p);
}

/* Of whom nothing was learned, nothing is kept. */
static void who_never_answered_is_not_kept(void **state)
{
	const struct ip_addr ip = nth(7);
	struct net_share *s;
	struct netpair p;

	netpair_init(&p, 3);
	s = net_share_take(p.a.nif, &ip);
	assert_non_null(s);
	assert_int_equal(s->n, 1);
	net_share_give(p.a.nif, s);
	assert_int_equal(n_in_hash(p.a.nif), 0);
	assert_int_equal(p.a.nif->n_idle_shares, 0);
	netpair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_idle_goes_first),
		cmocka_unit_test(many_addresses_take_no_more_memory),
		cmocka_unit_test(who_never_answered_is_not_kept),
	};

	return RUN_TESTS(tests);
}
