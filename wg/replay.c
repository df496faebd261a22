/*
 * wg/replay.c - see replay.h.
 *
 * The bitmap is a ring of 64-bit words. When the greatest counter moves on, whole words that it enters are
 * cleared, so one word's worth of the ring is not usable as history.
 */
#include "wg/replay.h"

#include <string.h>

#define N_WORDS (WG_REPLAY_BITS / 64)
#define WINDOW (WG_REPLAY_BITS - 64)

static uint64_t word_of(uint64_t counter)
{
	return counter / 64 % N_WORDS;
}

bool wg_replay_check(const struct wg_replay *r, uint64_t counter)
{
	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (counter >= r->next)
		return true;
	if (r->next - counter > WINDOW)
		return false;
	return !(r->bits[word_of(counter)] >> (counter % 64) & 1);
}

static void advance(struct wg_replay *r, uint64_t counter)
{
	uint64_t from = r->next == 0 ? 0 : (r->next - 1) / 64, to = counter / 64;

	if (to - from >= N_WORDS)
		memset(r->bits, 0, sizeof(r->bits));
	else
		for (uint64_t w = from + 1; w <= to; w++)
			r->bits[w % N_WORDS] = 0;
	r->next = counter + 1;
}

bool wg_replay_accept(struct wg_replay *r, uint64_t counter)
{
	if (!wg_replay_check(r, counter))
		return false;
	if (counter >= r->next)
		advance(r, counter);
	r->bits[word_of(counter)] |= 1ULL << (counter % 64);
	return true;
}
