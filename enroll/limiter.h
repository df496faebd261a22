/*
 * enroll/limiter.h - how often one address may try; a table of fixed size.
 *
 * A bucket of ENROLL_BURST attempts for each IPv4 address and IPv6 /64, one more each ENROLL_REFILL. An attempt by somebody
 * who holds a token is given back, so that a site behind one address enrolls at full speed.
 */
#ifndef ENROLL_LIMITER_H
#define ENROLL_LIMITER_H

#include "base/addr.h"
#include "base/err.h"

#define ENROLL_BURST 5
#define ENROLL_REFILL (6 * NSEC_PER_SEC) /* 30 s fill a bucket */
#define ENROLL_LIMITER_MAX 4096

struct enroll_limiter;

/** enroll_limiter_new() - @n_max: addresses remembered. NULL when out of memory. */
struct enroll_limiter *enroll_limiter_new(size_t n_max, uint64_t seed);
void enroll_limiter_free(struct enroll_limiter *l);
/** enroll_limiter_take() - one attempt from @ip; false: too many */
bool enroll_limiter_take(struct enroll_limiter *l, const struct ip_addr *ip, nsec_t now);
/** enroll_limiter_give_back() - the attempt was no stranger's */
void enroll_limiter_give_back(struct enroll_limiter *l, const struct ip_addr *ip, nsec_t now);
size_t enroll_limiter_count(const struct enroll_limiter *l);

#endif
