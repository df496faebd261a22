/* netstack/cc.c - the congestion controls that there are. */
#include "netstack/cc.h"

#include <string.h>

static const struct net_cc_ops *const controls[] = { &net_cubic_ops, &net_bbr_ops };

void net_cc_init(struct net_cc *cc, const struct net_cc_ops *ops, uint32_t mss, nsec_t now)
{
	*cc = (struct net_cc){ .ops = ops, .mss = mss, .cwnd = NET_CWND_FIRST * mss, .ssthresh = NET_CWND_MAX };
	ops->init(cc, now);
}

const struct net_cc_ops *net_cc_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(controls); i++)
		if (strcmp(controls[i]->name, name) == 0)
			return controls[i];
	return NULL;
}
