#include "base/pktbuf.h"
#include "test/lib/testing.h"

static void pool_is_bounded_and_reuses(void **state)
{
	struct pktpool *pool = pktpool_new(100);
	struct pktbuf *held[100], *again;
	struct pktpool_stats st;

	for (int i = 0; i < 100; i++)
		assert_non_null(held[i] = pktbuf_alloc(pool, NULL));
	assert_null(pktbuf_alloc(pool, NULL));
	pktbuf_free(held[7]);
	again = pktbuf_alloc(pool, NULL);
	assert_ptr_equal(again, held[7]);
	pktpool_get_stats(pool, &st);
	assert_int_equal(st.n_used, 100);
	assert_int_equal(st.n_peak, 100);
	assert_int_equal(st.n_refused, 1);
	for (int i = 0; i < 100; i++)
		pktbuf_free(held[i]);
	pktpool_free(pool);
}

static struct pktbuf *hold(struct pktpool *pool, struct pktowner *owner, struct pktbuf *list)
{
	struct pktbuf *pb = pktbuf_alloc(pool, owner);

	if (!pb)
		return NULL;
	pb->next = list;
	return pb;
}

/* One owner that never gives back cannot starve a second one. */
static void owner_is_held_to_its_share(void **state)
{
	struct pktpool *pool = pktpool_new(1000);
	struct pktowner greedy = { 0 }, modest = { 0 };
	struct pktbuf *a = NULL, *b = NULL, *pb;

	while ((pb = hold(pool, &greedy, a)))
		a = pb;
	assert_int_equal(greedy.n_units, 500);
	while ((pb = hold(pool, &modest, b)))
		b = pb;
	assert_true(modest.n_units >= 250);
	for (; a; a = pb) {
		pb = a->next;
		pktbuf_free(a);
	}
	for (; b; b = pb) {
		pb = b->next;
		pktbuf_free(b);
	}
	assert_int_equal(greedy.n_units + modest.n_units, 0);
	pktpool_free(pool);
}

static void units_outlive_their_owner(void **state)
{
	struct pktpool *pool = pktpool_new(1000);
	struct pktowner owner = { 0 };
	struct pktbuf *a = pktbuf_alloc(pool, &owner), *b = pktbuf_alloc(pool, &owner);

	pktbuf_disown_all(pool, &owner);
	assert_int_equal(owner.n_units, 0);
	pktbuf_free(a);
	pktbuf_free(b);
	assert_int_equal(owner.n_units, 0);
	pktpool_free(pool);
}

/* Units in use stay where they are, whatever is given back around them. */
static void trimmed_pools_keep_what_is_used(void **state)
{
	struct pktpool *pool = pktpool_new(1024);
	struct pktbuf *pb[1024];
	struct pktpool_stats st;

	for (unsigned i = 0; i < 1024; i++) {
		pb[i] = pktbuf_alloc(pool, NULL);
		assert_non_null(pb[i]);
		memset(pb[i]->data, (int)(i & 255), sizeof(pb[i]->data));
	}
	/* Every 100th stays: eleven units, in at most eleven slabs. */
	for (unsigned i = 0; i < 1024; i++)
		if (i % 100)
			pktbuf_free(pb[i]);
	pktpool_trim(pool);
	pktpool_get_stats(pool, &st);
	assert_int_equal(st.n_used, 11);
	assert_true(st.n_held >= 64 && st.n_held <= 11 * 64);
	for (unsigned i = 0; i < 1024; i += 100) {
		assert_int_equal(pb[i]->data[0], i & 255);
		assert_int_equal(pb[i]->data[sizeof(pb[i]->data) - 1], i & 255);
	}
	/* It grows again up to its limit, no unit twice. */
	for (unsigned i = 0; i < 1024; i++)
		if (i % 100) {
			pb[i] = pktbuf_alloc(pool, NULL);
			assert_non_null(pb[i]);
			pb[i]->flags = i;
		}
	assert_null(pktbuf_alloc(pool, NULL));
	for (unsigned i = 0; i < 1024; i++) {
		assert_true(i % 100 == 0 || pb[i]->flags == i);
		pktbuf_free(pb[i]);
	}
	pktpool_trim(pool);
	pktpool_get_stats(pool, &st);
	assert_int_equal(st.n_held, 0);
	pktpool_trim(pool);
	assert_non_null(pb[0] = pktbuf_alloc(pool, NULL));
	pktbuf_free(pb[0]);
	pktpool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pool_is_bounded_and_reuses),
		cmocka_unit_test(owner_is_held_to_its_share),
		cmocka_unit_test(units_outlive_their_owner),
		cmocka_unit_test(trimmed_pools_keep_what_is_used),
	};
	return RUN_TESTS(tests);
}
