/*
 * test/lib/shortage.h - allocations that fail when a test says so, one after the other.
 *
 * A case is run once to count its allocations, then again for each of them, which fails; and again with all that follow within
 * the next two seconds of the case's own clock failing as well. It says by its own checks what must not happen.
 *
 * The linker puts these functions before the real ones (--wrap, test/module.mk): what our code and the libraries in the
 * program ask for is counted, not what a shared library takes by itself.
 */
#ifndef TEST_SHORTAGE_H
#define TEST_SHORTAGE_H

#include "base/types.h"
#include "test/lib/testing.h"

struct shortage {
	bool is_on, lasts;
	bool exempt;      /* what is taken now is not the product's */
	size_t not_bytes; /* nor is a block of malloc() of this size; 0 = none */
	unsigned n, fail, n_failed; /* allocations so far; which one fails, from 1 on; failures so far */
	nsec_t now, until;          /* the case keeps @now, unless there is a clock */
	nsec_t (*clock)(void);
	long n_live;                /* blocks that are held */
};
extern struct shortage shortage;

/** shortage_begin() - count from here on; @fail: the one that fails, none with 0; @lasts: with those after it */
void shortage_begin(nsec_t now, unsigned fail, bool lasts);
/** shortage_end() - nothing fails any more. Return: how many allocations there were */
unsigned shortage_end(void);
/** shortage_hits() - for allocators of a test's own --wrap: does this one fail? */
bool shortage_hits(void);

/** shortage_torture() - @fn for each allocation; it returns shortage_end(). @n_kinds: 1 fails each once, 2 with those after it too. */
void shortage_torture(const char *name, unsigned (*fn)(unsigned fail, bool lasts), int n_kinds);
/** shortage_teardown() - of each cmocka test: says where it was */
int shortage_teardown(void **state);
#define SHORTAGE_TEST(id) cmocka_unit_test_teardown(id, shortage_teardown)

#endif
