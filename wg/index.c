/*
 * wg/index.c - receiver indices: random, never 0, unique while they live, found in one or two steps.
 *
 * Open addressing on the index itself: it is random, so its low bits spread. Removal shifts followers back, so
 * there are no tombstones.
 */
#include <stdlib.h>
#include <string.h>

#include "wg/device_internal.h"

static size_t home(const struct wg_index_table *t, uint32_t index)
{
	return index & (t->cap - 1);
}

struct wg_index_entry *wg_index_find(struct wg_device *dev, uint32_t index)
{
	struct wg_index_table *t = &dev->indices;

	if (index == 0 || t->cap == 0)
		return NULL;
	for (size_t i = home(t, index); t->slots[i].index != 0; i = (i + 1) & (t->cap - 1))
		if (t->slots[i].index == index)
			return &t->slots[i];
	return NULL;
}

static void put(struct wg_index_table *t, const struct wg_index_entry *e)
{
	size_t i = home(t, e->index);

	while (t->slots[i].index != 0)
		i = (i + 1) & (t->cap - 1);
	t->slots[i] = *e;
}

static enum err grow(struct wg_index_table *t)
{
	struct wg_index_table bigger = { .n = t->n, .cap = t->cap ? t->cap * 2 : 16 };

	if (t->n * 2 < t->cap)
		return OK;
	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return ERR_NOMEM;
	for (size_t i = 0; i < t->cap; i++)
		if (t->slots[i].index != 0)
			put(&bigger, &t->slots[i]);
	free(t->slots);
	*t = bigger;
	return OK;
}

enum err wg_index_new(struct wg_device *dev, struct wg_peer *peer, struct wg_keypair *kp, uint32_t *ret)
{
	struct wg_index_entry e = { 0, peer, kp };

	if (grow(&dev->indices) != OK)
		return ERR_NOMEM;
	do
		e.index = rng_u32(dev->cfg.rng);
	while (e.index == 0 || wg_index_find(dev, e.index));
	put(&dev->indices, &e);
	dev->indices.n++;
	*ret = e.index;
	return OK;
}

void wg_index_drop(struct wg_device *dev, uint32_t index)
{
	struct wg_index_table *t = &dev->indices;
	struct wg_index_entry *e = wg_index_find(dev, index);
	size_t hole, i;

	if (!e)
		return;
	t->n--;
	hole = (size_t)(e - t->slots);
	for (i = (hole + 1) & (t->cap - 1); t->slots[i].index != 0; i = (i + 1) & (t->cap - 1)) {
		size_t h = home(t, t->slots[i].index);

		/* May this one stand in the hole? Only if its home is not between hole and here. */
		if (((i - h) & (t->cap - 1)) >= ((i - hole) & (t->cap - 1))) {
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->slots[hole].index = 0;
}
