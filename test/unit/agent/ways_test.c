/* Our address on the way to a peer: what is a change of the network here, and what only another peer's doing. */
#include "agent/ways.h"
#include "base/rng.h"
#include "os/loop.h"
#include "test/lib/testing.h"

static struct ip_addr here;
static bool is_cut;

static bool source(const struct endpoint *to, struct ip_addr *ret)
{
	*ret = here;
	return !is_cut;
}

static struct wg_device *dev;
static wg_peer_id peer;
static struct agent_ways ways;

static wg_peer_id add_peer(uint8_t byte)
{
	struct wg_public_key key;
	wg_peer_id id;

	memset(&key, byte, sizeof(key));
	assert_int_equal(wg_peer_add(dev, &key, NSEC_PER_SEC, &id), OK);
	return id;
}

static void at(wg_peer_id id, uint8_t last)
{
	struct endpoint ep = { ip_addr_v4(192, 0, 2, last), 51820, 0 };

	wg_peer_set_endpoint(dev, id, &ep, NSEC_PER_SEC);
}

static bool changed(void)
{
	bool any, ret = agent_ways_look(&ways, dev, NSEC_PER_SEC, &any);

	assert_int_equal(any, !is_cut);
	return ret;
}

static int setup(void **state)
{
	struct wg_config cfg = { .pool = pktpool_new(16), .rng = os_rng() };

	dev = wg_device_new(&cfg, NSEC_PER_SEC, NSEC_PER_SEC);
	here = ip_addr_v4(192, 0, 2, 1);
	is_cut = false;
	ways = (struct agent_ways){ .source = source };
	peer = dev ? add_peer(7) : 0;
	*state = cfg.pool;
	return peer ? 0 : -1;
}

static int teardown(void **state)
{
	agent_ways_fini(&ways);
	wg_device_free(dev);
	pktpool_free(*state);
	return 0;
}

static void another_address_of_ours_is_a_change(void **state)
{
	at(peer, 2);
	agent_ways_learn(&ways, dev, NSEC_PER_SEC);
	assert_false(changed());
	here = ip_addr_v4(192, 0, 2, 9);
	assert_true(changed());
	assert_false(changed());
	is_cut = true;
	assert_true(changed());
	is_cut = false;
	assert_true(changed());
}

/* A peer that is heard for the first time, or elsewhere, while changes of the network are waited out. */
static void another_endpoint_is_none(void **state)
{
	agent_ways_learn(&ways, dev, NSEC_PER_SEC); /* it has no endpoint */
	at(peer, 2);
	agent_ways_learn(&ways, dev, NSEC_PER_SEC);
	assert_false(changed());
	at(peer, 3);
	assert_false(changed());
	at(add_peer(8), 4);
	assert_false(changed());
}

/* One peer moves and our address to the other changes, both before it is looked at. */
static void a_move_hides_no_change(void **state)
{
	wg_peer_id other = add_peer(8);

	at(peer, 2);
	at(other, 3);
	agent_ways_learn(&ways, dev, NSEC_PER_SEC);
	here = ip_addr_v4(192, 0, 2, 9);
	at(peer, 5);
	agent_ways_learn(&ways, dev, NSEC_PER_SEC);
	assert_true(changed());
	/* Learned where it went, a later change counts for it too. */
	here = ip_addr_v4(192, 0, 2, 10);
	assert_true(changed());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(another_address_of_ours_is_a_change, setup, teardown),
		cmocka_unit_test_setup_teardown(another_endpoint_is_none, setup, teardown),
		cmocka_unit_test_setup_teardown(a_move_hides_no_change, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
