/* wg/load.c - see load.h. Two sources that share a bucket by hash share its tokens; an older entry is replaced. */
#include "wg/load.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW (100 * NSEC_PER_MSEC)
/* Half a core: 500 ms a second at 150 µs each, in a window of 100 ms. */
#define N_WINDOW_MAX 333
#define N_SOURCE_MAX 64 /* of them, from one source; it proves its address beyond */
#define HOLD NSEC_PER_SEC
#define TOKEN (NSEC_PER_SEC / 20)
#define BURST (5 * TOKEN)

bool wg_load_is_high(const struct wg_load *l, nsec_t now)
{
	return now < l->until;
}

static struct wg_load_bucket *bucket_of(struct wg_load *l, const struct ip_addr *from)
{
	uint8_t source[17] = { from->family };
	uint64_t key;

	if (!l->buckets)
		l->buckets = calloc(WG_LOAD_SOURCES, sizeof(*l->buckets));
	if (!l->buckets)
		return NULL;
	memcpy(source + 1, from->b, from->family == IP_V6 ? 8 : 4);
	crypto_shorthash((uint8_t *)&key, source, sizeof(source), (const uint8_t *)l->hash_key);
	key |= 1;
	struct wg_load_bucket *b = &l->buckets[(key >> 1) % WG_LOAD_SOURCES];

	if (b->key != key)
		*b = (struct wg_load_bucket){ .key = key, .tokens = BURST };
	return b;
}

/* Is this source beyond its share of the present window? Counted only once there is something to share. */
static bool source_is_greedy(struct wg_load *l, const struct ip_addr *from)
{
	struct wg_load_bucket *b = l->n_in_window > N_SOURCE_MAX ? bucket_of(l, from) : NULL;

	if (!b)
		return false;
	if (b->window != l->window_start) {
		b->window = l->window_start;
		b->n_in_window = 0;
	}
	return ++b->n_in_window > N_SOURCE_MAX;
}

bool wg_load_count(struct wg_load *l, nsec_t now, const struct ip_addr *from)
{
	if (now - l->window_start >= WINDOW) {
		l->window_start = now;
		l->n_in_window = 0;
	}
	if (source_is_greedy(l, from))
		return true;
	if (++l->n_in_window > N_WINDOW_MAX)
		l->until = now + HOLD;
	return wg_load_is_high(l, now);
}

bool wg_load_take(struct wg_load *l, nsec_t now, const struct ip_addr *from)
{
	struct wg_load_bucket *b = bucket_of(l, from);

	if (!b)
		return false;
	b->tokens = MIN(nsec_add(b->tokens, b->last ? now - b->last : 0), (nsec_t)BURST);
	b->last = now;
	if (b->tokens < TOKEN)
		return false;
	b->tokens -= TOKEN;
	return true;
}

void wg_load_give_back(struct wg_load *l, const struct ip_addr *from)
{
	struct wg_load_bucket *b = bucket_of(l, from);

	if (b)
		b->tokens = MIN(b->tokens + TOKEN, (nsec_t)BURST);
}

void wg_load_fini(struct wg_load *l)
{
	free(l->buckets);
	l->buckets = NULL;
}
