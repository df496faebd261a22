/* base/heap: a naive twin is asked the same, at random; what was left in is in order, and equal keys leave as they came. */
#include "base/heap.h"
#include "base/rng.h"
#include "test/lib/testing.h"

#define N 300
#define N_STEPS 60000

static struct heap_node nodes[N];
static struct twin {
	uint64_t key, since;
	bool in;
} twins[N];

/* Return: N for none */
static size_t twin_first(void)
{
	size_t first = N;

	for (size_t i = 0; i < N; i++)
		if (twins[i].in && (first == N || twins[i].key < twins[first].key ||
				    (twins[i].key == twins[first].key && twins[i].since < twins[first].since)))
			first = i;
	return first;
}

static void begin(struct heap *h)
{
	heap_init(h);
	memset(twins, 0, sizeof(twins));
	for (size_t i = 0; i < N; i++)
		heap_node_init(&nodes[i]);
}

static void set(struct heap *h, size_t i, uint64_t key)
{
	static uint64_t n_sets;

	heap_set(h, &nodes[i], key);
	twins[i] = (struct twin){ key, n_sets++, true };
}

static void take_out(struct heap *h, size_t i)
{
	heap_remove(h, &nodes[i]);
	twins[i].in = false;
	assert_false(heap_node_is_in(&nodes[i]));
}

static void check_first(const struct heap *h)
{
	size_t i = twin_first();

	assert_ptr_equal(heap_first(h), i == N ? NULL : &nodes[i]);
}

static void it_does_what_its_twin_does(void **state)
{
	struct rng_seeded dice;
	struct heap h;

	rng_seeded_init(&dice, 11);
	for (unsigned range = 1; range <= 1000; range *= 10) {
		begin(&h);
		for (unsigned step = 0; step < N_STEPS; step++) {
			/* Full and empty in turn. */
			unsigned n_of_ten = step / 5000 % 2 ? 3 : 7;
			size_t i = rng_below(&dice.rng, N);

			if (rng_below(&dice.rng, 10) < n_of_ten)
				set(&h, i, rng_below(&dice.rng, range));
			else if (rng_below(&dice.rng, 2) && heap_first(&h))
				take_out(&h, (size_t)(heap_first(&h) - nodes));
			else
				take_out(&h, i);
			check_first(&h);
		}
		while (heap_first(&h)) {
			take_out(&h, (size_t)(heap_first(&h) - nodes));
			check_first(&h);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_does_what_its_twin_does),
	};
	return RUN_TESTS(tests);
}
