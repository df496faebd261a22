/*
 * enroll/limiter.c - see limiter.h.
 *
 * Entries lie in one array, found by a hash with chains (seeded, so that nobody can choose addresses that collide) and
 * linked in two lists by the time of their last attempt: those that still have attempts, and those that have none. When the
 * table is full the oldest of the first list goes, and only when there is none the oldest of the second: who
 * floods from many addresses pushes out those who would be let in anyway, not the ones that are shut out. An entry whose
 * bucket is full again says nothing and is the same as none.
 */
#include "enroll/limiter.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"

struct entry {
	struct list age;    /* oldest first */
	struct entry *next; /* in its chain */
	struct ip_addr key;
	nsec_t refilled; /* when the bucket was last counted */
	unsigned left;
};

struct enroll_limiter {
	struct list open, shut;
	struct entry *entries, **chains;
	size_t n, n_max, n_chains;
	uint64_t seed;
};

struct enroll_limiter *enroll_limiter_new(size_t n_max, uint64_t seed)
{
	struct enroll_limiter *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	list_init(&l->open);
	list_init(&l->shut);
	l->n_max = n_max;
	l->seed = seed;
	for (l->n_chains = 1; l->n_chains < n_max;)
		l->n_chains *= 2;
	l->entries = calloc(n_max, sizeof(*l->entries));
	l->chains = calloc(l->n_chains, sizeof(*l->chains));
	if (!l->entries || !l->chains) {
		enroll_limiter_free(l);
		return NULL;
	}
	return l;
}

void enroll_limiter_free(struct enroll_limiter *l)
{
	if (!l)
		return;
	free(l->entries);
	free(l->chains);
	free(l);
}

size_t enroll_limiter_count(const struct enroll_limiter *l)
{
	return l->n;
}

/* Who counts as one: an IPv4 address (also in its IPv6 form), or a /64. */
static struct ip_addr key_of(const struct ip_addr *ip)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ip_addr k = *ip;

	if (k.family != IP_V6)
		return k;
	if (memcmp(k.b, mapped, sizeof(mapped)) == 0)
		return ip_addr_v4(k.b[12], k.b[13], k.b[14], k.b[15]);
	memset(k.b + 8, 0, 8);
	return k;
}

static struct entry **chain_of(struct enroll_limiter *l, const struct ip_addr *key)
{
	uint64_t h = l->seed ^ key->family;

	for (size_t i = 0; i < sizeof(key->b); i++) {
		h = (h ^ key->b[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	return &l->chains[h & (l->n_chains - 1)];
}

static struct entry *find(struct enroll_limiter *l, const struct ip_addr *key)
{
	struct entry *e = *chain_of(l, key);

	while (e && !ip_addr_equal(&e->key, key))
		e = e->next;
	return e;
}

static void unchain(struct enroll_limiter *l, struct entry *e)
{
	struct entry **at = chain_of(l, &e->key);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
}

static struct entry *room(struct enroll_limiter *l)
{
	struct list *oldest;
	struct entry *e;

	if (l->n < l->n_max)
		return &l->entries[l->n++];
	oldest = list_first(&l->open);
	if (!oldest)
		oldest = list_first(&l->shut);
	e = container_of(oldest, struct entry, age);
	list_del(&e->age);
	unchain(l, e);
	return e;
}

static struct entry *add(struct enroll_limiter *l, const struct ip_addr *key, nsec_t now)
{
	struct entry *e = room(l), **chain = chain_of(l, key);

	*e = (struct entry){ .next = *chain, .key = *key, .refilled = now, .left = ENROLL_BURST };
	list_init(&e->age);
	*chain = e;
	return e;
}

static void refill(struct entry *e, nsec_t now)
{
	nsec_t steps = now > e->refilled ? (now - e->refilled) / ENROLL_REFILL : 0;

	if (steps >= ENROLL_BURST - e->left) {
		e->left = ENROLL_BURST;
		e->refilled = now;
	} else {
		e->left += (unsigned)steps;
		e->refilled += steps * ENROLL_REFILL;
	}
}

static void place(struct enroll_limiter *l, struct entry *e)
{
	list_del(&e->age);
	list_add_tail(e->left > 0 ? &l->open : &l->shut, &e->age);
}

bool enroll_limiter_take(struct enroll_limiter *l, const struct ip_addr *ip, nsec_t now)
{
	struct ip_addr key = key_of(ip);
	struct entry *e = find(l, &key);
	bool ok;

	if (!e)
		e = add(l, &key, now);
	refill(e, now);
	ok = e->left > 0;
	if (ok)
		e->left--;
	place(l, e);
	return ok;
}

void enroll_limiter_give_back(struct enroll_limiter *l, const struct ip_addr *ip, nsec_t now)
{
	struct ip_addr key = key_of(ip);
	struct entry *e = find(l, &key);

	if (!e)
		return;
	refill(e, now);
	if (e->left < ENROLL_BURST)
		e->left++;
	place(l, e);
}
